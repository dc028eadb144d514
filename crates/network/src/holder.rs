//! Which process has a port: for messages to people, so nothing here fails.

use std::fs;
use std::path::Path;

use holm_spec::network::Protocol;

/// `process 12 (nginx)`; `None` if that cannot be found out.
pub(crate) fn of_port(protocol: Protocol, port: u16) -> Option<String> {
    let tables = [format!("/proc/thread-self/net/{protocol}"), format!("/proc/thread-self/net/{protocol}6")];
    let tables = tables.iter().map(|table| fs::read_to_string(table).unwrap_or_default());
    let tables: Vec<String> = tables.collect();
    let inodes = tables.iter().flat_map(|table| inodes(table, port));
    let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    let is_number = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = fs::read_dir("/proc").ok()?.flatten().filter(|entry| is_number(&entry.file_name()));
    let process = processes.into_iter().find(|entry| has_one(&entry.path(), &inodes))?;
    let pid = process.file_name().to_string_lossy().into_owned();
    let name = fs::read_to_string(process.path().join("comm")).ok()?;
    Some(format!("process {pid} ({})", name.trim_end().escape_debug()))
}

/// Inodes of the sockets that are bound to a port, in a table of proc(5) (`/proc/net/tcp`, which is the first thread's). Pure.
fn inodes(table: &str, port: u16) -> Vec<&str> {
    let bound = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let number = fields.nth(1)?.rsplit_once(':')?.1;
        let inode = fields.nth(7)?;
        (u16::from_str_radix(number, 16) == Ok(port) && inode != "0").then_some(inode)
    });
    bound.collect()
}

fn has_one(process: &Path, sockets: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    let targets = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).any(|target| sockets.contains(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let name = fs::read_to_string("/proc/self/comm").expect("a name");
        let expected = format!("process {} ({})", std::process::id(), name.trim_end());
        assert_eq!(of_port(Protocol::Tcp, port), Some(expected));
        drop(listener);
        assert_eq!(of_port(Protocol::Tcp, port), None);
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        assert_eq!(inodes("head\n\n0: 0100007F\n", 1), Vec::<&str>::new());
    }
}
