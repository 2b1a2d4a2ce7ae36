//! Variables of an environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A piece of a variable's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk {
    Bytes(Vec<u8>),
    /// The worker's own pid, which only the worker knows: written between fork and exec.
    Pid,
}

/// `KEY=` and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    pub key: OsString,
    pub value: Vec<Chunk>,
}

impl Variable {
    pub fn text(key: &str, value: String) -> Variable {
        Variable::bytes(key, value.into_bytes())
    }

    pub fn bytes(key: impl Into<OsString>, value: Vec<u8>) -> Variable {
        Variable { key: key.into(), value: vec![Chunk::Bytes(value)] }
    }
}

/// The value of a variable. An empty value counts as unset.
pub fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

/// The value of PATH in an environment of a worker, in which the program is looked up.
pub fn path_in(environment: &[Variable]) -> Option<&OsStr> {
    let path = environment.iter().find(|variable| variable.key == "PATH")?;
    match path.value.as_slice() {
        [Chunk::Bytes(path)] => Some(OsStr::from_bytes(path)),
        _ => None,
    }
}

pub fn set(environment: &mut Vec<Variable>, variables: impl IntoIterator<Item = Variable>) {
    for variable in variables {
        environment.retain(|known| known.key != variable.key);
        environment.push(variable);
    }
}
