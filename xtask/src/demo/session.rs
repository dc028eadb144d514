//! A `holm` with roots of its own, which leaves nothing behind when it goes out of scope.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{leak, narrate, process};

/// Owns the roots, and every container and image in them.
pub struct Session {
    holm: PathBuf,
    place: PathBuf,
    open: bool,
}

impl Session {
    /// A session whose roots lie in `place`. If something is there already, this session takes it over.
    ///
    /// # Errors
    /// The binaries are not built.
    pub fn open(workspace: &Workspace, place: &Path) -> Result<Self> {
        let holm = workspace.dist().join("holm");
        if !holm.exists() {
            bail!("`{}` is not there\nhint: cargo xtask build", holm.display());
        }
        Ok(Self { holm, place: place.to_owned(), open: true })
    }

    /// `holm` with this session's roots, and then `arguments`.
    pub fn holm(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.holm);
        command.arg("--root").arg(self.place.join("root")).arg("--run-root").arg(self.place.join("run"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `holm` quietly and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// It fails.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        let output = process::collect(&mut self.holm(arguments))?;
        succeeded(arguments, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Shows the command, runs it, shows its answer, and returns that.
    ///
    /// # Errors
    /// It fails.
    pub fn show(&self, arguments: &[&str]) -> Result<String> {
        narrate::typed(&typed(arguments));
        let answer = self.ask(arguments)?;
        narrate::answered(&answer);
        Ok(answer)
    }

    /// Removes containers, images and roots.
    ///
    /// # Errors
    /// Something stays; as much as possible is removed all the same.
    pub fn close(mut self) -> Result<()> {
        self.open = false;
        self.remove_everything(|session, arguments| session.show(arguments).map(drop))
    }

    fn remove_everything(&self, remove: impl Fn(&Self, &[&str]) -> Result<()>) -> Result<()> {
        let containers = self.remove_all(&["ps", "--all", "--quiet"], &["rm", "--force"], &remove);
        let images = self.remove_all(&["images", "--format", "{{.Repository}}:{{.Tag}}"], &["rmi"], &remove);
        leak::remove_directory(&self.place)?;
        containers.and(images)
    }

    /// Hands everything that `list` prints to `verb`.
    fn remove_all(
        &self,
        list: &[&str],
        verb: &[&str],
        remove: impl Fn(&Self, &[&str]) -> Result<()>,
    ) -> Result<()> {
        let listed = self.ask(list)?;
        let arguments: Vec<_> = verb.iter().copied().chain(listed.split_whitespace()).collect();
        if arguments.len() == verb.len() { Ok(()) } else { remove(self, &arguments) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open
            && let Err(error) = self.remove_everything(|session, arguments| session.ask(arguments).map(drop))
        {
            eprintln!("warning: cleaning up after the demo: {error:#}\nhint: cargo xtask clean");
        }
    }
}

/// The command as a person would type it; the roots are left out, since the story mentions them once.
pub fn typed(arguments: &[&str]) -> String {
    let words: Vec<_> = arguments.iter().map(|word| process::quoted(word)).collect();
    format!("holm {}", words.join(" "))
}

fn succeeded(arguments: &[&str], output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("`{}` failed with {}\n{}", typed(arguments), output.status, said.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A `holm` that writes down what it is asked, and knows one container and one image.
    const RECORDER: &str = r#"#!/bin/sh
shift 4
echo "$*" >> "$(dirname "$0")/../asked"
case "$1" in ps) echo c1;; images) echo demo/a:1;; rm) exit 1;; esac
"#;

    fn workspace(name: &str) -> Workspace {
        let root = std::env::temp_dir().join(format!("xtask-session-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("dist")).unwrap();
        fs::create_dir_all(root.join("demo/root")).unwrap();
        fs::write(root.join("dist/holm"), RECORDER).unwrap();
        fs::set_permissions(root.join("dist/holm"), fs::Permissions::from_mode(0o755)).unwrap();
        Workspace { target: root.clone(), root }
    }

    #[test]
    fn the_end_of_a_session_removes_everything_even_if_a_step_fails() {
        let workspace = workspace("end");
        let place = workspace.target.join("demo");
        drop(Session::open(&workspace, &place).unwrap());
        let asked = fs::read_to_string(workspace.target.join("asked")).unwrap();
        let gone = !place.exists();
        fs::remove_dir_all(&workspace.target).unwrap();
        let expected =
            "ps --all --quiet\nrm --force c1\nimages --format {{.Repository}}:{{.Tag}}\nrmi demo/a:1\n";
        assert_eq!(asked, expected);
        assert!(gone);
    }

    #[test]
    fn a_failure_shows_what_was_typed() {
        let workspace = workspace("fails");
        let session = Session::open(&workspace, &workspace.target.join("demo")).unwrap();
        let error = session.ask(&["rm", "it's"]).unwrap_err().to_string();
        drop(session);
        fs::remove_dir_all(&workspace.target).unwrap();
        assert!(error.starts_with(r"`holm rm 'it'\''s'` failed with exit status: 1"), "{error}");
    }
}
