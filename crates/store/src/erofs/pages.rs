//! Memory that goes on in a file when it has become too large: pages, of which the ones that were used last are kept.
//!
//! The file is made when it is needed; it has no name, and nothing in it outlives the process.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use holm_sys::file::unnamed_file;
use holm_tar::Error;

/// Bytes of a page.
const PAGE: usize = 4096;
/// The number of no frame.
const ABSENT: u32 = u32::MAX;

/// How much is kept in memory, and where the rest goes.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// Where files can be made; without one everything stays in memory.
    pub directory: Option<PathBuf>,
    /// Bytes in memory.
    pub memory: usize,
}

impl Budget {
    /// A part of it.
    pub(super) fn share(&self, part: usize, of: usize) -> Self {
        Self { directory: self.directory.clone(), memory: self.memory / of * part }
    }
}

/// Bytes by their places, zero until they are written.
#[derive(Debug)]
pub(super) struct Pages(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    budget: Budget,
    file: Option<File>,
    frames: Vec<Frame>,
    /// The frame of each page.
    places: Vec<u32>,
    /// The frame that is looked at first when one is needed.
    hand: usize,
}

/// A page in memory.
#[derive(Debug)]
struct Frame {
    page: usize,
    bytes: Box<[u8; PAGE]>,
    changed: bool,
    /// Used since the hand came by.
    used: bool,
}

impl Pages {
    /// Nothing but zeros.
    pub fn new(budget: Budget) -> Self {
        Self(RefCell::new(Inner { budget, file: None, frames: Vec::new(), places: Vec::new(), hand: 0 }))
    }

    /// Reads the bytes from `start` on.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn read(&self, start: u64, out: &mut [u8]) -> Result<(), Error> {
        let mut inner = self.0.borrow_mut();
        each_part(start, out.len(), |page, at, part| {
            let frame = inner.frame(page)?;
            out[part].copy_from_slice(&frame.bytes[at]);
            Ok(())
        })
        .map_err(|error| Error::write("keeping the layer's names in a file", error))
    }

    /// Writes bytes from `start` on.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn write(&self, start: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut inner = self.0.borrow_mut();
        each_part(start, bytes.len(), |page, at, part| {
            let frame = inner.frame(page)?;
            frame.bytes[at].copy_from_slice(&bytes[part]);
            frame.changed = true;
            Ok(())
        })
        .map_err(|error| Error::write("keeping the layer's names in a file", error))
    }
}

/// Cuts a range at the borders of pages: the page, the bytes in it, and which of the range they are.
fn each_part(
    start: u64,
    length: usize,
    mut each: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let place = start + done as u64;
        let at = (place % PAGE as u64) as usize;
        let count = (PAGE - at).min(length - done);
        let page = usize::try_from(place / PAGE as u64).map_err(io::Error::other)?;
        each(page, at..at + count, done..done + count)?;
        done += count;
    }
    Ok(())
}

impl Inner {
    /// The frame of a page.
    fn frame(&mut self, page: usize) -> io::Result<&mut Frame> {
        if self.places.len() <= page {
            self.places.resize(page + 1, ABSENT);
        }
        let mut place = self.places[page];
        if place == ABSENT {
            place = self.load(page)?;
        }
        let frame = &mut self.frames[place as usize];
        frame.used = true;
        Ok(frame)
    }

    /// Gives a page a frame: a new one, or that of a page which was not used for some time.
    fn load(&mut self, page: usize) -> io::Result<u32> {
        let is_full = self.frames.len() >= (self.budget.memory / PAGE).max(1);
        if let Some(directory) = self.budget.directory.as_ref().filter(|_| is_full && self.file.is_none()) {
            self.file = Some(unnamed_file(directory)?);
        }
        let Some(file) = self.file.as_ref().filter(|_| is_full) else {
            let place = u32::try_from(self.frames.len()).map_err(io::Error::other)?;
            self.frames.push(Frame { page, bytes: Box::new([0; PAGE]), changed: false, used: false });
            self.places[page] = place;
            return Ok(place);
        };
        while self.frames[self.hand].used {
            self.frames[self.hand].used = false;
            self.hand = (self.hand + 1) % self.frames.len();
        }
        let place = self.hand as u32;
        let frame = &mut self.frames[self.hand];
        if frame.changed {
            file.write_all_at(&frame.bytes[..], (frame.page * PAGE) as u64)?;
        }
        self.places[frame.page] = ABSENT;
        read_page(file, page, &mut frame.bytes)?;
        (frame.page, frame.changed) = (page, false);
        self.places[page] = place;
        self.hand = (self.hand + 1) % self.frames.len();
        Ok(place)
    }
}

/// Reads a page; what was never written is zero.
fn read_page(file: &File, page: usize, bytes: &mut [u8; PAGE]) -> io::Result<()> {
    let mut length = 0;
    while length < PAGE {
        match file.read_at(&mut bytes[length..], (page * PAGE + length) as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes[length..].fill(0);
    Ok(())
}

/// Records of `SIZE` bytes by their numbers.
#[derive(Debug)]
pub(super) struct Array<const SIZE: usize> {
    pages: Pages,
    length: u64,
}

impl<const SIZE: usize> Array<SIZE> {
    /// No records.
    pub fn new(budget: Budget) -> Self {
        Self { pages: Pages::new(budget), length: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// The record `index`; zeros behind the last one.
    ///
    /// # Errors
    /// As [`Pages::read`].
    pub fn get(&self, index: u64) -> Result<[u8; SIZE], Error> {
        let mut record = [0; SIZE];
        self.pages.read(index * SIZE as u64, &mut record)?;
        Ok(record)
    }

    /// Changes the record `index`; those before it that were never written are zeros.
    ///
    /// # Errors
    /// As [`Pages::write`].
    pub fn set(&mut self, index: u64, record: &[u8; SIZE]) -> Result<(), Error> {
        self.length = self.length.max(index + 1);
        self.pages.write(index * SIZE as u64, record)
    }

    /// Adds a record; its number.
    ///
    /// # Errors
    /// As [`Pages::write`].
    pub fn push(&mut self, record: &[u8; SIZE]) -> Result<u64, Error> {
        let index = self.length;
        self.set(index, record)?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(pages: usize) -> Budget {
        Budget { directory: Some(std::env::temp_dir()), memory: pages * PAGE }
    }

    #[test]
    fn what_was_written_is_read_however_little_is_kept() {
        for pages in [1, 2, 7, 1000] {
            let mut array = Array::<12>::new(budget(pages));
            let record = |number: u64| {
                let mut record = [0; 12];
                record[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
                record
            };
            for number in 0..5000 {
                assert_eq!(array.push(&record(number)).expect("written"), number);
            }
            for step in [1, 977, 4999] {
                for number in (0..5000).map(|number| number * step % 5000) {
                    assert_eq!(array.get(number).expect("read"), record(number), "{pages} {number}");
                }
            }
            array.set(17, &[9; 12]).expect("written");
            assert_eq!((array.get(17).expect("read"), array.get(18).expect("read")), ([9; 12], record(18)));
            assert_eq!(array.get(100_000).expect("never written"), [0; 12]);
            assert!(array.pages.0.borrow().frames.len() <= pages);
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let mut array = Array::<64>::new(Budget { directory: Some("/proc/self".into()), memory: PAGE });
        let failed = (0..1000).find_map(|_| array.push(&[1; 64]).err()).expect("it cannot be written");
        assert!(failed.to_string().contains("in a file"), "{failed}");
    }
}
