//! `holm build`: an image from a Dockerfile; with `--check` only what is doubtful in one.

mod caches;
mod deliver;
mod input;
mod make;
mod named;
mod outputs;
mod report;
mod shown;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_build::Dockerfile;
use holm_build::lint::{self, Base, Settings, Surroundings};
use holm_build::platform::Platform;
use holm_build::variables::Given;
use holm_engine::Engine;

use crate::command_error::CommandError;
use crate::context::Context;
use input::Input;

/// What `--build-arg` is called that says which rules count, as with Docker.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Build an image from a Dockerfile
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm build [OPTIONS] PATH|URL|-",
    after_help = "Steps that were made before, of the same files and instructions, are not made again. Progress goes to standard error;
with -q the image's id alone goes to standard output. SOURCE_DATE_EPOCH in the environment is the time of all that is made.

The rules of --check are BuildKit's, by the same names: `# check=skip=RULE,…` at the beginning of a Dockerfile skips some,
above an instruction for that one alone; `skip=all` skips all; `# check=error=true` lets a build fail.

Exit code: 1 if something is doubtful or wrong.

Examples:
  holm build -t app .
  holm build -t app:test --target test --build-arg VERSION=3 -f docker/Dockerfile .
  holm build --secret id=token,src=token.txt -t app .
  holm build -t registry.example/app:2 --push .
  holm build -o out --target artifacts .              the files, in a directory
  holm build -o type=oci,dest=app.tar -t app .
  holm build --check .
  holm build --check -f docker/Dockerfile --target test .
  holm build --call check,format=json . | jq '.warnings[].ruleName'
  holm build --check - < Dockerfile
  holm build -t app https://example.com/app.git#v1:docker
  holm build -t app - < context.tar.gz
  holm build --build-context base=docker-image://debian:12 --build-context lib=../lib ."
)]
pub struct Args {
    /// What the Dockerfile may have of the host: network.host, security.insecure; may be repeated
    #[arg(long, value_name = "WHAT")]
    allow: Vec<String>,
    /// Set an argument of the Dockerfile; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Name that means a directory, an archive, a repository or an image (docker-image://NAME, oci-layout://DIRECTORY); may be repeated
    #[arg(long, value_name = "NAME=SOURCE")]
    build_context: Vec<String>,
    /// What to do instead of building: check, also with ,format=json and ,ignorestatus=true
    #[arg(long, value_name = "METHOD")]
    call: Option<String>,
    /// Say why each step is made that is not cached
    #[arg(long)]
    explain: bool,
    /// File that gets the image's id
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// File that gets digests and names of what came out, as JSON with buildx's keys
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    #[command(flatten)]
    caches: caches::CacheArguments,
    #[command(flatten)]
    output: outputs::OutputArguments,
    #[command(flatten)]
    steps: steps::StepArguments,
    #[command(flatten)]
    taken: steps::TakenArguments,
    /// What runs the steps: container or vm
    #[arg(long, value_name = "ISOLATION")]
    isolation: Option<String>,
    /// Label of the image; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Network of RUN: default, none, host, or the name of one
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Make every step anew
    #[arg(long)]
    no_cache: bool,
    /// How progress is shown: auto, plain, tty, rawjson, quiet, none
    #[arg(long, value_name = "MANNER")]
    progress: Option<String>,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Secret that RUN may see; may be repeated
    #[arg(long, value_name = "id=NAME[,src=FILE|,env=VARIABLE]")]
    secret: Vec<String>,
    /// Agent of SSH keys that RUN may ask; may be repeated
    #[arg(long, value_name = "NAME[=SOCKET]")]
    ssh: Vec<String>,
    /// Name of the image; may be repeated
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The same as --isolation vm
    #[arg(long)]
    vm: bool,
    /// Say what is doubtful in the Dockerfile, and build nothing
    #[arg(long)]
    check: bool,
    /// The Dockerfile, - for standard input, or a URL; Dockerfile in the context if absent
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// What the image is made for; this host if absent
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Check only what this stage needs
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Directory of the context, URL of an archive or a repository; - for an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH|URL|-")]
    path: String,
}

/// Builds, or checks.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    match Call::parse(&args)? {
        Some(call) => check(&args, &call, context),
        None => {
            let given = given(&args)?;
            named::names(&args.build_context)?;
            let input = Input::read(&args, context)?;
            make::run(&args, input, given, context)
        }
    }
}

/// Checks, and prints what was found.
fn check(args: &Args, call: &Call, context: &Context) -> Result<u8, CommandError> {
    let (given, contexts) = (given(args)?, named::names(&args.build_context)?);
    let settings = settings(&given)?;
    let input = Input::read(args, context)?;
    let engine = context.or_nothing(Context::engine).ok();
    let base = |name: &str, platform: &Platform| base(engine.as_ref()?, name, platform);
    let surroundings = Surroundings { given, contexts, settings, ignore: input.ignore.as_ref(), base: &base };
    let found = lint::check(Dockerfile::parse_far(&input.name, &input.dockerfile), &surroundings);
    context.printer.data(if call.json { report::json(&found) } else { report::text(&found) })?;
    let clean = found.warnings.is_empty() && found.error.is_none();
    match found.error {
        Some(error) if !call.json => Err(error.into()),
        _ => Ok(u8::from(!(clean || call.ignore_status))),
    }
}

/// `--check` and `--call`.
#[derive(Debug, Default)]
struct Call {
    json: bool,
    ignore_status: bool,
}

impl Call {
    /// None if the image is to be built.
    fn parse(args: &Args) -> Result<Option<Self>, CommandError> {
        let Some(text) = &args.call else { return Ok(args.check.then(Self::default)) };
        let (method, options) = text.split_once(',').unwrap_or((text, ""));
        if method == "build" {
            return Ok(None);
        }
        if !matches!(method, "check" | "lint") {
            return Err(CommandError::unsupported(&format!("--call {method}"), "building images"));
        }
        let mut call = Self::default();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "format=json" => call.json = true,
                "format=text" => call.json = false,
                "ignorestatus" | "ignorestatus=true" => call.ignore_status = true,
                "ignorestatus=false" => call.ignore_status = false,
                _ => return Err(CommandError::flag("call", format!("`{option}` means nothing here"))),
            }
        }
        Ok(Some(call))
    }
}

fn given(args: &Args) -> Result<Given, CommandError> {
    let build = Platform::host();
    let target = match &args.platform {
        Some(text) => Platform::parse(text).map_err(|reason| CommandError::flag("platform", reason))?,
        None => build.clone(),
    };
    Ok(Given { arguments: arguments(&args.build_arg)?, build, target, stage: args.target.clone() })
}

/// `NAME=value`, or `NAME` for the caller's own value; a variable that the caller lacks is not given.
fn arguments(texts: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let mut arguments = BTreeMap::new();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err(CommandError::flag("build-arg", format!("`{text}` has no name")));
        }
        arguments.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(arguments)
}

fn settings(given: &Given) -> Result<Option<Settings>, CommandError> {
    let settings = given.arguments.get(CHECK_ARGUMENT).map(|text| Settings::parse(text)).transpose();
    settings.map_err(|reason| CommandError::flag("build-arg", format!("{CHECK_ARGUMENT}: {reason}")))
}

/// What is known of a base image: nothing of one that is not here, or is made for something else.
fn base(engine: &Engine, name: &str, platform: &Platform) -> Option<Base> {
    let image = engine.images().resolve(name).ok()?;
    let made_for = image.platform();
    if (made_for.os, made_for.architecture) != (platform.os.clone(), platform.architecture.clone()) {
        return None;
    }
    let config = image.config.config().as_ref();
    let environment = config.and_then(|config| config.env().clone()).unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Base { environment: environment.into_iter().filter_map(pair).collect(), has_shell: false })
}
