//! The completions, asked in the shells that they are for.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use socketmaster::config::options::{Kind, OPTIONS, Opt, Role, Values};
use xtask::pages::{bash, fish, zsh};

use crate::basics::{free_dir, make_program, skip};

/// A shell, and how a question is put to it.
struct Shell {
    name: &'static str,
    completion: fn(&[Opt]) -> String,
    ask: fn(&Path, &str) -> Command,
    /// Whether the completions of other programs are there.
    hands_over: bool,
}

const SHELLS: &[Shell] = &[
    Shell { name: "bash alone", completion: bash::completion, ask: ask_bare_bash, hands_over: false },
    Shell { name: "bash", completion: bash::completion, ask: ask_bash, hands_over: true },
    Shell { name: "zsh", completion: zsh::completion, ask: ask_zsh, hands_over: true },
    Shell { name: "fish", completion: fish::completion, ask: ask_fish, hands_over: true },
];

/// As readline splits a line up to the cursor: at blanks, and = and : are words of their own. So is @, unless
/// bash-completion has changed that.
const BASH_DRIVER: &str = r#"
source "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9 COMP_KEY=9 COMP_WORDS=()
rest=$COMP_LINE
breaks='=:'
[[ $COMP_WORDBREAKS != *@* ]] || breaks+=@
while [[ $rest =~ ^[[:space:]]*([$breaks]+|[^[:space:]$breaks]+) ]]; do
    COMP_WORDS+=("${BASH_REMATCH[1]}")
    rest=${rest#"${BASH_REMATCH[0]}"}
done
[[ ! $rest ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_socketmaster socketmaster "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}" 2>/dev/null
[[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
"#;

fn ask_bare_bash(file: &Path, line: &str) -> Command {
    bash(&format!("COMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:@'\n{BASH_DRIVER}"), file, line)
}

/// With bash-completion, the package, as far as it is there.
fn ask_bash(file: &Path, line: &str) -> Command {
    let library = "/usr/share/bash-completion/bash_completion";
    bash(&format!("source {library} || exit\nCOMP_WORDBREAKS=$' \\t\\n\"\\'><=;|&(:'\n{BASH_DRIVER}"), file, line)
}

fn bash(script: &str, file: &Path, line: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-c", script, "bash"]).arg(file).arg(line);
    command
}

fn ask_fish(file: &Path, line: &str) -> Command {
    let mut command = Command::new("fish");
    command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(file).arg(line);
    command
}

/// Completion exists only in an interactive zsh, so one runs on a terminal of its own. All that it would offer goes
/// through compadd, which is made to tell.
const ZSH_DRIVER: &str = r#"
zmodload zsh/zpty zsh/zselect
print -rl -- \
    "fpath=(${(q)1:h} \$fpath)" \
    'autoload -Uz compinit; compinit -D -u' \
    'compadd() {
        local -a hits
        if [[ " ${@[1,(i)(-|--)]} " != *" -"[a-zA-Z]#[OAD]" "* ]]; then
            builtin compadd -A hits "$@"
            local hit; for hit in $hits; do print -r -- "$IPREFIX$hit"; done >>$told
        fi
        builtin compadd "$@"
    }' \
    'ask() { _main_complete; print -r -- "<done>" >>$told }' \
    'zle -C ask complete-word ask; bindkey "^X" ask' >$3.rc
: >$3
zpty -b asked "ZDOTDIR=/nonexistent zsh -f -i"
zpty -w asked "told=${(q)3}; setopt extendedglob; PS1=; source ${(q)3}.rc; print '<ready>' >>\$told"
until_told() {
    local -i n
    for ((n = 0; n < 1000; n++)); do
        zpty -r -t asked >/dev/null
        [[ $(<$1) == *$2* ]] && return
        zselect -t 1
    done
    print -u2 "zsh has not said $2"
    exit 1
}
until_told $3 '<ready>'
zpty -w -n asked $2$'\x18'
until_told $3 '<done>'
zpty -d asked
while read -r word; do [[ $word == '<'* ]] || print -r -- $word; done <$3
"#;

fn ask_zsh(file: &Path, line: &str) -> Command {
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", ZSH_DRIVER, "zsh"]).arg(file).arg(line).arg(file.with_extension("told"));
    command
}

/// What the shell offers for the line's last word, sorted: for that part of it which readline takes for a word, which
/// begins behind the last = or colon. `the-program` is in PATH, and where the shell is are `the-script`, which can be
/// executed, the directory `releases`, and `releases.tar`. Nothing after a skip.
fn offered_for(shell: &Shell, options: &[Opt], line: &str) -> Option<Vec<String>> {
    let directory = free_dir();
    let file = directory.join("_socketmaster");
    fs::write(&file, (shell.completion)(options)).expect("a free directory");
    let place = directory.join("place");
    fs::create_dir_all(place.join("releases")).expect("a free directory");
    fs::write(place.join("releases.tar"), "").expect("a free directory");
    make_program(&place.join("the-script"), "#!/bin/sh\n");
    let bin = directory.join("bin");
    fs::create_dir(&bin).expect("a free directory");
    make_program(&bin.join("the-program"), "#!/bin/sh\n");
    let path = format!("{}:{}", bin.display(), env::var("PATH").unwrap_or_default());
    let mut command = (shell.ask)(&file, line);
    command
        .current_dir(&place)
        .env("PATH", path)
        .env("HOME", &*directory)
        .env("TERM", "dumb")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("no {}: {error}", shell.name));
            return None;
        }
    };
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("bash_completion: No such file") {
        skip("no bash-completion");
        return None;
    }
    assert!(told.is_empty(), "{}, asked for {line:?}, said:\n{told}", shell.name);
    let last = line.rsplit(' ').next().unwrap_or_default();
    let kept = &last[..last.rfind(['=', ':']).map_or(0, |at| at + 1)];
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // fish says behind a tabulator what a word means.
    let words = text.lines().map(|line| line.split('\t').next().unwrap_or(line));
    let mut words: Vec<String> = words.map(|word| word.strip_prefix(kept).unwrap_or(word).to_owned()).collect();
    words.sort();
    words.dedup();
    Some(words)
}

/// That every shell offers exactly these words, in order.
#[track_caller]
fn assert_offered(line: &str, expected: &[&str]) {
    for shell in SHELLS {
        if let Some(offered) = offered_for(shell, OPTIONS, line) {
            assert_eq!(offered, expected, "{} for {line:?}", shell.name);
        }
    }
}

/// That every shell offers the first, among others, and none of the second.
#[track_caller]
fn assert_among(line: &str, among: &[&str], not: &[&str]) {
    for shell in SHELLS {
        let Some(offered) = offered_for(shell, OPTIONS, line) else { continue };
        // zsh names the last part of a path alone, and fish ends a directory.
        let holds = |word: &&&str| offered.iter().any(|offered| offered.trim_start_matches("./").trim_end_matches('/') == **word);
        assert_eq!(among.iter().filter(|word| !holds(word)).count(), 0, "{} for {line:?}: {offered:#?}", shell.name);
        assert_eq!(not.iter().find(holds), None, "{} for {line:?}", shell.name);
    }
}

fn names() -> Vec<String> {
    let mut names: Vec<String> =
        OPTIONS.iter().flat_map(|opt| [Some(opt.name), opt.alias]).flatten().map(|name| format!("-{name}")).collect();
    names.sort();
    names
}

#[test]
fn options_are_offered_with_one_dash() {
    assert_offered("socketmaster -st", &["-start", "-stop-signal", "-stop-timeout"]);
    assert_offered("socketmaster -group -stop-s", &["-stop-signal"]);
    assert_offered("socketmaster -nosuch", &[]);
    let names = names();
    assert_offered("socketmaster -", &names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_signal_is_offered_as_the_next_word_and_after_an_equals_sign() {
    for line in ["socketmaster -stop-signal TS", "socketmaster -stop-signal=TS", "socketmaster -start=1 -group -stop-signal TS"] {
        assert_offered(line, &["TSTP"]);
    }
    assert_among("socketmaster -stop-signal T", &["TERM", "TSTP"], &["HUP"]);
    assert_among("socketmaster -stop-signal ", &["TERM", "QUIT"], &["STOP", "-start", "the-program"]);
}

#[test]
fn a_rule_for_a_signal_is_offered_in_two_steps() {
    assert_offered("socketmaster -signal=USR", &["USR1:", "USR2:"]);
    assert_offered("socketmaster -signal=USR1:re", &["reload"]);
    assert_offered("socketmaster -signal USR1:st", &["stop"]);
    assert_offered("socketmaster -signal KI", &[]);
}

#[test]
fn protocols_are_offered_one_by_one() {
    assert_offered("socketmaster -handoff=", &["einhorn", "einhorn-fds", "none", "server-starter", "systemd"]);
    assert_offered("socketmaster -handoff systemd,s", &["systemd,server-starter"]);
    assert_offered("socketmaster -handoff systemd,none", &[]);
}

#[test]
fn listeners_are_offered_up_to_what_only_the_user_knows() {
    assert_offered("socketmaster -listen=t", &["tcp4://", "tcp6://", "tcp://"]);
    assert_offered("socketmaster -listen n", &["none"]);
    assert_offered("socketmaster -listen=none -listen unix://", &["///", "//@"]);
}

#[test]
fn what_readline_has_split_off_a_word_is_not_offered_again() {
    // bash alone splits at @ too, and then nothing is left to offer.
    for (shell, rest) in SHELLS.iter().zip(["", "//@"]) {
        if let Some(offered) = offered_for(shell, OPTIONS, "socketmaster -listen unix://@") {
            assert_eq!(offered, [rest], "{}", shell.name);
        }
    }
}

#[test]
fn users_and_their_groups_are_offered() {
    assert_among("socketmaster -user roo", &["root"], &["the-program"]);
    assert_among("socketmaster -user=root:roo", &["root"], &[]);
}

#[test]
fn files_and_directories_are_offered_where_they_are_wanted() {
    assert_among("socketmaster -command=the-", &["the-program"], &["releases"]);
    assert_among("socketmaster -command ./the-", &["the-script"], &["the-program"]);
    assert_among("socketmaster -dir=rel", &["releases"], &["releases.tar"]);
    assert_among("socketmaster -dir rel", &["releases"], &["releases.tar"]);
}

#[test]
fn nothing_is_offered_for_a_number_or_behind_a_switch() {
    assert_offered("socketmaster -start=", &[]);
    assert_offered("socketmaster -start ", &[]);
    assert_offered("socketmaster -syslog=", &[]);
}

#[test]
fn the_first_operand_is_a_program() {
    for line in ["socketmaster the-", "socketmaster -- the-", "socketmaster -start 1 -group the-", "socketmaster -stop-signal=TERM -- the-"]
    {
        assert_among(line, &["the-program"], &["-listen", "releases"]);
    }
}

#[test]
fn behind_the_program_no_option_of_ours_is_offered() {
    let ours = names();
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    for line in
        ["socketmaster the-program -", "socketmaster -- the-program -", "socketmaster -- -", "socketmaster -start 1 the-program -st"]
    {
        assert_among(line, &[], &ours);
    }
    // The same without the program.
    assert_among("socketmaster -start 1 -", &["-listen", "-stop-signal", "-h"], &[]);
}

#[test]
fn the_program_completes_its_own_arguments() {
    for line in [
        "socketmaster -- socketmaster -stop-s",
        "socketmaster -group socketmaster -stop-s",
        "socketmaster -command=socketmaster -- -stop-s",
    ] {
        for shell in SHELLS.iter().filter(|shell| shell.hands_over) {
            if let Some(offered) = offered_for(shell, OPTIONS, line) {
                assert_eq!(offered, ["-stop-signal"], "{} for {line:?}", shell.name);
            }
        }
    }
}

/// An option as a later version may have it.
fn option(name: &'static str, values: Values) -> Opt {
    Opt {
        name,
        alias: None,
        kind: Kind::Value("X"),
        values,
        default: None,
        repeatable: false,
        role: Role::Setting,
        section: "Later",
        help: "it's [new]: \\ \"quoted\"",
        long: "It is new.",
        read: |_, _| Ok(()),
    }
}

#[test]
fn a_new_option_needs_nothing_but_its_row() {
    let options = [option("s", Values::Verb), option("some-file", Values::File), option("start", Values::Anything)];
    for shell in SHELLS {
        let asked = |line| offered_for(shell, &options, line);
        let (Some(verbs), Some(files), Some(names)) =
            (asked("socketmaster -s "), asked("socketmaster -some-file=the-"), asked("socketmaster -st"))
        else {
            continue;
        };
        assert_eq!(verbs, ["reload", "status", "stop"], "{}", shell.name);
        assert_eq!(files, ["the-script"], "{}", shell.name);
        assert_eq!(names, ["-start"], "{}", shell.name);
    }
}
