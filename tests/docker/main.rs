//! Tests with real containers: the image that `make image` has made, under the docker engine of this machine.
//! `make test-docker` runs them. What they start and build has names of its own and goes away with them.

#![allow(unsafe_code, reason = "the harness prepares what a child finds between fork(2) and execve(2)")]

mod confined;
mod engine;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../harness/mod.rs"]
mod harness;
mod image;
mod lifecycle;
mod rollover;
mod terminal;
