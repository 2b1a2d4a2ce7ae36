//! What the core is told, what it wants done, and what it wants said.

use std::fmt;
use std::time::Duration;

use crate::ids::{Ending, Generation, Pid, Signal};

/// Something has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The listeners are open: begin.
    Boot,
    /// The worker last asked for by [`Action::Start`] runs: its `execve` has succeeded.
    Started { pid: Pid },
    /// The worker last asked for by [`Action::Start`] does not run.
    StartFailed(Failure),
    /// A worker says that it serves.
    Ready { pid: Pid },
    /// A process has been reaped; not always one of the workers.
    Died { pid: Pid, ending: Ending },
    /// A worker was stopped from its terminal, and there is no shell that would continue it.
    Suspended { pid: Pid },
    /// A new generation is wanted.
    Reload,
    /// The end is wanted; the workers are to hear it as this signal.
    Stop { signal: Signal },
    /// A signal for the current generation.
    Pass { signal: Signal },
    /// All workers and the master are to be stopped, as a shell does with a job.
    Suspend { signal: Signal },
    /// All workers are to be continued.
    Resume { signal: Signal },
    /// Nothing but the passing of time: what is due is done.
    Tick,
}

/// Why a worker could not be started.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Failure {
    /// What the master ends with if this was the first start: 127, 126 or 1.
    pub status: u8,
    /// "cannot VERB OBJECT: CAUSE".
    pub cause: String,
}

/// Something is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Start one worker. Answered by `Started` or `StartFailed` before any other event.
    Start { generation: Generation },
    /// Send a signal to a worker; with `-group` to its group.
    Send { pid: Pid, signal: Signal },
    /// KILL the worker's whole process group.
    Kill { pid: Pid },
    /// CONT to the worker's whole process group.
    Continue { pid: Pid },
    /// The terminal, if there is one, belongs to this worker's group from now on.
    Foreground { pid: Pid },
    /// Stop the master itself, as a shell's job.
    SuspendMaster,
    /// Close the master's copies of the listeners.
    CloseListeners,
    /// Say it.
    Note(Note),
    /// Let those who look on know: the service manager, and who waits at the control socket.
    Announce(Turn),
    /// Nothing is left to wait for: remove what was made and end.
    Exit { status: u8 },
}

/// A turn of the life. `Serving` comes first and once, `Stopping` last and once; between them each reload begins, and
/// ends before the next one begins. A reload that `Stopping` overtakes has no end of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// The first generation is current.
    Serving,
    ReloadBegun {
        generation: Generation,
    },
    ReloadEnded {
        generation: Generation,
        outcome: Result<Reloaded, FailedReload>,
    },
    /// Nothing will be started any more.
    Stopping,
}

/// A reload that has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    pub generation: Generation,
    /// Its first worker.
    pub pid: Pid,
    pub workers: usize,
    /// From the beginning of the reload.
    pub took: Duration,
}

/// A reload that has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedReload {
    pub generation: Generation,
    pub why: Why,
    pub stays: Generation,
}

/// What the master says of itself, a line each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    Started { generation: Generation, pid: Pid },
    Ready { generation: Generation, pid: Pid },
    Current { generation: Generation },
    Told { generation: Generation, pid: Pid, signal: Signal },
    Gone { generation: Generation, pid: Pid, ending: Ending, lived: Duration },
    Killed { generation: Generation, pid: Pid, waited: Duration },
    Continued { generation: Generation, pid: Pid },
    NotStarted(Failure),
    NotReady { generation: Generation },
    ReloadFailed(FailedReload),
    ReloadRemembered,
    ReloadRefused,
    Stopping { signal: Signal },
    OnlyRetiringLeft,
    Ended { status: u8 },
}

/// Why a reload failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    NotStarted(Failure),
    Died { pid: Pid, ending: Ending, lived: Duration },
    DeadlineMissed,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::Started { generation, pid } => write!(f, "generation {generation}: started, pid {pid}"),
            Note::Ready { generation, pid } => write!(f, "generation {generation}: pid {pid} is ready"),
            Note::Current { generation } => write!(f, "generation {generation}: current"),
            Note::Told { generation, pid, signal } => write!(f, "generation {generation}: pid {pid} told to stop ({signal})"),
            Note::Gone { generation, pid, ending, lived } => {
                write!(f, "generation {generation}: pid {pid} {ending} after {}", Seconds(*lived))
            }
            Note::Killed { generation, pid, waited } => {
                write!(f, "generation {generation}: pid {pid} still runs {} after it was told to stop: killed", Seconds(*waited))
            }
            Note::Continued { generation, pid } => {
                write!(f, "generation {generation}: pid {pid} was suspended and no shell could continue it: continued")
            }
            Note::NotStarted(failure) => write!(f, "{}", failure.cause),
            Note::NotReady { generation } => write!(f, "generation {generation}: not ready in time"),
            Note::ReloadFailed(failed) => failed.fmt(f),
            Note::ReloadRemembered => f.write_str("a reload is under way: one more will follow it"),
            Note::ReloadRefused => f.write_str("reload refused: stopping"),
            Note::Stopping { signal } => write!(f, "stopping ({signal})"),
            Note::OnlyRetiringLeft => f.write_str("the current generation is gone: closed the listeners, waiting for those told to stop"),
            Note::Ended { status } => write!(f, "ended with status {status}"),
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reloaded { generation, pid, workers, took } = self;
        write!(f, "generation {generation} serves after {} ", Seconds(*took))?;
        if *workers == 1 { write!(f, "(pid {pid})") } else { write!(f, "({workers} workers, the first is pid {pid})") }
    }
}

impl fmt::Display for FailedReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedReload { generation, why, stays } = self;
        write!(f, "reload failed: generation {generation}: {why}; generation {stays} stays")
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::NotStarted(failure) => f.write_str(&failure.cause),
            Why::Died { pid, ending, lived } => write!(f, "pid {pid} {ending} after {}", Seconds(*lived)),
            Why::DeadlineMissed => f.write_str("not ready in time"),
        }
    }
}

/// A duration as people read it in a log: "0.41 s".
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} s", self.0.as_secs(), self.0.subsec_millis() / 10)
    }
}
