//! The events that the core handles, and the actions that it returns.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::message::{Message, Seconds};
use crate::types::listener::{ListenerId, ListenerLabel};
use crate::types::one_line::OneLine;
use crate::types::process::{ExitStatus, GenerationNumber, Pid, SpawnError, WorkerId, WorkerPlace};
use crate::types::request::{CallerId, Request};
use crate::types::settings::Policy;
use crate::types::signal::Signal;

/// An event: something has happened.
///
/// For each [`Action::Spawn`] comes `SpawnFailed`, or `Spawned` and later one `Exited`. [`Action::Load`] is answered by `Loaded`
/// or `LoadFailed`, [`Action::Kill`] by `Killed` or `KillFailed`, and [`Action::Look`] by `Looked`, before any other event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The listeners are open: start the first generation by these rules, with these listeners.
    Boot { policy: Policy, listeners: Rc<[ListenerLabel]> },
    /// The configuration was read again: the rules of the generation that is about to start, and its listeners.
    Loaded { policy: Policy, listeners: Rc<[ListenerLabel]> },
    /// The configuration cannot be applied.
    LoadFailed { cause: OneLine },
    /// The worker runs: its execve(2) has succeeded.
    Spawned { id: WorkerId, pid: Pid },
    /// The worker does not run, and has no process to reap.
    SpawnFailed { id: WorkerId, error: SpawnError },
    /// The worker has reported that it serves.
    Ready { id: WorkerId },
    /// The worker has asked for so much time, from now on, until it is ready.
    MoreTime { id: WorkerId, time: Duration },
    /// Workers of a generation were looked at: each with the listeners on which it accepts. `hidden` says why some process could
    /// not be looked at.
    Looked { generation: GenerationNumber, accepts: Vec<(WorkerId, Vec<ListenerId>)>, hidden: Option<OneLine> },
    /// The worker's process has been reaped. `group_left`: other processes of its group are left.
    Exited { id: WorkerId, status: ExitStatus, group_left: bool },
    /// The last process of the worker's group is gone. Follows an `Exited` with `group_left`.
    GroupGone { id: WorkerId },
    /// A signal has suspended the worker. `terminal_is_ours`: the foreground process group is the master's own.
    Suspended { id: WorkerId, signal: Signal, terminal_is_ours: bool },
    /// The worker was continued.
    Continued { id: WorkerId },
    /// SIGKILL was sent to the worker.
    Killed { id: WorkerId },
    /// SIGKILL could not be sent to the worker.
    KillFailed { id: WorkerId, cause: OneLine },
    /// A signal or a caller requests something. Only a caller gets an answer.
    Requested { request: Request, caller: Option<CallerId> },
    /// A caller has disconnected before its request was answered.
    CallerLeft { caller: CallerId },
    /// Time has passed. The core handles every timer that is due.
    Tick,
}

/// An action: the runtime must do something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read the configuration again, for this generation.
    Load { generation: GenerationNumber },
    /// Start a process.
    Spawn { id: WorkerId, what: Program },
    /// Look whether these workers of this generation accept on its listeners.
    Look { generation: GenerationNumber, workers: Vec<WorkerId> },
    /// The first process of a worker is gone. Log which other processes of its group accept on a listener.
    ReportAccepting { generation: GenerationNumber, pid: Pid },
    /// Send a signal to a worker, or to its process group.
    Signal { id: WorkerId, signal: Signal, group: bool },
    /// Send SIGKILL to a worker and to its process group.
    Kill { id: WorkerId },
    /// Send SIGCONT to a worker's process group.
    Continue { id: WorkerId },
    /// Make this worker's process group the foreground group of the terminal and continue it.
    Foreground { id: WorkerId },
    /// Suspend the master itself, as a shell's job.
    SuspendMaster,
    /// Close the master's copies of the listeners.
    CloseListeners,
    /// Drop the settings of this generation: none of its processes is left.
    Forget { generation: GenerationNumber },
    /// Answer a request.
    Answer { caller: CallerId, reply: Reply },
    /// Log a message.
    Log(Message),
    /// Notify the service manager.
    Announce(Lifecycle),
    /// Log which processes the program has left running. `quick`: the last worker exited with 0 right after its start, as a
    /// program does that goes to the background.
    ReportLeftovers { quick: bool },
    /// Remove sockets and files, answer these callers, and exit. No process is left to wait for.
    Exit { status: u8, callers: Vec<CallerId> },
}

/// The program that an [`Action::Spawn`] starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Worker(WorkerPlace),
    /// The check before this generation.
    Check {
        generation: GenerationNumber,
    },
}

/// A step of the life cycle. `Serving` comes first and once, `Stopping` last and once. Between them reloads begin and end, one
/// after another. A reload that `Stopping` interrupts has no `ReloadEnded`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lifecycle {
    /// The first generation is current and either accepts connections or has run long enough to count as started.
    Serving,
    ReloadBegun {
        generation: GenerationNumber,
    },
    ReloadEnded {
        generation: GenerationNumber,
        outcome: Result<Reloaded, FailedReload>,
    },
    /// The master starts nothing more.
    Stopping,
}

/// The answer to a caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Reloaded(Reloaded),
    ReloadFailed(FailedReload),
    /// The master is shutting down: no reload begins or ends any more.
    Stopping,
}

/// A reload that has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    pub generation: GenerationNumber,
    /// Its first worker.
    pub pid: Option<Pid>,
    pub workers: usize,
    /// From the beginning of the reload.
    pub took: Duration,
}

/// A reload that has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedReload {
    pub generation: GenerationNumber,
    pub why: Why,
    /// The generation that keeps serving, if there is one.
    pub stays: Option<GenerationNumber>,
}

/// Why a reload failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    NotLoaded(OneLine),
    NotStarted(SpawnError),
    CheckNotStarted(SpawnError),
    CheckFailed {
        status: ExitStatus,
        lived: Duration,
    },
    /// The check has not ended in time.
    CheckTooLong,
    /// Its program was not executed in time.
    NotExecuted,
    Exited {
        pid: Option<Pid>,
        status: ExitStatus,
        lived: Duration,
    },
    DeadlineMissed,
    /// No process of it accepts on this listener.
    NobodyAccepts {
        listener: OneLine,
    },
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reloaded { generation, pid, workers, took } = self;
        write!(f, "generation {generation} ")?;
        match pid {
            Some(pid) if *workers == 1 => write!(f, "(pid {pid}) ")?,
            Some(pid) => write!(f, "({workers} workers, the first has pid {pid}) ")?,
            None => {}
        }
        write!(f, "is current after {}", Seconds(*took))
    }
}

impl fmt::Display for FailedReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedReload { generation, why, stays } = self;
        write!(f, "reload failed: generation {generation} ")?;
        match why {
            Why::NotLoaded(cause) => write!(f, "did not start: {cause}")?,
            Why::NotStarted(error) => write!(f, "did not start: {}", error.cause)?,
            Why::Exited { pid: Some(pid), status, lived } => write!(f, "(pid {pid}) {status} after {}", Seconds(*lived))?,
            Why::Exited { pid: None, status, lived } => write!(f, "{status} after {}", Seconds(*lived))?,
            Why::CheckNotStarted(error) => write!(f, "did not start: the check did not run: {}", error.cause)?,
            Why::CheckFailed { status, lived } => write!(f, "did not start: the check {status} after {}", Seconds(*lived))?,
            Why::CheckTooLong => f.write_str("did not start: the check did not exit in time")?,
            Why::NotExecuted => f.write_str("did not execute its program in time")?,
            Why::DeadlineMissed => f.write_str("was not ready in time")?,
            Why::NobodyAccepts { listener } => write!(f, "does not accept connections on {listener}")?,
        }
        match stays {
            Some(stays) => write!(f, "; generation {stays} keeps running"),
            None => f.write_str("; no generation serves"),
        }
    }
}
