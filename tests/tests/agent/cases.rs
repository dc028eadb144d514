//! Cases: functions that run in a guest, and the tests that ask for their outcomes.

use super::talk::Guest;

/// A case by its name.
pub type Case = (&'static str, fn(&mut Guest));
/// Cases of one file, in order.
pub type Table = &'static [Case];

/// Makes a table of functions, and a test of each.
macro_rules! cases {
    ($table:ident: $($name:ident),* $(,)?) => {
        pub const $table: $crate::agent::cases::Table =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];

        $(
            mod $name {
                #[test]
                #[ignore = "boots a virtual machine: cargo xtask test --slow"]
                fn holds() {
                    $crate::agent::run::outcome(module_path!());
                }
            }
        )*
    };
}

pub(crate) use cases;
