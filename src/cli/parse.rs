//! argv and environment -> [`Request`]. First the words are sorted into options and operands, then the environment
//! and the defaults fill the gaps, then each value is read: nothing is accepted that no option has asked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use lexopt::{Arg, Parser};

use super::options::{self, ARGS_VARIABLE, Key, Kind, OPTIONS, Opt, SWITCH_WORDS};
use super::{Request, one_line, page, shown};
use crate::config::{Ask, Config, Output, UserSpec};
use crate::control;
use crate::endpoint::{self, Endpoint, UnixName};
use crate::error::Error;
use crate::handoff::{Protocols, Template};
use crate::ids::Signal;
use crate::signals::{Meaning, ORDERS, Order, SignalTable};
use crate::supervisor::{Policy, Trust};

/// Looks up a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub(super) fn request(words: &mut dyn Iterator<Item = OsString>, env: Environment) -> Result<Request, Error> {
    let (given, operands) = match sort(words)? {
        Sorted::Page(text) => return Ok(Request::Print(text)),
        Sorted::Words(given, operands) => (given, operands),
    };
    let values = Values::complete(given, env);
    match ask(&values)? {
        Some(ask) => Ok(Request::Ask(ask)),
        None => config(&values, operands, env).map(|config| Request::Run(Box::new(config))),
    }
}

/// A request to a running master: of the other options, which may stand in a unit's environment, only these matter.
fn ask(values: &Values) -> Result<Option<Ask>, Error> {
    let Some(request) = values.last(Key::Ask, |text| control::request(utf8(text)?))? else { return Ok(None) };
    let control = values.last(Key::Control, control_address)?.ok_or_else(|| {
        usage(format!("-s={}: no master is named; give the address of its control socket with -control=ADDR", request.word))
    })?;
    Ok(Some(Ask { control, request, json: values.on(Key::Json)? }))
}

/// An option with one value, and where it comes from, as the user would look for it: `--start`, `SOCKETMASTER_START`.
struct Given {
    key: Key,
    source: String,
    value: OsString,
}

impl Given {
    fn wrong(&self, cause: &str) -> Error {
        usage(format!("{}={}: {cause}", self.source, shown(&self.value)))
    }
}

enum Sorted {
    Page(String),
    /// What was given for options, and all words behind them.
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
                words.next().ok_or_else(|| usage(format!("{source}: needs a value; write {source}={placeholder}")))?
            }
        };
        let given_now = Given { key: opt.key, source, value };
        match opt.key {
            Key::Help if read(&given_now, switch)? => {
                let everything = given_now.source == "--help";
                return Ok(Sorted::Page(if everything { page::help::everything() } else { page::help::screen() }));
            }
            Key::Version if read(&given_now, switch)? => return Ok(Sorted::Page(page::version())),
            _ => given.push(given_now),
        }
    }
    Ok(Sorted::Words(given, words.collect()))
}

/// One dash or two is the same, but behind one dash lexopt would look for a cluster of short options.
fn with_two_dashes(word: &OsStr) -> OsString {
    match word.as_bytes() {
        [b'-', second, ..] if *second != b'-' => OsString::from_vec([b"-", word.as_bytes()].concat()),
        _ => word.to_owned(),
    }
}

/// The option's part of a word.
fn typed(word: &OsStr) -> String {
    let option = word.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
    shown(OsStr::from_bytes(option))
}

fn unknown(word: &OsStr) -> Error {
    let option = typed(word);
    let name = option.trim_start_matches('-');
    usage(match endpoint::nearest(name, OPTIONS.iter().map(|opt| opt.name)) {
        Some(near) => format!("{option}: unknown option; did you mean -{near}?"),
        None => format!("{option}: unknown option; see -help"),
    })
}

fn usage(text: String) -> Error {
    Error::Usage(one_line(&text))
}

/// What every option is set to; the command line wins over the environment, and that over the default.
struct Values(Vec<Given>);

impl Values {
    fn complete(mut given: Vec<Given>, env: Environment) -> Values {
        for opt in OPTIONS.iter().filter(|opt| !given.iter().any(|given| given.key == opt.key)).collect::<Vec<_>>() {
            let before = given.len();
            if let Some((variable, value)) = opt.variable().and_then(|variable| lookup(env, &variable).map(|value| (variable, value))) {
                let values = if opt.repeatable { split(&value) } else { vec![value] };
                given.extend(values.into_iter().map(|value| Given { key: opt.key, source: variable.clone(), value }));
            }
            if let (Some(default), true) = (opt.default, given.len() == before) {
                given.push(Given { key: opt.key, source: format!("-{}", opt.name), value: default.into() });
            }
        }
        Values(given)
    }

    /// All values of an option, each read by `by`, whose error is the cause alone.
    fn all<T>(&self, key: Key, mut by: impl FnMut(&OsStr) -> Result<T, String>) -> Result<Vec<T>, Error> {
        self.0.iter().filter(|given| given.key == key).map(|given| read(given, &mut by)).collect()
    }

    /// The last value of an option. The earlier ones must be right as well.
    fn last<T>(&self, key: Key, by: impl FnMut(&OsStr) -> Result<T, String>) -> Result<Option<T>, Error> {
        self.all(key, by).map(|mut values| values.pop())
    }

    /// The last value of an option that must have one, and so should have a default.
    fn needed<T>(&self, key: Key, by: impl FnMut(&OsStr) -> Result<T, String>) -> Result<T, Error> {
        self.last(key, by)?.ok_or_else(|| {
            let name = OPTIONS.iter().find(|opt| opt.key == key).map_or_else(String::new, Opt::usage);
            usage(format!("{name} is needed"))
        })
    }

    fn on(&self, key: Key) -> Result<bool, Error> {
        self.last(key, switch).map(|value| value == Some(true))
    }
}

fn read<T>(given: &Given, mut by: impl FnMut(&OsStr) -> Result<T, String>) -> Result<T, Error> {
    by(&given.value).map_err(|cause| given.wrong(&cause))
}

/// An empty variable is as good as none: a container's or unit's file cannot unset one.
fn lookup(env: Environment, variable: &str) -> Option<OsString> {
    env(variable).filter(|value| !value.is_empty())
}

fn split(text: &OsStr) -> Vec<OsString> {
    let words = text.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

fn config(values: &Values, operands: Vec<OsString>, env: Environment) -> Result<Config, Error> {
    let listen = listen(values)?;
    let stop_signal = values.needed(Key::StopSignal, stop_signal)?;
    let mut signals = SignalTable::new(!listen.is_empty());
    values.all(Key::Signal, |text| change_signal(&mut signals, text, stop_signal))?;
    let policy = Policy {
        trust: Trust::Lived(values.needed(Key::Start, millis)?),
        workers: 1,
        stop_signal,
        stop_timeout: Some(values.needed(Key::StopTimeout, millis)?).filter(|wait| !wait.is_zero()),
        ok: values.last(Key::Ok, statuses)?.unwrap_or_default(),
    };
    let output = match (values.on(Key::Syslog)?, values.on(Key::Prefix)?) {
        (true, _) => Output::Syslog,
        (false, true) => Output::Prefixed,
        (false, false) => Output::Untouched,
    };
    let user = values.last(Key::User, |text| UserSpec::parse(utf8(text)?))?;
    let dir = values.last(Key::Dir, |text| Ok(not_empty(text)?.into()))?;
    let group = values.on(Key::Group)?;
    let extra = values.all(Key::Env, |text| variable(text, &listen))?;
    let handoff = values.needed(Key::Handoff, |text| Protocols::parse(utf8(text)?))?;
    let control = values.last(Key::Control, control_address)?;
    if values.on(Key::Json)? {
        return Err(usage("-json goes with -s=VERB".to_owned()));
    }
    let (command, args) = program(values, operands, env)?;
    Ok(Config { listen, command, args, user, output, group, signals, dir, env: extra, handoff, control, policy })
}

fn listen(values: &Values) -> Result<Vec<Endpoint>, Error> {
    let endpoints = values.all(Key::Listen, |text| if text == "none" { Ok(None) } else { utf8(text)?.parse().map(Some) })?;
    let none = |given: &&Given| given.key == Key::Listen && given.value == "none";
    match values.0.iter().find(none) {
        Some(given) if endpoints.len() > 1 => Err(given.wrong("none stands alone: no other socket beside it")),
        _ => Ok(endpoints.into_iter().flatten().collect()),
    }
}

fn program(values: &Values, operands: Vec<OsString>, env: Environment) -> Result<(OsString, Vec<OsString>), Error> {
    let mut operands = operands.into_iter();
    let command = match values.last(Key::Command, |text| not_empty(text).map(OsStr::to_owned))? {
        Some(command) => command,
        None => operands.next().ok_or_else(|| usage("no program to run; give one with -command=PATH, or behind the options".to_owned()))?,
    };
    if command.is_empty() {
        return Err(usage("the program's name, the first word behind the options, is empty".to_owned()));
    }
    let mut args: Vec<OsString> = operands.collect();
    if args.is_empty() {
        args = lookup(env, ARGS_VARIABLE).map(|words| split(&words)).unwrap_or_default();
    }
    Ok((command, args))
}

fn control_address(text: &OsStr) -> Result<UnixName, String> {
    match utf8(text)? {
        "" => Err("is empty; give an absolute path, or @NAME".to_owned()),
        text => text.parse(),
    }
}

fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "not UTF-8 text".to_owned())
}

fn not_empty(text: &OsStr) -> Result<&OsStr, String> {
    if text.is_empty() { Err("is empty; give a path".to_owned()) } else { Ok(text) }
}

fn switch(text: &OsStr) -> Result<bool, String> {
    SWITCH_WORDS.iter().find(|(word, _)| text == *word).map(|(_, on)| *on).ok_or_else(|| {
        let words: Vec<&str> = SWITCH_WORDS.iter().map(|(word, _)| *word).collect();
        format!("neither on nor off; accepted are {}", words.join(" "))
    })
}

fn millis(text: &OsStr) -> Result<Duration, String> {
    let digits = text.to_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = digits.ok_or("not a whole number of milliseconds, such as 3000")?;
    digits.parse().map(Duration::from_millis).map_err(|_| format!("too many milliseconds; the most are {}", u64::MAX))
}

fn statuses(text: &OsStr) -> Result<Vec<u8>, String> {
    let status = |word: &str| word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit()));
    let list: Option<Vec<u8>> = text.to_str().and_then(|text| text.split(',').map(status).collect());
    list.ok_or_else(|| "not a list of exit statuses from 0 to 255, such as 143,130".to_owned())
}

fn signal(text: &str) -> Result<Signal, String> {
    text.parse()
        .map_err(|_| format!("unknown signal {text:?}; accepted are names such as TERM, SIGTERM or RTMIN+3, and numbers from 1 to 64"))
}

fn stop_signal(text: &OsStr) -> Result<Signal, String> {
    match signal(utf8(text)?)? {
        Signal::STOP => Err(STOP_ENDS_NOTHING.to_owned()),
        signal => Ok(signal),
    }
}

const STOP_ENDS_NOTHING: &str = "SIGSTOP only suspends: a worker told with it would never end";

fn change_signal(table: &mut SignalTable, text: &OsStr, stop_signal: Signal) -> Result<(), String> {
    let (from, to) = utf8(text)?.split_once(':').ok_or("not SIG:DO, such as USR1:reload")?;
    let from = signal(from)?;
    let word = to.to_ascii_lowercase();
    let order = match ORDERS.iter().find(|(known, _)| *known == word) {
        Some((_, order)) => *order,
        None => Order::As(
            to.parse().map_err(|_| format!("cannot do {to:?}; accepted are reload, stop, ignore, or a signal to pass on such as QUIT"))?,
        ),
    };
    table
        .change(from, order, stop_signal)
        .map_err(|_| format!("{from} cannot be changed: the kernel or the reaping of processes needs it"))?;
    match table.meaning(from) {
        Meaning::Stop(Signal::STOP) => Err(STOP_ENDS_NOTHING.to_owned()),
        _ => Ok(()),
    }
}

fn variable(text: &OsStr, listen: &[Endpoint]) -> Result<(OsString, Template), String> {
    let bytes = text.as_bytes();
    if bytes.contains(&0) {
        return Err("a NUL cannot be part of a variable".to_owned());
    }
    let equals = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0);
    let (key, rest) = bytes.split_at(equals.ok_or("not KEY=TEMPLATE, such as PORT={addr}")?);
    let template = Template::parse(OsStr::from_bytes(rest.get(1..).unwrap_or_default()), listen)?;
    Ok((OsStr::from_bytes(key).to_owned(), template))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NameOrId;

    fn request_with(words: &[&str], variables: &[(&str, &str)]) -> Result<Request, Error> {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        request(&mut words.iter().map(OsString::from), &env)
    }

    fn run_with(words: &[&str], variables: &[(&str, &str)]) -> Config {
        match request_with(words, variables) {
            Ok(Request::Run(config)) => *config,
            other => panic!("{words:?} {variables:?}: {other:?}"),
        }
    }

    /// With a program to run, so that a test can be about something else.
    fn run(words: &[&str]) -> Config {
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
            Ok(Request::Print(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// For every option a value that is not its default, and one that is wrong.
    const SAMPLES: &[(Key, &str, Option<&str>)] = &[
        (Key::Listen, "tcp://:80", Some("tcp://:http")),
        (Key::Command, "other", Some("")),
        (Key::Dir, "/srv", Some("")),
        (Key::User, "www", Some("www:")),
        (Key::Start, "1", Some("abc")),
        (Key::StopSignal, "QUIT", Some("QIUT")),
        (Key::StopTimeout, "1", Some("-1")),
        (Key::Signal, "USR1:reload", Some("USR1")),
        (Key::Group, "true", Some("yes")),
        (Key::Ok, "143", Some("256")),
        (Key::Handoff, "none", Some("nosuch")),
        (Key::Env, "A=b", Some("=b")),
        (Key::Prefix, "1", Some("2")),
        (Key::Syslog, "T", Some("on")),
        (Key::Control, "@sm", Some("sock")),
        (Key::Ask, "status", Some("statsu")),
        (Key::Json, "false", Some("maybe")),
        (Key::Help, "false", Some("no")),
        (Key::Version, "false", Some("no")),
    ];

    fn samples() -> impl Iterator<Item = (&'static Opt, &'static str, Option<&'static str>)> {
        assert_eq!(SAMPLES.len(), OPTIONS.len());
        OPTIONS.iter().map(|opt| SAMPLES.iter().find(|(key, ..)| *key == opt.key).map(|(_, good, bad)| (opt, *good, *bad)).unwrap())
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
        assert_eq!((config.user, config.dir, config.output, config.group), (None, None, Output::Untouched, false));
        assert_eq!(config.signals, SignalTable::new(true));
        assert!(config.env.is_empty());
        assert_eq!(config.handoff, Protocols::default());
        let policy =
            Policy { trust: Trust::Lived(Duration::from_secs(3)), workers: 1, stop_signal: Signal::TERM, stop_timeout: None, ok: vec![] };
        assert_eq!(config.policy, policy);
    }

    #[test]
    fn every_option_changes_something_in_every_spelling_and_from_the_environment() {
        let plain = run(&[]);
        for (opt, good, _) in samples().filter(|(opt, ..)| !is_deed(opt)) {
            let changed = run(&[&format!("-{}={good}", opt.name)]);
            assert_ne!(changed, plain, "{}", opt.name);
            assert_eq!(changed, run(&[&format!("--{}={good}", opt.name)]), "{}", opt.name);
            let variable = opt.variable().unwrap();
            let from_environment = run_with(&[], &[(&variable, good), ("SOCKETMASTER_COMMAND", "prog")]);
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
    fn every_wrong_value_is_told_with_the_option_as_typed() {
        for (opt, _, bad) in samples() {
            let Some(bad) = bad else { continue };
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
        for (opt, good, bad) in samples().filter(|(opt, ..)| !is_deed(opt) && opt.key != Key::Command) {
            let variable = opt.variable().unwrap();
            let Some(bad) = bad else { continue };
            let typed = format!("-{}={good}", opt.name);
            assert_eq!(run_with(&[&typed, "prog"], &[(&variable, bad)]), run_with(&[&typed, "prog"], &[]), "{variable}");
        }
        let config = run_with(&["-start=5", "prog"], &[("SOCKETMASTER_START", "7"), ("SOCKETMASTER_OK", "3")]);
        assert_eq!((config.policy.trust, config.policy.ok), (Trust::Lived(Duration::from_millis(5)), vec![3]));
        let config = run_with(&["-syslog=false", "prog"], &[("SOCKETMASTER_SYSLOG", "1")]);
        assert_eq!(config.output, Output::Untouched);
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let plain = run_with(&["prog"], &[]);
        for (opt, ..) in samples().filter(|(opt, ..)| !is_deed(opt)) {
            assert_eq!(run_with(&["prog"], &[(&opt.variable().unwrap(), "")]), plain, "{}", opt.name);
            if opt.repeatable {
                assert_eq!(run_with(&["prog"], &[(&opt.variable().unwrap(), " \n")]), plain, "{}", opt.name);
            }
        }
        assert_eq!(run_with(&["prog"], &[(ARGS_VARIABLE, "")]), plain);
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
        assert_eq!(config.signals.meaning(Signal::USR1), Meaning::Reload);
        assert_eq!(config.signals.meaning(Signal::WINCH), Meaning::Ignore);
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
            assert_eq!(wrong_with(words, &[]), "no program to run; give one with -command=PATH, or behind the options");
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
            match request(&mut words.into_iter(), &|_| None) {
                Ok(Request::Run(config)) => assert_eq!(config.command, odd),
                other => panic!("{other:?}"),
            }
        }
        let not_text =
            |option: &[u8]| request(&mut [OsString::from_vec([option, b"=\xff"].concat())].into_iter(), &|_| None).unwrap_err().to_string();
        for option in ["-listen", "-start", "-user", "-stop-signal", "-signal", "-handoff", "-ok", "-syslog"] {
            assert!(not_text(option.as_bytes()).starts_with(&format!("{option}=\u{fffd}: ")), "{option}");
        }
        assert_eq!(not_text(b"-\xfe"), "-\u{fffd}: unknown option; see -help");
    }

    #[test]
    fn a_switch_takes_gos_twelve_spellings_behind_an_equals_sign_only() {
        assert_eq!(SWITCH_WORDS.len(), 12);
        for (word, on) in SWITCH_WORDS {
            assert_eq!(run(&[&format!("-group={word}")]).group, *on, "{word}");
            assert_eq!(run_with(&["prog"], &[("SOCKETMASTER_GROUP", word)]).group, *on, "{word}");
        }
        for word in ["", "yes", "on", "tRUE", "2", " 1"] {
            let text = wrong(&[&format!("-group={word}")]);
            assert_eq!(text, format!("-group={word}: neither on nor off; accepted are 1 t T true TRUE True 0 f F false FALSE False"));
        }
        let config = run(&["-group", "false"]);
        assert_eq!((config.group, config.args), (true, vec!["false".into()]));
    }

    #[test]
    fn the_last_of_several_wins_and_all_must_be_right() {
        assert_eq!(run(&["-start=1", "--start", "2"]).policy.trust, Trust::Lived(Duration::from_millis(2)));
        assert_eq!(run(&["-dir=/a", "-dir=/b"]).dir, Some("/b".into()));
        assert!(!run(&["-group", "-group=0"]).group);
        assert!(wrong(&["-start=x", "-start=2"]).starts_with("-start=x: "));
    }

    #[test]
    fn help_and_version_are_printed_at_once() {
        let (screen, everything) = (page::help::screen(), page::help::everything());
        assert_ne!(screen, everything);
        for word in ["-help", "-h", "--h", "-help=1", "-h=true"] {
            assert_eq!(page(&[word]), screen, "{word}");
        }
        for word in ["--help", "--help=t"] {
            assert_eq!(page(&[word]), everything, "{word}");
        }
        for word in ["-version", "--version"] {
            assert_eq!(page(&[word]), page::version(), "{word}");
        }
        assert_eq!(page(&["-start=abc", "-help", "-nosuch"]), screen);
        assert!(wrong(&["-nosuch", "-help"]).starts_with("-nosuch: "));
        assert_eq!(run(&["--", "-help"]).args, ["-help"]);
    }

    #[test]
    fn an_unknown_option_is_told_as_typed_with_the_near_one() {
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
        assert_eq!(run(&["-listen=none"]).signals, SignalTable::new(false));
        for words in [["-listen=none", "-listen=tcp://:1"], ["-listen=tcp://:1", "-listen=none"], ["-listen=none", "-listen=none"]] {
            assert_eq!(wrong(&words), "-listen=none: none stands alone: no other socket beside it");
        }
        assert_eq!(wrong(&["-listen=:8080"]), "-listen=:8080: the scheme is missing; write tcp://:8080");
        assert!(wrong(&["-listen="]).starts_with("-listen=: not a URI; accepted: "));
    }

    #[test]
    fn times_are_whole_milliseconds() {
        let config = run(&["-start=0", "-stop-timeout=10000"]);
        assert_eq!(config.policy.trust, Trust::Lived(Duration::ZERO));
        assert_eq!(config.policy.stop_timeout, Some(Duration::from_secs(10)));
        assert_eq!(run(&["-stop-timeout=0"]).policy.stop_timeout, None);
        assert_eq!(run(&["-start=18446744073709551615"]).policy.trust, Trust::Lived(Duration::from_millis(u64::MAX)));
        assert_eq!(
            wrong(&["-start=18446744073709551616"]),
            "-start=18446744073709551616: too many milliseconds; the most are 18446744073709551615"
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
        for text in ["", "0", "65", "QIUT"] {
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
        assert_eq!(table.meaning(Signal::USR1), Meaning::Stop(Signal::WINCH), "whatever the order of the options");
        assert_eq!(table.meaning(Signal::TERM), Meaning::Stop(Signal::QUIT));
        assert_eq!(table.meaning(Signal::USR2), Meaning::Ignore, "the last word wins");
        assert_eq!(table.meaning(Signal::new(37).unwrap()), Meaning::Pass(Signal::STOP));
        let plain_init = run(&["-listen=none", "-signal=HUP:reload"]).signals;
        assert_eq!(plain_init.meaning(Signal::HUP), Meaning::Reload);
    }

    #[test]
    fn a_meaning_that_cannot_be_is_refused() {
        for (value, cause) in [
            ("USR1", "not SIG:DO, such as USR1:reload"),
            ("", "not SIG:DO"),
            ("USR3:reload", "unknown signal \"USR3\"; accepted are names"),
            (":reload", "unknown signal \"\""),
            ("USR1:", "cannot do \"\"; accepted are reload, stop, ignore, or a signal"),
            ("USR1:upgrade", "cannot do \"upgrade\"; accepted"),
            ("KILL:reload", "SIGKILL cannot be changed"),
            ("CHLD:ignore", "SIGCHLD cannot be changed"),
            ("SEGV:stop", "SIGSEGV cannot be changed"),
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
        let config = run(&["-user=www:4", "-handoff=systemd", "-prefix"]);
        assert_eq!(config.user, Some(UserSpec { user: NameOrId::Name("www".into()), group: Some(NameOrId::Id(4)) }));
        assert_eq!(config.handoff, Protocols::parse("systemd").unwrap());
        assert_eq!(config.output, Output::Prefixed);
        assert_eq!(run(&["-prefix", "-syslog"]).output, Output::Syslog);
        assert_eq!(run(&["-prefix=0", "-syslog=0"]).output, Output::Untouched);
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
        assert_eq!(wrong(&["-env=A\0=b"]), "-env=A\\u{0}=b: a NUL cannot be part of a variable");
    }

    #[test]
    fn a_request_needs_a_master_and_nothing_else() {
        let asked = |words: &[&str], variables: &[(&str, &str)]| match request_with(words, variables) {
            Ok(Request::Ask(ask)) => (ask.request.word, ask.control.to_string(), ask.json),
            other => panic!("{words:?}: {other:?}"),
        };
        // A unit's environment serves its start and its reload: what else is in it is not looked at.
        let unit = [("SOCKETMASTER_CONTROL", "/run/a"), ("SOCKETMASTER_LISTEN", "nonsense")];
        assert_eq!(asked(&["-s=reload"], &unit), ("reload", "/run/a".to_owned(), false));
        assert_eq!(asked(&["-s", "status", "-json", "-control=@b"], &unit), ("status", "@b".to_owned(), true));
        assert_eq!(wrong(&["-s=stop"]), "-s=stop: no master is named; give the address of its control socket with -control=ADDR");
        assert_eq!(wrong(&["-s=relaod", "-control=@b"]), "-s=relaod: unknown request \"relaod\"; accepted are reload, status, stop");
        assert_eq!(wrong(&["-json"]), "-json goes with -s=VERB");
    }

    #[test]
    fn a_control_socket_has_a_path_or_an_abstract_name() {
        assert_eq!(run(&["-control=/run/a"]).control, Some(UnixName::Path("/run/a".into())));
        assert_eq!(run(&["-control=@a"]).control, Some(UnixName::Abstract(b"a".to_vec())));
        assert_eq!(run(&[]).control, None);
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
                Ok(Request::Ask(ask)) => panic!("{words:?}: {ask:?}"),
                Ok(Request::Run(config)) => assert!(!config.command.is_empty(), "{words:?}"),
                Ok(Request::Print(text)) => assert!(words.contains(&"-h") && !text.is_empty(), "{words:?}"),
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
