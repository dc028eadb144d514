//! Running a plugin (CNI specification 1.1, section 2): no shell, an environment of its own, its configuration as a file at
//! its standard input, and bounds for how long it takes and how much it says.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use serde_json::Value;

use super::result::{failure, shown};
use crate::error::{Error, Kind, Result};

/// How long a plugin may take. One that asks others for an address may wait for them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer, in bytes.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Longest complaint that is kept, in bytes.
const COMPLAINT_LIMIT: usize = 1 << 14;
/// Where plugins find the programs that they need.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a plugin is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// Its program's name.
    pub(crate) program: &'a str,
    /// Where programs are looked for.
    pub(crate) path: &'a [PathBuf],
    /// `CNI_COMMAND`.
    pub(crate) command: &'a str,
    /// Further variables.
    pub(crate) environment: &'a [(&'static str, OsString)],
    /// What it reads. It has this description open as long as it runs, with the lock that is on it.
    pub(crate) input: &'a File,
    /// How long it may take.
    pub(crate) patience: Duration,
}

/// The file of a program.
///
/// # Errors
/// [`Kind::NoPlugin`], saying where it was looked for.
pub(crate) fn find(program: &str, path: &[PathBuf]) -> Result<PathBuf> {
    let files = path.iter().map(|directory| directory.join(program));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        let places: Vec<String> = path.iter().map(|place| format!("`{}`", place.display())).collect();
        let text = format!("CNI plugin `{program}`: it is not in {}", places.join(", "));
        Error::new(Kind::NoPlugin, text)
    })
}

/// Bytes that are read in one go, and that a pipe holds.
const PIECE: usize = 4096;
const PIPE: usize = 64 << 10;

/// Writes what a plugin is to read.
pub(crate) fn write_input(mut input: &File, text: &[u8]) -> std::io::Result<()> {
    input.set_len(0)?;
    input.rewind()?;
    input.write_all(text)?;
    input.rewind()
}

/// Runs a plugin and gives its answer; `None` if it says nothing.
///
/// # Errors
/// [`Kind::NoPlugin`]; [`Kind::Plugin`] with what it said, or how it broke its bounds.
pub(crate) fn run(call: &Call<'_>) -> Result<Option<Value>> {
    let about = format!("{} by CNI plugin `{}`", call.command, call.program);
    let failed = |why: String| Error::new(Kind::Plugin, format!("{about}: {why}"));
    let mut child = command(call).and_then(|mut command| {
        command.spawn().map_err(|error| Error::io(format!("{about}: execute it"), error))
    })?;
    let mut said = Said::take(&mut child);
    let waited = wait(&child, &mut said, call.patience);
    if waited.is_err() {
        // Those that it started, too.
        let group = Pid::from_child(&child);
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(|error| Error::io(format!("{about}: wait for it"), error))?;
    waited.map_err(failed)?;
    if !status.success() {
        return Err(failed(in_words(status, &failure(&said.output, &said.complaint))));
    }
    if said.output.trim_ascii().is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&said.output).map(Some).map_err(|error| {
        let text = String::from_utf8_lossy(&said.output);
        failed(format!("its answer cannot be read: {error}: {}", shown(text.trim())))
    })
}

fn command(call: &Call<'_>) -> Result<Command> {
    let mut command = Command::new(find(call.program, call.path)?);
    let path = std::env::join_paths(call.path)
        .map_err(|_| Error::new(Kind::Invalid, "a directory of CNI plugins with a colon in its name"))?;
    let input = call.input.try_clone().map_err(|error| Error::io("copy a descriptor", error))?;
    command.env_clear().env("PATH", PATH).env("CNI_COMMAND", call.command).env("CNI_PATH", path);
    command.envs(call.environment.iter().map(|(name, value)| (*name, value)));
    command.current_dir("/").process_group(0);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Reads until the plugin has ended. What processes of its say later, which it left behind, is not waited for.
fn wait(child: &Child, said: &mut Said, patience: Duration) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .map_err(|errno| format!("open its process: {errno}"))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it has not ended after {} ms, and was killed", patience.as_millis()));
        }
        let has_ended = said.read_for(&process, left)?;
        if has_ended {
            // No more than pipes hold: a process that it left behind may go on for ever.
            for _ in 0..PIPE / PIECE {
                said.read_for(&process, Duration::ZERO)?;
                if !said.has_more {
                    break;
                }
            }
            return Ok(());
        }
    }
}

fn in_words(status: ExitStatus, said: &str) -> String {
    match (said, status.code()) {
        ("", Some(code)) => format!("it ended with exit code {code} and said nothing"),
        ("", None) => "it was killed".into(),
        (said, _) => said.to_owned(),
    }
}

/// What a plugin has said until now.
struct Said {
    streams: [Option<OwnedFd>; 2],
    output: Vec<u8>,
    complaint: Vec<u8>,
    /// There was something to read the last time.
    has_more: bool,
}

impl Said {
    fn take(child: &mut Child) -> Self {
        let streams = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
        Self { streams, output: Vec::new(), complaint: Vec::new(), has_more: false }
    }

    /// Reads what is there, waiting at most that time for something to be; says whether the process has ended.
    fn read_for(&mut self, process: &OwnedFd, time: Duration) -> Result<bool, String> {
        let time = Timespec::try_from(time).map_err(|_| "a time beyond all clocks".to_owned())?;
        let mut open = vec![PollFd::new(process, PollFlags::IN)];
        open.extend(self.streams.iter().flatten().map(|stream| PollFd::new(stream, PollFlags::IN)));
        match poll(&mut open, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(format!("wait for it: {errno}")),
        }
        let has_ended = !open[0].revents().is_empty();
        drop(open);
        self.has_more = false;
        for index in 0..self.streams.len() {
            self.read_once(index)?;
        }
        Ok(has_ended)
    }

    fn read_once(&mut self, index: usize) -> Result<(), String> {
        let Some(stream) = &self.streams[index] else { return Ok(()) };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&now)) != Ok(1) {
            return Ok(());
        }
        let mut piece = [0; PIECE];
        let length = rustix::io::read(stream.as_fd(), &mut piece).unwrap_or(0);
        if length == 0 {
            self.streams[index] = None;
            return Ok(());
        }
        self.has_more = true;
        let (text, limit) = match index {
            0 => (&mut self.output, OUTPUT_LIMIT),
            _ => (&mut self.complaint, COMPLAINT_LIMIT),
        };
        let room = limit - text.len();
        text.extend_from_slice(&piece[..length.min(room)]);
        match index == 0 && length > room {
            true => Err(format!("it says more than {OUTPUT_LIMIT} bytes, and was killed")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Runs a shell's script as a plugin.
    fn run_script(script: &str, input: &str, patience: Duration) -> Result<Option<Value>> {
        let directory = tempfile::tempdir().expect("a directory");
        write_script(&directory.path().join("plugin"), script);
        let file = tempfile::tempfile().expect("a file");
        write_input(&file, input.as_bytes()).expect("an input");
        run(&Call {
            program: "plugin",
            path: &["/absent".into(), directory.path().into()],
            command: "ADD",
            environment: &[("CNI_IFNAME", "eth0".into())],
            input: &file,
            patience,
        })
    }

    /// Other tests of this process fork meanwhile, and a file that somebody has open for writing is not executed: so the
    /// shell is told to read it.
    fn write_script(path: &Path, script: &str) {
        let status = Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\""])
            .arg(path)
            .arg(script)
            .status()
            .expect("a shell");
        assert!(status.success());
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o755);
    }

    fn refused(script: &str) -> String {
        run_script(script, "{}", PATIENCE).expect_err(script).to_string()
    }

    #[test]
    fn a_plugin_is_told_and_answers() {
        let script = r#"printf '{"read":%s,"is":"%s %s %s"}' "$(cat)" "$CNI_COMMAND" "$CNI_IFNAME" "$(env | grep -c .)""#;
        let said = run_script(script, r#"{"a":1}"#, PATIENCE).expect("an answer").expect("one");
        assert_eq!(said["read"]["a"], 1);
        // The shell adds PWD.
        assert!(said["is"].as_str().is_some_and(|is| is.starts_with("ADD eth0 ")), "{said}");
        assert_eq!(run_script("true", "", PATIENCE).expect("no answer"), None);
    }

    #[test]
    fn failures_say_what_the_plugin_says() {
        let said = refused(r#"echo '{"code":11,"msg":"try again","details":"later"}'; exit 1"#);
        assert_eq!(said, "ADD by CNI plugin `plugin`: try again: later");
        assert_eq!(refused("echo oh >&2; exit 3"), "ADD by CNI plugin `plugin`: oh");
        assert_eq!(
            refused("exit 3"),
            "ADD by CNI plugin `plugin`: it ended with exit code 3 and said nothing"
        );
        assert!(refused("kill -9 $$").contains("it was killed"));
        assert!(refused("echo garbage").contains("cannot be read: expected value"));
    }

    #[test]
    fn bounds_of_time_and_size() {
        assert!(refused("cat /dev/zero").contains("more than 1048576 bytes"));
        let begun = run_script("head -c 3000000 /dev/zero >&2; exit 1", "", PATIENCE);
        assert!(begun.is_err(), "what it complains is read to its end");
        let hangs = run_script("sleep 1000", "", Duration::from_millis(50)).expect_err("a limit");
        assert!(hangs.to_string().contains("has not ended after 50 ms"), "{hangs}");
        // What it leaves behind with its streams open is not waited for.
        let left = run_script("sleep 20 & echo '{}'", "", PATIENCE).expect("an answer");
        assert!(left.is_some());
    }

    #[test]
    fn a_plugin_that_is_not_there_is_told_with_the_places() {
        let error = find("bridge", &["/a".into(), "/b".into()]).expect_err("none");
        assert_eq!(error.kind(), Kind::NoPlugin);
        assert_eq!(error.to_string(), "CNI plugin `bridge`: it is not in `/a`, `/b`");
    }
}
