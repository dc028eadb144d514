//! `--log-driver` and `--log-opt`: what the drivers keep, and how.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_tests::{Holm, Outcome, eventually};
use serde_json::Value;

/// Starts a script with a driver and its options, and waits for its end.
#[track_caller]
fn finished(holm: &Holm, driver: &str, options: &[&str], script: &str) -> PathBuf {
    let options: Vec<String> = options.iter().map(|option| format!("--log-opt={option}")).collect();
    let mut flags = vec!["--name", "box", "--log-driver", driver];
    flags.extend(options.iter().map(String::as_str));
    holm.start(&flags, script);
    holm.ok(["wait", "box"]);
    PathBuf::from(holm.inspect("box", "{{.LogPath}}"))
}

/// Names of the files beside a log, without the log's own.
fn rotated(path: &Path) -> Vec<String> {
    let own = path.file_name().and_then(|name| name.to_str()).expect("text");
    let entries = std::fs::read_dir(path.parent().expect("a directory")).expect("there");
    let names = entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text"));
    let mut ends: Vec<_> = names.filter_map(|name| Some(name.strip_prefix(own)?.to_owned())).collect();
    ends.retain(|end| !end.is_empty());
    ends.sort();
    ends
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn counts(text: &str, last: usize) {
    let wrong = text.lines().zip(1..).find(|(line, number)| *line != number.to_string());
    assert_eq!(wrong, None, "a line is lost, doubled or out of order");
    assert_eq!(text.lines().count(), last);
}

#[test]
fn a_json_file_is_as_docker_writes_it() {
    let holm = Holm::new();
    let options = ["labels=team", "env=A", "tag={{.Name}}", "max-size=1m"];
    let id = holm.ok([
        "create",
        "--name",
        "box",
        "--label",
        "team=x y",
        "-e",
        "A=1",
        "--log-driver",
        "json-file",
        "--log-opt",
        options[0],
        "--log-opt",
        options[1],
        "--log-opt",
        options[2],
        "--log-opt",
        options[3],
        "base",
        "sh",
        "-c",
        r"printf 'a<b\n'; printf '\377\n' >&2; printf end",
    ]);
    holm.ok(["start", "-a", "box"]);
    let path = PathBuf::from(holm.inspect("box", "{{.LogPath}}"));
    assert!(path.ends_with(format!("{id}-json.log")), "{path:?}");
    assert_eq!(holm.inspect("box", "{{.HostConfig.LogConfig.Type}}"), "json-file");
    assert_eq!(holm.inspect("box", "{{index .HostConfig.LogConfig.Config \"max-size\"}}"), "1m");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(
        r#"{"log":"a\u003cb\n","stream":"stdout","attrs":{"A":"1","tag":"box","team":"x y"},"time":"2"#
    ));
    let mut logs: Vec<_> =
        records(&path).iter().map(|record| record["log"].as_str().unwrap().to_owned()).collect();
    logs.sort();
    assert_eq!(logs, ["a<b\n", "end", "\u{fffd}\n"]);
    assert_eq!(holm.ok(["logs", "box"]), "a<b\nend");
    assert_eq!(holm.ok(["logs", "--details", "-n", "2", "box"]), "A=1,tag=box,team=x+y end");
}

#[test]
fn long_lines_are_split_and_put_together() {
    let holm = Holm::new();
    let script = "head -c 100000 /dev/zero | tr '\\0' x; sleep 0.1; printf 'y\\nno end'";
    let path = finished(&holm, "json-file", &[], script);
    let lengths: Vec<_> = records(&path).iter().map(|record| record["log"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [16384, 16384, 16384, 16384, 16384, 16384, 100_000 - 6 * 16384 + 2, 6]);
    let expected = format!("{}y\nno end", "x".repeat(100_000));
    assert!(holm.ok(["logs", "box"]) == expected);
    assert!(holm.ok(["logs", "-n", "2", "box"]) == expected);
    assert_eq!(holm.ok(["logs", "-n", "1", "box"]), "no end");
    assert_eq!(holm.ok(["logs", "-t", "box"]).lines().count(), 2);
}

#[test]
fn what_has_no_end_is_kept_where_the_streams_are_closed() {
    let holm = Holm::new();
    for driver in ["local", "json-file"] {
        finished(&holm, driver, &[], "printf one; exec >&- 2>&-; sleep 0.1; exit 3");
        assert_eq!(holm.ok(["logs", "-f", "box"]), "one");
        holm.ok(["rm", "box"]);
    }
}

#[test]
fn full_files_are_put_aside_and_the_oldest_go() {
    let holm = Holm::new();
    for driver in ["local", "json-file"] {
        let path = finished(&holm, driver, &["max-size=64k", "max-file=3", "compress=false"], "seq 1 20000");
        assert_eq!(rotated(&path), [".1", ".2"]);
        let kept = holm.ok(["logs", "box"]);
        assert!(kept.lines().count() > 1000 && kept.ends_with("\n20000"));
        // The beginning of the first line may have gone with another file.
        let numbers: Vec<u32> = kept.lines().skip(1).map(|line| line.parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_eq!(holm.ok(["logs", "-n", "900", "box"]).lines().next(), Some("19101"));
        holm.ok(["rm", "box"]);
    }
}

#[test]
fn compressed_files_are_read_as_the_others() {
    let holm = Holm::new();
    for driver in ["local", "json-file"] {
        let flags = [
            "--name",
            "box",
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=64k",
            "--log-opt",
            "max-file=60",
        ];
        let flags = [&flags[..], &["--log-opt", "compress=true"]].concat();
        holm.start(&flags, "seq 1 20000; while [ ! -e /go ]; do sleep 0.02; done");
        let path = PathBuf::from(holm.inspect("box", "{{.LogPath}}"));
        eventually("all that is full is compressed", || {
            let files = rotated(&path);
            files.len() > 5 && files.iter().all(|name| name.ends_with(".gz"))
        });
        eventually("it has written all", || holm.ok(["logs", "-n", "1", "box"]) == "20000");
        counts(&holm.ok(["logs", "box"]), 20_000);
        for lines in [1, 500, 3000, 19_999] {
            let tail = holm.ok(["logs", "-n", &lines.to_string(), "box"]);
            assert_eq!(tail.lines().next(), Some((20_001 - lines).to_string().as_str()), "{lines}");
            assert_eq!(tail.lines().count(), lines);
        }
        // It may be ended with the workload before it says that it is done.
        let _ = holm.run(["exec", "box", "touch", "/go"]);
        holm.ok(["wait", "box"]);
        holm.ok(["rm", "box"]);
    }
}

#[test]
fn a_follower_misses_nothing_when_files_are_put_aside() {
    let holm = Holm::new();
    for driver in ["local", "json-file"] {
        let script = "while [ ! -e /go ]; do sleep 0.02; done; seq 1 60000";
        let options =
            ["max-size=128k", "max-file=200", "compress=true"].map(|option| format!("--log-opt={option}"));
        let mut flags = vec!["--name", "box", "--log-driver", driver];
        flags.extend(options.iter().map(String::as_str));
        holm.start(&flags, script);
        let call = holm.call(["logs", "-f", "box"]).spawn();
        let tail = holm.call(["logs", "-f", "-n", "5", "box"]).spawn();
        holm.ok(["exec", "box", "touch", "/go"]);
        counts(&call.finish().ok(), 60_000);
        drop(tail.finish().ok());
        holm.ok(["rm", "-f", "box"]);
    }
}

#[test]
fn nothing_is_kept() {
    let holm = Holm::new();
    let path = finished(&holm, "none", &[], "echo x");
    assert_eq!(path, Path::new(""));
    holm.run(["logs", "box"]).refused(1, &["box", "configured logging driver does not support reading"]);
    assert_eq!(holm.sh(&["--log-driver", "none"], "echo attached"), "attached");
    assert_eq!(holm.inspect("box", "{{.HostConfig.LogConfig.Type}}"), "none");
}

/// Calls holm in a mount namespace of its own, after `before`.
fn apart(holm: &Holm, before: &str, script: &str) -> Outcome {
    let script = format!("set -e; {before}; {script}").replace('\'', "'\\''");
    holm.host_shell(&format!("exec unshare -m --propagation private bash -c '{script}'"))
}

#[test]
fn a_full_disk_does_not_stop_the_workload_and_is_told() {
    let holm = Holm::new();
    for driver in ["local", "json-file"] {
        let id = holm.ok([
            "create",
            "--name",
            "box",
            "--log-driver",
            driver,
            "base",
            "sh",
            "-c",
            "seq 1 50000; touch /full; while [ ! -e /go ]; do sleep 0.02; done; echo after",
        ]);
        let log = holm.root().join("workloads").join(id).join("log");
        let before = format!("mkdir -p {0}; mount -t tmpfs -o size=256k tmpfs {0}", log.display());
        let script = format!(
            "$HOLM start box; until $HOLM exec box test -e /full; do sleep 0.05; done; sleep 0.2
            mount -o remount,size=4m {0}; $HOLM exec box touch /go; $HOLM wait box; $HOLM logs box 2>&1; umount {0}; $HOLM rm box",
            log.display()
        );
        let told = apart(&holm, &before, &script);
        let text = told.ok();
        // What was read up to the middle of a line is kept as that.
        let lost = text.split("holm: ").nth(1).and_then(|said| {
            let (lines, reason) = said.split_once(" lines lost: ")?;
            reason.starts_with("No space left on device\n").then(|| lines.parse().ok())?
        });
        let lost: usize = lost.unwrap_or_else(|| panic!("nothing is said of it: {text}"));
        let kept = text.lines().filter(|line| line.parse::<u32>().is_ok()).count();
        assert!(text.contains("after\n") && kept > 100, "{kept}");
        // Beside the exit code that was printed; the form of CRI has parts of lines.
        assert!(
            (lost + kept - 1).abs_diff(50_000) <= if driver == "local" { 3 } else { 0 },
            "{lost} and {kept}"
        );
    }
}

/// A journal of the test's own.
fn journal(holm: &Holm) -> (UnixDatagram, String) {
    let directory = holm.scratch("journal");
    std::fs::create_dir(&directory).expect("a directory");
    let socket = UnixDatagram::bind(directory.join("socket")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let before = format!(
        "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; mount --bind {} /run/systemd/journal",
        directory.display()
    );
    (socket, before)
}

/// The fields of a message in the journal's native form.
fn fields(mut message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let end = message.iter().position(|byte| *byte == b'\n').expect("a line");
        let (line, rest) = (&message[..end], &message[end + 1..]);
        let (name, value, rest) = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => (&line[..at], &line[at + 1..], rest),
            None => {
                let length = u64::from_le_bytes(rest[..8].try_into().expect("a length")) as usize;
                (line, &rest[8..8 + length], &rest[8 + length + 1..])
            }
        };
        fields.push((String::from_utf8(name.to_vec()).expect("text"), value.to_vec()));
        message = rest;
    }
    fields
}

#[test]
fn the_journal_gets_a_message_a_line() {
    let holm = Holm::new();
    let (socket, before) = journal(&holm);
    let said =
        holm.file("said", r"echo one; printf '\377x\n' >&2; head -c 20000 /dev/zero | tr '\0' y; echo");
    let script = format!(
        "$HOLM run --name box --log-driver journald --log-opt tag={{{{.Name}}}} --log-opt labels=com.team \
        -l com.team=x base sh -c \"$(cat {said})\"; $HOLM logs box 2>&1 | wc -c; $HOLM rm box"
    );
    let outcome = apart(&holm, &before, &script);
    assert!(outcome.ok().contains("\n20008\n"), "the copy has it all: {}", outcome.out().len());
    let mut buffer = vec![0; 65536];
    let mut messages = Vec::new();
    for _ in 0..4 {
        let length = socket.recv(&mut buffer).expect("a message");
        messages.push(fields(&buffer[..length]));
    }
    let value = |message: &[(String, Vec<u8>)], name: &str| {
        message
            .iter()
            .find(|field| field.0 == name)
            .map(|field| String::from_utf8_lossy(&field.1).into_owned())
    };
    let one = messages.iter().find(|message| value(message, "MESSAGE").as_deref() == Some("one")).unwrap();
    for (name, expected) in [
        ("CONTAINER_NAME", "box"),
        ("CONTAINER_TAG", "box"),
        ("SYSLOG_IDENTIFIER", "box"),
        ("IMAGE_NAME", "base"),
        ("COM_TEAM", "x"),
        ("PRIORITY", "6"),
    ] {
        assert_eq!(value(one, name).as_deref(), Some(expected), "{name}");
    }
    let (short, full) = (value(one, "CONTAINER_ID").unwrap(), value(one, "CONTAINER_ID_FULL").unwrap());
    assert!(short.len() == 12 && full.len() == 64 && full.starts_with(&short));
    let parts: Vec<_> =
        messages.iter().filter(|message| value(message, "CONTAINER_PARTIAL_ID").is_some()).collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(value(parts[0], "CONTAINER_PARTIAL_MESSAGE").as_deref(), Some("true"));
    assert_eq!(value(parts[1], "CONTAINER_PARTIAL_MESSAGE"), None);
    assert_eq!(value(parts[1], "CONTAINER_PARTIAL_LAST").as_deref(), Some("true"));
    let error = messages.iter().find(|message| value(message, "PRIORITY").as_deref() == Some("3")).unwrap();
    assert!(error.iter().any(|(name, value)| name == "MESSAGE" && value == b"\xffx"));
}

#[test]
fn a_message_too_long_for_a_datagram_is_a_sealed_file() {
    use std::os::fd::AsFd;
    let holm = Holm::new();
    let (socket, before) = journal(&holm);
    let script = "label=$(head -c 100000 /dev/zero | tr '\\0' z)
        $HOLM run --rm --log-driver journald --log-opt labels=a,b,c -l a=$label -l b=$label -l c=$label base echo one";
    apart(&holm, &before, script).expect_code(0);
    let (length, file) = holm_sys::socket::receive_packet(socket.as_fd(), &mut [0; 16]).expect("a message");
    assert_eq!(length, 0);
    let mut file = std::fs::File::from(file.expect("a file"));
    let seals = rustix::fs::fcntl_get_seals(&file).expect("it has seals");
    assert!(seals.contains(rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SHRINK));
    let mut message = Vec::new();
    std::io::Seek::rewind(&mut file).expect("a file");
    std::io::Read::read_to_end(&mut file, &mut message).expect("readable");
    let fields = fields(&message);
    assert!(fields.iter().any(|(name, value)| name == "C" && value.len() == 100_000));
    assert!(fields.iter().any(|(name, value)| name == "MESSAGE" && value == b"one"));
}

#[test]
fn a_journal_that_takes_nothing_stops_nobody() {
    let holm = Holm::new();
    // Nobody reads from it.
    let (_socket, before) = journal(&holm);
    let script = "$HOLM run -d --name box --log-driver journald base seq 1 5000; $HOLM wait box; $HOLM logs box; $HOLM rm box";
    let text = apart(&holm, &before, script).ok();
    assert_eq!(text.lines().filter(|line| line.parse::<u32>().is_ok_and(|number| number > 0)).count(), 5000);
}

#[test]
fn a_journal_that_is_not_there_is_said_before_anything_is_made() {
    let holm = Holm::new();
    let script = "$HOLM run --name box --log-driver journald base true";
    let outcome = apart(&holm, "mount -t tmpfs tmpfs /run", script);
    outcome.refused(125, &["journald", "/run/systemd/journal/socket"]);
    assert!(holm.workloads().is_empty());
}

holm_tests::also_in_machines!(
    a_json_file_is_as_docker_writes_it,
    full_files_are_put_aside_and_the_oldest_go,
    a_follower_misses_nothing_when_files_are_put_aside,
);
