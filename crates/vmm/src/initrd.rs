//! The first root of a guest: the kernel's modules, and behind them an archive with the agent.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holm_spec::agent::INIT_PATH;
use holm_spec::cpio::Archive;

use crate::{Error, Result};

/// Makes the first root in `directory`, or finds the one that an earlier machine of the same kernel and the same Holm
/// made. The file may be read by everybody: what it holds is no secret, and its reader has no rights.
///
/// # Errors
/// A file cannot be read or written.
pub fn prepare(directory: &Path, modules: &Path, agent: &Path, init: &Path) -> Result<PathBuf> {
    let key = [modules, agent, init].map(identity).into_iter().collect::<Result<Vec<_>>>()?.join("-");
    let path = directory.join(format!("{key}.cpio"));
    if path.exists() {
        return Ok(path);
    }
    let staged = directory.join(format!(".new-{}-{key}", std::process::id()));
    write(&staged, modules, agent, init)
        .and_then(|()| fs::rename(&staged, &path))
        .inspect_err(|_| drop(fs::remove_file(&staged)))
        .map_err(|error| Error::caused(format!("make the guest's first root `{}`", path.display()), error))?;
    Ok(path)
}

/// What tells one version of a file from another.
fn identity(path: &Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata =
        fs::metadata(path).map_err(|error| Error::caused(format!("look at `{}`", path.display()), error))?;
    Ok(format!("{:x}.{:x}.{:x}.{:x}", metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime()))
}

fn write(path: &Path, modules: &Path, agent: &Path, init: &Path) -> std::io::Result<()> {
    let mut out = File::options().write(true).create(true).truncate(true).open(path)?;
    out.set_permissions(Permissions::from_mode(0o444))?;
    std::io::copy(&mut File::open(modules)?, &mut out)?;
    out.write_all(&agent_archive(&read(agent)?, &read(init)?))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The archive with the agent as the guest's first program.
pub fn agent_archive(agent: &[u8], init: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    let init_path = INIT_PATH.trim_start_matches('/');
    for (at, _) in init_path.match_indices('/') {
        archive.directory(&init_path[..at]);
    }
    archive.file("init", 0o755, agent).file(init_path, 0o755, init);
    archive.finish()
}
