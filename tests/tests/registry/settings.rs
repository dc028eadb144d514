//! What a server is started with: refused by name, or followed.

use std::path::Path;
use std::process::Command;

use holm_tests::server::{Server, Setup, command};
use holm_tests::{Call, Outcome};

fn refused(storage: &Path, flags: &[&str]) -> Outcome {
    Call::new(command(&Setup { storage, flags, environment: &[] })).run()
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let file = |name: &str, text: &str| {
        std::fs::write(path(name), text).expect("written");
        path(name)
    };
    let storage = directory.path().join("s");
    let (md5, users) = (file("md5", "# x\nalice:$apr1$x$y\n"), file("users", ""));
    let rights = file("rights", "alice * fly\n");
    for (flags, words) in [
        (vec!["--htpasswd", &md5], vec![md5.as_str(), "line 2", "alice", "bcrypt"]),
        (vec!["--access", &rights], vec![rights.as_str(), "line 1", "fly"]),
        (vec!["--htpasswd", "/none"], vec!["/none"]),
        (vec!["--addr", "0.0.0.0:0", "--htpasswd", &users], vec!["plain HTTP", "--insecure-passwords"]),
        (vec!["--tls-cert", &users, "--tls-key", &users], vec!["certificate", &users]),
        (vec!["--addr", "198.51.100.1:0"], vec!["198.51.100.1"]),
    ] {
        refused(&storage, &flags).refused(1, &words);
    }
    refused(&storage, &["--tls-cert", &users]).refused(125, &["--tls-key"]);
    refused(&storage, &["--addr", "x"]).refused(125, &["--addr"]);
    refused(&storage, &["--upload-age", "long"]).refused(125, &["--upload-age"]);
    refused(directory.path(), &[]).refused(1, &["not empty"]);
}

#[test]
fn one_storage_has_one_server_or_many_readers() {
    let server = Server::start();
    server.client().push_image("app", "v1", b"{}");
    let path = server.storage().display().to_string();
    refused(server.storage(), &[]).refused(1, &[&path, "another registry"]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copied = directory.path().join("s");
    // A copy of the files is a backup.
    let status = Command::new("cp").arg("-a").arg(server.storage()).arg(&copied).status().expect("cp");
    assert!(status.success());
    let reader = |storage| Server::of(&Setup { storage, flags: &["--read-only"], environment: &[] });
    for server in [reader(&copied), reader(&copied)] {
        let mut client = server.client();
        client.get("/v2/app/manifests/v1").is(200, "");
        client.post("/v2/app/blobs/uploads/").is(405, "UNSUPPORTED");
        client.delete("/v2/app/manifests/v1").is(405, "UNSUPPORTED");
    }
}

#[test]
fn requests_are_logged_unless_that_is_not_wanted() {
    let (loud, quiet) = (Server::start(), Server::with(&["--quiet"]));
    for server in [&loud, &quiet] {
        server.client().get("/v2/none/tags/list?last=x").is(404, "NAME_UNKNOWN");
    }
    holm_tests::eventually("there is a line", || loud.log().contains(" GET \"/v2/none/tags/list\" 404 "));
    assert!(!quiet.log().contains("tags/list"));
}
