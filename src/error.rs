//! All that can go wrong before the loop begins, each with its exit status.
//! After the loop has begun nothing is an `Error` any more: it is an event or a note.

use std::ffi::OsStr;
use std::fmt;

use crate::types::one_line::OneLine;
use crate::types::signal::Signal;

/// One line for a person: what cannot be done, why, and the cure where one is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// The command line or a `SOCKETMASTER_*` variable is wrong. Exit status 2.
    Usage(String),
    /// The system refused something. Exit status 1.
    System { verb: &'static str, object: String, cause: String, hint: Option<&'static str> },
    /// The program cannot be executed. Exit status 127 where there is none, 126 otherwise, as a shell does it.
    Program { status: u8, program: String, cause: String },
    /// A signal has ended the start while it waited for something. Exit status 128 plus the signal's number.
    Stopped { signal: Signal, awaited: String },
}

impl Error {
    /// A mistake in the command line or in a variable, on one line.
    pub fn usage(text: &str) -> Error {
        Error::Usage(OneLine::from(text).to_string())
    }

    /// A value that is wrong; `source` is the option as typed or its variable.
    pub fn value(source: &str, value: &OsStr, cause: &str) -> Error {
        Error::usage(&format!("{source}={}: {cause}", value.to_string_lossy()))
    }

    /// "cannot `verb` `object`: `cause`".
    pub fn cannot(verb: &'static str, object: impl Into<String>, cause: impl ToString) -> Error {
        Error::System { verb, object: object.into(), cause: cause.to_string(), hint: None }
    }

    /// The same error with its cure.
    pub fn hint(self, cure: &'static str) -> Error {
        match self {
            Error::System { verb, object, cause, .. } => Error::System { verb, object, cause, hint: Some(cure) },
            Error::Program { status, program, cause } => Error::Program { status, program, cause: format!("{cause}; {cure}") },
            Error::Usage(text) => Error::Usage(format!("{text}; {cure}")),
            stopped @ Error::Stopped { .. } => stopped,
        }
    }

    /// What the process ends with.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::System { .. } => 1,
            Error::Program { status, .. } => *status,
            Error::Stopped { signal, .. } => 128 + signal.as_raw() as u8,
        }
    }
}

/// On one line, whatever a name, a path or another program's answer holds.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::Usage(text) => text.clone(),
            Error::System { verb, object, cause, hint: None } => format!("cannot {verb} {object}: {cause}"),
            Error::System { verb, object, cause, hint: Some(hint) } => format!("cannot {verb} {object}: {cause}; {hint}"),
            Error::Program { program, cause, .. } => format!("cannot execute {program}: {cause}"),
            Error::Stopped { signal, awaited } => format!("received {signal} during the start, while waiting for {awaited}"),
        };
        OneLine::from(text).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_on_its_line_whatever_it_names() {
        let odd = "a\n\u{1b}[2Jb";
        for error in [
            Error::usage(odd),
            Error::Usage(odd.to_owned()),
            Error::value("-start", OsStr::new(odd), odd),
            Error::cannot("enter", odd, odd),
            Error::cannot("enter", odd, odd).hint("cure"),
            Error::Program { status: 127, program: odd.to_owned(), cause: odd.to_owned() },
        ] {
            let text = error.to_string();
            assert!(!text.contains(char::is_control) && text.contains("a\\n\\u{1b}[2Jb"), "{text}");
        }
    }

    #[test]
    fn a_cure_stands_at_the_end() {
        assert_eq!(Error::cannot("enter", "/a", "no").hint("try /b").to_string(), "cannot enter /a: no; try /b");
        let program = Error::Program { status: 126, program: "a".to_owned(), cause: "no".to_owned() };
        assert_eq!(program.hint("try b").to_string(), "cannot execute a: no; try b");
    }
}
