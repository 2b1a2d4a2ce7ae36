//! inotify(7): changes of files, without looking at them again and again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify as Kernel};

/// Watches of files. Reading never blocks.
#[derive(Debug)]
pub struct Inotify(Kernel);

/// A watch of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch(nix::sys::inotify::WatchDescriptor);

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    These(Vec<Watch>),
    /// More than the queue could hold.
    Anything,
}

impl Inotify {
    pub fn open() -> io::Result<Inotify> {
        Ok(Inotify(Kernel::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// The same at a number from `least` up.
    pub fn at_least(self, least: i32) -> io::Result<Inotify> {
        let moved: OwnedFd = super::fd::above(OwnedFd::from(self.0), least)?;
        // SAFETY: it is the inotify descriptor that was just given up, under another number.
        Ok(Inotify(unsafe { Kernel::from_owned_fd(moved) }))
    }

    /// Watches the names of the file at this path, not its content: a name was added, removed or changed. A symbolic link
    /// is not followed.
    pub fn watch_names(&self, path: &Path) -> io::Result<Watch> {
        let names = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_DELETE_SELF;
        Ok(Watch(self.0.add_watch(path, names | AddWatchFlags::IN_DONT_FOLLOW)?))
    }

    /// Ends a watch; none that has ended already is an error.
    pub fn forget(&self, watch: Watch) {
        let _ = self.0.rm_watch(watch.0);
    }

    /// Takes all that waits.
    pub fn changes(&self) -> Changed {
        let mut changed = Vec::new();
        loop {
            match self.0.read_events() {
                Ok(events) if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) => return Changed::Anything,
                Ok(events) if events.is_empty() => return Changed::These(changed),
                Ok(events) => {
                    for watch in events.into_iter().map(|event| Watch(event.wd)) {
                        if !changed.contains(&watch) {
                            changed.push(watch);
                        }
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return Changed::These(changed),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
