//! The thin layer over the kernel, named after the manual pages it wraps. Unsafe code lives here and nowhere else
//! (main.rs has the entry point); nothing here decides anything.
#![allow(unsafe_code)]

pub mod arguments;
pub mod children;
pub mod clock;
pub mod descriptors;
pub mod identity;
pub mod notify;
pub mod outlet;
pub mod poll;
pub mod program;
pub mod signals;
pub mod sockets;
pub mod spawn;
pub mod terminal;
