//! Any bytes as an image: every inode that a walk of bounded length meets is read in every way.
#![no_main]

use holm_store::erofs::{FileType, Image, Inode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(image) = Image::open(input.to_vec()) else { return };
    let _ = (image.seal(&[0; 32]), image.find(b"usr/bin/env"));
    let mut pending: Vec<u64> = image.root().map(|root| root.number).into_iter().collect();
    for _ in 0..200 {
        let Some(inode) = pending.pop().map(|number| image.inode(number)) else { break };
        if let Ok(inode) = inode {
            read(&image, &inode, &mut pending);
        }
    }
});

fn read(image: &Image, inode: &Inode, pending: &mut Vec<u64>) {
    let _ = (image.xattrs(inode), image.read_link(inode), inode.device(), inode.mtime());
    for offset in [0, 4095, inode.size() / 2, inode.size().saturating_sub(1), u64::MAX] {
        let _ = image.read_data(inode, offset, &mut [0; 9000]);
    }
    if inode.file_type == FileType::Directory {
        let _ = image.read_directory(inode, &mut |listed| {
            let _ = image.lookup(inode, listed.name);
            pending.push(listed.inode);
            Ok(())
        });
    }
}
