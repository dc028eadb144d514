//! An image's configuration as instructions change it, in Docker's form (OCI image specification, "Image Configuration", with
//! `Healthcheck`, `OnBuild` and `Shell`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::dockerfile::{CommandLine, Healthcheck, HealthcheckOptions};

/// Where programs are looked for if an image does not say, as with BuildKit.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a workload of an image is given. What nothing here knows is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports, each with an empty object.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Map<String, Value>>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// In front of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The arguments, or the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories that get volumes, each with an empty object.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Map<String, Value>>,
    /// Where a workload begins.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What asks it to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How its health is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Instructions for images made from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// What runs commands that are no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl ImageConfig {
    /// Sets a variable where it is, or at the end.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let is_same = |pair: &&mut String| pair.split('=').next() == Some(name);
        match self.env.iter_mut().find(is_same) {
            Some(there) => *there = pair,
            None => self.env.push(pair),
        }
    }

    /// Every command finds programs.
    pub fn ensure_path(&mut self) {
        if !self.variables().any(|(name, _)| name == "PATH") {
            self.env.push(format!("PATH={USUAL_PATH}"));
        }
    }

    /// The variables.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let split =
            |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.env.iter().filter_map(split)
    }

    /// A command as words: as they are, or for the shell.
    pub fn words(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.in_shell(text),
        }
    }

    /// The shell with a line of its own.
    pub fn in_shell(&self, text: &str) -> Vec<String> {
        let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let mut words = self.shell.clone().unwrap_or_else(usual);
        words.push(text.to_owned());
        words
    }

    /// What `HEALTHCHECK` says.
    pub fn set_health(&mut self, check: &Healthcheck) {
        let health = match check {
            Healthcheck::None => json!({"Test": ["NONE"]}),
            Healthcheck::Command { line, options } => {
                let test = match line {
                    CommandLine::Exec(words) => [&["CMD".to_owned()], words.as_slice()].concat(),
                    CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                };
                let HealthcheckOptions { interval, timeout, start_period, start_interval, retries } =
                    *options;
                let times = [
                    ("Interval", interval),
                    ("Timeout", timeout),
                    ("StartPeriod", start_period),
                    ("StartInterval", start_interval),
                    ("Retries", retries.into()),
                ];
                let mut health = json!({"Test": test});
                for (name, value) in times.into_iter().filter(|(_, value)| *value > 0) {
                    health[name] = value.into();
                }
                health
            }
        };
        self.healthcheck = Some(health);
    }
}

/// Docker writes `null` for what is empty.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// What an image's document says, as far as it is handed on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BaseDocument {
    /// When it was made.
    pub created: Option<String>,
    /// Processor.
    #[serde(deserialize_with = "or_default")]
    pub architecture: String,
    /// Its variant.
    pub variant: Option<String>,
    /// Operating system.
    #[serde(deserialize_with = "or_default")]
    pub os: String,
    /// What workloads are given.
    pub config: Option<ImageConfig>,
    /// Who made it.
    pub author: Option<String>,
    /// How it was made.
    #[serde(deserialize_with = "or_default")]
    pub history: Vec<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept_and_variables_stay_where_they_are() {
        let text = r#"{"Env":["PATH=/bin","A=1"],"Cmd":["sh"],"ArgsEscaped":true,"Volumes":null,"Labels":null,"User":null}"#;
        let mut config: ImageConfig = serde_json::from_str(text).expect("a configuration");
        config.set_variable("PATH", "/usr/bin");
        config.set_variable("B", "x=y");
        assert_eq!(config.env, ["PATH=/usr/bin", "A=1", "B=x=y"]);
        let written = serde_json::to_value(&config).expect("plain data");
        assert_eq!(written["ArgsEscaped"], true);
        assert_eq!(config.in_shell("ls"), ["/bin/sh", "-c", "ls"]);
    }
}
