//! One workload as it is: its configuration and its state.

use holm_spec::workload::{Config, State, Status};

/// Configuration and state, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What was asked.
    pub config: Config,
    /// What is.
    pub state: State,
    /// It runs, and the kernel holds its processes where they are.
    pub paused: bool,
}

/// How a paused workload's state is called, which no file of it says.
pub const PAUSED: &str = "paused";

impl Workload {
    /// Its state in a word, as lists show it.
    pub fn status(&self) -> &'static str {
        match self.state.status {
            Status::Created => "created",
            Status::Running if self.paused => PAUSED,
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }
}
