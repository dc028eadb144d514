//! The options of a request: `criu_opts` of CRIU's `rpc.proto`, by the numbers of its fields.

use holm_spec::runtime::Spec;
use holm_sys::process::Namespaces;

use super::images::{Images, Log};
use super::message::Message;
use super::mounts::External;
use super::{Dump, Restoration, Settings};

const IMAGES_DIR_FD: u64 = 1;
const PID: u64 = 2;
const LEAVE_RUNNING: u64 = 3;
const EXT_UNIX_SK: u64 = 4;
const TCP_ESTABLISHED: u64 = 5;
const EVASIVE_DEVICES: u64 = 6;
const SHELL_JOB: u64 = 7;
const FILE_LOCKS: u64 = 8;
const LOG_LEVEL: u64 = 9;
const LOG_FILE: u64 = 10;
const PS: u64 = 11;
const NOTIFY_SCRIPTS: u64 = 12;
const ROOT: u64 = 13;
const PARENT_IMG: u64 = 14;
const TRACK_MEM: u64 = 15;
const AUTO_DEDUP: u64 = 16;
const WORK_DIR_FD: u64 = 17;
const LINK_REMAP: u64 = 18;
const EXT_MNT: u64 = 23;
const MANAGE_CGROUPS: u64 = 24;
const CG_ROOT: u64 = 25;
const RST_SIBLING: u64 = 26;
const INHERIT_FD: u64 = 27;
const MANAGE_CGROUPS_MODE: u64 = 34;
const EXTERNAL: u64 = 37;
const EMPTY_NS: u64 = 38;
const JOIN_NS: u64 = 39;
const FREEZE_CGROUP: u64 = 44;
const TCP_SKIP_IN_FLIGHT: u64 = 46;
const LAZY_PAGES: u64 = 48;
const ORPHAN_PTS_MASTER: u64 = 50;
const CONFIG_FILE: u64 = 51;
const LSM_PROFILE: u64 = 53;
const LSM_MOUNT_CONTEXT: u64 = 63;

/// CRIU says everything in its log.
const DEBUG: u64 = 4;
/// Settings of the host's administrator for containers, which runc reads, too.
const CONFIGURATION: &str = "/etc/criu/runc.conf";
/// Annotation that names another file of settings, or none.
const CONFIGURATION_ANNOTATION: &str = "org.criu.config";

/// What belongs to somebody else.
#[derive(Debug, Default)]
pub(super) struct Outside {
    pub mounts: Vec<External>,
    /// Namespaces in CRIU's form.
    pub namespaces: Vec<String>,
    /// The group by which processes are stopped.
    pub freezer: Option<std::path::PathBuf>,
}

/// The options of a dump.
pub(super) fn of_dump(dump: &Dump<'_>, images: &Images, outside: &Outside) -> Message {
    let page_server =
        |(address, port): (&str, u16)| Message::default().text(1, address).number(2, port.into());
    let freezer = outside.freezer.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
    common(dump.settings, dump.spec, images, Log::Dump)
        .text(ROOT, dump.root.as_os_str().as_encoded_bytes())
        .handle(PID, dump.pid)
        .switch(LEAVE_RUNNING, dump.leave_running)
        .switch(TCP_SKIP_IN_FLIGHT, dump.skip_in_flight)
        .switch(LINK_REMAP, dump.link_remap)
        .each(PS, dump.page_server, page_server)
        .optional_text(PARENT_IMG, dump.parent)
        .switch(TRACK_MEM, dump.parent.is_some())
        .optional_text(FREEZE_CGROUP, freezer)
        .each(EXTERNAL, &outside.namespaces, |text| raw(text.as_bytes()))
        // What CRIU looks for in a dump is the mount point.
        .each(EXT_MNT, &outside.mounts, |mount| pair(&mount.place, &mount.name))
}

/// What a restore needs beside what it was asked for.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    pub mounts: &'a [External],
    pub joined: &'a super::namespaces::Joined,
    /// Standard streams by what they were, with the numbers that they have now.
    pub streams: &'a [(String, i32)],
    /// Controllers with the group of each.
    pub groups: &'a [(String, String)],
}

/// The options of a restore.
pub(super) fn of_restore(restoration: &Restoration<'_>, images: &Images, inside: &Inside<'_>) -> Message {
    let descriptor = |(key, number): (&str, i32)| Message::default().text(1, key).handle(2, number);
    let streams = inside.streams.iter().map(|(key, number)| (key.as_str(), *number));
    common(restoration.settings, restoration.spec, images, Log::Restore)
        .text(ROOT, restoration.root.as_os_str().as_encoded_bytes())
        .switch(EVASIVE_DEVICES, true)
        .switch(RST_SIBLING, true)
        .optional_text(LSM_PROFILE, restoration.label)
        .optional_text(LSM_MOUNT_CONTEXT, restoration.mount_label)
        .each(CG_ROOT, inside.groups, |(controller, group)| pair(controller, group))
        .each(INHERIT_FD, inside.joined.inherited().chain(streams), descriptor)
        .each(JOIN_NS, &inside.joined.paths, |(kind, path)| pair(kind, path))
        // What it looks for now is the name.
        .each(EXT_MNT, inside.mounts, |mount| pair(&mount.name, &mount.place))
}

fn common(settings: &Settings, spec: &Spec, images: &Images, log: Log) -> Message {
    let message = Message::default().handle(IMAGES_DIR_FD, images.number());
    let message =
        images.work_number().into_iter().fold(message, |message, fd| message.handle(WORK_DIR_FD, fd));
    message
        .number(LOG_LEVEL, DEBUG)
        .text(LOG_FILE, log.name())
        .switch(NOTIFY_SCRIPTS, true)
        .switch(MANAGE_CGROUPS, true)
        .number(MANAGE_CGROUPS_MODE, settings.groups.number())
        .switch(SHELL_JOB, settings.shell_job)
        .switch(EXT_UNIX_SK, settings.external_sockets)
        .switch(TCP_ESTABLISHED, settings.tcp_established)
        .switch(FILE_LOCKS, settings.file_locks)
        .switch(AUTO_DEDUP, settings.auto_dedup)
        .switch(LAZY_PAGES, settings.lazy_pages)
        .switch(ORPHAN_PTS_MASTER, true)
        // Devices and addresses of a network are set up by who made them.
        .number(EMPTY_NS, Namespaces::NETWORK.bits())
        .optional_text(CONFIG_FILE, configuration(spec))
}

fn configuration(spec: &Spec) -> Option<&str> {
    let named = spec.annotations().as_ref().and_then(|all| all.get(CONFIGURATION_ANNOTATION));
    Some(named.map_or(CONFIGURATION, String::as_str)).filter(|file| !file.is_empty())
}

fn pair(first: &str, second: &str) -> Message {
    Message::default().text(1, first).text(2, second)
}

/// A text where a message could be.
fn raw(text: &[u8]) -> Message {
    Message::from_bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_settings_can_be_named_or_left_out() {
        let spec = |annotations: &str| {
            let document = format!(r#"{{"ociVersion":"1.2.0","annotations":{{{annotations}}}}}"#);
            crate::bundle::parse(document.as_bytes(), &mut Vec::new()).expect("valid")
        };
        assert_eq!(configuration(&spec("")), Some("/etc/criu/runc.conf"));
        assert_eq!(configuration(&spec(r#""org.criu.config":"/mine""#)), Some("/mine"));
        assert_eq!(configuration(&spec(r#""org.criu.config":"""#)), None);
    }
}
