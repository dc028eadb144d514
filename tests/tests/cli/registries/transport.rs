//! Connections that break, and answers of HTTP that are other than what was asked for.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use holm_tests::origin::{Request, answer, content, give, head};
use holm_tests::{Holm, OciImage, Origin};

use super::attempt::{at_once, image, name, pulled, refused};

/// What a server does with a request for the layer, of which this is the number; other requests are answered as they should
/// be.
type Answer = fn(&[u8], &Request, usize, &mut TcpStream) -> io::Result<()>;

/// A server that is strange about the layer alone.
fn strange(image: &OciImage, answer: Answer) -> Origin {
    let image = image.clone();
    Origin::serve(move |request, number, stream| {
        let layer = request.path.ends_with(&image.layers[0]);
        match content(&image, &request.path).filter(|_| layer) {
            Some(content) => answer(content, request, number, stream),
            None => give(&image, request, stream),
        }
    })
}

/// Sends a part of what was asked for, and says that it is all of that.
fn begin(content: &[u8], request: &Request, length: usize, stream: &mut TcpStream) -> io::Result<()> {
    let start = request.start().min(content.len());
    let range = format!("Content-Range: bytes {start}-{}/{}", content.len() - 1, content.len());
    let (status, lines) =
        if start == 0 { ("200 OK", vec![]) } else { ("206 Partial Content", vec![range.as_str()]) };
    head(stream, status, &lines, Some(content.len() - start))?;
    stream.write_all(&content[start..(start + length).min(content.len())])
}

/// Closes a connection so that the other end hears of a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    let linger = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    linger.map_err(io::Error::from)
}

fn half(image: &OciImage) -> usize {
    image.blobs[&image.layers[0]].len() / 2
}

#[test]
fn what_ends_early_is_asked_for_from_there_and_then_given_up() {
    let (holm, image) = (Holm::bare(), image());
    let truncated = strange(&image, |content, request, number, stream| {
        begin(content, request, if number == 0 { content.len() / 2 } else { 0 }, stream)
    });
    refused(&holm, &truncated, &[&image.layers[0]]);
    let starts = truncated.starts(&image.layers[0]);
    assert!(starts.len() > 2 && starts[1..].iter().all(|start| *start == half(&image)), "{starts:?}");
    let honest = Origin::of(image.clone());
    pulled(&holm, &honest);
    assert_eq!(
        honest.starts(&image.layers[0]),
        [half(&image)],
        "another pull goes on, also from another registry"
    );
}

#[test]
fn a_length_that_is_not_told_ends_where_the_manifest_says() {
    let (holm, image) = (Holm::bare(), image());
    let short = strange(&image, |content, request, _, stream| {
        let start = request.start().min(content.len() / 2);
        head(stream, "200 OK", &[], None)?;
        stream.write_all(&content[..start.max(content.len() / 2)])
    });
    refused(&holm, &short, &[&image.layers[0], "ends after"]);
    let endless = strange(&image, |content, _, _, stream| {
        head(stream, "200 OK", &["Transfer-Encoding: chunked"], None)?;
        loop {
            write!(stream, "{:x}\r\n", content.len())?;
            stream.write_all(content)?;
            stream.write_all(b"\r\n")?;
        }
    });
    refused(&holm, &endless, &[&image.layers[0], "larger"]);
}

#[test]
fn resets_do_not_end_a_pull_that_gets_on() {
    let (holm, image) = (Holm::bare(), image());
    let resets = strange(&image, |content, request, number, stream| {
        begin(content, request, if number < 8 { content.len() / 10 } else { content.len() }, stream)?;
        // So that what was sent arrives before the reset does.
        std::thread::sleep(Duration::from_millis(if number < 8 { 50 } else { 0 }));
        if number < 8 { reset(stream) } else { Ok(()) }
    });
    pulled(&holm, &resets);
    let starts = resets.starts(&image.layers[0]);
    assert!(starts.len() == 9 && starts.is_sorted() && starts[8] > half(&image), "{starts:?}");
}

#[test]
#[ignore = "waits for a minute: cargo xtask test --slow"]
fn a_server_that_stalls_is_asked_again() {
    let (holm, image) = (Holm::bare(), image());
    let stalls = strange(&image, |content, request, number, stream| {
        begin(content, request, if number == 0 { content.len() / 2 } else { content.len() }, stream)?;
        // Longer than anybody waits.
        std::thread::sleep(Duration::from_secs(if number == 0 { 600 } else { 0 }));
        Ok(())
    });
    holm.call(["pull", "-q", &name(&stalls)]).timeout(Duration::from_secs(120)).run().ok();
    assert_eq!(stalls.starts(&image.layers[0]), [0, half(&image)]);
}

#[test]
fn a_whole_answer_serves_where_a_part_was_asked_for() {
    let (holm, image) = (Holm::bare(), image());
    let whole = strange(&image, |content, request, number, stream| match number {
        0 => begin(content, request, content.len() / 2, stream),
        _ => answer(stream, "200 OK", &[], content),
    });
    pulled(&holm, &whole);
    assert_eq!(whole.starts(&image.layers[0]), [0, half(&image)]);
}

#[test]
fn another_part_than_was_asked_for_is_refused() {
    let image = image();
    let lines: [Answer; 3] = [
        |content, request, number, stream| match number {
            0 => begin(content, request, content.len() / 2, stream),
            _ => answer(stream, "206 Partial Content", &["Content-Range: bytes 0-99/200"], &content[..100]),
        },
        |content, request, number, stream| match number {
            0 => begin(content, request, content.len() / 2, stream),
            _ => answer(stream, "206 Partial Content", &[], &content[content.len() / 2..]),
        },
        |content, request, number, stream| match number {
            0 => begin(content, request, content.len() / 2, stream),
            _ => answer(stream, "206 Partial Content", &["Content-Range: words"], content),
        },
    ];
    at_once(lines, |lie| {
        let (holm, lying) = (Holm::bare(), strange(&image, lie));
        refused(&holm, &lying, &[&image.layers[0], "another part"]);
        let honest = Origin::of(image.clone());
        pulled(&holm, &honest);
        assert_eq!(honest.starts(&image.layers[0]), [half(&image)]);
    });
    // The digest says what is right, not what an answer says of the whole.
    let total = strange(&image, |content, request, number, stream| {
        let start = request.start();
        let range = format!("Content-Range: bytes {start}-{}/999999999", content.len() - 1);
        match number {
            0 => begin(content, request, content.len() / 2, stream),
            _ => answer(stream, "206 Partial Content", &[&range], &content[start..]),
        }
    });
    pulled(&Holm::bare(), &total);
}

#[test]
fn a_part_with_other_bytes_is_found_out_and_fetched_anew() {
    let (holm, image) = (Holm::bare(), image());
    let lying = strange(&image, |content, request, number, stream| match number {
        0 => begin(content, request, content.len() / 2, stream),
        1 => begin(&vec![7; content.len()], request, content.len(), stream),
        _ => begin(content, request, content.len(), stream),
    });
    let outcome = holm.run(["pull", "-q", &name(&lying)]);
    if outcome.status.success() {
        assert_eq!(lying.starts(&image.layers[0]), [0, half(&image), 0]);
    } else {
        outcome.refused(1, &[&image.layers[0], "digest", &lying.address]);
        pulled(&holm, &lying);
    }
}

#[test]
fn what_is_too_much_for_a_server_is_asked_for_again() {
    let image = image();
    let answers: [(&str, &[&str]); 5] = [
        ("429 Too Many Requests", &["Retry-After: 1"]),
        ("429 Too Many Requests", &["Retry-After: Wed, 21 Oct 1998 07:28:00 GMT"]),
        ("429 Too Many Requests", &["Retry-After: -5"]),
        ("503 Service Unavailable", &["Date: Thu, 01 Jan 1970 00:00:00 GMT"]),
        ("502 Bad Gateway", &[]),
    ];
    at_once(answers, |(status, lines)| {
        let (holm, there) = (Holm::bare(), image.clone());
        let busy = Origin::serve(move |request, number, stream| match number {
            0 if request.path != "/v2/" => answer(stream, status, lines, b"{}"),
            _ => give(&there, request, stream),
        });
        pulled(&holm, &busy);
        assert_eq!(busy.starts(&image.layers[0]).len(), 2, "{status} {lines:?}");
    });
    at_once(["429 Too Many Requests", "503 Service Unavailable", "500 Oh No"], |status| {
        let (holm, there) = (Holm::bare(), image.clone());
        let busy = Origin::serve(move |request, _, stream| match request.path.contains("/blobs/") {
            true => answer(stream, status, &[], b"<html>"),
            false => give(&there, request, stream),
        });
        refused(&holm, &busy, &[&status[..3]]);
        let asked = busy.heard().into_iter().filter(|request| request.path.contains("/blobs/")).count();
        assert_eq!(asked, 4, "{status}: as often as patience has it");
    });
}

#[test]
fn redirects_lead_on_but_not_in_circles() {
    let (holm, image) = (Holm::bare(), image());
    let circle = strange(&image, |_, request, _, stream| {
        answer(stream, "307 Temporary Redirect", &[&format!("Location: {}", request.path)], b"")
    });
    refused(&holm, &circle, &[&image.layers[0], "redirect"]);
    assert!(circle.starts(&image.layers[0]).len() < 50);
    at_once(
        ["Location: ftp://127.0.0.1/x", "Location: http://[", "X: no location", "Location: "],
        |location| {
            let (holm, there) = (Holm::bare(), image.clone());
            let lost =
                Origin::serve(move |request, _, stream| match request.path.ends_with(&there.layers[0]) {
                    true => answer(stream, "302 Found", &[location], b""),
                    false => give(&there, request, stream),
                });
            refused(&holm, &lost, &[&image.layers[0]]);
        },
    );
    // Below the server itself, as a path alone.
    let moved = strange(&image, |content, request, number, stream| match number {
        0 => answer(stream, "302 Found", &[&format!("Location: {}", request.path)], b""),
        _ => answer(stream, "200 OK", &[], content),
    });
    pulled(&holm, &moved);
}

#[test]
fn what_is_no_http_is_refused() {
    let image = image();
    let answers: [Answer; 6] = [
        |_, _, _, stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
        |_, _, _, stream| stream.write_all(b"HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n"),
        |_, _, _, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
        },
        |_, _, _, stream| stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        |_, _, _, stream| stream.write_all(b"HTTP/1.1 999 \xff\r\n\r\n"),
        |_, _, _, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            (0..100_000).try_for_each(|number| write!(stream, "X-{number}: {number}\r\n"))
        },
    ];
    at_once(answers.into_iter().enumerate(), |(number, lie)| {
        let holm = Holm::bare();
        let text = refused(&holm, &strange(&image, lie), &[&image.layers[0]]);
        assert!(text.len() < 2000, "{number}: {text}");
        pulled(&holm, &Origin::of(image.clone()));
    });
}

#[test]
fn a_manifest_that_breaks_off_is_asked_for_again() {
    let (holm, image) = (Holm::bare(), image());
    let there = image.clone();
    let breaks = Origin::serve(move |request, number, stream| match number {
        0 if request.path.contains("/manifests/") => begin(&there.manifest, request, 20, stream),
        _ => give(&there, request, stream),
    });
    pulled(&holm, &breaks);
}

#[test]
fn a_clock_of_another_year_is_no_matter() {
    let (holm, image) = (Holm::bare(), image());
    for date in ["Date: Thu, 01 Jan 1970 00:00:00 GMT", "Date: Fri, 31 Dec 9999 23:59:59 GMT", "Date: soon"] {
        let there = image.clone();
        let origin = Origin::serve(move |request, _, stream| match content(&there, &request.path) {
            Some(content) => answer(stream, "200 OK", &[date, "Last-Modified: never", "Age: -1"], content),
            None => give(&there, request, stream),
        });
        pulled(&holm, &origin);
        holm.ok(["rmi", &name(&origin)]);
    }
}
