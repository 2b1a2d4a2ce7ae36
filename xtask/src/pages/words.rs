//! What can be offered for an option's value, from the tables that the parser reads it by.

use socketmaster::config::READY_WORDS;
use socketmaster::config::listen_uri::SCHEMES;
use socketmaster::config::options::{Kind, Opt, Values};
use socketmaster::config::protocols::PROTOCOLS;
use socketmaster::config::signal_rules::{SIGNAL_WORDS, read_rule};
use socketmaster::types::request::VERBS;
use socketmaster::types::signal::Signal;

/// A word and what it means.
pub type Word = (String, String);

/// The requests to a running master, and what each does.
pub fn verbs() -> Vec<Word> {
    VERBS.iter().map(|request| (request.word.to_owned(), request.does.to_owned())).collect()
}

/// The ways to become ready.
pub fn ready() -> Vec<Word> {
    READY_WORDS.iter().map(|(word, _, does)| ((*word).to_owned(), (*does).to_owned())).collect()
}

/// How a listener can begin, each beginning once; `none` last.
pub fn listeners() -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for scheme in SCHEMES {
        for form in scheme.forms {
            let begin = form.split(|c: char| c.is_ascii_uppercase()).next().unwrap_or(form);
            if !words.iter().any(|(known, _)| known == begin) {
                words.push((begin.to_owned(), scheme.does.replace('`', "")));
            }
        }
    }
    words.push(("none".to_owned(), "no socket".to_owned()));
    words
}

/// Without `none`.
pub fn protocols() -> Vec<Word> {
    PROTOCOLS.iter().map(|protocol| (protocol.name.to_owned(), protocol.variables.to_owned())).collect()
}

/// Signals that end a worker; those in real time are too many to choose from.
pub fn stop_signals() -> Vec<String> {
    named(|signal| signal != Signal::STOP)
}

/// Signals whose meaning may be changed.
pub fn changeable_signals() -> Vec<String> {
    named(|signal| read_rule(&format!("{signal}:ignore")).is_ok())
}

/// What may stand behind the colon of `SIG:DO`. A bare STOP is an order there and no signal.
pub fn orders() -> Vec<String> {
    SIGNAL_WORDS.iter().map(|(word, _)| (*word).to_owned()).chain(stop_signals()).collect()
}

fn named(wanted: impl Fn(Signal) -> bool) -> Vec<String> {
    let signals = Signal::all().filter(|signal| *signal < Signal::RTMIN && wanted(*signal));
    signals.filter_map(|signal| signal.to_string().strip_prefix("SIG").map(str::to_owned)).collect()
}

/// The option whose value is the program, if it is among these: what follows the options are its arguments then.
pub fn program_option(options: &[Opt]) -> Option<&Opt> {
    options.iter().find(|opt| opt.values == Values::Program)
}

/// Names and aliases of the options, and of those alone that take a value.
pub fn names(options: &[Opt], valued: bool) -> Vec<&'static str> {
    let wanted = options.iter().filter(|opt| !valued || matches!(opt.kind, Kind::Value(_)));
    wanted.flat_map(|opt| std::iter::once(opt.name).chain(opt.alias)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketmaster::config::options::OPTIONS;
    use socketmaster::config::{Command, Invocation, load};

    fn accepted(option: &str) -> bool {
        let argv = ["socketmaster", option, "prog"].map(Into::into).to_vec();
        matches!(load(&Invocation { argv, environment: Vec::new() }), Ok(Command::Run(_)))
    }

    #[test]
    fn the_parser_accepts_what_is_offered() {
        for signal in stop_signals() {
            assert!(accepted(&format!("-stop-signal={signal}")), "{signal}");
        }
        for signal in changeable_signals() {
            assert!(accepted(&format!("-signal={signal}:ignore")), "{signal}");
        }
        for order in orders() {
            assert!(accepted(&format!("-signal=USR1:{order}")), "{order}");
        }
        for (protocol, _) in protocols() {
            assert!(accepted(&format!("-handoff={protocol}")), "{protocol}");
        }
        assert!(accepted("-listen=none"));
        assert!(!accepted("-stop-signal=STOP") && !accepted("-signal=KILL:ignore"), "it accepts everything");
    }

    #[test]
    fn every_listener_begins_in_an_offered_way() {
        let words: Vec<String> = listeners().into_iter().map(|(word, _)| word).collect();
        for begin in ["tcp://", "tcp6://", "unix:///", "unix://@", "unixgram:///", "fd://", "none"] {
            assert!(words.iter().any(|word| word == begin), "{begin}");
        }
        assert!(words.iter().all(|word| words.iter().filter(|other| *other == word).count() == 1), "{words:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_not_offered() {
        assert!(stop_signals().contains(&"TERM".to_owned()) && !stop_signals().contains(&"STOP".to_owned()));
        for signal in ["KILL", "STOP", "CHLD"] {
            assert!(!changeable_signals().contains(&signal.to_owned()), "{signal}");
        }
        assert!(orders().contains(&"stop".to_owned()) && !orders().contains(&"STOP".to_owned()));
    }

    #[test]
    fn names_hold_the_aliases() {
        assert!(names(OPTIONS, false).contains(&"h") && !names(OPTIONS, true).contains(&"h"));
        assert!(names(OPTIONS, true).contains(&"start"));
        assert_eq!(program_option(OPTIONS).map(|opt| opt.name), Some("command"));
    }
}
