//! Building: what the command line says, what is shown meanwhile, and the names of what came out.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use holm_build::Dockerfile;
use holm_build::dockerfile::Network;
use holm_build::solve::{Built, Request, Secret};
use holm_build::variables::Given;
use holm_engine::registry::Connections;
use holm_engine::{BuildSurroundings, Engine, NetworkChoice};
use holm_spec::event::EventKind;
use holm_spec::platform::Platform;
use holm_spec::workload::ExtraHost;
use holm_spec::{Digest, Reference, signal};

use super::caches::Caches;
use super::deliver::Delivery;
use super::input::Input;
use super::outputs::Outputs;
use super::shown::{Manner as Shape, Shown};
use super::{Args, named};
use crate::archive_output;
use crate::command::pull::Pull;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{image, isolation, network};
use crate::transfer::Manner;

/// Builds, and says what came out.
pub(super) fn run(args: &Args, input: Input, given: Given, context: &Context) -> Result<u8, CommandError> {
    args.taken.check()?;
    let (outputs, limits, hosts) = (outputs(args)?, args.steps.limits()?, args.steps.hosts()?);
    let connections = Connections::read()?;
    let caches = Caches::parse(&args.caches, &|name| connections.expand(name))?;
    let (network, networks) = network(args.network.as_deref().or(context.place.network.as_deref()))?;
    let flag = |name: &str, error: String| CommandError::flag(name, error);
    let isolation =
        isolation::parse(args.isolation.as_deref(), args.vm).map_err(|error| flag("isolation", error))?;
    let shape =
        Shape::parse(args.progress.as_deref(), args.quiet).map_err(|error| flag("progress", error))?;
    let allowed = allowed(&args.allow)?;
    let engine = context.repaired_engine()?;
    let dockerfile = Dockerfile::parse(&input.name, &input.dockerfile)?;
    let anew = args.steps.stages_anew(&dockerfile)?;
    let (contexts, _kept) = named::open(&args.build_context, &engine)?;
    let files = input.files.directory(input.ignore.unwrap_or_default())?;
    let place = files.as_ref().filter(|files| !files.passing).map(|files| files.path.clone());
    let request = Request {
        dockerfile: &dockerfile,
        given,
        context: files,
        contexts,
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
        agents: agents(&args.ssh)?,
        host_network: allowed.contains(&Allowed::HostNetwork),
        insecure: allowed.contains(&Allowed::Insecure),
        created: holm_engine::creation_time()?,
        clamp: std::env::var_os("SOURCE_DATE_EPOCH").is_some(),
        scans: engine.build_scans(),
        reasons: engine.build_reasons(place.as_deref().unwrap_or(Path::new(&args.path)), &input.name),
    };
    let fetch = |name: &str, platform: &Platform| {
        fetch(name, platform, &engine, args.quiet).map_err(|error| told_in_one(&error))
    };
    let found = caches.open(&connections, context);
    let surroundings = BuildSurroundings {
        isolation,
        network: networks,
        limits,
        hosts,
        pull: args.steps.pulls(),
        caches: &found,
        fetch: &fetch,
        signals: &[signal::TERM, signal::INT, crate::session::HUP],
    };
    let shown = Shown::new(shape, args.explain);
    // Nobody prunes layers that have yet to arrive somewhere.
    let building = engine.images().building()?;
    let built = engine.build(&request, &surroundings, &shown)?;
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
        drop(building);
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

/// `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`, in any order; the id alone for a variable or a file of that name.
fn secrets(texts: &[String]) -> Result<BTreeMap<String, Secret>, CommandError> {
    let secret =
        |text: &String| secret(text).map_err(|why| CommandError::flag("secret", format!("`{text}`: {why}")));
    texts.iter().map(secret).collect()
}

fn secret(text: &str) -> Result<(String, Secret), String> {
    let (mut id, mut source, mut kind) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value),
            Some(("src" | "source", value)) => source = Some(value),
            Some(("env", value)) => (source, kind) = (Some(value), Some("env")),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            _ => return Err(format!("`{field}` means nothing here")),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("it has no id")?;
    let name = source.unwrap_or(id);
    let variable = std::env::var_os(name).map(std::os::unix::ffi::OsStringExt::into_vec);
    let secret = match (kind, source, variable) {
        (Some("env"), _, None) => return Err(format!("there is no variable `{name}`")),
        (Some("env"), _, Some(value)) | (None, None, Some(value)) => Secret::Bytes(value),
        _ if Path::new(name).is_file() => Secret::File(PathBuf::from(name)),
        _ => return Err(format!("there is no file `{name}`")),
    };
    Ok((id.to_owned(), secret))
}

/// `default`, with the agent that this user's programs know, or `NAME=SOCKET`.
fn agents(texts: &[String]) -> Result<BTreeMap<String, PathBuf>, CommandError> {
    let agent = |text: &String| {
        let wrong = |why: String| CommandError::flag("ssh", format!("`{text}`: {why}"));
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, PathBuf::from(path)),
            None => match std::env::var_os("SSH_AUTH_SOCK") {
                Some(path) => (text.as_str(), PathBuf::from(path)),
                None => {
                    return Err(wrong("no agent of SSH keys is known: SSH_AUTH_SOCK is not set".to_owned()));
                }
            },
        };
        let is_socket = |about: std::fs::Metadata| FileTypeExt::is_socket(&about.file_type());
        match std::fs::metadata(&path).map(is_socket) {
            Ok(true) => Ok((id.to_owned(), path)),
            Ok(false) => Err(wrong(format!("`{}` is no socket", path.display()))
                .hint("keys are given by an agent: start ssh-agent, say ssh-add FILE, and give --ssh NAME")),
            Err(error) => Err(wrong(format!("`{}`: {error}", path.display()))),
        }
    };
    texts.iter().map(agent).collect()
}

/// What a Dockerfile may have of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    HostNetwork,
    Insecure,
}

fn allowed(texts: &[String]) -> Result<Vec<Allowed>, CommandError> {
    let one = |text: &str| match text {
        "network.host" => Ok(Allowed::HostNetwork),
        "security.insecure" => Ok(Allowed::Insecure),
        other => {
            Err(CommandError::flag("allow", format!("`{other}` is none of network.host, security.insecure")))
        }
    };
    texts.iter().flat_map(|text| text.split(',')).map(one).collect()
}

/// Fetches an image, and gives its id. What the name means on this host does not change by one that is made for another.
fn fetch(name: &str, platform: &Platform, engine: &Engine, quiet: bool) -> Result<Digest, CommandError> {
    let connections = Connections::read()?;
    let reference = image::reference(&connections.expand(name))?;
    let manner = if quiet { Manner::Quiet } else { Manner::Talk };
    let store = engine.images();
    let foreign = Some(platform).filter(|platform| **platform != Platform::host());
    let before = foreign.and_then(|_| store.resolve(&reference.to_string()).ok());
    Pull { store, connections: &connections, platform: foreign, manner }.one(&reference)?;
    engine.tell_of(EventKind::Image, "pull", reference.familiar(), [("name", reference.familiar())]);
    let id = store.resolve(&reference.to_string())?.id;
    if let Some(before) = before.filter(|_| reference.digest().is_none()) {
        store.tag(&before.id.to_string(), &reference)?;
    }
    Ok(id)
}

fn told_in_one(error: &CommandError) -> String {
    let message = error.message().unwrap_or("it could not be fetched");
    match error.hints() {
        [] => message.to_owned(),
        hints => format!("{message} ({})", hints.join("; ")),
    }
}
