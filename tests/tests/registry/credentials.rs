//! Who we are: credential helpers, identity tokens, and Podman's files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use holm_tests::origin::{answer, give};
use holm_tests::server::{Server, Setup};
use holm_tests::{Call, Holm, OciImage, Origin, Tarball};
use serde_json::{Value, json};

use super::clients::push_base;

/// An installation with a directory for programs in front of `PATH`, and a `config.json`.
struct User {
    holm: Holm,
    programs: PathBuf,
    docker: PathBuf,
}

impl User {
    fn new(config: &Value) -> Self {
        let holm = Holm::bare();
        let (programs, docker) = (holm.scratch("bin"), holm.scratch("docker"));
        for directory in [&programs, &docker] {
            fs::create_dir(directory).expect("a directory of the test's");
        }
        fs::write(docker.join("config.json"), config.to_string()).expect("a file of the test's");
        Self { holm, programs, docker }
    }

    /// The helper `docker-credential-<name>`: a script. `$STATE` is a directory of its own.
    fn helper(&self, name: &str, script: &str) {
        let (path, state) = (self.programs.join(format!("docker-credential-{name}")), self.state());
        fs::create_dir_all(&state).expect("a directory of the test's");
        fs::write(&path, format!("#!/bin/sh\nSTATE={}\n{script}", state.display())).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of the test's");
    }

    fn state(&self) -> PathBuf {
        self.holm.scratch("state")
    }

    fn call(&self, words: &[&str]) -> Call {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH").expect("a path"));
        let home = self.holm.scratch("home").display().to_string();
        let call = self.holm.call(words).env("PATH", &path).env("HOME", &home);
        call.env("DOCKER_CONFIG", self.docker.to_str().expect("text"))
    }

    fn config(&self) -> Value {
        let text = fs::read(self.docker.join("config.json")).expect("it is there");
        serde_json::from_slice(&text).expect("JSON")
    }
}

/// Keeps what it is given in one file, and writes down what it was asked for.
const KEEPS: &str = r#"
echo "$1" >> "$STATE/verbs"
case "$1" in
store) cat > "$STATE/kept" ;;
get) cat > "$STATE/asked"; [ -e "$STATE/kept" ] || { echo "credentials not found in native keychain"; exit 1; }
    cat "$STATE/kept" ;;
erase) cat > "$STATE/erased"; rm -f "$STATE/kept" ;;
esac
"#;

/// A server with a user and an image.
fn server(holm: &Holm) -> Server {
    let storage = holm.scratch("storage");
    let plain = Server::of(&Setup { storage: &storage, flags: &[], environment: &[] });
    push_base(&plain, "team/app", "v1");
    drop(plain);
    let users = holm.file("users", super::access::USERS);
    Server::of(&Setup { storage: &storage, flags: &["--htpasswd", &users], environment: &[] })
}

#[test]
fn a_helper_keeps_what_login_was_told() {
    for of_one in [false, true] {
        let user = User::new(&json!({}));
        user.helper("test", KEEPS);
        let server = server(&user.holm);
        let config = match of_one {
            true => json!({"credHelpers": {server.address(): "test"}}),
            false => json!({"credsStore": "test"}),
        };
        fs::write(user.docker.join("config.json"), config.to_string()).expect("a file of the test's");
        let name = format!("{}/team/app:v1", server.address());
        let pull = || user.call(&["pull", "-q", &name]).run();
        pull().refused(1, &["user name and a password"]);
        let login = |password: &str| {
            let words = ["login", "-u", "alice", "--password-stdin", server.address()];
            user.call(&words).stdin(password).run()
        };
        login("wrong").refused(1, &[server.address()]);
        assert!(!user.state().join("kept").exists(), "what is wrong is not kept");
        assert_eq!(login("secret").ok(), "Login Succeeded");
        let kept: Value =
            serde_json::from_slice(&fs::read(user.state().join("kept")).expect("kept")).expect("JSON");
        assert_eq!(kept, json!({"ServerURL": server.address(), "Username": "alice", "Secret": "secret"}));
        assert!(!user.config().to_string().contains("c2VjcmV0"), "not in the file: {}", user.config());
        pull().ok();
        let read = |name: &str| fs::read_to_string(user.state().join(name)).expect("written");
        assert_eq!(read("asked").trim_end(), server.address());
        user.call(&["logout", server.address()]).run().ok();
        assert_eq!(read("erased").trim_end(), server.address());
        pull().refused(1, &["user name and a password"]);
    }
}

#[test]
fn helpers_that_fail_are_named() {
    for (script, words) in [
        ("echo broken; exit 1", &["docker-credential-test", "broken"][..]),
        ("echo '{'", &["docker-credential-test"]),
        ("exit 3", &["docker-credential-test"]),
        ("kill -9 $$", &["docker-credential-test"]),
    ] {
        let user = User::new(&json!({"credsStore": "test"}));
        user.helper("test", script);
        user.call(&["pull", "-q", "127.0.0.1:1/app"]).run().refused(1, words);
    }
    let absent = User::new(&json!({"credsStore": "no-such-helper"}));
    absent.call(&["pull", "-q", "127.0.0.1:1/app"]).run().refused(1, &["docker-credential-no-such-helper"]);
    let path = User::new(&json!({"credsStore": "../../bin/sh"}));
    path.call(&["pull", "-q", "127.0.0.1:1/app"]).run().refused(1, &["no name of a helper"]);
}

#[test]
fn an_identity_token_is_changed_for_another_one() {
    let user = User::new(&json!({"credsStore": "test"}));
    user.helper("test", r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"refresh-me"}'"#);
    let tokens = Origin::serve(|_, _, stream| answer(stream, "200 OK", &[], br#"{"access_token":"fresh"}"#));
    let image = OciImage::packed(&[Tarball::new().file("x", 0o644, "x").finish()]);
    let realm = tokens.address.clone();
    let registry = Origin::serve(move |request, _, stream| match request.header("authorization") {
        Some("Bearer fresh") => give(&image, request, stream),
        _ => {
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"here\"");
            answer(stream, "401 Unauthorized", &[&challenge], b"")
        }
    });
    user.call(&["pull", "-q", &format!("{}/team/app:v1", registry.address)]).run().ok();
    let asked = tokens.heard();
    assert_eq!((asked.len(), asked[0].method.as_str()), (1, "POST"));
    let body = String::from_utf8(asked[0].body.clone()).expect("text");
    for word in ["grant_type=refresh_token", "refresh_token=refresh-me", "service=here", "client_id="] {
        assert!(body.contains(word), "{word}: {body}");
    }
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn podmans_files_are_read_and_not_written() {
    let user = User::new(&json!({}));
    let server = server(&user.holm);
    let name = format!("{}/team/app:v1", server.address());
    // `alice:secret`
    let auth = json!({"auths": {server.address(): {"auth": "YWxpY2U6c2VjcmV0"}}}).to_string();
    let run = user.holm.scratch("run");
    for directory in [run.join("containers"), user.holm.scratch("home").join(".config/containers")] {
        let pull =
            || user.call(&["pull", "-q", &name]).env("XDG_RUNTIME_DIR", run.to_str().expect("text")).run();
        pull().refused(1, &["user name and a password"]);
        fs::create_dir_all(&directory).expect("a directory of the test's");
        fs::write(directory.join("auth.json"), &auth).expect("a file of the test's");
        pull().ok();
        assert_eq!(fs::read_to_string(directory.join("auth.json")).expect("there"), auth);
        fs::remove_file(directory.join("auth.json")).expect("a file of the test's");
    }
    assert_eq!(user.config(), json!({}));
}
