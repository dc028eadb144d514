//! Virtual machines without an emulator: frames are carried by hand between the host's end of a device and one in a
//! namespace that stands for the guest.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::thread::JoinHandle;

use holm_network::give_devices;
use holm_spec::Id;
use holm_spec::network::{Device, Endpoint};
use holm_spec::workload::Isolation;
use holm_sys::Errno;
use holm_sys::interface::make_tap;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Host, Sandbox, ask, command, inside, loopback, new_namespace, on_a_host, published, serve};

/// A frame with what is in front of it, of a largest packet of 64 KiB.
const FRAME: usize = 70_000;

/// A machine that runs for as long as it is held.
struct Machine {
    sandbox: Sandbox,
    _wires: Vec<Wire>,
}

/// Carries frames both ways for as long as it is held.
struct Wire {
    /// What its thread waits for the end of.
    held: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.held = None;
        self.thread.take().map(JoinHandle::join);
    }
}

impl Host {
    /// What a keeper, an emulator and an agent do together.
    fn boot(&self, number: u8, networks: &[&str], host_port: Option<u16>) -> Machine {
        let ports: Vec<_> = host_port.map(|port| published(80, (port, port))).into_iter().collect();
        let (id, membership) = self.claim(number, Isolation::Vm, networks, &ports).expect("claim");
        let taps = membership.connect_machine().expect("connect");
        let endpoints: Vec<Endpoint> = membership.endpoints().cloned().collect();
        let guest = new_namespace();
        let ends = endpoints.iter().map(|endpoint| guest_end(&guest, endpoint));
        let wires = ends.zip(taps).map(|(end, tap)| carry(end, tap.descriptor)).collect();
        let namespace = new_namespace();
        let devices: Vec<Device> = endpoints.iter().map(Device::from).collect();
        inside(&guest, || give_devices(&devices, namespace.as_fd())).expect("give");
        let sandbox = Sandbox { id, namespace, endpoints, _ports: membership.keep() };
        Machine { sandbox, _wires: wires }
    }
}

/// As the guest's kernel finds it: under any name.
fn guest_end(guest: &OwnedFd, endpoint: &Endpoint) -> OwnedFd {
    let name = format!("x{}", endpoint.interface);
    inside(guest, || {
        let end = make_tap(&name).expect("a device");
        command(&["ip", "link", "set", &name, "address", &endpoint.hardware.to_string()]);
        end
    })
}

fn carry(one: OwnedFd, other: OwnedFd) -> Wire {
    let (end, held) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let thread = std::thread::spawn(move || {
        let mut frame = vec![0; FRAME];
        loop {
            let mut all = [&end, &one, &other].map(|source| PollFd::new(source, PollFlags::IN));
            poll(&mut all, None).expect("poll");
            if !all[0].revents().is_empty() {
                return;
            }
            for (from, to) in [(&one, &other), (&other, &one)] {
                while let Ok(length) = rustix::io::read(from, &mut frame) {
                    // A device that is not up takes nothing.
                    let _ = rustix::io::write(to, &frame[..length]);
                }
            }
        }
    });
    Wire { held: Some(held), thread: Some(thread) }
}

fn devices() -> String {
    let output = Command::new("ip").args(["-o", "link"]).output().expect("it is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_machine_is_on_a_network_as_a_container_is() {
    on_a_host(|host| {
        let network = host.default_network();
        let machine = host.boot(1, &[&network], Some(8080));
        let container = host.join(2, &[&network], &[]).expect("join");
        serve(&machine.sandbox, 80);
        serve(&container, 80);
        let gateway = host.networks.find(&network).expect("a network").pools[0].gateway;
        let (own, other) = (machine.sandbox.address(), container.address());
        assert_eq!(inside(&container.namespace, || ask(own, 80)), Some(other.to_string()));
        assert_eq!(inside(&machine.sandbox.namespace, || ask(other, 80)), Some(own.to_string()));
        for from in [loopback(), gateway] {
            assert_eq!(ask(from, 8080), Some(gateway.to_string()), "{from}");
        }
        assert_eq!(inside(&machine.sandbox.namespace, || ask(gateway, 8080)), Some(gateway.to_string()));
        drop(machine);
        host.networks.release(&Id::from_bytes([1; 32])).expect("release");
        assert!(!devices().contains("tap"), "{}", devices());
        let again = host.boot(3, &[&network], None);
        assert_eq!(again.sandbox.address(), own);
    });
}

#[test]
fn it_may_have_several_and_comes_back_on_a_bridge_that_was_removed() {
    on_a_host(|host| {
        for (name, internal, mtu) in [("one", true, None), ("two", false, Some(1400))] {
            let asked = holm_network::NewNetwork { name: name.into(), internal, mtu, ..Default::default() };
            host.networks.create(&asked).expect("create");
        }
        let machine = host.boot(1, &["one", "two"], Some(8080));
        serve(&machine.sandbox, 80);
        let told = devices();
        let is_member = |line: &&str| line.contains("tap") && line.contains(" master holm-");
        let members: Vec<&str> = told.lines().filter(is_member).collect();
        assert_eq!(members.len(), 2, "{told}");
        assert_eq!(members.iter().filter(|line| line.contains("mtu 1400")).count(), 1, "{told}");
        assert_eq!(machine.sandbox.endpoints[1].gateways.len(), 1, "the way out is not internal");
        let bridge = host.networks.find("two").expect("a network").interface;
        command(&["ip", "link", "delete", &bridge]);
        assert_eq!(ask(loopback(), 8080), None, "no bridge");
        assert!(!host.networks.repair().expect("repair").is_empty());
        assert!(ask(loopback(), 8080).is_some(), "on its bridge again");
    });
}

#[test]
fn a_device_that_is_not_there_is_named() {
    on_a_host(|host| {
        let network = host.default_network();
        let (_, membership) = host.claim(1, Isolation::Vm, &[&network], &[]).expect("claim");
        let devices: Vec<Device> = membership.endpoints().map(Device::from).collect();
        let namespace = new_namespace();
        let error = inside(&new_namespace(), || give_devices(&devices, namespace.as_fd())).expect_err("none");
        assert!(error.to_string().contains(&devices[0].hardware.to_string()), "{error}");
        drop(membership);
        assert_eq!(host.networks.endpoints_of(&Id::from_bytes([1; 32])).expect("none"), []);
    });
}

#[test]
fn a_tap_goes_with_its_descriptor() {
    on_a_host(|_| {
        let device = make_tap("tap0").expect("a device");
        assert!(devices().contains("tap0"));
        assert_eq!(make_tap("tap0").err(), Some(Errno::BUSY), "somebody has it");
        drop(device);
        assert!(!devices().contains("tap0"));
        for name in ["", "a name that is too long", "a/b"] {
            assert_eq!(make_tap(name).err(), Some(Errno::INVAL), "{name}");
        }
    });
}
