//! What the operator wrote -> `Config`. Touches nothing of the system: a `Config` can be made and compared in a test.
//!
//! An `Invocation` is kept as long as the master runs, and [`load`] reads it as often as it is asked to: the same
//! invocation always gives the same.

mod args;
mod draft;
pub mod env_template;
pub mod help;
pub mod listen_uri;
pub mod options;
pub mod probe_url;
pub mod protocols;
pub mod signal_rules;
pub mod socket_options;
pub mod suggest;
mod values;
pub mod words;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::env_template::Template;
use crate::config::listen_uri::Endpoint;
use crate::config::probe_url::ProbeUrl;
use crate::config::protocols::Protocols;
use crate::config::signal_rules::SignalTable;
use crate::error::Error;
use crate::types::account::UserSpec;
use crate::types::level::Verbosity;
use crate::types::one_line::OneLine;
use crate::types::request::{self, VerbRow};
use crate::types::settings::Policy;
use crate::types::socket_name::SocketName;

/// How the master was started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invocation {
    /// All words, the name of the program first.
    pub argv: Vec<OsString>,
    pub environment: Vec<(OsString, OsString)>,
}

/// What the user has asked for.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Print this to stdout and exit with 0.
    Print(String),
    Run(Box<Config>),
    Ask(Ask),
    Probe(Probe),
}

/// What to run and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    pub fixed: Fixed,
    pub reloadable: Reloadable,
    /// The first operand, where SOCKETMASTER_COMMAND names the program, so that the operand is only an argument.
    pub operand_after_variable: Option<OsString>,
    /// Mistakes that socketmaster ignores, for the log.
    pub warnings: Vec<OneLine>,
}

/// What cannot change while the master runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fixed {
    /// Where requests are accepted.
    pub control: Option<SocketName>,
    pub output: Output,
    /// Where the master's pid is written once it serves.
    pub pid_file: Option<PathBuf>,
    pub verbosity: Verbosity,
}

/// What takes effect with a new generation.
#[derive(Clone, PartialEq, Debug)]
pub struct Reloadable {
    /// In the order of their descriptors, from 3 up. Empty: no socket at all.
    pub listen: Vec<Endpoint>,
    /// As given: looked up in PATH at every start.
    pub command: OsString,
    pub args: Vec<OsString>,
    /// The program that must succeed before a candidate starts; looked up in PATH at every reload.
    pub check: Option<OsString>,
    pub user: Option<UserSpec>,
    pub dir: Option<PathBuf>,
    pub env: Vec<(OsString, Template)>,
    pub handoff: Protocols,
    /// How workers report that they are ready, where that is waited for.
    pub report: Option<ReportBy>,
    pub signals: SignalTable,
    pub policy: Policy,
}

/// A request to a master that runs already.
#[derive(Clone, PartialEq, Debug)]
pub struct Ask {
    pub control: SocketName,
    pub request: &'static VerbRow,
    /// Print the answer as it comes.
    pub json: bool,
}

/// A health check of a server on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub url: ProbeUrl,
    /// The time limit for all of it.
    pub within: Duration,
}

/// How a new generation earns trust: the choices of `-ready`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// It has lived for `-start`, and accepts where the current generation does.
    Auto,
    /// It has lived for `-start`.
    Start,
    /// It accepts on every listener.
    Accept,
    /// Its workers have reported it.
    Report(ReportBy),
}

/// How workers report that they are ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportBy {
    /// READY=1 of sd_notify(3).
    Notify,
    /// The acknowledgement of einhorn.
    Einhorn,
}

/// The words of `-ready`, and when a generation is ready by each.
pub const READY_WORDS: &[(&str, Ready, &str)] = &[
    ("auto", Ready::Auto, "it has run for -start, and accepts where the current one does"),
    ("start", Ready::Start, "it has run for -start"),
    ("accept", Ready::Accept, "it accepts on every listener"),
    ("notify", Ready::Report(ReportBy::Notify), "it has sent READY=1 to NOTIFY_SOCKET"),
    ("einhorn", Ready::Report(ReportBy::Einhorn), "it has sent the acknowledgement of einhorn"),
];

/// Where the workers' output goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// To the master's own stdout and stderr; the master is not in its path.
    Untouched,
    /// Read by the master and written to stderr, each line after its worker's pid.
    Prefixed,
    /// The same, to syslog.
    Syslog,
}

/// Reads the words after argv\[0\] and the variables. All errors are [`Error::Usage`].
pub fn load(invocation: &Invocation) -> Result<Command, Error> {
    args::command(&mut invocation.argv.iter().skip(1).cloned(), &invocation.environment)
}

/// Whether the program to run is really an option that was written after the end of the options.
pub fn is_misplaced_option(program: &OsStr) -> bool {
    args::named_by(program).is_some()
}

/// The option that a word in place of the program was meant as: `reload`, `help` and so on.
pub fn option_meant_by(program: &OsStr) -> Option<String> {
    let word = program.to_str()?;
    match request::find(word) {
        Some(_) => Some(format!("-s={word}")),
        None => matches!(word, "help" | "version").then(|| format!("-{word}")),
    }
}

/// The hint for a misplaced option.
pub const OPTIONS_COME_FIRST: &str = "options come before -- and before the program";
