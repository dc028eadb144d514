//! Disks for what workloads write: a sparse file with an empty ext4 (docs/design/0011).
//!
//! The host makes the file system and never mounts it again: what a guest wrote is only read by guests.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// Makes a disk of `bytes` at `path`; whole or not at all.
///
/// # Errors
/// There is no mkfs.ext4, or no room.
pub fn make(path: &Path, bytes: u64) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::caused(format!("make scratch disk `{}`", path.display()), error);
    let file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    let made = file
        .set_permissions(Permissions::from_mode(0o600))
        .and_then(|()| file.set_len(bytes))
        .map_err(failed)
        .and_then(|()| format(path));
    made.inspect_err(|_| drop(fs::remove_file(path)))
}

/// A small journal, so that a machine that was killed starts again with a whole file system. Tables are made lazily by
/// the guest: the file begins with 300 KiB.
fn format(path: &Path) -> Result<()> {
    const OPTIONS: [&str; 10] = [
        "-q",
        "-F",
        "-m0",
        "-Ohas_journal,sparse_super2,^resize_inode",
        "-Jsize=8",
        "-i65536",
        "-Elazy_itable_init=1,lazy_journal_init=1,nodiscard,assume_storage_prezeroed=1,num_backup_sb=0",
        "-Lholm-scratch",
        "-I256",
        "-b4096",
    ];
    let output = Command::new("mkfs.ext4")
        .args(OPTIONS)
        .arg(path)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(Error::new(format!("format scratch disk `{}`: mkfs.ext4: {words}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::caused("format the scratch disk", "`mkfs.ext4` is not there")
                .with_hint("install e2fsprogs"))
        }
        Err(error) => Err(Error::caused("execute `mkfs.ext4`", error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_disk_takes_little_until_it_is_written_to() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("disk");
        super::make(&path, 64 << 30).expect("mkfs.ext4 is there");
        let metadata = std::fs::metadata(&path).expect("made");
        assert_eq!(metadata.len(), 64 << 30);
        assert!(metadata.blocks() * 512 < 16 << 20, "{} blocks", metadata.blocks());
        assert!(super::make(&path, 64 << 30).is_err(), "it is there already");
        assert!(path.exists(), "what is there stays");
    }
}
