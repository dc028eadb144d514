//! `holm pull` and `push` over TLS: whose certificates are taken, and what is said where one is not.

use std::path::Path;

use holm_tests::Holm;

use super::names::{call, certify, named, rules};
use holm_tests::server::Server;

/// A server that speaks TLS with a certificate that nobody knows, and the file of who vouches for it.
fn secured(directory: &Path) -> (Server, String) {
    let files = certify(directory);
    let server = Server::with(&["--tls-cert", &files.certificate, "--tls-key", &files.key]);
    (server, files.authority)
}

#[test]
fn an_unknown_certificate_is_refused_unless_it_is_vouched_for() {
    let (holm, directory) = (Holm::new(), tempfile::tempdir().expect("a temporary directory"));
    let (server, certificate) = secured(directory.path());
    let registry = named(server.address());
    let name = format!("{registry}/team/base:v1");
    holm.ok(["tag", "base", &name]);
    for words in [&["push", "-q", &name][..], &["pull", "-q", &name], &["search", &registry]] {
        let text = call(&holm, words).run().refused(1, &[&registry, "certificate"]);
        assert!(text.contains("\nhint: in registries.toml, `ca` names"), "{text}");
    }
    assert!(!server.log().contains("POST"), "nothing was sent: {}", server.log());

    for rule in [format!("ca = \"{certificate}\""), "insecure = true".to_owned()] {
        rules(&holm, &format!("[registry.\"{registry}\"]\n{rule}\n"));
        call(&holm, &["push", "-q", &name]).run().ok();
        call(&holm, &["pull", "-q", &name]).run().ok();
    }
    rules(&holm, "");
    call(&holm, &["pull", "-q", &name]).env("SSL_CERT_FILE", &certificate).run().ok();
    call(&holm, &["pull", "-q", &name]).run().refused(1, &[&registry, "certificate"]);
}

#[test]
fn a_certificate_for_another_name_is_none_for_this_one() {
    let (holm, directory) = (Holm::bare(), tempfile::tempdir().expect("a temporary directory"));
    let (server, certificate) = secured(directory.path());
    let port = server.address().rsplit(':').next().expect("a port").to_owned();
    // The certificate is for 127.0.0.1 and for another name.
    let registry = format!("localhost:{port}");
    rules(&holm, &format!("[registry.\"{registry}\"]\nca = \"{certificate}\"\n"));
    let name = format!("{registry}/team/base:v1");
    let text = call(&holm, &["pull", "-q", &name]).run().refused(1, &[&registry]);
    assert!(text.contains("certificate"), "{text}");
}

#[test]
fn a_registry_of_this_machine_that_speaks_tls_is_not_asked_in_the_open() {
    let (holm, directory) = (Holm::new(), tempfile::tempdir().expect("a temporary directory"));
    let (server, certificate) = secured(directory.path());
    let name = format!("{}/team/base:v1", server.address());
    holm.ok(["tag", "base", &name]);
    let text = call(&holm, &["push", "-q", &name]).run().refused(1, &[server.address()]);
    assert!(text.contains("certificate") && text.contains("registries.toml"), "{text}");
    rules(&holm, &format!("[registry.\"{}\"]\nca = \"{certificate}\"\n", server.address()));
    call(&holm, &["push", "-q", &name]).run().ok();
}

#[test]
fn files_of_certificates_that_cannot_be_used_are_named() {
    let (holm, directory) = (Holm::bare(), tempfile::tempdir().expect("a temporary directory"));
    let (server, certificate) = secured(directory.path());
    let registry = named(server.address());
    let name = format!("{registry}/team/base:v1");
    let key = directory.path().join("key.pem").display().to_string();
    let rubbish = holm.file("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for file in ["/no/such/file.pem", &key, "/dev/null", &rubbish] {
        rules(&holm, &format!("[registry.\"{registry}\"]\nca = \"{file}\"\n"));
        call(&holm, &["pull", "-q", &name]).run().refused(1, &[]);
    }
    rules(&holm, &format!("[registry.\"{registry}\"]\nca = \"{certificate}\"\n"));
    call(&holm, &["pull", "-q", &name]).run().refused(1, &[&registry, "404"]);
}

#[test]
fn plain_http_is_for_this_machine_and_where_it_is_allowed() {
    let (holm, server) = (Holm::new(), Server::start());
    let registry = named(server.address());
    let name = format!("{registry}/team/base:v1");
    holm.ok(["tag", "base", &name]);
    let text = call(&holm, &["push", "-q", &name]).run().refused(1, &[&registry]);
    assert!(text.contains("does not speak TLS") && text.contains("hint: in registries.toml"), "{text}");
    assert!(!server.log().contains("POST"), "nothing was sent in the open: {}", server.log());
    rules(&holm, &format!("[registry.\"{registry}\"]\ninsecure = true\n"));
    call(&holm, &["push", "-q", &name]).run().ok();
    call(&holm, &["pull", "-q", &name]).run().ok();
}
