//! socketmaster: opens listening sockets and keeps them, hands them to a program on fd 3, starts a new copy at HUP and
//! retires the old one when the new one may be trusted; and is a correct PID 1.
//!
//! Data takes one way: argv -> `Config` -> `Runtime` -> `Event` -> `Supervisor::handle` -> `Action` -> done.
//! A library only so that tests and generators can reach the parts; the product is the binary.

#![deny(unsafe_code)]

pub mod activation;
pub mod cli;
pub mod config;
pub mod control;
pub mod endpoint;
pub mod error;
pub mod handoff;
pub mod ids;
pub mod log;
pub mod notify;
pub mod relay;
pub mod runtime;
pub mod signals;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod sys;
