//! `holm system df -v`: a table each sort of thing, or one document with all of them.

use holm_engine::DiskUsage;
use holm_engine::images::{ObjectUsage, StoreUsage};
use holm_spec::Timestamp;
use serde_json::{Map, Value};

use crate::command::ps;
use crate::command_error::CommandError;
use crate::duration;
use crate::listing::{self, ellipsis};
use crate::size;
use crate::table;
use crate::template::Template;

const NONE: &str = "<none>";

/// How the objects are shown.
pub enum Form {
    /// Tables for people.
    Tables,
    /// One JSON document.
    Json,
    /// A template of that document.
    Template(Template),
}

impl Form {
    /// Parses `--format`.
    ///
    /// # Errors
    /// The template is none.
    pub fn parse(text: Option<&str>) -> Result<Self, CommandError> {
        match text {
            None | Some("" | "table") => Ok(Self::Tables),
            Some("json") => Ok(Self::Json),
            Some(text) => Template::parse(text).map(Self::Template).map_err(listing::unusable),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// The template asks for something that is not there.
    pub fn render(&self, usage: &DiskUsage, now: Timestamp) -> Result<String, CommandError> {
        let sections = sections(usage, now);
        match self {
            Self::Tables => Ok(sections.iter().map(Section::table).collect::<Vec<_>>().join("\n")),
            Self::Json => Ok(document(&sections).to_string() + "\n"),
            Self::Template(template) => {
                template.render(&document(&sections)).map(|text| text + "\n").map_err(listing::unusable)
            }
        }
    }
}

/// Objects of one sort.
struct Section {
    /// In the document.
    name: &'static str,
    /// Above the table.
    title: &'static str,
    /// Names in the document and headings.
    columns: &'static [(&'static str, &'static str)],
    rows: Vec<Vec<String>>,
}

impl Section {
    fn table(&self) -> String {
        let mut cells: Vec<Vec<&str>> = vec![self.columns.iter().map(|(_, heading)| *heading).collect()];
        cells.extend(self.rows.iter().map(|row| row.iter().map(String::as_str).collect()));
        format!("{} space usage:\n\n{}", self.title, table::render(&cells))
    }
}

fn document(sections: &[Section]) -> Value {
    let object = |section: &Section, row: &Vec<String>| {
        let names = section.columns.iter().map(|(name, _)| (*name).to_owned());
        Value::Object(names.zip(row.iter().map(|cell| Value::from(cell.as_str()))).collect::<Map<_, _>>())
    };
    let list = |section: &Section| section.rows.iter().map(|row| object(section, row)).collect::<Vec<_>>();
    let all = sections.iter().map(|section| (section.name.to_owned(), Value::from(list(section))));
    Value::Object(all.collect())
}

const IMAGE_COLUMNS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const WORKLOAD_COLUMNS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const VOLUME_COLUMNS: &[(&str, &str)] = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
const KERNEL_COLUMNS: &[(&str, &str)] =
    &[("Repository", "REPOSITORY"), ("Tag", "TAG"), ("ID", "KERNEL ID"), ("Size", "SIZE"), ("Used", "USED")];
const ARTIFACT_COLUMNS: &[(&str, &str)] =
    &[("Repository", "REPOSITORY"), ("Tag", "TAG"), ("ID", "ARTIFACT ID"), ("Size", "SIZE")];
const LAYER_COLUMNS: &[(&str, &str)] = &[("ID", "LAYER"), ("LastUsedSince", "LAST USED"), ("Size", "SIZE")];

fn sections(usage: &DiskUsage, now: Timestamp) -> [Section; 6] {
    let store = &usage.store;
    let kernel = |object: &ObjectUsage| {
        let used = if usage.used_kernels.contains(&object.id) { "yes" } else { "no" };
        let [repository, tag] = name(object);
        vec![repository, tag, object.id.short(), size::decimal(store.size(object)), used.to_owned()]
    };
    let artifact = |object: &ObjectUsage| {
        let [repository, tag] = name(object);
        vec![repository, tag, object.id.short(), size::decimal(store.size(object))]
    };
    let images = store.images.iter().map(|object| image(usage, object, now)).collect();
    let kernels = store.kernels.iter().map(kernel).collect();
    let artifacts = store.artifacts.iter().map(artifact).collect();
    [
        Section { name: "Images", title: "Images", columns: IMAGE_COLUMNS, rows: images },
        Section {
            name: "Containers",
            title: "Containers",
            columns: WORKLOAD_COLUMNS,
            rows: usage.workloads.iter().map(|it| workload(it, now)).collect(),
        },
        Section {
            name: "Volumes",
            title: "Local Volumes",
            columns: VOLUME_COLUMNS,
            rows: usage.volumes.iter().map(volume).collect(),
        },
        Section { name: "Kernels", title: "Kernels", columns: KERNEL_COLUMNS, rows: kernels },
        Section { name: "Artifacts", title: "Artifacts", columns: ARTIFACT_COLUMNS, rows: artifacts },
        Section {
            name: "CompressedLayers",
            title: "Compressed layers",
            columns: LAYER_COLUMNS,
            rows: layers(store, now),
        },
    ]
}

fn image(usage: &DiskUsage, object: &ObjectUsage, now: Timestamp) -> Vec<String> {
    let (all, shared) = (usage.store.size(object), usage.store.shared(object));
    let users = usage.workloads.iter().filter(|it| it.workload.config.image.id == object.id).count();
    let [repository, tag] = name(object);
    vec![
        repository,
        tag,
        object.id.short(),
        duration::ago(now, object.created.unwrap_or_default()),
        size::decimal(all),
        size::decimal(shared),
        size::decimal(all - shared),
        users.to_string(),
    ]
}

fn workload(usage: &holm_engine::WorkloadUsage, now: Timestamp) -> Vec<String> {
    let config = &usage.workload.config;
    let command = ps::command_line(&config.settings.entrypoint, &config.settings.command);
    vec![
        config.id.short(),
        config.image.name.clone(),
        listing::quoted(&ellipsis(&command, 20)),
        size::decimal(usage.size),
        duration::ago(now, config.created),
        ps::status(&usage.workload.state, usage.workload.paused, now),
        config.name.clone(),
    ]
}

fn volume(usage: &holm_engine::VolumeUsage) -> Vec<String> {
    vec![usage.volume.name.clone(), usage.users.to_string(), size::decimal(usage.size)]
}

fn layers(store: &StoreUsage, now: Timestamp) -> Vec<Vec<String>> {
    let row = |layer: &holm_engine::images::CompressedUsage| {
        vec![layer.digest.short(), duration::ago(now, layer.used), size::decimal(layer.size)]
    };
    store.compressed.iter().map(row).collect()
}

/// Repository and tag of the first name.
fn name(object: &ObjectUsage) -> [String; 2] {
    let first = object.names.first().map(|name| &name.reference);
    let tag = first.and_then(|reference| reference.tag()).unwrap_or(NONE).to_owned();
    [first.map_or_else(|| NONE.to_owned(), holm_spec::Reference::familiar_name), tag]
}
