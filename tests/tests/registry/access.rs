//! Users and rights.

use holm_spec::Digest;
use holm_tests::http::Client;
use holm_tests::server::Server;

/// Both have the password `secret`.
pub const USERS: &str = "alice:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\nbob:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
/// `alice:secret`, `bob:secret`, `alice:wrong`, `eve:secret`
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";
const BOB: &str = "Basic Ym9iOnNlY3JldA==";
const WRONG: [&str; 4] = ["Basic YWxpY2U6d3Jvbmc=", "Basic ZXZlOnNlY3JldA==", "Bearer x", "Basic !"];

const RIGHTS: &str =
    "# who what\nalice * pull,push\nalice team/* delete\nbob team/* pull\nanonymous public/* pull\n";

struct Guarded {
    server: Server,
    _files: tempfile::TempDir,
}

fn guarded(rights: Option<&str>) -> Guarded {
    let files = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let mut flags = vec!["--htpasswd".to_owned(), file("users", USERS)];
    if let Some(rights) = rights {
        flags.extend(["--access".to_owned(), file("rights", rights)]);
    }
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    Guarded { server: Server::with(&flags), _files: files }
}

impl Guarded {
    fn client(&self, authorization: &str) -> Client {
        self.server.client().authorized(authorization)
    }
}

#[test]
fn without_rights_users_do_everything_and_others_nothing() {
    let guarded = guarded(None);
    let mut nobody = guarded.server.client();
    let answer = nobody.get("/v2/");
    answer.is(401, "UNAUTHORIZED");
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"registry\", charset=\"UTF-8\"");
    nobody.post("/v2/app/blobs/uploads/").is(401, "UNAUTHORIZED");
    nobody.get("/v2/_catalog").is(401, "UNAUTHORIZED");
    for wrong in WRONG {
        guarded.client(wrong).get("/v2/").is(401, "UNAUTHORIZED");
    }
    let mut alice = guarded.client(ALICE);
    alice.get("/v2/").is(200, "");
    let digest = alice.push_image("app", "v1", b"{}");
    guarded.client(BOB).delete(&format!("/v2/app/manifests/{digest}")).is(202, "");
    holm_tests::eventually("the log names the user", || {
        guarded.server.log().lines().any(|line| line.contains(" bob DELETE ") && line.contains(" 202 "))
    });
    assert!(!guarded.server.log().contains("secret"));
}

#[test]
fn rights_are_kept_to() {
    let guarded = guarded(Some(RIGHTS));
    let (mut alice, mut bob, mut nobody) =
        (guarded.client(ALICE), guarded.client(BOB), guarded.server.client());
    for repository in ["team/app", "public/app", "own"] {
        alice.push_image(repository, "v1", b"{}");
    }
    bob.get("/v2/team/app/manifests/v1").is(200, "");
    bob.get("/v2/own/manifests/v1").is(403, "DENIED");
    bob.post("/v2/team/app/blobs/uploads/").is(403, "DENIED");
    bob.get("/v2/public/app/manifests/v1").is(200, "");
    nobody.get("/v2/public/app/manifests/v1").is(200, "");
    nobody.get("/v2/team/app/manifests/v1").is(401, "UNAUTHORIZED");
    alice.delete("/v2/own/manifests/v1").is(403, "DENIED");
    alice.delete("/v2/team/app/manifests/v1").is(202, "");
    assert_eq!(bob.get("/v2/_catalog").json()["repositories"], serde_json::json!(["public/app", "team/app"]));
}

#[test]
fn blobs_are_mounted_only_from_where_the_user_may_pull() {
    let rights = "alice * pull,push\nbob mine/* pull,push\nbob team/* pull\n";
    let guarded = guarded(Some(rights));
    let (mut alice, mut bob) = (guarded.client(ALICE), guarded.client(BOB));
    let (secret, shared) = (alice.push("own", b"secret content"), alice.push("team/app", b"shared content"));
    for (query, status) in [
        (format!("mount={secret}&from=own"), 202),
        (format!("mount={secret}"), 202),
        (format!("mount={shared}&from=team/app"), 201),
        (format!("mount={shared}"), 201),
    ] {
        let answer = bob.post(&format!("/v2/mine/app/blobs/uploads/?{query}"));
        assert_eq!(answer.status, status, "{query}");
    }
    bob.get(&format!("/v2/mine/app/blobs/{}", Digest::of(b"secret content"))).is(404, "BLOB_UNKNOWN");
}
