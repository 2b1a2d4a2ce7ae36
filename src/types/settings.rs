//! Settings that the core needs: how a generation is judged and stopped, and what the master is to its terminal.

use std::time::Duration;

use super::signal::Signal;

/// The settings of one generation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    pub trust: Trust,
    /// Workers in a generation, at least 1.
    pub workers: usize,
    /// What tells a retiring worker to stop.
    pub stop_signal: Signal,
    /// How long a worker that was told to stop may take before it gets KILL; `None`: for ever.
    pub stop_timeout: Option<Duration>,
    /// Signals go to a worker's whole process group, and the worker is gone when its group is.
    pub group: bool,
    /// Exit statuses of the program that are reported as 0.
    pub ok: Vec<u8>,
}

/// When a new generation may be trusted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Trust {
    /// All of its workers have lived this long.
    Lived(Duration),
    /// All of its workers have said so, within this time if there is one.
    Ready { within: Option<Duration> },
}

/// What the master is to the terminal on its standard input.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Terminal {
    /// There is none, or it controls another session.
    None,
    /// The master leads its session, as under `docker run -it`: no shell is above it.
    Leader,
    /// The master is a job of a shell.
    Job,
}
