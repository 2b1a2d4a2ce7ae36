//! Processes: pids, generations, and how a process ended.

use std::fmt;

use super::signal::Signal;

/// A process id of a child; always positive, so that kill(2) can never reach a group by mistake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pid(i32);

impl Pid {
    /// `None` unless `raw` is positive.
    pub const fn new(raw: i32) -> Option<Pid> {
        if raw > 0 { Some(Pid(raw)) } else { None }
    }

    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A generation's number: 1 for the first start, one more at each attempt to reload.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GenerationNumber(pub u32);

impl GenerationNumber {
    pub const FIRST: GenerationNumber = GenerationNumber(1);

    pub const fn next(self) -> GenerationNumber {
        GenerationNumber(self.0.saturating_add(1))
    }
}

impl fmt::Display for GenerationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a worker: the slot, counted from 0, among the workers of its generation. A worker that replaces another one has
/// its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WorkerPlace {
    pub generation: GenerationNumber,
    pub slot: usize,
}

/// The supervisor's name for a worker, from the request to start it on. A pid would not do: it is known only later, and
/// the kernel may reuse it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub u32);

/// How a process ended, wait(2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExitStatus {
    Exited(u8),
    Killed { signal: Signal, core: bool },
}

impl ExitStatus {
    /// The exit status a shell would report: the program's own, or 128 plus the signal's number.
    pub const fn code(self) -> u8 {
        match self {
            ExitStatus::Exited(status) => status,
            ExitStatus::Killed { signal, .. } => 128 + signal.as_raw() as u8,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(status) => write!(f, "exited with status {status}"),
            ExitStatus::Killed { signal, core: false } => write!(f, "was killed by {signal}"),
            ExitStatus::Killed { signal, core: true } => write!(f, "was killed by {signal} (core dumped)"),
        }
    }
}

/// Why a worker could not be started.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SpawnError {
    /// The exit status of the master if the first start fails with this error: 127, 126 or 1.
    pub status: u8,
    /// "cannot VERB OBJECT: CAUSE".
    pub cause: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_a_shell_would_report() {
        assert_eq!(ExitStatus::Exited(7).code(), 7);
        assert_eq!(ExitStatus::Killed { signal: Signal::TERM, core: false }.code(), 143);
        assert_eq!(ExitStatus::Killed { signal: Signal::RTMAX, core: false }.code(), 192);
    }
}
