//! The words of the log lines that tests match, each in one place. In a pattern `...` stands for any text, and a pattern
//! matches anywhere in a line.

use std::fmt::Display;

pub const LISTENING: &str = "listening on ";
pub const STARTED: &str = ": started, pid ";
pub const CURRENT: &str = ": current";
pub const RELOAD_FAILED: &str = "reload failed: ";
pub const STOP_SENT: &str = "told to stop";
pub const STOPPED_BEFORE_IT_RAN: &str = "stopped before it ran";
pub const SENT_KILL: &str = "after it was told to stop: killed";
pub const SENT_KILL_TO_GROUP: &str = "processes of its group still run 0.";
pub const GROUP_STILL_RUNS: &str = "still run";
pub const CONTINUED: &str = "was suspended and no shell could continue it: continued";
pub const SHUTTING_DOWN: &str = "stopping";
pub const RELOAD_REFUSED: &str = "reload refused: stopping";
pub const PROCESSES_LEFT: &str = "processes that the program started are left: ";
/// A request at the control socket.
pub const RELOAD_REQUESTED: &str = "told to reload by pid ";

/// The first process of this generation runs the program.
pub fn started(generation: impl Display) -> String {
    format!("generation {generation}: started, pid ...")
}

/// This generation has become the current one.
pub fn current(generation: impl Display) -> String {
    format!("generation {generation}: current")
}

/// A worker of this generation was sent the stop signal.
pub fn stop_sent(generation: impl Display) -> String {
    format!("generation {generation}: pid ... told to stop (")
}

/// A worker was sent the stop signal, and it was this one.
pub fn stop_sent_with(signal: impl Display) -> String {
    format!("told to stop ({signal})")
}

/// A worker of this generation exited or was killed.
pub fn exited(generation: impl Display) -> String {
    format!("]: generation {generation}: pid ... after ")
}

/// The cause in the line of a worker that exited, or of a reload that failed.
pub fn exited_with(status: impl Display) -> String {
    format!("exited with status {status} after ")
}

pub fn killed_by(signal: impl Display) -> String {
    format!("killed by {signal}")
}

pub fn worker_killed_by(pid: u32, signal: impl Display) -> String {
    format!("pid {pid} killed by {signal}")
}

pub fn reload_failed(generation: impl Display) -> String {
    format!("reload failed: generation {generation}: ")
}

/// The end of the line that says why a reload failed.
pub fn keeps_running(generation: impl Display) -> String {
    format!("generation {generation} stays")
}

/// The current generation exited, and no other one takes its place.
pub fn none_serves_after(generation: impl Display, retiring: usize) -> String {
    format!("generation {generation} is gone, and nobody accepts connections until a reload succeeds; retiring workers left: {retiring}")
}

pub fn shutting_down_on(signal: impl Display) -> String {
    format!("stopping ({signal})")
}

/// The last line of a master.
pub fn ended_with(status: impl Display) -> String {
    format!("ended with status {status}")
}

/// What `-s reload` prints when the reload has succeeded.
pub fn reloaded(generation: impl Display) -> String {
    format!("generation {generation} serves after ... s (pid ")
}

/// What the status says of the generation that serves.
pub fn serves(generation: impl Display, pid: impl Display) -> String {
    format!("generation {generation} (pid {pid}) serves")
}

pub const STATUS_STARTING: &str = "generation 1 starts";
pub const STATUS_SERVES: &str = "serves";
pub const STATUS_ONE_STOPPING: &str = "serves; 1 told to stop";
pub const STATUS_WAITS_FOR_ONE: &str = "stopping: waits for 1 worker\n";
/// In the line of a worker in the table of `-s status`.
pub const STATUS_STOP_SENT: &str = "told to stop (SIGTERM) ";

/// Whether `pattern` occurs in `text`.
pub fn matches(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern.split("...").all(|part| {
        let found = rest.split_once(part);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

/// The first number after `pid `.
#[track_caller]
pub fn pid_in(line: &str) -> u32 {
    let digits = line.split("pid ").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no pid in {line:?}"))
}
