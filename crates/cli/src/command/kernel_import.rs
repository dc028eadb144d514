//! `holm kernel import`: a kernel for virtual machines, from Debian or from a file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use holm_engine::images::{ImportKernel, ImportedKernel};
use holm_engine::{Engine, FetchedPackage};
use holm_spec::Reference;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress;
use crate::terminal;

/// Make a kernel for virtual machines from a Debian package or a file
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm kernel import [OPTIONS] PACKAGE|FILE|-",
    after_help = "A file is a Debian package (.deb), a bzImage (vmlinuz), a vmlinux, or an Image for arm64; - is standard
input. What is no file is a Debian package's name, which apt-get downloads. Of the modules those are
kept that guests need. Prints the kernel's id; its name is localhost/kernel:RELEASE unless --tag gives
another one.

Examples:
  holm kernel import linux-image-cloud-amd64
  holm kernel import ./linux-image-6.1.0-37-cloud-arm64_6.1.140-1_arm64.deb
  holm kernel import --modules /lib/modules/$(uname -r) /boot/vmlinuz-$(uname -r)
  holm kernel import --tag my/kernel:small arch/x86/boot/bzImage"
)]
pub struct Args {
    /// Directory of the kernel's modules, or one with lib/modules/RELEASE in it
    #[arg(long, value_name = "DIR")]
    modules: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Name of the kernel
    #[arg(short, long, value_name = "REPOSITORY[:TAG]")]
    tag: Option<String>,
    /// Package, file, or - for standard input
    #[arg(value_name = "PACKAGE|FILE")]
    source: String,
}

/// Imports, and prints the kernel's id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let reference: Option<Reference> = match args.tag.as_deref() {
        Some(text) => Some(text.parse().map_err(|error| CommandError::flag("tag", error))?),
        None => None,
    };
    let engine = context.engine_with_repaired_images()?;
    let source = Source::open(&args, &engine)?;
    let request = ImportKernel {
        reference: reference.as_ref(),
        modules: args.modules.as_deref(),
        origin: &source.origin,
    };
    let progress = progress::bytes(source.length, args.quiet);
    let imported = engine.images().import_kernel(progress.wrap_read(source.reader), &request);
    progress.finish_and_clear();
    let ImportedKernel { kernel, warnings } = imported?;
    warnings.iter().for_each(|warning| context.printer.warning(warning));
    context.printer.line(kernel.id)?;
    Ok(0)
}

/// Where a kernel comes from.
struct Source {
    reader: Box<dyn Read>,
    /// Bytes, where that is known.
    length: Option<u64>,
    /// For people.
    origin: String,
    _fetched: Option<FetchedPackage>,
}

impl Source {
    fn open(args: &Args, engine: &Engine) -> Result<Self, CommandError> {
        let source = args.source.as_str();
        if source == "-" {
            return Self::standard_input();
        }
        let path = Path::new(source);
        if path.exists() || source.contains('/') || source.ends_with(".deb") {
            return Self::file(path, None);
        }
        let progress = progress::busy(&format!("apt-get download {source}"), args.quiet);
        let fetched = engine.fetch_kernel_package(source);
        progress.finish_and_clear();
        let fetched = fetched?;
        Self::file(&fetched.path.clone(), Some(fetched))
    }

    fn standard_input() -> Result<Self, CommandError> {
        if terminal::is_input_terminal() {
            let error = CommandError::new("standard input is a terminal, not a kernel");
            return Err(error.hint("write the file's name, or pipe it in"));
        }
        let reader = Box::new(std::io::stdin().lock());
        Ok(Self { reader, length: None, origin: "standard input".to_owned(), _fetched: None })
    }

    fn file(path: &Path, fetched: Option<FetchedPackage>) -> Result<Self, CommandError> {
        let shown = path.display();
        let failed = |error| CommandError::system(&format!("open `{shown}`"), error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(CommandError::new(format!("`{shown}` is a directory, not a kernel")));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { reader: Box::new(file), length, origin: name.into_owned(), _fetched: fetched })
    }
}
