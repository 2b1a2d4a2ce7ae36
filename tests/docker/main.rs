//! Tests with real containers: the image that `make image` has made, under the docker engine of this machine.
//! `make test-docker` runs them. What they start and build has names of its own and goes away with them.

mod confined;
mod engine;
#[allow(dead_code)]
#[path = "../harness/mod.rs"]
mod harness;
mod image;
mod life;
mod rollover;
mod terminal;
