//! A generation and its workers.

use std::rc::Rc;

use super::event::Action;
use crate::types::listener::{ListenerId, ListenerLabel};
use crate::types::process::{ExitStatus, GenerationNumber, Pid, WorkerId};
use crate::types::settings::Policy;
use crate::types::signal::Signal;
use crate::types::time::Instant;

/// The most signals to keep for a worker that does not run yet. An execve(2) is over before so many are sent.
const MOST_HELD: usize = 1024;

/// The most workers to look at at once. Those that have been seen to accept make room for others.
const MOST_LOOKED_AT: usize = 32;

/// All workers of one start or reload, and the rules by which they are judged and stopped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Generation {
    pub number: GenerationNumber,
    pub role: Role,
    pub policy: Policy,
    /// The listeners that its workers have.
    pub listeners: Rc<[ListenerLabel]>,
    /// The listeners on which one of its workers has been seen to accept, in ascending order.
    pub(super) accepts: Vec<ListenerId>,
    /// Some of its processes could not be looked at.
    pub(super) hidden: bool,
    /// How often it has been looked at in a row.
    pub(super) looks: u32,
    /// The workers that are not gone.
    pub workers: Vec<Worker>,
    /// Slots whose worker has exited and is to be replaced.
    pub vacancies: Vec<Vacancy>,
}

/// A slot without a worker, until a new one starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Vacancy {
    pub slot: usize,
    /// When the next worker starts.
    pub due: Instant,
    /// How many workers of this slot have exited in a row before they had proven themselves, or the first of them.
    pub(super) failures: u32,
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
    /// Its place in the generation, from 0.
    pub slot: usize,
    pub state: WorkerState,
    /// The time of the request to start it; from [`WorkerState::Running`] on, the time of its execve(2).
    pub started: Instant,
    /// Whether it has reported that it serves.
    pub ready: bool,
    /// The listeners on which one of its processes has been seen to accept, in ascending order.
    pub(super) accepts: Vec<ListenerId>,
    /// How many workers in a row this one replaces; see [`Vacancy`].
    pub(super) failures: u32,
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
    pub(super) fn new(id: WorkerId, slot: usize, failures: u32, now: Instant) -> Worker {
        Worker {
            id,
            slot,
            state: WorkerState::Spawning,
            started: now,
            ready: false,
            accepts: Vec::new(),
            failures,
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

    fn accepts_on(&self, listener: ListenerId) -> bool {
        self.accepts.binary_search(&listener).is_ok()
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
    /// Whether it has no worker, and gets none.
    pub(super) fn is_gone(&self) -> bool {
        self.workers.is_empty() && self.vacancies.is_empty()
    }

    /// Whether all of its workers run.
    pub(super) fn runs(&self) -> bool {
        !self.workers.is_empty() && self.workers.iter().all(|worker| worker.state != WorkerState::Spawning)
    }

    /// Whether all of its workers have reported that they serve.
    pub(super) fn is_ready(&self) -> bool {
        self.runs() && self.workers.iter().all(|worker| worker.ready)
    }

    /// This worker has been seen to accept on these.
    pub(super) fn note_accepts(&mut self, id: WorkerId, seen: &[ListenerId]) {
        add(&mut self.accepts, seen);
        if let Some(worker) = self.worker_mut(id) {
            add(&mut worker.accepts, seen);
        }
    }

    /// Whether one of its workers has been seen to accept on this listener.
    pub(super) fn accepts_on(&self, listener: ListenerId) -> bool {
        self.accepts.binary_search(&listener).is_ok()
    }

    /// Whether there is a listener on which none of its workers has been seen to accept.
    pub(super) fn is_idle_somewhere(&self) -> bool {
        self.listeners.iter().any(|listener| !self.accepts_on(listener.id))
    }

    /// The first of its listeners that is wanted and on which not every worker has been seen to accept.
    pub(super) fn missing(&self, is_wanted: impl Fn(ListenerId) -> bool) -> Option<&ListenerLabel> {
        self.listeners.iter().find(|listener| is_wanted(listener.id) && self.workers.iter().any(|worker| !worker.accepts_on(listener.id)))
    }

    /// Looks at the workers that have not been seen to accept on every listener, or at the first of them: a look has an end.
    pub(super) fn look(&self) -> Action {
        let unseen = self.workers.iter().filter(|worker| self.listeners.iter().any(|listener| !worker.accepts_on(listener.id)));
        Action::Look { generation: self.number, workers: unseen.map(|worker| worker.id).take(MOST_LOOKED_AT).collect() }
    }

    pub(super) fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }
}

/// Adds these to an ascending list.
fn add(list: &mut Vec<ListenerId>, seen: &[ListenerId]) {
    list.extend_from_slice(seen);
    list.sort_unstable();
    list.dedup();
}
