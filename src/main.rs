//! The entry point: blocks signals, reads the command line, then prints a page, asks a running master or a server, or becomes a master. An
//! error becomes one line and an exit status.
//!
//! With a C `main`, not Rust's: what std does before its own would ignore SIGPIPE for every worker, and signals that come
//! meanwhile would be lost.
#![no_main]

#[cfg(target_env = "musl")]
#[allow(unsafe_code, reason = "it stands in for symbols of the unwinder")]
#[path = "sys/unwind.rs"]
mod unwind;

use std::ffi::{c_char, c_int};
use std::io::Write;

use socketmaster::config::{self, Command, Invocation};
use socketmaster::control::client;
use socketmaster::error::Error;
use socketmaster::sys::argv::arguments;
use socketmaster::sys::errno::reason;
use socketmaster::sys::reserve::Allocator;
use socketmaster::sys::signal::{self, InheritedSignals};
use socketmaster::sys::stderr::NonblockingStderr;
use socketmaster::types::one_line::OneLine;
use socketmaster::{probe, runtime};

/// A failed allocation would abort, and PID 1 with it.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// The entry point that the C runtime calls.
///
/// # Safety
/// For the C runtime alone to call.
// SAFETY: no other symbol is called `main`.
#[allow(unsafe_code, reason = "the C runtime calls it by this name")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let found = signal::block_all();
    // SAFETY: they come straight from the C runtime.
    let args = unsafe { arguments(argc, argv) };
    c_int::from(start(args, found).unwrap_or_else(|error| {
        // The write fails if nobody reads; the exit status still tells. What was typed stays on its line.
        let _ = writeln!(std::io::stderr(), "{}{}", NonblockingStderr::error_tag(), OneLine::from(error.to_string()));
        error.exit_status()
    }))
}

fn start(args: Vec<std::ffi::OsString>, found: InheritedSignals) -> Result<u8, Error> {
    let invocation = Invocation { argv: args, environment: std::env::vars_os().collect() };
    match config::load(&invocation)? {
        Command::Print(page) => {
            std::io::stdout().write_all(page.as_bytes()).map_err(|error| Error::cannot("write to", "standard output", reason(&error)))?;
            Ok(0)
        }
        Command::Ask(ask) => client::ask(&ask, found),
        Command::Probe(asked) => Ok(probe::run(&asked, found)),
        Command::Run(config) => runtime::run(invocation, *config, found),
    }
}
