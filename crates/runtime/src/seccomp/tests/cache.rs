//! The cache: what comes back, and what is not believed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use holm_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, Spec};

use super::super::cache::{DocumentDigest, Key, load, store};
use super::super::{
    Architecture, Environment, KernelVersion, Program, compile, container_filter, default_profile,
    default_program,
};
use super::super::{Kind, capability};
use super::{DOCKER_CAPABILITIES, environment};

/// A cache with one good program in it.
struct Cache {
    directory: tempfile::TempDir,
    key: Key,
    program: Program,
}

impl Cache {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(Architecture::NATIVE, &DOCKER_CAPABILITIES);
        let program = compile(&default_profile::filter(&environment), Architecture::NATIVE).unwrap();
        let key = Key::of_default_profile(&environment);
        store(directory.path(), &key, &program).unwrap();
        Self { directory, key, program }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(self.key.to_string())
    }

    fn load(&self) -> Option<Program> {
        load(self.directory.path(), &self.key)
    }
}

#[test]
fn what_was_stored_comes_back() {
    let cache = Cache::new();
    assert_eq!(cache.load().as_ref(), Some(&cache.program));
    assert_eq!(fs::metadata(cache.file()).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(cache.directory.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn any_changed_byte_is_noticed() {
    let cache = Cache::new();
    let good = fs::read(cache.file()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(cache.file(), &bad).unwrap();
        assert_eq!(cache.load(), None, "byte {at}");
    }
}

#[test]
fn any_other_length_is_noticed() {
    let cache = Cache::new();
    let good = fs::read(cache.file()).unwrap();
    for length in 0..good.len() {
        fs::write(cache.file(), &good[..length]).unwrap();
        assert_eq!(cache.load(), None, "{length} bytes");
    }
    for more in [1, 8, 1 << 20] {
        let mut bad = good.clone();
        bad.resize(good.len() + more, 0);
        fs::write(cache.file(), &bad).unwrap();
        assert_eq!(cache.load(), None, "{more} bytes more");
    }
}

#[test]
fn a_program_under_another_key_is_not_believed() {
    let cache = Cache::new();
    let other = Key::of_oci(&DocumentDigest::of(&LinuxSeccomp::default()));
    fs::copy(cache.file(), cache.directory.path().join(other.to_string())).unwrap();
    assert_eq!(load(cache.directory.path(), &other), None);
}

#[test]
fn files_that_others_could_have_written_are_not_believed() {
    let cache = Cache::new();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(cache.file(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(cache.load(), None, "{mode:o}");
    }
    fs::set_permissions(cache.file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(cache.load().is_some());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(cache.file(), Some(65534), None).unwrap();
        assert_eq!(cache.load(), None, "another owner");
    }
}

#[test]
fn only_regular_files_are_read() {
    let cache = Cache::new();
    let elsewhere = cache.directory.path().join("elsewhere");
    fs::rename(cache.file(), &elsewhere).unwrap();
    assert_eq!(cache.load(), None, "nothing there");
    symlink(&elsewhere, cache.file()).unwrap();
    assert_eq!(cache.load(), None, "a link");
    fs::remove_file(cache.file()).unwrap();
    fs::create_dir(cache.file()).unwrap();
    assert_eq!(cache.load(), None, "a directory");
    fs::remove_dir(cache.file()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, cache.file(), rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(cache.load(), None, "a pipe, without waiting for a writer");
}

#[test]
fn a_failed_store_leaves_nothing() {
    let cache = Cache::new();
    let missing = cache.directory.path().join("missing");
    assert_eq!(store(&missing, &cache.key, &cache.program).unwrap_err().kind(), Kind::Cache);
    fs::remove_file(cache.file()).unwrap();
    fs::create_dir_all(cache.file().join("occupied")).unwrap();
    assert_eq!(store(cache.directory.path(), &cache.key, &cache.program).unwrap_err().kind(), Kind::Cache);
    assert_eq!(fs::read_dir(cache.directory.path()).unwrap().count(), 1);
}

#[test]
fn every_input_changes_the_key() {
    let base = environment(Architecture::X86_64, &DOCKER_CAPABILITIES);
    let admin = capability("CAP_SYS_ADMIN").unwrap();
    let keys = [
        Key::of_default_profile(&base),
        Key::of_default_profile(&Environment { capabilities: base.capabilities | admin, ..base }),
        Key::of_default_profile(&Environment { architecture: Architecture::Aarch64, ..base }),
        Key::of_default_profile(&Environment { kernel: KernelVersion { kernel: 4, major: 7 }, ..base }),
        Key::of_profile(b"{}", &base),
        Key::of_profile(b"{ }", &base),
        Key::of_profile(b"{}", &Environment { capabilities: 0, ..base }),
        Key::of_oci(&DocumentDigest::of(&LinuxSeccomp::default())),
    ];
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "{index}");
    }
    let wake = capability("CAP_WAKE_ALARM").unwrap();
    let irrelevant = Environment { capabilities: base.capabilities | wake, ..base };
    assert_eq!(Key::of_default_profile(&irrelevant), keys[0]);
}

#[test]
fn the_default_program_is_kept_and_replaced_when_broken() {
    let directory = tempfile::tempdir().unwrap();
    let compiled = default_program(0, None).unwrap();
    let only_file = || fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(default_program(0, Some(directory.path())).unwrap(), compiled);
    let good = fs::read(only_file()).unwrap();
    fs::write(only_file(), &good[..good.len() / 2]).unwrap();
    assert_eq!(default_program(0, Some(directory.path())).unwrap(), compiled);
    assert_eq!(fs::read(only_file()).unwrap(), good, "written again");
    assert_eq!(default_program(0, Some(&directory.path().join("missing"))).unwrap(), compiled);
}

#[test]
fn a_digest_is_written_and_read() {
    let digest = DocumentDigest::of(&LinuxSeccomp::default());
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for wrong in ["", "00", &"x".repeat(64), &"+1".repeat(32), &"0".repeat(66)] {
        assert!(wrong.parse::<DocumentDigest>().is_err(), "{wrong}");
    }
}

#[test]
fn a_container_gets_its_own_filter_with_and_without_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for action in [LinuxSeccompAction::ScmpActKill, LinuxSeccompAction::ScmpActLog] {
        let mut document = LinuxSeccomp::default();
        document.set_default_action(action);
        let mut spec = Spec::default();
        spec.linux_mut().as_mut().unwrap().set_seccomp(Some(document));
        let fresh = container_filter(&spec, None, directory.path()).unwrap().unwrap();
        let again = container_filter(&spec, Some(fresh.document.into()), directory.path()).unwrap().unwrap();
        assert_eq!((&fresh.program, fresh.document), (&again.program, again.document));
        seen.push(fresh);
    }
    assert_ne!(seen[0].program, seen[1].program);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}
