//! The table of options: the one place where an option exists, with its reader. Parser and all pages follow it.
//!
//! In the long texts backticks mark what is typed; a terminal page drops them.

use std::ffi::OsStr;

use super::draft::Draft;
use super::protocols::Protocols;
use super::{help, signal_rules, values};
use crate::types::account::UserSpec;

/// An option.
pub struct Opt {
    /// Without dashes.
    pub name: &'static str,
    pub alias: Option<&'static str>,
    pub kind: Kind,
    pub values: Values,
    /// Read like a value from the command line. `None`: off, or nothing.
    pub default: Option<&'static str>,
    pub repeatable: bool,
    pub role: Role,
    pub section: &'static str,
    /// A few words: a column of one screen.
    pub help: &'static str,
    /// Everything that there is to say but the default, where the row has one: see [`Opt::text`].
    pub long: &'static str,
    /// Reads a value into the draft; the error is the cause. Options are read in the order of the table, and the last of
    /// several values stays unless the option is repeatable.
    pub read: Read,
}

/// From the text of a value to a change of the draft.
pub type Read = fn(&mut Draft, &OsStr) -> Result<(), String>;

/// What an option is about. What is to be done at all cannot be said by the environment: that of a unit serves its start
/// and its reload.
#[derive(Clone, Copy)]
pub enum Role {
    /// How the program is run. It has a variable.
    Setting,
    /// The same, and a request to a running master needs it too.
    SettingAndRequest,
    /// A request to a running master.
    Request,
    /// A health check. It needs no master.
    Probe,
    /// Prints a page at once, which may depend on how the option was typed.
    Page(fn(&str) -> String),
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
    /// A way to become ready.
    Ready,
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

/// All variables for socketmaster begin like this.
pub const PREFIX: &str = "SOCKETMASTER_";

/// Holds the program's arguments where the command line has none.
pub const ARGS_VARIABLE: &str = "SOCKETMASTER_ARGS";
/// The variable of `-command`.
pub const COMMAND_VARIABLE: &str = "SOCKETMASTER_COMMAND";

const PROGRAM: &str = "The program";
const RELOAD: &str = "Reload and stop";
const WORKERS: &str = "What workers get";
const OUTPUT: &str = "Output";
const CONTROL: &str = "A running master";
const ABOUT: &str = "About";

/// In the order in which the documentation shows them, section by section.
pub const OPTIONS: &[Opt] = &[
    Opt {
        name: "listen",
        alias: None,
        kind: Kind::Value("URI"),
        values: Values::Listener,
        default: Some("tcp://:8080"),
        repeatable: true,
        role: Role::Setting,
        section: PROGRAM,
        help: "socket",
        long: "Open this socket, keep it open, and pass it to the program: the first as descriptor 3, the next as 4, and so on. \
               `none`, alone, opens no socket: socketmaster is then a plain init and forwards SIGHUP.",
        read: |draft, text| {
            let none = text == "none";
            let listen = &mut draft.reloadable.listen;
            match (none, &mut draft.no_listener) {
                (true, _) if !listen.is_empty() => return Err("none cannot be combined with other listeners".to_owned()),
                (_, true) => return Err("-listen=none cannot be combined with other listeners".to_owned()),
                (true, no_listener) => *no_listener = true,
                (false, _) => listen.push(values::utf8(text)?.parse()?),
            }
            Ok(())
        },
    },
    Opt {
        name: "command",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::Program,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: PROGRAM,
        help: "program to run",
        long: "Run this program. A name without a slash is looked up in PATH at every start, so a reload picks up a changed file or symlink. \
               The words after the options are its arguments. Without `-command` the first of these words is the program, \
               as with ENTRYPOINT and CMD in a Dockerfile.",
        read: |draft, text| {
            draft.command = Some(values::not_empty(text)?.to_owned());
            Ok(())
        },
    },
    Opt {
        name: "dir",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::Directory,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: PROGRAM,
        help: "working directory",
        long: "Start workers in this directory. The path is resolved at every start, so a reload follows a symlink such as `current`. \
               socketmaster enters the directory before it changes to the user of `-user`; if that fails, it tries again as this user. \
               The default is the directory in which socketmaster was started.",
        read: |draft, text| {
            draft.reloadable.dir = Some(values::not_empty(text)?.into());
            Ok(())
        },
    },
    Opt {
        name: "user",
        alias: None,
        kind: Kind::Value("LOGIN"),
        values: Values::User,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: PROGRAM,
        help: "user of the workers",
        long: "Run workers as this user: `LOGIN`, `UID`, `LOGIN:GROUP` or `UID:GID`. socketmaster must run as root or as that user, and opens the sockets before it changes the user. \
               A user in the passwd file gets its supplementary groups and HOME, USER, LOGNAME and SHELL. \
               A uid without an entry there gets HOME=/. The default is socketmaster's own user.",
        read: |draft, text| {
            draft.reloadable.user = Some(UserSpec::parse(values::utf8(text)?)?);
            Ok(())
        },
    },
    Opt {
        name: "ready",
        alias: None,
        kind: Kind::Value("HOW"),
        values: Values::Ready,
        default: Some("auto"),
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "when it is ready",
        long: "Choose when a new generation is ready. `auto`: it has run for `-start` milliseconds, and it accepts connections on every listener on which the current generation accepts them; \
               if it does not accept within 60 seconds, the reload fails. If socketmaster has not seen the current generation accept on any listener, only the time counts. \
               `start`: it has run for `-start` milliseconds. \
               `accept`: it accepts connections on every listener; `-start` is the time limit. \
               socketmaster sees in /proc whether a process accepts, so the program needs no support for it. \
               `notify`: each of its workers has sent `READY=1` to NOTIFY_SOCKET, see sd_notify(3); `-start` is the time limit. \
               `einhorn`: each of its workers has sent the acknowledgement of einhorn; `-start` is the time limit. It adds `einhorn` to `-handoff`.",
        read: |draft, text| {
            draft.ready = values::ready(text)?;
            Ok(())
        },
    },
    Opt {
        name: "start",
        alias: None,
        kind: Kind::Value("MILLIS"),
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "time to run [3000]",
        long: "Require that a new generation runs for this many milliseconds before it is ready. The old one is then told to stop. \
               If the new one exits earlier, the reload fails and the old one keeps running. 0 means that it is ready as soon as it runs. \
               The default is 3000. With `-ready=accept`, `notify` and `einhorn` this is the time limit instead, the default is 60000, and 0 means no limit. With `-probe` it is the time limit of the check.",
        read: |draft, text| {
            draft.start = Some(values::millis(text)?);
            Ok(())
        },
    },
    Opt {
        name: "check",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::Program,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "run before a reload",
        long: "Run this program before each reload, without arguments, and with the user, directory, environment and sockets of the new generation. \
               If it exits with another status than 0, or does not exit within 60 seconds or within the time limit of `-ready`, whichever is longer, \
               the reload fails and no worker is started. It does not run before the first start.",
        read: |draft, text| {
            draft.reloadable.check = Some(values::not_empty(text)?.to_owned());
            Ok(())
        },
    },
    Opt {
        name: "settle",
        alias: None,
        kind: Kind::Value("MILLIS"),
        values: Values::Anything,
        default: Some("0"),
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "time side by side",
        long: "When a new generation is ready, keep the old one running beside it for this many milliseconds. Both serve during this time. \
               If the new one exits, the reload fails and the old one stays. 0 means that the old one is stopped at once.",
        read: |draft, text| {
            draft.reloadable.policy.settle = values::millis(text)?;
            Ok(())
        },
    },
    Opt {
        name: "workers",
        alias: None,
        kind: Kind::Value("N"),
        values: Values::Anything,
        default: Some("1"),
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "processes to start",
        long: "Start the program this many times in each generation. All of these workers have the same sockets. \
               A generation is ready when each of its workers is. `{worker}` in `-env` is the number of a worker, from 0.",
        read: |draft, text| {
            draft.reloadable.policy.workers = values::count(text)?;
            Ok(())
        },
    },
    Opt {
        name: "respawn",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "replace what exits",
        long: "Replace a worker of the current generation that exits, whatever its status. Clients wait meanwhile, and are not refused. \
               The first replacement starts at once. As long as replacements exit before they have run for the time of `-start`, the next one starts after \
               1 second, then after 1.5, and so on up to 30 seconds. A first generation that exits before it is ready is not replaced.",
        read: |draft, text| {
            draft.reloadable.policy.respawn = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "stop-signal",
        alias: None,
        kind: Kind::Value("SIG"),
        values: Values::Signal,
        default: Some("TERM"),
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "stop signal",
        long: "Stop workers with this signal: those of the old generation at a reload, and all workers when socketmaster receives SIGTERM. \
               Write a name with or without SIG, or a number. Use `QUIT` for nginx, unicorn and php-fpm, `USR1` for haproxy, `INT` for lighttpd. \
               socketmaster forwards a second SIGTERM unchanged.",
        read: |draft, text| {
            draft.reloadable.policy.stop_signal = signal_rules::read_stop_signal(values::utf8(text)?)?;
            Ok(())
        },
    },
    Opt {
        name: "stop-timeout",
        alias: None,
        kind: Kind::Value("MILLIS"),
        values: Values::Anything,
        default: Some("0"),
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "then SIGKILL",
        long: "Send SIGKILL to a worker that still runs this many milliseconds after it was told to stop. 0 means never.",
        read: |draft, text| {
            draft.reloadable.policy.stop_timeout = Some(values::millis(text)?).filter(|wait| !wait.is_zero());
            Ok(())
        },
    },
    Opt {
        name: "signal",
        alias: None,
        kind: Kind::Value("SIG:DO"),
        values: Values::SignalRule,
        default: None,
        repeatable: true,
        role: Role::Setting,
        section: RELOAD,
        help: "change what SIG does",
        long: "Change what socketmaster does when it receives SIG. DO is `reload`; `stop`, which stops the workers with `-stop-signal`; `ignore`; `forward`; or the name of another signal to send instead. \
               For SIGTERM, SIGINT and SIGQUIT the name of another signal is still a stop: `INT:TERM` makes Ctrl-C a graceful stop. \
               `forward`, or the signal's own name, is no stop: `QUIT:forward` lets Java print its threads. \
               `USR1:reload` adds a second way to reload, and `HUP:forward` leaves SIGHUP to a program that reloads itself. \
               Write `SIGSTOP` to send the signal STOP. SIGKILL, SIGSTOP and SIGCHLD cannot be changed.",
        read: |draft, text| {
            draft.signal_rules.push(signal_rules::read_rule(values::utf8(text)?)?);
            Ok(())
        },
    },
    Opt {
        name: "group",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "signal whole groups",
        long: "Send signals to the whole process group of a worker and not only to its first process, as `tini -g` does. \
               Use it for shell scripts, which do not forward signals.",
        read: |draft, text| {
            draft.reloadable.policy.group = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "ok",
        alias: None,
        kind: Kind::Value("STATUS,..."),
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: RELOAD,
        help: "statuses that mean 0",
        long: "Report these exit statuses of the program as 0, as `tini -e` does. A program that SIGTERM kills has the status 143. Java exits with 143 after a clean stop: use `-ok=143`.",
        read: |draft, text| {
            draft.reloadable.policy.ok = values::statuses(text)?;
            Ok(())
        },
    },
    Opt {
        name: "handoff",
        alias: None,
        kind: Kind::Value("LIST"),
        values: Values::Protocols,
        default: Some("einhorn-fds,systemd,server-starter"),
        repeatable: false,
        role: Role::Setting,
        section: WORKERS,
        help: "protocols, or none",
        long: "Tell workers about their sockets through the variables of these protocols: a comma-separated list of `einhorn-fds` (old versions of einhorn, and the original socketmaster), `einhorn` (with a socket for acknowledgements), \
               `systemd` (socket activation) and `server-starter` (Server::Starter), or `none`.",
        read: |draft, text| {
            draft.reloadable.handoff = Protocols::parse(values::utf8(text)?)?;
            Ok(())
        },
    },
    Opt {
        name: "env",
        alias: None,
        kind: Kind::Value("KEY=TEMPLATE"),
        values: Values::Anything,
        default: None,
        repeatable: true,
        role: Role::Setting,
        section: WORKERS,
        help: "variable to add",
        long: "Set a variable for workers, and fill in its placeholders. Use it for programs with a protocol of their own: `NGINX={fd};` for nginx, \
               `FPM_SOCKETS={host}:{port}={fd}` for php-fpm, `PUMA_INHERIT_0={fd}:{uri}` for Puma. It replaces a variable of the same name from any other source.",
        read: |draft, text| {
            // The listeners come earlier in this table, so they are known.
            let variable = values::variable(text, &draft.reloadable.listen)?;
            draft.reloadable.env.push(variable);
            Ok(())
        },
    },
    Opt {
        name: "prefix",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: OUTPUT,
        help: "[pid] before lines",
        long: "Put `[pid]` and a space before each line of the workers' output, and write both their stdout and stderr to stderr. \
               A line over 1 MiB (8 KiB with `-syslog`) is split, and its later parts begin with `[pid]+`. \
               Without `-prefix` and `-syslog`, workers write directly to socketmaster's own stdout and stderr.",
        read: |draft, text| {
            draft.prefix = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "syslog",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: OUTPUT,
        help: "log to syslog",
        long: "Log to syslog instead of stderr, with each line of the workers' output and the worker's pid. `-syslog` overrides `-prefix`.",
        read: |draft, text| {
            draft.syslog = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "quiet",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: OUTPUT,
        help: "fewer log lines",
        long: "Log only errors and warnings. It cannot be combined with `-verbose`.",
        read: |draft, text| {
            draft.quiet = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "verbose",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: OUTPUT,
        help: "more log lines",
        long: "Log more, for troubleshooting. It cannot be combined with `-quiet`.",
        read: |draft, text| {
            draft.verbose = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "control",
        alias: None,
        kind: Kind::Value("ADDR"),
        values: Values::File,
        default: None,
        repeatable: false,
        role: Role::SettingAndRequest,
        section: CONTROL,
        help: "control socket",
        long: "Create a control socket at this address, and accept the requests of `-s` there. The address is an absolute path, or `@NAME` for an abstract name. \
               Its mode is 0600, and socketmaster accepts requests only from its own user and root. The default is no control socket.",
        read: |draft, text| {
            draft.fixed.control = Some(values::control_address(text)?);
            Ok(())
        },
    },
    Opt {
        name: "pid-file",
        alias: None,
        kind: Kind::Value("PATH"),
        values: Values::File,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: CONTROL,
        help: "for the master's pid",
        long: "Write the master's pid to this file once the first generation serves. A reader never sees a part of the number. \
               socketmaster removes the file when it exits, unless the file then holds another pid. The default is no file.",
        read: |draft, text| {
            draft.fixed.pid_file = Some(values::not_empty(text)?.into());
            Ok(())
        },
    },
    Opt {
        name: "s",
        alias: None,
        kind: Kind::Value("VERB"),
        values: Values::Verb,
        default: None,
        repeatable: false,
        role: Role::Request,
        section: CONTROL,
        help: "reload, status, stop",
        long: "Send a request to the running master at `-control`, print the answer, and exit. `reload` waits until the new generation serves, and fails with the reason if it does not. \
               `status` shows generations, workers, listeners and the last reload. `stop` stops as SIGTERM does and waits until the master has exited.",
        read: |draft, text| {
            draft.request = Some(values::request(text)?);
            Ok(())
        },
    },
    Opt {
        name: "json",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Request,
        section: CONTROL,
        help: "answer as JSON",
        long: "Print the answer to `-s` as one line of JSON: `ok`, `text`, and with `status` the complete status.",
        read: |draft, text| {
            draft.json = values::switch(text)?;
            Ok(())
        },
    },
    Opt {
        name: "probe",
        alias: None,
        kind: Kind::Value("URL"),
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Probe,
        section: CONTROL,
        help: "health check",
        long: "Check whether a server on this host is healthy, print one line that says why, and exit with 0 or 1. This is a health check for images without a shell. \
               `http://HOST:PORT/PATH`: the server answers a GET request with a status from 200 to 399. \
               `tcp://HOST:PORT` and `unix:///PATH`: the connection succeeds. While socketmaster runs, it succeeds even if the program hangs, because the kernel completes it; prefer `http`. \
               HOST is `localhost` or an address of this host; a probe connects to no other. `-start` on the command line is the time limit for the whole check, by default 3000 milliseconds. \
               No other option goes with `-probe`, and it reads no variable.",
        read: |draft, text| {
            draft.probe = Some(values::utf8(text)?.parse()?);
            Ok(())
        },
    },
    Opt {
        name: "help",
        alias: Some("h"),
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Page(|typed| if typed == "--help" { help::everything() } else { help::screen() }),
        section: ABOUT,
        help: "--help: everything",
        long: "Print help: one screen with `-help` or `-h`, everything with `--help`.",
        read: |_, text| values::switch(text).map(drop),
    },
    Opt {
        name: "version",
        alias: None,
        kind: Kind::Switch,
        values: Values::Anything,
        default: None,
        repeatable: false,
        role: Role::Page(|_| help::version()),
        section: ABOUT,
        help: "print the version",
        long: "Print the version.",
        read: |_, text| values::switch(text).map(drop),
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

    /// The whole text: an imperative first, the default last. Of a switch no default is told, since it is always off.
    pub fn text(&self) -> String {
        let default = self.default.map_or_else(String::new, |default| format!(" The default is `{default}`."));
        format!("{}{default}", self.long)
    }

    /// The variable that gives its value where the command line does not.
    pub fn variable(&self) -> Option<String> {
        let setting = matches!(self.role, Role::Setting | Role::SettingAndRequest);
        setting.then(|| format!("{PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_")))
    }
}

/// The option of that name or alias, written without dashes.
pub fn find(name: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|opt| opt.name == name || opt.alias == Some(name))
}

/// A value for each option that is not its default, and one that is wrong: name, good, bad.
#[cfg(test)]
pub const SAMPLES: &[(&str, &str, &str)] = &[
    ("listen", "tcp://:80", "tcp://:http"),
    ("command", "other", ""),
    ("dir", "/srv", ""),
    ("user", "www", "www:"),
    ("ready", "accept", "acept"),
    ("start", "1", "abc"),
    ("check", "true", ""),
    ("settle", "1", "1s"),
    ("workers", "2", "0"),
    ("respawn", "true", "yes"),
    ("stop-signal", "QUIT", "QIUT"),
    ("stop-timeout", "1", "-1"),
    ("signal", "USR1:reload", "USR1"),
    ("group", "true", "yes"),
    ("ok", "143", "256"),
    ("handoff", "none", "nosuch"),
    ("env", "A=b", "=b"),
    ("prefix", "1", "2"),
    ("syslog", "T", "on"),
    ("quiet", "1", "very"),
    ("verbose", "1", "very"),
    ("control", "@sm", "sock"),
    ("pid-file", "/run/pid", ""),
    ("s", "status", "statsu"),
    ("json", "false", "maybe"),
    ("probe", "tcp://127.0.0.1:1", "tcp://db:1"),
    ("help", "false", "no"),
    ("version", "false", "no"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_variables_are_unique_and_each_option_has_a_sample() {
        for (index, opt) in OPTIONS.iter().enumerate() {
            for other in &OPTIONS[..index] {
                assert_ne!(opt.name, other.name);
                assert!(opt.variable().is_none() || opt.variable() != other.variable());
            }
            assert_ne!(opt.variable().as_deref(), Some(ARGS_VARIABLE));
            assert_eq!(opt.name == "command", opt.variable().as_deref() == Some(COMMAND_VARIABLE));
            assert_eq!(find(opt.name).map(|found| found.name), Some(opt.name));
            assert_eq!(SAMPLES.iter().filter(|(name, ..)| *name == opt.name).count(), 1, "{} has no sample", opt.name);
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
            assert!(opt.text().matches("The default is").count() <= 1, "{}", opt.text());
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
