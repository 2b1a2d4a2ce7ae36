//! The generated parts of the manual page socketmaster(1). The rest of the page is written by hand, around them.

use super::generated::Part;
use super::roff::{bold, form, guarded, item, more};
use super::{RELEASED, words};
use socketmaster::config::env_template::PLACEHOLDERS;
use socketmaster::config::help::{EXIT_STATUSES, USAGE, signal_rows, version};
use socketmaster::config::listen_uri::SCHEMES;
use socketmaster::config::options::{ARGS_VARIABLE, OPTIONS, Opt};
use socketmaster::config::protocols::PROTOCOLS;
use socketmaster::config::socket_options::QUERY_KEYS;

pub const PARTS: &[Part] = &[
    Part { name: "title", render: title },
    Part { name: "synopsis", render: synopsis },
    Part { name: "options", render: options },
    Part { name: "listeners", render: listeners },
    Part { name: "socket options", render: socket_options },
    Part { name: "protocols", render: || items(PROTOCOLS.iter().map(|row| (row.name.to_owned(), row.variables))) },
    Part { name: "placeholders", render: || items(PLACEHOLDERS.iter().map(|(text, does)| ((*text).to_owned(), *does))) },
    Part { name: "signals", render: || items(signal_rows().into_iter()) },
    Part { name: "requests", render: || items(words::verbs().iter().map(|(word, does)| (word.clone(), does.as_str()))) },
    Part { name: "variables", render: variables },
    Part { name: "exit statuses", render: || items(EXIT_STATUSES.iter().map(|(status, means)| ((*status).to_owned(), *means))) },
];

fn title() -> String {
    format!(".TH SOCKETMASTER 1 {} \"{}\" \"User Commands\"\n", *RELEASED, version().trim_end())
}

fn synopsis() -> String {
    let lines: Vec<String> = USAGE.lines().map(|line| guarded(&synopsis_line(line.trim_start_matches("Usage:").trim())) + "\n").collect();
    lines.join(".br\n")
}

/// What is typed is bold, what stands for something else is italic, and what belongs to the notation is neither.
fn synopsis_line(line: &str) -> String {
    let word = |word: &str| {
        let open = if word.starts_with('[') { "[" } else { "" };
        let inner = word.trim_start_matches('[').trim_end_matches([']', '.']);
        let close = &word[open.len() + inner.len()..];
        let inner = if inner == "options" { "\\fIoptions\\fR".to_owned() } else { form(inner) };
        format!("{open}{inner}{close}")
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn options() -> String {
    let mut text = String::new();
    let mut section = "";
    for opt in OPTIONS {
        if opt.section != section {
            section = opt.section;
            text.push_str(&format!(".SS {section}\n"));
        }
        let alias = opt.alias.map_or_else(String::new, |alias| format!(", {}", bold(&format!("-{alias}"))));
        text.push_str(&item(&format!("{}{alias}", form(&opt.usage())), &opt.text()));
        text.extend(facts(opt).map(|facts| more(&facts)));
    }
    text
}

fn facts(opt: &Opt) -> Option<String> {
    let repeatable = opt.repeatable.then(|| "Repeatable.".to_owned());
    let variable = opt.variable().map(|variable| format!("Variable: `{variable}`."));
    let facts: Vec<String> = repeatable.into_iter().chain(variable).collect();
    (!facts.is_empty()).then(|| facts.join(" "))
}

fn listeners() -> String {
    let label = |forms: &[&str]| forms.iter().copied().map(form).collect::<Vec<_>>().join(" or ");
    SCHEMES.iter().map(|scheme| item(&label(scheme.forms), &sentence(scheme.does))).collect()
}

fn socket_options() -> String {
    let text = |does, goes_with| format!("{} Goes with {goes_with}.", sentence(does));
    QUERY_KEYS.iter().map(|key| item(&form(&format!("{}={}", key.name, key.value)), &text(key.does, key.goes_with))).collect()
}

fn variables() -> String {
    let own = OPTIONS.iter().filter_map(|opt| {
        let words = if opt.repeatable { "Words, each a value of " } else { "" };
        Some(item(&bold(&opt.variable()?), &format!("{words}`-{}`.", opt.name)))
    });
    own.chain([item(&bold(ARGS_VARIABLE), "Words: the arguments of the program.")]).collect()
}

fn items<'a>(rows: impl Iterator<Item = (String, &'a str)>) -> String {
    rows.map(|(label, text)| item(&bold(&label), &sentence(text))).collect()
}

/// A text of a table, which is none there.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_every_table_is_an_item() {
        let text: String = PARTS.iter().map(|part| (part.render)()).collect();
        let holds = |label: String| assert!(text.contains(&format!(".TP\n{label}")), "{label}");
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
        assert_eq!(facts(listen).as_deref(), Some("Repeatable. Variable: `SOCKETMASTER_LISTEN`."));
        assert!(options().contains(&format!("The default is {}.\n", bold("tcp://:8080"))), "the default is missing");
        assert!(options().contains(&format!("{}, {}\n", form("-help"), bold("-h"))), "the alias is missing");
    }

    #[test]
    fn the_synopsis_sets_placeholders_apart() {
        assert_eq!(synopsis_line("[options] PATH"), format!("[\\fIoptions\\fR] {}", form("PATH")));
        assert_eq!(synopsis_line("[-- ARG...]"), format!("[{} {}...]", form("--"), form("ARG")));
    }
}
