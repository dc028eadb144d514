//! `holm port`: which ports of the host lead to a workload.

use holm_engine::Kind;
use holm_spec::network::{Port, PublishedPort};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::publish;

/// Show which ports of the host lead to a workload
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm port web            all of them
  holm port web 80         those that lead to port 80/tcp
  holm port web 53/udp")]
pub struct Args {
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// Port of the workload: PORT[/tcp|udp]
    #[arg(value_name = "PORT")]
    port: Option<String>,
}

/// Shows them.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let wrong = |reason| CommandError::new(format!("port: {reason}"));
    let wanted = args.port.as_deref().map(publish::parse_exposed).transpose().map_err(wrong)?;
    let engine = context.or_nothing(Context::repaired_engine)?;
    let workload = engine.workload(&engine.find(&args.workload)?)?;
    let ports = engine.ports_of(&workload);
    let Some(wanted) = wanted else {
        context.printer.data(ports.iter().map(line).collect::<String>())?;
        return Ok(0);
    };
    let leads = |port: &&PublishedPort| wanted.contains(&port.port);
    let lines: String = ports.iter().filter(leads).map(|port| format!("{}\n", host(port))).collect();
    if lines.is_empty() {
        let shown = wanted.first().map(Port::to_string).unwrap_or_default();
        let text = format!("no port of the host leads to port {shown} of workload `{}`", args.workload);
        return Err(holm_engine::Error::new(Kind::InvalidRequest, text).into());
    }
    context.printer.data(lines)?;
    Ok(0)
}

fn line(port: &PublishedPort) -> String {
    format!("{} -> {}\n", port.port, host(port))
}

fn host(port: &PublishedPort) -> String {
    std::net::SocketAddr::new(port.host, port.host_port).to_string()
}
