//! Any text as a Dockerfile: reading, expanding, planning and checking it ends, and does not panic.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use holm_build::Dockerfile;
use holm_build::dockerfile::Command;
use holm_build::lint::{Base, Settings, Surroundings, check};
use holm_build::platform::Platform;
use holm_build::variables::Given;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = Dockerfile::parse_far("Dockerfile", bytes);
    if let Some(error) = &parsed.error {
        assert!(error.to_string().starts_with("Dockerfile:"));
    }
    for instruction in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        assert!(instruction.span.start.line <= instruction.span.last_line);
        match &instruction.command {
            Command::Run(run) => drop(run.program()),
            Command::Onbuild(trigger) => drop(Dockerfile::trigger(&trigger.expression)),
            _ => {}
        }
    }
    let platform = Platform { os: "linux".to_owned(), ..Platform::host() };
    let arguments =
        BTreeMap::from([("a".to_owned(), "$a${b}*x".to_owned()), ("b".to_owned(), "y".repeat(100))]);
    let given = Given { arguments, build: platform.clone(), target: platform, stage: None };
    let environment = || vec![("PATH".to_owned(), "/bin".to_owned()), ("e".to_owned(), "\n*?".to_owned())];
    let surroundings = Surroundings {
        given,
        contexts: BTreeSet::new(),
        settings: Settings::parse("experimental=all").ok(),
        ignore: None,
        base: &|_, _| Some(Base { environment: environment(), has_shell: false }),
    };
    let lines = parsed.dockerfile.source.len().max(1);
    let report = check(parsed, &surroundings);
    assert!(report.warnings.iter().all(|warning| warning.last_line <= lines));
});
