//! Messages of D-Bus (D-Bus Specification, "Type System" and "Message Protocol"), as many of its types as systemd and
//! firewalld speak to us. Pure: no I/O.
//!
//! ```text
//! byte order | type | flags | version     4 bytes
//! length of the body, serial              u32 each
//! header fields                           array of (code, variant)
//! padding to 8, body
//! ```
//! Everything is written in little endian; of the other side's messages either order is read.

/// Longest message that is read, in bytes; the specification allows 128 MiB, those we speak to need a few hundred.
pub const MESSAGE_LIMIT: usize = 1 << 20;
/// Length of what comes before the header fields' content.
pub const PREFIX: usize = 16;

/// `METHOD_CALL`.
pub const CALL: u8 = 1;
/// `METHOD_RETURN`.
pub const RETURN: u8 = 2;
/// `ERROR`.
pub const ERROR: u8 = 3;
/// `SIGNAL`.
pub const SIGNAL: u8 = 4;

/// `NO_REPLY_EXPECTED`: nobody waits for what comes of a call.
pub const NO_REPLY: u8 = 1;
/// `NO_AUTO_START`: who does not run is not started for a call's sake.
pub const NO_AUTO_START: u8 = 2;

/// A value of a property; the letters are those of signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `s`
    String(String),
    /// `ay`
    Bytes(Vec<u8>),
    /// `au`
    Numbers(Vec<u32>),
    /// `as`
    Strings(Vec<String>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::String(_) => "s",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Strings(_) => "as",
        }
    }
}

/// A body in the making.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `y`
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// `u`
    pub fn number(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn long(&mut self, value: u64) -> &mut Self {
        self.align(8);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// `s`, and `o`
    pub fn string(&mut self, text: &str) -> &mut Self {
        self.number(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.byte(0)
    }

    fn signature(&mut self, text: &str) -> &mut Self {
        self.byte(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.byte(0)
    }

    /// An array; its length does not count the padding before the first item.
    pub fn array<T>(
        &mut self,
        alignment: usize,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.number(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        for item in items {
            self.align(alignment);
            write(self, item);
        }
        let written = length(self.0.len() - start);
        self.0[at..at + 4].copy_from_slice(&written.to_le_bytes());
        self
    }

    /// `a(sv)`.
    pub fn properties(&mut self, properties: &[(String, Value)]) -> &mut Self {
        self.array(8, properties, |writer, (name, value)| {
            writer.string(name).signature(value.signature());
            writer.value(value);
        })
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.number((*value).into()),
            Value::I32(value) => self.number(value.cast_unsigned()),
            Value::U32(value) => self.number(*value),
            Value::I64(value) => self.long(value.cast_unsigned()),
            Value::U64(value) => self.long(*value),
            Value::String(value) => self.string(value),
            Value::Bytes(bytes) => self.array(1, bytes, |writer, byte| _ = writer.byte(*byte)),
            Value::Numbers(numbers) => self.array(4, numbers, |writer, number| _ = writer.number(*number)),
            Value::Strings(strings) => self.array(4, strings, |writer, text| _ = writer.string(text)),
        };
    }
}

/// What does not fit into 32 bits does not fit into a message, which its receiver will say.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A method to call.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    /// [`NO_REPLY`], [`NO_AUTO_START`].
    pub flags: u8,
    /// Whose method, where a message bus is between.
    pub destination: Option<&'a str>,
    /// The object.
    pub path: &'a str,
    /// The interface that the method belongs to.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Types of the arguments.
    pub signature: &'a str,
    /// The arguments, as a [`Writer`] wrote them.
    pub body: Vec<u8>,
}

impl Call<'_> {
    /// As it goes over the wire.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let texts = [
            (1, "o", Some(self.path)),
            (2, "s", Some(self.interface)),
            (3, "s", Some(self.member)),
            (6, "s", self.destination),
        ];
        let mut writer = Writer::default();
        writer.byte(b'l').byte(CALL).byte(self.flags).byte(1);
        writer.number(length(self.body.len())).number(serial);
        let fields = texts.into_iter().filter_map(|(code, kind, text)| Some((code, kind, text?)));
        let signature = (!self.signature.is_empty()).then_some((8, "g", self.signature));
        writer.array(8, fields.chain(signature), |writer, (code, kind, text)| {
            writer.byte(code).signature(kind);
            if kind == "g" {
                writer.signature(text)
            } else {
                writer.string(text)
            };
        });
        writer.align(8);
        let mut bytes = writer.finish();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A message that came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// [`CALL`], [`RETURN`], [`ERROR`] or [`SIGNAL`].
    pub kind: u8,
    /// Of which call it is the answer.
    pub answers: Option<u32>,
    /// Name of the signal, or of the method.
    pub member: String,
    /// Name of the error, such as `org.freedesktop.systemd1.NoSuchUnit`.
    pub error: String,
    /// Types of the arguments.
    pub signature: String,
    body: Vec<u8>,
    big_endian: bool,
}

impl Message {
    /// Length of a whole message, from its first [`PREFIX`] bytes; `None` for what is no message.
    pub fn length(prefix: &[u8]) -> Option<usize> {
        let mut reader = Reader { bytes: prefix, at: 4, big_endian: is_big_endian(prefix)? };
        let body = reader.number()? as usize;
        reader.number()?;
        let fields = reader.number()? as usize;
        let whole = PREFIX.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
        (whole <= MESSAGE_LIMIT).then_some(whole)
    }

    /// Reads a whole message; `None` for what is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let big_endian = is_big_endian(bytes)?;
        let mut message = Self { kind: *bytes.get(1)?, big_endian, ..Self::default() };
        let mut reader = Reader { bytes, at: 12, big_endian };
        let end = PREFIX.checked_add(reader.number()? as usize)?;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?) {
                (5, "u") => message.answers = Some(reader.number()?),
                (3, "s") => message.member = reader.string()?.to_owned(),
                (4, "s") => message.error = reader.string()?.to_owned(),
                (8, "g") => message.signature = reader.signature()?.to_owned(),
                (_, "s" | "o") => drop(reader.string()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return None,
            }
        }
        message.body = bytes.get(end.checked_next_multiple_of(8)?..)?.to_vec();
        Some(message)
    }

    /// Its arguments.
    pub fn body(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0, big_endian: self.big_endian }
    }
}

fn is_big_endian(bytes: &[u8]) -> Option<bool> {
    match bytes.first()? {
        b'l' => Some(false),
        b'B' => Some(true),
        _ => None,
    }
}

/// Reads values one after the other; `None` at the end and for what is none.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big_endian: bool,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`
    pub fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// A string or a path of an object.
    pub fn string(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        self.text(length)
    }

    /// `g`
    pub fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?.into();
        self.text(length)
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Vec<u8>, signature: &str) -> Vec<u8> {
        let call = Call {
            destination: Some("org.freedesktop.systemd1"),
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            member: "StopUnit",
            signature,
            body,
            ..Call::default()
        };
        call.encode(7)
    }

    #[test]
    fn a_message_comes_back() {
        let mut body = Writer::default();
        body.string("box.scope").string("replace");
        let bytes = call(body.finish(), "ss");
        assert_eq!(&bytes[..4], b"l\x01\0\x01");
        assert_eq!(Message::length(&bytes[..PREFIX]), Some(bytes.len()));
        let message = Message::decode(&bytes).expect("a message");
        assert_eq!(
            (message.kind, message.member.as_str(), message.signature.as_str()),
            (CALL, "StopUnit", "ss")
        );
        let mut reader = message.body();
        assert_eq!(
            (reader.string(), reader.string(), reader.string()),
            (Some("box.scope"), Some("replace"), None)
        );
    }

    #[test]
    fn properties_are_aligned_as_the_specification_says() {
        let mut writer = Writer::default();
        writer.properties(&[("A".into(), Value::U64(5)), ("B".into(), Value::Numbers(vec![9]))]);
        let expected: &[&[u8]] = &[
            &[40, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'B', 0, 2, b'a', b'u', 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0],
        ];
        let mut expected = expected.concat();
        let length = u32::try_from(expected.len() - 8).expect("short");
        expected[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let bytes = call(Vec::new(), "");
        for end in 0..bytes.len() {
            assert_eq!(Message::decode(&bytes[..end]).filter(|_| end < bytes.len() - 8), None, "{end}");
        }
        assert_eq!(Message::length(b"lxxxxxxxxxxxxxxx"), None);
        assert_eq!(Message::length(b"?"), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] = 0xff;
            // Whatever it is taken for, it does not panic.
            let _ = Message::length(&damaged);
            let _ = Message::decode(&damaged).map(|message| message.body().string().map(str::len));
        }
    }
}
