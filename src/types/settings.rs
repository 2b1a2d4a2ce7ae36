//! Settings that the core needs: how a generation is judged and stopped, and what the master is to its terminal.

use std::time::Duration;

use super::signal::Signal;

/// The settings of one generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    pub trust: Trust,
    /// Whether a check must succeed before a candidate starts.
    pub check: bool,
    /// How long the current generation keeps running beside a candidate that is ready, before it is stopped.
    pub settle: Duration,
    /// Workers in a generation, at least 1.
    pub workers: usize,
    /// A worker of the current generation that exits is replaced.
    pub respawn: bool,
    /// The signal that stops a worker.
    pub stop_signal: Signal,
    /// How long a worker may run after the stop signal before it gets SIGKILL. `None`: it never does.
    pub stop_timeout: Option<Duration>,
    /// Send signals to a worker's whole process group. The worker counts as running until its group is empty.
    pub group: bool,
    /// Exit statuses of the program that are reported as 0.
    pub ok: Vec<u8>,
}

/// When a new generation may be trusted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Trust {
    /// All of its workers have lived this long.
    Lived(Duration),
    /// All of its workers have lived this long, and it accepts on every listener on which the current generation accepts.
    /// A generation that does not do so within `within` is not trusted.
    LivedAndAccepts { lived: Duration, within: Duration },
    /// It accepts on every listener, within this time if there is one. Where its processes cannot be looked at, it is
    /// enough that all of its workers have lived as long as `unseen`.
    Accepts { within: Option<Duration>, unseen: Duration },
    /// All of its workers have reported that they are ready, within this time if there is a limit.
    Ready { within: Option<Duration> },
}

impl Trust {
    /// Whether the workers must report that they are ready.
    pub fn is_reported(&self) -> bool {
        matches!(self, Trust::Ready { .. })
    }

    /// How long a worker must live until its program counts as one that runs, whatever else makes it ready.
    pub fn proof(&self) -> Duration {
        /// For a program that says itself when it is ready.
        const UNKNOWN: Duration = Duration::from_secs(3);
        match self {
            Trust::Lived(lived) | Trust::LivedAndAccepts { lived, .. } | Trust::Accepts { unseen: lived, .. } => *lived,
            Trust::Ready { .. } => UNKNOWN,
        }
    }
}

/// The relation of the master to the terminal on its standard input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Terminal {
    /// There is none, or it controls another session.
    None,
    /// The master leads its session, as under `docker run -it`: no shell is above it.
    Leader,
    /// The master is a job of a shell.
    Job,
}
