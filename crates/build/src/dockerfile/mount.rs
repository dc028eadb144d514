//! `RUN --mount`: what a command sees besides the files of its stage.
//!
//! A mount is a list of `key=value` with commas between, a field in double quotes if it has a comma itself. Values may
//! have variables, `from` must not: which stages a build needs is known before any of them runs.

use super::words::Word;
use crate::error::{Fault, Kind, Result};
use crate::nearest::nearest;

/// A mount as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The whole value.
    pub text: Word,
    /// The stage, image or context that it is of.
    pub from: Option<String>,
}

/// What a mount is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that later builds find again.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A file that leaves no trace.
    Secret,
    /// A socket of an SSH agent.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Everybody has one of their own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount with its variables expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// The stage, image or context that it is of.
    pub from: Option<String>,
    /// The path there; of a secret its id.
    pub source: Option<String>,
    /// Where it is seen, from the working directory; that one itself if it is not given, which must not be `/` then.
    pub target: Option<String>,
    /// Whether nothing can be written. What is written to anything but a cache is lost anyway.
    pub read_only: bool,
    /// Bytes of a tmpfs.
    pub size: Option<u64>,
    /// The name of a cache, a secret, an agent.
    pub id: Option<String>,
    /// Of a cache, if given.
    pub sharing: Option<Sharing>,
    /// Whether a secret or an agent must be there.
    pub required: bool,
    /// The variable that a secret is in.
    pub variable: Option<String>,
    /// Mode of the file or directory.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];
const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];
const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

impl MountFlag {
    /// Reads what must be known early.
    ///
    /// # Errors
    /// Quotes that do not match, or `from` with a variable.
    pub(super) fn read(text: Word) -> Result<Self> {
        let mut from = None;
        for (key, value) in fields(&text)? {
            let Some(value) = value.filter(|_| key == "from") else { continue };
            if value.find('$').is_some_and(|at| at + 1 < value.len()) {
                let fault = text.fault(Kind::Variable, "`from` of a mount cannot have variables");
                return Err(
                    fault.hint("give a stage that name: `FROM $IMAGE AS name`, and write `from=name`")
                );
            }
            from = Some(value);
        }
        Ok(Self { text, from: from.filter(|from| !from.is_empty()) })
    }

    /// The mount; `expand` expands one value.
    ///
    /// # Errors
    /// An unknown key, a value that cannot be one, keys that do not go together.
    pub fn resolve(&self, expand: &mut dyn FnMut(&Word) -> Result<String>) -> Result<Mount> {
        let mut fields = fields(&self.text)?;
        for (_, value) in &mut fields {
            if let Some(value) = value {
                *value = expand(&Word { text: value.clone(), position: self.text.position })?;
            }
        }
        let faulty = |message: String| self.text.fault(Kind::Value, message);
        let mut draft = Draft::default();
        // The kind first: which keys are allowed must not depend on their order.
        for (_, value) in fields.iter().filter(|(key, _)| key == "type") {
            draft.mount.kind = choose("type", value.as_deref(), &KINDS, true).map_err(faulty)?;
        }
        for (key, value) in &fields {
            draft.set(key, value.as_deref()).map_err(|reason| self.explained(key, reason))?;
        }
        draft.finish().map_err(faulty)
    }

    fn explained(&self, key: &str, reason: Reason) -> Fault {
        match reason {
            Reason::UnknownKey => {
                let fault = self.text.fault(Kind::UnknownFlag, format!("a mount has no key `{key}`"));
                fault.meant(nearest(key, KEYS))
            }
            Reason::Other(message) => self.text.fault(Kind::Value, message),
        }
    }
}

enum Reason {
    UnknownKey,
    Other(String),
}

impl From<String> for Reason {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

/// A mount whose fields are being read.
#[derive(Default)]
struct Draft {
    mount: Mount,
    /// Whether it was said that it can be written to.
    writable: Option<bool>,
}

impl Draft {
    fn set(&mut self, key: &str, value: Option<&str>) -> std::result::Result<(), Reason> {
        let switch = || switch(key, value);
        let text = || value.map(str::to_owned).ok_or_else(|| format!("`{key}` of a mount needs a value"));
        let mount = &mut self.mount;
        match key {
            "type" => {}
            "from" => mount.from = Some(text()?).filter(|from| !from.is_empty()),
            "source" | "src" => mount.source = Some(text()?).filter(|source| !source.is_empty()),
            "target" | "dst" | "destination" => {
                mount.target = Some(text()?).filter(|target| !target.is_empty());
            }
            "readonly" | "ro" => self.writable = Some(!switch()?),
            "readwrite" | "rw" => self.writable = Some(switch()?),
            "id" => mount.id = Some(text()?).filter(|id| !id.is_empty()),
            "sharing" => mount.sharing = Some(choose(key, value, &SHARINGS, false)?),
            "env" => mount.variable = Some(text()?),
            "required" => {
                mount.only(key, &[MountKind::Secret, MountKind::Ssh])?;
                mount.required = switch()?;
            }
            "size" => {
                mount.only(key, &[MountKind::Tmpfs])?;
                mount.size = Some(holm_spec::size::parse(&text()?)?);
            }
            "mode" => mount.mode = Some(number(key, &text()?, 8)?),
            "uid" => mount.uid = Some(number(key, &text()?, 10)?),
            "gid" => mount.gid = Some(number(key, &text()?, 10)?),
            _ => return Err(Reason::UnknownKey),
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<Mount, String> {
        let mut mount = self.mount;
        let owned = [MountKind::Secret, MountKind::Ssh, MountKind::Cache];
        for (key, given) in
            [("mode", mount.mode.is_some()), ("uid", mount.uid.is_some()), ("gid", mount.gid.is_some())]
        {
            if given {
                mount.only(key, &owned)?;
            }
        }
        if mount.sharing.is_some() {
            mount.only("sharing", &[MountKind::Cache])?;
        }
        match mount.kind {
            MountKind::Secret if mount.from.is_some() => return Err("a secret has no `from`".to_owned()),
            MountKind::Secret if mount.source.is_some() && mount.id.is_some() => {
                return Err("`source` and `id` of a secret mean the same: give one".to_owned());
            }
            MountKind::Secret if mount.source.is_none() && mount.id.is_none() && mount.target.is_none() => {
                return Err("a secret needs `id` or `target`".to_owned());
            }
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs if mount.covers_root() => {
                return Err("a mount cannot be seen at `/`".to_owned());
            }
            MountKind::Ssh if mount.source.is_some() => return Err("an SSH agent has no `source`".to_owned()),
            _ => {}
        }
        let by_default = matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs);
        mount.read_only = !self.writable.unwrap_or(by_default);
        Ok(mount)
    }
}

impl Mount {
    fn covers_root(&self) -> bool {
        self.target.as_ref().is_some_and(|target| super::path::clean(target) == "/")
    }

    fn only(&self, key: &str, kinds: &[MountKind]) -> std::result::Result<(), String> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let name = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name);
        Err(format!("a mount of type `{name}` has no key `{key}`"))
    }
}

fn choose<T: Copy>(
    key: &str,
    value: Option<&str>,
    known: &[(&str, T)],
    required: bool,
) -> std::result::Result<T, String> {
    let value = value.unwrap_or_default();
    let lower = value.to_ascii_lowercase();
    if let Some((_, found)) = known.iter().find(|(name, _)| *name == lower) {
        return Ok(*found);
    }
    let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    let what = if required { "a mount cannot have" } else { "a cache cannot have" };
    Err(format!("{what} `{key}={value}`: it is one of {names}"))
}

/// What Go's `strconv.ParseBool` takes, and nothing for true.
pub(super) fn switch(key: &str, value: Option<&str>) -> std::result::Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
        Some(value) => Err(format!("`{key}` is true or false, not `{value}`")),
    }
}

fn number(key: &str, value: &str, radix: u32) -> std::result::Result<u32, String> {
    let plain = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = u32::from_str_radix(value, radix).ok().filter(|_| plain);
    let form = if radix == 8 { "an octal number" } else { "a number" };
    number.ok_or_else(|| format!("`{key}` of a mount is {form}, not `{value}`"))
}

/// Keys in small letters with their values, if they have some.
fn fields(text: &Word) -> Result<Vec<(String, Option<String>)>> {
    let fields = split_fields(&text.text);
    let fields =
        fields.ok_or_else(|| text.fault(Kind::Syntax, "the double quotes in this list do not match"))?;
    let cut = |field: String| match field.split_once('=') {
        Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
        None => (field.to_ascii_lowercase(), None),
    };
    Ok(fields.into_iter().map(cut).collect())
}

/// Fields with commas between, as in a line of a CSV file (RFC 4180).
pub(super) fn split_fields(text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let (field, behind) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (field.to_owned(), behind)
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return behind.is_empty().then_some(fields),
        }
    }
}

/// What stands in quotes, where two are one, and what follows.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Some((field, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> std::result::Result<Mount, String> {
        let word = Word { text: text.to_owned(), position: Default::default() };
        let flag = MountFlag::read(word).map_err(|fault| fault.to_string())?;
        flag.resolve(&mut |word| Ok(word.text.replace("$HOME", "/h"))).map_err(|fault| fault.to_string())
    }

    fn mount(text: &str) -> Mount {
        resolve(text).unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn every_kind_has_its_defaults() {
        assert_eq!(mount("type=bind"), Mount { read_only: true, ..Mount::default() });
        let cache = mount("type=cache,target=$HOME/x,sharing=LOCKED,uid=1,gid=2,mode=0755");
        assert_eq!(
            (cache.kind, cache.read_only, cache.sharing),
            (MountKind::Cache, false, Some(Sharing::Locked))
        );
        assert_eq!(
            (cache.target, cache.uid, cache.gid, cache.mode),
            (some("/h/x"), Some(1), Some(2), Some(0o755))
        );
        assert!(!mount("type=tmpfs,dst=/t,size=1m").read_only);
        assert_eq!(mount("type=tmpfs,size=1m").size, Some(1 << 20));
        assert!(mount("type=bind,from=a,src=/b,dst=/c").read_only);
        assert!(!mount("from=a,rw").read_only && mount("type=cache,ro=true").read_only);
        let secret = mount("type=secret,id=a,env=TOKEN,required");
        assert_eq!((secret.id, secret.variable, secret.required), (some("a"), some("TOKEN"), true));
        assert!(mount("required=1,type=ssh").required);
    }

    #[test]
    fn fields_may_be_in_quotes() {
        assert_eq!(mount("\"target=/a,b\",source=c").target, some("/a,b"));
        assert_eq!(
            split_fields("a,\"b\"\"c\",").as_deref(),
            Some(&["a".to_owned(), "b\"c".to_owned(), String::new()][..])
        );
        for text in ["\"a", "\"a\"b,c"] {
            assert_eq!(split_fields(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_mounts_are_refused() {
        for (text, message) in [
            ("type=bnd", "a mount cannot have `type=bnd`: it is one of bind, cache, tmpfs, secret, ssh"),
            ("type=cache,sharing=x", "a cache cannot have `sharing=x`: it is one of shared, private, locked"),
            ("tagret=/x", "a mount has no key `tagret`"),
            ("target", "`target` of a mount needs a value"),
            ("ro=maybe", "`ro` is true or false, not `maybe`"),
            ("type=bind,size=1", "a mount of type `bind` has no key `size`"),
            ("type=bind,required", "a mount of type `bind` has no key `required`"),
            ("type=tmpfs,uid=1", "a mount of type `tmpfs` has no key `uid`"),
            ("type=bind,mode=7", "a mount of type `bind` has no key `mode`"),
            ("type=ssh,sharing=shared", "a mount of type `ssh` has no key `sharing`"),
            ("type=cache,mode=9", "`mode` of a mount is an octal number, not `9`"),
            ("type=cache,uid=-1", "`uid` of a mount is a number, not `-1`"),
            ("type=secret", "a secret needs `id` or `target`"),
            ("type=secret,id=a,from=b", "a secret has no `from`"),
            ("type=secret,id=a,src=b", "`source` and `id` of a secret mean the same: give one"),
            ("type=ssh,source=/x", "an SSH agent has no `source`"),
            ("type=tmpfs,target=/x/..", "a mount cannot be seen at `/`"),
            ("from=$stage", "`from` of a mount cannot have variables"),
            ("\"type=bind", "the double quotes in this list do not match"),
        ] {
            assert_eq!(resolve(text).expect_err(text), message);
        }
    }
}
