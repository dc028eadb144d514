//! The floor of keeping a log: read what is there, write it with a time before each line. And who it is that speaks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use holm_spec::Timestamp;

/// Bytes of a line, its end included.
pub const LINE: usize = 100;

/// Lines between two looks at the clock.
const TOGETHER: u64 = 50;

/// Writes so many numbered lines a second to standard output, each in one `write`, as most programs do.
///
/// # Errors
/// When nobody reads.
pub fn speak(rate: u64, seconds: u64) -> io::Result<()> {
    let (begun, mut out) = (Instant::now(), File::from(rustix::io::dup(io::stdout())?));
    let mut line = [b'x'; LINE];
    line[LINE - 1] = b'\n';
    for number in 0..rate * seconds {
        if number % TOGETHER == 0 {
            let due = Duration::from_nanos(number * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        write!(&mut line[..], "{number:08} ")?;
        out.write_all(&line)?;
    }
    Ok(())
}

/// Writes the monotonic clock in nanoseconds to standard output, so many times, with pauses of 20 ms.
///
/// # Errors
/// When nobody reads.
pub fn tell_time(times: u64) -> io::Result<()> {
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(20));
        writeln!(io::stdout(), "{}", monotonic())?;
    }
    Ok(())
}

/// The monotonic clock in nanoseconds, the same in every container.
pub fn monotonic() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Keeps what comes on standard input in the form of CRI until it ends: one `read`, one `write`.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(path: &str) -> io::Result<()> {
    let (mut file, mut input) = (File::create(path)?, io::stdin());
    let (mut buffer, mut records) = (vec![0; 16 * 1024], Vec::new());
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let time = Timestamp::from_nanos(holm_sys::process::now()).fixed_width();
        records.clear();
        for line in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
            records.extend_from_slice(&time);
            records.extend_from_slice(b" stdout F ");
            records.extend_from_slice(line);
        }
        file.write_all(&records)?;
    }
}
