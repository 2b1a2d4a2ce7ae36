//! Tests of the Debian package, installed on Debian 12 and 13 with systemd as PID 1, in containers of the docker engine of
//! this machine. `make test-deb` runs them, on the packages that `make deb` has made. What they start and build has names
//! of its own and goes away with them.

#![allow(unsafe_code, reason = "the harness prepares what a child finds between fork(2) and execve(2)")]

#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../docker/engine.rs"]
mod engine;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../harness/mod.rs"]
mod harness;
mod install;
mod machine;
mod package;
mod reload;
mod store;
mod unit;
