//! Names of unix sockets, unix(7).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path or abstract name: sun_path holds 108 bytes, one of them a NUL, unix(7).
pub const UNIX_NAME_MAX: usize = 107;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketName {
    Path(PathBuf),
    /// Without the leading NUL, unix(7).
    Abstract(Vec<u8>),
}

/// A path, or an abstract name after `@`.
impl fmt::Display for SocketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketName::Path(path) => path.display().fmt(f),
            SocketName::Abstract(name) => write!(f, "@{}", String::from_utf8_lossy(name)),
        }
    }
}

impl FromStr for SocketName {
    type Err = String;

    /// Reads an absolute path, or an abstract name after `@`. The error is the cause, without the text that was read.
    fn from_str(text: &str) -> Result<SocketName, String> {
        unix_name(text, "/PATH or @NAME")
    }
}

pub fn unix_name(location: &str, form: &str) -> Result<SocketName, String> {
    let name = location.strip_prefix('@');
    let length = name.unwrap_or(location).len();
    if location.contains('\0') {
        return Err("it contains a NUL".to_string());
    }
    if location.contains(char::is_control) {
        return Err("it contains a control character".to_string());
    }
    if length > UNIX_NAME_MAX {
        return Err(format!("{length} bytes are too long for the name of a unix socket; the maximum is {UNIX_NAME_MAX}"));
    }
    match name {
        Some("") => Err("the abstract name is empty".to_string()),
        Some(name) => Ok(SocketName::Abstract(name.as_bytes().to_vec())),
        None if location.starts_with('/') => Ok(SocketName::Path(PathBuf::from(location))),
        None => Err(format!("the path is not absolute; write {form}")),
    }
}
