//! socketmaster: opens listening sockets and keeps them, hands them to a program on fd 3, starts a new copy at HUP and
//! retires the old one when the new one is ready; and is a correct PID 1.
//!
//! Data takes one way: argv -> `Config` -> `Running` -> `Event` -> `Supervisor::handle` -> `Action` -> done. The map is in
//! docs/architecture.md.
//! A library only so that tests and generators can reach the parts; the product is the binary.

pub mod config;
pub mod control;
pub mod error;
pub mod listener;
pub mod output;
pub mod probe;
pub mod report;
pub mod runtime;
pub mod supervisor;
pub mod sys;
pub mod systemd;
pub mod types;
pub mod worker;
