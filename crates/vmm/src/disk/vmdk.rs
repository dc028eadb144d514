//! Descriptions of disks that consist of several files (VMware Virtual Disk Format 5.0, "flat" extents), as QEMU
//! reads them.

use std::fmt::Write as _;

/// The description of a disk made of files, each with its number of sectors.
pub fn descriptor<'a>(extents: impl Iterator<Item = (u64, &'a String)>) -> String {
    let mut text = String::from(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n",
    );
    // QEMU 7.2 takes an extent behind an empty line for two of them.
    text.push_str("# Extents\n");
    for (sectors, path) in extents {
        // Whether it may be written is said elsewhere; QEMU refuses what is not marked so.
        writeln!(text, "RW {sectors} FLAT \"{path}\" 0").expect("a string takes all");
    }
    text.push_str("# Disk Data Base\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n");
    text.push_str(
        "ddb.geometry.cylinders = \"1\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n",
    );
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_extent_stands_behind_an_empty_line() {
        let paths = ["/dev/fdset/2".to_owned(), "/dev/fdset/3".to_owned()];
        let text = super::descriptor([40, 8].into_iter().zip(&paths));
        assert!(text.contains("\nRW 40 FLAT \"/dev/fdset/2\" 0\nRW 8 FLAT \"/dev/fdset/3\" 0\n"));
        assert!(!text.contains("\n\n"));
    }
}
