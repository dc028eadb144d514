//! One workload as it is: its configuration and its state.

use holm_spec::workload::{Config, State};

/// Configuration and state, read at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What was asked.
    pub config: Config,
    /// What is.
    pub state: State,
}
