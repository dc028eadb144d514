//! `holm events`: what happens to workloads, images, networks and volumes.

use std::collections::BTreeMap;

use holm_engine::EventOptions;
use holm_spec::event::{Event, EventKind};
use serde_json::Value;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing;
use crate::resolve::filter::Filters;
use crate::template::Template;

const FILTERS: [&str; 8] = ["container", "event", "image", "label", "network", "scope", "type", "volume"];

/// Show what happens, as it happens
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Filters: container=NAME|ID, event=ACTION, image=NAME, label=KEY[=VALUE], network=NAME|ID,
type=container|image|network|volume, volume=NAME. Events of this boot are kept, some thousand at least.

Examples:
  holm events                                          from now on
  holm events --since 10m --until 0s                   the last ten minutes
  holm events --filter event=die --filter label=app=shop
  holm events --format '{{.Action}} {{.Actor.Attributes.name}}'
  holm events --format json"
)]
pub struct Args {
    /// Show what fits a condition
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// From this time on: 2024-01-31T12:00:00Z, seconds since 1970, or so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this time, which may be to come
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Shows events, line by line.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let filters =
        Filters::parse(&args.filter, &FILTERS, &[]).map_err(|reason| CommandError::flag("filter", reason))?;
    for kind in filters.values("type") {
        known(kind).map_err(|reason| CommandError::flag("filter", reason))?;
    }
    let form = match args.format.as_deref() {
        None | Some("") => Form::Text,
        Some("json") => Form::Json,
        Some(text) => Form::Lines(Template::parse(text).map_err(listing::unusable)?),
    };
    let time = |name: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| duration::parse_time(text, context.now())).transpose();
        parsed.map_err(|reason| CommandError::flag(name, reason))
    };
    let options = EventOptions { since: time("since", &args.since)?, until: time("until", &args.until)? };
    let mut reader = context.engine()?.events(options)?;
    while let Some(event) = reader.next_event()? {
        if fits(&event, &filters) {
            context.printer.data(form.show(&event)?)?;
        }
    }
    Ok(0)
}

enum Form {
    Text,
    Json,
    Lines(Template),
}

impl Form {
    fn show(&self, event: &Event) -> Result<String, CommandError> {
        let document = || serde_json::to_value(event).expect("an event is plain data");
        Ok(match self {
            Self::Text => format!("{event}\n"),
            Self::Json => format!("{}\n", document()),
            Self::Lines(template) => {
                let mut document = document();
                // Docker's older names.
                document["Status"] = Value::from(event.action.clone());
                document["ID"] = Value::from(event.actor.id.clone());
                template.render(&document).map_err(listing::unusable)? + "\n"
            }
        })
    }
}

fn known(kind: &str) -> Result<(), String> {
    let kinds = [EventKind::Container, EventKind::Image, EventKind::Network, EventKind::Volume];
    match kinds.iter().any(|known| known.to_string() == kind) {
        true => Ok(()),
        false => Err(format!("type={kind}: container, image, network and volume are known")),
    }
}

fn fits(event: &Event, filters: &Filters) -> bool {
    let attributes = &event.actor.attributes;
    let is = |kind: EventKind, wanted: &str| {
        let named = attributes.get("name").is_some_and(|name| name == wanted);
        event.kind == kind && (named || event.actor.id == wanted || is_start(&event.actor.id, wanted))
    };
    filters.any("type", |kind| event.kind.to_string() == kind)
        && filters
            .any("event", |action| event.action == action || event.action.starts_with(&format!("{action}:")))
        && filters.any("scope", |scope| scope == "local")
        && filters.any("container", |wanted| is(EventKind::Container, wanted))
        && filters.any("network", |wanted| is(EventKind::Network, wanted))
        && filters.any("volume", |wanted| is(EventKind::Volume, wanted))
        && filters.any("image", |wanted| is_of_image(event, attributes, wanted))
        && filters.labels(attributes)
}

/// Whether it is the start of an id, as people shorten them.
fn is_start(id: &str, wanted: &str) -> bool {
    wanted.len() >= 12 && id.starts_with(wanted)
}

fn is_of_image(event: &Event, attributes: &BTreeMap<String, String>, wanted: &str) -> bool {
    let key = if event.kind == EventKind::Image { "name" } else { "image" };
    let name = attributes.get(key);
    name.is_some_and(|name| name == wanted || name.split(':').next() == Some(wanted))
        || event.kind == EventKind::Image && event.actor.id == wanted
}

#[cfg(test)]
mod tests {
    use holm_spec::Timestamp;

    use super::*;

    #[test]
    fn filters_are_dockers() {
        let attributes =
            [("name", "web".to_owned()), ("image", "app:1".to_owned()), ("tier", "front".to_owned())];
        let id = "0123456789abcdef";
        let event =
            Event::new(EventKind::Container, "health_status: healthy", id, attributes, Timestamp::NEVER);
        let is_shown = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            fits(&event, &Filters::parse(&words, &FILTERS, &[]).expect("filters"))
        };
        for words in [
            &["type=container"][..],
            &["event=health_status"],
            &["event=health_status: healthy"],
            &["container=web", "image=app"],
            &["container=0123456789ab"],
            &["image=app:1", "label=tier=front"],
            &["event=die", "event=health_status"],
        ] {
            assert!(is_shown(words), "{words:?}");
        }
        for words in [
            &["type=image"][..],
            &["event=health"],
            &["container=0123"],
            &["network=web"],
            &["label=tier=back"],
        ] {
            assert!(!is_shown(words), "{words:?}");
        }
    }
}
