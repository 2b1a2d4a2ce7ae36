//! Tests of the Debian package, installed on Debian 12 and 13 with systemd as PID 1, in containers of the docker engine of
//! this machine. `make test-deb` runs them, on the packages that `make deb` has made. What they start and build has names
//! of its own and goes away with them.

#[allow(dead_code)]
#[path = "../docker/engine.rs"]
mod engine;
#[allow(dead_code)]
#[path = "../harness/mod.rs"]
mod harness;
mod install;
mod machine;
mod package;
mod reload;
mod store;
mod unit;
