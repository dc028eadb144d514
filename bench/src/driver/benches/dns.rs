//! How many questions a network's resolver answers in a second, and what each costs it, beside an echo of datagrams.
//!
//! Both are asked by one client that always has 64 questions open, over the loopback interface of a network namespace
//! that only this bench has. The client and the kernel's part are in the rate; what an answer costs is the processor
//! time of the server's process alone.

use std::io::{PipeReader, Read};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_bench::floor::sys;
use holm_spec::network::{Driver, Endpoint, HardwareAddress, Network, Pool, VERSION};
use holm_spec::{Id, Timestamp};
use holm_sys::interface::set_loopback_up;
use holm_sys::process::{Namespaces, keep_over_exec, unshare};

use crate::driver::Machine;
use crate::driver::host::proportional_sizes;
use crate::driver::pairing::Spread;
use crate::driver::process::time_of;
use crate::driver::report::{Figures, Goal, Report};

/// Questions that are open at once.
const OPEN: usize = 64;
/// Endpoints of the network, each with an address of both families.
const ENDPOINTS: u8 = 100;
const GATEWAY: &str = "127.0.1.1:53";
const UPSTREAM: &str = "127.0.2.1:53";
const ECHO: &str = "127.0.3.1:53";
/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
const GOAL: f64 = 20_000.0;

/// What is needed of the machine.
struct Setting {
    resolver: PathBuf,
    floor: PathBuf,
    base: PathBuf,
    questions: usize,
    rounds: u32,
}

/// Asks, counts, compares.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let Some(Ok(floor)) = &machine.floor else { return };
    let binaries = machine.arguments.bin_dir.as_deref().unwrap_or(Path::new("target/dist"));
    let (questions, rounds) = if machine.arguments.quick { (20_000, 2) } else { (200_000, 5) };
    let base = machine.scratch.path().join("dns");
    let floor = floor.program().to_owned();
    let setting = Setting { resolver: binaries.join("holm-netd"), floor, base, questions, rounds };
    // A thread can enter a network namespace alone.
    let measured = std::thread::scope(|scope| scope.spawn(|| setting.measure()).join());
    match measured {
        Ok(Ok(figures)) => report.add(figures),
        Ok(Err(error)) => report.could_not_run("dns", format!("{error:#}")),
        Err(_) => report.could_not_run("dns", "it panicked"),
    }
}

/// What is asked, and of whom.
struct Side {
    name: &'static str,
    address: &'static str,
    /// Names that are asked for by turns.
    names: Vec<String>,
    server: i32,
    by_wall: Vec<f64>,
    microseconds: Vec<f64>,
}

impl Setting {
    fn measure(&self) -> Result<Figures> {
        unshare(Namespaces::NETWORK).context("making a network namespace")?;
        set_loopback_up().context("setting the loopback interface up")?;
        self.make_network()?;
        let resolver = self.start_resolver()?;
        let floor = Server::start(Command::new(&self.floor).args(["echo", ECHO]))?;
        wait_for_echo()?;
        let upstream = UdpSocket::bind(UPSTREAM)?;
        let end = upstream.try_clone()?;
        std::thread::scope(|scope| {
            scope.spawn(|| answer_everything(&upstream));
            let figures = self.measure_sides(&resolver, &floor);
            // What is empty ends the thread.
            end.send_to(&[], UPSTREAM)?;
            figures
        })
    }

    fn measure_sides(&self, resolver: &Server, floor: &Server) -> Result<Figures> {
        let names: Vec<_> = (0..ENDPOINTS).map(|number| format!("web-{number}")).collect();
        let side = |name, address, names, server: &Server| Side {
            name,
            address,
            names,
            server: server.pid(),
            by_wall: Vec::new(),
            microseconds: Vec::new(),
        };
        let mut sides = [
            side("echo", ECHO, names.clone(), floor),
            side("holm-netd", GATEWAY, names, resolver),
            side("holm-netd, forwarded", GATEWAY, vec!["www.example.com".to_owned()], resolver),
        ];
        for _ in 0..self.rounds {
            for side in &mut sides {
                if sys::interrupted() {
                    bail!("interrupted by a signal");
                }
                side.measure(self.questions)?;
            }
        }
        Ok(figures(&sides, resolver))
    }

    fn make_network(&self) -> Result<()> {
        let (root, run) = (self.base.join("root/networks"), self.base.join("run/networks/bench"));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(&run)?;
        std::fs::write(root.join("bench.json"), serde_json::to_vec(&network()?)?)?;
        let host = UPSTREAM.trim_end_matches(":53");
        std::fs::write(self.base.join("resolv.conf"), format!("nameserver {host}\n"))?;
        for number in 0..ENDPOINTS {
            let endpoint = endpoint(number)?;
            for subnet in &endpoint.addresses {
                std::fs::write(run.join(subnet.address.to_string()), serde_json::to_vec(&endpoint)?)?;
            }
        }
        Ok(())
    }

    fn start_resolver(&self) -> Result<Server> {
        let (mut ready, said) = std::io::pipe()?;
        keep_over_exec(&said)?;
        let mut command = Command::new(&self.resolver);
        command.arg("--root").arg(self.base.join("root")).arg("--run-root").arg(self.base.join("run"));
        command.arg("--resolv-conf").arg(self.base.join("resolv.conf"));
        command.args(["--ready-fd", &said.as_raw_fd().to_string(), "bench"]);
        let server = Server::start(&mut command)?;
        drop(said);
        wait_for(&mut ready)?;
        Ok(server)
    }
}

fn wait_for(ready: &mut PipeReader) -> Result<()> {
    ready.read_exact(&mut [0]).context("waiting for holm-netd")
}

/// The floor does not say when it listens.
fn wait_for_echo() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = ask(ECHO, &[query("ready")], 1) {
        if Instant::now() > deadline {
            return Err(error.context("waiting for the echo"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A server, ended when dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        started.map(Self).with_context(|| format!("starting `{}`", command.get_program().display()))
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Side {
    fn measure(&mut self, questions: usize) -> Result<()> {
        let queries: Vec<_> = self.names.iter().map(|name| query(name)).collect();
        let (cpu, begun) = (time_of(self.server), Instant::now());
        ask(self.address, &queries, questions).with_context(|| self.name.to_owned())?;
        self.by_wall.push(questions as f64 / begun.elapsed().as_secs_f64());
        let cpu = time_of(self.server).saturating_sub(cpu);
        self.microseconds.push(cpu.as_secs_f64() * 1e6 / questions as f64);
        Ok(())
    }
}

/// Asks so many questions; as many are open at once as may be.
fn ask(address: &str, queries: &[Vec<u8>], questions: usize) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    let mut buffer = [0; 4096];
    let mut queries = queries.iter().cycle().take(questions);
    for query in queries.by_ref().take(OPEN) {
        socket.send(query)?;
    }
    for _ in 0..questions {
        let length = socket.recv(&mut buffer).context("an answer was lost")?;
        // The code is in the lower half of the fourth byte.
        if length < 4 || buffer[3] & 0xf != 0 {
            bail!("a question was answered with a failure");
        }
        if let Some(query) = queries.next() {
            socket.send(query)?;
        }
    }
    Ok(())
}

/// A question for addresses of IPv4 (RFC 1035 section 4.1).
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// Another server: says to everything that there is no answer.
fn answer_everything(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer)
        && length > 0
    {
        buffer[2] |= 0x80;
        drop(socket.send_to(&buffer[..length], from));
    }
}

fn figures(sides: &[Side], resolver: &Server) -> Figures {
    let median = |values: &[f64]| Spread::of(values.iter().copied()).median;
    let mut figures = Figures::new(format!("dns: {OPEN} questions open, {ENDPOINTS} endpoints"));
    for side in sides {
        let goal = (side.name == "holm-netd").then_some(Goal::AtLeast(GOAL));
        figures.push(format!("{}: answers a second", side.name), median(&side.by_wall), "", goal);
        figures.push(format!("{}: processor time of one", side.name), median(&side.microseconds), "µs", None);
    }
    if let [echo, own, ..] = sides {
        figures.push("holm-netd / echo, by second", median(&own.by_wall) / median(&echo.by_wall), "", None);
    }
    let memory = proportional_sizes(resolver.pid());
    figures.push("holm-netd: Pss after all of them", memory.get("Pss").copied().unwrap_or(0.0), "KiB", None);
    figures
}

fn network() -> Result<Network> {
    let pool = Pool {
        subnet: "10.1.0.0/24".parse().map_err(anyhow::Error::msg)?,
        gateway: GATEWAY.trim_end_matches(":53").parse()?,
        range: None,
    };
    Ok(Network {
        version: VERSION,
        id: Id::from_bytes([1; 32]),
        name: "bench".into(),
        driver: Driver::Bridge,
        interface: "lo".into(),
        created: Timestamp::default(),
        pools: vec![pool],
        internal: false,
        mtu: None,
        labels: [].into(),
        options: [].into(),
        plugins: None,
    })
}

fn endpoint(number: u8) -> Result<Endpoint> {
    let addresses = [format!("10.1.0.{number}/24"), format!("fd01::{number}/64")];
    let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<_, String>>();
    Ok(Endpoint {
        version: VERSION,
        id: Id::from_bytes([number; 32]),
        sandbox: Id::from_bytes([number; 32]),
        name: format!("web-{number}"),
        aliases: vec!["web".into()],
        network: "bench".into(),
        driver: Driver::Bridge,
        interface: "eth0".into(),
        host_interface: format!("veth{number}"),
        hardware: HardwareAddress([2, 0, 0, 0, 0, number]),
        addresses: addresses.map_err(anyhow::Error::msg)?,
        gateways: vec![],
        ports: vec![],
        servers: vec![],
    })
}
