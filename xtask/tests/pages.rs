//! What is generated from the tables in the source is fresh where it is committed, and is right for those who read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use socketmaster::config::options::OPTIONS;
use xtask::pages::{FILES, RELEASED, readme};

use crate::basics::{free_dir, skip};

const README: &str = include_str!("../../README.md");

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The first line in which a committed text is not what the tables want.
fn stale_line(fresh: &str, committed: &str) -> Option<String> {
    let end = "(the end)";
    let lines = |text: &'_ str| text.lines().map(str::to_owned).chain([end.to_owned()]).collect::<Vec<_>>();
    let pair = lines(fresh).into_iter().zip(lines(committed)).find(|(fresh, committed)| fresh != committed);
    match pair {
        Some((fresh, committed)) => Some(format!("committed: {committed}\n    fresh: {fresh}")),
        None => (fresh != committed).then(|| "the last line's end".to_owned()),
    }
}

#[test]
fn the_generated_parts_of_the_readme_are_fresh() {
    let fresh = readme::refresh(README).expect("all markers are there");
    assert_eq!(stale_line(&fresh, README), None, "run `make pages`");
}

#[test]
fn every_page_is_fresh() {
    for file in FILES {
        let committed = fs::read_to_string(in_repository(file.path)).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        assert_eq!(stale_line(&(file.render)(), &committed), None, "{}: run `make pages`", file.path);
    }
}

#[test]
fn a_change_in_a_table_would_be_seen() {
    let changed = README.replacen("| `-listen=URI` |", "| `-lisen=URI` |", 1);
    assert_ne!(changed, README, "the table of options is not where it is looked for");
    assert_eq!(readme::refresh(&changed).as_deref(), Ok(README));
    for file in FILES {
        let fresh = (file.render)();
        let changed = fresh.replacen("listen", "lisen", 1);
        assert!(stale_line(&fresh, &changed).is_some_and(|line| line.contains("lisen")), "{}", file.path);
        assert!(stale_line(&fresh, &format!("{fresh}more\n")).is_some(), "{}", file.path);
    }
}

#[test]
fn no_page_is_committed_that_nothing_writes() {
    let mut committed = Vec::new();
    for directory in ["docs", "docs/completions"] {
        for entry in fs::read_dir(in_repository(directory)).expect("it is there") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                committed.push(format!("{directory}/{}", entry.file_name().display()));
            }
        }
    }
    let handwritten = |path: &&String| path.ends_with(".md");
    let strays: Vec<&String> =
        committed.iter().filter(|path| !handwritten(path) && FILES.iter().all(|file| file.path != path.as_str())).collect();
    assert_eq!(strays, [""; 0]);
    assert!(!committed.is_empty());
}

/// Names behind one dash and before `=`, as ours are written in a text; Docker's have two dashes.
fn options_shown(text: &str) -> Vec<&str> {
    let words = text.split(|char: char| !(char.is_ascii_alphanumeric() || "-=_".contains(char)));
    let shown = words.filter_map(|word| word.strip_prefix('-')?.split_once('=').map(|(name, _)| name));
    shown.filter(|name| !name.is_empty() && !name.starts_with('-')).collect()
}

fn is_option(name: &&str) -> bool {
    OPTIONS.iter().any(|opt| opt.name == *name)
}

#[test]
fn every_option_that_the_readme_shows_exists() {
    let unknown: Vec<&str> = options_shown(README).into_iter().filter(|name| !is_option(name)).collect();
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn every_option_that_the_manual_page_shows_exists() {
    let page = plain(&manual_page());
    let shown = options_shown(&page);
    let unknown: Vec<&str> = shown.iter().copied().filter(|name| !is_option(name)).collect();
    assert_eq!(unknown, [""; 0]);
    assert!(shown.contains(&"stop-signal"), "the search finds nothing: {shown:?}");
}

// ---- the version, which stands in Cargo.toml

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn both_changelogs_begin_with_the_version_of_cargo_toml() {
    let debian = include_str!("../../debian/changelog");
    assert!(debian.starts_with(&format!("socketmaster ({VERSION}) ")), "debian/changelog begins with another version than {VERSION}");
    let newest = include_str!("../../CHANGELOG.md").lines().find(|line| line.starts_with("## ")).expect("an entry");
    let dates = ["unreleased", RELEASED.as_str()];
    assert!(dates.iter().any(|date| newest == format!("## [{VERSION}] - {date}")), "CHANGELOG.md begins with {newest}");
}

#[test]
fn the_manual_page_has_the_version_and_the_day_of_the_changelog() {
    let title = format!(".TH SOCKETMASTER 1 {} \"socketmaster {VERSION}\" \"User Commands\"", *RELEASED);
    assert!(manual_page().lines().any(|line| line == title), "docs/socketmaster.1 has no line {title}");
}

/// Versions behind the name of the program, as in `socketmaster_1.2.3_amd64.deb` and `socketmaster 1.2.3, pid 7`.
fn versions_shown(text: &str) -> Vec<&str> {
    let behind_name = text.split("socketmaster").skip(1).filter_map(|rest| rest.strip_prefix(['_', '-', ' ', ':']));
    let numbers = behind_name.map(|rest| rest.split(|char: char| !char.is_ascii_digit() && char != '.').next().unwrap_or_default());
    numbers.map(|number| number.trim_end_matches('.')).filter(|number| number.matches('.').count() == 2).collect()
}

/// The changelog speaks of every version, and a decision of the one that it was made for.
#[test]
fn pages_show_no_version_but_this_one() {
    let mut pages = vec![in_repository("README.md"), in_repository("debian/README.Debian")];
    let docs = fs::read_dir(in_repository("docs")).expect("docs is there").map(|entry| entry.expect("an entry").path());
    pages.extend(docs.filter(|path| path.is_file()));
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page is text");
        let others: Vec<&str> = versions_shown(&text).into_iter().filter(|version| *version != VERSION).collect();
        assert_eq!(others, [""; 0], "{}", page.display());
    }
    assert_eq!(versions_shown("socketmaster_1.2.3_amd64.deb, socketmaster 4.5.6, socketmaster -s"), ["1.2.3", "4.5.6"]);
}

fn manual_page() -> String {
    fs::read_to_string(in_repository("docs/socketmaster.1")).expect("the page is committed")
}

/// Without fonts and escapes.
fn plain(roff: &str) -> String {
    let mut text = roff.to_owned();
    for (escape, character) in [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\%", ""), ("\\-", "-"), ("\\(aq", "'"), ("\\&", "")] {
        text = text.replace(escape, character);
    }
    text
}

/// What the program says of a page; nothing, after a skip, where it is not installed.
fn said_of(page: &str, program: &str, args: &[&str]) -> Option<Output> {
    let directory = free_dir();
    let path = directory.join("socketmaster.1");
    fs::write(&path, page).expect("a free directory");
    match Command::new(program).args(args).arg(path).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("no {program}: {error}"));
            None
        }
    }
}

/// Everything that is written, and a failure.
fn complaints(output: &Output) -> String {
    let status = if output.status.success() { String::new() } else { output.status.to_string() };
    format!("{}{}{status}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn groff_has_no_warning_for_the_manual_page() {
    let check = |page: &str| said_of(page, "groff", &["-ww", "-man", "-Tutf8", "-z"]);
    let Some(output) = check(&manual_page()) else { return };
    assert_eq!(complaints(&output), "");
    let broken = check(&format!("{}.NOSUCH\n", manual_page())).expect("it was there");
    assert!(complaints(&broken).contains("NOSUCH"), "it sees nothing");
}

#[test]
fn mandoc_has_no_remark_on_the_manual_page() {
    let check = |page: &str| said_of(page, "mandoc", &["-T", "lint"]);
    let Some(output) = check(&manual_page()) else { return };
    assert_eq!(complaints(&output), "");
    let broken = check(&format!("{}blank at the end \n", manual_page())).expect("it was there");
    assert!(complaints(&broken).contains("whitespace"), "it sees nothing");
}

#[test]
fn a_reader_sees_what_is_typed_as_it_is_typed() {
    let Some(output) = said_of(&manual_page(), "man", &["-l"]) else { return };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Overstrikes and escapes of a terminal are not for a pipe.
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for typed in
        ["-stop-timeout=MILLIS", "socketmaster [options] -- PATH [ARG...]", "-env='NGINX={fd};' \\", "{\"ok\":true,\"text\":\"...\""]
    {
        assert!(text.contains(typed), "{typed} is not in:\n{text}");
    }
    for title in ["NAME", "OPTIONS", "SEE ALSO"] {
        assert!(text.contains(&format!("\n{title}\n")), "{title} is not in:\n{text}");
    }
}
