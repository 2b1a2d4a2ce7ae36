//! proc(5): which processes there are. Everything here does without /proc where there is none.

use std::fs;

use crate::types::one_line::OneLine;
use crate::types::process::Pid;

/// A process and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    pub pid: Pid,
    pub name: OneLine,
}

/// The children of this process that have not exited, at most `most` of them.
pub fn children(most: usize) -> Vec<Process> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let (name, parent) = parse(&stat)?;
        (parent == own).then_some(Process { pid: Pid::new(pid)?, name })
    })
    .take(most)
    .collect()
}

/// Name and parent of a process that has not exited, from its `stat`. The name may hold anything, parentheses too.
fn parse(stat: &[u8]) -> Option<(OneLine, u32)> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = OneLine::from_bytes(stat.get(open + 1..close)?);
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some((name, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parse(b"12 (a) b (\n) S 7 1 2"), Some((OneLine::from("a) b (\n"), 7)));
        assert_eq!(parse(b"12 (zombie) Z 7 1 2"), None);
        assert_eq!(parse(b"12 (cut"), None);
    }

    #[test]
    fn a_child_is_found_and_a_stranger_is_not() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("a child");
        let found = children(usize::MAX);
        let pid = Pid::new(child.id() as i32).expect("a pid");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(found.iter().any(|process| process.pid == pid), "{found:?}");
        assert!(found.iter().all(|process| process.pid.as_raw() != 1), "{found:?}");
    }
}
