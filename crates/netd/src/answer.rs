//! From a query to its answer, or to the word that somebody else has to answer it. Pure.
//!
//! The format is that of RFC 1035 with the sizes of RFC 6891. A query has exactly one question. What it asks decides:
//!
//! | question | answer |
//! |---|---|
//! | a name of the network's, A, AAAA or ANY | its addresses; none (NODATA) if it has only those of the other family |
//! | a name of the network's, any other type | none (NODATA) |
//! | the reverse name of an endpoint's address | PTR, or NODATA for another type |
//! | the reverse name of an address of the network's that nobody has | NXDOMAIN |
//! | anything else | forwarded; SERVFAIL in a network that nothing leaves |
//! | transfers of zones | REFUSED |

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::zone::{Addresses, Zone};

/// Seconds for which others may remember an answer. An address may belong to somebody else as soon as its workload is
/// gone, and programs that look a name up for every connection shall not ask each time.
pub const TIME_TO_LIVE: u32 = 5;

/// Largest answer in a datagram to who said that it takes larger ones: it fits the packets of every usual link.
const LARGEST_DATAGRAM: u16 = 1232;

/// Largest answer in a datagram to who said nothing (RFC 1035 section 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;

/// Bytes of a header.
const HEADER: usize = 12;

/// The option that says more of a failure (RFC 8914 section 2).
const EXTENDED_ERROR: u16 = 15;

/// Bytes of the smallest record: a pointer to its name, type, class, time, length, an address of IPv4.
const SMALLEST_RECORD: usize = 16;

/// Addresses of a family in one answer. Nobody tries more of them, each has its turn to be among them, and messages
/// stay small also by TCP.
const MOST_ADDRESSES: usize = 100;

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP: an answer has a largest size.
    Datagram,
    /// TCP.
    Stream,
}

/// What becomes of a message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This is the answer.
    Reply(Vec<u8>),
    /// Somebody else has to answer.
    Forward,
    /// It is no query, or none that can be answered.
    Nothing,
}

/// What is known about a question.
enum Outcome {
    Records(Vec<RData>),
    Failure(ResponseCode),
    Unknown,
}

/// Answers a message.
pub fn answer(message: &[u8], zone: &Zone, transport: Transport) -> Verdict {
    let query = match read(message) {
        Ok(query) => query,
        Err(refusal) => return refusal,
    };
    match decide(&query, zone) {
        Outcome::Records(records) => reply(&query, ResponseCode::NoError, records, transport),
        Outcome::Failure(code) => reply(&query, code, Vec::new(), transport),
        Outcome::Unknown => Verdict::Forward,
    }
}

/// The answer to a query that none of `servers` answered: SERVFAIL, with a word of who was asked, for those who understand
/// it (RFC 8914); `None` for what is no query.
pub fn failure(message: &[u8], servers: &[SocketAddr]) -> Option<Vec<u8>> {
    let query = read(message).ok()?;
    let mut reply = respond(&query, ResponseCode::ServFail, Vec::new());
    if let Some(edns) = reply.edns.as_mut() {
        edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, unreachable(servers)));
    }
    fit(reply, usize::from(u16::MAX))
}

/// Code and text of an extended error (RFC 8914 section 2).
fn unreachable(servers: &[SocketAddr]) -> Vec<u8> {
    const NO_REACHABLE_AUTHORITY: u16 = 22;
    let addresses: Vec<String> = servers.iter().map(|server| server.ip().to_string()).collect();
    let text = match addresses.is_empty() {
        true => "holm: there is no name server to ask".to_owned(),
        false => format!("holm: no answer from name server {}", addresses.join(", ")),
    };
    [&NO_REACHABLE_AUTHORITY.to_be_bytes(), text.as_bytes()].concat()
}

/// The only question of a message, as it stands there; `None` if there is not one, or its name is a pointer: it is the
/// first name of the message.
pub fn question(message: &[u8]) -> Option<&[u8]> {
    const LONGEST_LABEL: u8 = 63;
    const TYPE_AND_CLASS: usize = 4;
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    loop {
        match *message.get(end)? {
            0 => break,
            length if length <= LONGEST_LABEL => end += 1 + usize::from(length),
            _ => return None,
        }
    }
    message.get(HEADER..end + 1 + TYPE_AND_CLASS)
}

/// Whether `reply` is an answer to the question of `query`. The case of names makes no difference.
pub fn answers(reply: &[u8], query: &[u8]) -> bool {
    let (Some(theirs), Some(ours)) = (question(reply), question(query)) else { return false };
    let (Some((their_name, their_type)), Some((our_name, our_type))) =
        (theirs.split_last_chunk::<4>(), ours.split_last_chunk::<4>())
    else {
        return false;
    };
    // Lengths of labels are smaller than any letter.
    is_response(reply) && their_type == our_type && their_name.eq_ignore_ascii_case(our_name)
}

fn is_response(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// A query with one question, or what to do instead.
fn read(message: &[u8]) -> Result<Message, Verdict> {
    let header = Header::read(&mut BinDecoder::new(message)).map_err(|_| Verdict::Nothing)?;
    if header.metadata.message_type != MessageType::Query {
        return Err(Verdict::Nothing);
    }
    if header.metadata.op_code != OpCode::Query {
        return Err(refusal(&header.metadata, ResponseCode::NotImp));
    }
    let query = Message::from_bytes(message).ok().filter(|_| question(message).is_some());
    query.ok_or_else(|| refusal(&header.metadata, ResponseCode::FormErr))
}

/// An answer that is nothing but a header.
fn refusal(query: &Metadata, code: ResponseCode) -> Verdict {
    let mut reply = Message::response(query.id, query.op_code);
    reply.metadata = Metadata::response_from_request(query);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    encode(&reply).map_or(Verdict::Nothing, Verdict::Reply)
}

fn decide(query: &Message, zone: &Zone) -> Outcome {
    let Some(question) = query.queries.first() else { return Outcome::Failure(ResponseCode::FormErr) };
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Outcome::Failure(ResponseCode::BADVERS);
    }
    if matches!(question.query_type, RecordType::AXFR | RecordType::IXFR) {
        return Outcome::Failure(ResponseCode::Refused);
    }
    look_up(question, zone)
}

fn look_up(question: &Query, zone: &Zone) -> Outcome {
    if !matches!(question.query_class, DNSClass::IN | DNSClass::ANY) {
        return Outcome::Unknown;
    }
    if let Some(addresses) = dotted(&question.name).and_then(|name| zone.find(&name)) {
        return Outcome::Records(forward_records(addresses, question.query_type));
    }
    match reversed(&question.name) {
        Some(address) => reverse_records(address, question.query_type, zone),
        None => Outcome::Unknown,
    }
}

fn forward_records(addresses: &Addresses, kind: RecordType) -> Vec<RData> {
    let mut records = Vec::new();
    if matches!(kind, RecordType::A | RecordType::ANY) {
        records.extend(addresses.v4().take(MOST_ADDRESSES).map(|address| RData::A(A(address))));
    }
    if matches!(kind, RecordType::AAAA | RecordType::ANY) {
        records.extend(addresses.v6().take(MOST_ADDRESSES).map(|address| RData::AAAA(AAAA(address))));
    }
    records
}

fn reverse_records(address: IpAddr, kind: RecordType, zone: &Zone) -> Outcome {
    match zone.owner(address) {
        Some(name) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
            // A name that does not fit into a message is asked for by nobody, either.
            let labels = name.split('.').map(str::as_bytes);
            Outcome::Records(
                Name::from_labels(labels).into_iter().map(|name| RData::PTR(PTR(name))).collect(),
            )
        }
        Some(_) => Outcome::Records(Vec::new()),
        None if zone.covers(address) => Outcome::Failure(ResponseCode::NXDomain),
        None => Outcome::Unknown,
    }
}

/// A name as people write it; `None` if a dot is in one of its labels.
fn dotted(name: &Name) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(name.len());
    for label in name.iter() {
        if label.contains(&b'.') {
            return None;
        }
        text.extend_from_slice(label);
        text.push(b'.');
    }
    text.pop();
    Some(text)
}

/// The address that a whole reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
fn reversed(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

fn reply(query: &Message, code: ResponseCode, records: Vec<RData>, transport: Transport) -> Verdict {
    fit(respond(query, code, records), largest(query, transport)).map_or(Verdict::Nothing, Verdict::Reply)
}

fn respond(query: &Message, code: ResponseCode, records: Vec<RData>) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata = Metadata::response_from_request(&query.metadata);
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    reply.metadata.response_code = code;
    reply.queries.clone_from(&query.queries);
    reply.edns = query.edns.as_ref().map(own_edns);
    let name = query.queries.first().map(|question| question.name.clone()).unwrap_or_default();
    reply.answers =
        records.into_iter().map(|data| Record::from_rdata(name.clone(), TIME_TO_LIVE, data)).collect();
    reply
}

/// What we say about ourselves to somebody who speaks of extensions; none of theirs is known here.
fn own_edns(theirs: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_DATAGRAM);
    edns.set_dnssec_ok(theirs.flags().dnssec_ok);
    edns
}

fn largest(query: &Message, transport: Transport) -> usize {
    let size = match (transport, &query.edns) {
        (Transport::Stream, _) => u16::MAX,
        (Transport::Datagram, Some(edns)) => edns.max_payload().clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM),
        (Transport::Datagram, None) => PLAIN_DATAGRAM,
    };
    size.into()
}

/// Writes a message, without as many of its answers as it takes for its size, and then with a word of that.
fn fit(mut message: Message, size: usize) -> Option<Vec<u8>> {
    loop {
        let bytes = encode(&message)?;
        if bytes.len() <= size || message.answers.is_empty() {
            return (bytes.len() <= size).then_some(bytes);
        }
        let surplus = (bytes.len() - size).div_ceil(SMALLEST_RECORD);
        message.answers.truncate(message.answers.len().saturating_sub(surplus));
        message.metadata.truncation = true;
    }
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

#[cfg(test)]
mod tests;
