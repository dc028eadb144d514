//! Names of workloads: claimed by making a symbolic link, which only one can.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

use holm_spec::Id;
use holm_spec::id::is_valid_name;
use holm_spec::layout::{DOOMED_PREFIX, Layout, STAGED_PREFIX};
use holm_sys::file::random_bytes;
use holm_sys::lock::{Lock, Mode};

use crate::{Error, Kind, Result};

/// How often a random name is drawn before giving up.
const DRAWS: usize = 50;

/// Claims the wanted name, or a random one, for `id`.
pub(super) fn claim(layout: &Layout, wanted: Option<&str>, id: &Id) -> Result<String> {
    // Docker takes an empty name for none.
    if let Some(name) = wanted.filter(|name| !name.is_empty()) {
        if !is_valid_name(name) {
            let message =
                format!("invalid name `{name}`: two or more of a-z A-Z 0-9 _ . - and no sign in front");
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        return match try_claim(layout, name, id)? {
            None => Ok(name.to_owned()),
            Some(owner) => {
                let owner = owner.get(..12).unwrap_or(&owner);
                Err(Error::new(Kind::NameTaken, format!("the name `{name}` is taken by workload {owner}")))
            }
        };
    }
    for _ in 0..DRAWS {
        let name = random_name();
        if try_claim(layout, &name, id)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::new(Kind::NameTaken, "no free random name found: give one with --name"))
}

/// Claims a name; gives its owner if it is taken.
fn try_claim(layout: &Layout, name: &str, id: &Id) -> Result<Option<String>> {
    let link = layout.names().join(name);
    let failed = |error: std::io::Error| Error::io(format!("claim the name `{name}`"), error);
    loop {
        match symlink(id.to_string(), &link) {
            Ok(()) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let owner = match std::fs::read_link(&link) {
            Ok(owner) => owner.to_string_lossy().into_owned(),
            // Released in between.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        if exists(layout, &owner) {
            return Ok(Some(owner));
        }
        // Left by a crash: the owner is nowhere.
        remove_dangling(layout, &link)?;
    }
}

/// Removes a link whose owner is nowhere, alone: between a look and a removal nobody else may claim.
fn remove_dangling(layout: &Layout, link: &Path) -> Result<bool> {
    let _lock = Lock::acquire(&layout.names_lock(), Mode::Exclusive)?;
    let owner = std::fs::read_link(link).unwrap_or_default();
    let dangling = !owner.as_os_str().is_empty() && !exists(layout, &owner.to_string_lossy());
    Ok(dangling && std::fs::remove_file(link).is_ok())
}

/// Whether a workload exists or is being made or removed; looked at twice, for it may be published in between.
fn exists(layout: &Layout, owner: &str) -> bool {
    let workloads = layout.workloads();
    let published = || workloads.join(owner).exists();
    let with = |prefix: &str| workloads.join(format!("{prefix}{owner}")).exists();
    published() || with(STAGED_PREFIX) || with(DOOMED_PREFIX) || published()
}

/// Removes links whose owner is nowhere; says how many.
pub(crate) fn release_dangling(layout: &Layout) -> usize {
    let entries = std::fs::read_dir(layout.names()).into_iter().flatten().flatten();
    let dangling = entries.filter(|entry| {
        let owner = std::fs::read_link(entry.path()).unwrap_or_default();
        !exists(layout, &owner.to_string_lossy())
    });
    dangling.filter(|entry| remove_dangling(layout, &entry.path()).unwrap_or(false)).count()
}

/// An adjective and an island.
fn random_name() -> String {
    const ADJECTIVES: [&str; 48] = [
        "amber", "brave", "breezy", "bright", "calm", "clear", "coastal", "cosy", "dawn", "deep", "distant",
        "early", "fair", "far", "fresh", "gentle", "golden", "grand", "green", "hidden", "high", "honest",
        "kind", "lively", "long", "lucky", "mellow", "merry", "mild", "misty", "noble", "northern",
        "patient", "proud", "quick", "quiet", "rocky", "salty", "sandy", "silent", "silver", "small",
        "steady", "sunny", "swift", "tidal", "warm", "wild",
    ];
    const ISLANDS: [&str; 48] = [
        "anholt",
        "arran",
        "barra",
        "bornholm",
        "capri",
        "corfu",
        "crete",
        "elba",
        "faial",
        "fanoe",
        "faroe",
        "flores",
        "foula",
        "gomera",
        "gotland",
        "hiiumaa",
        "hven",
        "ibiza",
        "iona",
        "islay",
        "ithaca",
        "jura",
        "karpathos",
        "kos",
        "lewis",
        "lofoten",
        "madeira",
        "malta",
        "naxos",
        "oland",
        "orkney",
        "paros",
        "pico",
        "rhodes",
        "rugen",
        "runde",
        "saaremaa",
        "samos",
        "samsoe",
        "sark",
        "senja",
        "skye",
        "staffa",
        "sylt",
        "texel",
        "tinos",
        "unst",
        "vis",
    ];
    let [first, second, digits] = random_bytes::<3>().map(usize::from);
    format!("{}_{}{}", ADJECTIVES[first % ADJECTIVES.len()], ISLANDS[second % ISLANDS.len()], digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        let layout = Layout::new(dir.join("root"), dir.join("run"));
        std::fs::create_dir_all(layout.names()).expect("mkdir");
        std::fs::create_dir_all(layout.root.join("locks")).expect("mkdir");
        std::fs::create_dir_all(layout.workloads()).expect("mkdir");
        layout
    }

    #[test]
    fn a_name_has_one_owner_until_the_owner_is_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = layout(dir.path());
        let (first, second) = (Id::from_bytes([1; 32]), Id::from_bytes([2; 32]));
        std::fs::create_dir(layout.workload(&first).dir).expect("mkdir");
        assert_eq!(claim(&layout, Some("web"), &first).expect("free"), "web");
        let error = claim(&layout, Some("web"), &second).expect_err("taken");
        assert_eq!(error.kind(), Kind::NameTaken);
        assert!(error.to_string().contains(&first.short()), "{error}");
        std::fs::remove_dir(layout.workload(&first).dir).expect("rmdir");
        assert_eq!(claim(&layout, Some("web"), &second).expect("the owner is gone"), "web");
        assert_eq!(release_dangling(&layout), 1);
    }

    #[test]
    fn random_names_are_valid() {
        for _ in 0..1000 {
            let name = random_name();
            assert!(is_valid_name(&name), "{name}");
        }
    }
}
