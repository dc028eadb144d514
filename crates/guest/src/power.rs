//! The end of the machine.

use std::path::Path;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::console;
use crate::storage::SCRATCH;

/// How often a file system that is in use is tried again, and after what pause: the kernel lets go of the mounts of
/// processes that ended when it gets to it.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Writes what is not written and powers the machine off; workloads must have ended.
pub fn off() -> ! {
    if Path::new(SCRATCH).exists() && !release_scratch() {
        console::say("the scratch disk is in use at the end; all that was written is on it");
    }
    rustix::fs::sync();
    loop {
        if let Err(errno) = reboot(RebootCommand::PowerOff) {
            console::say(&format!("power off: {errno}"));
        }
        // There is nothing else to do, and the machine can be ended from outside.
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn release_scratch() -> bool {
    for _ in 0..ATTEMPTS {
        match unmount(SCRATCH, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => std::thread::sleep(PAUSE),
            // Also where nothing is mounted on it.
            _ => return true,
        }
    }
    false
}
