//! Pages: pure functions from the tables to text. The program prints those of `help`; the others are for files that
//! `examples/pages.rs` writes, and the linker leaves them out of the program.

pub mod bash;
pub mod fish;
pub mod help;
pub mod man;
pub mod readme;
mod roff;
mod words;
pub mod zsh;

use super::options::{ARGS_VARIABLE, OPTIONS};
use crate::signals::{OTHERS, SIGNALS};

/// A page that is a file of its own.
pub struct File {
    /// In the repository.
    pub path: &'static str,
    pub render: fn() -> String,
}

/// All of them; the README has its own way, since only parts of it are generated.
pub const FILES: &[File] = &[
    File { path: "docs/socketmaster.1", render: man::page },
    File { path: "docs/completions/socketmaster.bash", render: || bash::completion(OPTIONS) },
    File { path: "docs/completions/_socketmaster", render: || zsh::completion(OPTIONS) },
    File { path: "docs/completions/socketmaster.fish", render: || fish::completion(OPTIONS) },
];

/// The day of this version, as the changelog of the package has it: what is generated must not change by itself.
pub const RELEASED: &str = "2026-11-22";

const USAGE: &str = "\
Usage: socketmaster [options] -command=PATH [-- ARG...]
       socketmaster [options] -- PATH [ARG...]
       socketmaster -control=ADDR -s=VERB [-json]
";

const SUMMARY: &str = "Opens the listening sockets, keeps them open, and hands them to the program as descriptors 3, 4 and so on. \
     At HUP a new generation of the program is started beside the old one, and the old one is told to stop when the new one may be trusted: \
     no client is refused, no connection dropped. A new generation that fails is thrown away. \
     It is a correct PID 1: it reaps orphans, passes signals on, and ends with the program's exit status.";

const WRITING_OPTIONS: &str = "An option is written with one dash or two, its value behind = or as the next word; \
     a switch takes a value only behind =. The first other word, or --, ends the options: the rest belongs to the program. \
     Where an option that cannot be repeated is given twice, the last one counts.";

/// The keys of the query follow it.
const WRITING_LISTENERS: &str = "An empty host or * is the wildcard, an IPv6 address stands in brackets, a port is a number, \
     and port 0 is any free one. Addresses and localhost never ask a resolver. Paths are taken literally, up to a question mark. \
     Behind that may stand, joined by &:";

fn writing_variables() -> String {
    format!(
        "Where the command line does not have an option, its variable gives the value; an empty one counts as unset. \
         For an option that may be repeated it holds words separated by white space, and so does {ARGS_VARIABLE}, \
         the program's arguments where the command line has none. Workers do not get these variables.",
    )
}

const EXIT_STATUSES: &[(&str, &str)] = &[
    ("the program's", "of the current generation's worker that ended last; 128+N where signal N ended it. -ok lists those to report as 0"),
    ("1", "a socket, user or directory cannot be opened or looked up"),
    ("2", "the command line or a variable is wrong; nothing was opened or started"),
    ("126, 127", "the program cannot be executed, or there is none"),
];

pub fn version() -> String {
    format!("socketmaster {}\n", env!("CARGO_PKG_VERSION"))
}

/// The signals and what the master does at them, one row each; the last row is all the others.
fn signal_rows() -> Vec<(String, &'static str)> {
    let known = SIGNALS.iter().map(|row| {
        let names: Vec<String> = row.signals.iter().map(|signal| signal.to_string().trim_start_matches("SIG").to_owned()).collect();
        (names.join(", "), row.does)
    });
    known.chain([("all others".to_owned(), OTHERS)]).collect()
}
