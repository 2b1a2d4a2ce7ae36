//! The command line: argv and environment in, a [`Request`] out. Nothing is opened, looked up or printed here.

pub mod options;
pub mod page;
mod parse;

use std::ffi::{OsStr, OsString};

use crate::config::{Ask, Config};
use crate::error::Error;

/// What the user has asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// Print this to stdout and end with 0.
    Print(String),
    Run(Box<Config>),
    Ask(Ask),
}

/// Reads the words behind argv\[0\]; `env` looks a variable up. All errors are [`Error::Usage`].
pub fn parse(args: impl IntoIterator<Item = OsString>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Request, Error> {
    parse::request(&mut args.into_iter(), env)
}

/// For a message: on one line and without anything that a terminal would obey.
fn shown(text: &OsStr) -> String {
    one_line(&text.to_string_lossy())
}

fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}
