//! `holm cp`: files between a workload and the host.

use std::os::fd::{AsFd, OwnedFd};

use holm_engine::{CopyOptions, Engine, Files, Side};
use holm_spec::Id;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::terminal;

/// Copy files between a workload and the host
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm cp [OPTIONS] WORKLOAD:PATH PATH|-
       holm cp [OPTIONS] PATH|- WORKLOAD:PATH
       holm cp [OPTIONS] WORKLOAD:PATH WORKLOAD:PATH",
    after_help = "A directory that is there takes the copy under its own name; SOURCE/. means what is in SOURCE.
With - a tarball comes from standard input or goes to standard output. What is copied belongs to
root, or to whoever copies it to the host; device nodes come to the host with -a only. Workloads
need not run; a virtual machine is started for its files then.

Examples:
  holm cp web:/var/log/nginx .
  holm cp site/. web:/usr/share/nginx/html
  holm cp web:/etc - | tar -t"
)]
pub struct Args {
    /// Keep owners, set-user-id bits and file capabilities
    #[arg(short, long)]
    archive: bool,
    /// If SOURCE is a link, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Taken as Docker does; there is no progress to hide
    #[arg(short, long)]
    quiet: bool,
    /// WORKLOAD:PATH, a path of the host, or -
    #[arg(value_name = "SOURCE")]
    source: String,
    /// WORKLOAD:PATH, a path of the host, or -
    #[arg(value_name = "TARGET")]
    target: String,
}

/// One side, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    Workload(&'a str, &'a str),
    Host(&'a str),
    Stream,
}

impl<'a> Place<'a> {
    /// Docker's rule: what begins with `/` or `.` is the host's; a colon behind a slash is part of a name.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            _ if text.starts_with(['/', '.']) => Self::Host(text),
            Some((workload, path)) if !workload.is_empty() && !workload.contains('/') => {
                Self::Workload(workload, path)
            }
            _ => Self::Host(text),
        }
    }
}

/// Copies.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let options = CopyOptions { archive: args.archive, follow: args.follow_link };
    let (source, target) = (Place::parse(&args.source), Place::parse(&args.target));
    if !matches!(source, Place::Workload(..)) && !matches!(target, Place::Workload(..)) {
        let error = CommandError::new("copy between two paths of the host: neither names a workload");
        return Err(error.hint("a path of a workload is written WORKLOAD:PATH"));
    }
    if target == Place::Stream && terminal::is_output_terminal() {
        let error = CommandError::new("write a tarball to a terminal");
        return Err(error.hint("redirect it: holm cp WORKLOAD:PATH - > files.tar"));
    }
    let engine = context.repaired_engine()?;
    let (from, to) = files(&engine, source, target)?;
    match (side(source, from.as_ref()), side(target, to.as_ref())) {
        (Some(from), Some(to)) => from.copy_to(&to, options)?,
        (Some(from), None) => from.pack_to(copy_of(std::io::stdout().as_fd())?, args.follow_link)?,
        (None, Some(to)) => to.unpack_from(copy_of(std::io::stdin().as_fd())?, options)?,
        (None, None) => {}
    }
    Ok(0)
}

/// The files of the workloads that both sides name. Of two copies between the same workloads none waits for the other: who
/// is first is the same for both.
fn files(
    engine: &Engine,
    source: Place<'_>,
    target: Place<'_>,
) -> Result<(Option<Files>, Option<Files>), CommandError> {
    let find = |place| match place {
        Place::Workload(name, _) => engine.find(name).map(Some),
        Place::Host(_) | Place::Stream => Ok(None),
    };
    let (from, to) = (find(source)?, find(target)?);
    if let (Place::Workload(name, _), true) = (source, from == to) {
        let message = format!("copy within workload `{name}`: that is what its own cp is for");
        return Err(CommandError::new(message).hint(format!("holm exec {name} cp -a SOURCE TARGET")));
    }
    let open = |id: Option<Id>| id.map(|id| engine.files(&id)).transpose();
    if from <= to {
        let from = open(from)?;
        return Ok((from, open(to)?));
    }
    let to = open(to)?;
    Ok((open(from)?, to))
}

fn side<'a>(place: Place<'a>, files: Option<&'a Files>) -> Option<Side<'a>> {
    match (place, files) {
        (Place::Workload(_, path), Some(files)) => Some(Side::Workload(files, path)),
        (Place::Host(path), _) => Some(Side::Host(path)),
        _ => None,
    }
}

fn copy_of(stream: std::os::fd::BorrowedFd<'_>) -> Result<OwnedFd, CommandError> {
    stream.try_clone_to_owned().map_err(|error| CommandError::system("copy a descriptor", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        for (text, expected) in [
            ("web:/etc", Place::Workload("web", "/etc")),
            ("web:etc:a", Place::Workload("web", "etc:a")),
            ("web:", Place::Workload("web", "")),
            ("/a:b", Place::Host("/a:b")),
            ("./a:b", Place::Host("./a:b")),
            ("a/b:c", Place::Host("a/b:c")),
            (":c", Place::Host(":c")),
            ("file", Place::Host("file")),
            ("-", Place::Stream),
        ] {
            assert_eq!(Place::parse(text), expected, "{text}");
        }
    }
}
