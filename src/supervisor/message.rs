//! All log lines of the core.

use std::fmt;
use std::time::Duration;

use super::event::FailedReload;
use crate::types::one_line::OneLine;
use crate::types::process::{ExitStatus, GenerationNumber, Pid, SpawnError};
use crate::types::signal::Signal;

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Started {
        generation: GenerationNumber,
        pid: Pid,
    },
    CheckStarted {
        generation: GenerationNumber,
        pid: Pid,
    },
    Checked {
        generation: GenerationNumber,
        took: Duration,
    },
    Ready {
        generation: GenerationNumber,
        pid: Pid,
    },
    Current {
        generation: GenerationNumber,
    },
    StopSent {
        generation: GenerationNumber,
        pid: Pid,
        signal: Signal,
    },
    StoppedBeforeItRan {
        generation: GenerationNumber,
    },
    Exited {
        generation: GenerationNumber,
        pid: Option<Pid>,
        status: ExitStatus,
        lived: Duration,
    },
    GroupLeft {
        generation: GenerationNumber,
        pid: Pid,
    },
    GroupGone {
        generation: GenerationNumber,
        pid: Pid,
    },
    Killed {
        generation: GenerationNumber,
        pid: Pid,
        waited: Duration,
    },
    GroupKilled {
        generation: GenerationNumber,
        pid: Pid,
        waited: Duration,
    },
    CannotKill {
        generation: GenerationNumber,
        pid: Pid,
        cause: OneLine,
    },
    Continued {
        generation: GenerationNumber,
        pid: Pid,
    },
    NotStarted(SpawnError),
    NotReady {
        generation: GenerationNumber,
    },
    /// Why a generation is not ready, or may not serve.
    NobodyAcceptsOn {
        generation: GenerationNumber,
        listener: OneLine,
    },
    Accepts {
        generation: GenerationNumber,
    },
    /// Nobody can look, so it is ready after it has run for `wait`, or at once.
    Hidden {
        generation: GenerationNumber,
        wait: Option<Duration>,
        why: OneLine,
    },
    /// The next worker in the place of one that has exited.
    Respawning {
        generation: GenerationNumber,
        after: Duration,
    },
    Settling {
        generation: GenerationNumber,
        stays: GenerationNumber,
        wait: Duration,
    },
    ReloadFailed(FailedReload),
    ReloadRemembered,
    ReloadRefused,
    Stopping {
        signal: Option<Signal>,
    },
    NobodyAccepts {
        generation: GenerationNumber,
        retiring: usize,
    },
    NotWaitedFor {
        workers: usize,
    },
    Ended {
        status: u8,
    },
}

/// How much a message matters: `-quiet` and `-verbose` choose by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Importance {
    /// A request of the operator failed.
    Failure,
    /// Something is wrong, and the master keeps running.
    Problem,
    /// A step that an operator wants to see.
    Normal,
}

impl Message {
    pub const fn importance(&self) -> Importance {
        match self {
            Message::NotStarted(_) | Message::NotReady { .. } | Message::ReloadFailed(_) => Importance::Failure,
            Message::CannotKill { .. }
            | Message::Killed { .. }
            | Message::GroupKilled { .. }
            | Message::ReloadRefused
            | Message::NobodyAccepts { .. }
            | Message::NobodyAcceptsOn { .. }
            | Message::Hidden { .. }
            | Message::NotWaitedFor { .. } => Importance::Problem,
            Message::Started { .. }
            | Message::CheckStarted { .. }
            | Message::Checked { .. }
            | Message::Ready { .. }
            | Message::Accepts { .. }
            | Message::Settling { .. }
            | Message::Respawning { .. }
            | Message::Current { .. }
            | Message::StopSent { .. }
            | Message::StoppedBeforeItRan { .. }
            | Message::Exited { .. }
            | Message::GroupLeft { .. }
            | Message::GroupGone { .. }
            | Message::Continued { .. }
            | Message::ReloadRemembered
            | Message::Stopping { .. }
            | Message::Ended { .. } => Importance::Normal,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Started { generation, pid } => write!(f, "generation {generation} (pid {pid}) started"),
            Message::CheckStarted { generation, pid } => write!(f, "checking generation {generation} (pid {pid})"),
            Message::Checked { generation, took } => write!(f, "the check of generation {generation} succeeded after {}", Seconds(*took)),
            Message::Ready { generation, pid } => write!(f, "generation {generation} (pid {pid}) is ready"),
            Message::Current { generation } => write!(f, "generation {generation} is current"),
            Message::StopSent { generation, pid, signal } => write!(f, "stopping generation {generation} (pid {pid}) with {signal}"),
            Message::StoppedBeforeItRan { generation } => write!(f, "generation {generation} was stopped before its program ran"),
            Message::Exited { generation, pid: Some(pid), status, lived } => {
                write!(f, "generation {generation} (pid {pid}) {status} after {}", Seconds(*lived))
            }
            Message::Exited { generation, pid: None, status, lived } => {
                write!(f, "a worker of generation {generation} {status} after {}", Seconds(*lived))
            }
            Message::GroupLeft { generation, pid } => {
                write!(f, "generation {generation} (pid {pid}) left processes running in its process group")
            }
            Message::GroupGone { generation, pid } => {
                write!(f, "all processes in the group of generation {generation} (pid {pid}) have exited")
            }
            Message::Killed { generation, pid, waited } => {
                write!(f, "sent SIGKILL to generation {generation} (pid {pid}), which still ran {} after the stop signal", Seconds(*waited))
            }
            Message::GroupKilled { generation, pid, waited } => write!(
                f,
                "sent SIGKILL to the process group of generation {generation} (pid {pid}), which still ran {} after the stop signal",
                Seconds(*waited)
            ),
            Message::CannotKill { generation, pid, cause } => write!(f, "cannot kill generation {generation} (pid {pid}): {cause}"),
            Message::Continued { generation, pid } => {
                write!(f, "sent SIGCONT to generation {generation} (pid {pid}): it was suspended, and no shell can continue it")
            }
            Message::NotStarted(error) => f.write_str(&error.cause),
            Message::NotReady { generation } => write!(f, "generation {generation} was not ready in time"),
            Message::NobodyAcceptsOn { generation, listener } => {
                write!(f, "generation {generation} does not accept connections on {listener}")
            }
            Message::Accepts { generation } => write!(f, "generation {generation} accepts connections"),
            Message::Hidden { generation, wait, why } => {
                write!(f, "cannot see whether generation {generation} accepts connections, so it is ready ")?;
                match wait {
                    Some(wait) => write!(f, "after running for {} (-start): {why}", Seconds(*wait)),
                    None => write!(f, "as soon as it runs: {why}"),
                }
            }
            Message::Respawning { generation, after } => {
                write!(f, "starting a new worker of generation {generation} in {} (-respawn)", Seconds(*after))
            }
            Message::Settling { generation, stays, wait } => {
                write!(f, "generation {generation} is ready; generation {stays} keeps running beside it for {} (-settle)", Seconds(*wait))
            }
            Message::ReloadFailed(failed) => failed.fmt(f),
            Message::ReloadRemembered => f.write_str("a reload is already in progress; another one follows"),
            Message::ReloadRefused => f.write_str("reload refused: socketmaster is shutting down"),
            Message::Stopping { signal: Some(signal) } => write!(f, "shutting down on {signal}"),
            Message::Stopping { signal: None } => f.write_str("shutting down"),
            Message::NobodyAccepts { generation, retiring } => write!(
                f,
                "no generation serves after the exit of generation {generation}; connections wait until a reload succeeds \
                 (retiring workers: {retiring})"
            ),
            Message::NotWaitedFor { workers } => write!(f, "exiting without waiting for {workers} worker(s) that cannot be killed"),
            Message::Ended { status } => write!(f, "exiting with status {status}"),
        }
    }
}

/// A duration in seconds with two decimals: "0.41 s".
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} s", self.0.as_secs(), self.0.subsec_millis() / 10)
    }
}
