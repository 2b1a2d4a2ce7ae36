//! The integration tests: one crate, one room a subject. They test the binary named by SOCKETMASTER, which `make test`
//! sets to the static one that ships; without it, the one cargo has just built.

#![allow(unsafe_code, reason = "the harness prepares what a child finds between fork(2) and execve(2)")]

mod architecture;
mod bad_input;
mod check_and_settle;
mod config;
#[allow(dead_code, reason = "its tests run here, and `make test-docs` uses it")]
#[path = "docs/console.rs"]
mod console;
mod control;
mod einhorn;
mod faults_of_the_original;
mod handover;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
mod harness;
mod init;
mod lifecycle;
mod manager;
mod notify;
mod output;
#[allow(dead_code, reason = "its tests run here, and `make test-docs` uses it")]
#[path = "docs/page.rs"]
mod page;
mod probe;
mod readiness;
mod resilience;
mod rollover;
mod signals;
mod sockets;
mod starting;
mod unix_paths;
mod workers;
