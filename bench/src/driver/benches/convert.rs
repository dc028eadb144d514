//! A layer's tar becomes an EROFS image: `holm_store::convert` alone, beside mkfs.erofs and beside tar, which unpacks the
//! same to the same file system.
//!
//! The digest of the archive is counted apart, since every way to check a layer has it: it is what hashing takes beyond reading.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use flate2::bufread::MultiGzDecoder;
use holm_bench::floor::sys;

use super::discard;
use crate::driver::Machine;
use crate::driver::pairing::{Series, Side, Spread, alternate};
use crate::driver::process::Launch;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::{Floor, registry};

const MOST_RUNS: u32 = 20;
const MOST_EXTRACTIONS: u32 = 5;
/// Processor time of the conversion of 170 MB, in milliseconds.
const GOAL: Goal = Goal::AtMost(350.0);

/// Processor time decides: the disk's speed is nobody's merit.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    if let Err(error) = try_measure(machine, report) {
        report.could_not_run("convert", format!("{error:#}"));
    }
}

fn try_measure(machine: &Machine<'_>, report: &mut Report) -> Result<()> {
    let scratch = machine.scratch.path().join("convert");
    std::fs::create_dir(&scratch)?;
    let tar = scratch.join("layer.tar");
    match &machine.arguments.tar {
        Some(given) => std::fs::copy(given, &tar).map(drop)?,
        None => {
            let layers = registry::layers(&registry::storage()?)?;
            unpack(layers.first().context("an image without layers")?, &tar)?;
        }
    }
    let out = scratch.join("out");
    convert(machine, report, &out, &tar)?;
    if !sys::interrupted() {
        extract(machine, report, &out, &tar)?;
    }
    discard(&scratch)
}

fn unpack(packed: &Path, tar: &Path) -> Result<()> {
    let mut packed = MultiGzDecoder::new(BufReader::new(File::open(packed)?));
    let mut tar = BufWriter::with_capacity(1 << 20, File::create(tar)?);
    std::io::copy(&mut packed, &mut tar)?;
    // Nothing of it is written to the disk while others are measured.
    Ok(tar.into_inner()?.sync_all()?)
}

fn convert(machine: &Machine<'_>, report: &mut Report, out: &Path, tar: &Path) -> Result<()> {
    let mut sides = Vec::new();
    if let Some(Ok(floor)) = &machine.floor {
        let verb = |verb: &str| Launch::new(floor.program()).with([verb.as_ref(), tar]);
        sides.extend(["read", "hash"].map(|name| Side::plain(name, verb(name))));
        sides.push(ours(floor, out, tar)?);
    }
    match converts_tars() {
        true => {
            let mkfs = Launch::new("mkfs.erofs").with(["--quiet", "--tar=f"]);
            sides.push(Side::plain("mkfs.erofs", mkfs.with([&out.join("erofs"), tar])));
        }
        false => report.note(
            "left out",
            &["mkfs.erofs: the one here takes no archives, those of erofs-utils 1.7 and later do"],
        ),
    }
    let runs = machine.arguments.measured_runs().min(MOST_RUNS);
    let series = run(sides, runs, out, Rc::new(discard));
    if sys::interrupted() {
        return Ok(());
    }
    let figures = aside(&series, std::fs::metadata(tar)?.len());
    let wanted = [("mkfs.erofs", "holm", Measure::Cpu, None)];
    report.compare("conversion of a layer", runs, series, &wanted);
    figures.into_iter().for_each(|figures| report.add(figures));
    Ok(())
}

/// In a comparison of its own: so many files keep the kernel busy for long, and whoever runs next would pay for it.
fn extract(machine: &Machine<'_>, report: &mut Report, out: &Path, tar: &Path) -> Result<()> {
    let extract = Launch::new("tar").with(["--extract", "--numeric-owner", "--file"]);
    let mut sides = vec![Side::plain("tar", extract.with([tar, "--directory".as_ref(), out]))];
    if let Some(Ok(floor)) = &machine.floor {
        sides.push(ours(floor, out, tar)?);
    }
    let runs = machine.arguments.measured_runs().min(MOST_EXTRACTIONS);
    let kept = Cell::new(0);
    let trash = out.with_extension("used");
    std::fs::create_dir(&trash)?;
    // Removed at the end: an ext4 without a journal is slow to make files for as long as others were deleted recently.
    let put_aside = move |out: &Path| {
        kept.set(kept.get() + 1);
        Ok(std::fs::rename(out, trash.join(kept.get().to_string()))?)
    };
    let series = run(sides, runs, out, Rc::new(put_aside));
    let wanted = [("tar", "holm", Measure::Cpu, None)];
    report.compare("conversion of a layer, beside its extraction", runs, series, &wanted);
    Ok(())
}

fn ours(floor: &Floor, out: &Path, tar: &Path) -> Result<Side> {
    let convert = Launch::new(part(floor)?).with(["convert".as_ref(), tar]);
    Ok(Side::plain("holm", convert.with([out.join("erofs"), out.join("tarmeta")])))
}

/// Takes a directory away.
type Remove = dyn Fn(&Path) -> Result<()>;

/// Runs by turns, each with an empty `out`, which is then taken away.
fn run(mut sides: Vec<Side>, runs: u32, out: &Path, remove: Rc<Remove>) -> Vec<Series> {
    for side in &mut sides {
        let (made, removed, remove) = (out.to_owned(), out.to_owned(), Rc::clone(&remove));
        side.prepare = Some(Box::new(move || Ok(std::fs::create_dir(&made)?)));
        side.reset = Some(Box::new(move || remove(&removed)));
    }
    alternate(&sides.iter().collect::<Vec<_>>(), runs, std::time::Duration::ZERO)
}

/// The program that has parts of Holm, beside the floor's.
fn part(floor: &Floor) -> Result<std::path::PathBuf> {
    let program = floor.program().with_file_name("holm-part");
    std::fs::metadata(&program).with_context(|| format!("looking for `{}`", program.display()))?;
    Ok(program)
}

fn converts_tars() -> bool {
    let help = Launch::new("mkfs.erofs").with(["--help"]).output();
    help.is_ok_and(|help| help.contains("--tar"))
}

/// The conversion without the digest: medians of what each round gave.
fn aside(series: &[Series], bytes: u64) -> Option<Figures> {
    let of = |name: &str| {
        let found = series.iter().find(|series| series.name == name)?;
        let samples = found.samples.as_deref().ok()?.iter();
        Some(samples.map(|sample| sample.cpu.as_secs_f64() * 1e3).collect::<Vec<_>>())
    };
    let digests: Vec<_> = of("hash")?.iter().zip(of("read")?).map(|(hash, read)| hash - read).collect();
    let conversions = of("holm")?.into_iter().zip(&digests).map(|(holm, digest)| holm - digest);
    let conversions = Spread::of(conversions);
    let mut figures = Figures::new(format!("conversion of {bytes} bytes: processor time by rounds"));
    figures.push("the digest of the archive", Spread::of(digests).median, "ms", None);
    figures.push("holm, the digest aside: median", conversions.median, "ms", Some(GOAL));
    figures.push("holm, the digest aside: minimum", conversions.min, "ms", None);
    if let Some(mkfs) = of("mkfs.erofs") {
        figures.push("mkfs.erofs, which makes none: median", Spread::of(mkfs).median, "ms", None);
    }
    Some(figures)
}
