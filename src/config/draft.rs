//! The values of the options read so far, and how they become a `Config`.

use std::ffi::OsString;
use std::time::Duration;

use super::options::{ARGS_VARIABLE, COMMAND_VARIABLE};
use super::probe_url::ProbeUrl;
use super::protocols::{Protocol, Protocols};
use super::signal_rules::{SignalRule, SignalTable};
use super::{Ask, Config, Fixed, Output, Probe, Ready, Reloadable, ReportBy, words};
use crate::error::Error;
use crate::types::environment::variable;
use crate::types::level::Verbosity;
use crate::types::request::VerbRow;
use crate::types::settings::{Policy, Trust};
use crate::types::signal::Signal;

/// How long a generation must live to be trusted, and how long a probe may take, where nothing else is said.
const START: Duration = Duration::from_secs(3);
/// How long it may take to accept or to report, where nothing else is said.
const LATEST: Duration = Duration::from_secs(60);

/// When a generation is ready: `-ready` and `-start` mean something only together.
fn trust(ready: Ready, start: Option<Duration>) -> Trust {
    let lived = start.unwrap_or(START);
    let within = Some(start.unwrap_or(LATEST)).filter(|within| !within.is_zero());
    match ready {
        Ready::Start => Trust::Lived(lived),
        Ready::Auto => Trust::LivedAndAccepts { lived, within: lived.max(LATEST) },
        Ready::Accept => Trust::Accepts { within, unseen: lived },
        Ready::Report(_) => Trust::Ready { within },
    }
}

/// Options that have been read, those included that mean something only together.
pub struct Draft {
    pub(super) fixed: Fixed,
    pub(super) reloadable: Reloadable,
    /// `-listen=none`.
    pub(super) no_listener: bool,
    pub(super) command: Option<OsString>,
    pub(super) ready: Ready,
    /// `-start`, where it was given.
    pub(super) start: Option<Duration>,
    pub(super) signal_rules: Vec<(Signal, SignalRule)>,
    pub(super) prefix: bool,
    pub(super) syslog: bool,
    pub(super) quiet: bool,
    pub(super) verbose: bool,
    pub(super) request: Option<&'static VerbRow>,
    pub(super) json: bool,
    pub(super) probe: Option<ProbeUrl>,
}

impl Draft {
    /// An empty draft. The defaults come from the table of options.
    pub(super) fn new() -> Draft {
        Draft {
            fixed: Fixed { control: None, output: Output::Untouched, pid_file: None, verbosity: Verbosity::Normal },
            reloadable: Reloadable {
                listen: Vec::new(),
                command: OsString::new(),
                args: Vec::new(),
                user: None,
                dir: None,
                env: Vec::new(),
                check: None,
                handoff: Protocols::default(),
                report: None,
                signals: SignalTable::new(true, &[]),
                policy: Policy {
                    trust: Trust::Lived(Duration::ZERO),
                    check: false,
                    settle: Duration::ZERO,
                    workers: 1,
                    respawn: false,
                    stop_signal: Signal::TERM,
                    stop_timeout: None,
                    ok: Vec::new(),
                    group: false,
                },
            },
            no_listener: false,
            command: None,
            ready: Ready::Auto,
            start: None,
            signal_rules: Vec::new(),
            prefix: false,
            syslog: false,
            quiet: false,
            verbose: false,
            request: None,
            json: false,
            probe: None,
        }
    }

    /// The request to a running master, if `-s` is given.
    pub(super) fn ask(&self) -> Result<Option<Ask>, Error> {
        match (self.request, &self.fixed.control) {
            (None, _) if self.json => Err(Error::usage("-json goes with -s=VERB")),
            (None, _) => Ok(None),
            (Some(request), Some(control)) => Ok(Some(Ask { control: control.clone(), request, json: self.json })),
            (Some(request), None) => Err(Error::usage(&format!(
                "-s={}: no master is named; give the address of its control socket with -control=ADDR",
                request.word
            ))),
        }
    }

    /// The health check, if `-probe` is given.
    pub(super) fn probe(self) -> Result<Option<Probe>, Error> {
        let within = self.start.unwrap_or(START);
        match self.probe {
            Some(_) if within.is_zero() => Err(Error::usage("-start=0: the time limit of -probe is at least 1 millisecond")),
            url => Ok(url.map(|url| Probe { url, within })),
        }
    }

    /// The configuration, without warnings; `operands` are the words after the options.
    pub(super) fn finish(self, operands: Vec<OsString>, environment: &[(OsString, OsString)]) -> Result<Config, Error> {
        let Draft { mut fixed, mut reloadable, .. } = self;
        fixed.output = match (self.syslog, self.prefix) {
            (true, _) => Output::Syslog,
            (false, true) => Output::Prefixed,
            (false, false) => Output::Untouched,
        };
        fixed.verbosity = match (self.quiet, self.verbose) {
            (true, true) => return Err(Error::usage("-quiet and -verbose cannot go together; omit one of them")),
            (true, false) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        reloadable.policy.check = reloadable.check.is_some();
        reloadable.policy.trust = trust(self.ready, self.start);
        if self.ready == Ready::Report(ReportBy::Einhorn) {
            reloadable.handoff.add(Protocol::Einhorn);
        }
        reloadable.report = match self.ready {
            Ready::Report(by) => Some(by),
            Ready::Auto | Ready::Start | Ready::Accept => None,
        };
        reloadable.signals = SignalTable::new(!reloadable.listen.is_empty(), &self.signal_rules);

        let by_variable = self.command.is_some() && self.command.as_deref() == variable(environment, COMMAND_VARIABLE);
        let operand_after_variable = operands.first().filter(|_| by_variable).cloned();
        let mut operands = operands.into_iter();
        reloadable.command = match self.command {
            Some(command) => command,
            None => operands.next().ok_or_else(|| Error::usage("no program to run; give one with -command=PATH, or after the options"))?,
        };
        if reloadable.command.is_empty() {
            return Err(Error::usage("the program's name, the first word after the options, is empty"));
        }
        reloadable.args = operands.collect();
        if let (true, Some(text)) = (reloadable.args.is_empty(), variable(environment, ARGS_VARIABLE)) {
            reloadable.args = words::split(text).map_err(|cause| Error::value(ARGS_VARIABLE, text, &cause))?;
        }
        Ok(Config { fixed, reloadable, operand_after_variable, warnings: Vec::new() })
    }
}
