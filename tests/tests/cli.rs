//! Holm from outside: its command line, and what a workload and the host see of it.
//!
//! The expectations come from what Docker documents for the same commands, from the OCI specifications,
//! and from the list of bad input that Holm promises to refuse; not from its sources.

mod cli {
    mod attach;
    mod bad_images;
    mod build;
    mod build_outputs;
    mod build_run;
    mod build_stages;
    mod clients;
    mod cni;
    mod compare;
    mod directories;
    mod doctor;
    mod events;
    mod exec;
    mod exit_codes;
    mod files;
    mod firewalls;
    mod health;
    mod identity;
    mod image_files;
    mod images;
    mod inspect;
    mod isolation;
    mod kernels;
    mod leftovers;
    mod life;
    mod limits;
    mod list;
    mod log_drivers;
    mod logs;
    mod mounts;
    mod networks;
    mod output;
    mod pause;
    mod privileges;
    mod refusals;
    mod registries;
    mod restarts;
    mod service;
    mod settings;
    mod signals;
    mod stats;
    mod streams;
    mod system;
    mod system_check;
    mod terminal;
    mod update;
    mod volumes;
}
