//! Changes to an image's configuration, written as Dockerfile instructions: what `--change` of
//! `import` takes. Pure.
//!
//! | instruction | form |
//! |---|---|
//! | `CMD`, `ENTRYPOINT` | a JSON array of strings, or a line for `/bin/sh -c` |
//! | `ENV`, `LABEL` | `name=value ...`, or `name value` to the end of the line |
//! | `EXPOSE` | `port[-port][/tcp\|udp\|sctp] ...` |
//! | `USER`, `WORKDIR`, `STOPSIGNAL` | one value |
//! | `VOLUME` | a JSON array of strings, or paths |
//!
//! Quotes, backslashes and variables are those of a Dockerfile (see `word`); variables are those that
//! an `ENV` before set.

mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use holm_spec::image::Config;
use holm_spec::signal;

use word::{expand, split};

/// Longest change in bytes.
const LENGTH_LIMIT: usize = 64 << 10;

/// Longest names and values of one change together, in bytes, with their variables.
const RESULT_LIMIT: usize = 1 << 20;

/// One instruction, recognised but not yet applied: its variables depend on what comes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    instruction: Instruction,
    arguments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Label,
    StopSignal,
    User,
    Volume,
    WorkDir,
}

impl Instruction {
    const ALL: [(&'static str, Self); 9] = [
        ("CMD", Self::Cmd),
        ("ENTRYPOINT", Self::Entrypoint),
        ("ENV", Self::Env),
        ("EXPOSE", Self::Expose),
        ("LABEL", Self::Label),
        ("STOPSIGNAL", Self::StopSignal),
        ("USER", Self::User),
        ("VOLUME", Self::Volume),
        ("WORKDIR", Self::WorkDir),
    ];
}

/// Why a text is no change, or cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeError {
    change: String,
    reason: String,
}

impl ChangeError {
    fn new(change: &str, reason: impl Into<String>) -> Self {
        Self { change: change.chars().take(100).collect(), reason: reason.into() }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid change `{}`: {}", self.change, self.reason)
    }
}

impl std::error::Error for ChangeError {}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let text = text.trim();
        let failed = |reason: String| Err(ChangeError::new(text, reason));
        if text.len() > LENGTH_LIMIT {
            return failed(format!("it is longer than {LENGTH_LIMIT} bytes"));
        }
        let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name = name.to_ascii_uppercase();
        let Some(&(_, instruction)) = Instruction::ALL.iter().find(|(known, _)| *known == name) else {
            return failed(unknown(&name));
        };
        if arguments.trim().is_empty() {
            return failed(format!("{name} needs an argument"));
        }
        let change = Self { instruction, arguments: arguments.trim().to_owned() };
        // What variables stand for depends on earlier changes; anything else is known to be right now.
        if !change.arguments.contains('$') {
            change.apply(&mut Config::default())?;
        }
        Ok(change)
    }
}

fn unknown(name: &str) -> String {
    match name {
        "" => "it is empty".to_owned(),
        "HEALTHCHECK" | "ONBUILD" => format!("{name} is not supported yet"),
        _ => {
            let known: Vec<_> = Instruction::ALL.iter().map(|(known, _)| *known).collect();
            format!("`{name}` is none of {}", known.join(", "))
        }
    }
}

impl Change {
    /// Applies the change to `config`.
    ///
    /// # Errors
    /// [`ChangeError`] where the arguments mean nothing; `config` is then as it was.
    pub fn apply(&self, config: &mut Config) -> Result<(), ChangeError> {
        self.try_apply(config).map_err(|reason| ChangeError { change: self.to_string(), reason })
    }

    fn try_apply(&self, config: &mut Config) -> Result<(), String> {
        match self.instruction {
            Instruction::Cmd => config.set_cmd(Some(self.command()?)),
            Instruction::Entrypoint => config.set_entrypoint(Some(self.command()?)),
            Instruction::Env => return self.set_env(config),
            Instruction::Expose => return self.expose(config),
            Instruction::Label => return self.set_labels(config),
            Instruction::StopSignal => config.set_stop_signal(Some(self.stop_signal(config)?)),
            Instruction::User => config.set_user(Some(self.value(config)?)),
            Instruction::Volume => return self.add_volumes(config),
            Instruction::WorkDir => config.set_working_dir(Some(self.working_directory(config)?)),
        };
        Ok(())
    }

    fn command(&self) -> Result<Vec<String>, String> {
        let shell = || ["/bin/sh", "-c", &self.arguments].map(str::to_owned).to_vec();
        Ok(json_strings(&self.arguments)?.unwrap_or_else(shell))
    }

    /// The whole rest of the line as one value that may not be empty.
    fn value(&self, config: &Config) -> Result<String, String> {
        let value = expand(&self.arguments, &variables(config))?;
        if value.is_empty() { Err("the value is empty".to_owned()) } else { Ok(value) }
    }

    fn set_env(&self, config: &mut Config) -> Result<(), String> {
        let mut env = config.env().clone().unwrap_or_default();
        for (name, value) in self.pairs(config)? {
            let assignment = format!("{name}={value}");
            let same = |old: &&mut String| old.split_once('=').is_some_and(|(known, _)| known == name);
            match env.iter_mut().find(same) {
                Some(old) => *old = assignment,
                None => env.push(assignment),
            }
        }
        config.set_env(Some(env));
        Ok(())
    }

    fn set_labels(&self, config: &mut Config) -> Result<(), String> {
        let mut labels = config.labels().clone().unwrap_or_default();
        labels.extend(self.pairs(config)?);
        config.set_labels(Some(labels));
        Ok(())
    }

    /// `name=value name="a value"`, or the old form `name value to the end`.
    fn pairs(&self, config: &Config) -> Result<Vec<(String, String)>, String> {
        let words = split(&self.arguments);
        let old_form = words.first().is_some_and(|first| !first.contains('='));
        let pairs: Vec<(&str, &str)> = if old_form {
            vec![self.arguments.split_once(char::is_whitespace).ok_or("a name needs a value")?]
        } else {
            words.into_iter().map(split_pair).collect::<Result<_, _>>()?
        };
        let variables = variables(config);
        let mut size = 0;
        let expanded = pairs.into_iter().map(|(name, value)| {
            let pair = expand_pair(name, value.trim_start(), &variables)?;
            size += pair.0.len() + pair.1.len();
            if size > RESULT_LIMIT { Err(too_long()) } else { Ok(pair) }
        });
        expanded.collect()
    }

    fn expose(&self, config: &mut Config) -> Result<(), String> {
        let mut ports: BTreeSet<String> = config.exposed_ports().iter().flatten().cloned().collect();
        let arguments = expand(&self.arguments, &variables(config))?;
        for specification in arguments.split_whitespace() {
            ports.extend(exposed_ports(specification)?);
        }
        config.set_exposed_ports(Some(ports.into_iter().collect()));
        Ok(())
    }

    fn add_volumes(&self, config: &mut Config) -> Result<(), String> {
        let variables = variables(config);
        let words = match json_strings(&self.arguments)? {
            Some(words) => words,
            None => self.arguments.split_whitespace().map(str::to_owned).collect(),
        };
        let mut volumes: BTreeSet<String> = config.volumes().iter().flatten().cloned().collect();
        for word in words {
            let path = expand(&word, &variables)?;
            if path.trim().is_empty() {
                return Err("a volume's path is empty".to_owned());
            }
            volumes.insert(path);
        }
        config.set_volumes(Some(volumes.into_iter().collect()));
        Ok(())
    }

    fn stop_signal(&self, config: &Config) -> Result<String, String> {
        let name = self.value(config)?;
        signal::parse(&name).map(|_| name.clone()).ok_or_else(|| format!("there is no signal `{name}`"))
    }

    /// A relative path continues the directory that was set before.
    fn working_directory(&self, config: &Config) -> Result<String, String> {
        let path = self.value(config)?;
        let before = config.working_dir().as_deref().unwrap_or("/");
        Ok(clean(&if path.starts_with('/') { path } else { format!("{before}/{path}") }))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Instruction::ALL.iter().find(|(_, instruction)| *instruction == self.instruction);
        write!(f, "{} {}", named.map_or("", |(name, _)| name), self.arguments)
    }
}

/// The environment set so far.
fn variables(config: &Config) -> BTreeMap<String, String> {
    let pairs = config.env().iter().flatten().filter_map(|assignment| assignment.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn too_long() -> String {
    format!("with its variables it is longer than {RESULT_LIMIT} bytes")
}

fn split_pair(word: &str) -> Result<(&str, &str), String> {
    word.split_once('=').ok_or_else(|| format!("`{word}` is not of the form name=value"))
}

fn expand_pair(
    name: &str,
    value: &str,
    variables: &BTreeMap<String, String>,
) -> Result<(String, String), String> {
    let name = expand(name, variables)?;
    if name.is_empty() {
        return Err("a name is empty".to_owned());
    }
    Ok((name, expand(value, variables)?))
}

/// The strings of a JSON array; `None` where the text is no JSON array at all.
fn json_strings(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(string) => Ok(string),
        other => Err(format!("`{other}` in the array is not a string")),
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// `80`, `80/udp` or `8000-8010/tcp`, as one `port/protocol` a port.
fn exposed_ports(specification: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = specification.split_once('/').unwrap_or((specification, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("the protocol of `{specification}` is none of tcp, udp, sctp"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(format!("`{specification}` is not a port, or a range of ports, from 1 to 65535")),
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the range `{specification}` ends before it begins"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Resolves `.`, `..` and empty components of an absolute path by their text alone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> Config {
        let mut config = Config::default();
        for change in changes {
            let change: Change = change.parse().unwrap_or_else(|error| panic!("{error}"));
            change.apply(&mut config).unwrap_or_else(|error| panic!("{error}"));
        }
        config
    }

    fn strings(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn commands_in_both_forms() {
        let config = applied(&[r#"CMD ["python3", "-m", "flask"]"#, "entrypoint exec  top -b"]);
        assert_eq!(*config.cmd(), strings(&["python3", "-m", "flask"]));
        assert_eq!(*config.entrypoint(), strings(&["/bin/sh", "-c", "exec  top -b"]));
        assert_eq!(*applied(&["CMD []"]).cmd(), strings(&[]));
        assert_eq!(*applied(&["CMD [ -f x ] && ls"]).cmd(), strings(&["/bin/sh", "-c", "[ -f x ] && ls"]));
        assert_eq!(*applied(&["CMD echo $HOME"]).cmd(), strings(&["/bin/sh", "-c", "echo $HOME"]));
    }

    #[test]
    fn environment_in_both_forms_and_with_variables() {
        let config = applied(&[
            "ENV A=1 B='two words' C=x\\ y D=\"q\\\"q\"",
            "ENV OLD a value  to the end",
            "ENV A=${A}2 E=$B",
            "ENV EMPTY=",
        ]);
        let expected =
            ["A=12", "B=two words", "C=x y", "D=q\"q", "OLD=a value  to the end", "E=two words", "EMPTY="];
        assert_eq!(*config.env(), strings(&expected));
    }

    #[test]
    fn variables_of_one_line_are_those_before_it() {
        assert_eq!(*applied(&["ENV A=1", "ENV A=2 B=$A"]).env(), strings(&["A=2", "B=1"]));
    }

    #[test]
    fn labels_ports_volumes() {
        let config = applied(&[
            "LABEL org.example=\"a b\" x=y",
            "LABEL x z",
            "ENV P=90",
            "EXPOSE 80 $P/udp 8000-8002/TCP",
            "EXPOSE 80/tcp",
            "VOLUME /b /a",
            r#"VOLUME ["/with space", "/a"]"#,
        ]);
        let labels = config.labels().clone().expect("labels");
        assert_eq!(labels["org.example"], "a b");
        assert_eq!(labels["x"], "z");
        let mut ports = config.exposed_ports().clone().expect("ports");
        ports.sort();
        assert_eq!(ports, ["80/tcp", "8000/tcp", "8001/tcp", "8002/tcp", "90/udp"]);
        assert_eq!(*config.volumes(), strings(&["/a", "/b", "/with space"]));
    }

    #[test]
    fn single_values() {
        let config =
            applied(&["USER app:app", "STOPSIGNAL SIGRTMIN+3", "WORKDIR /srv", "WORKDIR a/../b/./c"]);
        assert_eq!(config.user().as_deref(), Some("app:app"));
        assert_eq!(config.stop_signal().as_deref(), Some("SIGRTMIN+3"));
        assert_eq!(config.working_dir().as_deref(), Some("/srv/b/c"));
        assert_eq!(applied(&["WORKDIR ../.."]).working_dir().as_deref(), Some("/"));
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (text, reason) in [
            ("", "empty"),
            ("FROM scratch", "`FROM` is none of CMD"),
            ("RUN ls", "`RUN`"),
            ("HEALTHCHECK NONE", "HEALTHCHECK is not supported"),
            ("onbuild RUN x", "ONBUILD is not supported"),
            ("CMD", "CMD needs an argument"),
            ("CMD [1]", "`1` in the array"),
            ("ENV A", "needs a value"),
            ("ENV A=1 B", "`B` is not of the form"),
            ("ENV =1", "name is empty"),
            ("ENV A='x", "single quote"),
            ("EXPOSE 0", "`0`"),
            ("EXPOSE 80/icmp", "80/icmp"),
            ("EXPOSE 9-8", "ends before"),
            ("EXPOSE 80:80", "80:80"),
            ("EXPOSE +80", "+80"),
            ("STOPSIGNAL NOPE", "NOPE"),
            ("VOLUME [\"\"]", "empty"),
            ("WORKDIR ''", "empty"),
        ] {
            let error = text.parse::<Change>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.starts_with("invalid change `"), "{error}");
        }
        assert!("x".repeat(LENGTH_LIMIT + 1).parse::<Change>().is_err());
    }

    #[test]
    fn what_depends_on_variables_is_refused_when_applied() {
        let change: Change = "EXPOSE $PORT/udp".parse().expect("may be right");
        let mut config = applied(&["EXPOSE 1"]);
        let error = change.apply(&mut config).expect_err("no such variable");
        assert!(error.to_string().contains("`/udp` is not a port"), "{error}");
        assert_eq!(*config.exposed_ports(), strings(&["1/tcp"]));
        "ENV PORT=53".parse::<Change>().expect("right").apply(&mut config).expect("right");
        change.apply(&mut config).expect("right");
    }
}
