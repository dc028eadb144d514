//! Whether firewalld lets workloads pass: it rejects what comes from a bridge that is in no zone. `holm-netd` puts them into one.

use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_network::Networks;
use holm_spec::layout::Layout;
use holm_sys::dbus::{Call, Connection, ERROR, NO_AUTO_START, RETURN, SYSTEM_BUS, Writer};

use super::Check;
use super::Need::Settings;

const SERVICE: &str = "org.fedoraproject.FirewallD1";
/// How long it may take in all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Nothing is said where it is not.
pub(super) fn examine(layout: &Layout) -> Option<Check> {
    let networks = Networks::new(layout);
    let is_there = networks.passage().is_ok_and(|passage| passage.firewalld);
    is_there.then(|| {
        let zones = Zones::ask(&bridges_in_use(&networks));
        judge(&zones.unwrap_or_else(|error| Zones { unknown: Some(error.to_string()), ..Zones::default() }))
    })
}

fn bridges_in_use(networks: &Networks) -> Vec<String> {
    let mut all = networks.list().unwrap_or_default();
    all.retain(|network| networks.endpoints(network).is_ok_and(|endpoints| !endpoints.is_empty()));
    all.into_iter().map(|network| network.interface).collect()
}

/// The zones of bridges.
#[derive(Debug, Default)]
struct Zones {
    /// Bridge and zone.
    placed: Vec<(String, String)>,
    /// Bridges in none.
    strange: Vec<String>,
    /// Why neither is known.
    unknown: Option<String>,
}

impl Zones {
    fn ask(bridges: &[String]) -> Result<Self> {
        let mut connection = Connection::to_bus(Path::new(SYSTEM_BUS), PATIENCE)?;
        let mut zones = Self::default();
        for bridge in bridges {
            match zone_of(&mut connection, bridge)? {
                Some(zone) => zones.placed.push((bridge.clone(), zone)),
                None => zones.strange.push(bridge.clone()),
            }
        }
        Ok(zones)
    }
}

/// `getZoneOfInterface(s) -> s`: empty for none.
fn zone_of(connection: &mut Connection, bridge: &str) -> Result<Option<String>> {
    let mut body = Writer::default();
    body.string(bridge);
    let serial = connection.send(&Call {
        flags: NO_AUTO_START,
        destination: Some(SERVICE),
        path: "/org/fedoraproject/FirewallD1",
        interface: "org.fedoraproject.FirewallD1.zone",
        member: "getZoneOfInterface",
        signature: "s",
        body: body.finish(),
    })?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let message = connection.receive(deadline)?;
        let text = message.body().string().unwrap_or_default().to_owned();
        match message.kind {
            RETURN if message.answers == Some(serial) => {
                return Ok(Some(text).filter(|zone| !zone.is_empty()));
            }
            ERROR if message.answers == Some(serial) => return Err(Error::other(text)),
            _ => {}
        }
    }
}

fn judge(zones: &Zones) -> Check {
    let check = |found: String| Check::ok("firewalld", Settings, found);
    if let Some(why) = &zones.unknown {
        let found = format!("has rules here, and does not answer: {why}");
        return check(found)
            .limited("workloads may reach nothing beyond the host", "systemctl status firewalld");
    }
    if let Some(first) = zones.strange.first() {
        return check(format!("rejects what comes from {}", zones.strange.join(", "))).limited(
            "workloads there reach neither the name server of their network nor anything beyond the host",
            format!("firewall-cmd --zone=trusted --add-interface={first}"),
        );
    }
    match zones.placed.as_slice() {
        [] => check("runs; bridges in use are put into a zone".to_owned()),
        placed => {
            let placed = placed.iter().map(|(bridge, zone)| format!("{bridge} is in zone {zone}"));
            check(placed.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn bridges_without_a_zone_are_told_from_others() {
        let placed = vec![("holm0".to_owned(), "trusted".to_owned())];
        let check = judge(&Zones { placed: placed.clone(), ..Zones::default() });
        assert_eq!((check.state, check.found.as_str()), (State::Ok, "holm0 is in zone trusted"));
        let check = judge(&Zones { placed, strange: vec!["holm1".to_owned()], unknown: None });
        assert_eq!((check.state, check.found.as_str()), (State::Limited, "rejects what comes from holm1"));
        assert!(check.hint.ends_with("--add-interface=holm1"));
        assert_eq!(judge(&Zones::default()).state, State::Ok);
        assert_eq!(judge(&Zones { unknown: Some("no".into()), ..Zones::default() }).state, State::Limited);
    }
}
