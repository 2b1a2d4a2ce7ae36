//! The completion for zsh.

use super::words;
use socketmaster::config::options::{Kind, Opt, Values};

/// The file as it is committed, for these options.
pub fn completion(options: &[Opt]) -> String {
    let specs: String = options.iter().map(|opt| format!("        {} \\\n", spec(opt))).collect();
    let protocols: Vec<String> =
        words::protocols().iter().map(|(word, does)| quoted(&format!("{word}[{}]", escaped(does, "[]\\")))).collect();
    SCRIPT
        .replace("@OPTIONS@", &specs)
        .replace("@LISTENERS@", &described(&words::listeners()))
        .replace("@PROTOCOLS@", &protocols.join(" "))
        .replace("@READY@", &described(&words::ready()))
        .replace("@VERBS@", &described(&words::verbs()))
        .replace("@STOPSIGNALS@", &words::stop_signals().join(" "))
        .replace("@SIGNALS@", &words::changeable_signals().iter().map(|signal| format!("{signal}:")).collect::<Vec<_>>().join(" "))
        .replace("@ORDERS@", &words::orders().join(" "))
        .replace("@PROGRAM@", words::program_option(options).map_or("", |opt| opt.name))
}

/// For _arguments: which other options it excludes, its name, what it does, its value.
fn spec(opt: &Opt) -> String {
    let help = escaped(opt.help, "[]\\");
    let (equals, value) = match opt.kind {
        Kind::Switch => ("", String::new()),
        Kind::Value(placeholder) => ("=", format!(":{}:{}", escaped(placeholder, ":\\"), value(opt.values))),
    };
    let often = if opt.repeatable { "*" } else { "" };
    let behind = format!("{equals}[{help}]{value}");
    match opt.alias {
        None => quoted(&format!("{often}-{}{behind}", opt.name)),
        Some(alias) => format!("'(-{0} -{alias})'{{-{0},-{alias}}}{1}", opt.name, quoted(&behind)),
    }
}

/// An action of _arguments; a blank offers nothing and says only what is wanted.
fn value(values: Values) -> &'static str {
    match values {
        Values::Anything => " ",
        Values::Listener => "_socketmaster_listeners",
        Values::Program => "_command_names -e",
        Values::Directory => "_files -/",
        Values::File => "_files",
        Values::User => "_socketmaster_users",
        Values::Signal => "_socketmaster_stop_signals",
        Values::SignalRule => "_socketmaster_signal_rules",
        Values::Protocols => "_socketmaster_protocols",
        Values::Verb => "_socketmaster_verbs",
        Values::Ready => "_socketmaster_ready",
    }
}

/// For _describe.
fn described(words: &[words::Word]) -> String {
    words.iter().map(|(word, does)| format!("\n        {}", quoted(&format!("{}:{does}", escaped(word, ":\\"))))).collect()
}

fn escaped(text: &str, special: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const SCRIPT: &str = r#"#compdef socketmaster
# zsh completion for socketmaster(1).
# Written by `make pages` from the tables in the source.

_socketmaster_listeners() {
    local -a listeners=(@LISTENERS@
    )
    _describe -t listeners listener listeners -S ''
}

_socketmaster_ready() {
    local -a ready=(@READY@
    )
    _describe -t ready condition ready
}

_socketmaster_verbs() {
    local -a verbs=(@VERBS@
    )
    _describe -t verbs request verbs
}

_socketmaster_users() {
    if compset -P '*:'; then
        _groups
    else
        _users
    fi
}

_socketmaster_stop_signals() {
    local expl
    _wanted signals expl signal compadd - @STOPSIGNALS@
}

_socketmaster_signal_rules() {
    local expl
    if compset -P '*:'; then
        _wanted actions expl 'action or signal' compadd - @ORDERS@
    else
        _wanted signals expl signal compadd -S '' - @SIGNALS@
    fi
}

_socketmaster_protocols() {
    local -a none=('none[no variables]')
    [[ $PREFIX != *,* ]] || none=()
    _values -s , protocol $none @PROTOCOLS@
}

_socketmaster() {
    local curcontext=$curcontext state state_descr line ret=1
    local -A opt_args
    _arguments -S -A '-*' : \
@OPTIONS@        '(-)1: :->program' '*:: :->arguments' && ret=0
    # What an option has named is the program; else the first operand is.
    local program=${(Q)opt_args[-@PROGRAM@]-}
    case $state in
        (program)
            if [[ -z $program ]]; then
                _command_names -e && ret=0
            else
                words=("$program" "$words[CURRENT]") CURRENT=2
                _normal && ret=0
            fi
            ;;
        (arguments)
            # _arguments leaves it there where no option precedes it.
            if [[ $words[1] == -- ]]; then
                shift words
                (( CURRENT -= 1 ))
            fi
            if [[ -n $program ]]; then
                words=("$program" "${(@)words}")
                (( CURRENT += 1 ))
            fi
            _normal && ret=0
            ;;
    esac
    return ret
}

_socketmaster "$@"
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use socketmaster::config::options::OPTIONS;

    #[test]
    fn every_option_is_offered_with_what_it_does_and_no_mark_is_left() {
        let script = completion(OPTIONS);
        for opt in OPTIONS {
            assert!(script.contains(&format!("\n        {} \\\n", spec(opt))), "{}", opt.name);
            assert!(spec(opt).contains(opt.help.split(['[', ']', '\'']).next().unwrap()), "{}", opt.name);
        }
        assert!(!script.contains("S@") && !script.contains("M@"));
    }

    #[test]
    fn a_spec_tells_kind_alias_and_repetition() {
        let of = |name: &str| OPTIONS.iter().find(|opt| opt.name == name).map(spec).unwrap();
        assert!(of("listen").starts_with("'*-listen=["), "{}", of("listen"));
        assert!(of("listen").ends_with("]:URI:_socketmaster_listeners'"), "{}", of("listen"));
        assert!(of("help").starts_with("'(-help -h)'{-help,-h}'["), "{}", of("help"));
        assert!(of("signal").contains("]:SIG\\:DO:"), "{}", of("signal"));
        assert!(of("prefix").starts_with("'-prefix[\\[pid\\] before"), "{}", of("prefix"));
    }

    #[test]
    fn what_the_shell_would_read_otherwise_is_escaped() {
        assert_eq!(described(&[("tcp://".to_owned(), "it's".to_owned())]), "\n        'tcp\\://:it'\\''s'");
    }
}
