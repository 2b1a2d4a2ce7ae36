//! poll(2), the only call in which the master waits.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::resource::{Resource, getrlimit};

use super::clock::timeout;

/// The most descriptors in one part when all of them are too many for one call.
const SMALL_PART: usize = 256;
/// How soon the other parts are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The event that a source is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    Readable,
    Writable,
    /// The other end closes.
    Closed,
}

/// What to wait for, in the order in which it was added.
#[derive(Debug, Default)]
pub struct Wait<'a>(Vec<PollFd<'a>>);

impl<'a> Wait<'a> {
    pub fn add(&mut self, fd: BorrowedFd<'a>, interest: Interest) {
        let flags = match interest {
            Interest::Readable => PollFlags::POLLIN,
            Interest::Writable => PollFlags::POLLOUT,
            Interest::Closed => PollFlags::empty(),
        };
        self.0.push(PollFd::new(fd, flags));
    }

    /// Waits until a source is ready, closed or broken, or until the timeout. Returns for each source, in order, whether it is
    /// ready. After EINTR none is: the caller checks everything again.
    pub fn ready(mut self, within: Option<Duration>) -> Vec<bool> {
        match poll(&mut self.0, within) {
            Err(Errno::EINVAL | Errno::ENOMEM) => self.ready_in_parts(within),
            counted => self.ready_now(counted.is_ok_and(|count| count > 0)),
        }
    }

    fn ready_now(&self, any: bool) -> Vec<bool> {
        self.0.iter().map(|fd| any && fd.any().unwrap_or(true)).collect()
    }

    /// Handles more descriptors than one call takes, because RLIMIT_NOFILE was lowered or memory is short. It checks them part by
    /// part, and can wait for the first part only. It checks the others again soon.
    fn ready_in_parts(mut self, within: Option<Duration>) -> Vec<bool> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(SMALL_PART, |(limit, _)| usize::try_from(limit).unwrap_or(SMALL_PART));
        let part = limit.clamp(1, SMALL_PART);
        if !self.look(part) {
            let within = within.map_or(LOOK_AGAIN, |within| within.min(LOOK_AGAIN));
            let count = part.min(self.0.len());
            let first = self.0.get_mut(..count).unwrap_or_default();
            if poll(first, Some(within)).is_err_and(|errno| errno == Errno::EINVAL) {
                // The limit is 0. After a while the first descriptor, the signals, is taken to be ready.
                let _ = poll(&mut [], Some(within));
                return self.0.iter().enumerate().map(|(index, _)| index == 0).collect();
            }
            self.look(part);
        }
        self.ready_now(true)
    }

    /// Whether one of them is as wanted now.
    fn look(&mut self, part: usize) -> bool {
        let mut any = false;
        for part in self.0.chunks_mut(part) {
            any |= poll(part, Some(Duration::ZERO)).is_ok_and(|count| count > 0);
        }
        any
    }
}

fn poll(fds: &mut [PollFd], within: Option<Duration>) -> nix::Result<i32> {
    ppoll(fds, within.map(timeout), None)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;

    #[test]
    fn in_parts_as_in_one_all_that_is_ready_is_found() {
        let pipes: Vec<(OwnedFd, File)> =
            (0..5).map(|_| crate::sys::fd::pipe().map(|(reader, writer)| (reader, File::from(writer))).expect("a pipe")).collect();
        let wait = || {
            let mut wait = Wait::default();
            pipes.iter().for_each(|(reader, _)| wait.add(reader.as_fd(), Interest::Readable));
            wait
        };
        let found = |ready: Vec<bool>| ready.iter().map(|ready| if *ready { 'x' } else { '.' }).collect::<String>();
        assert_eq!(found(wait().ready(Some(Duration::ZERO))), ".....");
        assert_eq!(found(wait().ready_in_parts(Some(Duration::ZERO))), ".....");
        for index in [1, 4] {
            (&pipes[index].1).write_all(b"x").expect("room");
        }
        assert_eq!(found(wait().ready(None)), ".x..x");
        assert_eq!(found(wait().ready_in_parts(None)), ".x..x");
        let mut parts = wait();
        assert!(parts.look(2));
        assert_eq!(found(parts.ready_now(true)), ".x..x");
    }
}
