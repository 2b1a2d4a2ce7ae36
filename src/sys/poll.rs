//! poll(2): the one way to wait.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// What to wait for, in the order in which it was added.
#[derive(Debug, Default)]
pub struct Wait<'a>(Vec<PollFd<'a>>);

impl<'a> Wait<'a> {
    pub fn readable(&mut self, fds: impl IntoIterator<Item = BorrowedFd<'a>>) {
        self.0.extend(fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    }

    pub fn writable(&mut self, fds: impl IntoIterator<Item = BorrowedFd<'a>>) {
        self.0.extend(fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
    }

    /// Only that its other end goes away.
    pub fn closed(&mut self, fds: impl IntoIterator<Item = BorrowedFd<'a>>) {
        self.0.extend(fds.into_iter().map(|fd| PollFd::new(fd, PollFlags::empty())));
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until one of them is as wanted, closed or broken, or until this time is over; which ones are, in their order.
    /// Nothing is after EINTR: the caller looks at everything anew.
    pub fn ready(mut self, within: Option<Duration>) -> Vec<bool> {
        let within = within.map(TimeSpec::from);
        let any = match ppoll(&mut self.0, within, None) {
            // More than RLIMIT_NOFILE, which somebody has lowered, or no memory for so many: the first, then, must do.
            Err(Errno::EINVAL | Errno::ENOMEM) => ppoll(self.0.get_mut(..1).unwrap_or_default(), within, None),
            counted => counted,
        };
        let any = any.is_ok_and(|count| count > 0);
        self.0.iter().map(|fd| any && fd.any().unwrap_or(true)).collect()
    }
}
