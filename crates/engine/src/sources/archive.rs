//! Contexts that come as one stream: an archive, or a Dockerfile alone.

use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;

use holm_build::dockerfile::SIZE_LIMIT as TEXT_LIMIT;
use holm_files::View;
use holm_spec::files::{Task, Unpack};
use holm_store::compression::{Compression, Decoder, detect};

use super::Unpacked;
use crate::{Engine, Error, Kind, Result};

/// Most bytes of an archive when it is decompressed.
const SIZE_LIMIT: u64 = 64 << 30;

/// What came.
pub enum Arrived {
    /// An archive, decompressed.
    Archive(Box<dyn Read>),
    /// Something else: all of it, or enough to see that it is too large for a Dockerfile.
    Text(Vec<u8>),
}

impl Arrived {
    /// Looks at the beginning of what comes. `name` is what people call it.
    ///
    /// # Errors
    /// It is compressed, and no archive; what reading reports.
    pub fn of(name: &str, input: impl Read + 'static) -> Result<Self> {
        let unreadable = |error| Error::io(format!("read {name}"), error);
        let broken = |error| Error::caused(Kind::Corrupt, format!("read {name}"), error);
        let (form, input) = detect(input).map_err(broken)?;
        let mut input = Decoder::new(form, input).map_err(broken)?;
        let mut head = Vec::new();
        input.by_ref().take(holm_tar::BLOCK as u64).read_to_end(&mut head).map_err(unreadable)?;
        if holm_tar::is_archive(&head) {
            return Ok(Self::Archive(Box::new(Cursor::new(head).chain(input).take(SIZE_LIMIT))));
        }
        if form != Compression::None {
            return Err(Error::new(Kind::Corrupt, format!("{name} is compressed, and no tar archive")));
        }
        input.take(TEXT_LIMIT as u64 + 1).read_to_end(&mut head).map_err(unreadable)?;
        Ok(Self::Text(head))
    }
}

impl Engine {
    /// Unpacks an archive as a context, whose files belong to root.
    ///
    /// # Errors
    /// It cannot be unpacked; nothing is left then.
    pub fn unpack_context(&self, name: &str, archive: &mut dyn Read) -> Result<Unpacked> {
        let unpacked = self.begin_unpacked()?;
        let root = unpacked.as_fd().try_clone_to_owned();
        let root = root.map_err(|error| Error::io(format!("unpack {name}"), error))?;
        let options =
            Unpack { only: None, owner: Some((0, 0)), privileges: true, devices: false, top: false };
        let task = Task::Unpack { directory: "/".to_owned(), options };
        holm_files::perform(&task, &View::of(root), archive, &mut io::sink())
            .map_err(|error| Error::caused(Kind::Corrupt, format!("unpack {name}"), error))?;
        Ok(unpacked)
    }
}
