//! Standard streams of a process: FIFOs for a workload's output, pipes for the rest, or a terminal.
//!
//! A workload's output FIFO is opened for reading and writing by both sides: the workload itself holds
//! a reader, so a killed keeper does not end it by SIGPIPE; it waits when the FIFO is full, until
//! another keeper opens the same path. Its input is a pipe, whose end it sees also when it opens
//! `/dev/stdin` again, and when its keeper is killed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};

/// The ends of whoever watches the process, non-blocking.
#[derive(Debug, Default)]
pub struct Streams {
    /// Write end of standard input, or the terminal.
    pub stdin: Option<OwnedFd>,
    /// Read ends of standard output and error; of a terminal only the first.
    pub outputs: [Option<OwnedFd>; 2],
    /// The streams are a terminal.
    pub terminal: bool,
    /// The terminal's other side, held so that one that every process has closed does not look like one that is gone:
    /// it may be opened again.
    #[expect(dead_code, reason = "held, not looked at")]
    other_side: Option<OwnedFd>,
}

/// More than a terminal holds: the kernel does not tell how much is on its way from one side to the other.
const TERMINAL_HOLDS: u64 = 1 << 20;

impl Streams {
    /// The most that can be read of an output before it holds nothing of what it holds now.
    pub fn held_output(&self, which: usize) -> u64 {
        match &self.outputs[which] {
            None => 0,
            Some(_) if self.terminal => TERMINAL_HOLDS,
            Some(output) => rustix::io::ioctl_fionread(output).unwrap_or(0),
        }
    }
}

/// The process's ends.
#[derive(Debug)]
pub struct ProcessEnds([OwnedFd; 3]);

impl ProcessEnds {
    /// Standard input, output, error.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        let [stdin, stdout, stderr] = &self.0;
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
    }
}

const READ_WRITE: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

/// Makes the FIFOs of a workload in `directory`; without `stdin` its standard input is `/dev/null`.
///
/// # Errors
/// What they cannot be made for; one of the name is there already.
pub fn fifos(directory: &Path, stdin: bool) -> io::Result<(Streams, ProcessEnds)> {
    let mut streams = Streams::default();
    let input = if stdin { input_pipe(&mut streams)? } else { null()? };
    let mut output = |name: &str, at: usize| -> io::Result<OwnedFd> {
        let path = directory.join(name);
        make_fifo(&path)?;
        streams.outputs[at] = Some(open(&path, READ_WRITE | OFlags::NONBLOCK, Mode::empty())?);
        Ok(open(&path, READ_WRITE, Mode::empty())?)
    };
    let (stdout, stderr) = (output("stdout", 0)?, output("stderr", 1)?);
    Ok((streams, ProcessEnds([input, stdout, stderr])))
}

/// Takes away the FIFOs of a run that is over.
pub fn remove_fifos(directory: &Path) {
    for name in ["stdout", "stderr"] {
        // What stays is told when they are made anew.
        let _ = std::fs::remove_file(directory.join(name));
    }
}

fn input_pipe(streams: &mut Streams) -> io::Result<OwnedFd> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&write, OFlags::NONBLOCK)?;
    streams.stdin = Some(write);
    Ok(read)
}

fn make_fifo(path: &Path) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?)
}

fn null() -> io::Result<OwnedFd> {
    Ok(open("/dev/null", READ_WRITE, Mode::empty())?)
}

/// Opens the FIFOs that another keeper made.
pub fn reopen_fifos(directory: &Path) -> Streams {
    let end = |name: &str, flags: OFlags| {
        open(directory.join(name), flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
    };
    Streams {
        stdin: None,
        outputs: [end("stdout", OFlags::RDWR), end("stderr", OFlags::RDWR)],
        ..Streams::default()
    }
}

/// Makes pipes for a process whose watcher is not to be survived; without `stdin` its standard input is `/dev/null`.
///
/// # Errors
/// There are no more descriptors.
pub fn pipes(stdin: bool) -> io::Result<(Streams, ProcessEnds)> {
    let mut streams = Streams::default();
    let input = if stdin { input_pipe(&mut streams)? } else { null()? };
    let mut output = |at: usize| -> io::Result<OwnedFd> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&read, OFlags::NONBLOCK)?;
        streams.outputs[at] = Some(read);
        Ok(write)
    };
    let (stdout, stderr) = (output(0)?, output(1)?);
    Ok((streams, ProcessEnds([input, stdout, stderr])))
}

/// Streams over the master of a terminal.
///
/// # Errors
/// It is no such master, or there are no more descriptors.
pub fn terminal(master: OwnedFd) -> io::Result<Streams> {
    fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
    let input = master.try_clone()?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let other_side = ioctl_tiocgptpeer(&master, flags)?;
    Ok(Streams {
        stdin: Some(input),
        outputs: [Some(master), None],
        terminal: true,
        other_side: Some(other_side),
    })
}
