//! `holm service install`: lets systemd run `holm service run`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command_error::CommandError;
use crate::context::Context;

/// Where systemd looks for units that an administrator made.
pub const DIRECTORY: &str = "/etc/systemd/system";
/// The unit's name.
pub const UNIT: &str = "holm.service";

/// Let systemd bring workloads back after a boot
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Writes a unit that runs `holm service run` with the roots of this command, and starts it where systemd runs.
Workloads with --restart always, unless-stopped or on-failure come back after a boot, and keepers that
are killed are replaced at once. When the host goes down, workloads are ended as `stop` does.

Examples:
  holm service install
  holm service install --directory ./units    writes the unit only"
)]
pub struct Args {
    /// Where the unit is written; elsewhere it is not started
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
}

/// Writes the unit, and starts it.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    context.engine()?;
    let path = args.directory.join(UNIT);
    let failed = |error| CommandError::system(&format!("write `{}`", path.display()), error);
    let program =
        std::env::current_exe().map_err(|error| CommandError::system("find the own program", error))?;
    let draft = args.directory.join(format!(".{UNIT}.{}", std::process::id()));
    fs::write(&draft, unit(&program, context)).map_err(failed)?;
    fs::rename(&draft, &path).inspect_err(|_| drop(fs::remove_file(&draft))).map_err(failed)?;
    context.printer.data(format!("{}\n", path.display()))?;
    if args.directory == Path::new(DIRECTORY) && is_running() {
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--now", UNIT])?;
    }
    Ok(0)
}

/// Whether systemd is the first process (sd_booted(3)).
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether systemd takes the host down.
pub fn goes_down() -> bool {
    let state = Command::new("systemctl").arg("is-system-running").output();
    state.is_ok_and(|state| state.stdout.trim_ascii_end() == b"stopping")
}

/// Asks systemd for something.
///
/// # Errors
/// It is not there, or says no.
pub fn systemctl(words: &[&str]) -> Result<(), CommandError> {
    let line = format!("systemctl {}", words.join(" "));
    let output = Command::new("systemctl").args(words).output();
    let output = output.map_err(|error| CommandError::system(&format!("run `{line}`"), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it failed");
    Err(CommandError::new(format!("run `{line}`: {said}")))
}

/// Keepers and workloads are in control groups of their own and outlive the unit.
fn unit(program: &Path, context: &Context) -> String {
    let layout = &context.place.layout;
    let words = [program, Path::new("--root"), &layout.root, Path::new("--run-root"), &layout.run];
    let words: Vec<String> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    format!(
        "[Unit]
Description=Workloads of Holm
After=local-fs.target network-online.target
Wants=network-online.target

[Service]
ExecStart={} service run
KillMode=process
TimeoutStopSec=5min
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
",
        words.join(" ")
    )
}

/// As systemd.service(5) reads a word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{word}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_systemd() {
        assert_eq!(quoted("/usr/bin/holm"), "/usr/bin/holm");
        assert_eq!(quoted("/a b/50%$\"\\"), "\"/a b/50%%$$\\\"\\\\\"");
    }
}
