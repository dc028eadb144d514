//! The image store as its callers use it, on roots of its own in temporary directories.

mod child;
mod crash;
mod damage;
mod life;
mod pack;
mod removal;
mod scarcity;
mod scratch;
mod unpacked;
