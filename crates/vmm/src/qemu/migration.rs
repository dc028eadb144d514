//! Snapshots by what QEMU calls migration (docs/devel/migration): the stream goes through a socket, so that the emulator
//! is given no file, and each byte is seen on its way.
//!
//! QEMU refuses to migrate a machine with a disk of many files, whatever it is used for.
//! The machine stands still, so that disk is taken out for that time, and an empty one of its size put in.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Qemu;
use super::arguments::LAYERS;
use super::qmp::Qmp;
use crate::machine::Machine;
use crate::snapshot::{Reader, Writer};
use crate::{Error, Result};

/// How long the stream may stand still, and how long it may take the emulator to tell how it went.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(2);
/// More bytes in a second than any host moves; QEMU keeps to 128 MiB otherwise.
const BANDWIDTH: u64 = 1 << 40;
/// What stands in for the disk with the layers.
const EMPTY: &str = "empty";
/// What QEMU calls the socket.
const SOCKET: &str = "snapshot";

/// Name and version of an emulator.
pub fn name(qmp: &mut Qmp) -> Result<String> {
    let version = qmp.execute("query-version", json!({}))?;
    let number = |part: &str| version["qemu"][part].as_u64().unwrap_or(0);
    Ok(format!("qemu {}.{}.{}", number("major"), number("minor"), number("micro")))
}

impl Qemu {
    /// Writes what the machine is at this moment.
    pub(super) fn save(&mut self, file: BorrowedFd<'_>) -> Result<()> {
        self.subject.check_shares()?;
        self.check_paused()?;
        let identity = self.subject.identity(name(&mut self.qmp)?)?;
        let mut writer = Writer::new(file)?;
        let saved = self.take_layers_out().and_then(|()| self.write_to(&mut writer));
        if let Err(error) = self.put_layers_in() {
            // Its guest would read nothing but zeros.
            let _ = self.stop();
            return Err(error);
        }
        saved.and_then(|()| writer.finish(&identity))
    }

    fn write_to(&mut self, writer: &mut Writer) -> Result<()> {
        let mut stream = self.begin_saving()?;
        let taken = writer.take(&mut stream, self.subject.stream_limit());
        drop(stream);
        // An emulator that gives up only ends the stream; why, it says when it is asked.
        let told = self.finish_migration(taken.is_err());
        taken.and(told)
    }

    fn take_layers_out(&mut self) -> Result<()> {
        if self.layers.is_none() {
            return Ok(());
        }
        let size = self.subject.layers_size();
        let empty = json!({ "driver": "null-co", "node-name": EMPTY, "size": size, "read-only": true });
        self.command("blockdev-add", empty)?;
        self.put_in(EMPTY)?;
        self.command("blockdev-del", json!({ "node-name": LAYERS })).map(drop)
    }

    fn put_layers_in(&mut self) -> Result<()> {
        let Some(layers) = self.layers.clone() else { return Ok(()) };
        self.command("blockdev-add", layers)?;
        self.put_in(LAYERS)?;
        self.command("blockdev-del", json!({ "node-name": EMPTY })).map(drop)
    }

    /// Puts another disk into the device of the layers.
    fn put_in(&mut self, disk: &str) -> Result<()> {
        let device = format!("/machine/peripheral/{LAYERS}");
        self.command("qom-set", json!({ "path": device, "property": "drive", "value": disk })).map(drop)
    }

    /// QEMU itself would stop a machine that runs, and leave it so.
    fn check_paused(&mut self) -> Result<()> {
        let status = self.command("query-status", json!({}))?;
        match status["status"].as_str() {
            Some("paused") => Ok(()),
            Some("postmigrate") => Err(Error::new("there was one since it was paused")
                .with_hint("resume and pause it before the next one")),
            Some("prelaunch") => Err(Error::new("the machine was not booted")),
            _ => Err(Error::new("the machine is not paused")),
        }
    }

    fn begin_saving(&mut self) -> Result<UnixStream> {
        let (ours, theirs) = pair()?;
        self.qmp.execute("migrate-set-parameters", json!({ "max-bandwidth": BANDWIDTH }))?;
        self.qmp.execute_with("getfd", json!({ "fdname": SOCKET }), Some(theirs.as_fd()))?;
        self.qmp.execute("migrate", json!({ "uri": format!("fd:{SOCKET}") }))?;
        Ok(ours)
    }

    /// Gives the emulator, which waits for it at the other end of `stream`, what the machine was.
    pub(super) fn load(&mut self, mut stream: UnixStream, snapshot: &Reader) -> Result<()> {
        let given = snapshot.give(&mut stream);
        drop(stream);
        given.and_then(|()| self.finish_migration(false))
    }

    /// Waits until the emulator has told how it went.
    fn finish_migration(&mut self, cancel: bool) -> Result<()> {
        if cancel {
            self.qmp.execute("migrate_cancel", json!({}))?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.qmp.execute("query-migrate", json!({}))?;
            match answer["status"].as_str().unwrap_or_default() {
                "completed" | "cancelled" => return Ok(()),
                "failed" => {
                    let cause = answer["error-desc"].as_str().unwrap_or("the emulator does not say why");
                    return Err(Error::new(cause.to_owned()));
                }
                status if Instant::now() > deadline => {
                    let seconds = PATIENCE.as_secs();
                    return Err(Error::new(format!(
                        "the emulator is still `{status}` after {seconds} seconds"
                    )));
                }
                _ => std::thread::sleep(INTERVAL),
            }
        }
    }
}

/// A socket of which neither side waits for ever on our side.
pub fn pair() -> Result<(UnixStream, UnixStream)> {
    let make = || -> std::io::Result<_> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        ours.set_write_timeout(Some(PATIENCE))?;
        Ok((ours, theirs))
    };
    make().map_err(|error| Error::caused("make a socket to the emulator", error))
}
