//! Lists, a page at a time: what a page needs is held in memory, however long the whole list is.

use std::collections::BinaryHeap;
use std::io;

use super::manifests::referrers;
use super::{Storage, found, in_repository};
use crate::digest::Digest;
use crate::manifest::{LIMIT, Referrer};
use crate::name::Repository;

/// Longest descriptor of a referrer in bytes.
const REFERRER_LIMIT: usize = LIMIT + 65536;

/// One page, in the order of bytes.
#[derive(Debug, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to ask behind for the next one, if there is more.
    pub next: Option<String>,
}

impl Storage {
    /// The tags of a repository behind `last`, `number` of them at most.
    pub fn tags(&self, repository: &Repository, last: &str, number: usize) -> io::Result<Page<String>> {
        let mut smallest = Smallest::new(last, number);
        if let Some(directory) = found(self.root.directory(&in_repository(repository, "_tags")))? {
            directory.each(|name, _| {
                smallest.offer(name);
                Ok(())
            })?;
        }
        Ok(smallest.page())
    }

    /// The repositories that `shown` lets through, behind `last`, `number` of them at most.
    pub fn repositories(
        &self,
        last: &str,
        number: usize,
        shown: &dyn Fn(&Repository) -> bool,
    ) -> io::Result<Page<String>> {
        let mut smallest = Smallest::new(last, number);
        self.each_repository(&mut |repository| {
            if shown(repository) && self.has_manifests(repository)? {
                smallest.offer(repository.as_str());
            }
            Ok(())
        })?;
        Ok(smallest.page())
    }

    /// Those that refer to `subject` and are of the kind `artifact_type`, if one is given, behind `last`.
    pub fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
    ) -> io::Result<Page<Referrer>> {
        /// How many go on a page, by number and by size.
        const NUMBER: usize = 1000;
        let directory = referrers(repository, subject);
        let mut smallest = Smallest::new(last, NUMBER);
        if let Some(directory) = found(self.root.directory(&directory))? {
            directory.each(|name, _| {
                smallest.offer(name);
                Ok(())
            })?;
        }
        let Page { items: names, mut next } = smallest.page();
        let (mut items, mut size) = (Vec::new(), 0);
        for (at, name) in names.iter().enumerate() {
            let Some(text) = self.read(&format!("{directory}/{name}"), REFERRER_LIMIT)? else { continue };
            if size + text.len() > LIMIT && at > 0 {
                next = names.get(at - 1).cloned();
                break;
            }
            size += text.len();
            let referrer: Referrer = serde_json::from_slice(&text)?;
            let wanted = artifact_type.is_none_or(|kind| referrer.artifact_type.as_deref() == Some(kind));
            if wanted && self.counts(repository, &referrer)? {
                items.push(referrer);
            }
        }
        Ok(Page { items, next })
    }

    /// Calls `each` with every repository.
    pub fn each_repository(&self, each: &mut dyn FnMut(&Repository) -> io::Result<()>) -> io::Result<()> {
        let mut pending = vec![String::new()];
        while let Some(above) = pending.pop() {
            let path =
                if above.is_empty() { "repositories".to_owned() } else { format!("repositories/{above}") };
            let Some(directory) = found(self.root.directory(&path))? else { continue };
            let mut is_repository = false;
            directory.each(|name, directory| {
                if name.starts_with('_') {
                    is_repository = true;
                } else if directory {
                    pending.push(if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") });
                }
                Ok(())
            })?;
            if let Some(repository) = Repository::parse(&above).filter(|_| is_repository) {
                each(&repository)?;
            }
        }
        Ok(())
    }

    fn has_manifests(&self, repository: &Repository) -> io::Result<bool> {
        Ok(found(self.root.directory(&in_repository(repository, "_manifests")))?.is_some())
    }

    /// A referrer counts only while its manifest is there.
    fn counts(&self, repository: &Repository, referrer: &Referrer) -> io::Result<bool> {
        match referrer.digest.parse() {
            Ok(digest) => self.has_manifest(repository, &digest),
            Err(_) => Ok(false),
        }
    }
}

/// The smallest names behind one, as many as asked for and one more.
struct Smallest<'a> {
    last: &'a str,
    number: usize,
    names: BinaryHeap<String>,
}

impl<'a> Smallest<'a> {
    fn new(last: &'a str, number: usize) -> Self {
        Self { last, number, names: BinaryHeap::new() }
    }

    fn offer(&mut self, name: &str) {
        let full = self.names.len() > self.number;
        if name <= self.last || (full && self.names.peek().is_some_and(|largest| largest.as_str() <= name)) {
            return;
        }
        self.names.push(name.to_owned());
        if self.names.len() > self.number + 1 {
            self.names.pop();
        }
    }

    fn page(self) -> Page<String> {
        let mut items = self.names.into_sorted_vec();
        let more = items.len() > self.number && self.number > 0;
        items.truncate(self.number);
        let next = items.last().filter(|_| more).cloned();
        Page { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_in_order_and_say_whether_there_is_more() {
        let page = |last, number| {
            let mut smallest = Smallest::new(last, number);
            ["d", "a", "e", "b", "c"].iter().for_each(|name| smallest.offer(name));
            smallest.page()
        };
        let of = |items: &[&str], next: Option<&str>| Page {
            items: items.iter().map(ToString::to_string).collect(),
            next: next.map(str::to_owned),
        };
        assert_eq!(page("", 2), of(&["a", "b"], Some("b")));
        assert_eq!(page("b", 2), of(&["c", "d"], Some("d")));
        assert_eq!(page("b", 3), of(&["c", "d", "e"], None));
        assert_eq!(page("x", 3), of(&[], None));
        assert_eq!(page("", 0), of(&[], None));
    }
}
