//! The same digest as a virtual machine, and what both cost beside each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::session::{Session, typed};
use super::steps::{APP, HOSTNAME, RELEASE, expect};
use super::text;
use crate::{leak, narrate, packages, process};

/// Depends on the kernel of the day.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
const PREFIX: &str = "linux-image-";

/// Exit codes that a machine hands on: of a program, of a signal, of a program that is not there.
const CODES: [(&str, i32); 3] = [("exit 42", 42), ("kill -9 $$", 137), ("no-such-command", 127)];

/// The package with the kernel, from `cache` or downloaded into it.
///
/// # Errors
/// Apt has no such package.
pub fn kernel_package(cache: &Path) -> Result<PathBuf> {
    if let Some(package) = package_in(cache) {
        return Ok(package);
    }
    let name = real_package().or_else(|_| packages::update().and_then(|()| real_package()))?;
    let place = cache.join("kernel.unfinished");
    leak::remove_directory(&place)?;
    fs::create_dir_all(&place).with_context(|| format!("creating `{}`", place.display()))?;
    let mut command = Command::new("apt-get");
    command.args(["-q", "download", &name]).current_dir(&place);
    narrate::typed(&process::line(&command));
    process::capture(&mut command)?;
    let package = package_in(&place).with_context(|| format!("apt-get downloaded no `{name}`"))?;
    let finished = cache.join(package.file_name().unwrap_or_default());
    fs::rename(&package, &finished).with_context(|| format!("naming `{}`", finished.display()))?;
    leak::remove_directory(&place)?;
    Ok(finished)
}

/// The package that the meta package stands for today.
fn real_package() -> Result<String> {
    let text = process::capture(Command::new("apt-cache").args(["depends", "--important", META_PACKAGE]))?;
    dependency(&text).with_context(|| {
        format!("`{META_PACKAGE}` of this machine's apt stands for no kernel\nhint: apt-get update")
    })
}

/// The first kernel in what `apt-cache depends` prints.
fn dependency(text: &str) -> Option<String> {
    let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.find(|name| name.starts_with(PREFIX)).map(String::from)
}

fn package_in(directory: &Path) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries.into_iter().rfind(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && name.ends_with(".deb")
    })
}

/// One digest, run both ways: the same files, another kernel.
pub fn run_as_machine(session: &Session, kernel: &Path) -> Result<()> {
    narrate::heading("The same digest as a virtual machine: the same files, a kernel of its own");
    let start = Instant::now();
    session.show(&["kernel", "import", text(kernel)?])?;
    narrate::answered(&format!("in {}", narrate::duration(start.elapsed())));
    let image = session.ask(&["image", "inspect", "--format", "{{.Id}}", APP])?.trim().to_owned();
    let release = session.ask(&["kernel", "ls", "--format", "{{.Release}}"])?.trim().to_owned();
    let script = format!("{RELEASE}; uname -r; hostname");
    let mut rows = vec![["", "release", "kernel", "hostname"].map(String::from)];
    for (name, flags) in [("container", &[][..]), ("virtual machine", &["--vm"])] {
        let run = run(flags, &image, &script);
        narrate::typed(&typed(&run));
        rows.push(row(name, &session.ask(&run)?));
    }
    narrate::table(&rows);
    let [_, container, machine] = [&rows[0], &rows[1], &rows[2]];
    expect(container[1] == machine[1], "one digest is two releases")?;
    expect(machine[2] == release, "the machine runs another kernel than the one that was imported")?;
    expect(rows[1..].iter().all(|row| row[3] == HOSTNAME), "a hostname differs from the one that was asked")?;
    exit_codes(session, &image)
}

fn run<'a>(flags: &[&'a str], image: &'a str, script: &'a str) -> Vec<&'a str> {
    let usual = ["--rm", "--init", "--hostname", HOSTNAME, "--network", "none"];
    ["run"].iter().chain(flags).chain(&usual).chain(&[image, "sh", "-c", script]).copied().collect()
}

fn row(name: &str, answer: &str) -> [String; 4] {
    let mut lines = answer.lines();
    let mut next = || lines.next().unwrap_or("?").to_owned();
    [name.to_owned(), next(), next(), next()]
}

fn exit_codes(session: &Session, image: &str) -> Result<()> {
    let mut rows = vec![["", "expected", "virtual machine"].map(String::from)];
    for (script, expected) in CODES {
        let output = process::collect(&mut session.holm(&run(&["--vm"], image, script)))?;
        let code = process::shell_code(output.status);
        expect(code == expected, &format!("`{script}` in a machine ends with {code}, not {expected}"))?;
        rows.push([script.to_owned(), expected.to_string(), code.to_string()]);
    }
    narrate::say("Its exit codes:");
    narrate::table(&rows);
    Ok(())
}

/// What both cost and give.
pub fn compare(session: &Session) -> Result<()> {
    narrate::heading("Both beside each other");
    session.show(&["compare", APP])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_day_is_what_the_meta_package_depends_on() {
        let text = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(dependency(text).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n  Depends: kmod\n"), None);
    }

    #[test]
    fn a_package_of_the_cache_is_taken() {
        let cache = std::env::temp_dir().join(format!("xtask-machine-{}", std::process::id()));
        fs::create_dir_all(cache.join("kernel.unfinished")).unwrap();
        let package = cache.join("linux-image-6.1.0-56-cloud-amd64_6.1_amd64.deb");
        fs::write(&package, "").unwrap();
        fs::write(cache.join("trixie.tar"), "").unwrap();
        let found = kernel_package(&cache);
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(found.unwrap(), package);
    }

    #[test]
    fn a_machine_is_one_flag_away() {
        let words = run(&["--vm"], "sha256:1", "true").join(" ");
        assert_eq!(words.replacen(" --vm", "", 1), run(&[], "sha256:1", "true").join(" "));
        assert!(words.ends_with("sha256:1 sh -c true"), "{words}");
    }
}
