//! A generation and its workers: what belongs to it, and what is known of it.

use std::rc::Rc;

use crate::types::listener::{ListenerId, ListenerLabel};
use crate::types::process::{ExitStatus, GenerationNumber, Pid, WorkerId};
use crate::types::settings::Policy;
use crate::types::signal::Signal;
use crate::types::time::Instant;

/// More than are sent in the time that an exec takes, and little enough to keep.
const MOST_HELD: usize = 1024;

/// All workers of one start or reload, and the rules by which they are judged and stopped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Generation {
    pub number: GenerationNumber,
    pub role: Role,
    pub policy: Policy,
    /// The listeners that its workers have.
    pub listeners: Rc<[ListenerLabel]>,
    /// The listeners on which one of its processes has been seen to accept, in ascending order.
    pub(super) accepts: Vec<ListenerId>,
    /// Some of its processes could not be looked at.
    pub(super) hidden: bool,
    /// How often it has been looked at in a row.
    pub(super) looks: u32,
    /// Those that live, in the order of their slots.
    pub workers: Vec<Worker>,
}

/// What a generation is to its clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Started, and not trusted yet.
    Candidate,
    /// It serves.
    Current,
    /// It has been told to stop.
    Retiring,
}

/// One process that was started from the command, from the moment it is asked for until it is gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub state: WorkerState,
    /// When it was asked for; from [`WorkerState::Running`] on, when it ran.
    pub started: Instant,
    /// It has said that it serves.
    pub ready: bool,
    /// A signal has suspended it, and nothing has continued it since.
    pub suspended: bool,
    pub stop: Option<StopRequest>,
    /// Signals that came before it ran, in their order.
    pub(super) held: Vec<Signal>,
    /// SIGKILL cannot reach it: nobody waits for it any more.
    pub(super) out_of_reach: bool,
}

/// How far a worker has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WorkerState {
    /// Forked or about to be, and not executed yet.
    Spawning,
    Running {
        pid: Pid,
    },
    /// With `-group`: its first process is gone, and others of its process group are not.
    Leaderless {
        pid: Pid,
        status: ExitStatus,
    },
}

/// A worker has been told to stop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StopRequest {
    /// The signal that it was told with last.
    pub signal: Signal,
    /// When it was told first.
    pub at: Instant,
    /// It did not run yet and was killed instead.
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

    /// Whether all of its workers have said that they serve.
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
