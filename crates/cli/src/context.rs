//! What every command has at hand: where to print, where Holm's files lie, which time it is.

use holm_engine::Engine;
use holm_spec::Timestamp;
use holm_spec::layout::Layout;

use crate::command_error::CommandError;
use crate::duration;
use crate::printer::Printer;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Prints.
    pub printer: Printer,
    /// The command as people know it: `holm run`.
    pub command: String,
    /// Where everything lies.
    pub layout: Layout,
}

impl Context {
    /// The engine.
    ///
    /// # Errors
    /// Not root, or the roots cannot be used.
    pub fn engine(&self) -> Result<Engine, CommandError> {
        Ok(Engine::open(self.layout.clone())?)
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

    /// The engine for a command that only reads: where there is no root, it is empty and stays away.
    ///
    /// # Errors
    /// As `open`, which opens it where there is a root.
    pub fn or_nothing(
        &self,
        open: impl FnOnce(&Self) -> Result<Engine, CommandError>,
    ) -> Result<Engine, CommandError> {
        match self.layout.root.try_exists() {
            Ok(false) => Ok(Engine::peek(self.layout.clone())?),
            _ => open(self),
        }
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        duration::now()
    }
}
