//! errno(3): the error numbers that other rooms tell apart, and how a cause is worded.

use std::io;

use nix::errno::Errno;

use super::rlimit;

pub const ENOENT: i32 = Errno::ENOENT as i32;
pub const ENOTDIR: i32 = Errno::ENOTDIR as i32;
pub const EACCES: i32 = Errno::EACCES as i32;
pub const EINVAL: i32 = Errno::EINVAL as i32;
pub const EISDIR: i32 = Errno::EISDIR as i32;
pub const ENOEXEC: i32 = Errno::ENOEXEC as i32;
/// Too many levels of symbolic links.
pub const ELOOP: i32 = Errno::ELOOP as i32;
/// The address family does not exist here: a kernel without IPv6, say.
pub const EAFNOSUPPORT: i32 = Errno::EAFNOSUPPORT as i32;
/// The address is not one of this host.
pub const EADDRNOTAVAIL: i32 = Errno::EADDRNOTAVAIL as i32;
/// Connecting: nobody listens there.
pub const ECONNREFUSED: i32 = Errno::ECONNREFUSED as i32;
/// Connecting: it goes on without this process.
pub const EINPROGRESS: i32 = Errno::EINPROGRESS as i32;
/// Connecting: a socket of another type is bound there.
pub const EPROTOTYPE: i32 = Errno::EPROTOTYPE as i32;
/// There is no such device: a network interface that comes up later, say.
pub const ENODEV: i32 = Errno::ENODEV as i32;

/// Whether this error is that errno.
pub fn is(error: &io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}

/// The text of strerror(3), without a number.
pub fn description(errno: i32) -> &'static str {
    Errno::from_raw(errno).desc()
}

/// The cause as people read it: without std's "(os error N)", and a shortage with its limit.
pub fn reason(error: &io::Error) -> String {
    let Some(raw) = error.raw_os_error() else { return error.to_string() };
    rlimit::shortage(raw).unwrap_or_else(|| description(raw).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_without_its_number_and_a_shortage_with_its_limit() {
        assert_eq!(reason(&io::Error::from(Errno::ENOENT)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("what")), "what");
        assert!(reason(&io::Error::from(Errno::EMFILE)).starts_with("no more descriptors"));
    }
}
