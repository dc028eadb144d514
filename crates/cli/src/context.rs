//! What every command has at hand: where to print, where Holm's files lie, which time it is.

use holm_engine::Engine;
use holm_spec::{Digest, Timestamp};

use crate::command_error::CommandError;
use crate::duration;
use crate::globals::Place;
use crate::printer::Printer;
use crate::size;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Prints.
    pub printer: Printer,
    /// The command as people know it: `holm run`.
    pub command: String,
    /// Where everything lies, and what the store is kept to.
    pub place: Place,
}

impl Context {
    /// The engine.
    ///
    /// # Errors
    /// Not root, or the roots cannot be used.
    pub fn engine(&self) -> Result<Engine, CommandError> {
        Ok(Engine::open(self.place.layout.clone())?.take_layers(self.place.layers, self.place.form))
    }

    /// The engine after what a crash left was put right; says what that was.
    ///
    /// # Errors
    /// As [`Context::engine`]. What cannot be put right is told and stands in nobody's way.
    pub fn repaired_engine(&self) -> Result<Engine, CommandError> {
        let engine = self.engine()?;
        match engine.repair() {
            Ok(repairs) => repairs.iter().for_each(|repair| self.printer.note(repair)),
            Err(error) => self.printer.error(&self.command, &error.into()),
        }
        Ok(engine)
    }

    /// The engine after what a crash left in the image store was put right, too; says what that was.
    ///
    /// # Errors
    /// As [`Context::engine`].
    pub fn engine_with_repaired_images(&self) -> Result<Engine, CommandError> {
        let engine = self.repaired_engine()?;
        match engine.repair_images() {
            Ok(repairs) => repairs.iter().for_each(|repair| self.printer.note(repair)),
            Err(error) => self.printer.error(&self.command, &error.into()),
        }
        Ok(engine)
    }

    /// Keeps the store to its size after an image came in, if it is to be kept to one; says what went, and if that was
    /// not enough.
    pub fn keep_to_size(&self, engine: &Engine, new: &Digest) {
        let Some(max_size) = self.place.max_size else { return };
        let (report, excess) = match engine.keep_to(max_size, new) {
            Ok(kept) => kept,
            Err(error) => return self.printer.error(&self.command, &error.into()),
        };
        let limit = size::decimal(max_size);
        if report.bytes > 0 {
            let freed = size::decimal(report.bytes);
            self.printer.note(&format!("removed {freed} that nobody used, to keep the store to {limit}"));
        }
        if excess > 0 {
            let excess = size::decimal(excess);
            self.printer.warning(&format!(
                "the store is {excess} larger than {limit}: the rest has names or is used (`holm system prune -a` removes all images that nobody uses)"
            ));
        }
    }

    /// The engine for a command that only reads: where there is no root, it is empty and stays away.
    ///
    /// # Errors
    /// As `open`, which opens it where there is a root.
    pub fn or_nothing(
        &self,
        open: impl FnOnce(&Self) -> Result<Engine, CommandError>,
    ) -> Result<Engine, CommandError> {
        match self.place.layout.root.try_exists() {
            Ok(false) => Ok(Engine::peek(self.place.layout.clone())?),
            _ => open(self),
        }
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        duration::now()
    }
}
