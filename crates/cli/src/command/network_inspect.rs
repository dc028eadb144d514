//! `holm network inspect`: networks as documents in Docker's form.

use holm_engine::Engine;
use holm_spec::network::{Endpoint, Network};
use serde_json::{Map, Value, json};

use crate::command::inspect::show_each;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show networks as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm network inspect bridge
  holm network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{\"\\n\"}}{{end}}' back")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Networks, by name or id
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Shows networks.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    show_each(context, &args.networks, args.format.as_deref(), |name| document(&engine, name))
}

/// A network with the workloads that have it now.
///
/// # Errors
/// There is none of that name; what reading reports.
pub fn document(engine: &Engine, name: &str) -> Result<Value, CommandError> {
    let networks = engine.networks();
    let network = networks.find(name).map_err(holm_engine::Error::from)?;
    let endpoints = networks.endpoints(&network).map_err(holm_engine::Error::from)?;
    let containers: Map<String, Value> =
        endpoints.iter().map(|endpoint| (endpoint.sandbox.to_string(), member(endpoint))).collect();
    Ok(json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver,
        "EnableIPv4": true,
        "EnableIPv6": network.pool(false).is_some(),
        "IPAM": { "Driver": "default", "Options": {}, "Config": pools(&network) },
        "Internal": network.internal,
        "Attachable": false,
        "Ingress": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
        "Holm": { "Interface": network.interface, "MTU": network.mtu, "CNI": network.plugins },
    }))
}

fn pools(network: &Network) -> Vec<Value> {
    let pool = |pool: &holm_spec::network::Pool| {
        let mut document = json!({ "Subnet": pool.subnet, "Gateway": pool.gateway });
        if let Some(range) = pool.range {
            document["IPRange"] = json!(range);
        }
        document
    };
    network.pools.iter().map(pool).collect()
}

fn member(endpoint: &Endpoint) -> Value {
    let of_family = |v4: bool| {
        let found = endpoint.addresses.iter().find(|address| address.address.is_ipv4() == v4);
        found.map(ToString::to_string).unwrap_or_default()
    };
    json!({
        "Name": endpoint.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.hardware,
        "IPv4Address": of_family(true),
        "IPv6Address": of_family(false),
    })
}
