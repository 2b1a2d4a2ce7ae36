//! All that can go wrong before the loop begins, each with its exit status.
//! After the loop has begun nothing is an `Error` any more: it is an event or a note.

use std::fmt;

/// One line for a person: what cannot be done, why, and the cure where one is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The command line or a `SOCKETMASTER_*` variable is wrong. Exit status 2.
    Usage(String),
    /// The system refused something. Exit status 1.
    System { verb: &'static str, object: String, cause: String, hint: Option<&'static str> },
    /// The program cannot be executed. Exit status 127 where there is none, 126 otherwise, as a shell does it.
    Program { status: u8, program: String, cause: String },
}

impl Error {
    /// "cannot `verb` `object`: `cause`".
    pub fn cannot(verb: &'static str, object: impl Into<String>, cause: impl ToString) -> Error {
        Error::System { verb, object: object.into(), cause: cause.to_string(), hint: None }
    }

    /// The same error with its cure.
    pub fn hint(self, cure: &'static str) -> Error {
        match self {
            Error::System { verb, object, cause, .. } => Error::System { verb, object, cause, hint: Some(cure) },
            other => other,
        }
    }

    /// What the process ends with.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::System { .. } => 1,
            Error::Program { status, .. } => *status,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => f.write_str(text),
            Error::System { verb, object, cause, hint: None } => write!(f, "cannot {verb} {object}: {cause}"),
            Error::System { verb, object, cause, hint: Some(hint) } => write!(f, "cannot {verb} {object}: {cause}; {hint}"),
            Error::Program { program, cause, .. } => write!(f, "cannot execute {program}: {cause}"),
        }
    }
}
