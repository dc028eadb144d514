//! From settings to a registry: files are read, and what would be unsafe is refused.

use std::path::Path;
use std::sync::Arc;

use holm_spec::registry::Server;

use super::Error;
use crate::access::{Access, users};
use crate::handle::Registry;
use crate::mirror::Mirror;
use crate::storage::Storage;

/// Longest file of users or rights in bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Refuses what nobody can mean.
///
/// # Errors
/// Passwords would come over plain HTTP from other machines.
pub fn check(settings: &Server) -> Result<(), Error> {
    let open = settings.tls.is_none() && !settings.address.ip().is_loopback();
    if open && settings.htpasswd.is_some() && !settings.insecure_passwords {
        return Err(Error::new(format!(
            "passwords would come to `{}` over plain HTTP: give a certificate, or allow it with --insecure-passwords",
            settings.address
        )));
    }
    Ok(())
}

/// Opens the storage and reads the files of users and rights.
///
/// # Errors
/// One of them cannot be used.
pub fn registry(settings: &Server) -> Result<Registry, Error> {
    let access = access(settings)?;
    let cannot = |error| Error::caused(format!("use the storage `{}`", settings.storage.display()), error);
    let mut storage = Storage::open(&settings.storage, settings.read_only).map_err(cannot)?;
    if let Some(blobs) = &settings.images {
        storage.share(blobs);
    }
    if !settings.read_only {
        storage.remove_temporaries().map_err(cannot)?;
    }
    raise_limit();
    let storage = Arc::new(storage);
    let mirror = |upstream: &String| {
        let mirror = Mirror::new(upstream, storage.clone());
        mirror.map_err(|error| Error::caused(format!("mirror `{upstream}`"), error))
    };
    let mirror = settings.mirror.as_ref().map(mirror).transpose()?;
    Ok(Registry::new(storage, access, settings.read_only, mirror))
}

fn access(settings: &Server) -> Result<Access, Error> {
    let users = match &settings.htpasswd {
        Some(path) => {
            let read = users(&text(path)?);
            Some(read.map_err(|error| Error::caused(format!("read users from `{}`", path.display()), error))?)
        }
        None => None,
    };
    let rules = settings.access.as_deref().map(text).transpose()?;
    Access::new(users, rules.as_deref()).map_err(|error| {
        let path = settings.access.as_deref().unwrap_or(Path::new(""));
        Error::caused(format!("read rights from `{}`", path.display()), error)
    })
}

fn text(path: &Path) -> Result<String, Error> {
    let read = holm_sys::file::read_limited(path, FILE_LIMIT);
    let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
    text.map_err(|error| Error::caused(format!("read `{}`", path.display()), error))
}

/// Every connection and every upload is a descriptor or two. If there cannot be more, some are refused later.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
}
