//! Services as people run them, from Debian's packages: the web application of `examples/visits` with PostgreSQL and
//! Redis, three workloads on one network. Whatever of it is killed, it comes back and has lost nothing.
//!
//! In `in_machines` Redis is a virtual machine, and the others are containers.

use std::path::Path;
use std::time::Duration;

use holm_tests::{Holm, Namespace, also_in_machines, debian, eventually, host, isolation};

/// All three are made of one image: each has the files of all, and starts one.
const PACKAGES: &[&str] =
    &["postgresql", "python3-flask", "python3-psycopg2", "python3-redis", "redis-server"];

const WORKLOADS: [&str; 3] = ["postgres", "redis", "web"];

/// The three workloads, a host whose port leads to one of them, and another host that uses it.
struct Site {
    holm: Holm,
    client: Namespace,
    /// How many visits were counted for sure, and at most.
    visits: (u32, u32),
    /// The notes that are kept for sure.
    notes: Vec<String>,
}

impl Site {
    /// Each is healthy.
    fn new() -> Self {
        let holm = Holm::with_network();
        let tarball = debian::tarball(PACKAGES);
        let patience = Duration::from_secs(120);
        let arguments = ["import", tarball.to_str().expect("paths of the workspace are text"), "services"];
        holm.call(arguments).timeout(patience).run().ok();
        holm.ok(["network", "create", "back"]);
        let site = Self { client: holm.network().neighbour(), holm, visits: (0, 0), notes: Vec::new() };
        site.start_postgres();
        site.start_redis();
        site.start_web();
        for workload in WORKLOADS {
            site.is_healthy(workload);
        }
        site
    }

    fn start_postgres(&self) {
        let files = example();
        let flags = ["--user", "postgres", "-v", "rows:/var/lib/postgresql", "-v", &files];
        let flags = [&["--health-cmd", "pg_isready -h 127.0.0.1"], &flags[..]].concat();
        self.start(&["container", "run"], "postgres", &flags, "exec /app/postgres.sh");
    }

    /// Whatever kind of workload is tested.
    fn start_redis(&self) {
        let flags = [
            "--health-cmd",
            "redis-cli ping",
            "--user",
            "redis",
            "-v",
            "counts:/var/lib/redis",
            "-m",
            "256m",
        ];
        let server = "exec redis-server --dir /var/lib/redis --appendonly yes --appendfsync always --protected-mode no";
        self.start(&["run"], "redis", &flags, server);
    }

    fn start_web(&self) {
        let check = "python3 -c 'import urllib.request as it; it.urlopen(\"http://127.0.0.1:8000/\")'";
        let files = example();
        let flags = ["--health-cmd", check, "--user", "nobody", "-p", "8080:8000", "-v", &files];
        self.start(&["container", "run"], "web", &flags, "exec python3 /app/app.py");
    }

    fn start(&self, run: &[&str], name: &str, flags: &[&str], script: &str) {
        let always =
            ["-d", "--name", name, "--network", "back", "--restart", "always", "--health-interval", "1s"];
        self.holm.ok([run, &always, flags, &["services", "sh", "-c", script]].concat());
    }

    #[track_caller]
    fn is_healthy(&self, workload: &str) {
        let patience = Duration::from_secs(60) * isolation::slowness();
        self.holm.call(["wait", "--condition", "healthy", workload]).timeout(patience).run().ok();
    }

    /// What the other host is told; nothing unless it is told that all went well.
    fn ask(&self, path: &str, flags: &str) -> Option<String> {
        let line = format!("timeout 20 busybox wget -q -O- {flags} http://10.99.0.1:8080{path}");
        let outcome = self.client.try_shell(&line);
        outcome.status.success().then(|| outcome.out())
    }

    /// Somebody uses it again and again until it has done what it is asked for once, and then all that it ever said that
    /// it had done must be there.
    #[track_caller]
    fn serves(&mut self, after: &str) {
        eventually(after, || self.counts_a_visit());
        eventually(after, || self.keeps_a_note());
        let totals = self.ask("/", "").expect("it has just served");
        let totals: serde_json::Value = serde_json::from_str(&totals).expect("a document");
        let visits = totals["visits"].as_u64().expect("a number");
        let (least, most) = self.visits;
        assert!((least.into()..=most.into()).contains(&visits), "{after}: {visits}, not {least} to {most}");
        let notes = self.ask("/notes", "").expect("it has just served");
        let lost: Vec<_> =
            self.notes.iter().filter(|note| !notes.lines().any(|line| line == *note)).collect();
        assert!(lost.is_empty(), "{after}: {lost:?} are not in {notes:?}");
    }

    fn counts_a_visit(&mut self) -> bool {
        self.visits.1 += 1;
        let counted = self.ask("/visits", "--post-data=").is_some();
        self.visits.0 += u32::from(counted);
        counted
    }

    fn keeps_a_note(&mut self) -> bool {
        let note = format!("note {}", self.notes.len());
        let kept = self.ask("/notes", &format!("--post-data='{note}'")).is_some();
        self.notes.extend(kept.then_some(note));
        kept
    }

    fn id(&self, workload: &str) -> String {
        self.holm.inspect(workload, "{{.Id}}")
    }

    /// The processes that answer for the names of its network.
    fn resolvers(&self) -> Vec<u32> {
        let root = self.holm.root().display().to_string();
        let processes = host::processes_naming(&root).into_iter();
        processes.filter(|pid| host::program(*pid) == "holm-netd").collect()
    }
}

/// The example, where the workloads find it.
fn example() -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    format!("{}:/app:ro", workspace.join("examples/visits").display())
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn three_services_survive_the_kill_of_each() {
    let mut site = Site::new();
    site.serves("the start");
    for workload in WORKLOADS {
        host::kill(site.holm.pid(workload));
        site.serves(&format!("the kill of {workload}"));
    }
    for workload in WORKLOADS {
        host::kill_keeper(&site.holm, workload);
        site.serves(&format!("the kill of {workload}'s keeper"));
    }
    for workload in WORKLOADS {
        let before = site.holm.pid(workload);
        host::kill_keeper(&site.holm, workload);
        host::processes(&site.id(workload)).into_iter().for_each(host::kill);
        // Nobody is left who would notice, but the next command.
        eventually("a new run", || {
            site.holm.ok(["ps", "-q"]).lines().count() == 3 && site.holm.pid(workload) != before
        });
        site.serves(&format!("the kill of all of {workload}"));
    }
    let before = site.resolvers();
    assert_eq!(before.len(), 1);
    before.iter().copied().for_each(host::kill);
    // It is missed when its lock goes with its last breath.
    eventually("another server of names", || {
        site.holm.ok(["ps", "-q"]);
        site.resolvers().iter().any(|pid| !before.contains(pid))
    });
    site.serves("the kill of the names' server");
    for workload in WORKLOADS {
        site.holm.ok(["restart", workload]);
        site.serves(&format!("the restart of {workload}"));
    }
    for workload in WORKLOADS {
        site.is_healthy(workload);
    }
}

also_in_machines!(three_services_survive_the_kill_of_each);
