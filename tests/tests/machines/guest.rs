//! The guest of the suite, and what it says.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use holm_spec::cpio::Archive;

use super::kernel::Kernel;

const MODULES: [&str; 4] = ["virtio_mmio", "virtio_console", "virtio_balloon", "virtio_net"];
const BUSYBOX: &str = "/bin/busybox";

/// The first program. One line is one word, and what belongs to it. The node of a port is there before it can be
/// opened; it has a name only once it can.
const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
$b mount -t sysfs none /sys
for m in /modules/*; do $b insmod $m; done
while ! $b grep -qs . /sys/class/virtio-ports/*/name; do $b usleep 10000; done
for port in /dev/vport*p1; do exec 3<>$port; done
echo up >&3
i=0
while :; do i=$((i+1)); echo beat $i >&3; $b usleep 100000; done &
while read -r word rest <&3; do
  case $word in
    echo) echo echo $rest >&3;;
    console) echo $rest >/dev/ttyS0;;
    keep) kept=$rest; echo kept >&3;;
    recall) echo recalled $kept >&3;;
    memory) echo memory $($b sed -n 's/^MemTotal: *//p' /proc/meminfo) >&3;;
    net) $b ip addr add $rest dev eth0; $b ip link set eth0 up; echo net >&3;;
    words) echo words $($b cat /proc/cmdline) >&3;;
    off) $b poweroff -f;;
    reset) $b reboot -f;;
    panic) exit 1;;
  esac
done
";

/// Makes the guest's first root in a directory; the kernel and the first root.
pub fn files(directory: &Path) -> (PathBuf, PathBuf) {
    let kernel = Kernel::get(&MODULES).expect("a kernel");
    let busybox = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "modules"] {
        archive.directory(folder);
    }
    archive.file("bin/busybox", 0o755, &busybox).file("init", 0o755, INIT.as_bytes());
    for (place, (name, module)) in kernel.modules.iter().enumerate() {
        archive.file(&format!("modules/{place:02}-{name}.ko"), 0o644, module);
    }
    let initrd = directory.join("initrd");
    std::fs::write(&initrd, archive.finish()).expect("written");
    (kernel.image, initrd)
}

/// Lines that the guest said and nobody took.
#[derive(Debug, Default)]
pub struct Talk {
    part: Vec<u8>,
    lines: VecDeque<String>,
}

impl Talk {
    /// Reads what is there.
    pub fn read(&mut self, channel: BorrowedFd<'_>) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(channel, &mut buffer) {
            self.part.extend_from_slice(&buffer[..length]);
        }
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.part.drain(..=end).collect();
            self.lines.push_back(String::from_utf8_lossy(&line).trim().to_owned());
        }
    }

    /// The first line with this word in front: the rest of it.
    pub fn take(&mut self, word: &str) -> Option<String> {
        let is_it = |line: &String| line.split(' ').next() == Some(word);
        let line = self.lines.iter().position(is_it).and_then(|place| self.lines.remove(place))?;
        Some(line[word.len()..].trim().to_owned())
    }

    /// Leaves out all that was said.
    pub fn forget(&mut self) {
        self.lines.clear();
    }
}
