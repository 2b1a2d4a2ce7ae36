//! What there is to know of an open listener.

/// The first descriptor of a listener, as systemd's sd_listen_fds(3) and einhorn have it.
pub const FIRST_FD: i32 = 3;

/// What a worker is told of a listener it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its number in a worker.
    pub fd: i32,
    pub name: Option<String>,
    /// `host:port`, a bare port for the wildcard, a path, or `@name`.
    pub addr: Vec<u8>,
    /// The address without brackets, `0.0.0.0` or `::` for the wildcard; a path, or `@name`.
    pub host: Vec<u8>,
    /// `None` of a unix socket.
    pub port: Option<u16>,
    pub uri: String,
}
