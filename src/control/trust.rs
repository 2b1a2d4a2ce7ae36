//! Decides whether the other end of a connection may be trusted. Pure, except for `look`, which reads /proc.
//!
//! Root and the own user are trusted. In a user namespace that does not know every uid all strangers read as one and the
//! same uid, the overflow uid. If that is a trusted uid, and no file permission keeps strangers out, the other end is trusted
//! only if it is seen to be of the same user namespace.

use std::os::unix::net::UnixStream;

use crate::sys::peer;

/// The facts that tell whether a uid may be any stranger's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// The uid that every unknown uid reads as.
    pub overflow_uid: u32,
    pub every_uid_is_mapped: bool,
    /// Whether the other end is known to be in the same user namespace as this process.
    pub same_user_namespace: bool,
}

/// Reads these facts for the other end of this connection.
pub fn look(stream: &UnixStream) -> Sight {
    let every_uid_is_mapped = peer::every_uid_is_mapped();
    Sight {
        overflow_uid: peer::overflow_uid(),
        every_uid_is_mapped,
        same_user_namespace: every_uid_is_mapped || peer::is_in_our_user_namespace(stream),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Trusted,
    /// Another user.
    Stranger,
    /// It has a trusted uid, and so has every stranger.
    Unseen,
}

/// Whether a caller with this uid may command a master with the uid `own`. `sight` is asked for only where it matters.
pub fn may_command(caller: u32, own: u32, is_abstract: bool, sight: impl FnOnce() -> Sight) -> Verdict {
    if caller != 0 && caller != own { Verdict::Stranger } else { tell_apart(caller, is_abstract, sight) }
}

/// Whether a caller with the uid `own` may believe a master with this uid. Root may command every user's master, and so
/// it believes every user that it can tell from a stranger.
pub fn may_answer(master: u32, own: u32, is_abstract: bool, sight: impl FnOnce() -> Sight) -> Verdict {
    if own == 0 { tell_apart(master, is_abstract, sight) } else { may_command(master, own, is_abstract, sight) }
}

fn tell_apart(uid: u32, is_abstract: bool, sight: impl FnOnce() -> Sight) -> Verdict {
    // The permissions of a path have decided already, in the kernel's own numbers.
    if !is_abstract {
        return Verdict::Trusted;
    }
    let sight = sight();
    if uid != sight.overflow_uid || sight.every_uid_is_mapped || sight.same_user_namespace { Verdict::Trusted } else { Verdict::Unseen }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 65_534;

    fn sight(every_uid_is_mapped: bool, same_user_namespace: bool) -> Sight {
        Sight { overflow_uid: NOBODY, every_uid_is_mapped, same_user_namespace }
    }

    #[test]
    fn only_root_and_the_own_user_may_command() {
        for is_abstract in [false, true] {
            let verdict = |caller, own| may_command(caller, own, is_abstract, || sight(true, false));
            assert_eq!(verdict(0, 1000), Verdict::Trusted);
            assert_eq!(verdict(1000, 1000), Verdict::Trusted);
            assert_eq!(verdict(NOBODY, NOBODY), Verdict::Trusted, "where every uid is mapped it is a uid like any other");
            assert_eq!(verdict(1001, 1000), Verdict::Stranger);
            assert_eq!(verdict(1000, 0), Verdict::Stranger);
        }
    }

    #[test]
    fn a_uid_that_any_stranger_has_must_be_seen_in_our_user_namespace() {
        let verdict = |caller, own, is_abstract, same| may_command(caller, own, is_abstract, || sight(false, same));
        assert_eq!(verdict(NOBODY, NOBODY, true, false), Verdict::Unseen);
        assert_eq!(verdict(NOBODY, NOBODY, true, true), Verdict::Trusted);
        assert_eq!(verdict(NOBODY, NOBODY, false, false), Verdict::Trusted, "the mode of the path has decided");
        assert_eq!(verdict(0, NOBODY, true, false), Verdict::Trusted, "no stranger reads as root");
        assert_eq!(verdict(NOBODY, 1000, true, true), Verdict::Stranger);
        assert_eq!(verdict(1000, 1000, true, false), Verdict::Trusted, "no stranger reads as 1000");
    }

    #[test]
    fn an_overflow_uid_of_root_makes_root_anybody() {
        let verdict = |same| may_command(0, 1000, true, || Sight { overflow_uid: 0, ..sight(false, same) });
        assert_eq!([verdict(false), verdict(true)], [Verdict::Unseen, Verdict::Trusted]);
    }

    #[test]
    fn a_caller_believes_root_and_its_own_user_and_root_believes_every_user_that_it_can_identify() {
        let verdict = |master, own, mapped| may_answer(master, own, true, || sight(mapped, false));
        assert_eq!(verdict(0, 1000, true), Verdict::Trusted);
        assert_eq!(verdict(1000, 1000, true), Verdict::Trusted);
        assert_eq!(verdict(1001, 1000, true), Verdict::Stranger);
        assert_eq!(verdict(1001, 0, false), Verdict::Trusted);
        assert_eq!(verdict(NOBODY, 0, true), Verdict::Trusted);
        assert_eq!(verdict(NOBODY, 0, false), Verdict::Unseen);
        assert_eq!(verdict(NOBODY, NOBODY, false), Verdict::Unseen);
    }
}
