//! Open requests: a reload requested during another one, and the callers that wait for the result of a reload or for the
//! exit of the master.

use crate::types::request::CallerId;

/// The requests that have no answer yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Requests {
    /// The callers that wait for the current reload.
    pub(super) reload: Vec<CallerId>,
    /// The callers that wait for the next reload, if one was requested during the current one.
    pub(super) next_reload: Option<Vec<CallerId>>,
    /// The callers that wait for the exit of the master.
    pub(super) end: Vec<CallerId>,
}

impl Requests {
    /// Remembers that another reload follows the current one. Returns whether this is the first request for it.
    pub fn remember_reload(&mut self, caller: Option<CallerId>) -> bool {
        let first = self.next_reload.is_none();
        self.next_reload.get_or_insert_default().extend(caller);
        first
    }

    /// Begins the remembered reload, if there is one. Its callers now wait for the current reload.
    pub fn begin_remembered(&mut self) -> bool {
        let Some(callers) = self.next_reload.take() else { return false };
        self.reload.extend(callers);
        true
    }

    /// Ends the current reload, and returns the callers that get its outcome.
    pub fn reload_ended(&mut self) -> Vec<CallerId> {
        std::mem::take(&mut self.reload)
    }

    /// Returns all callers that wait for a reload, because no reload ends any more.
    pub fn no_more_reloads(&mut self) -> Vec<CallerId> {
        let mut callers = self.reload_ended();
        callers.extend(self.next_reload.take().unwrap_or_default());
        callers
    }

    /// Forgets a caller that has disconnected.
    pub fn forget(&mut self, caller: CallerId) {
        let lists = [&mut self.reload, &mut self.end].into_iter().chain(self.next_reload.as_mut());
        lists.for_each(|list| list.retain(|known| *known != caller));
    }
}
