//! What Docker's documents hold where nothing was said, for templates that ask for it.

use serde_json::Value;

/// The configuration of a container in an image: every field of Docker's.
pub const CONFIG: &str = r#"{
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
    "AttachStderr": false, "ExposedPorts": null, "Tty": false, "OpenStdin": false, "StdinOnce": false,
    "Env": null, "Cmd": null, "Healthcheck": null, "ArgsEscaped": false, "Image": "", "Volumes": null,
    "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": null, "StopSignal": "",
    "StopTimeout": null, "Shell": null
}"#;

/// The members of `ours` over those of `defaults`, the text of an object, in the order of that.
pub fn over_defaults(defaults: &str, ours: Value) -> Value {
    let mut merged: Value = serde_json::from_str(defaults).expect("a literal of this program");
    match (&mut merged, ours) {
        (Value::Object(merged), Value::Object(ours)) => merged.extend(ours),
        (_, Value::Null) => {}
        (merged, ours) => *merged = ours,
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_said_stays() {
        let merged = over_defaults(CONFIG, json!({"Cmd": ["sh"], "Env": null, "Other": 1}));
        assert_eq!(
            (&merged["Cmd"], &merged["Env"], &merged["Other"]),
            (&json!(["sh"]), &json!(null), &json!(1))
        );
        assert_eq!(merged["Entrypoint"], json!(null));
        assert_eq!(over_defaults(CONFIG, Value::Null)["User"], "");
    }
}
