//! The files of one log: the one that grows, and those that were full, some of them compressed.
//!
//! The keeper may move them on at any time, and readers take no lock. A list is right if the file that grows was the same
//! before and after it was made; otherwise it is made once more. A file that is open is known by its inode number, which a
//! compressed one has in its header: no other file can get that number while the first is open.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use holm_spec::log::{Files, compressed, rotated};

use super::record::LogForm;
use super::tail::Tail;

/// How often a list is made that turns out to be wrong: a log cannot be full so often while one is made.
const ATTEMPTS: usize = 10;

/// Where a log is, and of how many files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub files: Files,
}

/// A file of a log that is being read.
#[derive(Debug)]
pub(super) struct LogFile {
    inode: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    /// The reader's file is the same, with the same position.
    Compressed(File, Decoder),
}

type Decoder = Box<BufReader<GzDecoder<File>>>;

impl Place {
    /// Opens all files, the oldest first.
    ///
    /// # Errors
    /// One is there and cannot be opened.
    pub fn open(&self) -> io::Result<Vec<LogFile>> {
        for _ in 1..ATTEMPTS {
            let files = self.try_open()?;
            if inode_at(&self.path) == files.last().filter(|file| file.grows).map(|file| file.file.inode) {
                return Ok(files.into_iter().map(|file| file.file).collect());
            }
        }
        Ok(self.try_open()?.into_iter().map(|file| file.file).collect())
    }

    /// The files that came after one that was read; none if that one still grows. All that there are if it is gone.
    ///
    /// # Errors
    /// One is there and cannot be opened.
    pub fn after(&self, read: Option<&LogFile>) -> io::Result<Vec<LogFile>> {
        let Some(read) = read else { return self.open() };
        if inode_at(&self.path).is_none_or(|inode| inode == read.inode) {
            return Ok(Vec::new());
        }
        let mut files = self.open()?;
        match files.iter().rposition(|file| file.inode == read.inode) {
            Some(place) => drop(files.drain(..=place)),
            None => tracing::warn!("the log was full more often than it was read: lines are missing"),
        }
        Ok(files)
    }

    fn try_open(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        files.extend(LogFile::plain(&self.path)?.map(|file| Listed { file, grows: true }));
        for number in 1..self.files.max_files {
            let plain = rotated(&self.path, number);
            let file = match LogFile::plain(&plain)? {
                None => LogFile::compressed(&compressed(&plain))?,
                found => found,
            };
            files.extend(file.map(|file| Listed { file, grows: false }));
        }
        files.reverse();
        Ok(files)
    }
}

struct Listed {
    file: LogFile,
    grows: bool,
}

fn inode_at(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

impl LogFile {
    fn plain(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = open(path)? else { return Ok(None) };
        Ok(Some(Self { inode: file.metadata()?.ino(), source: Source::Plain(file) }))
    }

    fn compressed(path: &Path) -> io::Result<Option<Self>> {
        let Some(mut file) = open(path)? else { return Ok(None) };
        let decoder = decoder(&mut file)?;
        let comment = decoder.get_ref().header().and_then(|header| header.comment());
        let inode = comment.and_then(|comment| std::str::from_utf8(comment).ok()?.parse().ok());
        Ok(Some(Self { inode: inode.unwrap_or_default(), source: Source::Compressed(file, decoder) }))
    }

    /// Goes to where the last lines begin; false if that is in an older file, or there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seek(&mut self, tail: &mut Tail, form: LogForm) -> io::Result<bool> {
        match &mut self.source {
            Source::Plain(file) => tail.seek(file, form),
            Source::Compressed(file, reader) => {
                let lines = tail.count(reader, form)?;
                *reader = decoder(file)?;
                tail.skip(reader, lines, form)
            }
        }
    }
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Plain(file) => file.read(buffer),
            Source::Compressed(_, reader) => reader.read(buffer).or_else(|error| {
                tracing::warn!("a compressed file of the log ends early: {error}");
                Ok(0)
            }),
        }
    }
}

/// Reads from the beginning.
fn decoder(file: &mut File) -> io::Result<Decoder> {
    file.rewind()?;
    Ok(Box::new(BufReader::new(GzDecoder::new(file.try_clone()?))))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::GzBuilder;

    use super::*;

    fn place(directory: &Path) -> Place {
        Place { path: directory.join("0.log"), files: Files::LOCAL }
    }

    fn contents(files: Vec<LogFile>) -> Vec<String> {
        files.into_iter().map(|file| io::read_to_string(file).expect("text")).collect()
    }

    /// What the keeper does when a file is full.
    fn rotate(place: &Place, text: &str) {
        for number in (1..place.files.max_files - 1).rev() {
            let (from, to) = (rotated(&place.path, number), rotated(&place.path, number + 1));
            drop(fs::rename(&from, &to));
            drop(fs::rename(compressed(&from), compressed(&to)));
        }
        fs::rename(&place.path, rotated(&place.path, 1)).expect("renamed");
        fs::write(&place.path, text).expect("written");
    }

    fn compress(place: &Place, number: u32) {
        let plain = rotated(&place.path, number);
        let inode = fs::metadata(&plain).expect("there").ino();
        let target = File::create(compressed(&plain)).expect("made");
        let mut encoder =
            GzBuilder::new().comment(inode.to_string()).write(target, flate2::Compression::fast());
        encoder.write_all(&fs::read(&plain).expect("read")).expect("written");
        encoder.finish().expect("written");
        fs::remove_file(plain).expect("removed");
    }

    #[test]
    fn a_reader_finds_where_to_go_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = place(directory.path());
        assert!(place.open().expect("nothing").is_empty());
        fs::write(&place.path, "1").expect("written");
        let read = place.open().expect("there").pop().expect("one");
        assert!(place.after(Some(&read)).expect("there").is_empty());
        rotate(&place, "2");
        assert_eq!(contents(place.after(Some(&read)).expect("there")), ["2"]);
        rotate(&place, "3");
        compress(&place, 2);
        assert_eq!(contents(place.open().expect("there")), ["1", "2", "3"]);
        assert_eq!(contents(place.after(Some(&read)).expect("there")), ["2", "3"]);
        compress(&place, 1);
        rotate(&place, "4");
        assert_eq!(contents(place.after(Some(&read)).expect("there")), ["2", "3", "4"]);
        for number in 5..8 {
            rotate(&place, &number.to_string());
        }
        // The file is gone.
        fs::remove_file(compressed(&rotated(&place.path, 4))).expect("there");
        assert_eq!(contents(place.after(Some(&read)).expect("there")), ["3", "4", "5", "6", "7"]);
    }

    #[test]
    fn a_compressed_file_that_is_torn_ends_early() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = place(directory.path());
        fs::write(&place.path, "one\n".repeat(100_000)).expect("written");
        rotate(&place, "last");
        compress(&place, 1);
        let path = compressed(&rotated(&place.path, 1));
        let bytes = fs::read(&path).expect("there");
        for length in [bytes.len() / 2, 12, 0] {
            fs::write(&path, &bytes[..length]).expect("written");
            let found = contents(place.open().expect("there"));
            assert!(bytes.len() > length && "one\n".repeat(100_000).starts_with(&found[0]));
            assert_eq!(found[1], "last");
        }
    }
}
