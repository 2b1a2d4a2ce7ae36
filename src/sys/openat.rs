//! openat(2), linkat(2), unlinkat(2), fchownat(2), fchmodat(2), flock(2): files of a directory that is held open. No path is
//! walked twice, and no symbolic link in the place of a file is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::libc::{self, c_long};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, umask};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, unlinkat};

/// fchmodat2(2) of Linux 6.6, the same on every architecture.
const FCHMODAT2: c_long = 452;

/// A directory, for reading where that is allowed: only then can it be locked.
pub fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = match open(path, flags, Mode::empty()) {
        Err(Errno::EACCES) => open(path, flags | OFlag::O_PATH, Mode::empty()),
        opened => opened,
    };
    Ok(File::from(opened?))
}

/// The file itself under this name, a symbolic link as a link: to look at it, and to change it by [`chown`] and [`chmod`].
pub fn entry(directory: &File, name: &OsStr) -> io::Result<File> {
    Ok(File::from(openat(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?))
}

/// What a symbolic link under this name leads to.
pub fn target(directory: &File, name: &OsStr) -> io::Result<File> {
    Ok(File::from(openat(directory, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?))
}

/// Gives a file of this directory a second name in it, which must be free.
pub fn link(directory: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    Ok(linkat(directory, from, directory, to, AtFlags::empty())?)
}

/// Removes a name; of a symbolic link the link.
pub fn unlink(directory: &File, name: &OsStr) -> io::Result<()> {
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Changes owner and group of the file that [`entry`] has opened.
pub fn chown(entry: &File, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    Ok(fchownat(entry, "", owner.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::AT_EMPTY_PATH)?)
}

/// Changes the mode of the file that [`entry`] has opened.
pub fn chmod(entry: &File, mode: u32) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated string that outlives the call; the others are plain numbers.
    let result = unsafe { libc::syscall(FCHMODAT2, entry.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH) };
    if result == 0 {
        return Ok(());
    }
    // Older kernels and seccomp profiles do not know it; /proc leads to the same file.
    let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
    Ok(fchmodat(AT_FDCWD, path.as_str(), Mode::from_bits_truncate(mode as libc::mode_t), FchmodatFlags::FollowSymlink)?)
}

/// Runs `bind` such that a unix socket's path is born with this mode, also for an instant not with another.
///
/// The kernel gives the path the socket's own mode, less the umask. Either of the two would do alone; but a directory with
/// a default ACL ignores the umask, and some sandboxes refuse fchmod(2) of a socket.
pub fn with_mode<T>(socket: &OwnedFd, mode: u32, bind: impl FnOnce() -> T) -> T {
    let wanted = Mode::from_bits_truncate(mode as libc::mode_t);
    let _ = fchmod(socket, wanted);
    let before = umask(Mode::from_bits_truncate(0o777).difference(wanted));
    let bound = bind();
    umask(before);
    bound
}

/// Takes the lock of a directory, flock(2), unless somebody else has it. An error means that it cannot be locked at all.
pub fn try_lock(directory: &File) -> io::Result<bool> {
    // SAFETY: takes plain numbers.
    match Errno::result(unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

pub fn unlock(directory: &File) {
    // SAFETY: takes plain numbers.
    unsafe { libc::flock(directory.as_raw_fd(), libc::LOCK_UN) };
}
