//! Network configuration lists (CNI specification 1.1, section 1): what plugins carry a network, and what each one reads. Pure.

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};

/// Versions that are spoken here, the newest first. Older ones say their results in another way.
pub(crate) const VERSIONS: [&str; 5] = ["1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0"];
/// Longest list, in bytes.
pub(crate) const LIMIT: usize = 1 << 18;
/// Most plugins of a list.
const PLUGINS_LIMIT: usize = 32;

/// A list that somebody wrote, or the configuration of one plugin, as a list with a name. What is not understood here is kept:
/// it is the plugins' own.
///
/// # Errors
/// [`Kind::Invalid`], saying what is wrong.
pub(crate) fn parse(text: &[u8], network: &str) -> Result<Value> {
    let invalid = |why: String| {
        Error::new(Kind::Invalid, format!("network `{network}`: its network configuration list: {why}"))
    };
    if text.len() > LIMIT {
        return Err(invalid(format!("it is longer than {LIMIT} bytes")));
    }
    let read: Value = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let Value::Object(mut list) = read else { return Err(invalid("it is no object".into())) };
    if !list.contains_key("plugins") && list.contains_key("type") {
        list = of_one(list);
    }
    list.entry("name").or_insert_with(|| network.into());
    check(&list).map_err(invalid)?;
    Ok(Value::Object(list))
}

/// A configuration of one plugin says name and version beside what is the plugin's.
fn of_one(plugin: Map<String, Value>) -> Map<String, Value> {
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        list.extend(plugin.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    list.insert("plugins".into(), json!([plugin]));
    list
}

fn check(list: &Map<String, Value>) -> Result<(), String> {
    let name = list["name"].as_str().ok_or("its name is no text")?;
    let is_inner = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || !name.chars().all(is_inner) {
        return Err(format!("`{}` is no name", name.escape_debug()));
    }
    let plugins = list.get("plugins").and_then(Value::as_array).filter(|plugins| !plugins.is_empty());
    let plugins = plugins.ok_or("it names no plugins")?;
    if plugins.len() > PLUGINS_LIMIT {
        return Err(format!("it names more than {PLUGINS_LIMIT} plugins"));
    }
    for (number, plugin) in plugins.iter().enumerate() {
        let name = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
        let delegate = plugin.get("ipam").and_then(|ipam| ipam.get("type")).map_or(Some("-"), Value::as_str);
        // A name is looked up in directories, and leads to no other one.
        let is_file = |name: &str| !name.is_empty() && !name.starts_with('.') && name.chars().all(is_inner);
        if !is_file(name) || !delegate.is_some_and(|name| name.is_empty() || is_file(name)) {
            return Err(format!("`type` of plugin {number} names no program"));
        }
    }
    Ok(())
}

/// Configurations of a list's plugins, in their order.
pub(crate) fn plugins(list: &Value) -> &[Value] {
    list["plugins"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The program of a plugin's configuration.
pub(crate) fn program(plugin: &Value) -> &str {
    plugin["type"].as_str().unwrap_or_default()
}

/// All programs that a list names, those that give addresses, too.
pub(crate) fn programs(list: &Value) -> Vec<&str> {
    let each = |plugin| [program(plugin), plugin["ipam"]["type"].as_str().unwrap_or_default()];
    let mut programs: Vec<&str> =
        plugins(list).iter().flat_map(each).filter(|program| !program.is_empty()).collect();
    programs.sort_unstable();
    programs.dedup();
    programs
}

/// Whether a plugin takes arguments of this kind (`CONVENTIONS.md` of CNI, "Dynamic Plugin specific fields").
pub(crate) fn has(list: &Value, capability: &str) -> bool {
    plugins(list).iter().any(|plugin| takes(plugin, capability))
}

fn takes(plugin: &Value, capability: &str) -> bool {
    plugin["capabilities"][capability] == true
}

/// Versions that a list may be used with.
pub(crate) fn versions(list: &Value) -> Vec<&str> {
    let several = list["cniVersions"].as_array().into_iter().flatten();
    several.chain(list.get("cniVersion")).filter_map(Value::as_str).collect()
}

/// What a plugin reads (section 3, "Deriving execution configuration from plugin configuration"). `arguments` are by
/// capability.
pub(crate) fn configuration(
    list: &Value,
    plugin: &Value,
    arguments: &Map<String, Value>,
    previous: Option<&Value>,
) -> Vec<u8> {
    let mut read = plugin.as_object().cloned().unwrap_or_default();
    read.remove("capabilities");
    read.insert("cniVersion".into(), list["cniVersion"].clone());
    read.insert("name".into(), list["name"].clone());
    let taken = arguments.iter().filter(|(capability, _)| takes(plugin, capability));
    let taken: Map<String, Value> = taken.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !taken.is_empty() {
        read.insert("runtimeConfig".into(), taken.into());
    }
    if let Some(previous) = previous {
        read.insert("prevResult".into(), previous.clone());
    }
    serde_json::to_vec(&read).expect("a document of texts and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_configurations() {
        let list =
            parse(br#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"x","more":1}],"y":2}"#, "n");
        let list = list.expect("a list");
        assert_eq!(
            (list["name"].as_str(), &list["y"], &list["plugins"][0]["more"]),
            (Some("a"), &json!(2), &json!(1))
        );
        let one = br#"{"cniVersion":"0.4.0","type":"x","ipam":{"type":"host-local"}}"#;
        let list = parse(one, "n").expect("a list");
        assert_eq!((list["name"].as_str(), versions(&list)), (Some("n"), vec!["0.4.0"]));
        assert_eq!(programs(&list), ["host-local", "x"]);
    }

    #[test]
    fn what_is_no_list_is_told() {
        for (text, words) in [
            ("", "EOF"),
            ("[]", "no object"),
            ("{}", "no plugins"),
            (r#"{"plugins":[]}"#, "no plugins"),
            (r#"{"plugins":[{}]}"#, "`type` of plugin 0"),
            (r#"{"plugins":[{"type":"a"},{"type":"../a"}]}"#, "`type` of plugin 1"),
            (r#"{"plugins":[{"type":".a"}]}"#, "`type` of plugin 0"),
            (r#"{"plugins":[{"type":"a","ipam":{"type":"/bin/sh"}}]}"#, "`type` of plugin 0"),
            (r#"{"name":"../a","plugins":[{"type":"a"}]}"#, "`../a` is no name"),
            (r#"{"name":1,"plugins":[{"type":"a"}]}"#, "no text"),
        ] {
            let error = parse(text.as_bytes(), "n").expect_err(text).to_string();
            assert!(error.contains(words) && error.contains("network `n`"), "{text}: {error}");
        }
        let long = vec![b' '; LIMIT + 1];
        assert!(parse(&long, "n").expect_err("too long").to_string().contains("longer than"));
    }

    #[test]
    fn a_plugin_reads_what_is_for_it() {
        let list = json!({ "cniVersion": "1.0.0", "name": "n", "plugins": [
            { "type": "a", "capabilities": { "mac": true, "ips": false } },
            { "type": "b", "own": 1 },
        ] });
        assert!(has(&list, "mac") && !has(&list, "ips") && !has(&list, "portMappings"));
        let arguments = json!({ "mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"] });
        let arguments = arguments.as_object().expect("an object");
        let read = |index: usize, previous| {
            let text = configuration(&list, &plugins(&list)[index], arguments, previous);
            serde_json::from_slice::<Value>(&text).expect("JSON")
        };
        let expected = json!({ "type": "a", "cniVersion": "1.0.0", "name": "n",
            "runtimeConfig": { "mac": "02:00:00:00:00:01" } });
        assert_eq!(read(0, None), expected);
        let result = json!({ "ips": [] });
        let expected =
            json!({ "type": "b", "own": 1, "cniVersion": "1.0.0", "name": "n", "prevResult": { "ips": [] } });
        assert_eq!(read(1, Some(&result)), expected);
    }
}
