//! Paths of unix sockets: taken under a lock, given their mode and owner, put back when they disappear, removed at the end.
//!
//! The directory may belong to another user, or be writable for all, as /tmp is. So the master opens it once and uses that
//! descriptor for every step. It follows no symbolic link in the place of the socket, and changes only files that it knows to
//! be its own.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::open::{Patience, Refusal};
use crate::error::Error;
use crate::sys::errno::{self, reason};
use crate::sys::inotify::{Inotify, Watch};
use crate::sys::socket::{self, Kind};
use crate::sys::{clock, fd as descriptors, openat, peer, user};
use crate::types::one_line::OneLine;
use crate::types::socket_name::{SocketName, UNIX_NAME_MAX};

/// How long to wait for the lock of a directory. Any user may hold that of /tmp for ever, so the master then goes on without.
const LONGEST_LOCK: Duration = Duration::from_secs(3);
const LOCK_STEP: Duration = Duration::from_millis(10);
/// The kernel follows no more symbolic links in a path.
const MOST_LINKS: usize = 40;

/// The identity of a file, which no other file ever has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileId {
    device: u64,
    inode: u64,
    /// The time of the last change. A later file may get the same inode number once this one is closed everywhere.
    modified: (i64, i64),
}

impl FileId {
    fn of(found: &Metadata) -> FileId {
        FileId { device: found.dev(), inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()) }
    }

    /// The same file, if both of them exist now.
    fn is_inode(&self, other: &FileId) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// A directory that is held open.
#[derive(Debug)]
struct Directory {
    fd: File,
    path: PathBuf,
    /// The sockets that this process has bound here.
    bound: RefCell<Vec<FileId>>,
    /// Another process holds the lock and does not release it.
    is_lock_lost: Cell<bool>,
}

/// The target of this absolute path, unless a user other than root and this one may redirect the path.
fn certain_place(path: &Path, links: usize) -> Option<PathBuf> {
    let mut place = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let next = place.join(name);
                let found = fs::symlink_metadata(&next).ok()?;
                place = match found.is_symlink() {
                    true if is_foreign(&found) => return None,
                    true => certain_place(&place.join(fs::read_link(&next).ok()?), links.checked_sub(1)?)?,
                    false if is_open_to_others(&found) => return None,
                    false => next,
                };
            }
            Component::ParentDir => drop(place.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(place)
}

/// Whether a user other than root and this one may replace files in this directory.
fn is_open_to_others(found: &Metadata) -> bool {
    let sticky = found.mode() & 0o1000 != 0;
    is_foreign(found) || (found.mode() & 0o022 != 0 && !sticky)
}

fn is_foreign(found: &Metadata) -> bool {
    found.uid() != 0 && found.uid() != user::own_uid()
}

/// The lock of a directory, until this is dropped.
struct Locked<'a>(&'a Directory);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        openat::unlock(&self.0.fd);
    }
}

impl Directory {
    fn open(path: &Path) -> io::Result<Directory> {
        Ok(Directory {
            fd: openat::open_directory(path)?,
            path: path.to_owned(),
            bound: RefCell::default(),
            is_lock_lost: Cell::new(false),
        })
    }

    /// Whether a user other than root and this one may replace the socket file or redirect the path.
    fn is_shared(&self) -> bool {
        self.fd.metadata().map_or(true, |found| is_open_to_others(&found)) || !self.is_path_certain()
    }

    /// Whether the path leads to this directory. bind(2) walks the path once more. By then the owner of a directory above, or of
    /// a symbolic link in the path, may have redirected it, so that it no longer leads to the open descriptor.
    fn is_path_certain(&self) -> bool {
        std::path::absolute(&self.path).is_ok_and(|path| certain_place(&path, MOST_LINKS).is_some())
    }

    /// A path to this name through /proc, which no user can redirect, if it is short enough for an address.
    fn certain_path(&self, name: &OsStr) -> Option<PathBuf> {
        let here = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        let path = here.join(name);
        (self.is(&fs::metadata(here).ok()?) && path.as_os_str().len() <= UNIX_NAME_MAX).then_some(path)
    }

    /// Whether this is the same file.
    fn is(&self, found: &Metadata) -> bool {
        self.fd.metadata().is_ok_and(|own| FileId::of(&own).is_inode(&FileId::of(found)))
    }

    /// The file with this name, if there is one.
    fn look(&self, name: &OsStr) -> io::Result<Option<Metadata>> {
        match openat::entry(&self.fd, name).and_then(|entry| entry.metadata()) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn identify(&self, name: &OsStr) -> Option<FileId> {
        self.look(name).ok().flatten().map(|found| FileId::of(&found))
    }

    /// Takes the lock of the directory, so that two masters that start never take each other's path for stale. `None` without
    /// read permission, or if another process does not release the lock.
    fn lock(&self, patience: Patience) -> Result<Option<Locked<'_>>, Refusal> {
        let mut waited = Duration::ZERO;
        loop {
            match openat::try_lock(&self.fd) {
                Ok(true) => return Ok(Some(Locked(self))),
                Ok(false) if patience == Patience::Start && !self.is_lock_lost.get() => {
                    patience.pause(LOCK_STEP, || format!("the lock of {}", OneLine::from(self.path.as_path())))?;
                    waited += LOCK_STEP;
                    // Once for all paths of this directory.
                    self.is_lock_lost.set(waited >= LONGEST_LOCK);
                }
                Ok(false) | Err(_) => return Ok(None),
            }
        }
    }
}

/// The directories in use, each opened once.
#[derive(Debug, Default)]
pub struct Directories {
    open: Vec<Weak<Directory>>,
    /// Their descriptors have numbers from here up.
    pub(super) least: RawFd,
}

impl Directories {
    fn get(&mut self, path: &Path) -> io::Result<Rc<Directory>> {
        self.open.retain(|known| known.strong_count() > 0);
        let now = fs::metadata(path)?;
        let is_it = |known: &Rc<Directory>| known.path == path && known.is(&now);
        if let Some(known) = self.open.iter().filter_map(Weak::upgrade).find(is_it) {
            return Ok(known);
        }
        let mut opened = Directory::open(path)?;
        opened.fd = descriptors::above(opened.fd.into(), self.least)?.into();
        let opened = Rc::new(opened);
        self.open.push(Rc::downgrade(&opened));
        Ok(opened)
    }
}

/// A path and the socket that listens there.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub path: &'a Path,
    pub kind: Kind,
    pub owner: Ownership,
    /// Only a stream socket listens.
    pub backlog: Option<i32>,
}

/// Mode and owner of a path; `None` leaves it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ownership {
    pub mode: Option<u32>,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Ownership {
    fn is_of(&self, found: &Metadata) -> bool {
        self.mode.is_none_or(|mode| mode == found.mode() & 0o7777)
            && self.user.is_none_or(|user| user == found.uid())
            && self.group.is_none_or(|group| group == found.gid())
    }

    /// Sets the mode and owner of this file. Needs no privilege if they are right already.
    fn give(&self, path: &Path, entry: &File, found: &Metadata) -> Result<(), Error> {
        let cannot = |verb, error: io::Error| Error::cannot(verb, OneLine::from(path).to_string(), reason(&error));
        if let Some(mode) = self.mode.filter(|mode| *mode != found.mode() & 0o7777) {
            openat::chmod(entry, mode).map_err(|error| cannot("set the mode of", error))?;
        }
        let (user, group) = (self.user.filter(|user| *user != found.uid()), self.group.filter(|group| *group != found.gid()));
        if user.is_some() || group.is_some() {
            openat::chown(entry, user, group).map_err(|error| cannot("set the owner of", error))?;
        }
        Ok(())
    }
}

/// A unix path that leads to a socket of this master. Dropping it removes the path if it still leads there.
#[derive(Debug)]
pub struct UnixPath {
    path: PathBuf,
    directory: Rc<Directory>,
    name: OsString,
    file: FileId,
    /// Whether there is a second name beside the path, from which the path can be restored.
    is_hidden: bool,
    watch: Option<Watch>,
    /// Whether the path stays at the end, because another process keeps the socket.
    left: bool,
    /// Whether the log names the path as lost or taken already.
    told: bool,
}

impl UnixPath {
    /// Binds `socket` to the path, replaces a stale socket there, and listens.
    pub(super) fn claim(socket: &OwnedFd, claim: &Claim, directories: &mut Directories, patience: Patience) -> Result<UnixPath, Refusal> {
        let (parent, name) = split(claim.path)?;
        let directory = directories.get(parent)?;
        let lock = directory.lock(patience)?;
        let address = SocketName::Path(claim.path.to_owned());
        let bind = || match claim.owner.mode {
            Some(mode) => openat::with_mode(socket, mode, || socket::bind_unix(socket, &address)),
            None => socket::bind_unix(socket, &address),
        };
        let mut before = clock::file_time();
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(&directory, name, claim)?;
                before = clock::file_time();
                bind()?;
            }
            bound => bound?,
        }
        // A file that is not known to be the master's own is not removed.
        let not_ours = "the path does not lead to the socket that was just bound there; another user writes to its directory";
        let entry = openat::entry(&directory.fd, name).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Refusal::obstacle(not_ours),
            _ => error.into(),
        })?;
        let found = entry.metadata()?;
        if !is_our_birth(&directory, &found, claim.owner.mode, before) {
            return Err(Refusal::obstacle(not_ours));
        }
        let file = FileId::of(&found);
        directory.bound.borrow_mut().push(file);
        let mut path = UnixPath {
            path: claim.path.to_owned(),
            directory: Rc::clone(&directory),
            name: name.to_owned(),
            file,
            is_hidden: false,
            watch: None,
            left: false,
            told: false,
        };
        // No client can connect before listen(2), so this is in time.
        claim.owner.give(claim.path, &entry, &found)?;
        if let Some(backlog) = claim.backlog {
            socket::listen(socket, backlog)?;
        }
        path.hide(claim.kind);
        drop(lock);
        Ok(path)
    }

    /// Takes over the path of a socket that an earlier run of this master has bound. It stays at the end, since another process
    /// keeps the socket.
    pub(super) fn adopt(claim: &Claim, directories: &mut Directories) -> Result<UnixPath, Refusal> {
        let (parent, name) = split(claim.path)?;
        let directory = directories.get(parent)?;
        let entry = openat::entry(&directory.fd, name)?;
        let found = entry.metadata()?;
        if !claim.owner.is_of(&found) {
            if !is_changeable(&directory, &found) {
                return Err(Refusal::obstacle("another user may write to the directory, so it is not certain whose socket is there"));
            }
            claim.owner.give(claim.path, &entry, &found)?;
        }
        let (path, name) = (claim.path.to_owned(), name.to_owned());
        let file = FileId::of(&found);
        let mut adopted = UnixPath { path, directory, name, file, is_hidden: false, watch: None, left: true, told: false };
        adopted.hide(claim.kind);
        Ok(adopted)
    }

    /// Whether the path leads to a socket that [`UnixPath::adopt`] takes.
    pub(super) fn is_adoptable(path: &Path, owner: Ownership) -> bool {
        let Ok((parent, name)) = split(path) else { return false };
        let Ok(directory) = Directory::open(parent) else { return false };
        let found = directory.look(name).ok().flatten();
        found.is_some_and(|found| found.file_type().is_socket() && (owner.is_of(&found) || is_changeable(&directory, &found)))
    }

    /// Gives the path another mode or owner, while the socket is open.
    pub(super) fn set_ownership(&self, owner: Ownership) -> Result<(), Refusal> {
        let entry = openat::entry(&self.directory.fd, &self.name)?;
        let found = entry.metadata()?;
        // The socket is open, so no other file can have its number.
        if !FileId::of(&found).is_inode(&self.file) {
            return Err(Refusal::obstacle("the path now belongs to another program"));
        }
        Ok(owner.give(&self.path, &entry, &found)?)
    }

    /// The path outlives the master, as the socket does that somebody else keeps.
    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    /// Watches the names of the socket. Without a watch the path is not restored.
    pub(super) fn watch(&mut self, inotify: &Inotify) {
        if self.is_hidden && self.watch.is_none() {
            self.watch = inotify.watch_names(&self.directory.path.join(hidden_name(&self.name))).ok();
        }
    }

    /// Ends the watch, because the socket is closed.
    pub(super) fn unwatch(&mut self, inotify: &Inotify) {
        if let Some(watch) = self.watch.take() {
            inotify.forget(watch);
        }
    }

    #[cfg(test)]
    pub(super) fn directory(&self) -> &Rc<impl Sized> {
        &self.directory
    }

    pub(super) fn watched(&self) -> Option<Watch> {
        self.watch
    }

    /// Restores the path if it has disappeared, and returns the log line about it.
    pub(super) fn tend(&mut self) -> Option<String> {
        let shown = OneLine::from(self.path.as_path());
        let hidden = hidden_name(&self.name);
        let here = match self.directory.look(&self.name) {
            Ok(found) => found.map(|found| FileId::of(&found)),
            Err(error) => return self.once(format!("cannot look at {shown}: {}", reason(&error))),
        };
        match here {
            Some(file) if file.is_inode(&self.file) => {
                self.told = false;
                // A cleaner may have removed the second name.
                if self.directory.identify(&hidden).is_none() {
                    self.is_hidden = openat::link(&self.directory.fd, &self.name, &hidden).is_ok();
                }
                None
            }
            Some(_) => self.once(format!("{shown} now belongs to another program; clients no longer reach this master there")),
            None if !self.is_at(&hidden) => {
                self.once(format!("cannot restore {shown}, which has disappeared: {} has disappeared too", OneLine::from(&*hidden)))
            }
            None => match openat::link(&self.directory.fd, &hidden, &self.name) {
                Ok(()) => {
                    self.told = false;
                    Some(format!("restored {shown}, which had disappeared"))
                }
                Err(error) => self.once(format!("cannot restore {shown}, which has disappeared: {}", reason(&error))),
            },
        }
    }

    /// Whether this name leads to the socket.
    fn is_at(&self, name: &OsStr) -> bool {
        self.directory.identify(name).is_some_and(|file| file.is_inode(&self.file))
    }

    fn once(&mut self, line: String) -> Option<String> {
        (!std::mem::replace(&mut self.told, true)).then_some(line)
    }

    /// Makes the second name. Not every file system can, and then the path is not put back.
    fn hide(&mut self, kind: Kind) {
        let hidden = hidden_name(&self.name);
        let link = || openat::link(&self.directory.fd, &self.name, &hidden);
        self.is_hidden = match link() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Left over from a master that was killed, unless another one still needs it.
                self.is_at(&hidden)
                    || (is_leftover(&self.directory, &hidden, kind)
                        && openat::unlink(&self.directory.fd, &hidden).and_then(|()| link()).is_ok())
            }
            made => made.is_ok(),
        };
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        self.directory.bound.borrow_mut().retain(|file| *file != self.file);
        // A directory that has become read-only keeps its socket: the next start finds it stale and replaces it.
        if !self.left && self.directory.identify(&self.name) == Some(self.file) {
            let _ = openat::unlink(&self.directory.fd, &self.name);
        }
        let hidden = hidden_name(&self.name);
        if self.is_hidden && self.directory.identify(&hidden) == Some(self.file) {
            let _ = openat::unlink(&self.directory.fd, &hidden);
        }
    }
}

/// The second name of a socket, in the same directory. `rm *` leaves it.
fn hidden_name(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".socketmaster");
    hidden
}

/// The directory, and the name in it.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let (parent, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (&b"/"[..], bytes.get(1..).unwrap_or_default()),
        Some(slash) => (bytes.get(..slash).unwrap_or_default(), bytes.get(slash + 1..).unwrap_or_default()),
        None => (&b"."[..], bytes),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(io::Error::from_raw_os_error(errno::EISDIR));
    }
    Ok((Path::new(OsStr::from_bytes(parent)), OsStr::from_bytes(name)))
}

/// Whether what is at the path is the socket that this process has bound there just now, at or after `before`.
///
/// Where only root and this user may write, all the way down, nobody else can have put it there. Elsewhere another user may
/// replace the socket in the instant after bind(2) by a file, a symbolic link, or a link to some socket of ours; to give that
/// away by chown(2) would be to give it to him. What he cannot make is a new socket that belongs to us. What he can move here
/// is an old one that does: hence the time, which he cannot set back on a file of ours; the mode; the number of names, since
/// a hard link of it from elsewhere is a second one; and the sockets that this process has bound here before, which are known.
fn is_our_birth(directory: &Directory, found: &Metadata, mode: Option<u32>, before: (i64, i64)) -> bool {
    if !directory.is_shared() {
        return true;
    }
    // Some file systems keep whole seconds only.
    let born = if found.mtime_nsec() == 0 { (found.mtime(), i64::MAX) } else { (found.mtime(), found.mtime_nsec()) };
    let file = FileId::of(found);
    found.file_type().is_socket()
        && found.uid() == user::own_uid()
        && found.nlink() == 1
        && mode.is_none_or(|mode| mode == found.mode() & 0o7777)
        && born >= before
        && !directory.bound.borrow().iter().any(|known| known.is_inode(&file))
}

/// Whether mode and owner of a socket that was bound long ago may be changed. Only where nobody else may write is it
/// certain that it is the one that is meant.
fn is_changeable(directory: &Directory, found: &Metadata) -> bool {
    found.file_type().is_socket() && !directory.is_shared()
}

/// Removes a stale socket. Any other file at the path is an error and stays.
fn remove_stale(directory: &Directory, name: &OsStr, claim: &Claim) -> Result<(), Refusal> {
    // Gone meanwhile: nothing is in the way any more.
    let Some(found) = directory.look(name)? else { return Ok(()) };
    let kind = found.file_type();
    if kind.is_symlink()
        && let Err(error) = openat::target(&directory.fd, name)
        && errno::is(&error, errno::ELOOP)
    {
        return Err(error.into());
    }
    if !kind.is_socket() {
        let what = if kind.is_symlink() { "a symbolic link" } else { "not a socket" };
        return Err(Refusal::Obstacle { cause: format!("the path exists and is {what}"), hint: Some("remove it or choose another path") });
    }
    // At this very name: the path may lead to somebody else's stale socket by now, and this one may be in use.
    match knock(claim.kind, directory.certain_path(name).as_deref().unwrap_or(claim.path))? {
        // Only the one that was knocked at.
        Listening::Nobody if directory.identify(name) == Some(FileId::of(&found)) => openat::unlink(&directory.fd, name).map_err(|error| {
            Refusal::Obstacle { cause: reason(&error), hint: Some("the socket is stale, but its path cannot be removed") }
        }),
        Listening::Nobody => Ok(()),
        Listening::Somebody(pid) => Err(Refusal::InUse { pid }),
    }
}

/// Whether a second name has been left by a master that is gone.
fn is_leftover(directory: &Directory, hidden: &OsStr, kind: Kind) -> bool {
    let Ok(Some(found)) = directory.look(hidden) else { return false };
    let path = directory.certain_path(hidden).unwrap_or_else(|| directory.path.join(hidden));
    found.file_type().is_socket() && matches!(knock(kind, &path), Ok(Listening::Nobody))
}

/// Whether a process listens on a socket.
enum Listening {
    Nobody,
    /// The pid of the listening process, where it is known.
    Somebody(Option<i32>),
}

/// Connects to find out whether a process has the socket at this path open.
fn knock(kind: Kind, path: &Path) -> io::Result<Listening> {
    let probe = socket::unix(kind)?;
    // A full queue answers EAGAIN then, instead of waiting for a place in it.
    descriptors::set_nonblocking(&probe, true)?;
    Ok(match socket::connect_to(&probe, &SocketName::Path(path.to_owned())) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Listening::Nobody,
        Ok(()) => Listening::Somebody(peer::credentials(&probe).ok().map(|peer| peer.pid).filter(|pid| *pid > 0)),
        Err(_) => Listening::Somebody(None),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        let both =
            |path: &str| split(Path::new(path)).map(|(parent, name)| (parent.display().to_string(), name.display().to_string())).ok();
        let some = |parent: &str, name: &str| Some((parent.to_owned(), name.to_owned()));
        assert_eq!(both("/run/a.sock"), some("/run", "a.sock"));
        assert_eq!(both("/a"), some("/", "a"));
        assert_eq!(both("/run//../x/a"), some("/run//../x", "a"));
        for path in ["/", "/run/", "/run/.", "/run/.."] {
            assert_eq!(both(path), None, "{path}");
        }
    }

    /// A directory that others may write to, and a socket in it.
    #[test]
    fn only_a_new_socket_of_ours_is_taken_for_the_one_just_bound() {
        let path = std::env::temp_dir().join(format!("socketmaster-unit-birth-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a free name");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("ours");
        let directory = Directory::open(&path).expect("a directory");
        assert!(directory.is_shared());
        let before = clock::file_time();
        let _socket = UnixListener::bind(path.join("a")).expect("a free name");
        fs::set_permissions(path.join("a"), PermissionsExt::from_mode(0o640)).expect("ours");
        let look = |name: &str| directory.look(OsStr::new(name)).expect("it is there").expect("it is there");
        let ours = |name: &str, mode, before| is_our_birth(&directory, &look(name), mode, before);
        assert!(ours("a", None, before) && ours("a", Some(0o640), before), "the control");
        assert!(!ours("a", Some(0o666), before), "another mode");
        assert!(!ours("a", None, (before.0 + 3600, before.1)), "bound before");

        fs::write(path.join("file"), "").expect("a file");
        symlink("a", path.join("link")).expect("a link");
        assert!(!ours("file", None, before) && !ours("link", None, before), "no socket");
        fs::hard_link(path.join("a"), path.join("b")).expect("hard links");
        assert!(!ours("a", None, before) && !ours("b", None, before), "a second name");
        fs::remove_file(path.join("b")).expect("it is there");
        if user::own_uid() == 0 {
            std::os::unix::fs::chown(path.join("a"), Some(65534), None).expect("we are root");
            assert!(!ours("a", None, before), "another user's");
            std::os::unix::fs::chown(path.join("a"), Some(0), None).expect("we are root");
        }
        assert!(ours("a", None, before), "the control");
        directory.bound.borrow_mut().push(FileId::of(&look("a")));
        assert!(!ours("a", None, before), "another socket that this process has bound");

        for (mode, is_shared) in [(0o755, false), (0o1777, false), (0o775, true), (0o757, true)] {
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
            assert_eq!(directory.is_shared(), is_shared, "{mode:o}");
        }
        fs::remove_dir_all(&path).expect("it is there");
    }
}
