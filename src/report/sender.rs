//! Decides whether a process may report for a worker. Pure, except for `look` and `Sender::is_trusted`, which ask the kernel.
//!
//! Root, the master's own user and the user as which the worker was started may report. The program may have changed its
//! user since, so every process of the worker may report as well. In a user namespace that does not know every uid, all
//! strangers read as one and the same uid, the overflow uid. A sender with that uid must be seen to be in the same user
//! namespace.

use crate::sys::peer::{self, PeerCredentials};
use crate::sys::{proc, user};
use crate::types::process::Pid;

/// What this process can tell from a uid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// The master's own.
    own_uid: u32,
    /// The uid that any stranger may have; `None` where the user namespace knows every uid.
    uid_of_strangers: Option<u32>,
}

/// Reads these facts, which never change.
pub fn look() -> Namespace {
    Namespace { own_uid: user::own_uid(), uid_of_strangers: (!peer::every_uid_is_mapped()).then(peer::overflow_uid) }
}

/// The worker in whose name something is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    pub pid: Pid,
    /// The user as which it was started; `None` for the master's own.
    pub uid: Option<u32>,
}

impl Namespace {
    /// Whether this process may report for this worker.
    pub fn trusts(&self, sender: PeerCredentials, worker: Subject) -> bool {
        let pid = Pid::new(sender.pid);
        self.may_report(
            sender.uid,
            worker.uid,
            || pid.is_some_and(peer::shares_our_user_namespace),
            || pid.is_some_and(|pid| proc::belongs_to(pid, worker.pid)),
        )
    }

    /// `is_near`: the sender is in the same user namespace. `is_of_worker`: it is a process of the worker. Both are asked for
    /// only where they matter.
    fn may_report(&self, uid: u32, worker: Option<u32>, is_near: impl FnOnce() -> bool, is_of_worker: impl FnOnce() -> bool) -> bool {
        let is_known = uid == 0 || uid == self.own_uid || Some(uid) == worker;
        let is_sure = self.uid_of_strangers != Some(uid);
        is_known && (is_sure || is_near()) || is_of_worker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 65_534;

    fn verdicts(uid_of_strangers: Option<u32>, uid: u32, worker: Option<u32>) -> (bool, bool, bool) {
        let namespace = Namespace { own_uid: 1000, uid_of_strangers };
        let verdict = |is_near, is_of_worker| namespace.may_report(uid, worker, || is_near, || is_of_worker);
        (verdict(false, false), verdict(true, false), verdict(false, true))
    }

    #[test]
    fn root_the_master_and_the_workers_user_may_report_and_so_may_every_process_of_the_worker() {
        for uid in [0, 1000, 33] {
            assert_eq!(verdicts(None, uid, Some(33)), (true, true, true), "{uid}");
        }
        for uid in [1001, NOBODY] {
            assert_eq!(verdicts(None, uid, Some(33)), (false, false, true), "{uid}");
        }
        assert_eq!(verdicts(None, 33, None), (false, false, true), "the control: no worker was started as 33");
    }

    #[test]
    fn the_uid_of_all_strangers_counts_only_in_our_user_namespace() {
        assert_eq!(verdicts(Some(NOBODY), NOBODY, Some(NOBODY)), (false, true, true));
        assert_eq!(verdicts(Some(NOBODY), NOBODY, None), (false, false, true));
        assert_eq!(verdicts(Some(NOBODY), 1000, None), (true, true, true), "no stranger reads as 1000");
        assert_eq!(verdicts(Some(0), 0, None), (false, true, true));
        assert_eq!(verdicts(None, NOBODY, Some(NOBODY)), (true, true, true), "where every uid is mapped it is a uid like any other");
    }

    #[test]
    fn this_process_may_report_for_itself_and_its_parent_may_not_be_told_by_uid() {
        let own = Pid::new(std::process::id().cast_signed()).expect("a pid");
        let parent = Pid::new(std::os::unix::process::parent_id().cast_signed()).expect("a pid");
        let namespace = Namespace { own_uid: 1, uid_of_strangers: None };
        let trusts =
            |pid: Pid, worker| namespace.trusts(PeerCredentials { pid: pid.as_raw(), uid: 4711 }, Subject { pid: worker, uid: None });
        assert!(trusts(own, own) && trusts(own, parent), "a process belongs to itself and to its ancestors");
        assert!(!namespace.trusts(PeerCredentials { pid: 0, uid: 4711 }, Subject { pid: own, uid: None }));
        assert!(!trusts(Pid::new(1).expect("a pid"), own), "no ancestor belongs to its descendant");
    }
}
