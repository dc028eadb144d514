//! Servers of registries, each with an empty storage: ours, and Debian's docker-registry.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server, ended when dropped.
pub struct Server {
    /// What it is called in figures.
    pub name: &'static str,
    /// Where it listens.
    pub address: String,
    child: Child,
}

impl Server {
    /// `holm registry serve`, with its storage in `base`.
    ///
    /// # Errors
    /// It is not built, or does not listen.
    pub fn ours(base: &Path, bin_dir: Option<&Path>) -> Result<Self> {
        let program = bin_dir.unwrap_or(Path::new("target/dist")).join("holm");
        if !program.exists() {
            bail!("`{}` is not there: build it, or set HOLM_BIN_DIR", program.display());
        }
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .args(["registry", "serve", "--quiet", "--addr", &address, "--storage"])
            .arg(base.join("registry"));
        Self::start("holm", address, command)
    }

    /// Debian's docker-registry, as Debian sets it up, without logs.
    ///
    /// # Errors
    /// It is not installed, or does not listen.
    pub fn debians(base: &Path) -> Result<Self> {
        let address = free_address()?;
        let storage = base.join("docker-registry");
        let configuration = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        let file = base.join("docker-registry.yml");
        std::fs::write(&file, configuration).with_context(|| format!("writing `{}`", file.display()))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file);
        Self::start("docker-registry", address, command)
    }

    fn start(name: &'static str, address: String, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let server = Self { name, address, child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&server.address).is_err() {
            if Instant::now() > deadline {
                bail!("{name} does not listen on {}", server.address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Where [`Self::ours`] keeps what was pushed, below its `base`: it makes both anew when they are gone.
    pub fn content(base: &Path) -> [PathBuf; 2] {
        ["blobs", "repositories"].map(|name| base.join("registry").join(name))
    }

    /// Seconds of processor time that it has taken (proc_pid_stat(5), the 14th and 15th field, in ticks of 10 ms).
    pub fn processor_time(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = fields.get(11..13).context("reading the server's times")?;
        let ticks: Vec<f64> = ticks.iter().map(|ticks| ticks.parse()).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// The most memory that it ever had, in MiB.
    pub fn peak(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("reading its memory")?;
        let size: f64 = line.split_whitespace().next().unwrap_or_default().parse()?;
        Ok(size / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of loopback on which nobody listens.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
