//! `holm login`: says who we are at a registry, and keeps it.

use std::io::Read as _;

use holm_engine::registry::{Client, Configuration, Credentials, Registries};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;
use crate::terminal;

/// Longest password that is read, in bytes.
const LIMIT: u64 = 64 << 10;

/// Log in to a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm login [OPTIONS] [REGISTRY]",
    after_help = "The registry is asked whether it knows the user. Credentials are kept in Docker's config.json (in
$DOCKER_CONFIG, or ~/.docker), or by the credential helper that it names. Without REGISTRY it is docker.io.

Examples:
  holm login registry.example
  holm login -u robot --password-stdin localhost:5000 < token"
)]
pub struct Args {
    /// Password or token; --password-stdin keeps it out of lists of processes
    #[arg(short, long, value_name = "TEXT")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The registry
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,
}

/// Logs in.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let domain = image::registry(args.registry.as_deref().unwrap_or_default())?;
    let mut configuration = Configuration::read()?;
    let user = user(&args, configuration.user(&domain))?;
    let password = password(&args, context)?;
    let credentials = Credentials { user, password, identity_token: None };
    let rules = Registries::read()?.rules(&domain);
    Client::with(&domain, Some(credentials.clone()), &rules)?.check()?;
    configuration.log_in(&domain, &credentials)?;
    if !configuration.has_helper(&domain) {
        let path = configuration.path().display();
        context.printer.warning(&format!("the password is kept as it is in `{path}`"));
    }
    context.printer.line("Login Succeeded")?;
    Ok(0)
}

fn user(args: &Args, known: Option<String>) -> Result<String, CommandError> {
    if let Some(user) = &args.username {
        return Ok(user.clone());
    }
    if args.password_stdin || !terminal::is_input_terminal() {
        return Err(CommandError::usage("--username is needed where nobody can be asked"));
    }
    let known = known.unwrap_or_default();
    let prompt = if known.is_empty() { "Username: ".to_owned() } else { format!("Username ({known}): ") };
    let typed = terminal::ask(&prompt).map_err(|errno| CommandError::system("read the user name", errno))?;
    match typed.trim() {
        "" if known.is_empty() => Err(CommandError::new("a user name is needed")),
        "" => Ok(known),
        user => Ok(user.to_owned()),
    }
}

fn broken_off(errno: rustix::io::Errno) -> CommandError {
    match errno {
        rustix::io::Errno::INTR => CommandError::told(130),
        errno => CommandError::system("read the password", errno),
    }
}

fn password(args: &Args, context: &Context) -> Result<String, CommandError> {
    let text = match &args.password {
        Some(_) if args.password_stdin => {
            return Err(CommandError::usage("--password contradicts --password-stdin"));
        }
        Some(password) => {
            context.printer.warning("others on this machine can see a password on a command line");
            password.clone()
        }
        None if args.password_stdin => {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(LIMIT).read_to_string(&mut text);
            read.map_err(|error| CommandError::system("read the password", error))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None if terminal::is_input_terminal() => terminal::ask_secret("Password: ").map_err(broken_off)?,
        None => return Err(CommandError::usage("--password-stdin reads the password from standard input")),
    };
    if text.is_empty() { Err(CommandError::new("a password is needed")) } else { Ok(text) }
}
