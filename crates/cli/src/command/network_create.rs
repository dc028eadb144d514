//! `holm network create`: makes a network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use holm_engine::network::{NewNetwork, NewPlugins};

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
  holm network create --internal back                        nothing leaves the host
  holm network create -d cni back                            a bridge of CNI plugins
  holm network create -d cni -o conflist=lan.conflist lan    what a list of CNI plugins makes"
)]
pub struct Args {
    /// What carries it: bridge, or cni
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
    /// Option: mtu=BYTES, or com.docker.network.driver.mtu=BYTES; conflist=FILE, a list of CNI plugins
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Label of the network
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Name of the network
    #[arg(value_name = "NAME")]
    name: String,
}

/// Names of the option for the largest packet.
const MTU: [&str; 2] = ["mtu", "com.docker.network.driver.mtu"];
/// Name of the option for a network configuration list of CNI's.
const LIST: &str = "conflist";
/// How much of such a list is read, in bytes; one of that length is refused.
const LIST_LIMIT: u64 = 1 << 20;

/// Makes it, and prints its id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let asked = resolve(args, &context.place.cni_path)?;
    let engine = context.repaired_engine()?;
    let network = engine.create_network(&asked)?;
    context.printer.data(format!("{}\n", network.id))?;
    Ok(0)
}

fn resolve(args: Args, cni_path: &[PathBuf]) -> Result<NewNetwork, CommandError> {
    let plugins = match args.driver.as_str() {
        "bridge" => None,
        "cni" => Some(NewPlugins { path: cni_path.to_owned(), list: None }),
        other => {
            return Err(CommandError::flag("driver", format!("`{other}` is not there: bridge and cni are")));
        }
    };
    let mut asked = NewNetwork {
        name: args.name,
        subnets: each("subnet", &args.subnet, str::parse)?,
        gateways: each("gateway", &args.gateway, network::address)?,
        ranges: each("ip-range", &args.ip_range, str::parse)?,
        ipv6: args.ipv6,
        internal: args.internal,
        labels: each("label", &args.label, label::parse)?.into_iter().collect(),
        plugins,
        ..NewNetwork::default()
    };
    options(&args.opt, &mut asked).map_err(|reason| CommandError::flag("opt", reason))?;
    Ok(asked)
}

fn options(texts: &[String], asked: &mut NewNetwork) -> Result<(), String> {
    let mut options = BTreeMap::new();
    for text in texts {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no value"))?;
        match (key, &mut asked.plugins) {
            (LIST, Some(plugins)) => plugins.list = Some(read_list(value)?),
            (LIST, None) => return Err("conflist is for --driver cni".into()),
            (key, _) if MTU.contains(&key) => {
                asked.mtu = Some(value.parse().map_err(|_| format!("`{value}` is no number of bytes"))?);
            }
            _ => return Err(format!("unknown option `{key}`: mtu and conflist are known")),
        }
        options.insert(key.to_owned(), value.to_owned());
    }
    asked.options = options;
    Ok(())
}

fn read_list(path: &str) -> Result<Vec<u8>, String> {
    let mut list = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIST_LIMIT).read_to_end(&mut list))
        .map_err(|error| format!("read `{path}`: {error}"))?;
    Ok(list)
}
