//! `cargo xtask build`: the binaries that ship, static, side by side in one directory.
//!
//! The target is `<arch>-unknown-linux-musl` if this toolchain has it or rustup can add it; otherwise the host's glibc
//! target, linked statically as well. Either way the result is not position-independent: `.cargo/config.toml` says why.
//! The linker is the toolchain's default on both (measured with thin LTO: lld makes the musl binaries 0.5% smaller,
//! which is no reason for another package).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arguments::Arguments;
use crate::packages::{self, Purpose};
use crate::workspace::Workspace;
use crate::{Verb, elf, narrate, process};

/// The verb.
pub const VERB: Verb = Verb {
    name: "build",
    usage: " [--profile PROFILE]",
    summary: "Build the static binaries that ship, into target/dist",
    help: "  --profile PROFILE   a profile of Cargo.toml: release (default), profiling, dev\n\n\
           target/dist is one install directory: `holm` finds its helpers beside itself.\n",
    run,
};

/// What ships: the package and its binary.
const BINARIES: &[(&str, &str)] = &[
    ("holm-cli", "holm"),
    ("holm-keeper", "holm-keeper"),
    ("holm-keeper", "holm-init"),
    ("holm-vmm", "holm-machine"),
    ("holm-netd", "holm-netd"),
    ("holm-registry-server", "holm-registry"),
];

/// What ships and is built for size: the OCI runtime for other engines, and what each virtual machine loads into its
/// memory.
const SMALL: &[(&str, &str)] = &[("holm-runtime", "holm-runtime"), ("holm-guest", "holm-agent")];

/// What runs in guests of another processor: the package, its binary, the name that it ships under.
const FOREIGN: &[(&str, &str, &str)] =
    &[("holm-guest", "holm-agent", "holm-agent-arm64"), ("holm-keeper", "holm-init", "holm-init-arm64")];
/// What that is compiled for.
const FOREIGN_TARGET: &str = "aarch64-unknown-linux-musl";

/// What makes a glibc binary like those of the musl target.
const STATIC_FLAGS: &[&str] = &["-C", "target-feature=+crt-static", "-C", "relocation-model=static"];

/// What the shipped binaries are compiled for.
pub enum Target {
    /// Static by nature; `.cargo/config.toml` carries its flags.
    Musl(String),
    /// The host's own target, made static with [`STATIC_FLAGS`].
    Glibc(String),
}

impl Target {
    /// Chooses the musl target, adding it with rustup if need be, or else the host's own.
    ///
    /// # Errors
    /// `rustc` cannot be asked.
    pub fn choose(workspace: &Workspace) -> Result<Self> {
        let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        if has_target(workspace, &musl)? || (add_target(workspace, &musl) && has_target(workspace, &musl)?) {
            return Ok(Self::Musl(musl));
        }
        println!("no target {musl} in this toolchain: linking glibc statically instead");
        Ok(Self::Glibc(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)))
    }

    /// The name that cargo and rustc know it by.
    pub fn triple(&self) -> &str {
        let (Self::Musl(triple) | Self::Glibc(triple)) = self;
        triple
    }

    /// What cargo is told, besides the package, to build for this target.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--target".to_owned(), self.triple().to_owned()];
        if let Self::Glibc(triple) = self {
            let flags: Vec<_> = STATIC_FLAGS.iter().map(|flag| format!("\"{flag}\"")).collect();
            arguments.push("--config".to_owned());
            arguments.push(format!("target.{triple}.rustflags=[{}]", flags.join(",")));
        }
        arguments
    }
}

fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<()> {
    let profile = arguments.value("--profile")?.unwrap_or_else(|| "release".to_owned());
    arguments.finish()?;
    packages::require(&[Purpose::Build])?;
    distribution(workspace, &profile)?;
    Ok(())
}

/// Builds what ships with `profile`, puts it into [`Workspace::dist`] and prints the sizes. Returns that directory.
///
/// # Errors
/// A binary cannot be built, or is not static.
pub fn distribution(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    let target = Target::choose(workspace)?;
    let built = compile(workspace, &target, profile, BINARIES)?;
    let small = compile(workspace, &target, if profile == "release" { "small" } else { profile }, SMALL)?;
    let dist = workspace.dist();
    fs::create_dir_all(&dist).with_context(|| format!("creating `{}`", dist.display()))?;
    let mut rows = Vec::new();
    for (folder, (_, binary)) in
        BINARIES.iter().map(|binary| (&built, binary)).chain(SMALL.iter().map(|binary| (&small, binary)))
    {
        rows.push(vec![binary.to_string(), ship(&folder.join(binary), &dist.join(binary))?]);
    }
    rows.extend(ship_foreign(workspace, if profile == "release" { "small" } else { profile }, &dist)?);
    println!("{} for {}:", workspace.shown(&dist), target.triple());
    narrate::table(&rows);
    Ok(dist)
}

/// Builds the programs of guests of arm64, where this host is another one and the toolchain can: without them, machines
/// of that platform are refused by name.
fn ship_foreign(workspace: &Workspace, profile: &str, dist: &Path) -> Result<Vec<Vec<String>>> {
    if std::env::consts::ARCH == "aarch64" {
        return Ok(Vec::new());
    }
    if !has_target(workspace, FOREIGN_TARGET)? && !add_target(workspace, FOREIGN_TARGET) {
        println!("no target {FOREIGN_TARGET} in this toolchain: no virtual machines of arm64");
        return Ok(Vec::new());
    }
    let target = Target::Musl(FOREIGN_TARGET.to_owned());
    let binaries: Vec<(&str, &str)> =
        FOREIGN.iter().map(|(package, binary, _)| (*package, *binary)).collect();
    let built = compile(workspace, &target, profile, &binaries)?;
    let ship = |(_, binary, name): &(&str, &str, &str)| {
        Ok(vec![(*name).to_owned(), ship(&built.join(binary), &dist.join(name))?])
    };
    FOREIGN.iter().map(ship).collect()
}

/// Builds the benchmark driver and its floor programs, static like what they are compared with. Returns their
/// directory.
///
/// # Errors
/// A binary cannot be built.
pub fn benchmarks(workspace: &Workspace) -> Result<PathBuf> {
    let target = Target::choose(workspace)?;
    let binaries = ["holm-bench", "holm-floor", "holm-part"].map(|binary| ("holm-bench", binary));
    compile(workspace, &target, "release", &binaries)
}

/// Returns the directory of the binaries.
fn compile(
    workspace: &Workspace,
    target: &Target,
    profile: &str,
    binaries: &[(&str, &str)],
) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["build", "--profile", profile]).args(target.arguments());
    for (package, binary) in binaries {
        command.args(["--package", package, "--bin", binary]);
    }
    // The toolchain's own linker knows all processors; the host's C compiler, which is the default, only its own.
    if target.triple() == FOREIGN_TARGET && std::env::consts::ARCH != "aarch64" {
        command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
    }
    // Flags in these would replace, not join, the ones that make the result static.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut command)?;
    // Cargo's one exception: what the profile `dev` makes lies in `debug`.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace.target.join(target.triple()).join(folder))
}

/// Puts a copy of `built` in the place of `shipped`, by rename: a running binary keeps its file. Returns its size.
fn ship(built: &Path, shipped: &Path) -> Result<String> {
    let image = fs::read(built).with_context(|| format!("reading `{}`", built.display()))?;
    match elf::linkage(&image).with_context(|| format!("reading `{}`", built.display()))? {
        elf::Linkage::Static => {}
        other => bail!("`{}` is {other:?}, and what ships must be static", built.display()),
    }
    let fresh = shipped.with_extension("new");
    fs::copy(built, &fresh).with_context(|| format!("writing `{}`", fresh.display()))?;
    fs::rename(&fresh, shipped).with_context(|| format!("replacing `{}`", shipped.display()))?;
    Ok(narrate::size(u64::try_from(image.len())?))
}

/// Whether the toolchain has the standard library for `triple`, whoever installed it.
fn has_target(workspace: &Workspace, triple: &str) -> Result<bool> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(&workspace.root).args(["--print", "target-libdir", "--target", triple]);
    let folder = process::capture(&mut command)?;
    Ok(Path::new(folder.trim()).is_dir())
}

/// Asks rustup, if that is where the toolchain comes from. Without a network, or without rustup, the answer is no.
fn add_target(workspace: &Workspace, triple: &str) -> bool {
    let mut command = Command::new("rustup");
    command.current_dir(&workspace.root).args(["target", "add", triple]);
    process::collect(&mut command).is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_gets_the_flags_that_the_configuration_gives_musl() {
        let glibc = Target::Glibc("x86_64-unknown-linux-gnu".to_owned()).arguments();
        assert_eq!(
            glibc[3],
            r#"target.x86_64-unknown-linux-gnu.rustflags=["-C","target-feature=+crt-static","-C","relocation-model=static"]"#
        );
        let configuration = include_str!("../../.cargo/config.toml");
        let list: Vec<_> = STATIC_FLAGS.iter().map(|flag| format!("\"{flag}\"")).collect();
        assert!(configuration.contains(&list.join(", ")));
        assert_eq!(Target::Musl("x".to_owned()).arguments(), ["--target", "x"]);
    }
}
