//! The manual page socketmaster(1): the tables, and what only a manual has room to say.

use super::roff::{Roff, bold, form};
use super::{RELEASED, words};
use socketmaster::config::env_template::PLACEHOLDERS;
use socketmaster::config::help::{
    EXIT_STATUSES, SUMMARY, USAGE, WRITING_LISTENERS, WRITING_OPTIONS, signal_rows, version, writing_variables,
};
use socketmaster::config::listen_uri::SCHEMES;
use socketmaster::config::options::{ARGS_VARIABLE, Kind, OPTIONS, Opt};
use socketmaster::config::protocols::PROTOCOLS;
use socketmaster::config::socket_options::QUERY_KEYS;

/// A piece of a section, as [`Roff`] takes it.
enum Part {
    Says(&'static str),
    /// A label that is typed, and what it is.
    Is(&'static str, &'static str),
    /// The same with a label in prose.
    On(&'static str, &'static str),
    Example(&'static str),
}

use Part::{Example, Is, On, Says};

/// The page as it is committed.
pub fn page() -> String {
    let source = version();
    let mut page = Roff::new("SOCKETMASTER", 1, &RELEASED, source.trim_end(), "User Commands");
    page.comment("Written by `make pages` from the tables in the source.");
    page.section("NAME");
    page.line("socketmaster \\- keeps listening sockets open across restarts of a program");
    page.section("SYNOPSIS");
    for line in USAGE.lines() {
        page.line(&synopsis(line.trim_start_matches("Usage:").trim()));
    }
    page.section("DESCRIPTION");
    page.paragraph(SUMMARY);
    parts(&mut page, DESCRIPTION);
    page.section("OPTIONS");
    page.paragraph(WRITING_OPTIONS);
    options(&mut page);
    page.section("LISTENERS");
    listeners(&mut page);
    page.section("HAND-OVER");
    hand_over(&mut page);
    page.section("LIFE");
    parts(&mut page, LIFE);
    page.section("SIGNALS");
    for (signals, does) in signal_rows() {
        page.tagged(&bold(&signals), &sentence(does));
    }
    parts(&mut page, SIGNALS);
    page.section("CONTROL SOCKET");
    parts(&mut page, CONTROL);
    for (word, does) in words::verbs() {
        page.tagged(&bold(&word), &sentence(&does));
    }
    parts(&mut page, ANSWERS);
    page.section("SYSTEMD");
    parts(&mut page, SYSTEMD);
    page.section("DOCKER");
    parts(&mut page, DOCKER);
    page.section("ENVIRONMENT");
    environment(&mut page);
    page.section("EXIT STATUS");
    for (status, means) in EXIT_STATUSES {
        page.tagged(&bold(status), &sentence(means));
    }
    page.paragraph("It is never 0 for a failure.");
    page.section("FILES");
    parts(&mut page, FILES);
    page.section("EXAMPLES");
    parts(&mut page, EXAMPLES);
    page.section("CAVEATS");
    parts(&mut page, CAVEATS);
    page.section("SEE ALSO");
    page.paragraph(&see_also());
    page.end()
}

fn parts(page: &mut Roff, parts: &[Part]) {
    for part in parts {
        match part {
            Says(text) => page.paragraph(text),
            Is(label, text) => page.tagged(&bold(label), text),
            On(label, text) => page.tagged(&format!("\\fI{label}\\fR"), text),
            Example(text) => page.example(text),
        }
    }
}

/// A text of a table, which is none there.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

/// What is typed is bold, what stands for something else is italic, and what belongs to the notation is neither.
fn synopsis(line: &str) -> String {
    let word = |word: &str| {
        let open = if word.starts_with('[') { "[" } else { "" };
        let inner = word.trim_start_matches('[').trim_end_matches([']', '.']);
        let close = &word[open.len() + inner.len()..];
        let inner = if inner == "options" { "\\fIoptions\\fR".to_owned() } else { form(inner) };
        format!("{open}{inner}{close}")
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn options(page: &mut Roff) {
    let mut section = "";
    for opt in OPTIONS {
        if opt.section != section {
            section = opt.section;
            page.subsection(section);
        }
        let alias = opt.alias.map_or_else(String::new, |alias| format!(", {}", bold(&format!("-{alias}"))));
        page.tagged(&format!("{}{alias}", form(&opt.usage())), opt.long);
        let facts = facts(opt);
        if !facts.is_empty() {
            page.facts(&format!("{}.", facts.join("; ")));
        }
    }
}

/// In roff.
fn facts(opt: &Opt) -> Vec<String> {
    let mut facts = Vec::new();
    facts.extend(opt.repeatable.then(|| "May be repeated".to_owned()));
    facts.extend(opt.default.map(|default| format!("Default: {}", bold(default))));
    facts.extend((opt.kind == Kind::Switch && opt.variable().is_some()).then(|| "Default: off".to_owned()));
    facts.extend(opt.variable().map(|variable| format!("Variable: {}", bold(&variable))));
    facts
}

fn listeners(page: &mut Roff) {
    for scheme in SCHEMES {
        let forms: Vec<String> = scheme.forms.iter().copied().map(form).collect();
        page.tagged(&forms.join(" or "), &sentence(scheme.does));
    }
    page.paragraph(WRITING_LISTENERS);
    for key in QUERY_KEYS {
        page.tagged(&form(&format!("{}={}", key.name, key.value)), &sentence(&format!("{} (goes with {})", key.does, key.goes_with)));
    }
    parts(page, LISTENERS);
}

fn hand_over(page: &mut Roff) {
    parts(page, HAND_OVER);
    page.subsection("Protocols");
    page.paragraph("The words of -handoff, and the variables that each of them sets:");
    for protocol in PROTOCOLS {
        page.tagged(&bold(protocol.name), &sentence(protocol.variables));
    }
    page.tagged(&bold("none"), "The sockets and no variable.");
    page.subsection("Templates");
    page.paragraph("In the value of -env these are filled in:");
    for (placeholder, does) in PLACEHOLDERS {
        page.tagged(&bold(placeholder), &sentence(does));
    }
}

fn environment(page: &mut Roff) {
    page.paragraph(&writing_variables());
    for opt in OPTIONS {
        if let Some(variable) = opt.variable() {
            let words = if opt.repeatable { "Words, each a value of " } else { "" };
            page.tagged(&bold(&variable), &format!("{words}`-{}`.", opt.name));
        }
    }
    page.tagged(&bold(ARGS_VARIABLE), "The arguments of the program.");
    parts(page, ENVIRONMENT);
}

fn see_also() -> String {
    let pages: Vec<String> = SEE_ALSO.iter().map(|(name, section)| format!("`{name}`({section})")).collect();
    pages.join(", ")
}

const DESCRIPTION: &[Part] = &[
    Says(
        "A worker is one process of the program. A generation is what one start or reload has started; generations are numbered from 1. \
         A generation is a candidate as long as it is not trusted, then it is current, and it retires when it has been told to stop. \
         The master is socketmaster itself; its pid never changes.",
    ),
    Says(
        "The program must take its socket from descriptor 3 instead of binding one, must stop politely when it is told to \
         (accept no more, finish what has begun, end), and must be its own process: see CAVEATS.",
    ),
    Says(
        "The master writes notes of its own, one line each, to standard error: what happened, to which pid and generation, and why. \
         Workers write to the master's own standard output and standard error, with nobody in between, unless `-prefix` or `-syslog` is given.",
    ),
    Says("There is no configuration file. Each option can come from the environment as well: see ENVIRONMENT."),
];

const LISTENERS: &[Part] = &[
    Says(
        "Sockets are opened in the order of the options, with SO_REUSEADDR and never with SO_REUSEPORT, before a user is changed and before anything is started. \
         The address really bound is noted. One that cannot be opened ends socketmaster with 1.",
    ),
    Says(
        "A unix path in the way is connected to: if nobody answers it is stale and is replaced, if somebody does it is in use and socketmaster ends with 1. \
         What is no socket is never removed. At the end the path is removed, unless another file has taken its place, or a descriptor store keeps the socket: see SYSTEMD.",
    ),
    Says(
        "While the path is looked at and bound, its directory is locked with flock(2). The path is created with its mode. \
         In a directory that another user may write to, the owner is changed only if the path still leads to the socket that was bound; otherwise socketmaster ends with 1.",
    ),
    Says(
        "A unix path that disappears while socketmaster runs is put back at once, with the same socket, and the log says so. \
         php-fpm and Python's asyncio remove it when they end. For this a second name of the socket stands beside it, `.NAME.socketmaster`, \
         where the file system has hard links; it is removed at the end. A path that another program has taken meanwhile is left alone.",
    ),
    Says(
        "Without a listener (`-listen=none`) the descriptors from 3 up that socketmaster has inherited reach the program as they are. \
         With a listener they are closed. A socket that is inherited as 0, 1 or 2 is replaced there by /dev/null.",
    ),
];

const HAND_OVER: &[Part] = &[
    Says("A worker inherits:"),
    On(
        "Descriptors",
        "0, 1 and 2, the listeners from 3 up in the order of the options, and nothing else; without a listener, all that socketmaster has inherited.",
    ),
    On("Signals", "The mask and the ignored signals as the master found them at its own start."),
    On(
        "Process group",
        "One of its own. Where the master leads a session with a terminal, as under `docker run -it`, the current generation is its foreground group.",
    ),
    On(
        "Directory",
        "That of -dir, else the one that the master was started in. The master itself moves to `/` and keeps no file system busy.",
    ),
    On(
        "User",
        "With -user supplementary groups, gid and uid, and for a user known to the system HOME, USER, LOGNAME and SHELL. \
         An unknown name ends socketmaster with 1 before anything is opened.",
    ),
    On("Limits", "Resource limits, niceness and the score of the OOM killer as the master has them."),
    On(
        "Environment",
        "The master's, less what speaks of another life: `SOCKETMASTER_*`, `EINHORN_*`, `SERVER_STARTER_*`, `WATCHDOG_*`, `NOTIFY_SOCKET`, `FDSTORE`, \
         `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES` and `LISTEN_PIDFDID`. Then come the variables of the chosen protocols, then those of -env.",
    ),
    Says("The program is looked up, the directory entered and the environment made anew at each start."),
];

const LIFE: &[Part] = &[
    On(
        "Start",
        "The listeners are opened, then generation 1 is started. It is current as soon as it runs. \
         If it cannot be executed socketmaster ends with 126 or 127.",
    ),
    On(
        "Reload",
        "HUP starts the next generation as a candidate, beside the current one. It is trusted when all of its workers have lived for the time of -start. \
         Then it becomes current, and every worker of the old one gets the signal of -stop-signal, once. \
         A HUP during a reload is remembered, once, and runs when that one is over.",
    ),
    On(
        "Rollback",
        "A candidate that cannot be executed, or dies before it is trusted, has failed: what is left of it is told to stop, the current generation stays and never notices, \
         and a note says why. The next HUP begins afresh. If it is the current generation that dies meanwhile, the candidate becomes current at once.",
    ),
    On(
        "Stop",
        "SIGTERM sends the signal of -stop-signal to all workers. SIGINT and SIGQUIT go to all workers as they came. \
         Nothing is started any more, whatever was under way. \
         The master closes its own copies of the listeners first, so that clients are refused as soon as the program closes its own. \
         When the last worker is gone it removes what it has made and ends. \
         A second such signal is forwarded unchanged; the first is not repeated to a worker that retires already and was told with the same signal.",
    ),
    On(
        "Death of a worker",
        "When no worker is left the master ends with the status of the current generation's worker that ended last. \
         When only retiring workers are left the listeners stay open and the log says that nobody accepts: clients wait, and a reload makes it serve again.",
    ),
    On("Orphans", "The master reaps every process that is left to it, as PID 1 or else as a child subreaper."),
];

const SIGNALS: &[Part] = &[Says(
    "`-signal` changes any of these but CHLD, KILL and STOP. A fault of socketmaster itself, which the kernel reports, still ends it.",
)];

const CONTROL: &[Part] = &[
    Says(
        "With `-control=ADDR` the master listens on a unix socket, an absolute path or an abstract name written `@NAME`. \
         Its mode is 0600, and only the master's own user and root are heard. \
         A second socketmaster, started with `-s` and the same address, does not run a program: it sends a request, prints the answer, \
         and exits with 0, or with 1 if the request has failed. SOCKETMASTER_CONTROL in the environment serves both.",
    ),
    Says("The requests:"),
];

const ANSWERS: &[Part] = &[
    Says("So a deploy script can trust a reload:"),
    Example("$ socketmaster -control=/run/app/control -s reload\ngeneration 3 serves after 0.41 s (pid 812)"),
    Says("or, with exit status 1,"),
    Example("reload failed: generation 4: pid 900 exited with status 1 after 0.02 s; generation 3 stays"),
    Says(
        "On the socket a request is one word on a line, and its answer is one line of JSON, which `-json` prints as it is. \
         An answer begins with `{\"ok\":true,\"text\":\"...\"` or, where the request has failed, with `{\"ok\":false,\"text\":\"...\"`, \
         and may hold further members. Requests on one connection are answered in their order. \
         If `ack` follows the word, as in `reload ack`, the line `{\"accepted\":true}` comes first, as soon as the master has accepted the request.",
    ),
    Says(
        "`-s` waits 10 seconds for the first sign of an answer, and then as long as the request takes. \
         It talks only to a master that runs as the same user or as root; root talks to every user's master.",
    ),
];

const SYSTEMD: &[Part] = &[
    Says("Where NOTIFY_SOCKET is set the master tells the service manager, as `sd_notify`(3) has it:"),
    Is("READY=1", "Generation 1 is current, and again at the end of each reload, failed or not."),
    Is("RELOADING=1", "A reload begins; `MONOTONIC_USEC` comes with it."),
    Is("STOPPING=1", "Nothing will be started any more."),
    Is("STATUS=", "One line, such as `generation 3 serves (pid 812)`, with the reason if the last reload has failed."),
    Says("Sockets of a socket unit are taken with `-listen=systemd:`, all or by name: see LISTENERS."),
    Says(
        "Where FDSTORE is set, each listener that socketmaster has opened itself is kept in the unit's descriptor store, \
         and taken from there again after a crash or `systemctl restart`: clients wait and are not refused. \
         Unix paths are left in place at the end then, and clients that come while the unit stops wait until it has stopped. systemd sets the variable from version 254 on where the unit has `FileDescriptorStoreMax=`; \
         the unit below sets it for older ones.",
    ),
    Says(
        "The unit template `socketmaster@.service` runs one program an instance. Its settings are lines `SOCKETMASTER_...=` in `/etc/socketmaster/NAME.conf`, \
         an environment file as `systemd.exec`(5) describes it:",
    ),
    Example(
        "# /etc/socketmaster/app.conf\n\
         SOCKETMASTER_LISTEN=tcp://:8080\n\
         SOCKETMASTER_COMMAND=/srv/app/current/app\n\
         SOCKETMASTER_USER=www-data",
    ),
    Example("# systemctl enable --now socketmaster@app\n# systemctl reload socketmaster@app"),
    Says(
        "`systemctl reload` returns when the new generation serves, and fails when it does not: it asks through the control socket \
         `/run/socketmaster/NAME/control`.",
    ),
];

const DOCKER: &[Part] = &[
    Says("The image holds one static file and nothing else, to be taken along into any other:"),
    Example(
        "FROM debian:bookworm-slim\n\
         COPY --from=socketmaster /socketmaster /socketmaster\n\
         COPY app /usr/local/bin/app\n\
         USER www-data\n\
         STOPSIGNAL SIGTERM\n\
         ENTRYPOINT [\"/socketmaster\", \"-listen=tcp://:8080\", \"--\"]\n\
         CMD [\"app\"]",
    ),
    Says(
        "Use the form with brackets: the other one makes a shell PID 1, which passes no signal on. \
         STOPSIGNAL is what `docker stop` sends. SIGTERM tells the program to stop with the signal of `-stop-signal`. After 10 seconds Docker kills, \
         and `docker run --stop-timeout` gives more. A reload is",
    ),
    Example("$ docker kill --signal HUP app"),
    Says(
        "It starts the program from the container's own files. For a new release without a new container, mount a directory of releases \
         and let `-command` go through a symlink. socketmaster needs no /proc, no passwd file, no writable directory and no capability.",
    ),
];

const ENVIRONMENT: &[Part] = &[
    Is("PATH", "Where a program without a slash in its name is looked up."),
    Is("NOTIFY_SOCKET", "Where to tell the service manager how things are: see SYSTEMD."),
    Is("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "The sockets that systemd passes, for `-listen=systemd:` and for the descriptor store."),
    Is("FDSTORE", "That there is a descriptor store to keep listeners in: see SYSTEMD."),
    Says("What workers find in theirs stands in HAND-OVER."),
];

const FILES: &[Part] = &[
    Is("/etc/socketmaster/NAME.conf", "Settings of the unit socketmaster@NAME, lines `SOCKETMASTER_...=`."),
    Is("/run/socketmaster/NAME/control", "Its control socket."),
    Is("/dev/log", "Where -syslog writes to. Without it notes go to standard error."),
    Is("/etc/passwd, /etc/group", "Where -user and the owners of unix paths are looked up. Numbers need neither."),
];

const EXAMPLES: &[Part] = &[
    Says("A server that takes descriptor 3, reloaded and stopped:"),
    Example(
        "$ socketmaster -listen=tcp://:8080 -handoff=none -- gunicorn --bind fd://3 app:app &\n\
         $ kill -HUP $!\n\
         $ kill -TERM $!",
    ),
    Says("nginx, which has a variable of its own, wants non-blocking sockets, and stops politely at QUIT:"),
    Example(
        "socketmaster -listen='tcp4://:80?nonblock=1' -env='NGINX={fd};' \\\n\
         \x20   -stop-signal=QUIT -- nginx -g 'daemon off;'",
    ),
    Says("php-fpm:"),
    Example(
        "socketmaster -listen='unix:///run/app.sock?mode=0660&group=www-data' \\\n\
         \x20   -env='FPM_SOCKETS={addr}={fd}' -stop-signal=QUIT -- php-fpm --nodaemonize",
    ),
    Says("Two listeners with names, workers as another user, at most a minute for the old generation to finish:"),
    Example(
        "socketmaster -listen='tcp://:80?name=http' -listen='unix:///run/admin.sock?name=admin' \\\n\
         \x20   -user=www-data -stop-timeout=60000 -- app",
    ),
    Says("A plain init for a shell script, without any socket:"),
    Example("socketmaster -listen=none -group -- ./job.sh"),
];

const CAVEATS: &[Part] = &[
    On(
        "Keep-alive",
        "A client may see a reset although nobody was refused: the server closes an idle connection at the moment the client sends the next request on it. \
         No supervisor can cure it. Servers should announce `Connection: close` while they stop, and keep idle connections longer than clients do.",
    ),
    On(
        "An old generation never goes away",
        "A keep-alive connection, a websocket or a long poll holds it. Bound it with -stop-timeout, longer than the slowest request.",
    ),
    On(
        "SO_REUSEPORT",
        "A program that opens the port a second time with it splits connections over two queues, and half of those that wait die with one of them.",
    ),
    On(
        "shutdown(2) on a listener",
        "The socket is shared: it is dead for every generation, and for the master, from then on. Programs should close it instead.",
    ),
    On(
        "Wrappers that do not exec",
        "`npm start`, `go run`, or a shell script without `exec` in its last line get the signals in the program's place, some close descriptor 3, \
         and LISTEN_PID is theirs. Start the program itself, or use -group.",
    ),
    On(
        "O_NONBLOCK",
        "It is a flag of the socket, shared by every generation. It is off unless `?nonblock=1` asks for it: \
         nginx and Rust's async servers want it, Perl's and php-fpm do not.",
    ),
    On(
        "Two versions at once",
        "From the moment a candidate accepts until the old generation has stopped either may answer. \
         Two neighbouring versions must be compatible, the schema of their database included.",
    ),
    On("UDP", "It has no connections: while two generations hold the socket, datagrams go to either."),
    On("Daemons", "The program must stay in the foreground: a process that forks away and ends looks like one that has died."),
];

const SEE_ALSO: &[(&str, u8)] = &[
    ("kill", 1),
    ("systemctl", 1),
    ("tini", 1),
    ("accept", 2),
    ("listen", 2),
    ("sd_listen_fds", 3),
    ("sd_notify", 3),
    ("systemd.exec", 5),
    ("systemd.service", 5),
    ("systemd.socket", 5),
    ("signal", 7),
    ("unix", 7),
    ("nginx", 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_all_sections_in_the_order_of_manuals() {
        let page = page();
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(
            sections,
            [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "LISTENERS",
                "HAND-OVER",
                "LIFE",
                "SIGNALS",
                "CONTROL SOCKET",
                "SYSTEMD",
                "DOCKER",
                "ENVIRONMENT",
                "EXIT STATUS",
                "FILES",
                "EXAMPLES",
                "CAVEATS",
                "SEE ALSO"
            ]
        );
    }

    #[test]
    fn it_holds_every_row_of_every_table() {
        let page = page();
        let holds = |text: String| assert!(page.contains(&format!("\n.TP\n{text}")), "{text}");
        for opt in OPTIONS {
            holds(form(&opt.usage()));
            opt.variable().into_iter().for_each(|variable| holds(format!("{}\n", bold(&variable))));
        }
        SCHEMES.iter().for_each(|scheme| holds(form(scheme.forms[0])));
        QUERY_KEYS.iter().for_each(|key| holds(form(&format!("{}={}", key.name, key.value))));
        PROTOCOLS.iter().for_each(|protocol| holds(bold(protocol.name)));
        PLACEHOLDERS.iter().for_each(|(placeholder, _)| holds(bold(placeholder)));
        signal_rows().iter().for_each(|(signals, _)| holds(bold(signals)));
        EXIT_STATUSES.iter().for_each(|(status, _)| holds(bold(status)));
        words::verbs().iter().for_each(|(verb, _)| holds(bold(verb)));
    }

    #[test]
    fn an_option_is_told_with_all_its_facts() {
        let listen = OPTIONS.iter().find(|opt| opt.name == "listen").unwrap();
        let expected = format!("May be repeated; Default: {}; Variable: {}", bold("tcp://:8080"), bold("SOCKETMASTER_LISTEN"));
        assert_eq!(facts(listen).join("; "), expected);
        assert!(page().contains(&format!("{}, {}\n", form("-help"), bold("-h"))), "the alias is missing");
    }

    #[test]
    fn nothing_but_ascii_and_no_blank_at_the_end_of_a_line() {
        for line in page().lines() {
            assert!(line.is_ascii() && !line.is_empty() && line.trim_end() == line, "{line:?}");
        }
    }

    #[test]
    fn nothing_is_told_twice_in_a_section() {
        for section in page().split("\n.SH ") {
            let rows = section.split("\n.TP\n").skip(1);
            // Up to the next change of the font, which a label begins with.
            let labels: Vec<&str> = rows.filter_map(|row| row.split("\\f").nth(1)).collect();
            for (index, label) in labels.iter().enumerate() {
                assert!(!labels[..index].contains(label), "{label}");
            }
        }
    }

    #[test]
    fn the_synopsis_sets_placeholders_apart() {
        assert_eq!(synopsis("[options] PATH"), format!("[\\fIoptions\\fR] {}", form("PATH")));
        assert_eq!(synopsis("[-- ARG...]"), format!("[{} {}...]", form("--"), form("ARG")));
    }
}
