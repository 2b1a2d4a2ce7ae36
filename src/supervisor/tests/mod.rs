//! Tests of the core: stories, each a sequence of events, and the walk over every order of events.

mod stories;
mod walk;

use std::time::Duration;

use super::*;
use crate::types::listener::ListenerId;
use crate::types::one_line::OneLine;

pub(super) const START: Duration = Duration::from_secs(3);
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn policy(trust: Trust) -> Policy {
    Policy {
        trust,
        check: false,
        settle: Duration::ZERO,
        workers: 1,
        respawn: false,
        stop_signal: Signal::TERM,
        stop_timeout: None,
        group: false,
        ok: vec![],
    }
}

/// The one listener of every story and of every walk.
pub(super) const LISTENER: ListenerId = ListenerId(7);

fn listeners() -> Rc<[ListenerLabel]> {
    Rc::from([ListenerLabel { id: LISTENER, uri: OneLine::from("tcp://[::]:8080") }])
}

pub(super) fn booted(policy: Policy) -> Event {
    Event::Boot { policy, listeners: listeners() }
}

pub(super) fn loaded(policy: Policy) -> Event {
    Event::Loaded { policy, listeners: listeners() }
}

pub(super) fn spawn_error() -> SpawnError {
    SpawnError { status: 127, cause: "cannot execute app: No such file or directory".into() }
}

/// What SIGTERM asks for.
pub(super) const STOP: Request = Request::Stop { with: None, again: Some(Signal::TERM) };
/// What SIGQUIT asks for.
pub(super) const QUIT: Request = Request::Stop { with: Some(Signal::QUIT), again: Some(Signal::QUIT) };

pub(super) fn asked(request: Request) -> Event {
    Event::Requested { request, caller: None }
}
