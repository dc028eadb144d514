//! CRIU's messages (`images/rpc.proto` in its source): protocol buffers, each in one packet.
//!
//! Two of the forms of that encoding are all that CRIU uses here: numbers (switches are numbers, too), and bytes of
//! a length in front of them (texts, and messages inside of messages). So few fields need no generated code.

use crate::error::{Error, Kind, Result};

/// A field's form on the wire: a number of variable length.
const NUMBER: u64 = 0;
/// A field's form on the wire: a length and as many bytes.
const BYTES: u64 = 2;

/// A message being written, field after field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds a number.
    pub fn number(mut self, field: u64, value: u64) -> Self {
        self.head(field, NUMBER);
        self.variable(value);
        self
    }

    /// Adds a descriptor or a process: never negative here.
    pub fn handle(self, field: u64, value: i32) -> Self {
        self.number(field, u64::try_from(value).expect("the kernel's numbers are not negative"))
    }

    /// Adds a switch if it is on.
    pub fn switch(self, field: u64, on: bool) -> Self {
        if on { self.number(field, 1) } else { self }
    }

    /// Adds a text.
    pub fn text(mut self, field: u64, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.head(field, BYTES);
        self.variable(text.len() as u64);
        self.0.extend_from_slice(text);
        self
    }

    /// Adds a text if there is one.
    pub fn optional_text(self, field: u64, text: Option<impl AsRef<[u8]>>) -> Self {
        match text {
            Some(text) => self.text(field, text),
            None => self,
        }
    }

    /// Adds a message for each item.
    pub fn each<T>(self, field: u64, items: impl IntoIterator<Item = T>, write: impl Fn(T) -> Self) -> Self {
        items.into_iter().fold(self, |message, item| message.text(field, write(item).bytes()))
    }

    /// What is a message already, or stands where one could be.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// What is written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn head(&mut self, field: u64, form: u64) {
        self.variable(field << 3 | form);
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn variable(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What is asked of CRIU and what it answers to, `criu_req_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Dump,
    Restore,
    PreDump,
    Notify,
    FeatureCheck,
    Version,
}

impl Subject {
    const ALL: [(Self, u64, &'static str); 6] = [
        (Self::Dump, 1, "DUMP"),
        (Self::Restore, 2, "RESTORE"),
        (Self::PreDump, 4, "PRE_DUMP"),
        (Self::Notify, 6, "NOTIFY"),
        (Self::FeatureCheck, 9, "FEATURE_CHECK"),
        (Self::Version, 10, "VERSION"),
    ];

    fn entry(self) -> (Self, u64, &'static str) {
        let found = Self::ALL.into_iter().find(|(subject, ..)| *subject == self);
        found.expect("every subject is listed")
    }

    fn numbered(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, known, _)| *known == number).map(|(subject, ..)| subject)
    }

    /// As CRIU spells it.
    pub fn name(self) -> &'static str {
        self.entry().2
    }

    /// The request without anything more, `criu_req`.
    pub fn request(self) -> Message {
        Message::default().number(1, self.entry().1)
    }

    /// The request with its options.
    pub fn with_options(self, options: &Message) -> Message {
        self.request().text(2, options.bytes())
    }
}

/// The answer to a notification: go on, or give up.
pub(super) fn confirmation(success: bool) -> Message {
    Subject::Notify.request().number(3, u64::from(success))
}

/// A question about features: each field is one of `criu_features`.
pub(super) fn feature_question(field: u64) -> Message {
    Subject::FeatureCheck.request().text(5, Message::default().switch(field, true).bytes())
}

/// What CRIU says, `criu_resp`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// What it is about, if that is known here.
    pub subject: Option<Subject>,
    /// Whether it went well.
    pub success: bool,
    /// The point that a notification tells of.
    pub point: String,
    /// The process that a notification or an answer is about.
    pub pid: Option<i32>,
    /// Why it failed.
    pub errno: u64,
    /// Why it failed, in words.
    pub reason: String,
    /// Numbers of fields of `criu_features` that are there.
    pub features: Vec<u64>,
    /// Major and minor number and that of a release in between.
    pub version: [u64; 3],
}

impl Response {
    /// Reads a packet. Fields that are not known are passed over.
    ///
    /// # Errors
    /// It is no such message.
    pub fn parse(packet: &[u8]) -> Result<Self> {
        Self::read(packet).ok_or_else(|| Error::new(Kind::System, "unable to parse the response of criu"))
    }

    fn read(packet: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for field in Fields(packet) {
            match field? {
                (1, Value::Number(number)) => response.subject = Subject::numbered(number),
                (2, Value::Number(number)) => response.success = number != 0,
                (4, Value::Bytes(restored)) => response.read_process(restored, 1)?,
                (5, Value::Bytes(notification)) => {
                    response.point = text(find(notification, 1)?);
                    response.read_process(notification, 2)?;
                }
                (7, Value::Number(number)) => response.errno = number,
                (8, Value::Bytes(features)) => response.read_features(features)?,
                (9, Value::Bytes(reason)) => response.reason = text(Some(Value::Bytes(reason))),
                (10, Value::Bytes(version)) => response.read_version(version)?,
                _ => {}
            }
        }
        Some(response)
    }

    fn read_process(&mut self, message: &[u8], field: u64) -> Option<()> {
        if let Some(Value::Number(pid)) = find(message, field)? {
            self.pid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
        }
        Some(())
    }

    fn read_features(&mut self, message: &[u8]) -> Option<()> {
        for field in Fields(message) {
            if let (number, Value::Number(1)) = field? {
                self.features.push(number);
            }
        }
        Some(())
    }

    fn read_version(&mut self, message: &[u8]) -> Option<()> {
        for (part, field) in self.version.iter_mut().zip([1, 2, 4]) {
            if let Some(Value::Number(number)) = find(message, field)? {
                *part = number;
            }
        }
        Some(())
    }
}

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The last field of that number; the outer `None` is for what is no message.
#[expect(clippy::option_option, reason = "a field that is absent is no broken message")]
fn find(message: &[u8], wanted: u64) -> Option<Option<Value<'_>>> {
    let mut found = None;
    for field in Fields(message) {
        let (number, value) = field?;
        if number == wanted {
            found = Some(value);
        }
    }
    Some(found)
}

fn text(value: Option<Value<'_>>) -> String {
    match value {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// The fields of a message, one after the other; `None` among them is where it is broken, and the last.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let head = self.variable()?;
        let value = match head & 7 {
            NUMBER => Value::Number(self.variable()?),
            BYTES => {
                let length = usize::try_from(self.variable()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((head >> 3, value))
    }

    fn variable(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_protobuf_has_them() {
        let inner = Message::default().text(1, "a").handle(2, 300);
        assert_eq!(inner.bytes(), [0x0a, 1, b'a', 0x10, 0xac, 0x02]);
        let message = Subject::Restore.with_options(&Message::default().each(23, [1], |_| inner.clone()));
        assert_eq!(message.bytes()[..5], [0x08, 2, 0x12, 9, 0xba]);
        assert_eq!(Message::default().switch(1, false).optional_text(2, None::<&str>), Message::default());
    }

    #[test]
    fn the_version_is_read() {
        // What criu 3.17.1 says.
        let packet = [0x08, 10, 0x10, 1, 0x52, 6, 0x08, 3, 0x10, 17, 0x20, 1];
        let response = Response::parse(&packet).expect("valid");
        assert_eq!((response.subject, response.success), (Some(Subject::Version), true));
        assert_eq!(response.version, [3, 17, 1]);
    }

    #[test]
    fn notifications_and_failures_are_read() {
        let notification = Message::default().text(1, "post-restore").handle(2, 4711);
        let packet = Subject::Notify.request().number(2, 1).text(5, notification.bytes());
        let response = Response::parse(packet.bytes()).expect("valid");
        assert_eq!((response.point.as_str(), response.pid), ("post-restore", Some(4711)));
        let packet = Subject::Dump.request().number(2, 0).number(7, 52).text(9, "why");
        let response = Response::parse(packet.bytes()).expect("valid");
        assert_eq!((response.success, response.errno, response.reason.as_str()), (false, 52, "why"));
    }

    #[test]
    fn whatever_comes_is_no_panic() {
        for length in 0..4 {
            for number in 0..256_u32.pow(length) {
                let bytes = number.to_le_bytes();
                let _ = Response::parse(&bytes[..length as usize]);
            }
        }
        for broken in [&[0x0a, 0xff, 1][..], &[0xff; 16], &[0x08], &[0x0d, 1, 2, 3, 4]] {
            assert!(Response::parse(broken).is_err(), "{broken:?}");
        }
    }
}
