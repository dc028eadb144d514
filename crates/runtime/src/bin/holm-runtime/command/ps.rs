//! `holm-runtime ps`: the processes of a container.

use std::process::Command;

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::{Error, Kind, Result};

use super::list::Format;
use crate::arguments::Global;
use crate::talk;

/// List the processes of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Id of the container, and options of ps
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ID [OPTIONS OF PS]"
    )]
    id_and_options: Vec<String>,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let (id, options) = args.id_and_options.split_first().expect("one is required");
    let container = global.containers()?.get(id)?;
    let mut pids = cgroup::processes(&Hierarchies::detect()?, container.group()?);
    pids.sort_unstable();
    let text = match Format::named(&args.format)? {
        Format::Json if pids.is_empty() => "null\n".to_owned(),
        Format::Json => format!("{}\n", serde_json::json!(pids)),
        Format::Table => table(&pids, options)?,
    };
    talk::print(&text);
    Ok(0)
}

/// What `ps` prints, but only of these processes.
fn table(pids: &[i32], options: &[String]) -> Result<String> {
    let options: Vec<&str> = options.iter().flat_map(|option| option.split_whitespace()).collect();
    let options = if options.is_empty() { vec!["-ef"] } else { options };
    let output =
        Command::new("ps").args(options).output().map_err(|error| Error::system("execute `ps`", error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        return Err(Error::new(
            Kind::System,
            format!("exit status {}: {}", output.status.code().unwrap_or(255), said.trim()),
        ));
    }
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    let column = header.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Error::invalid("couldn't find PID field in ps output"))?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}
