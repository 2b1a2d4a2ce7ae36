//! Text of a value -> value. The error holds the cause and what is accepted; it follows the option in the message.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::env_template::Template;
use super::listen_uri::Endpoint;
use super::options::SWITCH_WORDS;
use super::suggest::or_one_of;
use super::{READY_WORDS, Ready};
use crate::types::request::{VERBS, VerbRow, find};
use crate::types::socket_name::SocketName;

/// More workers than any machine has uses for.
const MOST_WORKERS: usize = 10_000;

pub fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "not UTF-8 text".to_owned())
}

pub fn not_empty(text: &OsStr) -> Result<&OsStr, String> {
    if text.is_empty() { Err("is empty; give a path".to_owned()) } else { Ok(text) }
}

pub fn switch(text: &OsStr) -> Result<bool, String> {
    SWITCH_WORDS.iter().find(|(word, _)| text == *word).map(|(_, on)| *on).ok_or_else(|| {
        let words: Vec<&str> = SWITCH_WORDS.iter().map(|(word, _)| *word).collect();
        format!("neither on nor off; accepted are {}", words.join(" "))
    })
}

pub fn millis(text: &OsStr) -> Result<Duration, String> {
    let digits = text.to_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = digits.ok_or("not a whole number of milliseconds, such as 3000")?;
    digits.parse().map(Duration::from_millis).map_err(|_| format!("too many milliseconds; the maximum is {}", u64::MAX))
}

/// A number of workers.
pub fn count(text: &OsStr) -> Result<usize, String> {
    let digits = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let count = digits.and_then(|digits| digits.parse().ok()).filter(|count| (1..=MOST_WORKERS).contains(count));
    count.ok_or_else(|| format!("not a number from 1 to {MOST_WORKERS}"))
}

pub fn ready(text: &OsStr) -> Result<Ready, String> {
    let text = utf8(text)?;
    let found = READY_WORDS.iter().find(|(word, ..)| *word == text).map(|(_, ready, _)| *ready);
    found.ok_or_else(|| format!("unknown; {}", or_one_of(text, READY_WORDS.iter().map(|(word, ..)| *word))))
}

pub fn statuses(text: &OsStr) -> Result<Vec<u8>, String> {
    let status = |word: &str| word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
    let list: Option<Vec<u8>> = text.to_str().and_then(|text| text.split(',').map(status).collect());
    list.ok_or_else(|| "not a list of exit statuses from 0 to 255, such as 143,130".to_owned())
}

pub fn control_address(text: &OsStr) -> Result<SocketName, String> {
    match utf8(text)? {
        "" => Err("is empty; give an absolute path, or @NAME".to_owned()),
        text => text.parse(),
    }
}

pub fn request(text: &OsStr) -> Result<&'static VerbRow, String> {
    let text = utf8(text)?;
    find(text).ok_or_else(|| format!("unknown request {text:?}; {}", or_one_of(text, VERBS.iter().map(|row| row.word))))
}

/// `KEY=TEMPLATE`. The placeholders are about these listeners.
pub fn variable(text: &OsStr, listen: &[Endpoint]) -> Result<(OsString, Template), String> {
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        return Err("a variable cannot contain a NUL".to_owned());
    }
    let equals = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let (key, rest) = bytes.split_at(equals.ok_or("not KEY=TEMPLATE, such as PORT={addr}")?);
    let template = Template::parse(OsStr::from_bytes(rest.get(1..).unwrap_or_default()), listen)?;
    Ok((OsStr::from_bytes(key).to_owned(), template))
}
