//! What happens to workloads, images, networks and volumes, as a log tells it.
//!
//! ```text
//! <run>/events/log      an event a line, in Docker's JSON, the oldest first
//! <run>/events/log.1    the lines before, once the log was full
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::workload::Config;
use crate::{Id, Timestamp};

/// Bytes after which the log is put aside.
pub const EVENTS_LIMIT: u64 = 2 << 20;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A workload, by Docker's word.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        })
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: EventKind,
    /// What happened: `start`, `die`, `health_status: healthy`, ...
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: Scope,
    /// When, in seconds since 1970.
    pub time: i64,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub nanos: i64,
}

/// To whom something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Id of the workload, image or network; name of the volume.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is to be known: `name`, `image`, `exitCode`, labels, ...
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// Where it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// On this host.
    #[default]
    Local,
}

impl Event {
    /// An event about something, with further attributes.
    pub fn new<'a>(
        kind: EventKind,
        action: impl Into<String>,
        id: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
        time: Timestamp,
    ) -> Self {
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self {
            kind,
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
            scope: Scope::Local,
            time: time.nanos().div_euclid(1_000_000_000),
            nanos: time.nanos(),
        }
    }

    /// An event about a workload: with its image, its name and its labels.
    pub fn of_workload<'a>(
        config: &Config,
        action: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
        time: Timestamp,
    ) -> Self {
        let known = [("image", config.image.name.clone()), ("name", config.name.clone())];
        let mut event = Self::new(EventKind::Container, action, config.id.to_string(), known, time);
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value));
        event.actor.attributes.extend(attributes);
        for (key, value) in &config.labels {
            event.actor.attributes.entry(key.clone()).or_insert_with(|| value.clone());
        }
        event
    }

    /// When it happened.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.nanos)
    }

    /// Whether it is about this workload.
    pub fn is_about(&self, workload: &Id) -> bool {
        self.kind == EventKind::Container && self.actor.id == workload.to_string()
    }

    /// As the log has it: a line with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an event is plain data");
        line.push(b'\n');
        line
    }
}

impl fmt::Display for Event {
    /// Docker's line: `TIME TYPE ACTION ID (key=value, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.timestamp().fixed_width();
        let time = String::from_utf8_lossy(&time[..29]);
        write!(f, "{time}+00:00 {} {} {}", self.kind, self.action, self.actor.id)?;
        let attributes = self.actor.attributes.iter().map(|(key, value)| format!("{key}={value}"));
        write!(f, " ({})", attributes.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_forms() {
        let attributes = [("name", "web".to_owned()), ("exitCode", "0".to_owned())];
        let event =
            Event::new(EventKind::Container, "die", "abc", attributes, Timestamp::from_nanos(1_500_000_000));
        assert_eq!(
            event.to_string(),
            "1970-01-01T00:00:01.500000000+00:00 container die abc (exitCode=0, name=web)"
        );
        let line = String::from_utf8(event.to_line()).unwrap();
        assert_eq!(
            line,
            "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"abc\",\"Attributes\":{\"exitCode\":\"0\",\
             \"name\":\"web\"}},\"scope\":\"local\",\"time\":1,\"timeNano\":1500000000}\n"
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }
}
