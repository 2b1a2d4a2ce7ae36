//! The table of options: the one place where an option exists. Parser and all pages follow it.
//!
//! In the long texts backticks mark what is typed; a terminal page drops them.

/// An option.
pub struct Opt {
    pub key: Key,
    /// Without dashes.
    pub name: &'static str,
    pub alias: Option<&'static str>,
    pub kind: Kind,
    pub values: Values,
    /// Read like a value from the command line. `None`: off, or nothing.
    pub default: Option<&'static str>,
    pub repeatable: bool,
    pub section: &'static str,
    /// One line of one screen.
    pub help: &'static str,
    /// The whole truth.
    pub long: &'static str,
}

/// How the parser asks for an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Listen,
    Command,
    Start,
    User,
    Syslog,
    Prefix,
    Control,
    Ask,
    Json,
    StopSignal,
    StopTimeout,
    Signal,
    Group,
    Dir,
    Env,
    Handoff,
    Ok,
    Help,
    Version,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Takes a value; its placeholder.
    Value(&'static str),
    /// On or off; takes a value only behind `=`.
    Switch,
}

/// What a value is, for shells to offer some. Without data of its own, so that it costs the table nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values {
    /// Nothing that could be listed, such as a number. So it is with switches, which stand alone.
    Anything,
    /// A listen URI, or `none`.
    Listener,
    /// A program: a path, or a name to be looked up in PATH.
    Program,
    Directory,
    File,
    /// `LOGIN`, or `LOGIN:GROUP`.
    User,
    /// A signal that ends a worker.
    Signal,
    /// `SIG:DO`.
    SignalRule,
    /// Protocols separated by commas, or `none`.
    Protocols,
    /// A request to a running master.
    Verb,
}

/// The words that switch something on or off: those of Go's flag package, which the first socketmaster was written with.
pub const SWITCH_WORDS: &[(&str, bool)] = &[
    ("1", true),
    ("t", true),
    ("T", true),
    ("true", true),
    ("TRUE", true),
    ("True", true),
    ("0", false),
    ("f", false),
    ("F", false),
    ("false", false),
    ("FALSE", false),
    ("False", false),
];

/// Holds the program's arguments where the command line has none.
pub const ARGS_VARIABLE: &str = "SOCKETMASTER_ARGS";

const PROGRAM: &str = "The program";
const RELOAD: &str = "Reload and stop";
const WORKERS: &str = "What workers get";
const OUTPUT: &str = "Output";
const CONTROL: &str = "A running master";
const ABOUT: &str = "About";

/// In the order in which the documentation shows them, section by section.
pub const OPTIONS: &[Opt] = &[
    Opt {
        key: Key::Listen,
        name: "listen",
        alias: None,
        kind: Kind::Value("URI"),
        values: Values::Listener,
        default: Some("tcp://:8080"),
        repeatable: true,
        section: PROGRAM,
        help: "socket to open, or none for no socket",
        long: "A socket to open, to keep open, and to hand to the program: the first as descriptor 3, the next as 4, and so on. \
               `none`, alone, opens no socket: socketmaster is a plain init then, and HUP is passed on.",
    },
    Opt {
        key: Key::Command,
        name: "command",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::Program,
        default: None,
        repeatable: false,
        section: PROGRAM,
        help: "program to run; its arguments follow the options",
        long: "The program to run. A name without a slash is looked up in PATH at every start, so that a reload picks up a changed file or symlink. \
               All words behind the options are its arguments; without `-command` the first of them is the program, \
               as ENTRYPOINT and CMD of a Dockerfile put it together.",
    },
    Opt {
        key: Key::Dir,
        name: "dir",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::Directory,
        default: None,
        repeatable: false,
        section: PROGRAM,
        help: "working directory, resolved anew at each start",
        long: "The working directory of workers, resolved anew at each start: a symlink to the current release, as Capistrano keeps one, is followed by a reload. \
               Unless given it is the directory that socketmaster was started in.",
    },
    Opt {
        key: Key::User,
        name: "user",
        alias: None,
        kind: Kind::Value("LOGIN"),
        values: Values::User,
        default: None,
        repeatable: false,
        section: PROGRAM,
        help: "run workers as LOGIN, UID, LOGIN:GROUP or UID:GID",
        long: "Run workers as this user: `LOGIN`, `UID`, `LOGIN:GROUP` or `UID:GID`. Needs root; the sockets are opened before. \
               A user known to the system gets its supplementary groups, and HOME, USER, LOGNAME and SHELL; numbers need no passwd file.",
    },
    Opt {
        key: Key::Start,
        name: "start",
        alias: None,
        kind: Kind::Value("MILLIS"),
        values: Values::Anything,
        default: Some("3000"),
        repeatable: false,
        section: RELOAD,
        help: "how long a new generation must live to be trusted",
        long: "How many milliseconds a new generation must live before it is trusted and the old one is told to stop. \
               If it ends earlier the reload has failed and the old one stays. 0: it is trusted as soon as it runs.",
    },
    Opt {
        key: Key::StopSignal,
        name: "stop-signal",
        alias: None,
        kind: Kind::Value("SIG"),
        values: Values::Signal,
        default: Some("TERM"),
        repeatable: false,
        section: RELOAD,
        help: "what tells an old generation to stop",
        long: "The signal that tells the workers of an old generation to finish their work and end: a name with or without SIG, or a number. \
               nginx and php-fpm want `QUIT`. When socketmaster itself is told to stop, its workers get the signal that it got; `-signal` changes that.",
    },
    Opt {
        key: Key::StopTimeout,
        name: "stop-timeout",
        alias: None,
        kind: Kind::Value("MILLIS"),
        values: Values::Anything,
        default: Some("0"),
        repeatable: false,
        section: RELOAD,
        help: "KILL for a worker that has not stopped; 0: never",
        long: "After how many milliseconds a worker that was told to stop, and is still there, gets KILL. 0: never, it may finish its work however long that takes.",
    },
    Opt {
        key: Key::Signal,
        name: "signal",
        alias: None,
        kind: Kind::Value("SIG:DO"),
        values: Values::SignalRule,
        default: None,
        repeatable: true,
        section: RELOAD,
        help: "at SIG: reload, stop, ignore, or pass on signal DO",
        long: "What socketmaster does at a signal: `reload`; `stop`, which tells the workers with `-stop-signal`; `ignore`; or the name of the signal to pass on instead. \
               `TERM:QUIT` stops nginx gracefully, `USR1:reload` adds a way to reload, `HUP:HUP` passes HUP on to a program that reloads by itself. \
               The signal STOP is written `SIGSTOP` here. KILL, STOP, CHLD and the signals of faults, such as SEGV, cannot be changed.",
    },
    Opt {
        key: Key::Group,
        name: "group",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: RELOAD,
        help: "send signals to workers' whole process groups",
        long: "Signals go to a worker's whole process group and not to its first process alone, as `tini -g` does it: for shell scripts, which pass nothing on.",
    },
    Opt {
        key: Key::Ok,
        name: "ok",
        alias: None,
        kind: Kind::Value("STATUS,..."),
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: RELOAD,
        help: "exit statuses of the program to report as 0",
        long: "Exit statuses of the program that socketmaster reports as 0, like `tini -e`. A program that TERM has ended counts as 143, and so does Java after a clean stop: `-ok=143`.",
    },
    Opt {
        key: Key::Handoff,
        name: "handoff",
        alias: None,
        kind: Kind::Value("LIST"),
        values: Values::Protocols,
        default: Some("einhorn-fds,systemd,server-starter"),
        repeatable: false,
        section: WORKERS,
        help: "protocols, or none",
        long: "Which variables tell workers about their sockets: a list, separated by commas, of `einhorn-fds` (Stripe's einhorn, and the first socketmaster), \
               `systemd` (socket activation) and `server-starter` (Perl's Server::Starter), or `none`.",
    },
    Opt {
        key: Key::Env,
        name: "env",
        alias: None,
        kind: Kind::Value("KEY=TEMPLATE"),
        values: Values::Anything,
        default: None,
        repeatable: true,
        section: WORKERS,
        help: "another variable, {fd} {addr} {uri} filled in",
        long: "A further variable for workers, for programs with a way of their own: `NGINX={fd};` for nginx, `FPM_SOCKETS={addr}={fd}` for php-fpm, \
               `PUMA_INHERIT_0={fd}:{uri}` for Puma. It wins over a variable of the same name from elsewhere.",
    },
    Opt {
        key: Key::Prefix,
        name: "prefix",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: OUTPUT,
        help: "[pid] before each line of the workers' output",
        long: "Put `[pid]` and a blank before each line of the workers' output, and write both their stdout and stderr to stderr. \
               A line of more than 1 MiB, with `-syslog` 8 KiB, goes on as several, the later ones behind `[pid]+`. \
               Without this and `-syslog` workers write to socketmaster's own stdout and stderr, untouched.",
    },
    Opt {
        key: Key::Syslog,
        name: "syslog",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: OUTPUT,
        help: "log to syslog, the workers' output too",
        long: "Log to syslog and not to stderr, the workers' output too, each line with the worker's pid. With `-prefix` as well, syslog it is.",
    },
    Opt {
        key: Key::Control,
        name: "control",
        alias: None,
        kind: Kind::Value("ADDR"),
        values: Values::File,
        default: None,
        repeatable: false,
        section: CONTROL,
        help: "control socket: a path or @NAME",
        long: "The control socket: an absolute path, or an abstract name behind `@`. The master opens it, with mode 0600, and hears its own user and root; \
               `-s` speaks to the master behind it.",
    },
    Opt {
        key: Key::Ask,
        name: "s",
        alias: None,
        kind: Kind::Value("VERB"),
        values: Values::Verb,
        default: None,
        repeatable: false,
        section: CONTROL,
        help: "ask the master behind -control: reload, status, stop",
        long: "Run nothing, but ask the master behind `-control`. `reload` waits until the new generation serves, and fails, with the reason, if it does not: a deploy can trust it. \
               `status` shows generations, workers, listeners and the last reload. `stop` stops like TERM, and waits for the end.",
    },
    Opt {
        key: Key::Json,
        name: "json",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: CONTROL,
        help: "with -s: the answer as JSON",
        long: "With `-s`, print the answer as the line of JSON that it is: `ok`, `text`, and with `status` all that there is to know.",
    },
    Opt {
        key: Key::Help,
        name: "help",
        alias: Some("h"),
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: ABOUT,
        help: "this screen; --help: everything",
        long: "`-help` and `-h` print one screen, `--help` prints everything.",
    },
    Opt {
        key: Key::Version,
        name: "version",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        section: ABOUT,
        help: "print the version",
        long: "Print the version.",
    },
];

impl Opt {
    /// As it is typed: `-start=MILLIS`, `-syslog`.
    pub fn usage(&self) -> String {
        match self.kind {
            Kind::Value(placeholder) => format!("-{}={placeholder}", self.name),
            Kind::Switch => format!("-{}", self.name),
        }
    }

    /// The variable that gives its value where the command line does not. What is to be done at all cannot be said in
    /// that way: a unit's environment serves its start and its reload.
    pub fn variable(&self) -> Option<String> {
        let deed = matches!(self.key, Key::Help | Key::Version | Key::Ask | Key::Json);
        (!deed).then(|| format!("SOCKETMASTER_{}", self.name.to_ascii_uppercase().replace('-', "_")))
    }
}

/// The option of that name or alias, written without dashes.
pub fn find(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|opt| opt.name == name || opt.alias == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_variables_and_keys_are_unique() {
        for (index, opt) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[..index] {
                assert_ne!(opt.name, other.name);
                assert_ne!(opt.key, other.key);
                assert!(opt.variable().is_none() || opt.variable() != other.variable());
            }
            assert_ne!(opt.variable().as_deref(), Some(ARGS_VARIABLE));
            assert_eq!(find(opt.name).map(|found| found.key), Some(opt.key));
        }
    }

    #[test]
    fn names_are_lower_case_words_with_dashes() {
        for opt in OPTIONS {
            assert!(opt.name.split('-').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())), "{}", opt.name);
        }
    }

    #[test]
    fn a_section_is_in_one_piece() {
        let mut sections: Vec<&str> = OPTIONS.iter().map(|opt| opt.section).collect();
        sections.dedup();
        for (index, section) in sections.iter().enumerate() {
            assert!(!sections[..index].contains(section), "{section}");
        }
    }

    #[test]
    fn every_text_is_fit_to_print() {
        for opt in OPTIONS {
            assert!(!opt.help.ends_with('.') && !opt.help.contains('`'), "{}: {}", opt.name, opt.help);
            assert!(opt.long.ends_with('.') && !opt.long.contains("  ") && !opt.long.contains('\n'), "{}: {}", opt.name, opt.long);
            assert_eq!(opt.long.matches('`').count() % 2, 0, "{}", opt.long);
        }
    }

    #[test]
    fn a_switch_has_neither_default_nor_repetition_nor_values() {
        for opt in OPTIONS.iter().filter(|opt| opt.kind == Kind::Switch) {
            assert!(opt.default.is_none() && !opt.repeatable && opt.values == Values::Anything, "{}", opt.name);
        }
    }

    #[test]
    fn an_option_tells_its_usage_and_its_variable() {
        let told = |name| find(name).map(|opt| (opt.usage(), opt.variable()));
        assert_eq!(told("stop-timeout"), Some(("-stop-timeout=MILLIS".to_owned(), Some("SOCKETMASTER_STOP_TIMEOUT".to_owned()))));
        assert_eq!(told("syslog"), Some(("-syslog".to_owned(), Some("SOCKETMASTER_SYSLOG".to_owned()))));
        assert_eq!(told("h"), Some(("-help".to_owned(), None)));
        assert_eq!(told("-start"), None);
        assert_eq!(told(""), None);
    }
}
