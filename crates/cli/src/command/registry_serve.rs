//! `holm registry serve`: becomes `holm-registry`, which is not part of this program.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use holm_spec::registry::{Server, Tls};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;

/// Serve a registry from a directory
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "What it keeps are plain files. Without users everybody who reaches it may do everything. Users are
lines that `htpasswd -B` writes. Rights are lines of three words, user, repository, rights:

  alice      team/*    pull,push,delete
  *          public/*  pull,push          every user
  anonymous  public/*  pull               everybody

SIGTERM ends it when running requests are done, SIGHUP makes it read the certificate again.

Examples:
  holm registry serve
  holm registry serve --addr :5000 --tls-cert cert.pem --tls-key key.pem --htpasswd users
  holm registry serve --storage /srv/registry --read-only
  holm registry serve --share-images                   pushes from this host move no layer
  holm registry serve --mirror docker.io"
)]
pub struct Args {
    /// Where it listens; without a host on every address
    #[arg(long, value_name = "[HOST]:PORT", default_value = "127.0.0.1:5000")]
    addr: String,
    /// What it keeps
    #[arg(long, value_name = "DIR", default_value = "/var/lib/holm-registry")]
    storage: PathBuf,
    /// Certificates for TLS, the server's own first (PEM)
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Key of the server's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Users with their passwords, hashed by bcrypt
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Rights; without it every user may do everything
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Refuse pushes and removals
    #[arg(long)]
    read_only: bool,
    /// Take what a push from this host brings from its images on the same disk; whoever may push may take any of their
    /// layers by its digest
    #[arg(long, conflicts_with = "read_only")]
    share_images: bool,
    /// Fetch what is not here from this registry, and keep it
    #[arg(long, value_name = "REGISTRY", conflicts_with = "read_only")]
    mirror: Option<String>,
    /// Take passwords over plain HTTP from other machines, too
    #[arg(long)]
    insecure_passwords: bool,
    /// Remove uploads that nobody goes on with after this time
    #[arg(long, value_name = "DURATION", default_value = "168h")]
    upload_age: String,
    /// Log no requests
    #[arg(short, long)]
    quiet: bool,
}

/// Executes the server; returns only if that fails.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let settings = settings(args, context)?;
    let settings = serde_json::to_string(&settings).map_err(|error| CommandError::new(error.to_string()))?;
    let program = holm_engine::registry_server()?;
    let error = Command::new(&program).arg("serve").arg(settings).exec();
    Err(CommandError::new(format!("execute `{}`: {error}", program.display())))
}

fn settings(args: Args, context: &Context) -> Result<Server, CommandError> {
    let tls = match (args.tls_cert, args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        _ => return Err(CommandError::usage("--tls-cert and --tls-key go together")),
    };
    let address = address(&args.addr).map_err(|reason| CommandError::flag("addr", reason))?;
    let age = duration::parse(&args.upload_age).and_then(|nanos| u64::try_from(nanos).ok());
    let age =
        age.ok_or_else(|| CommandError::flag("upload-age", "a duration like 168h or 90m is expected"))?;
    Ok(Server {
        address,
        storage: args.storage,
        tls,
        htpasswd: args.htpasswd,
        access: args.access,
        images: args.share_images.then(|| context.place.layout.root.join("blobs")),
        read_only: args.read_only,
        mirror: args.mirror,
        insecure_passwords: args.insecure_passwords,
        upload_age: age / 1_000_000_000,
        quiet: args.quiet,
    })
}

/// A port, with or without a host, which may be a name.
fn address(text: &str) -> Result<SocketAddr, String> {
    let text = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    let found = text.to_socket_addrs().map_err(|error| format!("`{text}`: {error}"))?.next();
    found.ok_or_else(|| format!("`{text}` has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        assert_eq!(address("127.0.0.1:5000").map(|address| address.port()), Ok(5000));
        assert!(address(":80").is_ok_and(|address| !address.ip().is_loopback()));
        assert!(address("127.0.0.1").is_err() && address("127.0.0.1:99999").is_err());
    }
}
