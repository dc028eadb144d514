//! What `holm build` sends to a registry, and what it takes from one.

use std::fs;
use std::time::SystemTime;

use holm_tests::Holm;
use holm_tests::server::Server;
use serde_json::Value;

const DOCKERFILE: &str = "FROM base\nRUN echo one >/one\nCOPY file /two\nRUN cat /one /two >/three\n";

/// An installation with a context.
struct Site {
    holm: Holm,
}

impl Site {
    fn new(dockerfile: &str) -> Self {
        Self::of(Holm::new(), dockerfile)
    }

    /// Another installation that has the same base image, from a registry, and the same files, written at another time.
    fn elsewhere(&self, server: &Server, dockerfile: &str) -> Self {
        let (base, holm) = (format!("{}/base", server.address()), Holm::empty());
        self.holm.ok(["tag", "base", &base]);
        self.holm.ok(["push", "-q", &base]);
        holm.ok(["pull", "-q", &base]);
        holm.ok(["tag", &base, "base"]);
        let site = Self::of(holm, dockerfile);
        let file = fs::File::options().write(true).open(site.holm.scratch("context/file")).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("a time of the test's");
        site
    }

    fn of(holm: Holm, dockerfile: &str) -> Self {
        let site = Self { holm };
        let context = site.holm.scratch("context");
        fs::create_dir_all(&context).expect("a directory");
        fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
        fs::write(context.join("file"), "two").expect("a file");
        site
    }

    #[track_caller]
    fn build(&self, flags: &[&str]) -> String {
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

/// What a build says of its steps: how many were made, how many were there.
fn steps(said: &str) -> &str {
    said.lines()
        .find_map(|line| line.strip_prefix("built ")?.split_once(": "))
        .map_or(said, |(_, steps)| steps)
}

/// The random part makes sure that a layer that is the same was not made anew.
const RANDOM: &str = "FROM base AS tools\nRUN cat /proc/sys/kernel/random/uuid >/tool\n\
    FROM base\nRUN cat /proc/sys/kernel/random/uuid >/one\nCOPY --from=tools /tool /tool\nCOPY file /two\n\
    RUN --mount=type=bind,source=file,target=/bound cat /one /two /bound >/three\n";

#[test]
fn steps_come_to_other_machines() {
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path().join("cache").to_string_lossy().into_owned();
    let name = format!("{}/cache:app", server.address());
    let here = Site::new(RANDOM);
    let said = here.build(&[
        "-t",
        "app",
        "--cache-to",
        &format!("type=registry,ref={name},mode=max"),
        "--cache-to",
        &format!("type=local,dest={directory},mode=max,compression=zstd"),
    ]);
    assert_eq!(steps(&said), "5 steps made, 0 cached");
    let id = here.holm.ok(["images", "-q", "--no-trunc", "app"]);
    for from in [name.clone(), format!("type=local,src={directory}")] {
        let there = here.elsewhere(&server, RANDOM);
        let said = there.build(&["-t", "app", "--cache-from", &from]);
        assert_eq!(steps(&said), "0 steps made, 5 cached", "{said}");
        assert_eq!(there.holm.ok(["images", "-q", "--no-trunc", "app"]), id);
        assert_eq!(steps(&there.build(&[])), "0 steps made, 5 cached", "they are here now");
        let sums = "cat /one /tool /two /three";
        let run = |site: &Site| site.holm.ok(["run", "--rm", "--network", "none", "app", "sh", "-c", sums]);
        assert_eq!(run(&there), run(&here));
        // What changes is made, and what is below it comes.
        let changed = Site::new(&RANDOM.replace("/one /two", "/two /one"));
        assert_eq!(steps(&changed.build(&["--cache-from", &from])), "1 step made, 4 cached");
    }
    // With the steps of the last stage alone, what is copied from another one is another.
    let few = format!("{}/cache:few", server.address());
    here.build(&["--cache-to", &format!("type=registry,ref={few}")]);
    assert_eq!(steps(&Site::new(RANDOM).build(&["--cache-from", &few])), "4 steps made, 1 cached");
}

#[test]
fn steps_come_with_an_image() {
    let (server, here) = (Server::start(), Site::new(DOCKERFILE));
    let there = here.elsewhere(&server, DOCKERFILE);
    let name = format!("{}/app:1", server.address());
    here.build(&["-t", "plain"]);
    let said = here.build(&["-t", &name, "--push", "--cache-to", "type=inline"]);
    assert_eq!(steps(&said), "0 steps made, 3 cached");
    let id = |site: &Site, name: &str| site.holm.ok(["images", "-q", "--no-trunc", name]);
    assert_eq!(id(&here, &name), id(&here, "plain"), "a cache that goes along is no part of the image");
    assert_eq!(steps(&there.build(&["-t", "app", "--cache-from", &name])), "0 steps made, 3 cached");
    assert_eq!(id(&there, "app"), id(&here, "plain"));
}

#[test]
fn a_cache_that_is_no_good_is_told_and_does_without() {
    let (server, here) = (Server::start(), Site::new(DOCKERFILE));
    let directory = here.holm.scratch("cache");
    let (to, from) = (
        format!("type=local,dest={}", directory.display()),
        format!("type=local,src={}", directory.display()),
    );
    let absent = format!("{}/no/such:cache", server.address());
    let said = here.build(&["--cache-from", &absent, "--cache-from", &from, "--cache-to", &to]);
    assert!(
        said.contains("WARNING") && said.contains("no/such") && steps(&said) == "3 steps made, 0 cached",
        "{said}"
    );
    // A layer that is damaged is not taken.
    let blobs: Vec<_> = fs::read_dir(directory.join("blobs/sha256")).expect("blobs").flatten().collect();
    for blob in blobs.iter().map(fs::DirEntry::path) {
        let mut content = fs::read(&blob).expect("a blob");
        if content.starts_with(&[0x1f, 0x8b]) {
            let last = content.len() - 1;
            content[last] ^= 1;
            fs::write(&blob, content).expect("written");
        }
    }
    let said = Site::new(DOCKERFILE).build(&["--cache-from", &from]);
    assert_eq!(steps(&said), "3 steps made, 0 cached");
    // A cache that promises what it has not is none.
    let index: Value =
        serde_json::from_slice(&fs::read(directory.join("index.json")).expect("an index")).expect("JSON");
    let digest =
        index["manifests"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    fs::write(directory.join("blobs/sha256").join(digest), "{}").expect("written");
    let said = Site::new(DOCKERFILE).build(&["--cache-from", &from]);
    assert!(said.contains("WARNING") && steps(&said) == "3 steps made, 0 cached", "{said}");
    let image = here.holm.scratch("image");
    here.build(&["-o", &format!("type=oci,tar=false,dest={}", image.display()), "-t", "x:latest"]);
    let said = here.build(&["--cache-from", &format!("type=local,src={}", image.display())]);
    assert!(said.contains("neither a cache of a build nor an image with one in it"), "{said}");
}
