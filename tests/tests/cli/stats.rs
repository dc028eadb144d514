//! `stats`.

use std::collections::BTreeMap;

use holm_tests::{Holm, Isolation, Terminal, eventually};
use rustix::process::Signal;
use serde_json::Value;

const HEADINGS: [&str; 8] =
    ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"];
const FIELDS: [&str; 9] =
    ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"];

/// Figures by name of the workload, as JSON tells them.
fn figures(holm: &Holm, arguments: &[&str]) -> BTreeMap<String, Value> {
    let text = holm.ok(["stats", "--no-stream", "--format", "json"].iter().chain(arguments));
    let row = |line: &str| serde_json::from_str::<Value>(line).expect("an object a line");
    text.lines().map(row).map(|row| (row["Name"].as_str().expect("a name").to_owned(), row)).collect()
}

fn percent(row: &Value, field: &str) -> f64 {
    let text = row[field].as_str().unwrap_or_else(|| panic!("{row}"));
    text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{row}"))
}

#[test]
fn busy_and_idle_ones_are_told_apart() {
    let holm = Holm::new();
    let short = holm.start(&["--name", "busy", "--memory", "64m"], "while :; do :; done")[..12].to_owned();
    holm.start(&["--name", "idle"], "sleep 1000 & sleep 1000; true");
    eventually("what is busy is seen to be", || {
        let figures = figures(&holm, &[]);
        figures["busy"]["CPUPerc"] != "--" && percent(&figures["busy"], "CPUPerc") > 20.0
    });
    eventually("what is idle is seen to be", || {
        let idle = &figures(&holm, &["idle"])["idle"];
        idle["CPUPerc"] != "--" && percent(idle, "CPUPerc") < 20.0
    });
    let figures = figures(&holm, &["busy", "idle"]);
    let (busy, idle) = (&figures["busy"], &figures["idle"]);
    assert_eq!(busy.as_object().expect("an object").keys().collect::<Vec<_>>(), FIELDS);
    assert_eq!((&busy["ID"], &busy["Container"]), (&Value::from(short), &Value::from("busy")));
    assert!(busy["MemUsage"].as_str().expect("a text").ends_with(" / 64MiB"), "{busy}");
    assert!(percent(busy, "MemPerc") > 0.0 && percent(busy, "MemPerc") < 90.0, "{busy}");
    assert!(!idle["MemUsage"].as_str().expect("a text").starts_with("0B"), "{idle}");
    assert_eq!((&busy["NetIO"], &busy["PIDs"]), (&Value::from("0B / 0B"), &Value::from("1")));
    assert_eq!(idle["PIDs"], "3");
}

#[test]
fn which_are_shown() {
    let holm = Holm::new();
    assert_eq!(holm.ok(["stats", "--no-stream", "--format", "{{.Name}}"]), "");
    holm.ok(["create", "--name", "made", "base", "true"]);
    holm.start(&["--name", "runs"], "sleep 1000");
    let names = |arguments: &[&str]| {
        holm.ok(["stats", "--no-stream", "--format", "{{.Name}}"].iter().chain(arguments)).replace('\n', " ")
    };
    assert_eq!(names(&[]), "runs");
    assert_eq!(names(&["-a"]), "runs made");
    assert_eq!(names(&["made", "runs", "made"]), "made runs");
    let made = &figures(&holm, &["made"])["made"];
    assert_eq!((&made["CPUPerc"], &made["MemUsage"]), (&Value::from("0.00%"), &Value::from("0B / 0B")));
    assert_eq!((&made["BlockIO"], &made["PIDs"]), (&Value::from("0B / 0B"), &Value::from("0")));
    holm.run(["stats", "--no-stream", "absent"]).refused(1, &["absent"]);
    holm.run(["stats", "runs", "absent"]).refused(1, &["absent"]);
    holm.run(["stats", "--no-stream", "--format", "{{.Nope}}"]).refused(1, &["Nope"]);
    assert_eq!(holm.ok(["container", "stats", "--no-stream", "--format", "{{.Name}}"]), "runs");
}

#[test]
fn the_table() {
    let holm = Holm::new();
    let id = holm.start(&["--name", "box"], "sleep 1000");
    let table = holm.ok(["stats", "--no-stream"]);
    let mut lines = table.lines();
    let headings = lines.next().expect("headings");
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(cells(headings), HEADINGS);
    let row = cells(lines.next().expect("a row"));
    assert_eq!((row.len(), &row[0], row[1].as_str()), (8, &id[..12].to_owned(), "box"), "{table}");
    assert!(!table.contains('\x1b'));
    assert_eq!(holm.ok(["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}"]), id);
    let chosen = holm.ok(["stats", "--no-stream", "--format", "table {{.Name}}\\t{{.PIDs}}"]);
    assert_eq!(chosen.lines().map(cells).collect::<Vec<_>>(), [["NAME", "PIDS"], ["box", "1"]]);
}

#[test]
fn tables_follow_each_other_and_new_ones_appear() {
    let holm = Holm::new();
    holm.start(&["--name", "first"], "sleep 1000");
    let mut all = holm.call(["stats", "--format", "{{.Name}}"]).spawn();
    let mut named = holm.call(["stats", "--format", "{{.Name}} {{.PIDs}}", "first"]).spawn();
    all.expect_stdout("first\nfirst\n");
    holm.start(&["--name", "second"], "sleep 1000");
    all.expect_stdout("second\nfirst\nsecond\nfirst\n");
    named.expect_stdout("first 1\n");
    holm.ok(["kill", "first"]);
    all.expect_stdout("second\nsecond\n");
    named.expect_stdout("first 0\n");
    holm.ok(["rm", "first"]);
    named.finish().expect_code(0);
    assert!(!all.stdout().contains('\x1b'), "orders for a terminal where there is none");
    all.signal(Signal::INT);
    // As with Docker: the signal ends it.
    all.finish().expect_code(130);
}

#[test]
fn a_terminal_is_drawn_on_in_place() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 1000");
    let mut terminal = Terminal::start(&holm, &["stats"], 24, 120);
    terminal.expect("\x1b[2J\x1b[HCONTAINER ID");
    terminal.expect("\x1b[J\x1b[HCONTAINER ID");
    terminal.keys("\x03");
    assert_eq!(terminal.finish(), 130);
    assert_eq!(terminal.screen().matches("\x1b[2J").count(), 1, "it is cleared once");
    let mut once = Terminal::start(&holm, &["stats", "--no-stream"], 24, 120);
    assert_eq!(once.finish(), 0);
    assert!(!once.rest().contains('\x1b'));
}

/// A container's figures are the host's to tell; a machine's are not.
#[test]
fn of_what_is_paused() {
    let holm = Holm::new();
    holm.start(&["--name", "still"], "sleep 1000");
    holm.start(&["--name", "goes"], "sleep 1000");
    holm.ok(["pause", "still"]);
    let told = |name: &str| figures(&holm, &[])[name]["PIDs"].as_str().expect("a text").to_owned();
    let expected = if holm.isolation() == Isolation::Machine { "--" } else { "1" };
    assert_eq!(told("still"), expected);
    eventually("the other one tells", || told("goes") == "1");
    holm.ok(["unpause", "still"]);
    eventually("it tells again", || told("still") == "1");
}

holm_tests::also_in_machines!(busy_and_idle_ones_are_told_apart, of_what_is_paused);

#[test]
fn figures_for_prometheus() {
    let holm = Holm::new();
    holm.start(&["--name", "web", "--memory", "64m", "--restart", "always"], "sleep 1000");
    holm.run(["run", "--name", "job", "base", "sh", "-c", "exit 3"]);
    let text = holm.ok(["metrics"]);
    let id = holm.inspect("web", "{{.Id}}");
    let labels = format!("{{id=\"{id}\",name=\"web\"}}");
    for line in [
        format!("holm_workload_running{labels} 1"),
        format!("holm_workload_memory_limit_bytes{labels} 67108864"),
        format!("holm_workload_restarts_total{labels} 0"),
        format!("holm_workload_pids{labels} 1"),
        "# TYPE holm_workload_restarts_total counter".to_owned(),
    ] {
        assert!(text.lines().any(|given| given == line), "{line}:\n{text}");
    }
    assert!(text.contains("name=\"job\"} 3"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let file = holm.scratch("holm.prom");
    holm.ok(["metrics", "-o", file.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&file).unwrap().contains("holm_workload_info"));
}
