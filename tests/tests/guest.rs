//! Holm on another machine than this one: a guest of Debian's kernel 6.1 with nothing but cgroup v2.
//!
//! One guest is booted for all tests. It runs the [`guest::step::Step`]s of every area in order, each a
//! shell script, and records how each ended; then it powers off. The tests only read that record.
//! After each area the guest looks at what is left, and the area's last test demands that it is nothing.

mod guest {
    pub mod archive;
    pub mod kernel;
    pub mod machine;
    pub mod programs;
    pub mod record;
    pub mod step;

    mod checkpoints;
    mod keepers;
    mod layers;
    mod limits;
    mod verbs;
    mod walls;

    /// What the guest does, in order: names of areas and their steps.
    pub const AREAS: [(&str, &[step::Step]); 6] = [
        ("verbs", verbs::STEPS),
        ("limits", limits::STEPS),
        ("walls", walls::STEPS),
        ("layers", layers::STEPS),
        ("keepers", keepers::STEPS),
        ("checkpoints", checkpoints::STEPS),
    ];
}
