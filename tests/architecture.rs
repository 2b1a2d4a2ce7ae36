//! The rules of the structure, each a few lines of string search, so that breaking one is a decision and not an accident.

use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The layers, the ground first. A room imports from lower layers and from itself, and from nowhere else: rooms of one
/// layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["error"],
    &["sys", "config", "supervisor"],
    &["listener", "worker", "output", "systemd", "control", "report", "probe"],
    &["runtime"],
    &["main"],
];

/// Text of a source file without its unit tests, by its path below `src`.
type Source = (String, String);

fn sources() -> Vec<Source> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("src is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = Vec::new();
    collect(Path::new(SRC), &mut paths);
    paths.sort();
    let text = |path: &PathBuf| {
        let name = path.strip_prefix(SRC).expect("below src").display().to_string();
        (name, without_tests(&fs::read_to_string(path).expect("source is text")))
    };
    paths.iter().map(text).filter(|(name, _)| !name.contains("/tests/") && !name.ends_with("tests.rs")).collect()
}

/// Leaves out everything below `#[cfg(test)]`, up to the end of what follows it.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        for line in lines.by_ref() {
            let ends = line.starts_with(&indent) && !line[indent.len()..].starts_with(char::is_whitespace);
            if ends && (line.ends_with(';') || line.trim_end_matches([';', ',']).ends_with('}') || line.ends_with("];")) {
                break;
            }
        }
    }
    kept
}

fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Lines outside `allowed` that hold any of `needles`, comments left out.
fn lines_with(needles: &[&str], allowed: &[&str]) -> Vec<String> {
    let found = |(name, text): &Source| {
        let lines = code(text).filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
        lines.map(|(number, line)| format!("src/{name}:{}: {}", number + 1, line.trim())).collect::<Vec<_>>()
    };
    sources().iter().filter(|(name, _)| !allowed.iter().any(|place| name.starts_with(place))).flat_map(found).collect()
}

fn assert_only(needles: &[&str], allowed: &[&str]) {
    let strays = lines_with(needles, allowed);
    assert!(strays.is_empty(), "{needles:?} belongs only in {allowed:?}:\n  {}", strays.join("\n  "));
    // The search itself must be able to find: each place that is allowed to uses what it is allowed.
    for place in allowed {
        let others: Vec<&str> = allowed.iter().copied().filter(|other| other != place).collect();
        assert!(!lines_with(needles, &others).is_empty(), "{place} is allowed {needles:?} and has none: strike it from the rule");
    }
}

// ---- layers

/// The room of a file: its first folder, or its own name.
fn room(name: &str) -> &str {
    name.split(['/', '.']).next().unwrap_or(name)
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms of this program that a line names.
fn imports(line: &str) -> impl Iterator<Item = &str> {
    let after = |marker: &'static str| line.match_indices(marker).map(move |(at, _)| &line[at + marker.len()..]);
    let named = after("crate::").chain(after("socketmaster::"));
    named.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
}

/// Every import that goes up, or to the side.
fn wrong_arrows(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, text) in sources.iter().filter(|(name, _)| name != "lib.rs") {
        let from = room(name);
        for (number, line) in code(text) {
            for to in imports(line).filter(|to| *to != from && !to.is_empty()) {
                if layer(to).is_none_or(|to| Some(to) >= layer(from)) {
                    wrong.push(format!("src/{name}:{}: {from} -> {to}: {}", number + 1, line.trim()));
                }
            }
        }
    }
    wrong
}

#[test]
fn arrows_go_down_only() {
    let sources = sources();
    let unknown: Vec<&str> = sources.iter().map(|(name, _)| room(name)).filter(|room| layer(room).is_none() && *room != "lib").collect();
    assert_eq!(unknown, [""; 0], "a room without a layer");
    let wrong = wrong_arrows(&sources);
    assert!(wrong.is_empty(), "an arrow goes up or to the side:\n  {}", wrong.join("\n  "));
}

#[test]
fn one_import_turned_round_is_seen() {
    let mut sources = sources();
    for (room, import) in
        [("types/time.rs", "supervisor"), ("sys/poll.rs", "config"), ("control/server.rs", "listener"), ("config/words.rs", "runtime")]
    {
        let (_, text) = sources.iter_mut().find(|(name, _)| name == room).expect("the room is there");
        text.push_str(&format!("use crate::{import}::something;\n"));
    }
    let wrong = wrong_arrows(&sources);
    assert_eq!(wrong.len(), 4, "{wrong:?}");
}

// ---- which file may use which crate

#[test]
fn the_kernel_is_called_only_below_sys() {
    assert_only(&[" nix::", "(nix::", "libc::"], &["sys/"]);
}

#[test]
fn each_dependency_has_one_room() {
    assert_only(&["users::"], &["sys/user.rs"]);
    assert_only(&["use syslog::", "syslog::Error"], &["output/syslog.rs"]);
    assert_only(&["lexopt"], &["config/args.rs"]);
    assert_only(&["strsim::"], &["config/suggest.rs"]);
    assert_only(&["serde", "serde_json"], &["control/protocol.rs"]);
    assert_only(&["memchr::"], &["output/lines.rs", "output/syslog.rs"]);
}

#[test]
fn danger_has_an_address() {
    assert_only(&["unsafe {", "unsafe fn", "unsafe extern", "unsafe impl"], &["sys/", "main.rs"]);
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {") && !line.trim_start().starts_with("//"))
        {
            let explained = lines[number.saturating_sub(6)..number].iter().any(|before| before.contains("SAFETY:"));
            assert!(explained, "src/{name}:{}: no SAFETY comment above: {line}", number + 1);
        }
    }
}

#[test]
fn the_ground_is_std_alone() {
    let strays: Vec<String> = sources()
        .iter()
        .filter(|(name, _)| name.starts_with("types/"))
        .flat_map(|(name, text)| {
            let uses = code(text).filter(|(_, line)| line.trim_start().starts_with("use "));
            let foreign = uses.filter(|(_, line)| {
                !["use std::", "use super::", "use crate::types::"].iter().any(|own| line.trim_start().starts_with(own))
            });
            foreign.map(|(number, line)| format!("src/{name}:{}: {line}", number + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(strays, [""; 0]);
}

#[test]
fn the_clock_is_read_where_things_happen_and_nothing_sleeps() {
    assert_only(&["clock::now"], &["runtime/", "probe/"]);
    for needle in ["Instant::now", "SystemTime::now", "thread::", "sleep("] {
        assert_eq!(lines_with(&[needle], &[]), [""; 0], "{needle}");
    }
}

/// What decides and what reads the operator's words touches nothing; so do the rooms of other layers that say so.
#[test]
fn what_is_pure_touches_nothing() {
    let needles = ["std::fs", "std::process", "std::env", "std::io", "TcpListener", "UdpSocket", "ToSocketAddrs", "crate::sys"];
    let says_so = |text: &str| text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.ends_with("Pure."));
    let mut looked_at = 0;
    for (name, text) in sources() {
        let is_pure = ["types/", "config/", "supervisor/"].iter().any(|place| name.starts_with(place)) || says_so(&text);
        looked_at += usize::from(is_pure);
        let strays: Vec<&str> =
            code(&text).map(|(_, line)| line).filter(|line| is_pure && needles.iter().any(|needle| line.contains(needle))).collect();
        assert_eq!(strays, [""; 0], "src/{name} is pure");
    }
    assert!(looked_at > 30, "{looked_at}");
}

// ---- what may not happen

#[test]
fn nothing_ends_the_process_but_main_and_nothing_can_panic_on_purpose() {
    let needles = ["process::exit", ".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", " assert!"];
    assert_eq!(lines_with(&needles, &[]), [""; 0]);
}

/// None of the methods of `Running` returns an error: the line after which nothing may fail is a type.
#[test]
fn a_running_master_returns_no_error() {
    let mut looked_at = 0;
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("runtime/")) {
        let mut rest = text.as_str();
        while let Some((_, block)) = rest.split_once("impl Running {") {
            let (methods, after) = block.split_once("\n}\n").expect("an impl ends");
            looked_at += 1;
            let fallible: Vec<&str> = methods
                .lines()
                .filter(|line| line.contains("fn ") && line.contains("-> Result<"))
                // A start and a load may fail, and answer with an event.
                .filter(|line| !line.contains("fn launch(") && !line.contains("fn report_to(") && !line.contains("fn load_again("))
                .collect();
            assert_eq!(fallible, [""; 0], "src/{name}");
            rest = after;
        }
    }
    assert!(looked_at >= 4, "{looked_at}");
}

// ---- what the documentation names

/// Pages that name tests, functions and files of the project.
const PAGES: [&str; 3] = ["docs/architecture.md", "docs/faults.md", "SECURITY.md"];

/// Every Rust source of the project, with its path from the root of the project.
fn all_sources() -> Vec<Source> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory of the project") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => collect(&path, found),
                false => found.extend(path.extension().is_some_and(|end| end == "rs").then_some(path)),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for room in ["src", "tests", "xtask", "examples", "fuzz"] {
        collect(&root.join(room), &mut paths);
    }
    let name = |path: &PathBuf| path.strip_prefix(root).expect("it is below the root").display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("a source is text"))).collect()
}

/// Text between backticks, if it holds no blank. Code blocks are left out.
fn quoted(page: &str) -> Vec<&str> {
    let without_blocks = page.split("```").step_by(2);
    without_blocks.flat_map(|text| text.split('`').skip(1).step_by(2)).filter(|word| !word.contains(char::is_whitespace)).collect()
}

/// Whether a quoted word is the path of a function, a test or a module, such as `signals::two_signals`, or of a source,
/// such as `sys/spawn.rs`, and nothing in these sources has that name.
fn is_stale(word: &str, sources: &[Source]) -> bool {
    if let Some(file) = word.strip_suffix(".rs") {
        return !sources.iter().any(|(name, _)| format!("/{name}").ends_with(&format!("/{file}.rs")));
    }
    let Some((_, name)) = word.trim_end_matches("()").rsplit_once("::") else { return false };
    let is_snake_case = word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':' | b'(' | b')'));
    let defines = |text: &str| [format!("fn {name}("), format!("fn {name}<"), format!("mod {name}")].iter().any(|item| text.contains(item));
    let is_file = || sources.iter().any(|(path, _)| path.ends_with(&format!("/{name}.rs")));
    is_snake_case && !sources.iter().any(|(_, text)| defines(text)) && !is_file()
}

#[test]
fn every_test_function_and_source_that_the_documentation_names_exists() {
    let sources = all_sources();
    let mut checked = 0;
    for page in PAGES {
        let text = fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).expect("a page");
        let words = quoted(&text);
        checked += words.iter().filter(|word| word.contains("::") || word.ends_with(".rs")).count();
        let stale: Vec<&str> = words.into_iter().filter(|word| is_stale(word, &sources)).collect();
        assert_eq!(stale, [""; 0], "{page} names what does not exist");
    }
    assert!(checked > 200, "{checked}");
}

#[test]
fn a_name_that_does_not_exist_is_found_stale() {
    let sources = all_sources();
    for word in ["signals::no_such_test_at_all", "sys/no_such_room.rs", "supervisor::tests::no_such_walk"] {
        assert!(is_stale(word, &sources), "{word}");
    }
    for word in ["architecture::a_name_that_does_not_exist_is_found_stale", "sys/spawn.rs", "supervisor::tests::walk", "std"] {
        assert!(!is_stale(word, &sources), "{word}");
    }
}
