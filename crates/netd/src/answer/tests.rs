//! Answers, from bytes to bytes.

use super::*;
use crate::zone::tests::{endpoint, network};

const ID: u16 = 0x1234;

fn zone() -> Zone {
    let many: Vec<_> = (10..250).map(|number| format!("10.1.0.{number}/24")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let endpoints = [
        endpoint(1, "web-1", &["web"], &["10.1.0.2/24", "fd01::2/64"]),
        endpoint(2, "web-2", &["web"], &["10.1.0.3/24"]),
        endpoint(3, "many", &[], &many),
        endpoint(4, &"long".repeat(20), &[], &["10.1.0.4/24"]),
    ];
    Zone::new(&network(), &endpoints)
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(ID, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("it can be written")
}

fn ask(message: &Message, transport: Transport) -> (usize, Message) {
    match answer(&bytes(message), &zone(), transport) {
        Verdict::Reply(reply) => (reply.len(), Message::from_vec(&reply).expect("it can be read")),
        other => panic!("{other:?}"),
    }
}

/// The code and the answers, in one line; `forward` or `nothing` instead.
fn said(verdict: Verdict) -> String {
    match verdict {
        Verdict::Forward => "forward".into(),
        Verdict::Nothing => "nothing".into(),
        Verdict::Reply(reply) => {
            let reply = Message::from_vec(&reply).expect("it can be read");
            let code = format!("{:?}", reply.metadata.response_code);
            let answers = reply.answers.iter().map(|record| record.data.to_string());
            std::iter::once(code).chain(answers).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn questions_and_what_is_said() {
    use RecordType::{A, AAAA, ANY, AXFR, MX, PTR};
    let unused = "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa.";
    let used = unused.replacen('9', "2", 1);
    for (name, kind, wanted) in [
        ("web-1.", A, "NoError 10.1.0.2"),
        ("WEB-1.shop.", A, "NoError 10.1.0.2"),
        ("web-1.", AAAA, "NoError fd01::2"),
        ("web-2.", AAAA, "NoError"),
        ("web-2.", MX, "NoError"),
        ("web-1.", ANY, "NoError 10.1.0.2 fd01::2"),
        ("web.", A, "NoError 10.1.0.2 10.1.0.3"),
        ("nobody.", A, "forward"),
        ("web-1.example.", A, "forward"),
        (r"web-1\.shop.", A, "forward"),
        (".", A, "forward"),
        ("web-1.", AXFR, "Refused"),
        ("2.0.1.10.in-addr.arpa.", PTR, "NoError web-1.Shop."),
        ("2.0.1.10.IN-ADDR.arpa.", PTR, "NoError web-1.Shop."),
        ("2.0.1.10.in-addr.arpa.", A, "NoError"),
        ("4.0.1.10.in-addr.arpa.", PTR, "NoError"),
        ("250.0.1.10.in-addr.arpa.", PTR, "NXDomain"),
        ("2.1.1.10.in-addr.arpa.", PTR, "forward"),
        ("0.1.10.in-addr.arpa.", PTR, "forward"),
        ("1.2.0.1.10.in-addr.arpa.", PTR, "forward"),
        ("256.0.1.10.in-addr.arpa.", PTR, "forward"),
        (&used, PTR, "NoError web-1.Shop."),
        (unused, PTR, "NXDomain"),
    ] {
        let message = bytes(&query(name, kind));
        assert_eq!(said(answer(&message, &zone(), Transport::Datagram)), wanted, "{name} {kind}");
    }
}

#[test]
fn an_answer_says_what_was_asked() {
    let (_, reply) = ask(&query("wEb-1.Shop.", RecordType::A), Transport::Datagram);
    assert_eq!((reply.metadata.id, reply.metadata.message_type), (ID, MessageType::Response));
    let flags = &reply.metadata;
    let flags = (flags.recursion_desired, flags.recursion_available, flags.authoritative, flags.truncation);
    assert_eq!(flags, (true, true, true, false));
    assert_eq!(reply.queries[0].name.to_ascii(), "wEb-1.Shop.");
    assert_eq!(reply.answers[0].name.to_ascii(), "wEb-1.Shop.");
    assert_eq!(reply.answers[0].ttl, TIME_TO_LIVE);
    assert!(reply.edns.is_none());
}

#[test]
fn extensions_are_answered_by_extensions() {
    let mut message = query("web-1.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    message.set_edns(edns.clone());
    let (_, reply) = ask(&message, Transport::Datagram);
    let own = reply.edns.expect("extensions");
    assert_eq!((own.version(), own.max_payload(), own.flags().dnssec_ok), (0, LARGEST_DATAGRAM, true));
    message.set_edns(edns.set_version(1).clone());
    let (_, reply) = ask(&message, Transport::Datagram);
    assert_eq!(u16::from(reply.metadata.response_code), u16::from(ResponseCode::BADVERS));
}

#[test]
fn a_datagram_has_a_largest_size() {
    let mut message = query("many.", RecordType::A);
    for (payload, most) in [(None, 512), (Some(0), 512), (Some(700), 700), (Some(u16::MAX), 1232)] {
        message.edns = payload.map(|size| Edns::new().set_max_payload(size).clone());
        let (length, reply) = ask(&message, Transport::Datagram);
        assert!(length <= most && length + 2 * SMALLEST_RECORD > most, "{length} of {most}");
        assert!(reply.metadata.truncation && !reply.answers.is_empty());
        assert_eq!(reply.edns.is_some(), payload.is_some());
        let (_, reply) = ask(&message, Transport::Stream);
        assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, MOST_ADDRESSES));
    }
}

#[test]
fn what_is_no_query_is_refused_or_dropped() {
    let good = bytes(&query("web-1.", RecordType::A));
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        said(answer(&message, &zone(), Transport::Datagram))
    };
    assert_eq!(changed(|_| {}), "NoError 10.1.0.2");
    assert_eq!(changed(|message| message.truncate(11)), "nothing");
    assert_eq!(changed(|message| message[2] |= 0x80), "nothing", "an answer");
    assert_eq!(changed(|message| message[2] |= 0x10), "NotImp", "another operation");
    assert_eq!(changed(|message| message.truncate(12)), "FormErr");
    assert_eq!(changed(|message| message.truncate(20)), "FormErr");
    assert_eq!(changed(|message| message[5] = 0), "FormErr", "no question");
    assert_eq!(changed(|message| message[11] = 1), "FormErr", "a record that is not there");
    assert_eq!(
        changed(|message| message[12..14].copy_from_slice(&[0xc0, 12])),
        "FormErr",
        "a name in a circle"
    );
    let refused = answer(&good[..20], &zone(), Transport::Datagram);
    let Verdict::Reply(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(&refused[..2], &ID.to_be_bytes());
}

#[test]
fn nobody_answered() {
    let message = query("example.com.", RecordType::A);
    let reply =
        Message::from_vec(&failure(&bytes(&message), &[]).expect("it is a query")).expect("it can be read");
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (ID, ResponseCode::ServFail));
    assert_eq!(reply.queries, message.queries);
    assert_eq!(failure(b"no query", &[]), None);
    // Whoever understands it hears who was asked.
    let mut message = query("example.com.", RecordType::A);
    message.edns = Some(Edns::new());
    let said = |servers: &[SocketAddr]| {
        let reply = failure(&bytes(&message), servers).expect("it is a query");
        let edns = Message::from_vec(&reply).expect("it can be read").edns.expect("it was spoken of");
        match edns.options().options.first() {
            Some((_, EdnsOption::Unknown(EXTENDED_ERROR, said))) => {
                assert_eq!(said[..2], [0, 22]);
                String::from_utf8_lossy(&said[2..]).into_owned()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(said(&[]), "holm: there is no name server to ask");
    let servers = ["10.0.0.1:53", "[fd00::1]:53"].map(|server| server.parse().expect("an address"));
    assert_eq!(said(&servers), "holm: no answer from name server 10.0.0.1, fd00::1");
}

#[test]
fn an_answer_belongs_to_its_question() {
    let asked = bytes(&query("example.com.", RecordType::A));
    let reply = |name, kind| {
        let mut message = query(name, kind);
        message.metadata.message_type = MessageType::Response;
        bytes(&message)
    };
    assert!(answers(&reply("EXAMPLE.com.", RecordType::A), &asked));
    assert!(!answers(&reply("example.org.", RecordType::A), &asked));
    assert!(!answers(&reply("example.com.", RecordType::AAAA), &asked));
    assert!(!answers(&asked, &asked), "a query is no answer");
    assert!(!answers(&reply("example.com.", RecordType::A)[..20], &asked));
    let mut none = reply("example.com.", RecordType::A);
    none[5] = 0;
    assert!(!answers(&none, &asked));
}
