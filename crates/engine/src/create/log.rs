//! Who keeps a workload's output, and how: Docker's options of its drivers, held against the workload.

use std::collections::BTreeMap;
use std::path::Path;

use holm_spec::Id;
use holm_spec::log::{Driver, Files, JOURNAL_SOCKET, LogSettings};

use super::resolve::Resolved;
use crate::request::CreateRequest;
use crate::{Error, Kind, Result};

const FILES: [&str; 3] = ["compress", "max-file", "max-size"];
const ATTRIBUTES: [&str; 3] = ["env", "labels", "tag"];
const CACHE: [&str; 4] = ["cache-compress", "cache-disabled", "cache-max-file", "cache-max-size"];

/// What Docker calls a workload in the journal where nobody says it.
const DEFAULT_TAG: &str = "{{.ID}}";

/// The workload as templates of a tag know it.
struct Facts<'a> {
    id: &'a Id,
    name: &'a str,
    image: &'a str,
    image_id: String,
}

/// Refuses options that cannot be, and a journal that is not there.
pub(super) fn check(request: &CreateRequest) -> Result<()> {
    let facts = Facts { id: &Id::from_bytes([0; 32]), name: "", image: "", image_id: String::new() };
    parse(request, &facts, &BTreeMap::new(), &[])
        .map_err(|reason| Error::new(Kind::InvalidRequest, reason))?;
    if request.log.driver == Driver::Journald && !Path::new(JOURNAL_SOCKET).exists() {
        let message =
            format!("log driver `journald`: this host has no journal (`{JOURNAL_SOCKET}` is not there)");
        return Err(Error::new(Kind::Unsupported, message));
    }
    Ok(())
}

/// What was asked, for a workload that has its name.
pub(super) fn settings(
    request: &CreateRequest,
    resolved: &Resolved,
    id: &Id,
    name: &str,
    image_id: &str,
) -> Result<LogSettings> {
    let facts = Facts { id, name, image: &request.image, image_id: image_id.to_owned() };
    parse(request, &facts, &resolved.labels, &resolved.env)
        .map_err(|reason| Error::new(Kind::InvalidRequest, reason))
}

fn parse(
    request: &CreateRequest,
    facts: &Facts<'_>,
    labels: &BTreeMap<String, String>,
    env: &[String],
) -> Result<LogSettings, String> {
    let (driver, options) = (request.log.driver, &request.log.options);
    check_names(driver, options)?;
    let option = |name: &str| options.get(name).map(String::as_str);
    let mut attributes = attributes(option, labels, env);
    let tag = expand(option("tag").unwrap_or(DEFAULT_TAG), facts)?;
    if driver == Driver::JsonFile && option("tag").is_some_and(|tag| !tag.is_empty()) {
        attributes.insert("tag".to_owned(), tag.clone());
    }
    let files = match driver {
        Driver::Local => Some(files("", option, Files::LOCAL)?),
        Driver::JsonFile => Some(files("", option, Files::JSON)?),
        Driver::Journald if truth("cache-disabled", option)? == Some(true) => None,
        Driver::Journald => Some(files("cache-", option, Files::LOCAL)?),
        Driver::None => None,
    };
    Ok(LogSettings { driver, options: options.clone(), files, tag, attributes })
}

/// Options that a driver does not have are refused; Docker has some for every driver.
fn check_names(driver: Driver, options: &BTreeMap<String, String>) -> Result<(), String> {
    let known: Vec<&str> = match driver {
        Driver::Local => FILES.to_vec(),
        Driver::JsonFile => [FILES, ATTRIBUTES].concat(),
        Driver::Journald => [&CACHE[..], &ATTRIBUTES].concat(),
        Driver::None => Vec::new(),
    };
    for (name, value) in options {
        match name.as_str() {
            name if known.contains(&name) => {}
            "mode" if value == "blocking" && driver != Driver::None => {}
            "mode" if driver != Driver::None => {
                return Err(format!(
                    "log option `mode={value}`: a log of holm's loses nothing, its mode is `blocking`"
                ));
            }
            _ if known.is_empty() => {
                return Err(format!("log option `{name}`: log driver `{driver}` has no options"));
            }
            _ => {
                return Err(format!(
                    "log driver `{driver}` has no option `{name}`: it has {}",
                    known.join(", ")
                ));
            }
        }
    }
    Ok(())
}

fn files<'a>(
    prefix: &str,
    option: impl Fn(&str) -> Option<&'a str>,
    default: Files,
) -> Result<Files, String> {
    let name = |end: &str| format!("{prefix}{end}");
    let max_size = match option(&name("max-size")) {
        None => default.max_size,
        // Docker's word for no limit.
        Some("-1") => None,
        Some(text) => Some(size(&name("max-size"), text)?),
    };
    let max_files = match option(&name("max-file")) {
        None => default.max_files,
        Some(text) => number(&name("max-file"), text)?,
    };
    let rotates = max_size.is_some() && max_files > 1;
    let compress = truth(&name("compress"), &option)?;
    if compress == Some(true) && !rotates {
        return Err(format!(
            "log option `{}`: it needs `max-size`, and a `max-file` of 2 or more",
            name("compress")
        ));
    }
    Ok(Files { max_size, max_files, compress: compress.unwrap_or(default.compress) && rotates })
}

fn number(name: &str, text: &str) -> Result<u32, String> {
    let most = Files::MOST;
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("log option `{name}={text}`: a number of files from 1 to {most} expected"))
}

/// A number with a unit, of which each is 1024 of the one before.
fn size(name: &str, text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let scale = match text[end..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        _ => None,
    };
    let bytes = scale.and_then(|scale| text[..end].parse::<u64>().ok()?.checked_mul(1 << scale));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("log option `{name}={text}`: a size such as 10m expected, with k, m or g"))
}

fn truth<'a>(name: &str, option: impl Fn(&str) -> Option<&'a str>) -> Result<Option<bool>, String> {
    match option(name) {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(text) => Err(format!("log option `{name}={text}`: true or false expected")),
    }
}

/// The labels and variables that are named, as far as the workload has them.
fn attributes<'a>(
    option: impl Fn(&str) -> Option<&'a str>,
    labels: &BTreeMap<String, String>,
    env: &[String],
) -> BTreeMap<String, String> {
    let named = |name: &str| option(name).unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let mut attributes = BTreeMap::new();
    for name in named("labels") {
        attributes.extend(labels.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    for name in named("env") {
        let value = env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        attributes.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    attributes
}

/// A tag with the fields of Docker's templates filled in.
fn expand(template: &str, facts: &Facts<'_>) -> Result<String, String> {
    let mut tag = String::new();
    let mut rest = template;
    while let Some((before, field)) = rest.split_once("{{") {
        let (field, after) = field
            .split_once("}}")
            .ok_or_else(|| format!("log option `tag={template}`: a `}}}}` is missing"))?;
        tag += before;
        tag += &expanded(field.trim(), facts).ok_or_else(|| {
            format!("log option `tag={template}`: no field `{field}`; there are .ID, .FullID, .Name, .ImageName, .ImageID, .ImageFullID and .DaemonName")
        })?;
        rest = after;
    }
    Ok(tag + rest)
}

fn expanded(field: &str, facts: &Facts<'_>) -> Option<String> {
    Some(match field {
        ".ID" => facts.id.short(),
        ".FullID" => facts.id.to_string(),
        ".Name" => facts.name.to_owned(),
        ".ImageName" => facts.image.to_owned(),
        ".ImageFullID" => facts.image_id.clone(),
        ".ImageID" => {
            let digest = facts.image_id.strip_prefix("sha256:").unwrap_or(&facts.image_id);
            digest.chars().take(12).collect()
        }
        // Templates that were written for Docker go on.
        ".DaemonName" => "holm".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::LogRequest;

    fn asked(driver: Driver, options: &[(&str, &str)]) -> Result<LogSettings, String> {
        let options = options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let request = CreateRequest { log: LogRequest { driver, options }, ..CreateRequest::default() };
        let id = Id::from_bytes([0xab; 32]);
        let facts =
            Facts { id: &id, name: "web", image: "debian", image_id: "sha256:0123456789abcdef".into() };
        let labels = [("team".to_owned(), "a,b".to_owned()), ("other".to_owned(), "x".to_owned())].into();
        parse(&request, &facts, &labels, &["A=1=2".to_owned(), "AB=3".to_owned()])
    }

    #[test]
    fn sizes_and_numbers_of_files() {
        let files = |driver, options| asked(driver, options).expect("valid").files;
        assert_eq!(files(Driver::Local, &[]), Some(Files::LOCAL));
        assert_eq!(files(Driver::JsonFile, &[]), Some(Files::JSON));
        assert_eq!(files(Driver::None, &[]), None);
        let small = Some(Files { max_size: Some(10 << 20), max_files: 3, compress: true });
        let options = [("max-size", "10m"), ("max-file", "3"), ("compress", "true"), ("mode", "blocking")];
        assert_eq!(files(Driver::JsonFile, &options), small);
        assert_eq!(files(Driver::Journald, &[("cache-max-size", "10M"), ("cache-max-file", "3")]), small);
        assert_eq!(files(Driver::Journald, &[("cache-disabled", "true")]), None);
        let endless = Some(Files { max_size: None, max_files: 5, compress: false });
        assert_eq!(files(Driver::Local, &[("max-size", "-1")]), endless);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (driver, option, reason) in [
            (
                Driver::Local,
                ("tag", "x"),
                "log driver `local` has no option `tag`: it has compress, max-file, max-size",
            ),
            (Driver::None, ("max-size", "1m"), "log driver `none` has no options"),
            (Driver::Local, ("max-size", "0"), "a size such as 10m expected"),
            (Driver::Local, ("max-size", "99999999999g"), "a size such as 10m expected"),
            (Driver::Local, ("max-file", "0"), "from 1 to 500"),
            (Driver::Local, ("compress", "perhaps"), "true or false"),
            (Driver::JsonFile, ("compress", "true"), "needs `max-size`"),
            (Driver::JsonFile, ("mode", "non-blocking"), "loses nothing"),
            (Driver::JsonFile, ("tag", "{{.Nothing}}"), "no field `.Nothing`"),
            (Driver::JsonFile, ("tag", "{{.ID"), "is missing"),
        ] {
            let error = asked(driver, &[option]).expect_err("wrong");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn tags_and_attributes() {
        let settings = asked(
            Driver::JsonFile,
            &[
                ("labels", "team,absent"),
                ("env", "A,B"),
                ("tag", "{{.Name}}/{{ .ID }}-{{.ImageName}}:{{.ImageID}}"),
            ],
        );
        let settings = settings.expect("valid");
        let tag = "web/abababababab-debian:0123456789ab";
        assert_eq!(settings.tag, tag);
        let expected = [("A", "1=2"), ("tag", tag), ("team", "a,b")];
        assert_eq!(
            settings.attributes,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        );
        assert_eq!(asked(Driver::Journald, &[]).expect("valid").tag, "abababababab");
    }
}
