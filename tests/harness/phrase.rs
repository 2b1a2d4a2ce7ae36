//! The words of the log lines that tests match, each in one place. In a pattern `...` stands for any text, and a pattern
//! matches anywhere in a line.

use std::fmt::Display;

pub const LISTENING: &str = "listening on ";
pub const STARTED: &str = " (pid ...) started";
pub const CURRENT: &str = " is current";
pub const RELOAD_FAILED: &str = "reload failed: ";
pub const STOP_SENT: &str = "stopping generation ";
pub const STOPPED_BEFORE_IT_RAN: &str = "was stopped before its program ran";
pub const SENT_KILL: &str = "sent SIGKILL to generation ";
pub const SENT_KILL_TO_GROUP: &str = "sent SIGKILL to the process group of generation ";
pub const GROUP_STILL_RUNS: &str = "left processes running in its process group";
pub const CONTINUED: &str = "it was suspended, and no shell can continue it";
pub const LOST_LINES: &str = "lost ... log lines while the log was blocked";
pub const SHUTTING_DOWN: &str = "shutting down";
pub const RELOAD_REFUSED: &str = "reload refused: socketmaster is shutting down";
pub const PROCESSES_LEFT: &str = "the program exited but left processes running: ";
/// A request at the control socket.
pub const RELOAD_REQUESTED: &str = "received reload request from pid ";
pub const RELOAD_BY_SIGNAL: &str = "received reload request by ";

/// The first process of this generation runs the program.
pub fn started(generation: impl Display) -> String {
    format!("generation {generation} (pid ...) started")
}

/// This generation has become the current one.
pub fn current(generation: impl Display) -> String {
    format!("generation {generation} is current")
}

/// A worker of this generation has reported that it is ready.
pub fn ready(generation: impl Display) -> String {
    format!("generation {generation} (pid ...) is ready")
}

/// A worker of this generation was sent the stop signal.
pub fn stop_sent(generation: impl Display) -> String {
    format!("stopping generation {generation} (pid ")
}

/// A worker was sent the stop signal, and it was this one.
pub fn stop_sent_with(signal: impl Display) -> String {
    format!("{STOP_SENT}...) with {signal}")
}

/// A worker of this generation exited or was killed.
pub fn exited(generation: impl Display) -> String {
    format!("]: generation {generation} (pid ... after ")
}

/// The cause in the line of a worker that exited, or of a reload that failed.
pub fn exited_with(status: impl Display) -> String {
    format!("exited with status {status} after ")
}

pub fn killed_by(signal: impl Display) -> String {
    format!("was killed by {signal}")
}

pub fn worker_killed_by(pid: u32, signal: impl Display) -> String {
    format!("(pid {pid}) was killed by {signal}")
}

pub fn reload_failed(generation: impl Display) -> String {
    format!("reload failed: generation {generation} ")
}

/// The end of the line that says why a reload failed.
pub fn keeps_running(generation: impl Display) -> String {
    format!("generation {generation} keeps running")
}

/// The current generation exited, and no other one takes its place.
pub fn none_serves_after(generation: impl Display, retiring: usize) -> String {
    format!("no generation serves after the exit of generation {generation}; ... (retiring workers: {retiring})")
}

pub fn shutting_down_on(signal: impl Display) -> String {
    format!("shutting down on {signal}")
}

/// The last line of a master.
pub fn ended_with(status: impl Display) -> String {
    format!("exiting with status {status}")
}

/// What `-s reload` prints when the reload has succeeded.
pub fn reloaded(generation: impl Display) -> String {
    format!("generation {generation} (pid ...) is current after 0.")
}

/// What the status says of the generation that serves.
pub fn serves(generation: impl Display, pid: impl Display) -> String {
    format!("generation {generation} (pid {pid}) serves")
}

pub const STATUS_STARTING: &str = "starting generation 1";
pub const STATUS_SERVES: &str = "serves";
pub const STATUS_ONE_STOPPING: &str = "serves; stopping workers: 1";
pub const STATUS_WAITS_FOR_ONE: &str = "shutting down: waiting for 1 worker\n";
/// In the line of a worker in the table of `-s status`.
pub const STATUS_STOP_SENT: &str = "sent SIGTERM ";

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
