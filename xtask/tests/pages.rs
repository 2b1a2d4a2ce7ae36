//! The generated parts of the pages are fresh and correct.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use socketmaster::config::options::OPTIONS;
use socketmaster::config::{Command as Task, Invocation, load};
use xtask::pages::generated::PAGES;
use xtask::pages::{FILES, RELEASED};

use crate::basics::{free_dir, skip};

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

fn committed(path: &str) -> String {
    fs::read_to_string(in_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Each page with its text as it should be, and as it is committed.
fn pages() -> Vec<(&'static str, String, String)> {
    let whole = FILES.iter().map(|file| (file.path, (file.render)(), committed(file.path)));
    let parts = PAGES.iter().map(|page| {
        let committed = committed(page.path);
        (page.path, page.refresh(&committed).unwrap_or_else(|error| panic!("{}: {error}", page.path)), committed)
    });
    whole.chain(parts).collect()
}

#[test]
fn every_page_is_fresh() {
    for (path, fresh, committed) in pages() {
        assert_eq!(stale_line(&fresh, &committed), None, "{path}: run `make pages`");
    }
}

#[test]
fn a_change_in_a_table_would_be_seen() {
    for file in FILES {
        let fresh = (file.render)();
        let changed = fresh.replacen("listen", "lisen", 1);
        assert!(stale_line(&fresh, &changed).is_some_and(|line| line.contains("lisen")), "{}", file.path);
        assert!(stale_line(&fresh, &format!("{fresh}more\n")).is_some(), "{}", file.path);
    }
    for page in PAGES {
        let fresh = committed(page.path);
        for part in page.parts {
            let row = (part.render)();
            let changed = fresh.replacen(row.trim_end(), "something else", 1);
            assert_ne!(changed, fresh, "{}: {} is not where it is looked for", page.path, part.name);
            assert_eq!(page.refresh(&changed).as_ref(), Ok(&fresh), "{}: {}", page.path, part.name);
        }
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
        committed.iter().filter(|path| !handwritten(path) && pages().iter().all(|(page, ..)| page != path)).collect();
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

/// README.md and the pages of docs/.
fn documentation() -> Vec<(String, String)> {
    let entries = fs::read_dir(in_repository("docs")).expect("it is there");
    let names = entries.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().display()));
    let pages = names.filter(|name| name.ends_with(".md")).chain(["README.md".to_owned()]);
    pages.map(|path| (path.clone(), committed(&path))).collect()
}

#[test]
fn every_option_that_the_documentation_shows_exists() {
    for (path, text) in documentation() {
        let unknown: Vec<&str> = options_shown(&text).into_iter().filter(|name| !is_option(name)).collect();
        assert_eq!(unknown, [""; 0], "{path}");
    }
}

/// The targets of links in Markdown, those of the web left out.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of the headings of a page, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    headings
        .map(|heading| heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn the_readme_is_read_in_a_few_minutes() {
    let lines = committed("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines: move what only some readers need to docs/");
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut seen = 0;
    for (path, text) in documentation() {
        let directory = in_repository(&path).parent().expect("it has one").to_owned();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { in_repository(&path) } else { directory.join(file) };
            assert!(target.exists(), "{path}: no {file}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&target).expect("a page");
                assert!(anchors(&text).contains(&anchor.to_owned()), "{path}: no heading for {link} in {:?}", anchors(&text));
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "the search finds only {seen} links");
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
    for (escape, character) in
        [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\%", ""), ("\\-", "-"), ("\\(aq", "'"), ("\\&", ""), ("\\e", "\\")]
    {
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
    for typed in [
        "-stop-timeout=MILLIS",
        "socketmaster [options] -- PATH [ARG...]",
        "-env='NGINX={fds;};' -stop-signal=QUIT",
        "{\"ok\":true,\"text\":",
    ] {
        assert!(text.contains(typed), "{typed} is not in:\n{text}");
    }
    let hyphen = '\u{2010}';
    assert_eq!(text.lines().find(|line| line.chars().count() > 80 || line.ends_with(hyphen)), None);
    let sections: Vec<&str> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).collect();
    for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SIGNALS", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
        assert!(sections.contains(&title), "{title} is not in {sections:?}");
    }
}

/// The commands among the examples of the manual page, as they are typed.
fn examples() -> Vec<String> {
    let page = plain(&manual_page());
    let (_, section) = page.split_once("\n.SH EXAMPLES\n").expect("a section");
    let (section, _) = section.split_once("\n.SH ").expect("another one");
    let blocks = section.split(".EX\n").skip(1).map(|block| block.split_once(".EE").expect("its end").0.replace("\\\n", " "));
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn the_examples_of_the_manual_page_can_be_typed() {
    let examples = examples();
    for example in &examples {
        // Systemd's quotes mean the same as the shell's, as far as they are used here.
        let words = socketmaster::config::words::split(std::ffi::OsStr::new(example.trim_end_matches(" &"))).expect("words");
        assert_eq!(words[0], "socketmaster", "{example}");
        let command = load(&Invocation { argv: words, environment: Vec::new() });
        assert!(matches!(command, Ok(Task::Run(_) | Task::Ask(_) | Task::Probe(_))), "{example}: {command:?}");
    }
    assert!(examples.len() > 5, "{examples:?}");
}
