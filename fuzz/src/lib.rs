//! What the targets share: bytes as words, and properties of what a person reads.
//!
//! Each target states properties, and does more than wait for a panic. Where the product's interface is not a plain
//! function, `adapter` makes one of it.

pub mod adapter;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use socketmaster::config::{self, Command, Config, Invocation};
use socketmaster::error::Error;
use socketmaster::types::one_line::OneLine;

/// The parts between NULs, which can stand in no argument and no variable.
pub fn parts(data: &[u8]) -> Vec<OsString> {
    data.split(|byte| *byte == 0).map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

/// Text for a person: one line that a terminal shows and does not obey.
#[track_caller]
pub fn assert_one_line(text: &str) {
    assert!(!text.is_empty(), "an empty message");
    assert_eq!(OneLine::from(text).as_str(), text, "a message must be one line without control characters");
}

/// Parses a command line. An error must be for one line, and its kind must be "usage".
pub fn parse(words: &[OsString], variables: &[(OsString, OsString)]) -> Result<Command, String> {
    let argv = std::iter::once(OsString::from("socketmaster")).chain(words.iter().cloned()).collect();
    config::load(&Invocation { argv, environment: variables.to_vec() }).map_err(|error| {
        let text = error.to_string();
        assert_one_line(&text);
        assert!(matches!(error, Error::Usage(_)), "{text}");
        text
    })
}

/// One option, with a program behind it.
pub fn parse_option(name: &str, value: &OsStr) -> Result<Config, String> {
    let mut word = OsString::from(format!("-{name}="));
    word.push(value);
    parse(&[word, "program".into()], &[]).map(|command| match command {
        Command::Run(config) => *config,
        other => panic!("{other:?} is no configuration"),
    })
}
