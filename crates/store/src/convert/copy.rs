//! The data of files of the parents, copied into the image.

use crate::erofs::{BLOCK, Chunking, Content, DataWriter, Image, Inode, SparseFile};
use holm_tar::Error;

/// How much is copied at once.
const BUFFER: usize = 256 << 10;

/// Copies a file that has no holes.
pub(super) fn whole(image: &Image, inode: &Inode, data: &mut DataWriter<'_>) -> Result<Content, Error> {
    let block = data.start_file()?;
    range(image, inode, (0, inode.size()), data)?;
    Ok(Content::File { block, size: inode.size() })
}

/// Copies a file of chunks; holes stay holes.
pub(super) fn sparse(
    image: &Image,
    inode: &Inode,
    chunks: Chunking,
    data: &mut DataWriter<'_>,
) -> Result<SparseFile, Error> {
    let length = BLOCK << chunks.bits;
    let mut file = SparseFile::new(inode.size(), chunks.bits);
    for index in 0..chunks.count {
        let start = index * length;
        if image.is_hole(inode, start)? {
            continue;
        }
        file.put(index, data.start_file()?);
        range(image, inode, (start, inode.size().min(start.saturating_add(length))), data)?;
    }
    Ok(file)
}

fn range(
    image: &Image,
    inode: &Inode,
    (mut offset, end): (u64, u64),
    data: &mut DataWriter<'_>,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER.min(usize::try_from(end - offset).unwrap_or(BUFFER))];
    while offset < end {
        let wanted = usize::try_from(end - offset).unwrap_or(BUFFER).min(buffer.len());
        let count = image.read_data(inode, offset, &mut buffer[..wanted])?;
        data.write(&buffer[..count])?;
        offset += count as u64;
    }
    Ok(())
}
