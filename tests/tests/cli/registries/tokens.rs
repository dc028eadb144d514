//! Token servers: what they give, what they do not, and tokens that end in the middle of a pull.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holm_tests::origin::{Request, answer, give, head};
use holm_tests::{Holm, OciImage, Origin};

use super::attempt::{at_once, image, pulled, refused};

/// A token server.
fn tokens(
    give: impl Fn(&Request, usize, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> Origin {
    Origin::serve(give)
}

/// A registry that wants a token which `good` takes.
fn registry(image: &OciImage, realm: &str, good: impl Fn(&str) -> bool + Send + Sync + 'static) -> Origin {
    let (image, realm) = (image.clone(), realm.to_owned());
    Origin::serve(move |request, _, stream| {
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(&good) {
            return give(&image, request, stream);
        }
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"test\"");
        answer(stream, "401 Unauthorized", &[&challenge], b"{}")
    })
}

#[test]
fn a_token_is_asked_for_once_and_used() {
    let (holm, image) = (Holm::bare(), image());
    let server = tokens(|_, _, stream| answer(stream, "200 OK", &[], br#"{"token":"t","expires_in":300}"#));
    let registry = registry(&image, &server.address, |token| token == "t");
    pulled(&holm, &registry);
    let asked = server.heard();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].path.contains("service=test"), "{}", asked[0].path);
    assert!(
        asked[0].path.contains("scope=repository%3Ateam%2Fapp%3Apull")
            || asked[0].path.contains("scope=repository:team/app:pull"),
        "{}",
        asked[0].path
    );
    assert_eq!(asked[0].header("authorization"), None, "nobody is logged in");
}

#[test]
fn rubbish_for_a_token_is_refused() {
    let image = image();
    let answers: [(&str, &[u8]); 9] = [
        ("200 OK", b"<html>"),
        ("200 OK", b"{}"),
        ("200 OK", b""),
        ("200 OK", br#"{"token":""}"#),
        ("200 OK", br#"{"token":5}"#),
        ("200 OK", br#"{"token":"a\r\nX-Evil: b"}"#),
        ("200 OK", b"[\"token\"]"),
        ("404 Not Found", b"gone"),
        ("403 Forbidden", br#"{"details":"who are you"}"#),
    ];
    at_once(answers, |(status, body)| {
        let holm = Holm::bare();
        let server = tokens(move |_, _, stream| answer(stream, status, &[], body));
        let registry = registry(&image, &server.address, |_| false);
        let text = refused(&holm, &registry, &[]);
        assert!(text.contains("token") || text.contains(&server.address), "{status} {body:?}: {text}");
        assert!(server.heard().len() < 10, "{status}");
    });
}

#[test]
fn token_servers_that_send_too_much_or_nothing() {
    let (holm, image) = (Holm::bare(), image());
    let large = tokens(|_, _, stream| {
        let body = format!("{{\"token\":\"{}\"}}", "t".repeat(10 << 20));
        answer(stream, "200 OK", &[], body.as_bytes())
    });
    refused(&holm, &registry(&image, &large.address, |_| true), &[]);
    let silent = tokens(|_, _, stream| head(stream, "200 OK", &[], Some(100)));
    refused(&holm, &registry(&image, &silent.address, |_| true), &[]);
    refused(&holm, &registry(&image, "127.0.0.1:1", |_| true), &["127.0.0.1:1"]);
}

#[test]
fn a_token_that_nobody_takes_is_not_asked_for_again_and_again() {
    let (holm, image) = (Holm::bare(), image());
    let server = tokens(|_, _, stream| answer(stream, "200 OK", &[], br#"{"token":"t"}"#));
    let registry = registry(&image, &server.address, |_| false);
    refused(&holm, &registry, &["401"]);
    assert!(server.heard().len() <= 2, "{}", server.heard().len());
}

#[test]
fn a_token_that_ends_in_the_middle_is_asked_for_anew() {
    let (holm, image) = (Holm::bare(), image());
    let given = Arc::new(AtomicUsize::new(0));
    let (count, used) = (given.clone(), AtomicUsize::new(0));
    let server = tokens(move |_, _, stream| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        answer(stream, "200 OK", &[], format!("{{\"access_token\":\"t{number}\"}}").as_bytes())
    });
    // Each is good for one request.
    let registry = registry(&image, &server.address, move |token| {
        let fits = token == format!("t{}", given.load(Ordering::Relaxed));
        fits && used.fetch_max(given.load(Ordering::Relaxed), Ordering::Relaxed)
            < given.load(Ordering::Relaxed)
    });
    pulled(&holm, &registry);
    assert!(server.heard().len() >= 3, "{}", server.heard().len());
}

#[test]
fn tokens_stay_with_the_registry() {
    let (holm, image) = (Holm::bare(), image());
    let elsewhere = Origin::of(image.clone());
    let server = tokens(|_, _, stream| answer(stream, "200 OK", &[], br#"{"token":"t"}"#));
    let (there, realm) = (elsewhere.address.clone(), server.address.clone());
    let (layer, whole) = (image.layers[0].clone(), image.clone());
    let registry = Origin::serve(move |request, _, stream| {
        if request.header("authorization") != Some("Bearer t") {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\"");
            return answer(stream, "401 Unauthorized", &[&challenge], b"");
        }
        if request.path.ends_with(&layer) {
            return answer(
                stream,
                "307 Temporary Redirect",
                &[&format!("Location: http://{there}/x/{layer}")],
                b"",
            );
        }
        give(&whole, request, stream)
    });
    pulled(&holm, &registry);
    let heard = elsewhere.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].header("authorization"), None);
}
