//! Holm under crashes: killed at every step that changes state, without its keepers, in a hurry, twice at
//! once, and after a power cut.
//!
//! The parts share one idea: what is on disk, mounted and running is a [`crash::footprint::Footprint`],
//! free of random ids, so that the state after a repair can be compared with the states that are right.

mod crash {
    pub mod footprint;
    pub mod island;
    pub mod kernel;
    pub mod random;

    mod builds;
    mod fail_points;
    mod keepers;
    mod leaks;
    mod logs;
    mod lost_writes;
    mod machines;
    mod model;
    mod networks;
    mod prune;
    mod together;
    mod trace;
    mod volumes;
}
