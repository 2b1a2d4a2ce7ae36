//! What the master does at each signal: the table of defaults, and what `-signal` changes in it.
//! Pure: nothing here is sent or blocked.

use super::suggest::or_accepted;
use crate::types::request::Request;
use crate::types::signal::Signal;

/// What the master does at a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalAction {
    /// An operator asks for something.
    Request(Request),
    /// Forward this signal to the current generation and to a candidate.
    Forward(Signal),
    /// From a terminal: forward it to all workers, then stop the master itself, as a shell's job. From kill(2): forward it
    /// like any other.
    JobControl,
    /// Forward it to all workers: they were stopped together.
    Continue,
    /// Reap; never forwarded.
    Reap,
    /// Do nothing.
    Ignore,
}

/// A line of the table of defaults, as the documentation shows it.
pub struct Row {
    pub signals: &'static [Signal],
    pub does: &'static str,
    action: fn(Signal) -> SignalAction,
}

/// What each signal does unless `-signal` says otherwise. A signal in no row is forwarded: [`OTHERS`].
pub const SIGNALS: &[Row] = &[
    Row {
        signals: &[Signal::HUP],
        does: "reload. If the terminal closes, SIGHUP is a stop; with -listen=none it is forwarded",
        action: |_| SignalAction::Request(Request::Reload),
    },
    Row {
        signals: &[Signal::TERM],
        does: "stop: send -stop-signal to all workers, start nothing more, and exit when all workers have exited; \
               a second SIGTERM is forwarded unchanged",
        action: |signal| stop(None, Some(signal)),
    },
    Row {
        signals: &[Signal::INT, Signal::QUIT],
        does: "stop in the same way, but send the signal itself to all workers",
        action: |signal| stop(Some(signal), Some(signal)),
    },
    Row { signals: &[Signal::CHLD], does: "reap processes. SIGCHLD is never forwarded", action: |_| SignalAction::Reap },
    Row {
        signals: &[Signal::TSTP, Signal::TTIN, Signal::TTOU],
        does: "from a terminal: forward to all workers, then suspend socketmaster too; from kill(2): only forward",
        action: |_| SignalAction::JobControl,
    },
    Row { signals: &[Signal::CONT], does: "forward to all workers", action: |_| SignalAction::Continue },
];

/// What all signals do that [`SIGNALS`] does not name.
pub const OTHERS: &str = "forward to the current generation and to a candidate. This includes real-time signals, and SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP and SIGSYS when kill(2) sent them";

const fn stop(with: Option<Signal>, again: Option<Signal>) -> SignalAction {
    SignalAction::Request(Request::Stop { with, again })
}

fn default_action(signal: Signal) -> SignalAction {
    SIGNALS.iter().find(|row| row.signals.contains(&signal)).map_or(SignalAction::Forward(signal), |row| (row.action)(signal))
}

/// The word behind the colon of `-signal=SIG:DO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalRule {
    Reload,
    Stop,
    Ignore,
    /// Forward it as it came; from TERM, INT and QUIT this is no stop. A signal's own name means the same.
    Forward,
    /// Send this other signal instead; from TERM, INT and QUIT still a stop.
    As(Signal),
}

/// The words for rules that are no signal's name, in any case.
pub const SIGNAL_WORDS: &[(&str, SignalRule)] =
    &[("reload", SignalRule::Reload), ("stop", SignalRule::Stop), ("ignore", SignalRule::Ignore), ("forward", SignalRule::Forward)];

const STOP_ENDS_NOTHING: &str = "SIGSTOP only suspends: a worker told with it would never end";

/// Reads a signal; the error is the cause.
pub fn read_signal(text: &str) -> Result<Signal, String> {
    text.parse().map_err(|_| {
        let accepted = "names such as TERM, SIGTERM or RTMIN+3, and numbers from 1 to 64";
        format!("unknown signal {text:?}; {}", or_accepted(without_sig(text), Signal::names(), accepted))
    })
}

/// Reads a signal that can end a worker; the error is the cause.
pub fn read_stop_signal(text: &str) -> Result<Signal, String> {
    match read_signal(text)? {
        Signal::STOP => Err(STOP_ENDS_NOTHING.to_owned()),
        signal => Ok(signal),
    }
}

/// Reads `SIG:DO`; the error is the cause.
pub fn read_rule(text: &str) -> Result<(Signal, SignalRule), String> {
    let (from, to) = text.split_once(':').ok_or("not SIG:DO, such as USR1:reload")?;
    let from = read_signal(from)?;
    if matches!(from, Signal::KILL | Signal::STOP | Signal::CHLD) {
        return Err(format!("{from} cannot be changed: the kernel or the reaping of processes needs it"));
    }
    let word = to.to_ascii_lowercase();
    let words = || SIGNAL_WORDS.iter().map(|(word, _)| *word);
    let rule = match (SIGNAL_WORDS.iter().find(|(known, _)| *known == word), to.parse()) {
        (Some((_, rule)), _) => *rule,
        (None, Ok(signal)) if signal == from => SignalRule::Forward,
        (None, Ok(signal)) => SignalRule::As(signal),
        (None, Err(_)) => {
            let accepted = "reload, stop, ignore, forward, or a signal to send instead such as QUIT";
            return Err(format!("unknown action {to:?}; {}", or_accepted(without_sig(to), words().chain(Signal::names()), accepted)));
        }
    };
    match action(from, rule) {
        SignalAction::Request(Request::Stop { with: Some(Signal::STOP), .. }) => Err(STOP_ENDS_NOTHING.to_owned()),
        _ => Ok((from, rule)),
    }
}

/// A slip of the keys is looked for in the name proper.
fn without_sig(text: &str) -> &str {
    match text.split_at_checked(3) {
        Some((sig, name)) if sig.eq_ignore_ascii_case("SIG") => name,
        _ => text,
    }
}

fn action(signal: Signal, rule: SignalRule) -> SignalAction {
    match (rule, default_action(signal)) {
        (SignalRule::Reload, _) => SignalAction::Request(Request::Reload),
        (SignalRule::Stop, SignalAction::Request(Request::Stop { .. })) => stop(None, Some(signal)),
        (SignalRule::Stop, _) => stop(None, None),
        (SignalRule::Ignore, _) => SignalAction::Ignore,
        (SignalRule::Forward, SignalAction::Continue) => SignalAction::Continue,
        (SignalRule::Forward, _) => SignalAction::Forward(signal),
        (SignalRule::As(with), SignalAction::Request(Request::Stop { .. })) => stop(Some(with), Some(signal)),
        (SignalRule::As(with), _) => SignalAction::Forward(with),
    }
}

/// What every signal does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignalTable {
    changed: Vec<(Signal, SignalAction)>,
}

impl SignalTable {
    /// The defaults, changed by `rules` of which the last one for a signal counts. A master that does not listen has
    /// nothing that a reload could keep, and forwards HUP like any other signal.
    pub fn new(listens: bool, rules: &[(Signal, SignalRule)]) -> SignalTable {
        let mut changed = if listens { Vec::new() } else { vec![(Signal::HUP, SignalAction::Forward(Signal::HUP))] };
        for (signal, rule) in rules {
            changed.retain(|(known, _)| known != signal);
            changed.push((*signal, action(*signal, *rule)));
        }
        SignalTable { changed }
    }

    pub fn action(&self, signal: Signal) -> SignalAction {
        self.changed.iter().find(|(known, _)| *known == signal).map_or_else(|| default_action(signal), |(_, action)| *action)
    }

    /// What a stop is that no signal asks for: what TERM does, if that is a stop.
    pub fn stop(&self) -> Request {
        match self.action(Signal::TERM) {
            SignalAction::Request(stop @ Request::Stop { .. }) => stop,
            _ => Request::Stop { with: None, again: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rules: &[&str]) -> SignalTable {
        let rules: Vec<_> = rules.iter().map(|rule| read_rule(rule).unwrap()).collect();
        SignalTable::new(true, &rules)
    }

    #[test]
    fn a_signal_stands_in_one_row_at_most() {
        for signal in Signal::all() {
            assert!(SIGNALS.iter().filter(|row| row.signals.contains(&signal)).count() <= 1, "{signal}");
        }
    }

    #[test]
    fn a_signal_without_a_row_is_forwarded() {
        for signal in [Signal::USR1, Signal::USR2, Signal::WINCH, Signal::SEGV, Signal::ABRT, Signal::RTMIN, Signal::RTMAX] {
            assert_eq!(table(&[]).action(signal), SignalAction::Forward(signal));
        }
        assert_eq!(table(&[]).action(Signal::HUP), SignalAction::Request(Request::Reload));
        assert_eq!(table(&[]).action(Signal::TSTP), SignalAction::JobControl);
        assert_eq!(table(&[]).action(Signal::CONT), SignalAction::Continue);
    }

    #[test]
    fn term_stops_with_the_stop_signal_and_the_others_as_they_came() {
        assert_eq!(table(&[]).action(Signal::TERM), stop(None, Some(Signal::TERM)));
        for signal in [Signal::INT, Signal::QUIT] {
            assert_eq!(table(&[]).action(signal), stop(Some(signal), Some(signal)));
        }
    }

    #[test]
    fn without_a_listener_hup_is_forwarded_unless_a_rule_says_otherwise() {
        assert_eq!(SignalTable::new(false, &[]).action(Signal::HUP), SignalAction::Forward(Signal::HUP));
        let rules = [read_rule("HUP:reload").unwrap()];
        assert_eq!(SignalTable::new(false, &rules).action(Signal::HUP), SignalAction::Request(Request::Reload));
    }

    #[test]
    fn another_name_is_still_a_stop_for_the_signals_that_stop() {
        let table = table(&["TERM:QUIT", "INT:TERM", "USR1:stop", "USR2:HUP", "QUIT:stop", "TSTP:USR1"]);
        assert_eq!(table.action(Signal::TERM), stop(Some(Signal::QUIT), Some(Signal::TERM)));
        assert_eq!(table.action(Signal::INT), stop(Some(Signal::TERM), Some(Signal::INT)));
        assert_eq!(table.action(Signal::QUIT), stop(None, Some(Signal::QUIT)));
        assert_eq!(table.action(Signal::USR1), stop(None, None), "nobody hurries a program with a signal that means something else to it");
        assert_eq!(table.action(Signal::USR2), SignalAction::Forward(Signal::HUP));
        assert_eq!(table.action(Signal::TSTP), SignalAction::Forward(Signal::USR1));
    }

    #[test]
    fn forward_and_a_signals_own_name_forward_without_a_stop() {
        for word in ["forward", "Forward", "own name"] {
            for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::TSTP, Signal::SEGV, Signal::RTMAX] {
                let word = if word == "own name" { signal.to_string() } else { word.to_owned() };
                assert_eq!(table(&[&format!("{signal}:{word}")]).action(signal), SignalAction::Forward(signal), "{signal}:{word}");
            }
        }
        assert_eq!(table(&["CONT:forward"]).action(Signal::CONT), SignalAction::Continue);
        assert_eq!(table(&["15:term"]).action(Signal::TERM), SignalAction::Forward(Signal::TERM));
    }

    #[test]
    fn the_last_rule_for_a_signal_counts() {
        assert_eq!(table(&["WINCH:reload", "28:ignore"]).action(Signal::WINCH), SignalAction::Ignore);
    }

    #[test]
    fn what_the_kernel_or_reaping_needs_cannot_be_changed() {
        for signal in Signal::all() {
            let fixed = matches!(signal, Signal::KILL | Signal::STOP | Signal::CHLD);
            assert_eq!(read_rule(&format!("{}:ignore", signal.as_raw())).is_err(), fixed, "{signal}");
        }
    }

    #[test]
    fn a_stop_request_does_what_sigterm_does_if_that_is_a_stop() {
        assert_eq!(table(&[]).stop(), Request::Stop { with: None, again: Some(Signal::TERM) });
        assert_eq!(table(&["TERM:QUIT"]).stop(), Request::Stop { with: Some(Signal::QUIT), again: Some(Signal::TERM) });
        for rule in ["TERM:ignore", "TERM:forward", "TERM:reload"] {
            assert_eq!(table(&[rule]).stop(), Request::Stop { with: None, again: None }, "{rule}");
        }
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_closest_known_one() {
        assert_eq!(read_signal("TREM").unwrap_err(), "unknown signal \"TREM\"; did you mean TERM?");
        assert_eq!(read_signal("sigqiut").unwrap_err(), "unknown signal \"sigqiut\"; did you mean QUIT?");
        assert!(read_signal("zzzzz").unwrap_err().contains("accepted are names such as TERM"));
        assert_eq!(read_rule("USR1:relaod").unwrap_err(), "unknown action \"relaod\"; did you mean reload?");
        assert_eq!(read_rule("USR1:QIUT").unwrap_err(), "unknown action \"QIUT\"; did you mean QUIT?");
        assert!(read_rule("USR1:zzzzz").unwrap_err().contains("accepted are reload, stop, ignore, forward, or"));
    }
}
