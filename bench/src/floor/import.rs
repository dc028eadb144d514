//! The floor of importing a tarball: read it once, hash it once, write it once, sync it once.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = 1 << 20;

/// Copies `source` to `destination` through SHA-256, one MiB at a time, with one fdatasync at the end; the
/// digest in hexadecimal.
///
/// # Errors
/// When a file cannot be opened, read, written or synced.
pub fn import(source: &Path, destination: &Path) -> io::Result<String> {
    let mut destination = File::create(destination)?;
    let mut hash = Sha256::new();
    blocks(source, |data| {
        hash.update(data);
        destination.write_all(data)
    })?;
    destination.sync_data()?;
    Ok(hexadecimal(hash))
}

/// Reads `source` one MiB at a time, and hashes it if `hashed`; the digest in hexadecimal, of nothing if it is not.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn read(source: &Path, hashed: bool) -> io::Result<String> {
    let mut hash = Sha256::new();
    blocks(source, |data| {
        if hashed {
            hash.update(data);
        }
        Ok(())
    })?;
    Ok(hexadecimal(hash))
}

/// Hands on all of `source`, one MiB at a time.
fn blocks(source: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut source = File::open(source)?;
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(size) => each(block.get(..size).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_exact_and_the_digest_is_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let (source, destination) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&source, b"abc").unwrap();
        let digest = import(&source, &destination).unwrap();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(std::fs::read(&destination).unwrap(), b"abc");
        assert_eq!(read(&source, true).unwrap(), digest);
    }

    #[test]
    fn blocks_join_seamlessly() {
        let directory = tempfile::tempdir().unwrap();
        let (source, destination) = (directory.path().join("a"), directory.path().join("b"));
        let data: Vec<u8> = (0..BLOCK_BYTES + 17).map(|index| (index % 251) as u8).collect();
        std::fs::write(&source, &data).unwrap();
        import(&source, &destination).unwrap();
        assert_eq!(std::fs::read(&destination).unwrap(), data);
    }
}
