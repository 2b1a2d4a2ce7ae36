//! The rules of the structure, each a few lines of string search, so that breaking one is a decision and not an accident.

use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Path below src, and text without the unit tests at its end.
fn sources() -> Vec<(String, String)> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("src is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = Vec::new();
    collect(Path::new(SRC), &mut paths);
    let text = |path: &PathBuf| {
        let name = path.strip_prefix(SRC).expect("below src").display().to_string();
        let text = fs::read_to_string(path).expect("source is text");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (name, code)
    };
    paths.iter().map(text).filter(|(name, _)| !name.ends_with("tests.rs")).collect()
}

/// Lines outside `allowed` that hold any of `needles`, comments left out.
fn lines_with(needles: &[&str], allowed: &[&str]) -> Vec<String> {
    sources()
        .into_iter()
        .filter(|(name, _)| !allowed.iter().any(|place| name.starts_with(place)))
        .flat_map(|(name, text)| {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
            let found = lines.filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
            found.map(|(number, line)| format!("src/{name}:{}: {}", number + 1, line.trim())).collect::<Vec<_>>()
        })
        .collect()
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

const PURE: &[&str] = &["cli/", "config.rs", "endpoint.rs", "error.rs", "handoff.rs", "ids.rs", "signals.rs", "supervisor/"];

#[test]
fn the_kernel_is_called_only_below_sys() {
    assert_only(&[" nix::", "(nix::", "libc::"], &["sys/"]);
}

#[test]
fn each_dependency_has_one_room() {
    assert_only(&["users::"], &["sys/identity.rs"]);
    assert_only(&["syslog::"], &["log.rs"]);
    assert_only(&["lexopt"], &["cli/parse.rs"]);
}

#[test]
fn danger_has_an_address() {
    assert_only(&["unsafe {", "unsafe fn", "unsafe extern", "unsafe impl"], &["sys/", "main.rs"]);
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {") && !line.trim_start().starts_with("//"))
        {
            let explained = lines[number.saturating_sub(4)..number].iter().any(|before| before.contains("SAFETY:"));
            assert!(explained, "src/{name}:{}: no SAFETY comment above: {line}", number + 1);
        }
    }
}

#[test]
fn the_clock_is_read_in_one_place_and_nothing_sleeps() {
    assert_only(&["clock::now"], &["runtime.rs"]);
    for needle in ["Instant::now", "SystemTime::now", "thread::", "sleep("] {
        assert_eq!(lines_with(&[needle], &[]), [""; 0], "{needle}");
    }
}

#[test]
fn what_is_pure_touches_nothing() {
    let needles = [
        "std::fs",
        "std::process",
        "std::env",
        "std::io",
        "TcpListener",
        "UdpSocket",
        "ToSocketAddrs",
        "crate::sys",
        "crate::log",
        "crate::runtime",
    ];
    let strays: Vec<String> =
        lines_with(&needles, &[]).into_iter().filter(|line| PURE.iter().any(|pure| line.starts_with(&format!("src/{pure}")))).collect();
    assert_eq!(strays, [""; 0]);
}

#[test]
fn the_core_knows_nobody_but_ids() {
    let strays: Vec<String> = lines_with(&["crate::"], &[])
        .into_iter()
        .filter(|line| line.starts_with("src/supervisor/") && !line.contains("crate::ids::"))
        .collect();
    assert_eq!(strays, [""; 0]);
}

#[test]
fn nothing_ends_the_process_but_main_and_nothing_can_panic_on_purpose() {
    let needles = ["process::exit", ".unwrap()", ".expect(", "panic!", "unreachable!", "todo!", "unimplemented!", "assert!"];
    assert_eq!(lines_with(&needles, &[]), [""; 0]);
}

#[test]
fn past_the_line_nothing_returns_an_error() {
    let (_, runtime) = sources().into_iter().find(|(name, _)| name == "runtime.rs").expect("runtime.rs");
    let (_, past) = runtime.split_once("From here on nothing may fail").expect("the line is marked");
    let code = past.lines().skip(1).filter(|line| !line.trim_start().starts_with("//"));
    let fallible: Vec<&str> = code.clone().filter(|line| line.contains("?;") || line.contains("?.")).map(str::trim).collect();
    // A start may fail, and answers with an event.
    let (starts, others): (Vec<&str>, Vec<&str>) =
        fallible.into_iter().partition(|line| line.contains("no_pipe") || line.contains("launcher.launch"));
    assert!(!starts.is_empty(), "the search finds nothing at all");
    assert_eq!(others, [""; 0]);
    let indexed: Vec<&str> = code.filter(|line| line.contains("self.sockets[") || line.contains("ready[")).collect();
    assert_eq!(indexed, [""; 0], "an index could be out of bounds");
}
