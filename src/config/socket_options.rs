//! The query part of a listen URI: options of one socket. Pure: nothing is looked up or set here.
//!
//! [`QUERY_KEYS`] is the only place where a key exists: reading, error messages and documentation follow it. The listener
//! matches [`SocketOption`] exhaustively, so an option that is read and never applied does not compile.

use std::fmt;
use std::time::Duration;

use super::suggest::nearest;
use crate::types::account::NameOrId;

/// One `KEY=VALUE` of a query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SocketOption {
    /// How many connections may wait to be accepted.
    Backlog(i32),
    /// Permission bits of a unix path.
    Mode(u32),
    /// The owner of a unix path, not looked up yet.
    User(NameOrId),
    /// The group of a unix path, not looked up yet.
    Group(NameOrId),
    /// For LISTEN_FDNAMES and `{fd:NAME}`.
    Name(String),
    Nonblock(bool),
    V6only(bool),
    /// The one network interface that the socket serves.
    Device(String),
    /// How many connections of TCP Fast Open may wait for the end of their handshake.
    Fastopen(i32),
    /// How many seconds a connection without data may wait before it is accepted all the same.
    Defer(i32),
    Nodelay(bool),
    Rcvbuf(i32),
    Sndbuf(i32),
    /// An address that no interface has yet may be bound.
    Freebind(bool),
    /// How long the start waits for an address that is in use or not there yet.
    Retry(Duration),
}

/// What an address is, as far as it decides which keys go with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// The master opens the socket itself.
    pub own: bool,
    /// Connections are accepted on it.
    pub stream: bool,
    pub inet: bool,
    /// It may be a socket of IPv6.
    pub ipv6: bool,
    /// It has a path.
    pub path: bool,
}

/// A key of the query part.
pub struct QueryKey {
    pub name: &'static str,
    pub value: &'static str,
    pub does: &'static str,
    /// Which endpoints may have it, in words.
    pub goes_with: &'static str,
    /// Completes "not ...".
    accepts: &'static str,
    applies: fn(Traits) -> bool,
    read: fn(&str) -> Option<SocketOption>,
}

const BOOLEAN: &str = "one of 1, 0, true, false";
const NUMBER: &str = "a whole number from 1 to 2147483647";

/// In the order in which they are printed.
pub const QUERY_KEYS: &[QueryKey] = &[
    QueryKey {
        name: "backlog",
        value: "N",
        does: "maximum number of connections that wait to be accepted. The default is the system's maximum",
        goes_with: "tcp and unix",
        accepts: NUMBER,
        applies: |traits| traits.own && traits.stream,
        read: |text| Some(SocketOption::Backlog(positive(text)?)),
    },
    QueryKey {
        name: "mode",
        value: "OCTAL",
        does: "permission bits of the path, such as 0660. The default follows from the umask",
        goes_with: "unix and unixgram paths",
        accepts: "permission bits in octal up to 0777, such as 0660",
        applies: |traits| traits.path,
        read: |text| {
            let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            Some(SocketOption::Mode(u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777)?))
        },
    },
    QueryKey {
        name: "user",
        value: "LOGIN",
        does: "owner of the path: a login or a uid",
        goes_with: "unix and unixgram paths",
        accepts: "a login or a uid",
        applies: |traits| traits.path,
        read: |text| Some(SocketOption::User(account(text)?)),
    },
    QueryKey {
        name: "group",
        value: "GROUP",
        does: "group of the path: a name or a gid",
        goes_with: "unix and unixgram paths",
        accepts: "a group's name or a gid",
        applies: |traits| traits.path,
        read: |text| Some(SocketOption::Group(account(text)?)),
    },
    QueryKey {
        name: "name",
        value: "NAME",
        does: "the name of the listener in `LISTEN_FDNAMES`, and in `{fd:NAME}` of `-env`",
        goes_with: "all",
        accepts: "1 to 255 bytes without colons, white space and control characters",
        applies: |_| true,
        read: |text| is_socket_name(text).then(|| SocketOption::Name(text.to_owned())),
    },
    QueryKey {
        name: "nonblock",
        value: "1",
        does: "set `O_NONBLOCK`, which nginx and Rust's async servers need and which Perl's servers and php-fpm do not tolerate",
        goes_with: "all",
        accepts: BOOLEAN,
        applies: |_| true,
        read: |text| Some(SocketOption::Nonblock(boolean(text)?)),
    },
    QueryKey {
        name: "v6only",
        value: "1",
        does: "with 1, accept IPv6 only; with 0, accept IPv4 too. The default follows from the scheme and the host",
        goes_with: "tcp, tcp6, udp and udp6, unless the host is an IPv4 address",
        accepts: BOOLEAN,
        applies: |traits| traits.ipv6,
        read: |text| Some(SocketOption::V6only(boolean(text)?)),
    },
    QueryKey {
        name: "device",
        value: "IFACE",
        does: "accept connections and datagrams on this network interface only (`SO_BINDTODEVICE`)",
        goes_with: "tcp and udp",
        accepts: "the name of a network interface, 1 to 15 bytes",
        applies: |traits| traits.inet,
        read: |text| is_interface(text).then(|| SocketOption::Device(text.to_owned())),
    },
    QueryKey {
        name: "fastopen",
        value: "N",
        does: "accept data with the first packet of a connection, for at most N unfinished handshakes (`TCP_FASTOPEN`)",
        goes_with: "tcp",
        accepts: NUMBER,
        applies: |traits| traits.inet && traits.stream,
        read: |text| Some(SocketOption::Fastopen(positive(text)?)),
    },
    QueryKey {
        name: "defer",
        value: "SECONDS",
        does: "accept a connection when its first data arrives, or after this time (`TCP_DEFER_ACCEPT`)",
        goes_with: "tcp",
        accepts: NUMBER,
        applies: |traits| traits.inet && traits.stream,
        read: |text| Some(SocketOption::Defer(positive(text)?)),
    },
    QueryKey {
        name: "nodelay",
        value: "1",
        does: "send small writes of accepted connections at once (`TCP_NODELAY`)",
        goes_with: "tcp",
        accepts: BOOLEAN,
        applies: |traits| traits.inet && traits.stream,
        read: |text| Some(SocketOption::Nodelay(boolean(text)?)),
    },
    QueryKey {
        name: "rcvbuf",
        value: "BYTES",
        does: "size of the receive buffer (`SO_RCVBUF`), up to the system's limit, or beyond it with CAP_NET_ADMIN",
        goes_with: "all but fd and systemd",
        accepts: NUMBER,
        applies: |traits| traits.own,
        read: |text| Some(SocketOption::Rcvbuf(positive(text)?)),
    },
    QueryKey {
        name: "sndbuf",
        value: "BYTES",
        does: "size of the send buffer (`SO_SNDBUF`), up to the system's limit, or beyond it with CAP_NET_ADMIN",
        goes_with: "all but fd and systemd",
        accepts: NUMBER,
        applies: |traits| traits.own,
        read: |text| Some(SocketOption::Sndbuf(positive(text)?)),
    },
    QueryKey {
        name: "freebind",
        value: "1",
        does: "bind an address that no interface has yet (`IP_FREEBIND`)",
        goes_with: "tcp and udp",
        accepts: BOOLEAN,
        applies: |traits| traits.inet,
        read: |text| Some(SocketOption::Freebind(boolean(text)?)),
    },
    QueryKey {
        name: "retry",
        value: "MILLIS",
        does: "at start, retry for this time while the address is in use or does not exist. The default is 0",
        goes_with: "all but fd and systemd",
        accepts: "a whole number of milliseconds from 1 to 4294967295",
        applies: |traits| traits.own,
        read: |text| Some(SocketOption::Retry(Duration::from_millis(number::<u32>(text).filter(|millis| *millis > 0)?.into()))),
    },
];

impl SocketOption {
    /// The key and the value, as they stand in a query.
    fn shown(&self) -> (&'static str, String) {
        let account = |account: &NameOrId| match account {
            NameOrId::Name(name) => name.clone(),
            NameOrId::Id(id) => id.to_string(),
        };
        let flag = |on: &bool| u8::from(*on).to_string();
        match self {
            SocketOption::Backlog(length) => ("backlog", length.to_string()),
            SocketOption::Mode(mode) => ("mode", format!("{mode:04o}")),
            SocketOption::User(user) => ("user", account(user)),
            SocketOption::Group(group) => ("group", account(group)),
            SocketOption::Name(name) => ("name", name.clone()),
            SocketOption::Nonblock(on) => ("nonblock", flag(on)),
            SocketOption::V6only(on) => ("v6only", flag(on)),
            SocketOption::Device(name) => ("device", name.clone()),
            SocketOption::Fastopen(length) => ("fastopen", length.to_string()),
            SocketOption::Defer(seconds) => ("defer", seconds.to_string()),
            SocketOption::Nodelay(on) => ("nodelay", flag(on)),
            SocketOption::Rcvbuf(bytes) => ("rcvbuf", bytes.to_string()),
            SocketOption::Sndbuf(bytes) => ("sndbuf", bytes.to_string()),
            SocketOption::Freebind(on) => ("freebind", flag(on)),
            SocketOption::Retry(time) => ("retry", time.as_millis().to_string()),
        }
    }

    /// Whether leaving it out means the same.
    fn is_default(&self) -> bool {
        matches!(self, SocketOption::Nonblock(false) | SocketOption::Nodelay(false) | SocketOption::Freebind(false))
    }
}

/// The query part: each option at most once, in the order of [`QUERY_KEYS`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions(Vec<SocketOption>);

impl SocketOptions {
    /// Reads a query for an address of this kind; the error is the cause and what is accepted, for one line.
    pub fn read(query: &str, traits: Traits) -> Result<SocketOptions, String> {
        let accepted = || QUERY_KEYS.iter().filter(|key| (key.applies)(traits)).map(|key| key.name);
        let mut seen: Vec<(usize, SocketOption)> = Vec::new();
        for pair in query.split('&') {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (pair, None),
            };
            if name.is_empty() {
                return Err(format!("a ? or & without a key behind it; accepted: {}", list(accepted())));
            }
            let Some((place, key)) = QUERY_KEYS.iter().enumerate().find(|(_, key)| key.name == name) else {
                return Err(match nearest(name, accepted()) {
                    Some(near) => format!("unknown key {name}; did you mean {near}?"),
                    None => format!("unknown key {name}; accepted: {}", list(accepted())),
                });
            };
            if !(key.applies)(traits) {
                return Err(format!("{name} goes with {} only; accepted here: {}", key.goes_with, list(accepted())));
            }
            if seen.iter().any(|(known, _)| *known == place) {
                return Err(format!("{name} is given twice"));
            }
            let Some(value) = value else {
                return Err(format!("{name} needs a value; write {name}={}", key.value));
            };
            let option = (key.read)(value).ok_or_else(|| format!("{name}={value}: not {}", key.accepts))?;
            let before = seen.partition_point(|(known, _)| *known < place);
            seen.insert(before, (place, option));
        }
        Ok(SocketOptions(seen.into_iter().map(|(_, option)| option).filter(|option| !option.is_default()).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &SocketOption> {
        self.0.iter()
    }

    pub fn name(&self) -> Option<&str> {
        self.0.iter().find_map(|option| match option {
            SocketOption::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Names the socket, unless it has a name already.
    pub fn name_unless_given(&mut self, name: &str) {
        if self.name().is_none() {
            let before = |option: &SocketOption| {
                matches!(option, SocketOption::Backlog(_) | SocketOption::Mode(_) | SocketOption::User(_) | SocketOption::Group(_))
            };
            let place = self.0.iter().take_while(|option| before(option)).count();
            self.0.insert(place, SocketOption::Name(name.to_owned()));
        }
    }
}

/// The canonical query with its `?`; nothing without options.
impl fmt::Display for SocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (separator, option) in std::iter::once('?').chain(std::iter::repeat('&')).zip(&self.0) {
            let (key, value) = option.shown();
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

/// What may stand in LISTEN_FDNAMES.
pub(super) fn is_socket_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control())
}

/// What the kernel takes for an interface: less than IFNAMSIZ bytes, netdevice(7).
fn is_interface(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control())
}

/// Digits only: no sign, no white space.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn positive(text: &str) -> Option<i32> {
    number::<i32>(text).filter(|number| *number > 0)
}

fn account(text: &str) -> Option<NameOrId> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // The highest number means "leave it as it is" to chown(2).
        return number::<u32>(text).filter(|id| *id < u32::MAX).map(NameOrId::Id);
    }
    (!text.contains(|c: char| c == ':' || c.is_control())).then(|| NameOrId::Name(text.to_owned()))
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

pub(super) fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_into_the_option_that_prints_under_it() {
        let values = ["7", "0660", "www", "1", "eth0"];
        for key in QUERY_KEYS {
            let options: Vec<SocketOption> = values.iter().filter_map(|value| (key.read)(value)).collect();
            assert!(!options.is_empty(), "{}: no value was read", key.name);
            for option in options {
                assert_eq!(option.shown().0, key.name);
                assert_eq!((key.read)(&option.shown().1), Some(option));
            }
        }
    }

    #[test]
    fn a_name_is_given_once_and_stands_in_its_place() {
        let all = Traits { own: true, stream: true, inet: true, ipv6: true, path: true };
        let mut options = SocketOptions::read("retry=5&nonblock=1&backlog=2", all).expect("a query");
        options.name_unless_given("web");
        options.name_unless_given("other");
        assert_eq!(options.to_string(), "?backlog=2&name=web&nonblock=1&retry=5");
        assert_eq!(SocketOptions::read("backlog=2&name=web&nonblock=1&retry=5", all), Ok(options));
    }
}
