//! `--chmod`: octal, or symbolic as chmod(1) has it (`u=rwX,go=rX`).

/// A mode to set, or a change of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This mode, up to 0o7777.
    Octal(u32),
    /// These changes, one after the other.
    Symbolic(Vec<Change>),
}

/// One change: which bits, of whom, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Bits of those who are meant: `0o4700` for `u`.
    who: u32,
    how: How,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Add,
    Remove,
    Set,
}

/// Bits as they are for everybody (`0o111` for `x`), and what depends on the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct What {
    bits: u32,
    /// `X`: `x` if it is a directory or somebody has it.
    execute_if_any: bool,
    /// Copies of what user, group and others have.
    copies: [bool; 3],
}

const EVERYBODY: u32 = 0o7777;
const OWNER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHERS: u32 = 0o0007;

impl Mode {
    /// Reads a mode.
    ///
    /// # Errors
    /// A text of neither form.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return octal.map(Self::Octal).ok_or_else(|| format!("`{text}` is no octal mode from 0 to 7777"));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes).ok_or_else(|| {
                format!("`{text}` is no mode: write an octal number, or changes such as u=rwX,go=rX")
            })?;
        }
        Ok(Self::Symbolic(changes))
    }

    /// The mode of what has `mode` now. No umask counts.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(changes) => {
                let apply = |mode, change: &Change| change.apply(mode, is_directory);
                changes.iter().fold(mode & 0o7777, apply)
            }
        }
    }
}

impl Change {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = self.what.bits;
        if self.what.execute_if_any && (is_directory || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        for (copied, shift) in self.what.copies.into_iter().zip([6, 3, 0]) {
            if copied {
                bits |= ((mode >> shift) & 7) * 0o111;
            }
        }
        let bits = bits & self.who;
        match self.how {
            How::Add => mode | bits,
            How::Remove => mode & !bits,
            // The sticky bit is nobody's: `=` of everybody alone takes it away.
            How::Set => (mode & !self.who) | bits,
        }
    }
}

/// `[ugoa]*([-+=][rwxXstugo]*)+`
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let (people, mut actions) = clause.split_at(clause.find(['+', '-', '='])?);
    let mut who = if people.is_empty() { EVERYBODY } else { 0 };
    for c in people.chars() {
        who |= match c {
            'u' => OWNER,
            'g' => GROUP,
            'o' => OTHERS,
            'a' => EVERYBODY,
            _ => return None,
        };
    }
    while let Some(sign) = actions.chars().next() {
        let how = match sign {
            '+' => How::Add,
            '-' => How::Remove,
            _ => How::Set,
        };
        let rest = &actions[1..];
        let (letters, behind) = rest.split_at(rest.find(['+', '-', '=']).unwrap_or(rest.len()));
        let what = letters.chars().try_fold(What::default(), What::with)?;
        // `t` goes with whoever is named, as in chmod(1).
        let who = who | (what.bits & 0o1000);
        changes.push(Change { who, how, what });
        actions = behind;
    }
    Some(())
}

impl What {
    fn with(mut self, letter: char) -> Option<Self> {
        match letter {
            'r' => self.bits |= 0o444,
            'w' => self.bits |= 0o222,
            'x' => self.bits |= 0o111,
            's' => self.bits |= 0o6000,
            't' => self.bits |= 0o1000,
            'X' => self.execute_if_any = true,
            'u' => self.copies[0] = true,
            'g' => self.copies[1] = true,
            'o' => self.copies[2] = true,
            _ => return None,
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_what_they_say() {
        for (text, before, directory, after) in [
            ("755", 0o600, false, 0o755),
            ("07777", 0, false, 0o7777),
            ("0", 0o644, false, 0),
            ("+x", 0o644, false, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o750, false, 0o770),
            ("a-w", 0o666, false, 0o444),
            ("go-rwx", 0o777, false, 0o700),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("o=", 0o777, false, 0o770),
            ("u=rw-x", 0o700, false, 0o600),
            ("=r", 0o7777, false, 0o444),
            ("o+g-w", 0o660, false, 0o664),
        ] {
            let mode = Mode::parse(text).unwrap_or_else(|reason| panic!("{reason}"));
            assert_eq!(mode.apply(before, directory), after, "{text} of {before:o}");
        }
    }

    #[test]
    fn what_is_no_mode() {
        for text in ["", "10000", "8", "999", "rw", "u", "u=q", "x+r", "u+r,", "-1", "0x7", "u=rw;o=r"] {
            assert!(Mode::parse(text).is_err(), "{text}");
        }
    }
}
