//! What `holm build` sends to a registry, and what it takes from one.

use std::fs;

use holm_tests::Holm;
use serde_json::Value;

use super::server::Server;

const DOCKERFILE: &str = "FROM base\nRUN echo one >/one\nCOPY file /two\nRUN cat /one /two >/three\n";

/// An installation with a context.
pub(super) struct Site {
    pub(super) holm: Holm,
}

impl Site {
    pub(super) fn new(dockerfile: &str) -> Self {
        let site = Self { holm: Holm::new() };
        let context = site.holm.scratch("context");
        fs::create_dir_all(&context).expect("a directory");
        fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
        fs::write(context.join("file"), "two").expect("a file");
        site
    }

    #[track_caller]
    pub(super) fn build(&self, flags: &[&str]) -> String {
        let context = self.holm.scratch("context").to_string_lossy().into_owned();
        let outcome = self.holm.run([&["build"], flags, &[&context]].concat());
        outcome.expect_code(0);
        outcome.err()
    }
}

#[test]
fn all_names_are_pushed() {
    let (server, site, there) = (Server::start(), Site::new(DOCKERFILE), Holm::empty());
    let [first, second] = ["team/app:1", "other:2"].map(|name| format!("{}/{name}", server.address()));
    let metadata = site.holm.scratch("metadata.json");
    let said =
        site.build(&["-t", &first, "-t", &second, "--push", "--metadata-file", &metadata.to_string_lossy()]);
    assert!(said.contains("The push refers to repository") && said.contains(": Pushed"), "{said}");
    let told: Value = serde_json::from_slice(&fs::read(&metadata).expect("a file")).expect("JSON");
    let digest = told["containerimage.digest"].as_str().expect("a digest");
    for name in [&first, &second] {
        there.ok(["pull", "-q", name]);
        let known = there.ok(["image", "inspect", name, "-f", "{{index .RepoDigests 0}}"]);
        assert!(known.ends_with(digest), "{known}");
        assert_eq!(there.ok(["run", "--rm", "--network", "none", name, "cat", "/three"]), "one\ntwo");
    }
    assert_eq!(told["containerimage.config.digest"], there.ok(["images", "-q", "--no-trunc", &first]));
}
