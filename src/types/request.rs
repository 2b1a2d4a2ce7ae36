//! What can be asked of a running master.

use super::signal::Signal;

/// A caller at the control socket, for as long as its connection lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallerId(pub u64);

/// What an operator can ask for, by a signal or at the control socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Start a new generation, and replace the current one if it can be trusted.
    Reload,
    /// Tell all workers to stop, start nothing any more, and exit when they have exited.
    Stop {
        /// What each worker is told; `None`: the stop signal of its own generation.
        with: Option<Signal>,
        /// What is forwarded if the master is stopping already; `None`: the same as `with`.
        again: Option<Signal>,
    },
    /// Send this signal to the current generation and to a candidate.
    Forward(Signal),
    /// The terminal suspends the job: send this signal to all workers, then suspend the master.
    Suspend(Signal),
    /// The job goes on: send this signal to all workers.
    Resume(Signal),
}

/// What a caller can ask for at the control socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Reload,
    Status,
    Stop,
}

/// A request: its word, and what it does.
#[derive(PartialEq, Debug)]
pub struct VerbRow {
    pub word: &'static str,
    pub verb: Verb,
    pub does: &'static str,
}

/// In the order in which the documentation shows them.
pub const VERBS: &[VerbRow] = &[
    VerbRow { word: "reload", verb: Verb::Reload, does: "reloads, waits for the end of the reload, and fails if the reload fails" },
    VerbRow { word: "status", verb: Verb::Status, does: "shows generations, workers, listeners and the last reload" },
    VerbRow { word: "stop", verb: Verb::Stop, does: "stops as SIGTERM does and waits until the master has exited" },
];

/// The request of that word.
pub fn find(word: &str) -> Option<&'static VerbRow> {
    VERBS.iter().find(|request| request.word == word)
}

/// The same; the error says which words there are.
pub fn request(word: &str) -> Result<&'static VerbRow, String> {
    find(word).ok_or_else(|| {
        let words: Vec<&str> = VERBS.iter().map(|request| request.word).collect();
        format!("unknown request {word:?}; accepted are {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_words() {
        assert_eq!(request("reload").map(|request| request.verb), Ok(Verb::Reload));
        assert_eq!(request("Reload").map(drop), Err("unknown request \"Reload\"; accepted are reload, status, stop".to_owned()));
        assert!(request("").is_err());
    }
}
