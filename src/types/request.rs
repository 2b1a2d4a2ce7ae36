//! The requests that a running master accepts.

use super::signal::Signal;

/// A caller at the control socket, for as long as its connection lasts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallerId(pub u64);

/// A request of an operator, made with a signal or at the control socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// Start a new generation, and replace the current one if it can be trusted.
    Reload,
    /// Stop all workers, start nothing more, and exit when they have exited.
    Stop {
        /// The signal to send to each worker; `None`: the stop signal of its generation.
        with: Option<Signal>,
        /// The signal to forward if the master is already shutting down; `None`: the same as `with`.
        again: Option<Signal>,
    },
    /// Send this signal to the current generation and to a candidate.
    Forward(Signal),
    /// The terminal suspends the job: send this signal to all workers, then suspend the master.
    Suspend(Signal),
    /// The job goes on: send this signal to all workers.
    Resume(Signal),
}

/// The verb of a request at the control socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Reload,
    Status,
    Stop,
}

/// A verb with its word and its description.
#[derive(PartialEq, Debug)]
pub struct VerbRow {
    pub word: &'static str,
    pub verb: Verb,
    pub does: &'static str,
}

/// All verbs, in the order in which the documentation shows them.
pub const VERBS: &[VerbRow] = &[
    VerbRow { word: "reload", verb: Verb::Reload, does: "reloads, waits for the end of the reload, and fails if the reload fails" },
    VerbRow { word: "status", verb: Verb::Status, does: "shows generations, workers, listeners and the last reload" },
    VerbRow { word: "stop", verb: Verb::Stop, does: "stops as SIGTERM does and waits until the master has exited" },
];

/// The verb with this word.
pub fn find(word: &str) -> Option<&'static VerbRow> {
    VERBS.iter().find(|request| request.word == word)
}

/// The verb with this word. The error lists the words that are accepted.
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
