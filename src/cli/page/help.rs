//! What `-help` and `--help` print: one screen, and everything.

use super::{EXIT_STATUSES, SUMMARY, USAGE, WRITING_LISTENERS, WRITING_OPTIONS, signal_rows, writing_variables};
use crate::cli::options::{Kind, OPTIONS, Opt};
use crate::endpoint::{QUERY_KEYS, SCHEMES};
use crate::handoff::{PLACEHOLDERS, PROTOCOLS};

const WIDTH: usize = 80;

/// One screen of 80 columns and 24 lines.
pub fn screen() -> String {
    let rows: Vec<(String, String)> = OPTIONS
        .iter()
        .map(|opt| {
            let default = opt.default.map_or_else(String::new, |default| format!(" [{default}]"));
            (format!("{}{}", opt.usage(), if opt.repeatable { "..." } else { "" }), format!("{}{default}", opt.help))
        })
        .collect();
    let column = rows.iter().map(|(usage, _)| usage.len()).max().unwrap_or(0);
    let mut page = format!("{USAGE}\n");
    for (usage, help) in rows {
        page.push_str(&format!("  {usage:column$}  {help}\n"));
    }
    page.push_str("...: may be repeated. [...]: default. HUP reloads, TERM stops.\n");
    page
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
    page.rows(SCHEMES.iter().map(|scheme| (scheme.form.to_owned(), scheme.does.to_owned())));
    page.paragraph(WRITING_LISTENERS);
    page.rows(QUERY_KEYS.iter().map(|key| (format!("{}={}", key.name, key.value), format!("{} (goes with {})", key.does, key.goes_with))));
    page.heading("Signals");
    page.rows(signal_rows().into_iter().map(|(signals, does)| (signals, does.to_owned())));
    page.heading("Variables for workers");
    page.rows(PROTOCOLS.iter().map(|protocol| (protocol.name.to_owned(), protocol.variables.to_owned())));
    page.paragraph("In the template of -env these are filled in:");
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
        facts.extend(opt.repeatable.then(|| "may be repeated".to_owned()));
        facts.extend(opt.default.map(|default| format!("default {default}")));
        facts.extend((opt.kind == Kind::Switch).then(|| "switch".to_owned()));
        facts.extend(opt.variable());
        self.0.push_str(&format!("  {}\n", opt.usage()));
        self.wrapped(opt.long, 6);
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
    use crate::cli::options::ARGS_VARIABLE;

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
    fn everything_fits_the_width() {
        assert_fits(&everything());
        assert!(!everything().contains("\n\n\n"));
    }

    #[test]
    fn both_pages_know_every_option() {
        for opt in OPTIONS {
            let line = format!("\n  {}", opt.usage());
            assert!(screen().contains(&line), "{}", opt.name);
            assert!(everything().contains(&line), "{}", opt.name);
            assert!(opt.variable().is_none_or(|variable| everything().contains(&variable)), "{}", opt.name);
        }
    }

    #[test]
    fn everything_holds_all_tables() {
        let page = everything();
        for word in
            ["unixgram:///PATH", "backlog=N", "TERM, INT, QUIT", "all others", "LISTEN_FDNAMES", "{fds,}", ARGS_VARIABLE, "126, 127"]
        {
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
