//! An image of two layers is mounted, as far as it is ready for a container: shares of the layers' mounts and an overlay
//! over them, as the runtime makes them, beside the bare system calls.
//!
//! This process does it, since the start of another one would be most of the time. The directories of the writable part are
//! there before; `settled` is when everything is taken away again.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use holm_bench::floor::calls::Calls;
use holm_bench::floor::{LEFT_OUT_OF_MOUNT, mount as floor, sys};
use holm_runtime::layers;
use holm_runtime::rootfs::overlay;
use holm_spec::rootfs::{LayerMount, RootFs, Writable};
use holm_store::convert::{LayerFiles, Options, convert};
use holm_store::erofs::Image;
use holm_sys::shared_mount::SharedMount;

use super::{describe_gap, discard};
use crate::driver::Machine;
use crate::driver::pairing::{Series, Spread};
use crate::driver::process::Sample;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::registry;

/// Layers of the image.
const LAYERS: usize = 2;
/// Mounts without a pause are short, so many of them are made for one run that was asked for.
const ROUNDS_PER_RUN: u32 = 10;

/// First with no layer mounted, then with both in use by somebody else.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    if let Err(error) = try_measure(machine, report) {
        report.could_not_run("mount", format!("{error:#}"));
    }
}

fn try_measure(machine: &Machine<'_>, report: &mut Report) -> Result<()> {
    let scratch = machine.scratch.path().join("mount");
    std::fs::create_dir(&scratch)?;
    let image = TestMount::make(&scratch)?;
    report.note("the floor of a mount leaves out", LEFT_OUT_OF_MOUNT);
    let mut figures = Figures::new("mount of an image of two layers, ready for a container");
    for (gap, rounds) in machine.arguments.gaps().into_iter().zip([ROUNDS_PER_RUN, 1]) {
        let runs = machine.arguments.measured_runs() * rounds;
        image.alone().compare(&image, runs, gap, report, &mut figures)?;
        let (_holder, layers) = (layers::mount(&image.root)?, image.floor_layers()?);
        image.shared(&layers).compare(&image, runs, gap, report, &mut figures)?;
        if sys::interrupted() {
            return Ok(());
        }
    }
    figures.push("an empty directory on this file system", time_of_a_directory(&scratch)?, "ms", None);
    report.add(figures);
    discard(&scratch)
}

/// Milliseconds to make one: overlayfs makes some in its work directory for each mount.
fn time_of_a_directory(scratch: &Path) -> Result<f64> {
    const DIRECTORIES: u32 = 100;
    let begun = Instant::now();
    for number in 0..DIRECTORIES {
        std::fs::create_dir(scratch.join(format!("empty{number}")))?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3 / f64::from(DIRECTORIES))
}

/// One way to mount.
type Way<'a> = Box<dyn Fn() -> Result<Mounted> + 'a>;

/// What is mounted until it is dropped, the overlay first.
struct Mounted {
    _root: OwnedFd,
    _shares: Vec<SharedMount>,
    _layers: Vec<OwnedFd>,
}

/// Both sides of a comparison.
struct Sides<'a> {
    title: &'static str,
    holm: Way<'a>,
    floor: Way<'a>,
}

impl Sides<'_> {
    /// Mounts by turns, with a pause of `gap` before each; adds how long ours took.
    fn compare(
        &self,
        image: &TestMount,
        rounds: u32,
        gap: Duration,
        report: &mut Report,
        figures: &mut Figures,
    ) -> Result<()> {
        let mut samples = [Vec::new(), Vec::new()];
        // The first round is not measured.
        for round in 0..=rounds {
            let mut turn = [(0, &self.holm), (1, &self.floor)];
            if round % 2 == 1 {
                turn.reverse();
            }
            for (side, way) in turn {
                image.empty()?;
                std::thread::sleep(gap);
                let sample = time(way)?;
                samples[side].extend((round > 0).then_some(sample));
            }
        }
        let title = format!("{}, {}", self.title, describe_gap(gap));
        let ready = Spread::of(samples[0].iter().map(|sample| sample.wall.as_secs_f64() * 1e3));
        figures.push(&title, ready.median, "ms", Some(Goal::AtMost(1.0)));
        let series = ["holm", "floor"].into_iter().zip(samples);
        let series = series.map(|(name, samples)| Series { name: name.to_owned(), samples: Ok(samples) });
        let wanted = [("holm", "floor", Measure::Wall, None)];
        report.compare(&format!("mount of two layers, {title}"), rounds, series.collect(), &wanted);
        Ok(())
    }
}

fn time(way: &Way<'_>) -> Result<Sample> {
    let (cpu, begun) = (sys::time_of_this_process(), Instant::now());
    let mounted = way()?;
    let wall = begun.elapsed();
    drop(mounted);
    Ok(Sample { wall, settled: begun.elapsed(), cpu: sys::time_of_this_process().saturating_sub(cpu) })
}

/// The image's layers as files, where they are mounted, and the writable part.
struct TestMount {
    root: RootFs,
    /// Where writable parts go that were used.
    used: PathBuf,
    count: Cell<u32>,
}

impl TestMount {
    fn make(scratch: &Path) -> Result<Self> {
        let images = convert_layers(&registry::layers(&registry::storage()?)?, scratch)?;
        let layer = |source: PathBuf| LayerMount {
            lock: source.with_extension("lock"),
            target: source.with_extension("mounted"),
            source,
        };
        let (place, used) = (scratch.join("writable"), scratch.join("used"));
        std::fs::create_dir(&used)?;
        let writable = Writable { upper: place.join("upper"), work: place.join("work") };
        let layers = images.into_iter().map(layer).collect();
        Ok(Self { root: RootFs { layers, writable, volatile: true }, used, count: Cell::new(0) })
    }

    /// Makes the directories of the writable part anew: overlayfs refuses those of a volatile mount. The old ones are
    /// removed at the end, because an ext4 without a journal is slow to make files for as long as others were deleted recently.
    fn empty(&self) -> Result<()> {
        let Writable { upper, work } = &self.root.writable;
        let place = upper.parent().context("a directory without a parent")?;
        self.count.set(self.count.get() + 1);
        match std::fs::rename(place, self.used.join(self.count.get().to_string())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        Ok([upper, work].into_iter().try_for_each(std::fs::create_dir_all)?)
    }

    /// Nothing is mounted before.
    fn alone(&self) -> Sides<'_> {
        let floor = || {
            let layers = self.floor_layers()?;
            Ok(Mounted { _root: self.floor_overlay(&layers)?, _shares: Vec::new(), _layers: layers })
        };
        Sides { title: "first use", holm: Box::new(|| self.holm()), floor: Box::new(floor) }
    }

    /// Somebody else has the layers mounted.
    fn shared<'a>(&'a self, layers: &'a [OwnedFd]) -> Sides<'a> {
        let floor = || {
            let root = self.floor_overlay(layers)?;
            Ok(Mounted { _root: root, _shares: Vec::new(), _layers: Vec::new() })
        };
        Sides { title: "layers in use", holm: Box::new(|| self.holm()), floor: Box::new(floor) }
    }

    fn holm(&self) -> Result<Mounted> {
        let shares = layers::mount(&self.root)?;
        let root = overlay::mount(&layers::mounted(&self.root, &shares))?;
        Ok(Mounted { _root: root, _shares: shares, _layers: Vec::new() })
    }

    fn floor_layers(&self) -> Result<Vec<OwnedFd>> {
        let mount = |layer: &LayerMount| Ok(floor::layer(&layer.source, Calls::unrecorded())?);
        self.root.layers.iter().map(mount).collect()
    }

    fn floor_overlay(&self, layers: &[OwnedFd]) -> Result<OwnedFd> {
        let Writable { upper, work } = &self.root.writable;
        let topmost_first: Vec<_> = layers.iter().rev().collect();
        Ok(floor::overlay(&topmost_first, upper, work, Calls::unrecorded())?)
    }
}

/// Converts the lowest layers of those in `packed` to files in `place`.
fn convert_layers(packed: &[PathBuf], place: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    let mut parents = Vec::new();
    for (number, packed) in packed.iter().take(LAYERS).enumerate() {
        let path = place.join(format!("layer{number}.erofs"));
        let (erofs, tarmeta) = (File::create_new(&path)?, tempfile::tempfile()?);
        let files = LayerFiles { erofs: &erofs, tarmeta: &tarmeta };
        convert(File::open(packed)?, &files, &Options { parents: &parents, ..Options::default() })?;
        parents.push(Image::open(File::open(&path)?)?);
        images.push(path);
    }
    Ok(images)
}
