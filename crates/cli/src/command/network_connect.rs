//! `holm network connect`: gives a workload a further network.

use holm_spec::network::Attachment;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::network;

/// Give a workload a further network
#[derive(Debug, clap::Parser)]
#[command(after_help = "At once if it runs, and whenever it is started again.

Examples:
  holm network connect back web
  holm network connect --ip 10.9.0.7 --alias db back sql")]
pub struct Args {
    /// Address of IPv4 in the network
    #[arg(long, value_name = "ADDRESS", value_parser = network::address4)]
    ip: Option<std::net::Ipv4Addr>,
    /// Address of IPv6 in the network
    #[arg(long, value_name = "ADDRESS", value_parser = network::address6)]
    ip6: Option<std::net::Ipv6Addr>,
    /// Further name in the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Connects it.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    let attachment = Attachment {
        network: args.network,
        aliases: args.alias,
        address: args.ip,
        address6: args.ip6,
        hardware: None,
    };
    engine.connect_network(&engine.find(&args.workload)?, &attachment)?;
    Ok(0)
}
