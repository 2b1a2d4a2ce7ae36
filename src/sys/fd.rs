//! open(2), close_range(2), pipe(2), dup(2): which descriptors are open, and under which numbers.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::{fs, io};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{pipe2, read};

use crate::error::Error;

/// The highest descriptor that is closed one by one on a kernel that cannot close a range.
const SEARCH_LIMIT: RawFd = 65_536;

/// Opens those of the descriptors 0, 1 and 2 that are closed, so that no socket gets such a number and is used as standard
/// output.
pub fn fill_standard() -> Result<(), Error> {
    for fd in 0..=2 {
        if !is_open(fd) {
            put_nothing(fd)
                .map_err(|error| Error::cannot("open", format!("descriptor {fd}, which is closed"), super::errno::reason(&error)))?;
        }
    }
    Ok(())
}

/// Puts /dev/null in the place of 0, 1 or 2, whatever is there.
pub fn put_nothing(fd: RawFd) -> io::Result<()> {
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR, nix::sys::stat::Mode::empty());
    // An image may lack /dev/null. The reading end of a pipe without writers reads as empty. It refuses writes as a closed
    // descriptor does, without the SIGPIPE of the writing end.
    let made = null.or_else(|_| pipe2(OFlag::empty()).map(|(reader, _)| reader))?;
    // It stays open as long as the process lives.
    let _ = place(made, fd, false)?.into_raw_fd();
    Ok(())
}

/// The inode that a descriptor leads to, as /proc/PID/fd names it.
pub fn inode(fd: impl AsFd) -> io::Result<u64> {
    let stat = nix::sys::stat::fstat(fd)?;
    #[allow(clippy::useless_conversion, reason = "the type of st_ino is u32 on some targets")]
    Ok(stat.st_ino.into())
}

pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no memory; a closed descriptor answers EBADF.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Closes every descriptor from `first` up but those in `keep`.
pub fn close_from(first: RawFd, keep: &[RawFd]) {
    let mut from = first;
    loop {
        let next = keep.iter().copied().filter(|fd| *fd >= from).min();
        let end = next.unwrap_or(RawFd::MAX);
        if from < end && !close_range(from, end.saturating_sub(1)) {
            return close_one_by_one(first, keep);
        }
        match next {
            Some(next) => from = next.saturating_add(1),
            None => return,
        }
    }
}

fn close_range(first: RawFd, last: RawFd) -> bool {
    // SAFETY: closes descriptors that nobody in this process owns yet: it is called before any is opened.
    // Not every kernel has it, and old seccomp profiles answer EPERM instead of ENOSYS.
    unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0) == 0 }
}

fn close_one_by_one(first: RawFd, keep: &[RawFd]) {
    let listed = fs::read_dir("/proc/self/fd")
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect::<Vec<RawFd>>());
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(SEARCH_LIMIT, |(soft, _)| RawFd::try_from(soft).unwrap_or(SEARCH_LIMIT).min(SEARCH_LIMIT));
    for fd in listed.unwrap_or_else(|_| (first..limit).collect()).into_iter().filter(|fd| *fd >= first && !keep.contains(fd)) {
        // SAFETY: as above; a number that is not open answers EBADF.
        unsafe { libc::close(fd) };
    }
}

/// Moves a descriptor to this number; what was there is closed.
pub fn place(fd: OwnedFd, number: RawFd, close_on_exec: bool) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: dup3(2) takes plain numbers.
    Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), number, flags) })?;
    // SAFETY: the kernel has just opened it for us; callers pass numbers that nobody in this process owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Moves a descriptor to a number from `least` up, close-on-exec, unless it has one already.
pub fn above(fd: OwnedFd, least: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= least { Ok(fd) } else { adopt(fd.as_raw_fd(), least) }
}

/// Takes over a descriptor that the master has inherited, at a number from `least` up, close-on-exec.
pub fn adopt(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes plain numbers.
    let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) })?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A pipe(2), both ends close-on-exec; the end that the master reads never blocks, the end that a worker writes does.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// The current directory as a descriptor, through which it can be entered again without its path. `None` if this process
/// has no permission to search it.
pub fn current_directory() -> Option<OwnedFd> {
    nix::fcntl::open(".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()).ok()
}

/// The type and the mode of a file, fstatat(2). A relative path begins at `directory`, or at the current directory.
pub fn mode_at(directory: Option<BorrowedFd>, path: &Path) -> io::Result<u32> {
    let found = nix::sys::stat::fstatat(directory.unwrap_or(nix::fcntl::AT_FDCWD), path, nix::fcntl::AtFlags::empty())?;
    Ok(found.st_mode)
}

/// read(2); `WouldBlock` where nothing is there just now.
pub fn read_some(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(read(fd, buffer)?)
}

/// How many bytes wait in a pipe, FIONREAD of ioctl(2).
pub fn bytes_waiting(fd: &OwnedFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a local that outlives the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD as _, &raw mut count) };
    if result == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}

/// Whether O_NONBLOCK is set on the open file description, which other processes may share.
pub fn is_nonblocking(fd: &OwnedFd) -> io::Result<bool> {
    Ok(OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?).contains(OFlag::O_NONBLOCK))
}

/// Sets or clears O_NONBLOCK on the open file description, for every process that shares it.
pub fn set_nonblocking(fd: &OwnedFd, nonblocking: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}
