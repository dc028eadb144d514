//! Landlock (landlock(7)): what a process may do to files, beside who it is. An extension of the specification:
//! `process.landlock`, in the form that is proposed for it (opencontainers/runtime-spec#1241).
//!
//! ```json
//! "landlock": {
//!     "ruleset": { "handledAccessFS": ["write_file", "make_reg"] },
//!     "rules": { "pathBeneath": [{ "paths": ["/data"], "allowedAccess": ["write_file", "make_reg"] }] },
//!     "disableBestEffort": false
//! }
//! ```
//! What is handled and not allowed is forbidden. With best effort, a kernel that lacks a kind of access handles the
//! others, and one without Landlock handles none; paths that are not there are passed over.

use std::ffi::CString;

use holm_spec::runtime;
use holm_sys::landlock::version;

use crate::error::{Error, Kind, Result};
use crate::rootfs::c_string;

/// Kinds of access in the order of their bits (`LANDLOCK_ACCESS_FS_*`), and the version of the interface that each came
/// with.
const ACCESS: [(&str, u32); 16] = [
    ("execute", 1),
    ("write_file", 1),
    ("read_file", 1),
    ("read_dir", 1),
    ("remove_dir", 1),
    ("remove_file", 1),
    ("make_char", 1),
    ("make_dir", 1),
    ("make_reg", 1),
    ("make_sock", 1),
    ("make_fifo", 1),
    ("make_block", 1),
    ("make_sym", 1),
    ("refer", 2),
    ("truncate", 3),
    ("ioctl_dev", 5),
];

/// What a configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// What is forbidden unless a rule allows it.
    handled: u64,
    /// Paths, and what is allowed below each.
    rules: Vec<(CString, u64)>,
    /// Everything must hold to the letter.
    strict: bool,
}

impl Landlock {
    /// Reads what is asked for.
    ///
    /// # Errors
    /// Kinds of access that nobody knows; what is no path; a rule that allows what is not handled.
    pub fn from_oci(asked: &runtime::Landlock) -> Result<Self> {
        let at = |path: &str| format!("process.landlock.{path}");
        let handled = bits(&asked.ruleset.handled_access)
            .map_err(|error| error.at_field(at("ruleset.handledAccessFS")))?;
        let mut rules = Vec::new();
        for (index, rule) in asked.rules.path_beneath.iter().enumerate() {
            let place = at(&format!("rules.pathBeneath[{index}]"));
            let allowed = bits(&rule.allowed_access).map_err(|error| error.at_field(&place))?;
            if allowed & !handled != 0 || allowed == 0 {
                let error = Error::invalid("what is allowed must be something that is handled");
                return Err(error.at_field(place));
            }
            for path in &rule.paths {
                if !path.starts_with('/') {
                    return Err(Error::invalid(format!("`{path}` is no absolute path")).at_field(place));
                }
                rules.push((c_string(path)?, allowed));
            }
        }
        Ok(Self { handled, rules, strict: asked.disable_best_effort })
    }

    /// Fits it to the kernel; says in words what is not in force.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if all of it must hold and this kernel cannot do it.
    pub fn fit(mut self) -> Result<(Option<Self>, Option<String>)> {
        let unsupported = |what: &str| Error::new(Kind::Unsupported, what).at_field("process.landlock");
        let Ok(version) = version() else {
            let text = "this kernel has no Landlock, or it is switched off";
            return if self.strict { Err(unsupported(text)) } else { Ok((None, Some(text.to_owned()))) };
        };
        let known = known(version);
        let missing = names(self.handled & !known);
        if missing.is_empty() {
            return Ok((Some(self), None));
        }
        let text = format!("this kernel's Landlock does not know {}", missing.join(", "));
        if self.strict {
            return Err(unsupported(&text));
        }
        self.handled &= known;
        self.rules.iter_mut().for_each(|(_, allowed)| *allowed &= known);
        self.rules.retain(|(_, allowed)| *allowed != 0);
        Ok(((self.handled != 0).then_some(self), Some(text)))
    }

    /// Bits of what is handled.
    pub(crate) fn handled(&self) -> u64 {
        self.handled
    }

    /// Paths and bits of what is allowed below them.
    pub(crate) fn rules(&self) -> &[(CString, u64)] {
        &self.rules
    }

    /// A path that is not there is an error.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }
}

fn bits(names: &[String]) -> Result<u64> {
    names.iter().try_fold(0, |bits, name| {
        let found = ACCESS.iter().position(|(known, _)| known == name);
        let number =
            found.ok_or_else(|| Error::invalid(format!("`{}` is no kind of access", name.escape_debug())))?;
        Ok(bits | 1 << number)
    })
}

fn known(version: u32) -> u64 {
    let bits = ACCESS.iter().enumerate().filter(|(_, (_, since))| *since <= version);
    bits.fold(0, |bits, (number, _)| bits | 1 << number)
}

fn names(bits: u64) -> Vec<&'static str> {
    let set = ACCESS.iter().enumerate().filter(|(number, _)| bits >> number & 1 == 1);
    set.map(|(_, (name, _))| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(landlock: &str) -> Result<Landlock> {
        Landlock::from_oci(&serde_json::from_str(landlock).expect("valid"))
    }

    #[test]
    fn rules_are_bits_and_paths() {
        let text = r#"{"ruleset":{"handledAccessFS":["execute","refer"]},
            "rules":{"pathBeneath":[{"paths":["/bin","/lib"],"allowedAccess":["execute"]}]}}"#;
        let landlock = read(text).expect("valid");
        assert_eq!(landlock.handled, 1 | 1 << 13);
        assert_eq!(landlock.rules, [(c"/bin".to_owned(), 1), (c"/lib".to_owned(), 1)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str| read(text).expect_err(text).to_string();
        assert!(message(r#"{"ruleset":{"handledAccessFS":["x"]}}"#).contains("ruleset.handledAccessFS"));
        let beyond = r#"{"rules":{"pathBeneath":[{"paths":["/"],"allowedAccess":["execute"]}]}}"#;
        assert!(message(beyond).contains("rules.pathBeneath[0]"));
        let relative = r#"{"ruleset":{"handledAccessFS":["execute"]},
            "rules":{"pathBeneath":[{"paths":["bin"],"allowedAccess":["execute"]}]}}"#;
        assert!(message(relative).contains("`bin`"));
    }

    #[test]
    fn an_older_kernel_handles_less() {
        assert_eq!(names(known(1)).len(), 13);
        assert_eq!(names(known(4)).last(), Some(&"truncate"));
        assert_eq!(known(5), (1 << 16) - 1);
    }
}
