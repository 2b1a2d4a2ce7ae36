//! argv and environment -> [`Command`]. First the words are sorted into options and operands. Then each option of the table
//! is read from the command line, or else from the environment, or else from its default. A word that no option takes is an
//! error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use lexopt::{Arg, Parser};

use super::draft::Draft;
use super::options::{self, ARGS_VARIABLE, Kind, OPTIONS, Opt, PREFIX, Role};
use super::suggest::nearest;
use super::{Command, Probe, values, words};
use crate::error::Error;
use crate::types::environment::variable;
use crate::types::one_line::OneLine;

type Environment<'a> = &'a [(OsString, OsString)];

pub(super) fn command(words: &mut dyn Iterator<Item = OsString>, environment: Environment) -> Result<Command, Error> {
    let (given, operands) = match sort(words)? {
        Sorted::Page(text) => return Ok(Command::Print(text)),
        Sorted::Words(given, operands) => (given, operands),
    };
    if let Some(probe) = probe(&given, &operands)? {
        return Ok(Command::Probe(probe));
    }
    let mut draft = Draft::new();
    let (settings, request): (Vec<&Opt>, Vec<&Opt>) = OPTIONS.iter().partition(|opt| matches!(opt.role, Role::Setting));
    for opt in request {
        read(opt, &given, environment, &mut draft)?;
    }
    // A request ignores the settings, which may come from a unit's environment.
    if let Some(ask) = draft.ask()? {
        return Ok(Command::Ask(ask));
    }
    for opt in settings {
        read(opt, &given, environment, &mut draft)?;
    }
    let mut config = draft.finish(operands, environment)?;
    config.warnings = ignored(environment);
    Ok(Command::Run(Box::new(config)))
}

/// The health check, if one is asked for. What else is typed would have no effect, so it is an error. Variables are not looked
/// at: those of the container are there for the master, and its `-start` is no time limit of a check.
fn probe(given: &[Given], operands: &[OsString]) -> Result<Option<Probe>, Error> {
    if !given.iter().any(|given| matches!(given.opt.role, Role::Probe)) {
        return Ok(None);
    }
    let takes_part = |opt: &Opt| matches!(opt.role, Role::Probe) || opt.name == "start";
    if let Some(other) = given.iter().find(|given| !takes_part(given.opt)) {
        return Err(Error::usage(&format!("{}: no option goes with -probe but -start", other.source)));
    }
    if let Some(operand) = operands.first() {
        return Err(Error::usage(&format!("{}: -probe runs no program; omit it", operand.to_string_lossy())));
    }
    let mut draft = Draft::new();
    OPTIONS.iter().filter(|opt| takes_part(opt)).try_for_each(|opt| read(opt, given, &[], &mut draft))?;
    draft.probe()
}

/// A value of an option with its source as the user wrote it: `--start`, `SOCKETMASTER_START`.
#[derive(Clone)]
struct Given {
    opt: &'static Opt,
    source: String,
    value: OsString,
}

impl Given {
    fn wrong(&self, cause: &str) -> Error {
        Error::value(&self.source, &self.value, cause)
    }
}

enum Sorted {
    Page(String),
    /// The values of options, and all words after the options.
    Words(Vec<Given>, Vec<OsString>),
}

fn sort(words: &mut dyn Iterator<Item = OsString>) -> Result<Sorted, Error> {
    let mut given = Vec::new();
    while let Some(word) = words.next() {
        // One word at a time: whether the next one is an option or a value only the table knows.
        let mut parser = Parser::from_args([with_two_dashes(&word)]);
        let opt = match parser.next() {
            Ok(Some(Arg::Long(name))) => options::find(name).ok_or_else(|| unknown(&word))?,
            Ok(Some(Arg::Value(first))) => return Ok(Sorted::Words(given, std::iter::once(first).chain(words).collect())),
            Ok(None) => break,
            Ok(Some(Arg::Short(_))) | Err(_) => return Err(unknown(&word)),
        };
        let source = typed(&word);
        let value = match (parser.optional_value(), opt.kind) {
            (Some(value), _) => value,
            (None, Kind::Switch) => OsString::from("true"),
            (None, Kind::Value(placeholder)) => {
                words.next().ok_or_else(|| Error::usage(&format!("{source}: needs a value; write {source}={placeholder}")))?
            }
        };
        let given_now = Given { opt, source, value };
        match opt.role {
            Role::Page(render) if values::switch(&given_now.value).map_err(|cause| given_now.wrong(&cause))? => {
                return Ok(Sorted::Page(render(&given_now.source)));
            }
            _ => given.push(given_now),
        }
    }
    Ok(Sorted::Words(given, words.collect()))
}

/// One dash or two mean the same here, but lexopt takes one dash for a cluster of short options.
fn with_two_dashes(word: &OsStr) -> OsString {
    match word.as_bytes() {
        [b'-', second, ..] if *second != b'-' => OsString::from_vec([b"-", word.as_bytes()].concat()),
        _ => word.to_owned(),
    }
}

/// The option's part of a word.
fn typed(word: &OsStr) -> String {
    let option = word.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    OneLine::from_bytes(option).to_string()
}

/// The option that a word names, with or without a value after `=`.
pub(super) fn named_by(word: &OsStr) -> Option<&'static Opt> {
    let option = word.to_str()?.strip_prefix('-')?;
    options::find(option.strip_prefix('-').unwrap_or(option).split('=').next()?)
}

fn unknown(word: &OsStr) -> Error {
    let option = typed(word);
    let name = option.trim_start_matches('-');
    Error::usage(&match nearest(name, OPTIONS.iter().map(|opt| opt.name)) {
        Some(near) => format!("{option}: unknown option; did you mean -{near}?"),
        None => format!("{option}: unknown option; see -help"),
    })
}

/// Reads an option. The command line overrides the environment, which overrides the default. Every value given must be valid.
fn read(opt: &'static Opt, given: &[Given], environment: Environment, draft: &mut Draft) -> Result<(), Error> {
    let mut values: Vec<Given> = given.iter().filter(|given| given.opt.name == opt.name).cloned().collect();
    if values.is_empty() {
        values = from_environment(opt, environment)?;
    }
    if let (true, Some(default)) = (values.is_empty(), opt.default) {
        values.push(Given { opt, source: format!("-{}", opt.name), value: default.into() });
    }
    values.iter().try_for_each(|given| (opt.read)(draft, &given.value).map_err(|cause| given.wrong(&cause)))
}

/// The value of an option's variable. An empty one counts as unset, since the file of a container or unit cannot unset one.
fn from_environment(opt: &'static Opt, environment: Environment) -> Result<Vec<Given>, Error> {
    let Some(source) = opt.variable() else { return Ok(Vec::new()) };
    let Some(value) = variable(environment, &source) else { return Ok(Vec::new()) };
    if !opt.repeatable {
        return Ok(vec![Given { opt, source, value: value.to_owned() }]);
    }
    let words = words::split(value).map_err(|cause| Error::value(&source, value, &cause))?;
    Ok(words.into_iter().map(|value| Given { opt, source: source.clone(), value }).collect())
}

/// Warnings about variables with our prefix that no option has. An orchestrator may have set them, as Kubernetes does for a
/// service of that name, so only those are named whose name is close to a known one.
fn ignored(environment: Environment) -> Vec<OneLine> {
    let ours: Vec<&str> = environment.iter().filter_map(|(key, _)| key.to_str()?.strip_prefix(PREFIX)).collect();
    if ours.is_empty() {
        return Vec::new();
    }
    let known: Vec<String> = OPTIONS.iter().filter_map(Opt::variable).chain([ARGS_VARIABLE.to_owned()]).collect();
    let names = || known.iter().filter_map(|variable| variable.strip_prefix(PREFIX));
    let warn = |typed: &str| {
        let near = nearest(typed, names()).filter(|_| !names().any(|name| name == typed))?;
        Some(OneLine::from(format!("ignored the variable {PREFIX}{typed}; did you mean {PREFIX}{near}?")))
    };
    ours.into_iter().filter_map(warn).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::env_template::Template;
    use crate::config::options::{SAMPLES, SWITCH_WORDS};
    use crate::config::protocols::Protocols;
    use crate::config::signal_rules::{SignalAction, SignalTable};
    use crate::config::{Config, Fixed, Invocation, Output, Reloadable, help, load};
    use crate::types::account::{NameOrId, UserSpec};
    use crate::types::level::Verbosity;
    use crate::types::request::Request;
    use crate::types::settings::{Policy, Trust};
    use crate::types::signal::Signal;
    use crate::types::socket_name::SocketName;

    fn request_with(words: &[&str], variables: &[(&str, &str)]) -> Result<Command, Error> {
        load(&Invocation {
            argv: ["socketmaster"].iter().chain(words).map(OsString::from).collect(),
            environment: variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        })
    }

    fn config_with(words: &[&str], variables: &[(&str, &str)]) -> Config {
        match request_with(words, variables) {
            Ok(Command::Run(config)) => *config,
            other => panic!("{words:?} {variables:?}: {other:?}"),
        }
    }

    fn run_with(words: &[&str], variables: &[(&str, &str)]) -> Reloadable {
        config_with(words, variables).reloadable
    }

    fn fixed(words: &[&str]) -> Fixed {
        config_with(words, &[("SOCKETMASTER_COMMAND", "prog")]).fixed
    }

    /// With a program to run, so that a test can be about something else.
    fn run(words: &[&str]) -> Reloadable {
        run_with(words, &[("SOCKETMASTER_COMMAND", "prog")])
    }

    fn wrong_with(words: &[&str], variables: &[(&str, &str)]) -> String {
        match request_with(words, variables) {
            Err(Error::Usage(text)) => {
                assert!(!text.contains(char::is_control), "{text:?}");
                text
            }
            other => panic!("{words:?} {variables:?}: {other:?}"),
        }
    }

    fn wrong(words: &[&str]) -> String {
        wrong_with(words, &[("SOCKETMASTER_COMMAND", "prog")])
    }

    fn page(words: &[&str]) -> String {
        match request_with(words, &[]) {
            Ok(Command::Print(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn samples() -> impl Iterator<Item = (&'static Opt, &'static str, &'static str)> {
        SAMPLES.iter().map(|(name, good, bad)| (options::find(name).unwrap(), *good, *bad))
    }

    /// What the environment cannot ask for: a page, or a request.
    fn is_deed(opt: &Opt) -> bool {
        opt.variable().is_none()
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let config = run_with(&["--", "prog"], &[]);
        assert_eq!(config.listen, ["tcp://:8080".parse().unwrap()]);
        assert_eq!((config.command, config.args), ("prog".into(), vec![]));
        assert_eq!((config.user, config.dir), (None, None));
        assert_eq!(config.signals, SignalTable::new(true, &[]));
        assert!(config.env.is_empty());
        assert_eq!(config.handoff, Protocols::default());
        let policy = Policy {
            trust: auto(Duration::from_secs(3)),
            check: false,
            settle: Duration::ZERO,
            workers: 1,
            respawn: false,
            stop_signal: Signal::TERM,
            stop_timeout: None,
            ok: vec![],
            group: false,
        };
        assert_eq!(config.policy, policy);
        assert_eq!(fixed(&[]), Fixed { control: None, output: Output::Untouched, pid_file: None, verbosity: Verbosity::Normal });
    }

    #[test]
    fn every_option_changes_something_in_every_spelling_and_from_the_environment() {
        let run = |words: &[&str]| config_with(words, &[("SOCKETMASTER_COMMAND", "prog")]);
        let plain = run(&[]);
        for (opt, good, _) in samples().filter(|(opt, ..)| !is_deed(opt)) {
            let changed = run(&[&format!("-{}={good}", opt.name)]);
            assert_ne!(changed, plain, "{}", opt.name);
            assert_eq!(changed, run(&[&format!("--{}={good}", opt.name)]), "{}", opt.name);
            let variable = opt.variable().unwrap();
            let from_environment = config_with(&[], &[(&variable, good), ("SOCKETMASTER_COMMAND", "prog")]);
            assert_eq!(changed, from_environment, "{variable}");
            let separate: &[&str] = match opt.kind {
                Kind::Value(_) => &[good],
                Kind::Switch => &[],
            };
            for dashes in ["-", "--"] {
                let option = format!("{dashes}{}", opt.name);
                let words: Vec<&str> = std::iter::once(option.as_str()).chain(separate.iter().copied()).collect();
                assert_eq!(changed, run(&words), "{words:?}");
            }
        }
    }

    #[test]
    fn the_error_for_every_invalid_value_names_the_option_as_typed() {
        for (opt, _, bad) in samples() {
            for dashes in ["-", "--"] {
                let typed = format!("{dashes}{}={bad}", opt.name);
                assert!(wrong(&[&typed]).starts_with(&format!("{typed}: ")), "{typed}: {}", wrong(&[&typed]));
            }
            if let (Some(variable), false) = (opt.variable(), bad.is_empty()) {
                let text = wrong_with(&["--", "prog"], &[(&variable, bad)]);
                assert!(text.starts_with(&format!("{variable}={bad}: ")), "{text}");
            }
        }
    }

    #[test]
    fn a_missing_value_is_told() {
        for (opt, ..) in samples() {
            if let Kind::Value(placeholder) = opt.kind {
                assert_eq!(wrong(&[&format!("--{}", opt.name)]), format!("--{0}: needs a value; write --{0}={placeholder}", opt.name));
            }
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment_per_option() {
        for (opt, good, bad) in samples().filter(|(opt, ..)| !is_deed(opt) && opt.name != "command") {
            let variable = opt.variable().unwrap();
            let typed = format!("-{}={good}", opt.name);
            assert_eq!(config_with(&[&typed, "prog"], &[(&variable, bad)]), config_with(&[&typed, "prog"], &[]), "{variable}");
        }
        let config = run_with(&["-start=5", "prog"], &[("SOCKETMASTER_START", "7"), ("SOCKETMASTER_OK", "3")]);
        assert_eq!((config.policy.trust, config.policy.ok), (auto(Duration::from_millis(5)), vec![3]));
        let config = config_with(&["-syslog=false", "prog"], &[("SOCKETMASTER_SYSLOG", "1")]);
        assert_eq!(config.fixed.output, Output::Untouched);
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let plain = config_with(&["prog"], &[]);
        for (opt, ..) in samples().filter(|(opt, ..)| !is_deed(opt)) {
            assert_eq!(config_with(&["prog"], &[(&opt.variable().unwrap(), "")]), plain, "{}", opt.name);
            if opt.repeatable {
                assert_eq!(config_with(&["prog"], &[(&opt.variable().unwrap(), " \n")]), plain, "{}", opt.name);
            }
        }
        assert_eq!(config_with(&["prog"], &[(ARGS_VARIABLE, "")]), plain);
    }

    #[test]
    fn a_repeatable_variable_is_split_on_white_space_and_no_other_is() {
        let config = run_with(
            &["prog"],
            &[
                ("SOCKETMASTER_LISTEN", " tcp://:1\ttcp://:2\n"),
                ("SOCKETMASTER_SIGNAL", "USR1:reload WINCH:ignore"),
                ("SOCKETMASTER_DIR", "/a b"),
            ],
        );
        assert_eq!(config.listen, ["tcp://:1".parse().unwrap(), "tcp://:2".parse().unwrap()]);
        assert_eq!(config.signals.action(Signal::USR1), SignalAction::Request(Request::Reload));
        assert_eq!(config.signals.action(Signal::WINCH), SignalAction::Ignore);
        assert_eq!(config.dir, Some("/a b".into()));
    }

    #[test]
    fn pages_are_not_asked_for_by_the_environment() {
        run_with(&["prog"], &[("SOCKETMASTER_HELP", "1"), ("SOCKETMASTER_VERSION", "1"), ("SOCKETMASTER_H", "1")]);
    }

    #[test]
    fn the_first_operand_or_two_dashes_end_the_options() {
        for (words, command, args) in [
            (&["prog", "-start=abc"][..], "prog", &["-start=abc"][..]),
            (&["--", "prog", "--", "-help"], "prog", &["--", "-help"]),
            (&["--", "--"], "--", &[]),
            (&["-", "a"], "-", &["a"]),
            (&["-syslog", "on", "x"], "on", &["x"]),
            (&["-command=prog"], "prog", &[]),
            (&["-command=prog", "--"], "prog", &[]),
            (&["-command=prog", "--", "-a", "b"], "prog", &["-a", "b"]),
            (&["-command=prog", "a", "--", "-b"], "prog", &["a", "--", "-b"]),
            (&["-command", "prog", ""], "prog", &[""]),
        ] {
            let config = run_with(words, &[]);
            assert_eq!((config.command, config.args), (command.into(), args.iter().map(OsString::from).collect()), "{words:?}");
        }
    }

    #[test]
    fn with_a_command_from_anywhere_operands_are_its_arguments() {
        let config = run_with(&["--", "a", "b"], &[("SOCKETMASTER_COMMAND", "prog")]);
        assert_eq!((config.command, config.args), ("prog".into(), vec!["a".into(), "b".into()]));
    }

    #[test]
    fn arguments_come_from_the_environment_where_the_command_line_has_none() {
        let args = |words: &[&str]| run_with(words, &[(ARGS_VARIABLE, " -a  b\n")]).args;
        assert_eq!(args(&["-command=prog"]), ["-a", "b"]);
        assert_eq!(args(&["-command=prog", "--"]), ["-a", "b"]);
        assert_eq!(args(&["--", "prog"]), ["-a", "b"]);
        assert_eq!(args(&["-command=prog", "c"]), ["c"]);
        assert_eq!(args(&["prog", "c"]), ["c"]);
        assert_eq!(args(&["-command=prog", ""]), [""]);
    }

    #[test]
    fn without_a_program_one_line_says_how_to_give_one() {
        for words in [&[][..], &["--"], &["-start=1"]] {
            assert_eq!(wrong_with(words, &[]), "no program to run; give one with -command=PATH, or after the options");
        }
        assert_eq!(wrong_with(&["-command="], &[]), "-command=: is empty; give a path");
        assert!(wrong_with(&["", "a"], &[]).ends_with("is empty"));
    }

    #[test]
    fn the_next_word_is_the_value_whatever_it_looks_like() {
        assert_eq!(run(&["-command", "--", "-dir", "-start", "--user", "-h"]).command, "--");
        let config = run(&["-dir", "-start=1", "-command", "-version"]);
        assert_eq!((config.dir, config.command), (Some("-start=1".into()), "-version".into()));
        assert_eq!(wrong(&["-start", "-5"]), "-start=-5: not a whole number of milliseconds, such as 3000");
        assert_eq!(wrong(&["-start", "=5"]), "-start==5: not a whole number of milliseconds, such as 3000");
    }

    #[test]
    fn values_keep_every_byte() {
        let odd = OsString::from_vec(b"\xff=\x01".to_vec());
        for words in [
            vec!["-command".into(), odd.clone()],
            vec![OsString::from_vec([b"-command=", odd.as_bytes()].concat())],
            vec!["--".into(), odd.clone()],
        ] {
            match command(&mut words.into_iter(), &[]) {
                Ok(Command::Run(config)) => assert_eq!(config.reloadable.command, odd),
                other => panic!("{other:?}"),
            }
        }
        let not_text =
            |option: &[u8]| command(&mut [OsString::from_vec([option, b"=\xff"].concat())].into_iter(), &[]).unwrap_err().to_string();
        for option in ["-listen", "-start", "-user", "-stop-signal", "-signal", "-handoff", "-ok", "-syslog"] {
            assert!(not_text(option.as_bytes()).starts_with(&format!("{option}=\u{fffd}: ")), "{option}");
        }
        assert_eq!(not_text(b"-\xfe"), "-\u{fffd}: unknown option; see -help");
    }

    #[test]
    fn a_switch_takes_gos_twelve_spellings_after_an_equals_sign_only() {
        assert_eq!(SWITCH_WORDS.len(), 12);
        for (word, on) in SWITCH_WORDS {
            assert_eq!(run(&[&format!("-group={word}")]).policy.group, *on, "{word}");
            assert_eq!(run_with(&["prog"], &[("SOCKETMASTER_GROUP", word)]).policy.group, *on, "{word}");
        }
        for word in ["", "yes", "on", "tRUE", "2", " 1"] {
            let text = wrong(&[&format!("-group={word}")]);
            assert_eq!(text, format!("-group={word}: neither on nor off; accepted are 1 t T true TRUE True 0 f F false FALSE False"));
        }
        let config = run(&["-group", "false"]);
        assert_eq!((config.policy.group, config.args), (true, vec!["false".into()]));
    }

    #[test]
    fn the_last_of_several_wins_and_all_must_be_right() {
        assert_eq!(run(&["-start=1", "--start", "2"]).policy.trust, auto(Duration::from_millis(2)));
        assert_eq!(run(&["-dir=/a", "-dir=/b"]).dir, Some("/b".into()));
        assert!(!run(&["-group", "-group=0"]).policy.group);
        assert!(wrong(&["-start=x", "-start=2"]).starts_with("-start=x: "));
    }

    #[test]
    fn help_and_version_are_printed_at_once() {
        let (screen, everything) = (help::screen(), help::everything());
        assert_ne!(screen, everything);
        for word in ["-help", "-h", "--h", "-help=1", "-h=true"] {
            assert_eq!(page(&[word]), screen, "{word}");
        }
        for word in ["--help", "--help=t"] {
            assert_eq!(page(&[word]), everything, "{word}");
        }
        for word in ["-version", "--version"] {
            assert_eq!(page(&[word]), help::version(), "{word}");
        }
        assert_eq!(page(&["-start=abc", "-help", "-nosuch"]), screen);
        assert!(wrong(&["-nosuch", "-help"]).starts_with("-nosuch: "));
        assert_eq!(run(&["--", "-help"]).args, ["-help"]);
    }

    #[test]
    fn an_unknown_option_is_named_as_typed_with_the_closest_known_one() {
        for (word, text) in [
            ("-strat", "-strat: unknown option; did you mean -start?"),
            ("--strat=5", "--strat: unknown option; did you mean -start?"),
            ("-Listen", "-Listen: unknown option; did you mean -listen?"),
            ("-timeout", "-timeout: unknown option; did you mean -stop-timeout?"),
            ("-zzz", "-zzz: unknown option; see -help"),
            ("-x=y", "-x: unknown option; see -help"),
            ("-=5", "-: unknown option; see -help"),
            ("---start", "---start: unknown option; did you mean -start?"),
            ("-\u{1b}[0m", "-\\u{1b}[0m: unknown option; see -help"),
        ] {
            assert_eq!(wrong(&[word]), text);
        }
    }

    #[test]
    fn listeners_keep_their_order_and_none_stands_alone() {
        assert_eq!(run(&["-listen=fd://5", "-listen", "unix:///a"]).listen, ["fd://5".parse().unwrap(), "unix:///a".parse().unwrap()]);
        assert_eq!(run(&["-listen=none"]).listen, []);
        assert_eq!(run(&["-listen=none"]).signals, SignalTable::new(false, &[]));
        for (words, text) in [
            (["-listen=tcp://:1", "-listen=none"], "-listen=none: none cannot be combined with other listeners"),
            (["-listen=none", "-listen=none"], "-listen=none: -listen=none cannot be combined with other listeners"),
            (["-listen=none", "--listen=tcp://:1"], "--listen=tcp://:1: -listen=none cannot be combined with other listeners"),
        ] {
            assert_eq!(wrong(&words), text);
        }
        assert_eq!(wrong(&["-listen=:8080"]), "-listen=:8080: the scheme is missing; write tcp://:8080");
        assert!(wrong(&["-listen="]).starts_with("-listen=: not a URI; accepted: "));
    }

    fn auto(lived: Duration) -> Trust {
        Trust::LivedAndAccepts { lived, within: lived.max(Duration::from_secs(60)) }
    }

    #[test]
    fn start_is_a_time_to_live_or_a_time_limit() {
        let trust = |words: &[&str]| run(words).policy.trust;
        let [three, sixty, millis] = [Duration::from_secs(3), Duration::from_secs(60), Duration::from_millis(5)];
        assert_eq!(trust(&["-ready=auto"]), auto(three));
        assert_eq!(trust(&["-ready=start"]), Trust::Lived(three));
        assert_eq!(trust(&["-start=5", "-ready=start"]), Trust::Lived(millis));
        assert_eq!(trust(&["-ready=accept"]), Trust::Accepts { within: Some(sixty), unseen: three });
        assert_eq!(trust(&["-ready=accept", "-start=5"]), Trust::Accepts { within: Some(millis), unseen: millis });
        assert_eq!(trust(&["-ready=accept", "-start=0"]), Trust::Accepts { within: None, unseen: Duration::ZERO });
        assert_eq!(trust(&["-ready=notify"]), Trust::Ready { within: Some(sixty) });
        assert_eq!(trust(&["-ready=notify", "-start=5"]), Trust::Ready { within: Some(millis) });
        assert_eq!(trust(&["-ready=notify", "-start=0"]), Trust::Ready { within: None });
        assert_eq!([run(&["-ready=notify"]).report, run(&["-ready=accept"]).report], [Some(crate::config::ReportBy::Notify), None]);
        assert_eq!(trust(&["-ready=einhorn"]), Trust::Ready { within: Some(sixty) });
        assert_eq!(wrong(&["-ready=acept"]), "-ready=acept: unknown; did you mean accept?");
        assert_eq!(wrong(&["-ready=when"]), "-ready=when: unknown; accepted are auto, start, accept, notify, einhorn");
    }

    #[test]
    fn times_are_whole_milliseconds() {
        let config = run(&["-start=0", "-stop-timeout=10000"]);
        assert_eq!(config.policy.trust, auto(Duration::ZERO));
        assert_eq!(config.policy.stop_timeout, Some(Duration::from_secs(10)));
        assert_eq!(run(&["-stop-timeout=0"]).policy.stop_timeout, None);
        assert_eq!(run(&["-start=18446744073709551615"]).policy.trust, auto(Duration::from_millis(u64::MAX)));
        assert_eq!(
            wrong(&["-start=18446744073709551616"]),
            "-start=18446744073709551616: too many milliseconds; the maximum is 18446744073709551615"
        );
        for value in ["", "abc", "-1", "+1", "1.5", "3s", " 1", "1_000", "0x10"] {
            for option in ["-start", "-stop-timeout"] {
                assert_eq!(
                    wrong(&[&format!("{option}={value}")]),
                    format!("{option}={value}: not a whole number of milliseconds, such as 3000")
                );
            }
        }
    }

    #[test]
    fn a_stop_signal_must_be_able_to_end_something() {
        for (text, signal) in
            [("QUIT", Signal::QUIT), ("SIGUSR2", Signal::USR2), ("9", Signal::KILL), ("kill", Signal::KILL), ("RTMIN", Signal::RTMIN)]
        {
            assert_eq!(run(&["-stop-signal", text]).policy.stop_signal, signal);
        }
        for text in ["STOP", "SIGSTOP", "19"] {
            assert!(wrong(&["-stop-signal", text]).contains("SIGSTOP only suspends"), "{text}");
        }
        assert_eq!(wrong(&["-stop-signal=QIUT"]), "-stop-signal=QIUT: unknown signal \"QIUT\"; did you mean QUIT?");
        for text in ["", "0", "65", "nothing"] {
            assert!(wrong(&["-stop-signal", text]).contains("accepted are names such as TERM"), "{text}");
        }
    }

    #[test]
    fn a_signal_is_given_another_meaning() {
        let table = run(&[
            "-signal=USR1:stop",
            "-stop-signal=WINCH",
            "-signal=TERM:QUIT",
            "-signal=usr2:Reload",
            "-signal=12:ignore",
            "-signal=RTMIN+3:SIGSTOP",
        ])
        .signals;
        let stop = |with, again| SignalAction::Request(Request::Stop { with, again });
        assert_eq!(table.action(Signal::USR1), stop(None, None));
        assert_eq!(table.action(Signal::TERM), stop(Some(Signal::QUIT), Some(Signal::TERM)));
        assert_eq!(table.action(Signal::USR2), SignalAction::Ignore, "the last word wins");
        assert_eq!(table.action(Signal::new(37).unwrap()), SignalAction::Forward(Signal::STOP));
        let plain_init = run(&["-listen=none", "-signal=HUP:reload"]).signals;
        assert_eq!(plain_init.action(Signal::HUP), SignalAction::Request(Request::Reload));
    }

    #[test]
    fn a_meaning_that_cannot_be_is_refused() {
        for (value, cause) in [
            ("USR1", "not SIG:DO, such as USR1:reload"),
            ("", "not SIG:DO"),
            ("USR3:reload", "unknown signal \"USR3\"; did you mean USR1?"),
            ("SIG:reload", "unknown signal \"SIG\"; accepted are names"),
            (":reload", "unknown signal \"\""),
            ("USR1:", "unknown action \"\"; accepted are reload, stop, ignore, forward, or a signal"),
            ("USR1:upgrade", "unknown action \"upgrade\"; accepted"),
            ("KILL:reload", "SIGKILL cannot be changed"),
            ("CHLD:ignore", "SIGCHLD cannot be changed"),
            ("TERM:SIGSTOP", "SIGSTOP only suspends"),
        ] {
            let text = wrong(&["-signal", value]);
            assert!(text.starts_with(&format!("-signal={value}: {cause}")), "{text}");
        }
    }

    #[test]
    fn exit_statuses_are_a_list_of_bytes() {
        assert_eq!(run(&["-ok=143,0,255"]).policy.ok, [143, 0, 255]);
        for value in ["", ",", "1,", "256", "-1", "+1", "1 ,2", "TERM"] {
            assert_eq!(
                wrong(&[&format!("-ok={value}")]),
                format!("-ok={value}: not a list of exit statuses from 0 to 255, such as 143,130")
            );
        }
    }

    #[test]
    fn users_protocols_and_output_are_read() {
        let config = run(&["-user=www:4", "-handoff=systemd"]);
        assert_eq!(config.user, Some(UserSpec { user: NameOrId::Name("www".into()), group: Some(NameOrId::Id(4)) }));
        assert_eq!(config.handoff, Protocols::parse("systemd").unwrap());
        assert_eq!(fixed(&["-prefix"]).output, Output::Prefixed);
        assert_eq!(fixed(&["-prefix", "-syslog"]).output, Output::Syslog);
        assert_eq!(fixed(&["-prefix=0", "-syslog=0"]).output, Output::Untouched);
    }

    #[test]
    fn variables_are_templates_over_the_listeners() {
        let listen = ["unix:///a?name=web".parse().unwrap()];
        let env = run(&["-env=A={fd:web};", "-listen=unix:///a?name=web", "-env", "B=", "-env=C=d=e"]).env;
        let template = |text: &str| Template::parse(OsStr::new(text), &listen).unwrap();
        assert_eq!(env, [("A".into(), template("{fd:web};")), ("B".into(), template("")), ("C".into(), template("d=e"))]);
        for value in ["", "A", "=", "=b"] {
            assert_eq!(wrong(&["-env", value]), format!("-env={value}: not KEY=TEMPLATE, such as PORT={{addr}}"));
        }
        assert!(wrong(&["-env=A={nosuch}"]).starts_with("-env=A={nosuch}: unknown placeholder"));
        assert!(wrong(&["-listen=none", "-env=A={fd}"]).starts_with("-env=A={fd}: "));
        assert_eq!(wrong(&["-env=A\0=b"]), "-env=A\\u{0}=b: a variable cannot contain a NUL");
    }

    #[test]
    fn a_request_needs_a_master_and_nothing_else() {
        let asked = |words: &[&str], variables: &[(&str, &str)]| match request_with(words, variables) {
            Ok(Command::Ask(ask)) => (ask.request.word, ask.control.to_string(), ask.json),
            other => panic!("{words:?}: {other:?}"),
        };
        // A unit's environment serves its start and its reload: what else is in it is not looked at.
        let unit = [("SOCKETMASTER_CONTROL", "/run/a"), ("SOCKETMASTER_LISTEN", "nonsense")];
        assert_eq!(asked(&["-s=reload"], &unit), ("reload", "/run/a".to_owned(), false));
        assert_eq!(asked(&["-s", "status", "-json", "-control=@b"], &unit), ("status", "@b".to_owned(), true));
        assert_eq!(wrong(&["-s=stop"]), "-s=stop: no master is named; give the address of its control socket with -control=ADDR");
        assert_eq!(wrong(&["-s=relaod", "-control=@b"]), "-s=relaod: unknown request \"relaod\"; did you mean reload?");
        assert_eq!(wrong(&["-json"]), "-json goes with -s=VERB");
    }

    #[test]
    fn a_probe_goes_with_a_time_limit_and_nothing_else() {
        let url = "http://127.0.0.1:80/";
        let asked = |words: &[&str], variables: &[(&str, &str)]| match request_with(words, variables) {
            Ok(Command::Probe(Probe { url, within })) => (url.written.to_string(), within.as_millis()),
            other => panic!("{words:?}: {other:?}"),
        };
        assert_eq!(asked(&["-probe", url], &[]), (url.to_owned(), 3000));
        assert_eq!(asked(&["-start=7", "--probe", url, "--"], &[]), (url.to_owned(), 7));
        assert_eq!(asked(&["-probe=tcp://127.0.0.1:1", "-probe", url], &[]).0, url, "the last one counts");
        // Those of a container are there for its master, whatever they are.
        for pick in [|(good, _): (&'static str, &'static str)| good, |(_, bad)| bad] {
            let own = samples().filter_map(|(opt, good, bad)| Some((opt.variable()?, pick((good, bad)))));
            let others = [(ARGS_VARIABLE, "'"), ("SOCKETMASTER_PROBE", "tcp://127.0.0.1:2")];
            let all: Vec<(String, &str)> = own.chain(others.map(|(name, value)| (name.to_owned(), value))).collect();
            let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            assert_eq!(asked(&["-probe", url], &all), (url.to_owned(), 3000));
        }
        for (opt, good, _) in samples().filter(|(opt, ..)| !["probe", "start", "help", "version"].contains(&opt.name)) {
            let other = format!("--{}={good}", opt.name);
            assert_eq!(wrong(&["-probe", url, &other]), format!("--{}: no option goes with -probe but -start", opt.name));
        }
        assert_eq!(wrong(&["-probe", url, "prog"]), "prog: -probe runs no program; omit it");
        assert_eq!(wrong(&["-probe", url, "-start=0"]), "-start=0: the time limit of -probe is at least 1 millisecond");
        assert_eq!(wrong(&["-probe", url, "-start=x"]), "-start=x: not a whole number of milliseconds, such as 3000");
        assert!(wrong(&["-probe=127.0.0.1"]).starts_with("-probe=127.0.0.1: not a URL; accepted are "));
    }

    #[test]
    fn a_control_socket_has_a_path_or_an_abstract_name() {
        assert_eq!(fixed(&["-control=/run/a"]).control, Some(SocketName::Path("/run/a".into())));
        assert_eq!(fixed(&["-control=@a"]).control, Some(SocketName::Abstract(b"a".to_vec())));
        assert_eq!(fixed(&[]).control, None);
        for (value, cause) in [
            ("", "is empty; give an absolute path, or @NAME"),
            ("run/a", "the path is not absolute; write /PATH or @NAME"),
            ("@", "the abstract name is empty"),
        ] {
            assert_eq!(wrong(&["-control", value]), format!("-control={value}: {cause}"));
        }
    }

    #[test]
    fn a_name_that_a_socket_unit_may_offer_is_found_out_later() {
        for listen in ["systemd:", "systemd:web", "systemd:a?name=web"] {
            run(&["-listen", listen, "-env=A={fd:web}"]);
        }
        assert!(wrong(&["-listen=systemd:a", "-env=A={fd:web}"]).contains("no listener has that name"));
    }

    #[test]
    fn an_error_stays_on_one_line_and_obeys_no_terminal() {
        assert_eq!(wrong(&["-start=\n\u{1b}[2J"]), "-start=\\n\\u{1b}[2J: not a whole number of milliseconds, such as 3000");
        assert!(wrong(&["-listen=a\nb://x"]).contains("unknown scheme a\\nb"));
    }

    #[test]
    fn words_of_a_variable_may_be_quoted() {
        let config = run_with(
            &["-command=nginx"],
            &[(ARGS_VARIABLE, r"-g 'daemon off;' -c a\sb"), ("SOCKETMASTER_ENV", r#"A="x y" B=\x7bfd}"#), ("SOCKETMASTER_DIR", "'a b'")],
        );
        assert_eq!(config.args, ["-g", "daemon off;", "-c", "a b"]);
        let template = |text: &str| Template::parse(OsStr::new(text), &config.listen).unwrap();
        assert_eq!(config.env, [("A".into(), template("x y")), ("B".into(), template("{fd}"))]);
        assert_eq!(config.dir, Some("'a b'".into()), "what is no list is taken as it is");
    }

    #[test]
    fn an_unclosed_quote_is_an_error_that_names_its_variable() {
        for variable in [ARGS_VARIABLE, "SOCKETMASTER_ENV", "SOCKETMASTER_LISTEN", "SOCKETMASTER_SIGNAL"] {
            let text = wrong_with(&["-command=prog"], &[(variable, "'a\nb")]);
            assert_eq!(text, format!("{variable}='a\\nb: the quote ' is not closed"));
        }
        let unused = [("SOCKETMASTER_ENV", "'"), (ARGS_VARIABLE, "'"), ("SOCKETMASTER_CONTROL", "@a")];
        run_with(&["-env=A=b", "prog", "arg"], &unused);
        assert!(matches!(request_with(&["-s=reload"], &unused), Ok(Command::Ask(_))));
    }

    #[test]
    fn a_variable_that_is_close_to_one_of_ours_is_worth_a_warning_and_no_other_is() {
        let warnings = |names: &[&str]| {
            let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
            config_with(&["-command=prog", "arg"], &variables).warnings
        };
        for (name, near) in [
            ("SOCKETMASTER_STRAT", "SOCKETMASTER_START"),
            ("SOCKETMASTER_TIMEOUT", "SOCKETMASTER_STOP_TIMEOUT"),
            ("SOCKETMASTER_STOPSIGNAL", "SOCKETMASTER_STOP_SIGNAL"),
            ("SOCKETMASTER_ARG", "SOCKETMASTER_ARGS"),
        ] {
            assert_eq!(warnings(&[name]), [OneLine::from(format!("ignored the variable {name}; did you mean {near}?"))]);
        }
        // Kubernetes sets these for a service of that name.
        let service = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_PROTO", "PORT_80_TCP_ADDR"];
        let service: Vec<String> = service.iter().map(|name| format!("SOCKETMASTER_{name}")).collect();
        let ours: Vec<String> = OPTIONS.iter().filter_map(Opt::variable).filter(|name| name.ends_with("DIR")).collect();
        let others = ["SOCKETMASTER", "SOCKETMASTER_", "SOCKETMASTER_S", "SOCKETMASTER_HELP", "socketmaster_strat", "STRAT", ARGS_VARIABLE];
        let names: Vec<&str> = service.iter().chain(&ours).map(String::as_str).chain(others).collect();
        assert_eq!(warnings(&names), []);
        assert_eq!(
            warnings(&["SOCKETMASTER_DI\nR"])[0].as_str(),
            "ignored the variable SOCKETMASTER_DI\\nR; did you mean SOCKETMASTER_DIR?"
        );
    }

    #[test]
    fn the_log_is_quiet_or_verbose_and_not_both() {
        assert_eq!(fixed(&["-quiet"]).verbosity, Verbosity::Quiet);
        assert_eq!(fixed(&["-verbose"]).verbosity, Verbosity::Verbose);
        assert_eq!(fixed(&["-verbose", "-quiet=0"]).verbosity, Verbosity::Verbose);
        assert_eq!(wrong(&["-verbose", "-quiet"]), "-quiet and -verbose cannot go together; omit one of them");
        assert_eq!(fixed(&["-pid-file=run/pid"]).pid_file, Some(PathBuf::from("run/pid")));
    }

    #[test]
    fn loading_again_gives_the_same() {
        let invocation = Invocation {
            argv: ["socketmaster", "-listen=tcp://:1?name=a", "-env=A={fd:a}", "-signal=USR1:reload", "prog"].map(OsString::from).to_vec(),
            environment: vec![(ARGS_VARIABLE.into(), "a 'b c'".into()), ("SOCKETMASTER_STRAT".into(), "1".into())],
        };
        let first = load(&invocation);
        assert!(matches!(&first, Ok(Command::Run(config)) if config.warnings.len() == 1), "{first:?}");
        assert_eq!(load(&invocation), first);
    }

    #[test]
    fn an_option_in_the_place_of_the_program_is_seen() {
        for word in ["-command=/bin/true", "--listen", "-h", "-s=reload"] {
            assert!(super::super::is_misplaced_option(OsStr::new(word)), "{word}");
        }
        for word in ["prog", "command=/bin/true", "-nosuch", "---start", "-", "--", ""] {
            assert!(!super::super::is_misplaced_option(OsStr::new(word)), "{word}");
        }
    }

    #[test]
    fn every_short_command_line_has_an_answer() {
        const WORDS: &[&str] = &[
            "",
            "-",
            "--",
            "---",
            "=",
            "-=",
            "--=",
            "a",
            "-start",
            "-start=1",
            "--start=",
            "-group",
            "-group=x",
            "-listen=none",
            "-h",
            "\u{e9}",
            "-\u{e9}=",
            "-Start",
        ];
        fn walk(words: &mut Vec<&'static str>, depth: usize) {
            match request_with(words, &[]) {
                Ok(asked @ (Command::Ask(_) | Command::Probe(_))) => panic!("{words:?}: {asked:?}"),
                Ok(Command::Run(config)) => assert!(!config.reloadable.command.is_empty(), "{words:?}"),
                Ok(Command::Print(text)) => assert!(words.contains(&"-h") && !text.is_empty(), "{words:?}"),
                Err(Error::Usage(text)) => assert!(!text.is_empty() && !text.contains('\n'), "{words:?}"),
                Err(other) => panic!("{words:?}: {other}"),
            }
            if depth > 0 {
                for word in WORDS {
                    words.push(word);
                    walk(words, depth - 1);
                    words.pop();
                }
            }
        }
        walk(&mut Vec::new(), 3);
    }
}
