//! What is somewhere else: files of the web and repositories of Git, as `ADD` and contexts name them. Pure.
//!
//! ```text
//! https://host/path/file                               a file
//! https://host/path.git[#[REF][:DIRECTORY]]            a repository, as are git://, ssh:// and user@host:path
//! https://host/path.git?branch=NAME&subdir=DIRECTORY   the same; also tag, ref, checksum, keep-git-dir, submodules
//! ```

use std::fmt;
use std::ops::Range;

use crate::dockerfile::path;
use crate::dockerfile::valid::{is_repository, is_url};

/// Shortest beginning of a commit that says which it is.
const SHORTEST_COMMIT: usize = 7;
/// Longest name that a file can have.
const NAME_LIMIT: usize = 255;

/// Something that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A file, by HTTP.
    Url(String),
    /// A repository.
    Repository(Repository),
}

/// A repository, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Where it is, for Git; without credentials.
    pub url: String,
    /// Those that its URL had.
    pub credentials: Option<Credentials>,
    /// A branch, a tag, another reference or a commit; what the repository itself says if absent.
    pub reference: Option<String>,
    /// The directory that is wanted, from the root on.
    pub directory: Option<String>,
    /// `.git` is wanted, too.
    pub keep_git: bool,
    /// So are the repositories that are part of it.
    pub submodules: bool,
    /// What the commit must begin with.
    pub commit: Option<String>,
}

/// Whom a server takes us for; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// A name, or a token.
    pub user: String,
    /// Empty if there is none.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl Credentials {
    /// Those in a URL of HTTP.
    fn of(url: &str) -> Result<Option<Self>, String> {
        let Some(place) = user_information(url).filter(|_| is_url(url)) else { return Ok(None) };
        let (user, password) = url[place.clone()].split_once(':').unwrap_or((&url[place], ""));
        let [user, password] = [user, password].map(decoded);
        // Git takes them line by line.
        match [&user, &password].iter().any(|text| text.contains(char::is_control)) {
            true => Err(format!(
                "the user or the password of `{}` has control characters",
                without_credentials(url)
            )),
            false => Ok(Some(Self { user, password })),
        }
    }
}

impl Remote {
    /// What a source means; nothing if that is a path.
    ///
    /// # Errors
    /// A repository with what means nothing.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        match text {
            _ if is_repository(text) => Repository::parse(text).map(Self::Repository).map(Some),
            _ if is_url(text) => Ok(Some(Self::Url(text.to_owned()))),
            _ => Ok(None),
        }
    }
}

impl Repository {
    fn parse(text: &str) -> Result<Self, String> {
        let (place, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_path = !place.contains("://");
        let (url, query) = place.split_once('?').filter(|_| !is_path).unwrap_or((place, ""));
        if !query.is_empty() && !fragment.is_empty() {
            let shown = without_credentials(text);
            return Err(format!("`{shown}` says what is wanted twice: behind `?` and behind `#`"));
        }
        let mut repository = Self {
            url: without_credentials(url),
            credentials: Credentials::of(url)?,
            reference: None,
            directory: None,
            keep_git: false,
            submodules: true,
            commit: None,
        };
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        repository.ask("ref", reference)?;
        repository.ask("subdir", directory)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            repository.ask(key, &decoded(value))?;
        }
        Ok(repository)
    }

    /// Sets one thing; a text that is empty sets nothing but a switch.
    fn ask(&mut self, key: &str, value: &str) -> Result<(), String> {
        let reference = match key {
            "ref" => value.to_owned(),
            "branch" => format!("refs/heads/{value}"),
            "tag" => format!("refs/tags/{value}"),
            "subdir" => {
                self.directory = Some(path::source(value)).filter(|path| path != "/");
                return Ok(());
            }
            "checksum" | "commit" => return self.require(value),
            "keep-git-dir" => return switch(key, value).map(|on| self.keep_git = on),
            "submodules" => return switch(key, value).map(|on| self.submodules = on),
            _ => return Err(format!("`{key}` means nothing of a repository")),
        };
        if value.is_empty() {
            return Ok(());
        }
        match is_reference(&reference) {
            true => self.reference = Some(reference),
            false => return Err(format!("`{value}` is no reference of Git's")),
        }
        Ok(())
    }

    /// The commit must begin so.
    ///
    /// # Errors
    /// It is no beginning of a commit.
    pub fn require(&mut self, commit: &str) -> Result<(), String> {
        let is_one = commit.len() >= SHORTEST_COMMIT
            && commit.len() <= 64
            && commit.bytes().all(|it| it.is_ascii_hexdigit());
        if !is_one {
            return Err(format!(
                "--checksum: `{commit}` is no commit of at least {SHORTEST_COMMIT} hexadecimal digits"
            ));
        }
        self.commit = Some(commit.to_ascii_lowercase());
        Ok(())
    }

    /// The commit, if the reference is one itself.
    pub fn exact(&self) -> Option<&str> {
        let is_commit = |text: &&str| {
            matches!(text.len(), 40 | 64)
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        self.reference.as_deref().filter(is_commit)
    }

    /// Whether a commit is one that it may have.
    ///
    /// # Errors
    /// It is another.
    pub fn check(&self, commit: &str) -> Result<(), String> {
        match self.commit.as_deref().filter(|wanted| !commit.starts_with(*wanted)) {
            Some(wanted) => Err(format!("`{}` has the commit {commit}, and not {wanted}", self.url)),
            None => Ok(()),
        }
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{key}` is true or false, and not `{value}`")),
    }
}

/// Whether a text can be a reference (git-check-ref-format(1)), and no option of a command.
fn is_reference(text: &str) -> bool {
    const SPECIAL: &[char] = &[' ', '~', '^', ':', '?', '*', '[', '\\', '\x7f'];
    let is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(SPECIAL)
        && !text.chars().any(char::is_control)
        && !text.split('/').any(is_bad)
}

/// A URL as everybody may see it: without user and password. That of ssh keeps the user, who is part of the place.
pub fn without_credentials(url: &str) -> String {
    let Some(place) = user_information(url) else { return url.to_owned() };
    let user = url[place.clone()].split(':').next().filter(|_| url.starts_with("ssh://"));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{}{user}{}", &url[..place.start], &url[place.end + 1..])
}

/// Where user and password are in a URL (RFC 3986 section 3.2.1).
fn user_information(url: &str) -> Option<Range<usize>> {
    let start = url.find("://")? + "://".len();
    let authority = url[start..].split(['/', '?', '#']).next()?;
    Some(start..start + authority.rfind('@')?)
}

/// The name of the file at a URL: the last part of its path, if it has one.
pub fn file_name(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split(['?', '#']).next()?.split_once('/')?;
    let last = path.trim_end_matches('/').rsplit('/').next()?;
    sound_name(&decoded(last))
}

/// The name of a file in `Content-Disposition` (RFC 6266 section 4), if it has one.
pub fn disposition_name(header: &str) -> Option<String> {
    let parameters = header.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut names = parameters.filter_map(|(key, value)| {
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "filename" => Some((1, value.trim_matches('"').replace('\\', ""))),
            "filename*" => {
                let (charset, rest) = value.split_once('\'')?;
                let (_, text) = rest.split_once('\'')?;
                charset.eq_ignore_ascii_case("utf-8").then(|| (0, decoded(text)))
            }
            _ => None,
        }
    });
    let first = names.next()?;
    let (_, name) = names.fold(first, |best, other| if other.0 < best.0 { other } else { best });
    sound_name(&name)
}

/// A name that is one name, and no way anywhere.
fn sound_name(text: &str) -> Option<String> {
    let name = text.rsplit('/').next()?;
    let is_sound =
        !matches!(name, "" | "." | "..") && name.len() <= NAME_LIMIT && !name.chars().any(char::is_control);
    is_sound.then(|| name.to_owned())
}

/// A text without `%41` (RFC 3986 section 2.1).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(text: &str) -> Repository {
        match Remote::parse(text) {
            Ok(Some(Remote::Repository(repository))) => repository,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn repositories_say_what_is_wanted_of_them() {
        for (text, url, reference, directory) in [
            ("https://h/a.git", "https://h/a.git", None, None),
            ("https://h/a.git#v1:x/../y/", "https://h/a.git", Some("v1"), Some("/y")),
            ("git@h:a/b.git#:../..", "git@h:a/b.git", None, None),
            ("git://h/a#refs/pull/1/head", "git://h/a", Some("refs/pull/1/head"), None),
            ("https://h/a.git?branch=f%2fx&subdir=d", "https://h/a.git", Some("refs/heads/f/x"), Some("/d")),
            ("ssh://u@h/a?tag=v1", "ssh://u@h/a", Some("refs/tags/v1"), None),
            ("ssh://u:secret@h/a", "ssh://u@h/a", None, None),
            ("git://u:secret@h/a", "git://h/a", None, None),
        ] {
            let found = repository(text);
            assert_eq!(
                (found.url.as_str(), found.reference.as_deref(), found.directory.as_deref()),
                (url, reference, directory)
            );
        }
        let all = repository("https://h/a.git?keep-git-dir=1&submodules=false&checksum=ABCDEF0");
        assert_eq!((all.keep_git, all.submodules, all.commit.as_deref()), (true, false, Some("abcdef0")));
        assert!(all.check("abcdef0123").is_ok() && all.check("bbcdef0123").is_err());
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(repository(&format!("git://h/a#{commit}")).exact(), Some(commit));
        assert_eq!(repository("git://h/a#main").exact(), None);
    }

    #[test]
    fn credentials_are_apart_from_what_is_shown() {
        for (text, expected) in [
            ("https://user:a%40b@h/a.git#v1", Some(("user", "a@b"))),
            ("https://token@h:1/a.git", Some(("token", ""))),
            ("https://a:b@c@h/a.git", Some(("a", "b@c"))),
            ("https://h/a@b.git", None),
            ("ssh://user:secret@h/a.git", None),
            ("git@h:a.git", None),
        ] {
            let found = repository(text);
            let credentials = found.credentials.as_ref().map(|it| (it.user.as_str(), it.password.as_str()));
            assert_eq!(credentials, expected, "{text}");
            let shown = format!("{found:?}");
            assert!(
                !shown.contains("secret") && !shown.contains("a@b\"") && !shown.contains("token"),
                "{shown}"
            );
        }
        for (url, shown) in [
            ("https://u:p@h/x?a=b@c#d", "https://h/x?a=b@c#d"),
            ("http://u@h", "http://h"),
            ("http://h/u:p@x", "http://h/u:p@x"),
            ("ssh://git:p@h/x", "ssh://git@h/x"),
            ("git@h:x", "git@h:x"),
            ("://@", "://"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
        let refused = Remote::parse("https://u:p%0ahost=x@h/a.git").expect_err("a line break");
        assert!(refused.contains("`https://h/a.git`"), "{refused}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "git://h/a#--upload-pack=x",
            "git://h/a#a..b",
            "git://h/a#x y",
            "https://h/a.git?other=x",
            "https://h/a.git?ref=x#y",
            "https://h/a.git?keep-git-dir=maybe",
            "https://h/a.git?checksum=12345",
        ] {
            assert!(Remote::parse(text).is_err(), "{text}");
        }
        assert_eq!(Remote::parse("a/b.git"), Ok(None));
        assert_eq!(Remote::parse("https://h/a.git/x"), Ok(Some(Remote::Url("https://h/a.git/x".to_owned()))));
    }

    #[test]
    fn files_are_called_as_their_url_or_their_server_says() {
        for (url, name) in [
            ("https://h/a/b.tar?x=/y#z", Some("b.tar")),
            ("http://h/a%20b%", Some("a b%")),
            ("http://h/a/", Some("a")),
            ("http://h/a/..%2f..%2fetc", Some("etc")),
            ("http://h/%2e%2e", None),
            ("http://h/a%00", None),
            ("http://h/", None),
            ("http://h", None),
        ] {
            assert_eq!(file_name(url).as_deref(), name, "{url}");
        }
        for (header, name) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename=../x", Some("x")),
            ("attachment; filename=a; filename*=UTF-8''%e2%82%ac", Some("€")),
            ("attachment; filename=\"x/\"", None),
            ("inline", None),
        ] {
            assert_eq!(disposition_name(header).as_deref(), name, "{header}");
        }
    }
}
