//! The last line of `make test`.

use std::process::Command;

/// What the script makes of these lines and this status: its last line, and its own status.
fn summed_up(lines: &str, status: u8) -> (String, Option<i32>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/test-summary");
    let tests = format!("printf '%s\\n' \"$1\"; exit {status}");
    let output = Command::new(script).args(["sh", "-c", &tests, "sh", lines]).output().expect("bash and awk");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.starts_with(lines), "everything is shown: {text}");
    (text.lines().last().unwrap_or_default().to_owned(), output.status.code())
}

fn result(passed: u32, failed: u32, ignored: u32) -> String {
    format!("test result: ok. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; finished in 0.00s")
}

#[test]
fn all_test_binaries_are_added_up_and_the_status_is_kept() {
    let lines = [result(150, 0, 0), result(20, 2, 1)].join("\n");
    assert_eq!(summed_up(&lines, 101), ("170 passed, 2 failed, 1 skipped".to_owned(), Some(101)));
    assert_eq!(summed_up(&result(3, 0, 0), 0), ("3 passed, 0 failed, 0 skipped".to_owned(), Some(0)));
    assert_eq!(summed_up("error: could not compile", 101), ("0 passed, 0 failed, 0 skipped".to_owned(), Some(101)));
}

#[test]
fn a_test_that_says_that_it_is_skipped_has_not_passed() {
    let lines = ["SKIPPED: a::one: no zsh", "SKIPPED: a::one: no fish", "test a::two ... SKIPPED: a::two: no zsh: none", &result(5, 0, 0)];
    assert_eq!(summed_up(&lines.join("\n"), 0).0, "3 passed, 0 failed, 2 skipped");
}

#[test]
fn a_process_that_a_test_leaves_behind_is_a_failure() {
    let directory = std::env::temp_dir().join(format!("socketmaster-test-summary-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a free name");
    let copy = directory.join("sleep");
    std::fs::copy("/bin/sleep", &copy).expect("a copy of our own");
    let pid_file = directory.join("pid");
    let tests = format!("{0} 600 >/dev/null 2>&1 & echo $! >{1}; echo '{2}'", copy.display(), pid_file.display(), result(3, 0, 0));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/test-summary");
    let output = Command::new(script).args(["sh", "-c", &tests]).output().expect("bash and awk");
    let pid = std::fs::read_to_string(&pid_file).expect("it has been written");
    let killed = Command::new("kill").arg(pid.trim()).status().expect("kill(1)");
    std::fs::remove_dir_all(&directory).expect("ours");
    assert!(killed.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains(&format!("LEFT BEHIND by a test: {}", pid.trim())), "{text}");
    assert_eq!((text.lines().last(), output.status.code()), (Some("3 passed, 1 failed, 0 skipped"), Some(1)));
}
