//! Which variables there are, and where.
//!
//! | where | what |
//! |---|---|
//! | `FROM` | platforms, and `ARG` in front of the first `FROM` |
//! | a stage, at its beginning | the environment of its base image; of a base stage also its `ARG` |
//! | behind `ARG name` | what the caller says, else the default, else the global of that name |
//! | behind `ENV name=…` | that |
//!
//! A later `ARG` or `ENV` of a name replaces an earlier one; `ARG` without a value leaves what is there. What makes the
//! environment of the image is another matter: `ARG` does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dockerfile::{Argument, Command, Dockerfile, Heredoc, Word};
use crate::error::{Fault, Kind, Result};
use crate::expand::{Budget, CONTENT_RULES, Expansion, expand, word_rules};
use crate::platform::Platform;

/// Names of variables of the caller's that reach `RUN` without an `ARG`, in either case: how to reach the network.
pub const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// What the caller of a build says.
#[derive(Clone, Debug)]
pub struct Given {
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// The platform that builds.
    pub build: Platform,
    /// The platform that is built for.
    pub target: Platform,
    /// `--target`.
    pub stage: Option<String>,
}

/// Variables of all `FROM`.
#[derive(Debug)]
pub struct Globals {
    values: BTreeMap<String, String>,
    declared: BTreeSet<String>,
    given: BTreeMap<String, String>,
    escape: char,
    budget: Budget,
}

impl Globals {
    /// The globals of a Dockerfile.
    ///
    /// # Errors
    /// The default of an `ARG` cannot be expanded.
    pub fn new(dockerfile: &Dockerfile, given: &Given) -> Result<Self> {
        let mut globals = Self {
            values: predefined(dockerfile, given),
            declared: BTreeSet::new(),
            given: given.arguments.clone(),
            escape: dockerfile.directives.escape,
            budget: Budget::new(Budget::FULL),
        };
        for instruction in &dockerfile.globals {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                globals.declare(argument)?;
            }
        }
        Ok(globals)
    }

    fn declare(&mut self, argument: &Argument) -> Result<()> {
        let value = match (self.given.get(&argument.name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.expand(default)?.text),
            (None, None) => None,
        };
        if let Some(value) = value {
            self.values.insert(argument.name.clone(), value);
        }
        self.declared.insert(argument.name.clone());
        Ok(())
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether it is set or declared.
    pub fn knows(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.declared.contains(name)
    }

    /// Everything that is set or declared.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.declared).map(String::as_str)
    }

    /// Expands a word of `FROM`.
    ///
    /// # Errors
    /// It cannot be read, or a variable must be set and is not.
    pub fn expand(&self, word: &Word) -> Result<Expansion> {
        let value = |name: &str| self.get(name);
        let expansion = expand(&word.text, word_rules(self.escape), &value, &self.budget);
        expansion.map_err(|reason| word.fault(Kind::Variable, reason))
    }
}

/// Platforms and the name of the target.
fn predefined(dockerfile: &Dockerfile, given: &Given) -> BTreeMap<String, String> {
    let last = dockerfile.stages.last().and_then(|stage| stage.name.as_ref()).map(|name| &name.name);
    let stage = given.stage.as_ref().or(last).map_or("default", String::as_str);
    let mut values = BTreeMap::from([("TARGETSTAGE".to_owned(), stage.to_owned())]);
    for (prefix, platform) in [("BUILD", &given.build), ("TARGET", &given.target)] {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("OSVERSION", platform.os_version.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ] {
            values.insert(format!("{prefix}{name}"), value);
        }
    }
    for (name, value) in &mut values {
        if let Some(given) = given.arguments.get(name) {
            *value = given.clone();
        }
    }
    values
}

/// Variables of a stage, at a place in it.
#[derive(Clone, Debug)]
pub struct Variables {
    globals: Arc<Globals>,
    /// Those of the stage that this one is made from, which do not change any more.
    base: Option<Arc<Variables>>,
    own: BTreeMap<String, String>,
    declared: BTreeSet<String>,
}

impl Variables {
    /// Variables of a stage whose base image has this environment.
    pub fn new(globals: Arc<Globals>, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { globals, base: None, own: environment.into_iter().collect(), declared: BTreeSet::new() }
    }

    /// Variables of a stage that is made from another one, which is whole.
    pub fn of_stage(base: Arc<Self>) -> Self {
        let globals = base.globals.clone();
        Self { globals, base: Some(base), own: BTreeMap::new(), declared: BTreeSet::new() }
    }

    /// This stage's, then its base's, and so on.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |variables| variables.base.as_deref())
    }

    /// A value.
    pub fn get(&self, name: &str) -> Option<&str> {
        // A stage of a stage of a stage …: to ask each costs, too.
        let mut asked = 0;
        let value = self.chain().inspect(|_| asked += 1).find_map(|variables| variables.own.get(name));
        self.globals.budget.spend(asked);
        value.map(String::as_str)
    }

    /// Whether an `ARG` has that name, with a value or without.
    pub fn is_declared(&self, name: &str) -> bool {
        self.chain().any(|variables| variables.declared.contains(name))
    }

    /// Everything that is set. A name may come twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.chain().flat_map(|variables| variables.own.keys()).map(String::as_str)
    }

    /// What `ENV` does.
    pub fn set(&mut self, name: &str, value: &str) {
        self.own.insert(name.to_owned(), value.to_owned());
    }

    /// What `ARG` does: the value, if there is one, and the variables that its default asked for and nobody declared.
    ///
    /// # Errors
    /// The default cannot be expanded.
    pub fn declare(&mut self, argument: &Argument) -> Result<(Option<String>, BTreeSet<String>)> {
        let name = &argument.name;
        let mut unset = BTreeSet::new();
        let value = match (self.globals.given.get(name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                let expansion = self.expand(default)?;
                unset = expansion.unset.into_iter().filter(|name| !self.is_declared(name)).collect();
                Some(expansion.text)
            }
            (None, None) => self.globals.get(name).map(str::to_owned),
        };
        if let Some(value) = &value {
            self.set(name, value);
        }
        self.declared.insert(name.clone());
        Ok((value, unset))
    }

    /// Expands an argument of an instruction.
    ///
    /// # Errors
    /// It cannot be read, or a variable must be set and is not.
    pub fn expand(&self, word: &Word) -> Result<Expansion> {
        let value = |name: &str| self.get(name);
        let expansion = expand(&word.text, word_rules(self.globals.escape), &value, &self.globals.budget);
        expansion.map_err(|reason| word.fault(Kind::Variable, reason))
    }

    /// Expands what a heredoc says, in which quotes are nothing special.
    ///
    /// # Errors
    /// As [`Variables::expand`].
    pub fn expand_content(&self, heredoc: &Heredoc) -> Result<Expansion> {
        let value = |name: &str| self.get(name);
        let expansion = expand(&heredoc.text(), CONTENT_RULES, &value, &self.globals.budget);
        expansion.map_err(|reason| {
            let message = format!("in the heredoc `{}`: {reason}", heredoc.name);
            Fault::new(Kind::Variable, heredoc.position, message)
                .hint(format!("write `<<'{}'` to keep every `$` in it", heredoc.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[(&str, &str)]) -> Given {
        let platform = |text| Platform::parse(text).expect("a platform");
        let arguments = arguments.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Given {
            arguments: arguments.collect(),
            build: platform("linux/amd64"),
            target: platform("linux/arm/v6"),
            stage: None,
        }
    }

    fn globals(text: &str, arguments: &[(&str, &str)]) -> Arc<Globals> {
        let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
        Arc::new(Globals::new(&dockerfile, &given(arguments)).expect("globals"))
    }

    fn argument(name: &str, default: Option<&str>) -> Argument {
        let word = |text: &str| Word { text: text.to_owned(), position: Default::default() };
        Argument { name: name.to_owned(), default: default.map(word) }
    }

    #[test]
    fn platforms_are_there_before_anything_is_said() {
        let globals = globals("FROM scratch AS Last", &[("TARGETOS", "plan9")]);
        for (name, value) in [
            ("BUILDPLATFORM", "linux/amd64"),
            ("TARGETPLATFORM", "linux/arm/v6"),
            ("TARGETARCH", "arm"),
            ("TARGETVARIANT", "v6"),
            ("BUILDVARIANT", ""),
            ("TARGETOS", "plan9"),
            ("TARGETSTAGE", "last"),
        ] {
            assert_eq!(globals.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn globals_build_on_each_other() {
        let text = "ARG a=1 b=$a\nARG c\nARG d=${b}2\nFROM x";
        let defaults = globals(text, &[]);
        assert_eq!((defaults.get("b"), defaults.get("c"), defaults.get("d")), (Some("1"), None, Some("12")));
        let given = globals(text, &[("a", "x"), ("c", "y"), ("e", "z")]);
        assert_eq!((given.get("d"), given.get("c"), given.get("e")), (Some("x2"), Some("y"), None));
    }

    #[test]
    fn a_stage_sees_what_it_declares() {
        let globals = globals("ARG version=1\nFROM x", &[("given", "yes")]);
        let mut stage = Variables::new(globals, [("PATH".to_owned(), "/bin".to_owned())]);
        assert_eq!((stage.get("PATH"), stage.get("version"), stage.get("given")), (Some("/bin"), None, None));
        for (argument, value) in [
            (argument("version", None), Some("1")),
            (argument("version", Some("2")), Some("2")),
            (argument("given", Some("no")), Some("yes")),
            (argument("path", Some("$PATH:/x")), Some("/bin:/x")),
            (argument("nothing", None), None),
            (argument("TARGETARCH", None), Some("arm")),
        ] {
            let (found, unset) = stage.declare(&argument).expect("a value");
            assert_eq!((found.as_deref(), unset.len()), (value, 0), "{}", argument.name);
        }
        assert!(stage.is_declared("nothing") && stage.get("nothing").is_none());
        stage.set("version", "3");
        let mut child = Variables::of_stage(Arc::new(stage));
        assert_eq!((child.get("version"), child.is_declared("given")), (Some("3"), true));
        child.set("version", "4");
        assert_eq!((child.get("version"), child.get("PATH")), (Some("4"), Some("/bin")));
    }
}
