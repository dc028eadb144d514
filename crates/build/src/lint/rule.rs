//! The rules: their names are BuildKit's, so that what is written in Dockerfiles to skip them counts here as well.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`description` says what each means")]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JsonArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

use Rule::*;

/// Every rule, with its name and what it means.
const RULES: [(Rule, &str, &str); 21] = [
    (
        ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "Write all instructions in capitals, or all in small letters",
    ),
    (CopyIgnoredFile, "CopyIgnoredFile", "What the ignore file leaves out cannot be copied"),
    (DuplicateStageName, "DuplicateStageName", "Two stages should not have the same name"),
    (
        ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "EXPOSE names ports of the image only: addresses and ports of the host belong to run",
    ),
    (ExposeProtoCasing, "ExposeProtoCasing", "Write the protocol of EXPOSE in small letters"),
    (FromAsCasing, "FromAsCasing", "Write AS as FROM is written, in capitals or in small letters"),
    (
        FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "A constant platform in FROM takes the choice from whoever builds",
    ),
    (
        InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "FROM should name an image also where whoever builds sets no argument",
    ),
    (
        InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "A comment above a stage or an argument should begin with its name; a comment line that says nothing sets others apart",
    ),
    (
        JsonArgsRecommended,
        "JSONArgsRecommended",
        "Write CMD and ENTRYPOINT as JSON arrays: a shell in between keeps signals from the program",
    ),
    (LegacyKeyValueFormat, "LegacyKeyValueFormat", "Write name=value: the form without `=` is an old one"),
    (MaintainerDeprecated, "MaintainerDeprecated", "MAINTAINER is given up: use a label"),
    (
        MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "Of CMD, ENTRYPOINT and HEALTHCHECK only the last one of a stage counts",
    ),
    (NoEmptyContinuation, "NoEmptyContinuation", "A blank line in an instruction will be an error one day"),
    (
        RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "The platform that is built for is what FROM takes anyway",
    ),
    (ReservedStageName, "ReservedStageName", "`scratch` and `context` have a meaning of their own"),
    (
        SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "ARG and ENV stay readable in the image: give secrets with RUN --mount=type=secret",
    ),
    (StageNameCasing, "StageNameCasing", "Write names of stages in small letters"),
    (UndefinedArgInFrom, "UndefinedArgInFrom", "FROM knows only variables of ARG above the first FROM"),
    (UndefinedVar, "UndefinedVar", "A variable should be defined before it is used"),
    (
        WorkdirRelativePath,
        "WorkdirRelativePath",
        "A relative WORKDIR depends on the base image until an absolute one is given",
    ),
];

impl Rule {
    /// All rules, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        RULES.iter().map(|(rule, ..)| *rule)
    }

    fn row(self) -> (&'static str, &'static str) {
        let row = RULES.iter().find(|(rule, ..)| *rule == self);
        row.map_or(("", ""), |(_, name, description)| (name, description))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// What it means, in a sentence.
    pub fn description(self) -> &'static str {
        self.row().1
    }

    /// Whether it counts only where somebody asks for it.
    pub fn is_experimental(self) -> bool {
        self == InvalidDefinitionDescription
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_row_in_order() {
        assert!(Rule::all().is_sorted() && Rule::all().all(|rule| !rule.description().is_empty()));
        assert!(Rule::all().map(Rule::name).is_sorted_by_key(str::to_lowercase));
        assert_eq!(Rule::all().filter(|rule| rule.is_experimental()).count(), 1);
    }
}
