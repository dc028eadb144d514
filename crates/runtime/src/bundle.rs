//! A bundle: a directory with `config.json` and, usually, the root file system (OCI runtime specification,
//! "Filesystem Bundle").

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use holm_spec::runtime::Spec;
use holm_sys::file::{read_limited, real_path};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::seccomp::Foreknown;

/// Longest `config.json` that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 16 << 20;

/// A bundle whose configuration has been read and checked.
#[derive(Debug)]
pub struct Bundle {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// Its configuration, without the rules that `filter` has the program of.
    pub spec: Spec,
    /// The configuration as it was received.
    pub document: Vec<u8>,
    /// What is known of its filter of system calls.
    pub filter: Option<Foreknown>,
    /// Names in the sets of capabilities that are ignored because nobody knows them.
    pub unknown_capabilities: Vec<String>,
}

impl Bundle {
    /// Reads the bundle at `directory`. The rules of its filter of system calls are left out of what is read if the
    /// program is in `filters`, a directory of compiled ones.
    ///
    /// # Errors
    /// No `config.json`, or one that [`parse`] or [`check`] refuses.
    pub fn load(directory: &Path, filters: &Path) -> Result<Self> {
        let directory = real_path(directory)
            .map_err(|error| Error::system(format!("open bundle `{}`", directory.display()), error))?;
        let file = directory.join("config.json");
        let document = read_limited(&file, CONFIG_LIMIT).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::invalid(format!(
                "JSON specification file config.json not found in `{}`",
                directory.display()
            )),
            _ => Error::system(format!("read `{}`", file.display()), error),
        })?;
        let mut unknown = Vec::new();
        let mut text = Cow::Borrowed(document.as_slice());
        let filter = Foreknown::take(&mut text, None, filters);
        // The text tells the filter only if it is read by the rules that refuse a field which comes twice. An error tells the
        // line of the whole.
        let (spec, filter) = match parse_as(&text, "config.json") {
            Ok(spec) => (spec, filter),
            Err(_) => (parse(&document, &mut unknown)?, None),
        };
        check(&spec)?;
        check_hooks_are_named(&document, &spec)?;
        Ok(Self { directory, spec, document, filter, unknown_capabilities: unknown })
    }

    /// The root file system: a directory, and no link to one.
    ///
    /// # Errors
    /// It is not there, or something else is.
    pub fn root(&self) -> Result<PathBuf> {
        let at = |error: Error| error.at_field("root.path");
        let root =
            self.spec.root().as_ref().ok_or_else(|| at(Error::invalid("the container has no root")))?;
        let path = self.directory.join(root.path());
        let real = real_path(&path).map_err(|error| {
            at(Error::system(format!("open root file system `{}`", path.display()), error))
        })?;
        let is_link = path.symlink_metadata().is_ok_and(|data| data.is_symlink());
        if is_link || !real.is_dir() {
            return Err(at(Error::invalid(format!("`{}` is no directory", path.display()))));
        }
        if real == Path::new("/") {
            return Err(at(Error::invalid("the host's own root cannot be a container's")));
        }
        Ok(real)
    }
}

/// Reads a configuration. Unknown fields are ignored, as the specification demands, and so are capabilities that
/// nobody knows, since a later kernel may: `unknown` takes their names.
///
/// # Errors
/// [`Kind::Invalid`], with the JSON path of the field that is wrong.
pub fn parse(document: &[u8], unknown: &mut Vec<String>) -> Result<Spec> {
    parse_as(document, "config.json").or_else(|error| {
        let Ok(mut value) = serde_json::from_slice::<Value>(document) else { return Err(error) };
        remove_unknown_capabilities(&mut value, unknown);
        if unknown.is_empty() {
            return Err(error);
        }
        parse_as(value.to_string().as_bytes(), "config.json")
    })
}

fn remove_unknown_capabilities(document: &mut Value, unknown: &mut Vec<String>) {
    let Some(sets) = document.pointer_mut("/process/capabilities").and_then(Value::as_object_mut) else {
        return;
    };
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let Some(text) = name.as_str() else { return true };
            let known = text.starts_with("CAP_") && crate::capability::CapabilitySet::named(text).is_some();
            if !known && !unknown.iter().any(|name| name == text) {
                unknown.push(text.to_owned());
            }
            known
        });
    }
}

/// Reads a part of a configuration that came as a document of its own.
///
/// # Errors
/// As [`parse`].
pub fn parse_as<T: serde::de::DeserializeOwned>(document: &[u8], name: &str) -> Result<T> {
    serde_json::from_slice(document).map_err(|cause| {
        let path = path_of(&cause, document);
        let read = Error::caused(Kind::Invalid, format!("{}read `{name}`", memory_policy(&path)), cause);
        if path.is_empty() { read } else { read.at_field(path) }
    })
}

/// Other runtimes read the document first and say this then.
fn memory_policy(path: &str) -> &'static str {
    match path.strip_prefix("linux.memoryPolicy") {
        None => "",
        Some(".mode") => "invalid memory policy mode: ",
        Some(field) if field.starts_with(".flags") => "invalid memory policy flag: ",
        Some(_) => "invalid memory policy: ",
    }
}

/// JSON path of the field that an error is about; empty for the document itself.
fn path_of(error: &serde_json::Error, document: &[u8]) -> String {
    let path = crate::json_path::path_at(document, error.line(), error.column());
    // What is missing has no place of its own.
    let text = error.to_string();
    match text.split_once("missing field `").and_then(|(_, rest)| rest.split('`').next()) {
        Some(field) if path.is_empty() => field.to_owned(),
        Some(field) => format!("{path}.{field}"),
        None => path,
    }
}

/// Checks what can be checked without looking at the host.
///
/// # Errors
/// [`Kind::Invalid`], with the field that is wrong.
pub fn check(spec: &Spec) -> Result<()> {
    check_version(spec.version())?;
    let process = spec.process().as_ref();
    let process =
        process.ok_or_else(|| Error::invalid("process property must not be empty").at_field("process"))?;
    if process.cwd().as_os_str().is_empty() {
        return Err(Error::invalid("Cwd property must not be empty").at_field("process.cwd"));
    }
    if process.args().as_deref().unwrap_or_default().is_empty() {
        return Err(Error::invalid("args must not be empty").at_field("process.args"));
    }
    crate::process::affinity(process)?;
    crate::network::check(spec)?;
    crate::resctrl::check(spec)?;
    check_strings(spec)?;
    check_hooks(spec)
}

/// Semantic Versioning 2.0.0, and the major version that this runtime knows.
fn check_version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<_> = core.split('.').collect();
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = |why: &str| {
        Err(Error::invalid(format!("`{}`: {why}", version.escape_debug())).at_field("ociVersion"))
    };
    if numbers.len() != 3 || !numbers.iter().all(is_number) {
        return wrong("it is no version of the specification");
    }
    if numbers[0] != "1" {
        return wrong("this runtime knows version 1 of the specification");
    }
    Ok(())
}

/// What becomes a C string for the kernel must be one.
fn check_strings(spec: &Spec) -> Result<()> {
    let linux = spec.linux().as_ref();
    let group =
        linux.and_then(|linux| linux.cgroups_path().as_ref()).map(|path| path.to_string_lossy().into_owned());
    let fields =
        [("hostname", spec.hostname()), ("domainname", spec.domainname()), ("linux.cgroupsPath", &group)];
    for (field, text) in fields {
        if text.as_ref().is_some_and(|text| text.contains('\0')) {
            return Err(Error::invalid("it holds a NUL byte").at_field(field));
        }
    }
    Ok(())
}

/// Serde reads a list as an object without names; hooks must not get lost that way.
fn check_hooks_are_named(document: &[u8], spec: &Spec) -> Result<()> {
    if spec.hooks().is_none() || crate::hooks::all(spec).iter().any(|(_, hooks)| !hooks.is_empty()) {
        return Ok(());
    }
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    if document["hooks"].is_array() {
        return Err(Error::invalid("it is a list and not an object").at_field("hooks"));
    }
    Ok(())
}

fn check_hooks(spec: &Spec) -> Result<()> {
    for (kind, hooks) in crate::hooks::all(spec) {
        for (index, hook) in hooks.iter().enumerate() {
            let wrong = |field: &str, why: String| {
                Err(Error::invalid(why).at_field(format!("hooks.{}[{index}].{field}", kind.name())))
            };
            if !hook.path().is_absolute() {
                return wrong("path", format!("`{}` is not absolute", hook.path().display()));
            }
            if hook.timeout().is_some_and(|seconds| seconds <= 0) {
                return wrong("timeout", "it must be more than 0 seconds".to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"{"ociVersion":"1.2.0","process":{"user":{"uid":0,"gid":0},"args":["sh"],"cwd":"/"},"root":{"path":"r"}}"#;

    fn read(document: &str) -> Result<Spec> {
        parse(document.as_bytes(), &mut Vec::new())
    }

    fn message(document: &str) -> String {
        read(document).and_then(|spec| check(&spec)).expect_err("wrong").to_string()
    }

    #[test]
    fn the_smallest_configuration_is_enough() {
        check(&read(SMALLEST).expect("valid")).expect("valid");
        let with_future = SMALLEST.replacen('{', r#"{"future":{},"#, 1);
        check(&read(&with_future).expect("unknown fields")).expect("valid");
    }

    #[test]
    fn unknown_capabilities_are_left_out() {
        let sets =
            r#""cwd":"/","capabilities":{"bounding":["CAP_KILL","CAP_LATER"],"effective":["CAP_LATER"]}"#;
        let mut unknown = Vec::new();
        parse(SMALLEST.replace(r#""cwd":"/""#, sets).as_bytes(), &mut unknown).expect("valid");
        assert_eq!(unknown, ["CAP_LATER"]);
    }

    #[test]
    fn errors_name_the_field() {
        let with = |from: &str, to: &str| message(&SMALLEST.replace(from, to));
        assert!(with(r#""uid":0"#, r#""uid":"root""#).starts_with("`process.user.uid`"));
        assert!(with(r#"["sh"]"#, "[1]").starts_with("`process.args[0]`"));
        let processors = r#""cwd":"/","execCPUAffinity":{"final":"0-3,x"}"#;
        assert!(with(r#""cwd":"/""#, processors).starts_with("`process.execCPUAffinity.final`"));
        assert!(with("1.2.0", "2.0.0").starts_with("`ociVersion`"));
        assert!(with("1.2.0", "one").starts_with("`ociVersion`"));
        let linux = r#""root":{"path":"r"},"linux":{"namespaces":[{"type":"pid"},{"type":"space"}]}"#;
        assert!(with(r#""root":{"path":"r"}"#, linux).starts_with("`linux.namespaces[1].type`"));
        assert!(message("{").starts_with("read `config.json`"));
        assert!(message(&format!("{SMALLEST}x")).starts_with("read `config.json`"));
    }
}
