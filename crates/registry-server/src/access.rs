//! Who may do what.
//!
//! Users are lines of an htpasswd file, with bcrypt only. Rights are lines of an access file:
//!
//! ```text
//! # who       repository      rights
//! alice       team/*          pull,push,delete
//! *           public/*        pull,push        everybody who has logged in
//! anonymous   public/*        pull             everybody
//! ```
//!
//! A pattern is a name, or the beginning of one with `*` behind it. Without an access file every user may do everything and
//! nobody else anything; without users and without an access file everybody may do everything.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use sha2::Digest as _;
use tokio::sync::Semaphore;

use crate::name::Repository;

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are remembered.
const REMEMBERED_LIMIT: usize = 1024;
/// How many passwords are checked at once: each takes a processor for 50 ms and more.
const CHECKS: usize = 2;
/// What can be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Remove.
    Delete,
}

/// Who is meant by a rule.
#[derive(Debug, PartialEq)]
enum Who {
    Anybody,
    Users,
    User(String),
}

/// A line of the access file.
#[derive(Debug, PartialEq)]
struct Rule {
    who: Who,
    pattern: String,
    actions: Vec<Action>,
}

/// A line that is wrong, from 1, and why.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine(usize, String);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.0, self.1)
    }
}

impl std::error::Error for BadLine {}

/// Users and rules.
pub struct Access {
    users: Option<HashMap<String, String>>,
    rules: Option<Vec<Rule>>,
    checks: Semaphore,
    /// Keyed hashes of what was right, with the time until which they count.
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    key: [u8; 32],
}

/// What became of somebody who said who they are.
#[derive(Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody said anything.
    Anonymous,
    /// They are this user.
    User(String),
    /// They are not, or said it in another way than Basic.
    Wrong,
}

impl Identity {
    /// The user's name.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::User(user) => Some(user),
            Self::Anonymous | Self::Wrong => None,
        }
    }
}

impl Access {
    /// Reads both files.
    ///
    /// # Errors
    /// A line is wrong; whose it is, is the caller's to say.
    pub fn new(users: Option<HashMap<String, String>>, access: Option<&str>) -> Result<Self, BadLine> {
        Ok(Self {
            users,
            rules: access.map(rules).transpose()?,
            checks: Semaphore::new(CHECKS),
            remembered: Mutex::default(),
            key: holm_sys::file::random_bytes(),
        })
    }

    /// Whether there are users at all.
    pub fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// Whether somebody may do that.
    pub fn allows(&self, user: Option<&str>, repository: &Repository, action: Action) -> bool {
        match &self.rules {
            None => user.is_some() || self.users.is_none(),
            Some(rules) => rules.iter().any(|rule| rule.allows(user, repository.as_str(), action)),
        }
    }

    /// Whether somebody may do that everywhere, so that no repository needs to be looked at.
    pub fn allows_everywhere(&self, user: Option<&str>, action: Action) -> bool {
        match &self.rules {
            None => user.is_some() || self.users.is_none(),
            Some(rules) => rules.iter().any(|rule| rule.pattern == "*" && rule.allows(user, "", action)),
        }
    }

    /// Who says so in an `Authorization` header. Where there are no users, what is said does not matter.
    pub async fn identify(&self, header: Option<&[u8]>) -> Identity {
        let Some(header) = header.filter(|_| self.users.is_some()) else { return Identity::Anonymous };
        let Some((user, password)) = credentials(header) else { return Identity::Wrong };
        let mark = self.mark(&user, &password);
        if self.remembers(&mark) || self.is_right(&user, password).await {
            self.remember(mark);
            return Identity::User(user);
        }
        Identity::Wrong
    }

    async fn is_right(&self, user: &str, password: String) -> bool {
        let users = self.users.as_ref();
        let known = users.and_then(|users| users.get(user));
        let is_user = known.is_some();
        // For somebody who is no user another one's is checked, so that nobody can tell users by the time it takes.
        let Some(hash) = known.or_else(|| users?.values().next()).cloned() else { return false };
        let Ok(_turn) = self.checks.acquire().await else { return false };
        let check = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false));
        check.await.unwrap_or(false) && is_user
    }

    /// Says which user and password were right, to whoever has this process's key only.
    fn mark(&self, user: &str, password: &str) -> [u8; 32] {
        let mut hasher = sha2::Sha256::new();
        hasher.update(self.key);
        hasher.update((user.len() as u64).to_le_bytes());
        hasher.update(user);
        hasher.update(password);
        hasher.finalize().into()
    }

    fn remembers(&self, mark: &[u8; 32]) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(mark).is_some_and(|until| *until > Instant::now())
    }

    fn remember(&self, mark: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if remembered.len() >= REMEMBERED_LIMIT {
            remembered.retain(|_, until| *until > now);
        }
        if remembered.len() < REMEMBERED_LIMIT {
            remembered
                .entry(mark)
                .and_modify(|until| {
                    if *until <= now {
                        *until = now + REMEMBERED
                    }
                })
                .or_insert(now + REMEMBERED);
        }
    }
}

impl Rule {
    fn allows(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        let who = match &self.who {
            Who::Anybody => true,
            Who::Users => user.is_some(),
            Who::User(name) => user == Some(name),
        };
        who && self.actions.contains(&action) && self.covers(repository)
    }

    fn covers(&self, repository: &str) -> bool {
        match self.pattern.strip_suffix('*') {
            Some(beginning) => repository.starts_with(beginning),
            None => repository == self.pattern,
        }
    }
}

/// Reads an htpasswd file.
///
/// # Errors
/// A line without a colon, or whose hash is not bcrypt's.
pub fn users(text: &str) -> Result<HashMap<String, String>, BadLine> {
    let mut users = HashMap::new();
    for (number, line) in lines(text) {
        let (user, hash) =
            line.split_once(':').ok_or_else(|| BadLine(number, "no `:` behind the name".to_owned()))?;
        let bcrypt = ["$2y$", "$2b$", "$2a$", "$2x$"].iter().any(|prefix| hash.starts_with(prefix));
        if !bcrypt || hash.len() != 60 || hash.parse::<bcrypt::HashParts>().is_err() {
            let reason = format!("the password of `{user}` is not hashed with bcrypt (htpasswd -B)");
            return Err(BadLine(number, reason));
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok(users)
}

fn rules(text: &str) -> Result<Vec<Rule>, BadLine> {
    lines(text).map(|(number, line)| rule(line).map_err(|reason| BadLine(number, reason))).collect()
}

fn rule(line: &str) -> Result<Rule, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [who, pattern, actions] = words[..] else {
        return Err("three words are expected: user, repository, rights".to_owned());
    };
    let whole = pattern.strip_suffix('*').unwrap_or(pattern);
    if whole.contains('*') {
        return Err(format!("`{pattern}`: a `*` stands at the end only"));
    }
    if whole == pattern && Repository::parse(pattern).is_none() {
        return Err(format!("`{pattern}` is no name of a repository"));
    }
    let who = match who {
        "anonymous" => Who::Anybody,
        "*" => Who::Users,
        user => Who::User(user.to_owned()),
    };
    let action = |word: &str| match word {
        "pull" => Ok(Action::Pull),
        "push" => Ok(Action::Push),
        "delete" => Ok(Action::Delete),
        _ => Err(format!("`{word}` is no right: pull, push, delete")),
    };
    let actions = actions.split(',').map(action).collect::<Result<_, _>>()?;
    Ok(Rule { who, pattern: pattern.to_owned(), actions })
}

/// Lines that say something, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Name and password of `Basic …` (RFC 7617).
pub fn credentials(header: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > 4096 {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str) -> Repository {
        Repository::parse(name).expect("a name")
    }

    #[test]
    fn rules_say_who_may_do_what_where() {
        let text =
            "# rights\nalice team/* pull,push\n* public/* pull,push\nanonymous public/* pull\nbob one pull\n";
        let access = Access::new(Some(HashMap::new()), Some(text)).expect("rules");
        let may = |user, name, action| access.allows(user, &repository(name), action);
        assert!(
            may(Some("alice"), "team/app", Action::Push) && !may(Some("alice"), "team/app", Action::Delete)
        );
        assert!(!may(Some("bob"), "team/app", Action::Pull) && !may(None, "team/app", Action::Pull));
        assert!(may(Some("bob"), "public/x", Action::Push) && !may(None, "public/x", Action::Push));
        assert!(may(None, "public/x", Action::Pull) && may(Some("bob"), "public/x", Action::Pull));
        assert!(may(Some("bob"), "one", Action::Pull) && !may(Some("bob"), "one/two", Action::Pull));
        assert!(!access.allows_everywhere(Some("alice"), Action::Pull));
    }

    #[test]
    fn without_rules_users_may_do_everything() {
        let open = Access::new(None, None).expect("no rules");
        assert!(open.allows(None, &repository("a"), Action::Delete));
        let users = Access::new(Some(HashMap::new()), None).expect("no rules");
        assert!(!users.allows(None, &repository("a"), Action::Pull));
        assert!(users.allows(Some("a"), &repository("a"), Action::Delete));
    }

    #[test]
    fn lines_that_are_wrong_are_named() {
        for (text, number) in
            [("a b", 1), ("\n# x\na b* pull\na *b pull", 4), ("a A pull", 1), ("a b eat", 1)]
        {
            assert_eq!(Access::new(None, Some(text)).map(drop).map_err(|line| line.0), Err(number), "{text}");
        }
        for text in ["alice", "alice:secret", "alice:$apr1$x$y", "alice:{SHA}xyz", "alice:$2y$05$short"] {
            assert_eq!(users(text).map_err(|line| line.0), Err(1), "{text}");
        }
    }

    #[test]
    fn credentials_are_of_the_basic_scheme() {
        assert_eq!(credentials(b"Basic YTpiOmM="), Some(("a".to_owned(), "b:c".to_owned())));
        for header in ["", "Basic", "Bearer YTpi", "Basic YWI=", "Basic !", "Basic /w=="] {
            assert_eq!(credentials(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn passwords_are_checked_and_remembered() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        runtime.block_on(check_passwords());
    }

    async fn check_passwords() {
        let hash = bcrypt::hash("secret", 4).expect("hashed");
        let access =
            Access::new(Some(users(&format!("alice:{hash}")).expect("users")), None).expect("no rules");
        let header = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
        let right = header("alice:secret");
        for _ in 0..2 {
            let identity = access.identify(Some(right.as_bytes())).await;
            assert_eq!(identity.user(), Some("alice"));
        }
        assert_eq!(access.remembered.lock().expect("whole").len(), 1);
        for text in ["alice:wrong", "bob:secret", ":"] {
            assert_eq!(access.identify(Some(header(text).as_bytes())).await, Identity::Wrong, "{text}");
        }
        assert_eq!(access.identify(None).await, Identity::Anonymous);
    }
}
