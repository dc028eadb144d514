//! `holm network create`: makes a network.

use std::collections::BTreeMap;

use holm_engine::network::NewNetwork;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{label, network};
use crate::workload_arguments::each;

/// Make a network
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Workloads on one network reach each other, by names too, and those of other networks do not.

Examples:
  holm network create back
  holm network create --subnet 10.9.0.0/24 --gateway 10.9.0.1 back
  holm network create --ipv6 --subnet fd00:9::/64 back      and a block of IPv4 that is free
  holm network create --internal back                        nothing leaves the host"
)]
pub struct Args {
    /// What carries it: bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// Block of addresses, one a family; one that is free if absent
    #[arg(long, value_name = "BLOCK")]
    subnet: Vec<String>,
    /// Address of the host in the network; the block's first if absent
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<String>,
    /// Part of the block that addresses are given from
    #[arg(long, value_name = "BLOCK")]
    ip_range: Vec<String>,
    /// Addresses of IPv6, too
    #[arg(long)]
    ipv6: bool,
    /// Nothing of it leaves the host, and no port of the host leads to it
    #[arg(long)]
    internal: bool,
    /// Option: mtu=BYTES, or com.docker.network.driver.mtu=BYTES
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Label of the network
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Name of the network
    #[arg(value_name = "NAME")]
    name: String,
}

/// Names of the one option that there is.
const MTU: [&str; 2] = ["mtu", "com.docker.network.driver.mtu"];

/// Makes it, and prints its id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let asked = resolve(args)?;
    let engine = context.repaired_engine()?;
    let network = engine.create_network(&asked)?;
    context.printer.data(format!("{}\n", network.id))?;
    Ok(0)
}

fn resolve(args: Args) -> Result<NewNetwork, CommandError> {
    if args.driver != "bridge" {
        return Err(CommandError::flag("driver", format!("`{}` is not there: bridge is", args.driver)));
    }
    let mut asked = NewNetwork {
        name: args.name,
        subnets: each("subnet", &args.subnet, str::parse)?,
        gateways: each("gateway", &args.gateway, network::address)?,
        ranges: each("ip-range", &args.ip_range, str::parse)?,
        ipv6: args.ipv6,
        internal: args.internal,
        labels: each("label", &args.label, label::parse)?.into_iter().collect(),
        ..NewNetwork::default()
    };
    options(&args.opt, &mut asked).map_err(|reason| CommandError::flag("opt", reason))?;
    Ok(asked)
}

fn options(texts: &[String], asked: &mut NewNetwork) -> Result<(), String> {
    let mut options = BTreeMap::new();
    for text in texts {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no value"))?;
        if !MTU.contains(&key) {
            return Err(format!("unknown option `{key}`: mtu is known"));
        }
        asked.mtu = Some(value.parse().map_err(|_| format!("`{value}` is no number of bytes"))?);
        options.insert(key.to_owned(), value.to_owned());
    }
    asked.options = options;
    Ok(())
}
