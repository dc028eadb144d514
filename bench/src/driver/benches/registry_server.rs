//! `holm registry serve` beside Debian's docker-registry: what a pull costs the server, and the most memory that it takes.
//!
//! Both have the same blobs, pushed by the same client, and serve by turns. What counts is the processor time of the
//! server's process, from `/proc`; the client's is not in it.

mod client;

use std::time::Instant;

use anyhow::{Context, Result};
use holm_bench::floor::sys;

use super::content;
use crate::driver::Machine;
use crate::driver::pairing::Spread;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::server::Server;
use client::Client;

/// Small blobs, and their size in bytes.
const SMALL: usize = 64;
const SMALL_SIZE: usize = 4096;
/// Connections that fetch them.
const CONNECTIONS: usize = 8;
const REPOSITORY: &str = "bench/app";

/// How much is done.
struct Extent {
    rounds: u32,
    /// Small blobs that each connection fetches in a round.
    fetches: usize,
    /// Bytes of the large blob, and how often a round fetches it.
    large: usize,
    pulls: usize,
    /// Bytes of the blob for the peak of memory.
    huge: usize,
}

impl Extent {
    fn of(machine: &Machine<'_>) -> Self {
        match machine.arguments.quick {
            true => Self { rounds: 2, fetches: 500, large: 32 << 20, pulls: 2, huge: 128 << 20 },
            false => Self { rounds: 5, fetches: 1000, large: 256 << 20, pulls: 4, huge: 2 << 30 },
        }
    }
}

/// Serves, fetches, compares.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let extent = Extent::of(machine);
    let servers = || -> Result<[Server; 2]> {
        let base = machine.scratch.path();
        Ok([Server::ours(base, machine.arguments.bin_dir.as_deref())?, Server::debians(base)?])
    };
    let servers = match servers() {
        Ok(servers) => servers,
        Err(why) => return report.could_not_run("registry-server", format!("{why:#}")),
    };
    for measured in [fetch_all(&servers, &extent, report), push_huge(&servers, &extent, report)] {
        if let Err(error) = measured {
            report.could_not_run("registry-server", format!("{error:#}"));
        }
    }
}

/// What a round gave: bytes or requests by second of the server's processor, and by second of the clock.
#[derive(Clone, Copy)]
struct Rate {
    by_cpu: f64,
    by_wall: f64,
}

fn fetch_all(servers: &[Server; 2], extent: &Extent, report: &mut Report) -> Result<()> {
    let small: Vec<Vec<u8>> = (0..SMALL).map(|number| content(number, SMALL_SIZE)).collect();
    let large = content(SMALL, extent.large);
    let mut digests = Vec::new();
    for server in servers {
        let mut client = Client::connect(&server.address)?;
        digests = small.iter().map(|blob| client.push(REPOSITORY, blob)).collect::<Result<_>>()?;
        digests.push(client.push(REPOSITORY, &large)?);
    }
    let Some((large, small)) = digests.split_last() else { return Ok(()) };
    let (mut many, mut one) = (Rates::default(), Rates::default());
    for _ in 0..extent.rounds {
        for (at, server) in servers.iter().enumerate() {
            if sys::interrupted() {
                return Ok(());
            }
            many.add(
                at,
                rate(server, (CONNECTIONS * extent.fetches) as f64, || {
                    fetch_small(server, small, extent.fetches)
                })?,
            );
            let bytes = (extent.pulls * extent.large) as f64 / 1e6;
            one.add(at, rate(server, bytes, || fetch_large(server, large, extent.pulls))?);
        }
    }
    many.report(&format!("registry-server: blobs of 4 KiB, {CONNECTIONS} connections"), "requests", report);
    one.report(&format!("registry-server: one blob of {} MiB", extent.large >> 20), "MB", report);
    Ok(())
}

/// Samples of both servers.
#[derive(Default)]
struct Rates([Vec<Rate>; 2]);

impl Rates {
    fn add(&mut self, at: usize, rate: Rate) {
        if let Some(rates) = self.0.get_mut(at) {
            rates.push(rate);
        }
    }

    fn report(&self, title: &str, unit: &'static str, report: &mut Report) {
        let median = |at: usize, of: fn(&Rate) -> f64| Spread::of(self.0[at].iter().map(of)).median;
        let mut figures = Figures::new(title);
        for (at, name) in ["holm", "docker-registry"].into_iter().enumerate() {
            figures.push(
                format!("{name}: by second of the server's processor"),
                median(at, |rate| rate.by_cpu),
                unit,
                None,
            );
            figures.push(format!("{name}: by second"), median(at, |rate| rate.by_wall), unit, None);
        }
        let ratio = median(0, |rate| rate.by_cpu) / median(1, |rate| rate.by_cpu);
        figures.push("holm / docker-registry, by processor time", ratio, "", Some(Goal::AtLeast(2.0)));
        report.add(figures);
    }
}

fn rate(server: &Server, amount: f64, work: impl FnOnce() -> Result<()>) -> Result<Rate> {
    let (cpu, begun) = (server.processor_time()?, Instant::now());
    work()?;
    let wall = begun.elapsed().as_secs_f64();
    // The kernel counts in hundredths of a second.
    let cpu = (server.processor_time()? - cpu).max(0.01);
    Ok(Rate { by_cpu: amount / cpu, by_wall: amount / wall })
}

fn fetch_small(server: &Server, digests: &[String], fetches: usize) -> Result<()> {
    let fetch = |first: usize| -> Result<()> {
        let mut client = Client::connect(&server.address)?;
        for digest in digests.iter().cycle().skip(first).take(fetches) {
            client.fetch(REPOSITORY, digest)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let fetchers: Vec<_> = (0..CONNECTIONS).map(|first| scope.spawn(move || fetch(first))).collect();
        fetchers.into_iter().try_for_each(|fetcher| fetcher.join().expect("nothing in it panics"))
    })
}

fn fetch_large(server: &Server, digest: &str, pulls: usize) -> Result<()> {
    let mut client = Client::connect(&server.address)?;
    (0..pulls).try_for_each(|_| client.fetch(REPOSITORY, digest))
}

/// Pushes a blob that is larger than any memory should be, and pulls it; the peaks are those of the whole run.
fn push_huge(servers: &[Server; 2], extent: &Extent, report: &mut Report) -> Result<()> {
    let title =
        format!("registry-server: memory, with a blob of {} MiB pushed and pulled", extent.huge >> 20);
    let mut figures = Figures::new(title);
    for server in servers {
        let mut client = Client::connect(&server.address)?;
        let digest = client.push_repeated(REPOSITORY, &content(SMALL + 1, 1 << 20), extent.huge >> 20);
        let digest = digest.with_context(|| format!("pushing to {}", server.name))?;
        client.fetch(REPOSITORY, &digest)?;
        let goal = (server.name == "holm").then_some(Goal::AtMost(64.0));
        figures.push(format!("{}: most memory", server.name), server.peak()?, "MiB", goal);
    }
    report.add(figures);
    Ok(())
}
