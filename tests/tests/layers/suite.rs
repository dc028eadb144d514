//! The suite: each case is unpacked by `umoci` and mounted by Holm, and both are compared.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holm_tests::{Call, Holm, OciImage, Origin};

use super::expected::Case;
use super::tree::{self, Tree};
use super::{cases, debian, odd};

/// What `umoci` unpacks of an image.
fn unpacked(image: &OciImage, name: &str, directory: &Path) -> Result<Tree, String> {
    let (layout, root) = (directory.join("layout"), directory.join("unpacked"));
    image.write_layout(&layout, name);
    let mut command = Command::new("umoci");
    command.args(["raw", "unpack", "--image"]).arg(format!("{}:{name}", layout.display())).arg(&root);
    let outcome = Call::new(command).timeout(Duration::from_secs(120)).run();
    if outcome.status.success() { Ok(tree::list(&root)) } else { Err(outcome.to_string()) }
}

/// What layers are mounted from.
const FORMS: [&str; 2] = ["directories", "images"];

/// What Holm mounts of it, in each form.
fn mounted(holm: &Holm, image: OciImage, name: &str) -> Result<[Tree; 2], String> {
    let origin = Origin::of(image);
    let name = format!("{}/{name}", origin.address);
    let outcome = holm.call(["pull", "-q", &name]).timeout(Duration::from_secs(120)).run();
    if !outcome.status.success() {
        return Err(outcome.to_string());
    }
    let trees = FORMS.map(|form| {
        let mount = holm.call(["image", "mount", &name]).env("HOLM_STORE_MOUNT", form);
        let directory = mount.timeout(Duration::from_secs(120)).run().ok();
        let tree = tree::list(Path::new(directory.trim()));
        if form == "directories" {
            let checked = holm.call(["system", "check"]).timeout(Duration::from_secs(120)).run();
            assert!(checked.status.success(), "{checked}");
        }
        holm.ok(["image", "unmount", &name]);
        tree
    });
    holm.ok(["rmi", &name]);
    Ok(trees)
}

/// What is wrong with a case, if anything is.
fn failure(holm: &Holm, case: &Case) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let image = OciImage::plain(&case.layers);
    let expected = match unpacked(&image, case.name, directory.path()) {
        Ok(tree) => case.expected(tree),
        Err(text) => return Some(format!("{}: umoci: {text}", case.name)),
    };
    match mounted(holm, image, case.name) {
        Err(text) => Some(format!("{}: {text}", case.name)),
        Ok(found) => found.into_iter().zip(FORMS).find_map(|(mut found, form)| {
            found.remove(".");
            let differences = compare(&expected, &found);
            (!differences.is_empty())
                .then(|| format!("{} ({form}):\n{}  ({})", case.name, differences, case.reasons()))
        }),
    }
}

/// A line for each entry that is not as expected, the first twenty.
fn compare(expected: &Tree, found: &Tree) -> String {
    let paths: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let none = "nothing".to_owned();
    let line = |path: &&String| {
        let (wanted, is) = (expected.get(*path).unwrap_or(&none), found.get(*path).unwrap_or(&none));
        (wanted != is).then(|| format!("  {path}\n    expected {wanted}\n    found    {is}\n"))
    };
    paths.iter().filter_map(line).take(20).collect()
}

#[track_caller]
fn run(cases: Vec<Case>) {
    let holm = Holm::bare();
    let failures: Vec<_> = cases.iter().filter_map(|case| failure(&holm, case)).collect();
    assert!(failures.is_empty(), "{} of {}\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn what_is_removed() {
    run(cases::removed());
    run(cases::removed_in_several_layers());
}

#[test]
fn what_is_replaced() {
    run(cases::replaced());
}

#[test]
fn what_is_linked() {
    run(cases::linked());
}

#[test]
fn what_is_left_out() {
    run(cases::left_out());
}

#[test]
fn what_is_known_of_a_file() {
    run(odd::metadata());
}

#[test]
fn names() {
    run(odd::names());
}

#[test]
fn sparse_files() {
    run(odd::sparse());
}

#[test]
#[ignore = "makes a Debian with mmdebstrap: cargo xtask test --slow"]
fn debians_own() {
    run(debian::cases());
}

#[test]
#[ignore = "takes a minute, most of it umoci's: cargo xtask test --slow"]
fn a_hundred_thousand_names_in_a_folder() {
    run(odd::many());
}
