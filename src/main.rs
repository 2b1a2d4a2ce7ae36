//! The entry point: signals first, then the command line, then a page or a life; an error becomes one line and a status.
//!
//! With a C `main`, not Rust's: what std does before its own would ignore SIGPIPE for every worker, and signals that come
//! meanwhile would be lost.
#![no_main]
#![deny(unsafe_code)]

#[cfg(target_env = "musl")]
#[allow(unsafe_code)]
mod unwind;

use std::ffi::{c_char, c_int};
use std::io::Write;

use socketmaster::cli::{self, Request};
use socketmaster::control::client;
use socketmaster::error::Error;
use socketmaster::runtime;
use socketmaster::sys::arguments::arguments;
use socketmaster::sys::signals::{self, Found};

/// The C runtime's way in.
///
/// # Safety
/// For the C runtime alone to call.
// SAFETY: no other symbol is called `main`.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let found = signals::block_all();
    // SAFETY: they come straight from the C runtime.
    let args = unsafe { arguments(argc, argv) };
    c_int::from(start(args, found).unwrap_or_else(|error| {
        // Nobody may be reading; the status still tells.
        let _ = writeln!(std::io::stderr(), "socketmaster: {error}");
        error.exit_status()
    }))
}

fn start(args: Vec<std::ffi::OsString>, found: Found) -> Result<u8, Error> {
    match cli::parse(args.into_iter().skip(1), &|name| std::env::var_os(name))? {
        Request::Print(page) => {
            std::io::stdout().write_all(page.as_bytes()).map_err(|error| Error::cannot("write to", "standard output", error))?;
            Ok(0)
        }
        Request::Ask(ask) => client::ask(&ask, found),
        Request::Run(config) => runtime::run(*config, found, std::env::vars_os().collect()),
    }
}
