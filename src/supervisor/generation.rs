//! A generation and its workers.

use std::rc::Rc;

use crate::types::listener::{ListenerId, ListenerLabel};
use crate::types::process::{ExitStatus, GenerationNumber, Pid, WorkerId};
use crate::types::settings::Policy;
use crate::types::signal::Signal;
use crate::types::time::Instant;

/// The most signals to keep for a worker that does not run yet. An execve(2) is over before so many are sent.
const MOST_HELD: usize = 1024;

/// All workers of one start or reload, and the rules by which they are judged and stopped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Generation {
    pub number: GenerationNumber,
    pub role: Role,
    pub policy: Policy,
    /// The listeners that its workers have.
    pub listeners: Rc<[ListenerLabel]>,
    /// The listeners on which one of its processes is known to accept, in ascending order.
    pub(super) accepts: Vec<ListenerId>,
    /// Some of its processes could not be looked at.
    pub(super) hidden: bool,
    /// How often it has been looked at in a row.
    pub(super) looks: u32,
    /// The workers that are not gone, in the order of their slots.
    pub workers: Vec<Worker>,
}

/// The role of a generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// It is the check of a reload, which runs before the candidate.
    Check,
    /// It has started, but is not ready yet.
    Candidate,
    /// It serves.
    Current,
    /// It is being stopped.
    Retiring,
}

/// One process of the command, from the request to start it until it is gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub state: WorkerState,
    /// The time of the request to start it; from [`WorkerState::Running`] on, the time of its execve(2).
    pub started: Instant,
    /// Whether it has reported that it serves.
    pub ready: bool,
    /// Whether a signal has suspended it and it has not been continued.
    pub suspended: bool,
    pub stop: Option<StopRequest>,
    /// Signals that came before it ran, in their order.
    pub(super) held: Vec<Signal>,
    /// Whether SIGKILL could not be sent to it. The master no longer waits for it then.
    pub(super) out_of_reach: bool,
}

/// The state of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WorkerState {
    /// Forked or about to be, and not executed yet.
    Spawning,
    Running {
        pid: Pid,
    },
    /// With `-group`: its first process is gone, but other processes of its group still run.
    Leaderless {
        pid: Pid,
        status: ExitStatus,
    },
}

/// The stop of a worker.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StopRequest {
    /// The last stop signal that it was sent.
    pub signal: Signal,
    /// The time of the first stop signal.
    pub at: Instant,
    /// Whether it did not run yet, and was killed instead.
    pub(super) unexecuted: bool,
}

impl Worker {
    pub(super) fn new(id: WorkerId, now: Instant) -> Worker {
        Worker {
            id,
            state: WorkerState::Spawning,
            started: now,
            ready: false,
            suspended: false,
            stop: None,
            held: Vec::new(),
            out_of_reach: false,
        }
    }

    /// Keeps a signal until the worker runs, as the kernel keeps a blocked one: a standard signal once, real-time signals queued.
    pub(super) fn hold(&mut self, signal: Signal) {
        let queued = signal >= Signal::RTMIN;
        if self.held.len() < MOST_HELD && (queued || !self.held.contains(&signal)) {
            self.held.push(signal);
        }
    }

    /// Its pid, once it runs.
    pub fn pid(&self) -> Option<Pid> {
        match self.state {
            WorkerState::Spawning => None,
            WorkerState::Running { pid } | WorkerState::Leaderless { pid, .. } => Some(pid),
        }
    }
}

impl Generation {
    /// Whether all of its workers run.
    pub(super) fn runs(&self) -> bool {
        !self.workers.is_empty() && self.workers.iter().all(|worker| worker.state != WorkerState::Spawning)
    }

    /// Whether all of its workers have reported that they serve.
    pub(super) fn is_ready(&self) -> bool {
        self.runs() && self.workers.iter().all(|worker| worker.ready)
    }

    /// It has been seen to accept on these.
    pub(super) fn note_accepts(&mut self, seen: &[ListenerId]) {
        self.accepts.extend_from_slice(seen);
        self.accepts.sort_unstable();
        self.accepts.dedup();
    }

    /// The first of its listeners that is wanted and on which it has not been seen to accept.
    pub(super) fn missing(&self, is_wanted: impl Fn(ListenerId) -> bool) -> Option<&ListenerLabel> {
        self.listeners.iter().find(|listener| is_wanted(listener.id) && self.accepts.binary_search(&listener.id).is_err())
    }

    pub(super) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }
}
