//! The completion for fish.

use super::words;
use socketmaster::config::options::{Kind, Opt, Values};

/// The file as it is committed, for these options.
pub fn completion(options: &[Opt]) -> String {
    let mut lines = String::new();
    for opt in options {
        // As long options of one dash, those of one letter too: fish would look for values right behind a short one.
        let names: String = std::iter::once(opt.name).chain(opt.alias).map(|name| format!(" -o {name}")).collect();
        let value = match opt.kind {
            Kind::Switch => String::new(),
            Kind::Value(_) => value(opt.values),
        };
        lines.push_str(&format!("complete -c socketmaster -n __socketmaster_options{names}{value} -d {}\n", quoted(opt.help)));
    }
    SCRIPT
        .replace("@LISTENERS@", &offered(words::listeners()))
        .replace("@PROTOCOLS@", &quoted_words(words::protocols().into_iter().map(|(word, _)| word)))
        .replace("@READY@", &offered(words::ready()))
        .replace("@VERBS@", &offered(words::verbs()))
        .replace("@STOPSIGNALS@", &quoted_words(words::stop_signals()))
        .replace("@SIGNALS@", &quoted_words(words::changeable_signals()))
        .replace("@ORDERS@", &quoted_words(words::orders()))
        .replace("@VALUED@", &words::names(options, true).join(" "))
        .replace("@PROGRAM@", words::program_option(options).map_or("", |opt| opt.name))
        + &lines
}

fn value(values: Values) -> String {
    let from = |function: &str| format!(" -x -a '({function})'");
    match values {
        Values::Anything => " -x".to_owned(),
        Values::Listener => from("__socketmaster_listeners"),
        Values::Program => from("__socketmaster_programs"),
        Values::Directory => from("__fish_complete_directories (__socketmaster_value)"),
        Values::File => " -r -F".to_owned(),
        Values::User => from("__socketmaster_users"),
        Values::Signal => from("__socketmaster_stop_signals"),
        Values::SignalRule => from("__socketmaster_signal_rules"),
        Values::Protocols => from("__socketmaster_protocols"),
        Values::Verb => from("__socketmaster_verbs"),
        Values::Ready => from("__socketmaster_ready"),
    }
}

/// For printf(1): word, tabulator, meaning.
fn offered(words: Vec<words::Word>) -> String {
    words.iter().map(|(word, does)| format!(" \\\n        {} {}", quoted(word), quoted(does))).collect()
}

fn quoted_words(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\\', "\\\\").replace('\'', "\\'")) }
}

const SCRIPT: &str = r#"# fish completion for socketmaster(1).
# Written by `make pages` from the tables in the source.

# Prints the program and its arguments as far as they are there; fails as long as options may follow.
function __socketmaster_words
    set -l words (commandline -opc)
    set -l command
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        if test "$word" = --; or not string match -q -- '-?*' $word
            test "$word" != --; or set -e words[1]
            for word in $command $words
                printf '%s\n' $word
            end
            return 0
        end
        set -e words[1]
        set -l pair (string split -m 1 -- = (string replace -r -- '^--?' '' $word))
        if not set -q pair[2]; and contains -- $pair[1] @VALUED@
            set -a pair $words[1]
            set -e words[1]
        end
        if test "$pair[1]" = '@PROGRAM@'
            set command $pair[2]
        end
    end
    set -q command[1]; and printf '%s\n' $command
    return 1
end

function __socketmaster_options
    not __socketmaster_words >/dev/null
end

# The program's own completion.
function __socketmaster_operands
    set -l current (commandline -ct)
    set -l words (__socketmaster_words)
    if test $status -ne 0; and string match -q -- '-*' "$current"
        return
    end
    set -l line
    for word in $words
        set -a line (string escape -- $word)
    end
    set -a line "$current"
    complete -C "$line"
end

# What is there of an option's value.
function __socketmaster_value
    commandline -ct | string replace -r -- '^--?[a-z-]+=' ''
end

function __socketmaster_listeners
    printf '%s\t%s\n'@LISTENERS@
end

function __socketmaster_ready
    printf '%s\t%s\n'@READY@
end

function __socketmaster_verbs
    printf '%s\t%s\n'@VERBS@
end

function __socketmaster_programs
    set -l value (__socketmaster_value)
    complete -C "$value"
end

function __socketmaster_users
    set -l value (__socketmaster_value)
    set -l pair (string split -m 1 -- : "$value")
    if set -q pair[2]
        printf '%s\n' $pair[1]:(__fish_complete_groups)
    else
        __fish_complete_users
    end
end

function __socketmaster_stop_signals
    printf '%s\n' @STOPSIGNALS@
end

function __socketmaster_signal_rules
    set -l value (__socketmaster_value)
    set -l pair (string split -m 1 -- : "$value")
    set -l orders @ORDERS@
    if set -q pair[2]
        printf '%s\n' $pair[1]:$orders
    else
        printf '%s:\n' @SIGNALS@
    end
end

function __socketmaster_protocols
    set -l protocols @PROTOCOLS@
    set -l value (__socketmaster_value)
    set -l chosen (string split -- , "$value")
    set -e chosen[-1]
    if set -q chosen[1]
        for protocol in $protocols
            contains -- $protocol $chosen; or printf '%s,%s\n' (string join -- , $chosen) $protocol
        end
    else
        printf '%s\n' $protocols none
    end
end

complete -c socketmaster -f
complete -c socketmaster -a '(__socketmaster_operands)'
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use socketmaster::config::options::OPTIONS;

    #[test]
    fn every_option_is_offered_with_what_it_does_and_no_mark_is_left() {
        let script = completion(OPTIONS);
        for opt in OPTIONS {
            let line = script.lines().find(|line| line.contains(&format!(" -o {} ", opt.name))).unwrap_or_default();
            assert!(line.ends_with(&format!(" -d {}", quoted(opt.help))), "{}: {line}", opt.name);
            assert_eq!(line.contains(" -x") || line.contains(" -r"), opt.kind != Kind::Switch, "{line}");
        }
        assert!(!script.contains("S@") && !script.contains("D@") && !script.contains("M@"));
    }

    #[test]
    fn words_are_quoted_as_fish_reads_them() {
        assert_eq!([quoted("tcp://"), quoted("it's a \\")], ["tcp://", r"'it\'s a \\'"]);
    }
}
