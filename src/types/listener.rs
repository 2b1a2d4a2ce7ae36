//! The description of an open listener.

use super::one_line::OneLine;

/// The first descriptor of a listener, as systemd's sd_listen_fds(3) and einhorn have it.
pub const FIRST_FD: i32 = 3;

/// An open listener, by the inode of its socket: its place among the others and its name may change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u64);

/// An open listener and the name that log lines have for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ListenerLabel {
    pub id: ListenerId,
    pub uri: OneLine,
}

/// What the handoff variables of a worker say about one of its listeners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The descriptor's number in a worker.
    pub fd: i32,
    pub name: Option<String>,
    /// `host:port`, a bare port for the wildcard, a path, or `@name`.
    pub addr: Vec<u8>,
    /// The address without brackets, `0.0.0.0` or `::` for the wildcard; a path, or `@name`.
    pub host: Vec<u8>,
    /// The port; `None` for a unix socket.
    pub port: Option<u16>,
    pub uri: String,
}
