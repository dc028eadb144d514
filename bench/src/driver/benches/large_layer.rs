//! The most memory that large layers take: one of 2 GiB that hardly compresses, by gzip and by zstd, and one of a million
//! empty files. Each is imported, pushed by `holm push` to `holm registry serve`, and pulled into an empty store.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use holm_bench::floor::sys;
use holm_tar::{Entry, EntryKind, Writer};

use super::{content, discard};
use crate::driver::Machine;
use crate::driver::process::{Bounds, Launch};
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::server::Server;
use crate::driver::subject::{Floor, Holm};

/// Bytes that are made at once.
const PIECE: usize = 1 << 20;
/// Files of a folder; each has a name of its own in all of them.
const FILES_A_FOLDER: usize = 1000;
const GOAL_MIB: f64 = 64.0;
/// Of one command.
const PATIENCE: Duration = Duration::from_secs(900);

/// Takes minutes, and ten gigabytes of the disk on the way.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    if let Err(error) = try_measure(machine, report) {
        report.could_not_run("large-layer", format!("{error:#}"));
    }
}

fn try_measure(machine: &Machine<'_>, report: &mut Report) -> Result<()> {
    let (Some(Ok(floor)), Some(Ok(holm))) = (&machine.floor, &machine.holm) else { return Ok(()) };
    let (pieces, files) = if machine.arguments.quick { (128, 20_000) } else { (2048, 1_000_000) };
    let scratch = machine.scratch.path().join("large-layer");
    std::fs::create_dir(&scratch)?;
    let journey = Journey { machine, floor, holm, tar: scratch.join("layer.tar") };
    one_file(&journey.tar, pieces)?;
    for compression in ["gzip", "zstd"] {
        report.add(journey.travel(&format!("a file of {pieces} MiB"), compression)?);
        if sys::interrupted() {
            return Ok(());
        }
    }
    many_files(&journey.tar, files)?;
    report.add(journey.travel(&format!("{files} empty files"), "gzip")?);
    discard(&scratch)
}

/// A layer on its way from an archive to a registry and back.
struct Journey<'a> {
    machine: &'a Machine<'a>,
    floor: &'a Floor,
    holm: &'a Holm,
    tar: PathBuf,
}

impl Journey<'_> {
    fn travel(&self, what: &str, compression: &str) -> Result<Figures> {
        let base = self.machine.scratch.path().join("large-layer/server");
        std::fs::create_dir(&base)?;
        let server = Server::ours(&base, self.machine.arguments.bin_dir.as_deref())?;
        let name = format!("{}/bench/large:{compression}", server.address);
        let mut figures = Figures::new(format!("large-layer: memory, {what}, {compression}"));
        let tar = self.tar.to_str().context("a path that is no text")?;
        let steps: [&[&str]; 3] = [
            &["import", tar, &name],
            &["push", "-q", "--compression", compression, &name],
            &["pull", "-q", &name],
        ];
        for step in steps {
            if step.first() == Some(&"pull") {
                discard(&self.holm.apart())?;
            }
            self.measure(step, &mut figures)?;
        }
        figures.push(
            "registry, while pushed to and pulled from",
            server.peak()?,
            "MiB",
            Some(Goal::AtMost(GOAL_MIB)),
        );
        drop(server);
        discard(&self.holm.apart())?;
        discard(&base)?;
        Ok(figures)
    }

    fn measure(&self, step: &[&str], figures: &mut Figures) -> Result<()> {
        let bounds = Bounds { command: PATIENCE, ..Bounds::default() };
        let launch: Launch = self.holm.apart_with(step).through(self.floor.program(), &["peak", "--"]);
        let begun = Instant::now();
        let said = launch.bounded(bounds).output()?;
        let seconds = begun.elapsed().as_secs_f64();
        let kib: f64 = said.lines().last().unwrap_or_default().trim().parse().context("reading the peak")?;
        let name = step.first().copied().unwrap_or_default();
        figures.push(name, kib / 1024.0, "MiB", Some(Goal::AtMost(GOAL_MIB)));
        figures.push(format!("{name}: wall time"), seconds, "s", None);
        Ok(())
    }
}

fn one_file(tar: &Path, pieces: usize) -> Result<()> {
    let mut writer = Writer::new(BufWriter::new(File::create(tar)?));
    let mut entry = Entry::new(b"large".to_vec(), EntryKind::File, 0o644);
    entry.size = (pieces * PIECE) as u64;
    entry.stored = entry.size;
    writer.entry(&entry)?;
    for number in 0..pieces {
        writer.data(&content(number, PIECE))?;
    }
    Ok(writer.finish()?.into_inner()?.sync_all()?)
}

fn many_files(tar: &Path, files: usize) -> Result<()> {
    let mut writer = Writer::new(BufWriter::new(File::create(tar)?));
    for number in 0..files {
        let folder = format!("folder{:04}", number / FILES_A_FOLDER);
        if number % FILES_A_FOLDER == 0 {
            writer.entry(&Entry::new(folder.clone().into_bytes(), EntryKind::Directory, 0o755))?;
        }
        let path = format!("{folder}/file{number:07}");
        writer.entry(&Entry::new(path.into_bytes(), EntryKind::File, 0o644))?;
    }
    Ok(writer.finish()?.into_inner()?.sync_all()?)
}
