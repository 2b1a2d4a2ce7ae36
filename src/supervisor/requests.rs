//! Who waits for what: a reload that was asked for while another is under way, and the callers that want to know how a
//! reload or the end turns out.

use crate::types::request::CallerId;

/// The requests that have no answer yet.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Requests {
    /// They wait for the reload that is under way.
    pub(super) reload: Vec<CallerId>,
    /// A further reload was asked for meanwhile; these wait for it.
    pub(super) next_reload: Option<Vec<CallerId>>,
    /// They wait for the end.
    pub(super) end: Vec<CallerId>,
}

impl Requests {
    /// One more reload follows the one under way. Says whether this is the first request for it.
    pub fn remember_reload(&mut self, caller: Option<CallerId>) -> bool {
        let first = self.next_reload.is_none();
        self.next_reload.get_or_insert_default().extend(caller);
        first
    }

    /// The remembered reload begins, if there is one: those who asked for it wait for its end now.
    pub fn begin_remembered(&mut self) -> bool {
        let Some(callers) = self.next_reload.take() else { return false };
        self.reload.extend(callers);
        true
    }

    /// The reload under way is over: those who get its outcome.
    pub fn reload_ended(&mut self) -> Vec<CallerId> {
        std::mem::take(&mut self.reload)
    }

    /// No reload comes to its end any more: all who waited for one.
    pub fn no_more_reloads(&mut self) -> Vec<CallerId> {
        let mut callers = self.reload_ended();
        callers.extend(self.next_reload.take().unwrap_or_default());
        callers
    }

    /// This caller has gone away.
    pub fn forget(&mut self, caller: CallerId) {
        let lists = [&mut self.reload, &mut self.end].into_iter().chain(self.next_reload.as_mut());
        lists.for_each(|list| list.retain(|known| *known != caller));
    }
}
