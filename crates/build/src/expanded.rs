//! An instruction with its variables expanded: which words of which instruction are.
//!
//! Not expanded: commands (the shell does that), JSON commands of `CMD` and `ENTRYPOINT`, `HEALTHCHECK`, `ONBUILD`, `SHELL`,
//! `MAINTAINER`, `--from`, `--exclude`; and what `ARG` says, which [`Variables::declare`] reads.

use crate::dockerfile::{Add, Command, Copy, Heredoc, Mount, Pair, Run, Transfer, Word};
use crate::error::Result;
use crate::expand::Expansion;
use crate::source::Position;
use crate::variables::Variables;

/// Expands words of one instruction and remembers what was asked for in vain.
pub struct Expander<'a> {
    variables: &'a Variables,
    /// Variables that were not set, and where they were asked for.
    pub unset: Vec<(String, Position)>,
}

impl<'a> Expander<'a> {
    /// With the variables in front of the instruction.
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, unset: Vec::new() }
    }

    fn remember(&mut self, expansion: &Expansion, position: Position) {
        self.unset.extend(expansion.unset.iter().map(|name| (name.clone(), position)));
    }

    /// A word as one word.
    ///
    /// # Errors
    /// As [`Variables::expand`].
    pub fn word(&mut self, word: &Word) -> Result<Word> {
        let expansion = self.variables.expand(word)?;
        self.remember(&expansion, word.position);
        Ok(Word { text: expansion.text, position: word.position })
    }

    fn words(&mut self, words: &[Word]) -> Result<Vec<Word>> {
        words.iter().map(|word| self.word(word)).collect()
    }

    /// Words of which each may become several, or none. What is not set is no matter here: nor is it to BuildKit.
    fn split(&mut self, words: &[Word]) -> Result<Vec<Word>> {
        let mut split = Vec::new();
        for word in words {
            let expansion = self.variables.expand(word)?;
            split.extend(expansion.words.into_iter().map(|text| Word { text, position: word.position }));
        }
        Ok(split)
    }

    fn optional(&mut self, word: Option<&Word>) -> Result<Option<Word>> {
        let word = word.map(|word| self.word(word)).transpose()?;
        Ok(word.filter(|word| !word.text.is_empty()))
    }

    fn pairs(&mut self, pairs: &[Pair]) -> Result<Vec<Pair>> {
        let mut pair = |pair: &Pair| {
            Ok(Pair { name: self.word(&pair.name)?, value: self.word(&pair.value)?, old_form: pair.old_form })
        };
        pairs.iter().map(&mut pair).collect()
    }

    fn content(&mut self, heredoc: &Heredoc) -> Result<Heredoc> {
        if !heredoc.expand {
            return Ok(heredoc.clone());
        }
        let expansion = self.variables.expand_content(heredoc)?;
        self.remember(&expansion, heredoc.position);
        // Tabs in front are gone already; those that a value brought stay.
        Ok(Heredoc { content: expansion.text, strip_tabs: false, expand: false, ..heredoc.clone() })
    }

    fn transfer(&mut self, files: &Transfer) -> Result<Transfer> {
        Ok(Transfer {
            owner: self.optional(files.owner.as_ref())?,
            mode: self.optional(files.mode.as_ref())?,
            sources: self.words(&files.sources)?,
            destination: self.word(&files.destination)?,
            inline: files.inline.iter().map(|heredoc| self.content(heredoc)).collect::<Result<_>>()?,
            link: files.link,
            exclude: files.exclude.clone(),
        })
    }
}

impl Command {
    /// The same with its variables expanded.
    ///
    /// # Errors
    /// As [`Variables::expand`].
    pub fn expanded(&self, expander: &mut Expander<'_>) -> Result<Self> {
        Ok(match self {
            Self::Add(add) => Self::Add(Add {
                checksum: expander.optional(add.checksum.as_ref())?,
                files: expander.transfer(&add.files)?,
                ..*add
            }),
            Self::Copy(copy) => {
                Self::Copy(Copy { files: expander.transfer(&copy.files)?, from: copy.from.clone(), ..*copy })
            }
            Self::Env(pairs) => Self::Env(expander.pairs(pairs)?),
            Self::Label(pairs) => Self::Label(expander.pairs(pairs)?),
            Self::Expose(ports) => Self::Expose(expander.split(ports)?),
            Self::StopSignal(signal) => Self::StopSignal(expander.word(signal)?),
            Self::User(user) => Self::User(expander.word(user)?),
            Self::Volume(volumes) => Self::Volume(expander.words(volumes)?),
            Self::Workdir(path) => Self::Workdir(expander.word(path)?),
            Self::Arg(_)
            | Self::Cmd(_)
            | Self::Entrypoint(_)
            | Self::Healthcheck(_)
            | Self::Maintainer(_)
            | Self::Onbuild(_)
            | Self::Run(_)
            | Self::Shell(_) => self.clone(),
        })
    }
}

impl Run {
    /// The mounts, with their variables expanded.
    ///
    /// # Errors
    /// As [`crate::dockerfile::MountFlag::resolve`].
    pub fn resolved_mounts(&self, expander: &mut Expander<'_>) -> Result<Vec<Mount>> {
        let mut expand = |word: &Word| expander.word(word).map(|word| word.text);
        self.mounts.iter().map(|mount| mount.resolve(&mut expand)).collect()
    }
}
