//! A streaming reader of ar archives as Debian packages are (deb(5)), which expects hostile input.
//!
//! ```text
//! archive: "!<arch>\n" member*
//! member:  name[16] time[12] owner[6] group[6] mode[8] size[10] "`\n"  data  ["\n" to an even length]
//! ```
//! Names are short ones only: packages have no others.

use std::io::{self, Read};

use crate::error::{Error, Kind, Result};
use holm_tar::shown;

/// What an archive begins with.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;

/// An archive of which one member is at hand: reading gives the data of that.
#[derive(Debug)]
pub struct Archive<R> {
    input: R,
    /// Bytes of the member's data that were not read.
    left: u64,
    /// Whether a byte follows that data.
    padded: bool,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: printable, without a slash.
    pub name: String,
    /// Bytes of data.
    pub size: u64,
}

impl<R: Read> Archive<R> {
    /// Reads the beginning of an archive.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is none; what reading reports.
    pub fn new(mut input: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(Self { input, left: 0, padded: false }),
            Ok(()) => Err(Error::new(Kind::Invalid, "the input is no ar archive")),
            Err(error) => Err(failed("reading the start of an ar archive", error)),
        }
    }

    /// The next member; what was not read of the one before is skipped. `None` at the end.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an archive that ends early or has a header that is none; what reading reports.
    #[expect(clippy::should_implement_trait, reason = "the member's data is read from the archive")]
    pub fn next(&mut self) -> Result<Option<Member>> {
        self.skip()?;
        let mut header = [0; HEADER];
        match self.fill(&mut header)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(Error::new(Kind::Invalid, "the ar archive ends inside a header")),
        }
        let member = parse(&header)?;
        self.left = member.size;
        self.padded = member.size % 2 == 1;
        Ok(Some(member))
    }

    fn skip(&mut self) -> Result<()> {
        io::copy(self, &mut io::sink())
            .map_err(|error| failed("skipping a member of an ar archive", error))?;
        // Some writers leave the last byte out.
        if std::mem::take(&mut self.padded) {
            self.fill(&mut [0])?;
        }
        Ok(())
    }

    /// Fills the buffer as far as there is input.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut length = 0;
        while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("reading an ar archive", error)),
            }
        }
        Ok(length)
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.input.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn parse(header: &[u8; HEADER]) -> Result<Member> {
    let (name, size, end) = (&header[..16], &header[48..58], &header[58..]);
    let name = name.trim_ascii_end();
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let wrong = |what: &str| {
        Error::new(Kind::Invalid, format!("member `{}` of the ar archive has {what}", shown(name)))
    };
    if end != b"`\n" {
        return Err(wrong("a header that is none"));
    }
    let printable = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/');
    if !printable {
        return Err(wrong("a name that no Debian package has"));
    }
    let digits = size.trim_ascii_end();
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let size = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let size = size.ok_or_else(|| wrong("a size that is no number"))?;
    Ok(Member { name: String::from_utf8_lossy(name).into_owned(), size })
}

fn failed(what: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::because(Kind::Invalid, what, error),
        _ => Error::io(what, error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An archive of members with their data.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, data) in members {
            let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len());
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut archive = Archive::new(bytes)?;
        let mut members = Vec::new();
        while let Some(member) = archive.next()? {
            let mut data = Vec::new();
            archive.read_to_end(&mut data).map_err(|error| failed("reading", error))?;
            members.push((member.name, data));
        }
        Ok(members)
    }

    #[test]
    fn members_come_in_order_whether_they_are_read_or_not() {
        let bytes = archive(&[("debian-binary", b"2.0\n"), ("odd/", b"123"), ("empty", b""), ("last", b"x")]);
        let members = read(&bytes).expect("an archive");
        let expected: [(&str, &[u8]); 4] =
            [("debian-binary", b"2.0\n"), ("odd", b"123"), ("empty", b""), ("last", b"x")];
        assert_eq!(members, expected.map(|(name, data)| (name.to_owned(), data.to_vec())));
        let mut archive = Archive::new(&bytes[..]).expect("an archive");
        let mut names = Vec::new();
        while let Some(member) = archive.next().expect("a member") {
            names.push(member.name);
        }
        assert_eq!(names, ["debian-binary", "odd", "empty", "last"]);
        assert_eq!(read(&bytes[..bytes.len() - 1]).expect("without the last padding").len(), 4);
    }

    #[test]
    fn hostile_archives_are_refused() {
        let good = archive(&[("a", b"1234"), ("b", b"12")]);
        for length in (0..good.len()).filter(|length| ![8, 72].contains(length)) {
            if length < good.len() {
                let error = read(&good[..length]).expect_err("cut off");
                assert_eq!(error.kind(), Kind::Invalid, "{length}: {error}");
            }
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut bad = good.clone();
            bad[8 + at..8 + at + bytes.len()].copy_from_slice(bytes);
            read(&bad).expect_err("hostile").to_string()
        };
        for size in ["-1        ", "          ", "1e3       ", "0x10      ", "+4        ", "4 4       "] {
            assert!(with(48, size.as_bytes()).contains("size"), "{size}");
        }
        assert_eq!(with(48, b"9999999999"), "reading");
        for name in ["../../etc/passwd", "/               ", "                ", "a\0              "] {
            assert!(with(0, name.as_bytes()).contains("name"), "{name}");
        }
        assert!(with(58, b"\n`").contains("header"));
        assert!(read(b"!<thin>\n").is_err());
    }
}
