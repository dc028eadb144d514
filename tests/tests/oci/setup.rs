//! One test's corner of the machine: a root for the runtime's state, one bundle, and the group that its containers live
//! in. Dropping it, also while the test panics, removes all of it; a test that passes but leaves something fails there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use holm_tests::{Call, Outcome, eventually, host};
use serde_json::{Value, json};

use super::{machine, runtime};

/// What the root file system of a bundle has in `/bin`, all of it one program.
const COMMANDS: &str = "sh cat chmod chown cp cut date dd df echo env false find grep head hostname id ifconfig ionice ip kill ln ls \
    mkdir mkfifo mknod mount mv nice nproc od printf ps pwd readlink rm rmdir sed seq setsid sleep sort stat stty sync \
    tail test timeout touch tr true tty umount uname unshare wc";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bundle, a root, and the guard over both.
pub struct Oci {
    directory: tempfile::TempDir,
    /// The id of the container that the short calls mean.
    pub id: String,
    /// What `config.json` will say; the calls that read it write it first.
    pub config: Value,
    base: String,
}

impl Oci {
    /// A bundle whose container has the usual namespaces and mounts, and does nothing.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ho").tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("run")).expect("a directory in an empty one");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = format!("/holm-oci-test-{}-{number}", std::process::id());
        let id = "box".to_owned();
        let config = config(&format!("{base}/{id}"));
        make_rootfs(&directory.path().join("b/rootfs"));
        Self { directory, id, config, base }
    }

    /// As [`Oci::new`], but the container runs a shell script.
    pub fn script(script: &str) -> Self {
        let mut oci = Self::new();
        oci.command(&["sh", "-c", script]);
        oci
    }

    /// A path for the test's own files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the bundle lies.
    pub fn bundle(&self) -> PathBuf {
        self.path("b")
    }

    /// A path below the container's root, as the host sees it.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.path("b/rootfs").join(name)
    }

    /// Where the runtime keeps its state.
    pub fn root(&self) -> PathBuf {
        self.path("run")
    }

    /// The control group of the container, from the mount point of a hierarchy.
    pub fn group(&self) -> String {
        format!("{}/{}", self.base, self.id)
    }

    /// Gives the container a command.
    pub fn command(&mut self, arguments: &[&str]) -> &mut Self {
        self.set("/process/args", json!(arguments))
    }

    /// Sets a value of the configuration, by a JSON pointer whose objects are made as needed.
    #[track_caller]
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let mut place = &mut self.config;
        for name in pointer.split('/').skip(1) {
            place = match place {
                Value::Array(list) => {
                    list.get_mut(name.parse::<usize>().expect("an index")).expect("an item")
                }
                place => &mut place[name],
            };
        }
        *place = value;
        self
    }

    /// Adds an item to a list of the configuration, which is made if it is not there.
    #[track_caller]
    pub fn add(&mut self, pointer: &str, value: Value) -> &mut Self {
        if self.config.pointer(pointer).is_none_or(Value::is_null) {
            self.set(pointer, json!([]));
        }
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("a list").push(value);
        self
    }

    /// Removes a value of the configuration.
    #[track_caller]
    pub fn unset(&mut self, pointer: &str) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.config.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        parent.remove(name);
        self
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.add("/mounts", mount)
    }

    /// Leaves a namespace out, so that the container shares the host's.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Has the container join the namespace at a path.
    pub fn join_namespace(&mut self, kind: &str, path: &str) -> &mut Self {
        self.without_namespace(kind);
        self.add("/linux/namespaces", json!({"type": kind, "path": path}))
    }

    /// Writes `config.json`.
    pub fn save(&self) {
        self.save_text(&serde_json::to_string_pretty(&self.config).expect("JSON"));
    }

    /// Writes a text as `config.json`.
    pub fn save_text(&self, text: &str) {
        std::fs::write(self.bundle().join("config.json"), text).expect("a file in the bundle");
    }

    /// The runtime with this test's root and more global options, its arguments still to come.
    pub fn program(&self, options: &[&str]) -> Command {
        let mut command = Command::new(runtime::program());
        command.arg("--root").arg(self.root()).args(options).current_dir(self.directory.path());
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        command
    }

    /// A call of the runtime with these arguments.
    pub fn call<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Call {
        let mut command = self.program(&[]);
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        Call::new(command)
    }

    /// Calls the runtime to its end.
    pub fn run<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        self.call(arguments).run()
    }

    /// Calls the runtime and demands success; returns standard output without the last line break.
    #[track_caller]
    pub fn ok<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.run(arguments).ok()
    }

    /// A call that leaves its streams to a process in the background: they are the files `<name>.out` and `<name>.err`.
    pub fn background<S: AsRef<str>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Call {
        let file = |kind: &str| self.path(&format!("{name}.{kind}"));
        self.call(arguments).files(file("out"), file("err"))
    }

    /// What a process in the background has written to its standard output, without the last line break.
    pub fn output(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path(&format!("{name}.out"))).unwrap_or_default();
        text.trim_end_matches('\n').to_owned()
    }

    /// Demands that a call fails with this exit code and says so in one record of JSON; returns what it says.
    #[track_caller]
    pub fn fails<S: AsRef<str>>(&self, code: i32, arguments: impl IntoIterator<Item = S>) -> String {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.path(&format!("failure{number}.{kind}"));
        let log = file("log");
        let options = ["--log", log.to_str().expect("text"), "--log-format", "json"];
        let mut command = self.program(&options);
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        let outcome = Call::new(command).files(file("out"), file("err")).run();
        outcome.expect_code(code);
        let text = std::fs::read_to_string(&log).expect("a log");
        let records: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let last = records.last().unwrap_or_else(|| panic!("nothing in the log: {outcome}"));
        assert_eq!(last["level"], "error", "{text}");
        last["msg"].as_str().expect("a message").to_owned()
    }

    /// Demands that `create` fails, that its message has all of these texts, and that nothing is left.
    #[track_caller]
    pub fn refused(&self, texts: &[&str]) -> String {
        self.save();
        let message = self.fails(1, self.creation());
        for text in texts {
            assert!(message.contains(text), "no {text:?} in {message:?}");
        }
        self.clean();
        message
    }

    fn creation(&self) -> Vec<String> {
        let bundle = self.bundle().into_os_string().into_string().expect("temporary paths are text");
        vec!["create".to_owned(), "--bundle".to_owned(), bundle, self.id.clone()]
    }

    /// Creates the container; its streams are files by the name of its id.
    #[track_caller]
    pub fn create(&self) {
        self.save();
        self.background(&self.id, self.creation()).run().expect_code(0);
    }

    /// Starts the container.
    #[track_caller]
    pub fn start(&self) {
        self.ok(["start", &self.id]);
    }

    /// Creates and starts a container that runs a script in the background.
    #[track_caller]
    pub fn up(&mut self, script: &str) -> &mut Self {
        self.command(&["sh", "-c", script]);
        self.create();
        self.start();
        self
    }

    /// Runs the container in the foreground.
    #[track_caller]
    pub fn foreground(&self) -> Outcome {
        self.save();
        self.run(["run", "--bundle", self.bundle().to_str().expect("text"), &self.id])
    }

    /// Runs a script as the container in the foreground, demands success and that nothing is left of it; returns what it
    /// wrote to standard output.
    #[track_caller]
    pub fn sh(&mut self, script: &str) -> String {
        self.command(&["sh", "-c", script]);
        let text = self.foreground().ok();
        self.clean();
        text
    }

    /// Runs a script by `exec` in the container and returns what it wrote.
    #[track_caller]
    pub fn exec(&self, script: &str) -> String {
        self.ok(["exec", &self.id, "sh", "-c", script])
    }

    /// The answer of `state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(["state", &self.id])).expect("JSON")
    }

    /// The status that `state` gives.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("text").to_owned()
    }

    /// The host's process id of the container's first process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.state()["pid"].as_u64().expect("a number")).expect("a process id")
    }

    /// Waits until the container has a status.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        eventually(&format!("it is {status}"), || self.status() == status);
    }

    /// Waits until the container has written a text to its standard output.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str) {
        eventually(&format!("it writes {text:?}"), || self.output(&self.id).contains(text));
    }

    /// Removes the container, whatever its status, and demands that nothing is left.
    #[track_caller]
    pub fn remove(&self) {
        self.ok(["delete", "--force", &self.id]);
        self.clean();
    }

    /// Demands that nothing is left of the container: no state, no group, no mount, no process.
    #[track_caller]
    pub fn clean(&self) {
        assert!(!self.root().join(&self.id).exists(), "the directory of its state is left");
        self.clean_machine(&self.group());
    }

    #[track_caller]
    fn clean_machine(&self, group: &str) {
        assert_eq!(host::mounts_below(self.directory.path()), Vec::<PathBuf>::new(), "mounts are left");
        eventually("no process is left", || machine::processes(group).is_empty());
        assert_eq!(machine::groups(group), Vec::<PathBuf>::new(), "groups are left");
    }

    /// Every container that the runtime has a directory for.
    pub fn containers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root()).into_iter().flatten().flatten();
        let mut ids: Vec<_> = entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        ids.sort();
        ids
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        for id in self.containers() {
            drop(self.call(["delete", "--force", &id]).wait());
        }
        let left = self.containers();
        let directory = self.directory.path().to_str().expect("temporary paths are text").to_owned();
        let processes: Vec<_> =
            machine::processes(&self.base).into_iter().chain(host::processes_naming(&directory)).collect();
        let names: Vec<_> = processes.iter().map(|pid| host::program(*pid)).collect();
        processes.into_iter().filter(|pid| host::runs(*pid)).for_each(host::kill);
        let mounts = host::mounts_below(self.directory.path());
        machine::destroy(&self.base);
        host::unmount_below(self.directory.path());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "containers are left after `delete --force`: {left:?}");
            assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
            assert!(names.is_empty(), "processes are left: {names:?}");
        }
    }
}

/// Makes a root file system of one program under many names. Another process copies it, so that no child that another
/// thread starts meanwhile can hold it open for writing, which would keep it from being executed.
pub fn make_rootfs(path: &Path) {
    for name in ["bin", "etc", "tmp", "dev", "proc", "sys"] {
        std::fs::create_dir_all(path.join(name)).expect("a directory in an empty one");
    }
    let status = Command::new("cp").arg("/bin/busybox").arg(path.join("bin/busybox")).status();
    assert!(status.expect("cp is installed").success(), "copy busybox");
    for name in COMMANDS.split_whitespace() {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(name)).expect("a link");
    }
    let files = [
        ("etc/passwd", "root:x:0:0::/tmp:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
        ("etc/group", "root:x:0:\nuser:x:1000:\n"),
    ];
    for (name, text) in files {
        std::fs::write(path.join(name), text).expect("a file in a new directory");
    }
}

/// What engines write for a plain container.
fn config(group: &str) -> Value {
    let capabilities = json!([
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETGID",
        "CAP_SETUID"
    ]);
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {"cgroupsPath": group, "namespaces": namespaces}
    })
}
