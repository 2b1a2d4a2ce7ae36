//! The thin layer over the kernel, named after the manual pages it wraps. Unsafe code lives here and nowhere else
//! (main.rs has the entry point); nothing here decides anything.
#![allow(unsafe_code, reason = "system calls are made here and nowhere else")]

pub mod argv;
pub mod clock;
pub mod errno;
pub mod fd;
pub mod file;
pub mod inotify;
pub mod notify;
pub mod openat;
pub mod peer;
pub mod pidfd;
pub mod poll;
pub mod proc;
pub mod random;
pub mod reserve;
pub mod rlimit;
pub mod signal;
pub mod sock_diag;
pub mod socket;
pub mod spawn;
pub mod stderr;
pub mod stdio;
pub mod tty;
pub mod user;
pub mod wait;
