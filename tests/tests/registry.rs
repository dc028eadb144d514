//! The registry's server from outside: what it answers, what other clients make of it, and what is left after a crash.
//!
//! The expectations come from the OCI distribution specification 1.1; the names of tests in `protocol` are its sections.

mod registry {
    mod access;
    mod artifacts;
    mod builds;
    mod clients;
    mod copy;
    mod crashes;
    mod credentials;
    mod engines;
    mod limits;
    mod mirror;
    mod names;
    mod protocol;
    mod proxy;
    mod settings;
    mod sharing;
    mod together;
    mod trust;
    mod uploads;
}
