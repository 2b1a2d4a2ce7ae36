//! What `-help` and `--help` print: one screen, and everything.

use crate::config::env_template::PLACEHOLDERS;
use crate::config::listen_uri::SCHEMES;
use crate::config::options::{ARGS_VARIABLE, Kind, OPTIONS, Opt};
use crate::config::protocols::PROTOCOLS;
use crate::config::signal_rules::{OTHERS, SIGNALS};
use crate::config::socket_options::QUERY_KEYS;

const WIDTH: usize = 80;

pub const USAGE: &str = "\
Usage: socketmaster [options] -command=PATH [-- ARG...]
       socketmaster [options] -- PATH [ARG...]
       socketmaster -control=ADDR -s=VERB [-json]
       socketmaster -probe=URL [-start=MILLIS]
";

pub const SUMMARY: &str = "socketmaster opens the listening sockets, keeps them open, and passes them to the program as descriptors 3, 4 and so on. \
     On SIGHUP it starts a new generation of the program beside the old one, and tells the old one to stop when the new one is ready. \
     No client is refused. If the new generation fails, the old one keeps running. \
     It is a correct PID 1: it reaps orphans, forwards signals, and exits with the program's exit status.";

pub const WRITING_OPTIONS: &str = "Write an option with one dash or two, and its value after = or as the next word; \
     a switch takes a value only after =. The first other word, or --, ends the options. All following words belong to the program. \
     If an option that is not repeatable is given twice, the last value counts.";

/// The keys of the query follow it.
pub const WRITING_LISTENERS: &str = "An empty host or * is the wildcard. Write an IPv6 address in brackets and a port as a number; \
     port 0 is any free port. Addresses and localhost need no resolver. A path is taken literally, up to a question mark. \
     Options of the socket follow the question mark, separated by &:";

pub fn writing_variables() -> String {
    format!(
        "A variable sets its option, unless the command line sets it; an empty variable counts as unset. \
         The variable of a repeatable option holds several words. {ARGS_VARIABLE} holds the program's arguments, \
         and is used if the command line has none. White space separates words as in systemd's ExecStart=: \
         single and double quotes keep a word together, a backslash begins an escape as in C, \\s is a space, and nothing is expanded. \
         Workers do not get these variables.",
    )
}

pub const EXIT_STATUSES: &[(&str, &str)] = &[
    (
        "the program's",
        "the exit status of the current generation's worker that exited last, or 128+N if signal N ended it; -ok lists statuses to report as 0",
    ),
    ("1", "a socket, user or directory cannot be opened or looked up, a request of -s has failed, or a server is not healthy by -probe"),
    ("2", "the command line or a variable is wrong; nothing was opened or started"),
    ("126", "the program cannot be executed"),
    ("127", "the program is not found"),
];

pub fn version() -> String {
    format!("socketmaster {}\n", env!("CARGO_PKG_VERSION"))
}

/// The signals and what the master does at them, one row each; the last row is all the others.
pub fn signal_rows() -> Vec<(String, &'static str)> {
    let known = SIGNALS.iter().map(|row| {
        let names: Vec<String> = row.signals.iter().map(ToString::to_string).collect();
        (names.join(", "), row.does)
    });
    known.chain([("all others".to_owned(), OTHERS)]).collect()
}

/// One screen of 80 columns and 24 lines: the options in two columns, to be read downwards.
pub fn screen() -> String {
    let cells: Vec<String> = OPTIONS.iter().map(cell).collect();
    let (left, right) = cells.split_at(cells.len().div_ceil(2));
    let mut page = format!("{USAGE}\n");
    let right = right.iter().map(String::as_str).chain(std::iter::repeat(""));
    for (left, right) in left.iter().zip(right) {
        page.push_str(format!("{left:CELL$}  {right}").trim_end());
        page.push('\n');
    }
    page.push_str("\n...: repeatable. [...]: default. SIGHUP reloads, SIGTERM stops.\n");
    page.push_str("--help prints everything, and so does the manual page socketmaster(1).\n");
    page
}

/// A cell of the screen. Its default is in it where there is room.
const CELL: usize = (WIDTH - 2) / 2;
/// Where the text of a cell begins, unless the option is longer.
const TEXT: usize = 17;

fn cell(opt: &Opt) -> String {
    let usage = format!("{}{}", opt.usage(), if opt.repeatable { "..." } else { "" });
    let cell = format!("{usage:TEXT$} {}", opt.help);
    let default = opt.default.map_or_else(String::new, |default| format!(" [{default}]"));
    if cell.chars().count() + default.chars().count() <= CELL { cell + &default } else { cell }
}

/// The whole text.
pub fn everything() -> String {
    let mut page = Page(format!("{USAGE}\n"));
    page.paragraph(SUMMARY);
    page.paragraph(WRITING_OPTIONS);
    let mut section = "";
    for opt in OPTIONS {
        if opt.section != section {
            section = opt.section;
            page.heading(section);
        }
        page.option(opt);
    }
    page.heading("Listeners");
    page.rows(SCHEMES.iter().map(|scheme| (scheme.forms.join(" or "), scheme.does.to_owned())));
    page.paragraph(WRITING_LISTENERS);
    page.rows(QUERY_KEYS.iter().map(|key| (format!("{}={}", key.name, key.value), format!("{} (goes with {})", key.does, key.goes_with))));
    page.heading("Signals");
    page.rows(signal_rows().into_iter().map(|(signals, does)| (signals, does.to_owned())));
    page.heading("Variables for workers");
    page.rows(PROTOCOLS.iter().map(|protocol| (protocol.name.to_owned(), protocol.variables.to_owned())));
    page.paragraph("In the template of -env, these placeholders are filled in:");
    page.rows(PLACEHOLDERS.iter().map(|(placeholder, does)| ((*placeholder).to_owned(), (*does).to_owned())));
    page.heading("Variables for socketmaster");
    page.paragraph(&writing_variables());
    page.heading("Exit status");
    page.rows(EXIT_STATUSES.iter().map(|(status, does)| ((*status).to_owned(), (*does).to_owned())));
    page.0
}

/// A page for a terminal, built from the top.
struct Page(String);

impl Page {
    fn heading(&mut self, text: &str) {
        self.0.push_str(&format!("{text}:\n\n"));
    }

    fn paragraph(&mut self, text: &str) {
        self.wrapped(text, 0);
        self.0.push('\n');
    }

    fn option(&mut self, opt: &Opt) {
        let mut facts = Vec::new();
        facts.extend(opt.alias.map(|alias| format!("or -{alias}")));
        facts.extend(opt.repeatable.then(|| "repeatable".to_owned()));
        facts.extend((opt.kind == Kind::Switch).then(|| "switch".to_owned()));
        facts.extend(opt.variable());
        self.0.push_str(&format!("  {}\n", opt.usage()));
        self.wrapped(&opt.text(), 6);
        self.wrapped(&format!("({})", facts.join("; ")), 6);
        self.0.push('\n');
    }

    fn rows(&mut self, rows: impl Iterator<Item = (String, String)>) {
        for (label, text) in rows {
            self.0.push_str(&format!("  {label}\n"));
            self.wrapped(&text, 6);
        }
        self.0.push('\n');
    }

    /// Words are never broken; the backticks of the tables are dropped.
    fn wrapped(&mut self, text: &str, indent: usize) {
        let mut line = " ".repeat(indent);
        for word in text.replace('`', "").split(' ') {
            if line.len() > indent && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.0.push_str(&line);
                self.0.push('\n');
                line.truncate(indent);
            }
            if line.len() > indent {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.0.push_str(&line);
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::ARGS_VARIABLE;

    fn assert_fits(page: &str) {
        for line in page.lines() {
            assert!(line.chars().count() <= WIDTH, "{}: {line}", line.chars().count());
            assert_eq!(line.trim_end(), line);
        }
        assert!(page.ends_with('\n') && !page.ends_with("\n\n\n"));
        assert!(!page.contains('`'));
    }

    #[test]
    fn help_fits_one_screen() {
        assert_fits(&screen());
        assert!(screen().lines().count() <= 24, "{}", screen());
    }

    #[test]
    fn a_cell_of_the_screen_holds_the_option_and_its_text() {
        for opt in OPTIONS {
            let cell = cell(opt);
            assert!(cell.chars().count() <= CELL, "{}: {cell}", cell.chars().count());
            assert!(cell.starts_with(&opt.usage()) && cell.contains(opt.help), "{cell}");
            assert!(screen().lines().any(|line| line.starts_with(&cell) || line.ends_with(&format!("  {cell}"))), "{cell}");
        }
        assert!(screen().contains("-start=MILLIS     time to run [3000]"), "{}", screen());
        assert_eq!(cell(&OPTIONS[0]), "-listen=URI...    socket [tcp://:8080]");
    }

    #[test]
    fn everything_fits_the_width() {
        assert_fits(&everything());
        assert!(!everything().contains("\n\n\n"));
    }

    #[test]
    fn both_pages_know_every_option() {
        for opt in OPTIONS {
            assert!(screen().contains(&opt.usage()), "{}", opt.name);
            assert!(everything().contains(&format!("\n  {}\n", opt.usage())), "{}", opt.name);
            assert!(opt.variable().is_none_or(|variable| everything().contains(&variable)), "{}", opt.name);
        }
    }

    #[test]
    fn everything_holds_all_tables() {
        let page = everything();
        for word in ["unixgram:///PATH", "backlog=N", "SIGINT, SIGQUIT", "all others", "LISTEN_FDNAMES", "{fds,}", ARGS_VARIABLE, "127"] {
            assert!(page.contains(word), "{word}");
        }
    }

    #[test]
    fn long_words_are_not_broken() {
        let mut page = Page(String::new());
        let word = "x".repeat(WIDTH);
        page.wrapped(&format!("a {word} `b` c"), 2);
        assert_eq!(page.0, format!("  a\n  {word}\n  b c\n"));
    }
}
