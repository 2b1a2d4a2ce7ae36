//! Tables of the documentation in Markdown.

use socketmaster::config::env_template::PLACEHOLDERS;
use socketmaster::config::help::{EXIT_STATUSES, signal_rows};
use socketmaster::config::listen_uri::SCHEMES;
use socketmaster::config::options::{ARGS_VARIABLE, Kind, OPTIONS};
use socketmaster::config::protocols::PROTOCOLS;
use socketmaster::config::socket_options::QUERY_KEYS;
use socketmaster::types::request::VERBS;

pub fn options() -> String {
    let rows = OPTIONS.iter().map(|opt| {
        let default = match (opt.default, opt.kind) {
            (Some(default), _) => code(default),
            (None, Kind::Switch) => "off".to_owned(),
            (None, Kind::Value(_)) => String::new(),
        };
        let alias = opt.alias.map_or_else(String::new, |alias| format!(", `-{alias}`"));
        let repeatable = if opt.repeatable { " Repeatable." } else { "" };
        [format!("{}{alias}", code(&opt.usage())), format!("{}{repeatable}", opt.long), default]
    });
    table(["option", "meaning", "default"], rows)
}

pub fn variables() -> String {
    let own = OPTIONS.iter().filter_map(|opt| {
        let words = if opt.repeatable { "words, each a value of " } else { "" };
        opt.variable().map(|variable| [code(&variable), format!("{words}{}", code(&format!("-{}", opt.name)))])
    });
    let args = [code(ARGS_VARIABLE), "words: the program's arguments, if the command line has none".to_owned()];
    table(["variable", "sets"], own.chain([args]))
}

pub fn exit_statuses() -> String {
    table(["status", "meaning"], pairs(EXIT_STATUSES))
}

pub fn listeners() -> String {
    let rows = SCHEMES.iter().map(|scheme| {
        let forms: Vec<String> = scheme.forms.iter().copied().map(code).collect();
        [forms.join(" or "), scheme.does.to_owned()]
    });
    table(["listener", "meaning"], rows)
}

pub fn socket_options() -> String {
    let rows = QUERY_KEYS.iter().map(|key| [code(&format!("{}={}", key.name, key.value)), key.does.to_owned(), key.goes_with.to_owned()]);
    table(["key", "meaning", "goes with"], rows)
}

pub fn protocols() -> String {
    let none = [code("none"), "no variables: only the sockets".to_owned()];
    table(["protocol", "variables"], PROTOCOLS.iter().map(|row| [code(row.name), row.variables.to_owned()]).chain([none]))
}

pub fn placeholders() -> String {
    let rows = PLACEHOLDERS.iter().map(|(placeholder, does)| {
        let words: Vec<String> = placeholder.split(' ').map(code).collect();
        [words.join(" "), (*does).to_owned()]
    });
    table(["placeholder", "becomes"], rows)
}

pub fn signals() -> String {
    table(["signal", "effect"], signal_rows().into_iter().map(|(signals, does)| [signals, does.to_owned()]))
}

pub fn requests() -> String {
    table(["request", "effect"], VERBS.iter().map(|row| [code(&format!("-s {}", row.word)), row.does.to_owned()]))
}

fn pairs<'a>(rows: &'a [(&str, &str)]) -> impl Iterator<Item = [String; 2]> + 'a {
    rows.iter().map(|(first, second)| [(*first).to_owned(), (*second).to_owned()])
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold_every_row() {
        for opt in OPTIONS {
            assert!(options().contains(&format!("| `{}`", opt.usage())), "{}", opt.name);
            assert!(opt.variable().is_none_or(|variable| variables().contains(&format!("| `{variable}` |"))), "{}", opt.name);
        }
        assert!(variables().contains(ARGS_VARIABLE) && protocols().contains("`server-starter`") && placeholders().contains("`{fds,}`"));
        assert!(listeners().contains("| `unix:///PATH` or `unix://@NAME` |") && socket_options().contains("| `backlog=N` |"));
        assert!(signals().contains("| SIGINT, SIGQUIT |") && signals().contains("| all others |"));
        assert!(requests().contains("| `-s status` |") && exit_statuses().contains("| 127 |"));
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_head() {
        for render in [options, variables, exit_statuses, listeners, socket_options, protocols, placeholders, signals, requests] {
            let cells: Vec<usize> = render().lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
            assert!(cells.len() > 2 && cells.iter().all(|count| *count == cells[0]), "{}", render());
        }
    }
}
