//! Holm on other machines than this one: guests of Debian's kernel 6.1 with nothing but cgroup v2.
//!
//! | guest | first process | what it is for |
//! |---|---|---|
//! | [`guest::busybox`] | busybox | everything that needs no more than a kernel |
//! | [`guest::quotas`] | busybox | sizes of volumes, on file systems that keep limits of projects |
//! | [`guest::selinux`] | busybox | labels of SELinux, with a small policy in force |
//! | [`guest::systemd`] | systemd | groups that systemd makes, users of its sessions, AppArmor |
//! | [`guest::service`] | systemd | `holm service`: what a reboot and a power cut leave, and bring back |
//! | [`guest::suite`] | systemd | the tests of `oci.rs`, all of them, for ten minutes: only when asked for by name |
//!
//! Each is booted once for all its tests, if its own steps do not boot it again. It runs the
//! [`guest::step::Step`]s of every area in order, each a shell script, and records how each ended; then it powers off. The
//! tests only read that record.
//! After each area the guest looks at what is left, and the area's last test demands that it is nothing.

mod guest {
    pub mod archive;
    pub mod kernel;
    pub mod machine;
    pub mod record;
    pub mod step;

    mod busybox;
    mod quotas;
    mod selinux;
    mod service;
    mod suite;
    mod systemd;
}
