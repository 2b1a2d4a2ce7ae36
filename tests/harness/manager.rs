//! A service manager for sd_notify(3): it receives messages at its own socket, keeps descriptors, and honours barriers.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::pre_exec::inherit;
use super::{FreeDir, SOON, Setup, eventually, free_dir};

/// The received messages, and the kept descriptors by name.
#[derive(Default)]
struct Memory {
    told: Vec<String>,
    store: Vec<(String, OwnedFd)>,
    stop: bool,
}

pub struct Manager {
    path: PathBuf,
    memory: Arc<Mutex<Memory>>,
    thread: Option<JoinHandle<()>>,
    _directory: FreeDir,
}

fn locked(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    pub fn new() -> Manager {
        let directory = free_dir();
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket in a directory of our own");
        // It looks now and then whether it is still wanted.
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time above zero");
        let memory = Arc::new(Mutex::new(Memory::default()));
        let shared = memory.clone();
        let thread = thread::spawn(move || {
            while !locked(&shared).stop {
                if let Some((text, fds)) = receive(&socket) {
                    hear(&mut locked(&shared), text, fds);
                }
            }
        });
        Manager { path, memory, thread: Some(thread), _directory: directory }
    }

    /// All messages so far, one datagram each.
    pub fn told(&self) -> Vec<String> {
        locked(&self.memory).told.clone()
    }

    /// Waits for a datagram that holds this text.
    #[track_caller]
    pub fn wait(&self, text: &str) -> String {
        eventually(&format!("a datagram with {text:?}"), SOON, || {
            let told = self.told();
            told.iter().find(|datagram| datagram.contains(text)).cloned().ok_or(format!("{told:#?}"))
        })
    }

    /// The first lines of all datagrams about a step of the life cycle, such as `READY=1`.
    pub fn turns(&self) -> Vec<String> {
        let told = self.told();
        let firsts = told.iter().filter_map(|datagram| datagram.lines().next().map(str::to_owned));
        firsts.filter(|line| line.ends_with("=1") && !line.starts_with("FDSTORE") && !line.starts_with("BARRIER")).collect()
    }

    /// Receives nothing while `done` runs.
    pub fn while_busy<T>(&self, done: impl FnOnce() -> T) -> T {
        let _held = locked(&self.memory);
        done()
    }

    /// The names of what it keeps.
    pub fn kept(&self) -> Vec<String> {
        locked(&self.memory).store.iter().map(|(name, _)| name.clone()).collect()
    }

    /// A master under this manager, with a store.
    pub fn with_store(&self, setup: Setup) -> Setup {
        self.over(setup).env("FDSTORE", "8")
    }

    /// A master under this manager.
    pub fn over(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", &self.path)
    }

    /// The next run of such a master, which gets the kept descriptors back.
    pub fn again(&self, setup: Setup) -> Setup {
        let store = &locked(&self.memory).store;
        let fds = store.iter().map(|(_, fd)| fd.try_clone().expect("a descriptor")).collect();
        offering(self.with_store(setup), store.iter().map(|(name, _)| name.as_str()), fds)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        locked(&self.memory).stop = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A master to which these sockets are handed over under these names, as sd_listen_fds(3) has it.
pub fn offering<'a>(setup: Setup, names: impl Iterator<Item = &'a str>, fds: Vec<OwnedFd>) -> Setup {
    let names: Vec<&str> = names.collect();
    // Only the process itself knows its pid before the master is executed.
    setup
        .through(["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .env("LISTEN_FDS", fds.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .tune(move |command: &mut Command| inherit(command, fds.into_iter().zip(3..).collect()))
}

/// Like systemd it ignores a datagram of more than 4096 bytes.
fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = cmsg_space!([RawFd; 8]);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let received = match recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Err(errno) => panic!("recvmsg: {errno}"),
    };
    let whole = !received.flags.contains(MsgFlags::MSG_TRUNC);
    let mut fds = Vec::new();
    for message in received.cmsgs().expect("room for all of them") {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // SAFETY: the kernel has just opened them for us.
            fds.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    let count = received.bytes;
    whole.then(|| (String::from_utf8_lossy(&bytes[..count]).into_owned(), fds))
}

/// A barrier's descriptor is closed when this returns.
fn hear(memory: &mut Memory, text: String, fds: Vec<OwnedFd>) {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    let name = value("FDNAME=");
    if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
        memory.store.retain(|(kept, _)| *kept != name);
    }
    if text.lines().any(|line| line == "FDSTORE=1") {
        memory.store.extend(fds.into_iter().map(|fd| (name.clone(), fd)));
    }
    memory.told.push(text);
}
