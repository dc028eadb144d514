//! The commands, one file each: `Args`, whose documentation is the help, and `run`, which gives the exit code.

pub mod attach;
pub mod completion;
pub mod container_inspect;
pub mod create;
pub mod exec;
pub mod history;
pub mod image_inspect;
pub mod images;
pub mod import;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod ps;
pub mod reference;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod start;
pub mod stop;
pub mod tag;
pub mod top;
pub mod version;
pub mod wait;
