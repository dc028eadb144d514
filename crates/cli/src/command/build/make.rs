//! Building: what the command line says, what is shown meanwhile, and the names of what came out.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holm_build::Dockerfile;
use holm_build::dockerfile::Network;
use holm_build::ignore::Ignore;
use holm_build::solve::{Built, Progress, Request};
use holm_build::variables::Given;
use holm_engine::registry::Connections;
use holm_engine::{BuildSurroundings, Engine, NetworkChoice};
use holm_spec::event::EventKind;
use holm_spec::workload::ExtraHost;
use holm_spec::{Reference, signal};

use super::Args;
use super::caches::Caches;
use super::deliver::Delivery;
use super::outputs::Outputs;
use crate::archive_output;
use crate::command::pull::Pull;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{image, isolation, network};
use crate::transfer::Manner;

/// A Dockerfile to be built.
pub(super) struct Input {
    pub dockerfile: Dockerfile,
    pub ignore: Option<Ignore>,
    /// The directory of the context, if there is one.
    pub directory: Option<PathBuf>,
    pub given: Given,
}

/// Builds, and says what came out.
pub(super) fn run(args: &Args, input: Input, context: &Context) -> Result<u8, CommandError> {
    args.taken.check()?;
    let (outputs, limits, hosts) = (outputs(args)?, args.steps.limits()?, args.steps.hosts()?);
    let connections = Connections::read()?;
    let caches = Caches::parse(&args.caches, &|name| connections.expand(name))?;
    let anew = args.steps.stages_anew(&input.dockerfile)?;
    let (network, networks) = network(args.network.as_deref().or(context.place.network.as_deref()))?;
    let flag = |name: &str, error: String| CommandError::flag(name, error);
    let isolation =
        isolation::parse(args.isolation.as_deref(), args.vm).map_err(|error| flag("isolation", error))?;
    let directory = input.directory.map(std::fs::canonicalize).transpose();
    let directory = directory.map_err(|error| CommandError::system("find the context", error))?;
    let engine = context.repaired_engine()?;
    let request = Request {
        dockerfile: &input.dockerfile,
        given: input.given,
        context: directory.as_deref(),
        ignore: input.ignore.unwrap_or_default(),
        no_cache: args.no_cache,
        anew,
        network,
        hosts: hosts.iter().map(host).collect(),
        labels: pairs("label", &args.label)?,
        names: if outputs.want_names() { outputs.names.clone() } else { Vec::new() },
        annotations: outputs.annotations.clone(),
        inline_cache: caches.inline,
        only_files: !outputs.want_image(),
        secrets: secrets(&args.secret)?,
        created: holm_engine::creation_time()?,
        clamp: std::env::var_os("SOURCE_DATE_EPOCH").is_some(),
        scans: engine.build_scans(),
    };
    let fetch = |name: &str| fetch(name, &engine, args.quiet).map_err(|error| told_in_one(&error));
    let found = caches.open(&connections, context);
    let surroundings = BuildSurroundings {
        isolation,
        network: networks,
        limits,
        hosts,
        pull: args.steps.pulls(),
        caches: &found,
        fetch: &fetch,
        signals: &[signal::TERM, signal::INT],
    };
    let mut shown = Shown::new(args.quiet);
    // Nobody prunes layers that have yet to arrive somewhere.
    let _building = engine.images().building();
    let built = engine.build(&request, &surroundings, &mut shown)?;
    for name in &request.names {
        let id = built.id.map(|id| id.to_string()).unwrap_or_default();
        engine.tell_of(EventKind::Image, "tag", id, [("name", name.familiar())]);
    }
    shown.close(&built, &request.names);
    let manner = if args.quiet { Manner::Quiet } else { Manner::Talk };
    let told = Delivery { engine: &engine, built: &built, outputs: &outputs, manner }.run()?;
    caches.write((&engine, &built), &connections, manner, context)?;
    tell(args, &built, &told)?;
    if let Some(id) = built.id {
        if args.quiet && !outputs.take_stdout() {
            context.printer.line(id)?;
        }
        context.keep_to_size(&engine, &id);
    }
    Ok(0)
}

/// A name that commands know, as a text.
fn host(host: &ExtraHost) -> String {
    let address = host.address.map_or_else(|| "host-gateway".to_owned(), |address| address.to_string());
    format!("{}={address}", host.name)
}

fn outputs(args: &Args) -> Result<Outputs, CommandError> {
    let outputs = Outputs::parse(&args.output, &args.tag)?;
    match &args.iidfile {
        Some(_) if !outputs.want_image() => Err(CommandError::flag("iidfile", "no image is made")),
        _ => Ok(outputs),
    }
}

/// Writes the files that say what came out.
fn tell(args: &Args, built: &Built, told: &serde_json::Value) -> Result<(), CommandError> {
    if let Some((file, id)) = args.iidfile.as_ref().zip(built.id) {
        archive_output::replace(file, id.to_string().as_bytes())?;
    }
    match &args.metadata_file {
        Some(file) => archive_output::replace(file, format!("{told:#}\n").as_bytes()),
        None => Ok(()),
    }
}

/// Names that `flag` gives the image.
///
/// # Errors
/// One that is none, or has a digest.
pub(super) fn names(flag: &str, texts: &[String]) -> Result<Vec<Reference>, CommandError> {
    let name = |text: &String| match image::reference(text)? {
        name if name.digest().is_some() => {
            Err(CommandError::flag(flag, format!("`{text}` has a digest, which only what is built has")))
        }
        name => Ok(name),
    };
    texts.iter().map(name).collect()
}

/// What `RUN` reaches: as it is said of a build, and where that is.
fn network(text: Option<&str>) -> Result<(Network, NetworkChoice), CommandError> {
    let texts: Vec<String> = text.filter(|text| *text != "default").map(str::to_owned).into_iter().collect();
    let choice = network::parse_all(&texts, network::Details::default());
    Ok(match choice.map_err(|why| CommandError::flag("network", why))? {
        NetworkChoice::None => (Network::None, NetworkChoice::None),
        NetworkChoice::Host => (Network::Host, NetworkChoice::Host),
        choice => (Network::Default, choice),
    })
}

fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name.is_empty() {
            true => Err(CommandError::flag(flag, format!("`{text}` has no name"))),
            false => Ok((name.to_owned(), value.to_owned())),
        }
    };
    texts.iter().map(pair).collect()
}

/// `id=NAME,src=FILE`, in any order; the id alone for a file of that name.
fn secrets(texts: &[String]) -> Result<BTreeMap<String, PathBuf>, CommandError> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let wrong = |why: &str| CommandError::flag("secret", format!("`{text}`: {why}"));
        let (mut id, mut path) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => path = Some(PathBuf::from(value)),
                Some(("type", "file")) => {}
                Some(("env", _) | ("type", "env")) => {
                    return Err(CommandError::unsupported("--secret env=…", "building images"));
                }
                _ => return Err(wrong(&format!("`{field}` means nothing here"))),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| wrong("it has no id"))?;
        let path = path.unwrap_or_else(|| PathBuf::from(&id));
        if !path.is_file() {
            return Err(wrong(&format!("there is no file `{}`", path.display())));
        }
        secrets.insert(id, path);
    }
    Ok(secrets)
}

fn fetch(name: &str, engine: &Engine, quiet: bool) -> Result<(), CommandError> {
    let connections = Connections::read()?;
    let reference = image::reference(&connections.expand(name))?;
    let manner = if quiet { Manner::Quiet } else { Manner::Talk };
    Pull { store: engine.images(), connections: &connections, platform: None, manner }.one(&reference)?;
    engine.tell_of(EventKind::Image, "pull", reference.familiar(), [("name", reference.familiar())]);
    Ok(())
}

fn told_in_one(error: &CommandError) -> String {
    error.message().unwrap_or("it could not be fetched").to_owned()
}

/// Lines on standard error: the steps with their numbers, what their commands write, and how long each took.
struct Shown {
    quiet: bool,
    number: usize,
    begun: Instant,
    /// What a command wrote behind its last newline.
    rest: Vec<u8>,
    /// The last lines of a command, for a build that is quiet until one fails.
    last: Vec<u8>,
}

/// Most bytes of a command's last lines.
const LAST: usize = 4096;

impl Shown {
    fn new(quiet: bool) -> Self {
        Self { quiet, number: 0, begun: Instant::now(), rest: Vec::new(), last: Vec::new() }
    }

    fn say(&self, bytes: &[u8]) {
        if !self.quiet {
            // Nobody is left to hear that it cannot be written.
            let _ = std::io::stderr().write_all(bytes);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let head = format!("#{} {:.3} ", self.number, self.begun.elapsed().as_secs_f64());
        self.say(&[head.as_bytes(), line, b"\n"].concat());
    }

    fn close(&self, built: &Built, names: &[Reference]) {
        let (made, cached) = built.steps;
        let what = built.id.map_or_else(|| "files".to_owned(), |id| id.to_string());
        let mut text = format!("built {what}: {made} steps made, {cached} cached\n");
        names.iter().for_each(|name| text.push_str(&format!("named {}\n", name.familiar())));
        self.say(text.as_bytes());
    }
}

impl Progress for Shown {
    fn begin(&mut self, title: &str) {
        self.number += 1;
        self.begun = Instant::now();
        self.last.clear();
        let title = crate::printer::printable(title);
        self.say(format!("#{} {title}\n", self.number).as_bytes());
    }

    fn output(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let surplus = self.last.len().saturating_sub(LAST);
        self.last.drain(..surplus);
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(&line[..line.len() - 1]);
        }
        if self.rest.len() > LAST {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
    }

    fn failed(&mut self) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
        if self.quiet {
            let _ = std::io::stderr().write_all(&self.last);
        }
    }

    fn done(&mut self, cached: bool, time: Duration) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.line(&line);
        }
        let text = match cached {
            true => format!("#{} CACHED\n", self.number),
            false => format!("#{} DONE {:.2}s\n", self.number, time.as_secs_f64()),
        };
        self.say(text.as_bytes());
    }
}
