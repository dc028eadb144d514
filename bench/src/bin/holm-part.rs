//! `holm-part`: a part of Holm as a program of its own, so that its time and memory are those of a process.
//!
//! ```text
//! holm-part convert TAR EROFS TARMETA     a layer's archive to what is mounted, by `holm_store::convert`; nothing synced
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use holm_store::convert::{LayerFiles, Options, convert};

/// As in what ships.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> Result<()> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.as_slice() {
        [verb, tar, erofs, tarmeta] if verb == "convert" => {
            convert_layer(tar.as_ref(), erofs.as_ref(), tarmeta.as_ref())
        }
        _ => bail!("usage: holm-part convert TAR EROFS TARMETA"),
    }
}

fn convert_layer(tar: &Path, erofs: &Path, tarmeta: &Path) -> Result<()> {
    let input = File::open(tar).with_context(|| format!("opening `{}`", tar.display()))?;
    // As in the store.
    let options = Options { spill: erofs.parent(), ..Options::default() };
    let (erofs, tarmeta) = (create(erofs)?, create(tarmeta)?);
    convert(input, &LayerFiles { erofs: &erofs, tarmeta: &tarmeta }, &options)?;
    Ok(())
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("making `{}`", path.display()))
}
