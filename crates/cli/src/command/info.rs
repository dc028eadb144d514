//! `holm info`: the host and this installation.

use std::fmt::Write as _;

use holm_engine::HostInfo;

use crate::command::version::VERSION;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing;
use crate::size;
use crate::template::Template;

/// Show facts about the host and this installation
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm info
  holm info -f '{{.CgroupVersion}} {{json .CgroupControllers}}'
  holm info -f json")]
pub struct Args {
    /// A template, or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints facts; what the host cannot do goes to standard error.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let form = match args.format.as_deref() {
        None | Some("" | "table" | "json") => None,
        Some(text) => Some(Template::parse(text).map_err(listing::unusable)?),
    };
    let info = context.or_nothing(Context::repaired_engine)?.info()?;
    let mut document = serde_json::to_value(&info).expect("facts are plain data");
    document["ServerVersion"] = VERSION.into();
    match (form, args.format.as_deref()) {
        (Some(template), _) => {
            context.printer.line(template.render(&document).map_err(listing::unusable)?)?;
        }
        (None, Some("json")) => context.printer.line(document)?,
        (None, _) => {
            context.printer.data(table(&info))?;
            info.warnings.iter().for_each(|warning| context.printer.warning(warning));
        }
    }
    Ok(0)
}

fn table(info: &HostInfo) -> String {
    let controllers: Vec<String> = info
        .cgroup_controllers
        .iter()
        .map(|(controller, version)| format!("{controller} ({version})"))
        .collect();
    let mut table = String::new();
    for (title, value) in [
        ("Containers", info.containers.to_string()),
        (" Running", info.containers_running.to_string()),
        (" Paused", info.containers_paused.to_string()),
        (" Stopped", info.containers_stopped.to_string()),
        ("Images", info.images.to_string()),
        ("Server Version", VERSION.to_owned()),
        ("Storage", "EROFS layers, overlayfs".to_owned()),
        ("Cgroup Version", info.cgroup_version.clone()),
        ("Cgroup Controllers", controllers.join(", ")),
        ("Kernel Version", info.kernel_version.clone()),
        ("Operating System", info.operating_system.clone()),
        ("Architecture", info.architecture.clone()),
        ("CPUs", info.cpus.to_string()),
        ("Total Memory", size::binary(info.memory)),
        ("Name", info.name.clone()),
        ("Root", info.root.clone()),
        ("Run Root", info.run_root.clone()),
    ] {
        let _ = writeln!(table, "{title}: {value}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let info = HostInfo {
            containers: 3,
            containers_running: 1,
            containers_paused: 0,
            containers_stopped: 2,
            images: 4,
            kernel_version: "6.18.0".to_owned(),
            operating_system: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            os_type: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            cpus: 2,
            memory: 8 << 30,
            name: "box".to_owned(),
            cgroup_version: "hybrid".to_owned(),
            cgroup_controllers: [("memory", "v1"), ("pids", "v1")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .into(),
            root: "/var/lib/holm".to_owned(),
            docker_root_dir: "/var/lib/holm".to_owned(),
            run_root: "/run/holm".to_owned(),
            warnings: Vec::new(),
        };
        let text = table(&info).replace(VERSION, "<version>");
        insta::assert_snapshot!(text, @r"
        Containers: 3
         Running: 1
         Paused: 0
         Stopped: 2
        Images: 4
        Server Version: <version>
        Storage: EROFS layers, overlayfs
        Cgroup Version: hybrid
        Cgroup Controllers: memory (v1), pids (v1)
        Kernel Version: 6.18.0
        Operating System: Debian GNU/Linux 12 (bookworm)
        Architecture: x86_64
        CPUs: 2
        Total Memory: 8GiB
        Name: box
        Root: /var/lib/holm
        Run Root: /run/holm
        ");
    }
}
