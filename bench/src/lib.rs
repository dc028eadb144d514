//! The floors that Holm is measured against, and the few system calls that the driver needs and no safe
//! wrapper offers.
//!
//! Two programs share this library. `holm-floor` does the kernel's part of starting a container, of entering
//! one, or of importing a tarball, and nothing else. `holm-bench` is the driver: it runs holm, the floors and
//! the peers by turns and prints what each took. DESIGN section 11 says how.

pub mod floor;
