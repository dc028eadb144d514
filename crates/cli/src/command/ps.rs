//! `holm ps`: the list of workloads.

use holm_engine::{Engine, PAUSED, Workload};
use holm_spec::life::HealthStatus;
use holm_spec::network::{Port, PublishedPort};
use holm_spec::volume::{MountKind, MountPoint};
use holm_spec::workload::{NetworkMode, Settings, State, Status};
use holm_spec::{Reference, Timestamp};
use serde_json::{Map, Value};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row, ellipsis, quoted};
use crate::resolve::filter::{Filters, NamePattern};
use crate::resolve::publish;
use crate::size;

const FIELDS: [Field; 15] = [
    Field { name: "Command", heading: "COMMAND" },
    Field { name: "CreatedAt", heading: "CREATED AT" },
    Field { name: "ID", heading: "CONTAINER ID" },
    Field { name: "Image", heading: "IMAGE" },
    Field { name: "Isolation", heading: "ISOLATION" },
    Field { name: "Labels", heading: "LABELS" },
    Field { name: "LocalVolumes", heading: "LOCAL VOLUMES" },
    Field { name: "Mounts", heading: "MOUNTS" },
    Field { name: "Names", heading: "NAMES" },
    Field { name: "Networks", heading: "NETWORKS" },
    Field { name: "Ports", heading: "PORTS" },
    Field { name: "RunningFor", heading: "CREATED" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "State", heading: "STATE" },
    Field { name: "Status", heading: "STATUS" },
];
const COLUMNS: [&str; 8] = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"];
const FILTERS: [&str; 13] = [
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since",
    "status", "volume",
];
const PLANNED_FILTERS: [&str; 1] = ["is-task"];
/// Docker's states that no workload of Holm is in yet; a filter for one finds none.
const OTHER_STATES: [&str; 2] = ["removing", "dead"];

/// List workloads
#[derive(Debug, clap::Parser)]
#[command(after_help = "Filters: ancestor=IMAGE, before=WORKLOAD, exited=CODE, expose=PORT,
health=starting|healthy|unhealthy|none, id=START, label=KEY[=VALUE], name=PART, network=NAME,
publish=PORT, since=WORKLOAD, status=created|running|paused|restarting|exited,
volume=VOLUME|DIRECTORY (or where it is mounted). A PORT is the
workload's, 80 or 53/udp, or a range.

Examples:
  holm ps                                      what runs
  holm ps -a --filter exited=137               what was killed
  holm ps -as                                  with what each takes on the disk
  holm ps -aq --filter label=test              ids, for other commands
  holm ps --format 'table {{.Names}}\\t{{.Status}}'
  holm ps -a --format json                     one object a line")]
pub struct Args {
    /// Show all, not only what runs
    #[arg(short, long)]
    all: bool,
    /// Show what fits a condition
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the newest ones, of all states
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, hide_default_value = true,
        value_parser = crate::workload_arguments::integer)]
    last: i64,
    /// Show the newest one, of all states
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show what each has written, and that with its image
    #[arg(short, long)]
    size: bool,
}

/// Lists workloads.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let filters = Filters::parse(&args.filter, &FILTERS, &PLANNED_FILTERS)
        .map_err(|reason| CommandError::flag("filter", reason))?;
    let format = match args.quiet {
        true => Format::parse(Some("{{.ID}}"))?,
        false => Format::parse(args.format.as_deref())?,
    };
    let engine = context.or_nothing(Context::repaired_engine)?;
    let mut workloads = chosen(&engine, &filters, &args)?;
    workloads.truncate(limit(&args));
    let now = context.now();
    // Measuring takes a look at every file.
    let sized = args.size || args.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let mut rows = Vec::with_capacity(workloads.len());
    for workload in &workloads {
        let sizes = if sized { Some(engine.sizes(workload)?) } else { None };
        let row = row(workload, &engine.ports_of(workload), !args.no_trunc, now);
        rows.push(row.with("Size", sizes.map_or_else(|| "0B".to_owned(), size_text)));
    }
    let columns = if args.size { &COLUMNS[..] } else { &COLUMNS[..COLUMNS.len() - 1] };
    context.printer.data(listing::render(&format, &FIELDS, columns, &rows)?)?;
    Ok(0)
}

/// As Docker shows it: what it wrote, and that with its image.
fn size_text((written, image): (u64, u64)) -> String {
    format!("{} (virtual {})", size::decimal(written), size::decimal(written.saturating_add(image)))
}

/// How many are shown at most.
fn limit(args: &Args) -> usize {
    if args.latest {
        return 1;
    }
    // Docker takes 0 and below for no limit.
    usize::try_from(args.last).ok().filter(|last| *last > 0).unwrap_or(usize::MAX)
}

fn chosen(engine: &Engine, filters: &Filters, args: &Args) -> Result<Vec<Workload>, CommandError> {
    let selection = Selection::resolve(engine, filters)?;
    // As Docker: of all filters only this one asks for other states, too.
    let any_state = args.all || args.latest || args.last > 0 || !filters.values("status").is_empty();
    let mut workloads = engine.list()?;
    workloads.retain(|workload| {
        any_state || matches!(workload.state.status, Status::Running | Status::Restarting)
    });
    workloads.retain(|workload| selection.fits(workload, filters));
    Ok(workloads)
}

/// Filters whose values had to be looked up or checked.
struct Selection {
    names: Vec<NamePattern>,
    exited: Vec<i32>,
    ancestors: Vec<Ancestor>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    exposed: Vec<Port>,
    published: Vec<Port>,
    /// Names of networks, and what is none as it was written.
    networks: Vec<String>,
}

/// An image by the ways in which a workload may name it.
struct Ancestor {
    text: String,
    reference: Option<Reference>,
    id: Option<holm_spec::Digest>,
}

impl Selection {
    fn resolve(engine: &Engine, filters: &Filters) -> Result<Self, CommandError> {
        let wrong = |reason| CommandError::flag("filter", reason);
        for status in filters.values("status") {
            check_status(status).map_err(wrong)?;
        }
        for health in filters.values("health") {
            check_health(health).map_err(wrong)?;
        }
        let names = filters.values("name").iter().map(|text| NamePattern::parse(text).map_err(wrong));
        let code =
            |text: &String| text.parse().map_err(|_| wrong(format!("exited={text}: a number expected")));
        let created = |name: &String| -> Result<Timestamp, CommandError> {
            Ok(engine.workload(&engine.find(name)?)?.config.created)
        };
        let ports = |key: &str| -> Result<Vec<Port>, CommandError> {
            let parsed = filters.values(key).iter().map(|text| publish::parse_exposed(text).map_err(wrong));
            Ok(parsed.collect::<Result<Vec<_>, _>>()?.concat())
        };
        let network = |text: &String| {
            engine.networks().find(text).map_or_else(|_| text.clone(), |network| network.name)
        };
        Ok(Self {
            exposed: ports("expose")?,
            published: ports("publish")?,
            networks: filters.values("network").iter().map(network).collect(),
            names: names.collect::<Result<_, _>>()?,
            exited: filters.values("exited").iter().map(code).collect::<Result<_, _>>()?,
            ancestors: filters.values("ancestor").iter().map(|text| ancestor(engine, text)).collect(),
            before: filters.values("before").first().map(created).transpose()?,
            since: filters.values("since").first().map(created).transpose()?,
        })
    }

    fn fits(&self, workload: &Workload, filters: &Filters) -> bool {
        let Workload { config, state, .. } = workload;
        let any =
            |fits: &dyn Fn(&Ancestor) -> bool| self.ancestors.is_empty() || self.ancestors.iter().any(fits);
        filters.any("status", |status| status == workload.status())
            && filters.any("id", |id| config.id.to_string().starts_with(id))
            && filters.labels(&config.labels)
            && (self.names.is_empty() || self.names.iter().any(|pattern| pattern.fits(&config.name)))
            && (self.exited.is_empty() || has_exited(state, &self.exited))
            && any(&|ancestor| ancestor.is_of(workload))
            && self.fits_network(&config.settings)
            && filters.any("health", |wanted| fits_health(state, wanted))
            && filters
                .any("volume", |wanted| config.settings.mounts.iter().any(|mount| is_mount(mount, wanted)))
            && self.before.is_none_or(|before| config.created < before)
            && self.since.is_none_or(|since| config.created > since)
    }
}

impl Selection {
    fn fits_network(&self, settings: &Settings) -> bool {
        let published: Vec<Port> = settings.ports.iter().map(|publication| publication.port).collect();
        let has_one = |wanted: &[Port], ports: &[Port]| {
            wanted.is_empty() || ports.iter().any(|port| wanted.contains(port))
        };
        let own = networks(settings);
        let is_on = |name: &String| own.split(',').any(|one| one == name);
        (self.networks.is_empty() || self.networks.iter().any(is_on))
            && has_one(&self.published, &published)
            && (has_one(&self.exposed, &settings.exposed) || has_one(&self.exposed, &published))
    }
}

fn check_health(health: &str) -> Result<(), String> {
    match health {
        "starting" | "healthy" | "unhealthy" | "none" => Ok(()),
        other => Err(format!("health={other}: starting, healthy, unhealthy and none are known")),
    }
}

fn check_status(status: &str) -> Result<(), String> {
    let ours = [Status::Created, Status::Running, Status::Restarting, Status::Exited]
        .map(|status| status.to_string());
    if status == PAUSED || ours.iter().any(|known| known == status) || OTHER_STATES.contains(&status) {
        return Ok(());
    }
    Err(format!("status={status}: created, running, paused, restarting and exited are known"))
}

fn has_exited(state: &State, codes: &[i32]) -> bool {
    state.status == Status::Exited && codes.contains(&state.exit_code)
}

fn ancestor(engine: &Engine, text: &str) -> Ancestor {
    // An image that is gone may still have workloads, which know its name.
    let id = engine.images().resolve(text).ok().map(|image| image.id);
    Ancestor { text: text.to_owned(), reference: text.parse().ok(), id }
}

impl Ancestor {
    fn is_of(&self, workload: &Workload) -> bool {
        let image = &workload.config.image;
        let reference = || image.name.parse::<Reference>().ok();
        self.id == Some(image.id)
            || (self.id.is_none() && self.reference.is_some() && self.reference == reference())
            || image.id.to_string() == self.text
    }
}

/// Whether a filter means this: by the volume's name, by where it lies or where it is mounted.
fn is_mount(mount: &MountPoint, wanted: &str) -> bool {
    mounted(mount) == wanted || mount.target == wanted || mount.source.as_os_str() == wanted
}

/// What is mounted: a volume or an image by its name, anything else by where it lies.
fn mounted(mount: &MountPoint) -> String {
    mount.name.clone().unwrap_or_else(|| mount.source.display().to_string())
}

fn row(workload: &Workload, ports: &[PublishedPort], shorten: bool, now: Timestamp) -> Row {
    let config = &workload.config;
    let settings = &config.settings;
    let command = command_line(&settings.entrypoint, &settings.command);
    let labels: Vec<String> = config.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let sources = settings.mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs).map(mounted);
    let mounts: Vec<String> =
        sources.map(|source| if shorten { ellipsis(&source, 15) } else { source }).collect();
    let volumes = settings.mounts.iter().filter(|mount| mount.kind == MountKind::Volume).count();
    let mut row = Row::new([
        ("Command", quoted(&if shorten { ellipsis(&command, 20) } else { command })),
        ("CreatedAt", duration::date_and_time(config.created)),
        ("ID", if shorten { config.id.short() } else { config.id.to_string() }),
        ("Image", config.image.name.clone()),
        ("Isolation", config.isolation.to_string()),
        ("Labels", labels.join(",")),
        ("LocalVolumes", volumes.to_string()),
        ("Mounts", mounts.join(",")),
        ("Names", config.name.clone()),
        ("Networks", networks(settings)),
        ("Ports", shown_ports(settings, ports)),
        ("RunningFor", duration::ago(now, config.created)),
        ("State", workload.status().to_owned()),
        ("Status", status(&workload.state, workload.paused, now)),
    ]);
    let labels: Map<String, Value> =
        config.labels.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    row.hidden.insert("Label".to_owned(), Value::Object(labels));
    row
}

fn networks(settings: &Settings) -> String {
    match settings.network {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(_) => String::new(),
        NetworkMode::Networks => {
            let names: Vec<&str> = settings.networks.iter().map(|one| one.network.as_str()).collect();
            names.join(",")
        }
    }
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`: what leads to the workload, then what is exposed and nothing leads to.
fn shown_ports(settings: &Settings, ports: &[PublishedPort]) -> String {
    let exposed =
        settings.exposed.iter().filter(|port| ports.iter().all(|published| published.port != **port));
    let published = ports.iter().map(ToString::to_string);
    published.chain(exposed.map(ToString::to_string)).collect::<Vec<_>>().join(", ")
}

/// Program and arguments; an argument with blanks in single quotes, as Docker shows it.
pub fn command_line(entrypoint: &[String], command: &[String]) -> String {
    let word = |word: &String| if word.contains(' ') { format!("'{word}'") } else { word.clone() };
    let mut words = entrypoint.iter().chain(command);
    let program = words.next().cloned();
    program.into_iter().chain(words.map(word)).collect::<Vec<_>>().join(" ")
}

/// `Up 5 seconds`, `Up 5 seconds (Paused)`, `Exited (0) 3 minutes ago`, `Created`.
pub fn status(state: &State, paused: bool, now: Timestamp) -> String {
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running if paused => format!("Up {} (Paused)", duration::elapsed(now, state.started)),
        Status::Running => format!("Up {}{}", duration::elapsed(now, state.started), health(state)),
        Status::Restarting => {
            format!("Restarting ({}) {}", state.exit_code, duration::ago(now, state.finished))
                .trim_end()
                .to_owned()
        }
        Status::Exited => format!("Exited ({}) {}", state.exit_code, duration::ago(now, state.finished))
            .trim_end()
            .to_owned(),
    }
}

/// What the status says of health.
fn health(state: &State) -> &'static str {
    match state.health.as_ref().map(|health| health.status) {
        None => "",
        Some(HealthStatus::Starting) => " (health: starting)",
        Some(HealthStatus::Healthy) => " (healthy)",
        Some(HealthStatus::Unhealthy) => " (unhealthy)",
    }
}

/// Health as a filter says it; `none` where it is not found out.
fn fits_health(state: &State, wanted: &str) -> bool {
    match &state.health {
        None => wanted == "none",
        Some(health) => health.status.to_string() == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: Status) -> State {
        let at = |seconds: i64| Timestamp::from_nanos(seconds * 1_000_000_000);
        State { status, started: at(1000), finished: at(1030), exit_code: 3, ..State::created() }
    }

    #[test]
    fn states_in_words() {
        let now = Timestamp::from_nanos(1_210_000_000_000);
        assert_eq!(status(&state(Status::Created), false, now), "Created");
        assert_eq!(status(&state(Status::Running), false, now), "Up 3 minutes");
        assert_eq!(status(&state(Status::Running), true, now), "Up 3 minutes (Paused)");
        assert_eq!(status(&state(Status::Exited), false, now), "Exited (3) 3 minutes ago");
    }

    #[test]
    fn commands_are_shown_as_docker_shows_them() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(command_line(&words(&["sh", "-c"]), &words(&["sleep 1"])), "sh -c 'sleep 1'");
        assert_eq!(command_line(&[], &words(&["a b", "c"])), "a b c");
        assert_eq!(command_line(&[], &[]), "");
    }

    #[test]
    fn only_known_states_are_asked_for() {
        assert!(check_status("exited").is_ok() && check_status("paused").is_ok());
        assert!(check_status("sleeping").is_err());
        assert!(has_exited(&state(Status::Exited), &[1, 3]));
        assert!(!has_exited(&state(Status::Running), &[3]));
    }
}
