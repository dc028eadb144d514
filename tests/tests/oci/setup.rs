//! One test's corner of the machine: a root for the runtime's state, one bundle, and the group that its containers live
//! in. Short calls of the runtime on all three.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use holm_tests::{Call, Outcome, eventually};
use serde_json::Value;

use super::{bundle, runtime};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bundle, a root, and the guard over both.
pub struct Oci {
    /// Everything lies in it.
    pub directory: tempfile::TempDir,
    /// The id of the container that the short calls mean.
    pub id: String,
    /// What `config.json` will say; the calls that read it write it first.
    pub config: Value,
    /// The group above those of the containers.
    pub base: String,
}

impl Oci {
    /// A bundle whose container has the usual namespaces and mounts, and does nothing.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ho").tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("run")).expect("a directory in an empty one");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = format!("/holm-oci-test-{}-{number}", std::process::id());
        let id = "box".to_owned();
        let config = bundle::config(&format!("{base}/{id}"));
        bundle::make_rootfs(&directory.path().join("b/rootfs"));
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

    /// The runtime with this test's root and more global options, its arguments still to come.
    pub fn program(&self, options: &[&str]) -> Command {
        let mut command = Command::new(runtime::program());
        command.arg("--root").arg(self.root()).args(options).current_dir(self.directory.path());
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        command
    }

    /// A folder of the host with a file in it, by its path.
    pub fn shared(&self) -> String {
        let path = self.path("shared");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "of the host\n").unwrap();
        path.into_os_string().into_string().unwrap()
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

    /// The arguments that create the container.
    pub fn creation(&self) -> Vec<String> {
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
}
