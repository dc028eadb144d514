//! How fast bytes and questions pass a network, beside a bridge, pairs of devices and rules that are made by hand: from a
//! workload to another one, from the host to one through a published port, and from one to the host.
//!
//! Both sides are in one network namespace of the bench's own and carry the same threads of this process, by turns.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_bench::floor::sys;
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::network::Apart;
use crate::driver::Machine;
use crate::driver::pairing::Spread;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::Holm;

/// Where servers in workloads listen, and the host's port that leads there, by Holm and by hand.
const PORT: u16 = 9000;
const PUBLISHED: [u16; 2] = [18_080, 18_081];
/// Where the host's server listens.
const HOSTS_PORT: u16 = 9001;
/// Bytes of one write.
const PIECE: usize = 128 << 10;
/// Addresses of what is made by hand: the bridge, and two as workloads.
const BY_HAND: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 88, 0, 1), Ipv4Addr::new(10, 88, 0, 2), Ipv4Addr::new(10, 88, 0, 3)];

/// Measures every way on both sides.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let Some(Ok(holm)) = &machine.holm else { return };
    let measured = Apart::enter().and_then(|apart| {
        let done = compare(holm, machine.arguments.quick, report);
        let removed = holm.remove_held();
        drop(apart);
        done.and(removed)
    });
    if let Err(error) = measured {
        report.could_not_run("throughput", format!("{error:#}"));
    }
}

fn compare(holm: &Holm, quick: bool, report: &mut Report) -> Result<()> {
    let (rounds, amount, questions) = if quick { (3, 512 << 20, 5_000) } else { (9, 2 << 30, 20_000) };
    let by_hand = ByHand::make()?;
    let own = Places::of_holm(holm)?;
    for (number, name) in WAYS.into_iter().enumerate() {
        let mut bytes = [Vec::new(), Vec::new()];
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                if sys::interrupted() {
                    return Ok(());
                }
                let way = [&own, &by_hand.places][side].way(number);
                bytes[side].push(way.carry(amount)?);
                times[side].push(way.ask(questions)?);
            }
        }
        report.add(figures(name, bytes, times));
    }
    Ok(())
}

const WAYS: [&str; 3] = ["workload to workload", "host to workload, by a published port", "workload to host"];

fn figures(name: &str, bytes: [Vec<f64>; 2], times: [Vec<f64>; 2]) -> Figures {
    let [own, by_hand] = bytes.map(|values| Spread::of(values).median);
    let [asked, asked_by_hand] = times.map(|values| Spread::of(values).median);
    let mut figures = Figures::new(format!("throughput: {name}"));
    figures.push("holm", own, "MB/s", None);
    figures.push("by hand", by_hand, "MB/s", None);
    figures.push("holm / by hand", own / by_hand, "times", Some(Goal::AtLeast(0.95)));
    figures.push("holm: round trip", asked, "us", None);
    figures.push("by hand: round trip", asked_by_hand, "us", None);
    figures.push("round trip: by hand / holm", asked_by_hand / asked, "times", Some(Goal::AtLeast(0.95)));
    figures
}

/// Who can speak to whom on one side. A process stands for its network namespace; none is the bench's own.
struct Places {
    workloads: [u32; 2],
    /// Of the first workload.
    address: Ipv4Addr,
    /// Of the host on the bridge.
    gateway: Ipv4Addr,
    published: u16,
}

impl Places {
    fn of_holm(holm: &Holm) -> Result<Self> {
        let publish = format!("{}:{PORT}", PUBLISHED[0]);
        let names = ["bench-throughput-1", "bench-throughput-2"];
        holm.hold_published(names[0], &publish)?;
        holm.hold_bridged(names[1])?;
        let shown = |what: &str| {
            let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{what}}}}}{{{{end}}}}");
            let text = holm.inspect(names[0], &template)?;
            text.parse().with_context(|| format!("`holm inspect` gave `{text}` as an address"))
        };
        Ok(Self {
            workloads: [holm.pid(names[0])?, holm.pid(names[1])?],
            address: shown("IPAddress")?,
            gateway: shown("Gateway")?,
            published: PUBLISHED[0],
        })
    }

    fn way(&self, number: usize) -> Way {
        let [first, second] = self.workloads;
        let to = |address: Ipv4Addr, port: u16| SocketAddr::new(address.into(), port);
        match number {
            0 => {
                Way { server: Some(first), port: PORT, client: Some(second), target: to(self.address, PORT) }
            }
            1 => Way {
                server: Some(first),
                port: PORT,
                client: None,
                target: to(self.gateway, self.published),
            },
            _ => Way {
                server: None,
                port: HOSTS_PORT,
                client: Some(second),
                target: to(self.gateway, HOSTS_PORT),
            },
        }
    }
}

/// From a client to a server.
struct Way {
    server: Option<u32>,
    port: u16,
    client: Option<u32>,
    target: SocketAddr,
}

impl Way {
    /// Millions of bytes a second, until the server has read the last.
    fn carry(&self, amount: u64) -> Result<f64> {
        let time = self.speak(|stream| {
            let piece = vec![7; PIECE];
            for _ in 0..amount.div_ceil(PIECE as u64) {
                stream.write_all(&piece)?;
            }
            stream.shutdown(std::net::Shutdown::Write)?;
            stream.read_exact(&mut [0])
        })?;
        Ok(amount as f64 / 1e6 / time.as_secs_f64())
    }

    /// Microseconds from a byte to its answer.
    fn ask(&self, questions: u32) -> Result<f64> {
        let time = self.speak(|stream| {
            stream.write_all(b"?")?;
            let mut answer = [0];
            for _ in 0..questions {
                stream.write_all(&answer)?;
                stream.read_exact(&mut answer)?;
            }
            Ok(())
        })?;
        Ok(time.as_secs_f64() * 1e6 / f64::from(questions))
    }

    fn speak(&self, words: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send) -> Result<Duration> {
        let server = serve_once(self.server, self.port)?;
        let target = self.target;
        let spoken = std::thread::scope(|scope| {
            let client = scope.spawn(move || {
                enter(self.client)?;
                let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))
                    .with_context(|| format!("connecting to {target}"))?;
                stream.set_nodelay(true)?;
                let begin = Instant::now();
                words(&mut stream)?;
                anyhow::Ok(begin.elapsed())
            });
            client.join().unwrap_or_else(|_| bail!("the client panicked"))
        });
        // Of a client that came to nothing no server ever hears.
        let time = spoken?;
        server.join().unwrap_or_else(|_| bail!("the server panicked"))?;
        Ok(time)
    }
}

/// Serves one connection: what begins with `?` is echoed, anything else is read to its end and answered with a byte.
fn serve_once(place: Option<u32>, port: u16) -> Result<JoinHandle<Result<()>>> {
    let (ready, wait) = mpsc::channel();
    let server = std::thread::spawn(move || {
        enter(place)?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listening")?;
        ready.send(()).context("telling the client")?;
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; PIECE];
        let mut echoes = false;
        let mut begun = false;
        loop {
            let length = stream.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            if !begun {
                (begun, echoes) = (true, buffer[0] == b'?');
                if echoes && length == 1 {
                    continue;
                }
            }
            if echoes {
                stream.write_all(&buffer[..1])?;
            }
        }
        if !echoes {
            stream.write_all(&[0])?;
        }
        Ok(())
    });
    match wait.recv() {
        Ok(()) => Ok(server),
        Err(_) => {
            server.join().unwrap_or_else(|_| bail!("the server panicked")).and_then(|()| bail!("no server"))
        }
    }
}

/// Takes the calling thread into a process's network namespace.
fn enter(place: Option<u32>) -> Result<()> {
    let Some(pid) = place else { return Ok(()) };
    let namespace =
        rustix::fs::open(format!("/proc/{pid}/ns/net"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context("opening a network namespace")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("entering a network namespace")
}

/// A bridge with two namespaces and rules as Docker's, made by the usual programs; all of it goes with this.
struct ByHand {
    places: Places,
    holders: Vec<Child>,
}

impl ByHand {
    fn make() -> Result<Self> {
        let [bridge, first, second] = BY_HAND;
        // A host that is a router already: one that became it for Holm passes on nothing else, where `br_netfilter` is not even
        // what stays on another bridge.
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("making the host a router")?;
        shell(&format!(
            "ip link add byhand0 type bridge && ip addr add {bridge}/24 dev byhand0 && ip link set byhand0 up"
        ))?;
        let mut made = Self {
            places: Places { workloads: [0; 2], address: first, gateway: bridge, published: PUBLISHED[1] },
            holders: Vec::new(),
        };
        for (number, address) in [first, second].into_iter().enumerate() {
            let holder =
                Command::new("unshare").args(["--net", "sleep", "3600"]).spawn().context("unshare")?;
            let pid = holder.id();
            made.holders.push(holder);
            made.places.workloads[number] = pid;
            wait_for_namespace(pid)?;
            shell(&format!(
                "ip link add byhand{pid} master byhand0 type veth peer name eth0 netns {pid} && ip link set byhand{pid} up && \
                 nsenter --net=/proc/{pid}/ns/net sh -c 'ip addr add {address}/24 dev eth0 && ip link set eth0 up && \
                 ip route add default via {bridge}'"
            ))?;
        }
        let port = PUBLISHED[1];
        let rules = format!(
            "table ip byhand {{
                chain pre {{
                    type nat hook prerouting priority -100
                    fib daddr type local tcp dport {port} dnat to {first}:{PORT}
                }}
                chain out {{
                    type nat hook output priority -100
                    fib daddr type local tcp dport {port} dnat to {first}:{PORT}
                }}
                chain post {{
                    type nat hook postrouting priority 100
                    ip saddr 10.88.0.0/24 oifname != \"byhand0\" masquerade
                }}
                chain pass {{
                    type filter hook forward priority 0
                    ct state established,related accept
                    iifname \"byhand0\" accept
                    oifname \"byhand0\" ct status dnat accept
                    oifname \"byhand0\" drop
                }}
            }}"
        );
        shell(&format!("nft -f - <<'END'\n{rules}\nEND"))?;
        Ok(made)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // The rest goes with the namespace that the bench made for itself.
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// `unshare` makes it a moment after it has begun.
fn wait_for_namespace(pid: u32) -> Result<()> {
    let own = std::fs::read_link("/proc/thread-self/ns/net")?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_link(format!("/proc/{pid}/ns/net"))? == own {
        if Instant::now() > deadline {
            bail!("`unshare` made no network namespace");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn shell(script: &str) -> Result<()> {
    let output =
        Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output().context("starting `sh`")?;
    if !output.status.success() {
        bail!("making a network by hand: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
