//! Listen URIs: what they mean and how they are written. Pure: nothing is resolved or opened here.
//!
//! [`SCHEMES`] is the only place where a scheme exists: reading, printing, error messages and documentation all follow it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::socket_options::{SocketOptions, Traits, is_socket_name, list, number};
use super::suggest::nearest;
use crate::types::one_line::OneLine;
use crate::types::socket_name::{SocketName, unix_name};

/// One `-listen`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: Address,
    pub options: SocketOptions,
    /// As it was typed, for messages.
    pub written: OneLine,
}

/// Equal if they mean the same, however they were typed.
impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        self.address == other.address && self.options == other.options
    }
}

impl Eq for Endpoint {}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Inet {
        transport: Transport,
        family: Family,
        host: Host,
        port: u16,
    },
    Unix {
        kind: UnixKind,
        name: SocketName,
    },
    /// A descriptor that the master has inherited.
    Inherited(i32),
    /// The sockets of socket units: those with this name, or all.
    Activated(Option<String>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Which families the scheme allows: `tcp://` any, `tcp4://`, `tcp6://`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Any,
    V4,
    V6,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// Empty or `*`: the wildcard.
    Any,
    Ip(IpAddr),
    /// Known without asking a resolver: musl's has no entry of its own for it.
    Localhost,
    Name(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnixKind {
    Stream,
    Datagram,
}

/// What may stand before `://`.
pub struct Scheme {
    pub name: &'static str,
    /// The whole URI, without a query, in each form that it may have.
    pub forms: &'static [&'static str],
    pub does: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inet(Transport, Family),
    Unix(UnixKind),
    Inherited,
    Activated,
}

/// In the order in which the documentation shows them.
pub const SCHEMES: &[Scheme] = &[
    Scheme {
        name: "tcp",
        forms: &["tcp://HOST:PORT"],
        does: "TCP. Without a host, one socket serves IPv4 and IPv6, if the system has both",
        kind: Kind::Inet(Transport::Tcp, Family::Any),
    },
    Scheme { name: "tcp4", forms: &["tcp4://HOST:PORT"], does: "TCP over IPv4 only", kind: Kind::Inet(Transport::Tcp, Family::V4) },
    Scheme { name: "tcp6", forms: &["tcp6://HOST:PORT"], does: "TCP over IPv6 only", kind: Kind::Inet(Transport::Tcp, Family::V6) },
    Scheme {
        name: "unix",
        forms: &["unix:///PATH", "unix://@NAME"],
        does: "a unix stream socket at an absolute path or with an abstract name",
        kind: Kind::Unix(UnixKind::Stream),
    },
    Scheme { name: "udp", forms: &["udp://HOST:PORT"], does: "UDP, with hosts as for tcp", kind: Kind::Inet(Transport::Udp, Family::Any) },
    Scheme { name: "udp4", forms: &["udp4://HOST:PORT"], does: "UDP over IPv4 only", kind: Kind::Inet(Transport::Udp, Family::V4) },
    Scheme { name: "udp6", forms: &["udp6://HOST:PORT"], does: "UDP over IPv6 only", kind: Kind::Inet(Transport::Udp, Family::V6) },
    Scheme {
        name: "unixgram",
        forms: &["unixgram:///PATH", "unixgram://@NAME"],
        does: "a unix datagram socket at an absolute path or with an abstract name",
        kind: Kind::Unix(UnixKind::Datagram),
    },
    Scheme { name: "fd", forms: &["fd://N"], does: "a socket that socketmaster has inherited as descriptor N", kind: Kind::Inherited },
    Scheme {
        name: "systemd",
        forms: &["systemd:", "systemd:NAME"],
        does: "the sockets of a systemd socket unit that have this name; without a name, all that no other listener names. They keep their order and their names",
        kind: Kind::Activated,
    },
];

impl FromStr for Endpoint {
    type Err = String;

    /// Reads a listen URI; the error is the cause and what is accepted, for one line.
    ///
    /// Paths and names are taken literally: percent signs mean themselves, and only a `?` ends them.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (scheme, rest) = match (text.split_once("://"), text.split_once(':')) {
            // Its sockets have names, and no place.
            (_, Some((scheme, rest))) if scheme.eq_ignore_ascii_case("systemd") => (scheme, rest),
            (Some(parts), _) => parts,
            (None, _) => return Err(without_scheme(text)),
        };
        let lower = scheme.to_ascii_lowercase();
        let Some(scheme) = SCHEMES.iter().find(|known| known.name == lower) else {
            return Err(match nearest(scheme, SCHEMES.iter().map(|known| known.name)) {
                Some(near) => format!("unknown scheme {scheme}; did you mean {near}?"),
                None => format!("unknown scheme {scheme}; accepted: {}", list(SCHEMES.iter().map(|known| known.name))),
            });
        };
        let (location, query) = match rest.split_once('?') {
            Some((location, query)) => (location, Some(query)),
            None => (rest, None),
        };
        let address = match scheme.kind {
            Kind::Inet(transport, family) => inet(scheme.name, transport, family, location)?,
            Kind::Unix(kind) => {
                let name = scheme.name;
                Address::Unix { kind, name: unix_name(location, &format!("{name}:///PATH or {name}://@NAME"))? }
            }
            Kind::Inherited => match number(location) {
                Some(descriptor) => Address::Inherited(descriptor),
                None => return Err(format!("{location:?} is not a descriptor's number, such as fd://3")),
            },
            Kind::Activated if location.is_empty() => Address::Activated(None),
            Kind::Activated if is_socket_name(location) && !location.starts_with('/') => Address::Activated(Some(location.to_string())),
            Kind::Activated => return Err(format!("{location:?} is not a socket's name; write systemd: for all, or systemd:NAME")),
        };
        let options = match query {
            Some(query) => SocketOptions::read(query, address.traits())?,
            None => SocketOptions::default(),
        };
        Ok(Endpoint { address, options, written: OneLine::from(text) })
    }
}

/// The canonical URI; what [`Endpoint::from_str`] has read reads back as the same endpoint.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.options)
    }
}

impl Address {
    /// Which keys of a query go with it.
    fn traits(&self) -> Traits {
        let none = Traits { own: false, stream: false, inet: false, ipv6: false, path: false };
        match self {
            Address::Inet { transport, family, host, .. } => Traits {
                own: true,
                stream: *transport == Transport::Tcp,
                inet: true,
                ipv6: *family != Family::V4 && !matches!(host, Host::Ip(IpAddr::V4(_))),
                ..none
            },
            Address::Unix { kind, name } => {
                Traits { own: true, stream: *kind == UnixKind::Stream, path: matches!(name, SocketName::Path(_)), ..none }
            }
            Address::Inherited(_) | Address::Activated(_) => none,
        }
    }
}

/// The URI without its query.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Address::Inet { transport, family, .. } => Kind::Inet(*transport, *family),
            Address::Unix { kind, .. } => Kind::Unix(*kind),
            Address::Inherited(_) => Kind::Inherited,
            Address::Activated(_) => Kind::Activated,
        };
        let scheme = SCHEMES.iter().find(|known| known.kind == kind).map_or("", |known| known.name);
        match self {
            Address::Inet { host, port, .. } => write!(f, "{scheme}://{host}:{port}"),
            Address::Unix { name, .. } => write!(f, "{scheme}://{name}"),
            Address::Inherited(descriptor) => write!(f, "{scheme}://{descriptor}"),
            Address::Activated(name) => write!(f, "{scheme}:{}", name.as_deref().unwrap_or_default()),
        }
    }
}

/// As it stands in a URI: brackets around IPv6, nothing for the wildcard.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => Ok(()),
            Host::Ip(IpAddr::V4(address)) => address.fmt(f),
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Localhost => f.write_str("localhost"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// The error for an address without a scheme, such as `:8080`, `/run/x.sock` or `unix:/run/x.sock`, which other servers
/// accept. It suggests the URI that was probably meant.
fn without_scheme(text: &str) -> String {
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if SCHEMES.iter().any(|known| known.name == scheme) => (scheme, rest.trim_start_matches('/')),
        _ => (if text.starts_with(['/', '@']) { "unix" } else { "tcp" }, text),
    };
    let location = rest.trim_start_matches('/');
    let candidates = [format!("{scheme}://{location}"), format!("{scheme}://:{location}"), format!("{scheme}:///{location}")];
    match candidates.iter().find(|candidate| !location.is_empty() && candidate.parse::<Endpoint>().is_ok()) {
        Some(cure) => format!("the scheme is missing; write {cure}"),
        None => format!("not a URI; accepted: {}", list(SCHEMES.iter().flat_map(|known| known.forms.iter().copied()))),
    }
}

fn inet(scheme: &str, transport: Transport, family: Family, location: &str) -> Result<Address, String> {
    let missing_port = || format!("the port is missing; write {scheme}://HOST:PORT, with port 0 for any free one");
    if location.contains(',') {
        return Err("a comma does not separate listeners; repeat -listen, or put blanks between them in SOCKETMASTER_LISTEN".to_string());
    }
    let (host, port) = host_and_port(scheme, location)?;
    let port = port.ok_or_else(missing_port)?;
    match (family, &host) {
        (Family::V4, Host::Ip(IpAddr::V6(address))) => Err(format!("{address} is an IPv6 address, {scheme} takes IPv4 only")),
        (Family::V6, Host::Ip(IpAddr::V4(address))) => Err(format!("{address} is an IPv4 address, {scheme} takes IPv6 only")),
        _ if port.contains('/') => Err("nothing but a ? may follow the port".to_string()),
        _ => match number(port) {
            Some(port) => Ok(Address::Inet { transport, family, host, port }),
            None => Err(format!("port {port:?}: ports are numbers from 0 to 65535, service names are not looked up")),
        },
    }
}

/// `HOST:PORT`, with brackets around IPv6. There is no port where the text has none, or an empty one.
pub(super) fn host_and_port<'a>(scheme: &str, location: &'a str) -> Result<(Host, Option<&'a str>), String> {
    let (host, port) = match location.strip_prefix('[') {
        Some(rest) => {
            let Some((literal, port)) = rest.split_once(']') else {
                return Err("the bracket around the IPv6 address is not closed".to_string());
            };
            if literal.contains('%') {
                return Err(format!("{literal}: zones are not supported"));
            }
            let Ok(address) = literal.parse::<Ipv6Addr>() else {
                return Err(format!("[{literal}] is not an IPv6 address"));
            };
            if !port.is_empty() && !port.starts_with(':') {
                return Err(format!("the port is missing after the bracket; write {scheme}://[{literal}]:8080"));
            }
            (Host::Ip(IpAddr::V6(address)), port.strip_prefix(':').unwrap_or_default())
        }
        None => {
            let (host, port) = location.rsplit_once(':').unwrap_or((location, ""));
            if host.contains(':') {
                return Err(format!("an IPv6 address needs brackets; write {scheme}://[::1]:8080"));
            }
            (host_name(host)?, port)
        }
    };
    Ok((host, Some(port).filter(|port| !port.is_empty())))
}

fn host_name(text: &str) -> Result<Host, String> {
    if text.is_empty() || text == "*" {
        return Ok(Host::Any);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(address)));
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    if labels.eq_ignore_ascii_case("localhost") {
        return Ok(Host::Localhost);
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if labels.len() > 253 || !labels.split('.').all(is_label) {
        return Err(format!("{text:?} is not a host name or an address"));
    }
    // inet_aton(3) reads "0", "127.1" or "0x7f.1" as addresses, and so would a resolver: no name ends in such a label.
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit()) || hex.is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(format!("{text} is not an IPv4 address; write four numbers without leading zeros, such as 127.0.0.1"));
    }
    Ok(Host::Name(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::socket_options::{QUERY_KEYS, SocketOption};
    use crate::types::account::NameOrId;

    fn read(text: &str) -> Endpoint {
        text.parse().unwrap_or_else(|cause| panic!("{text}: {cause}"))
    }

    fn refused(text: &str) -> String {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => panic!("{text} was read as {endpoint:?}"),
            Err(cause) => {
                assert!(!cause.contains('\n'), "one line: {cause}");
                cause
            }
        }
    }

    fn inet(transport: Transport, family: Family, host: Host, port: u16) -> Address {
        Address::Inet { transport, family, host, port }
    }

    const FORMS: &[&str] = &[
        "tcp://:8080",
        "tcp://*:0",
        "tcp://127.0.0.1:80",
        "tcp://[::1]:65535",
        "tcp://[::ffff:1.2.3.4]:1",
        "tcp://localhost:80",
        "tcp://LocalHost.:80",
        "tcp://example.org:80",
        "tcp://my_host.:80",
        "tcp4://:80",
        "tcp4://0.0.0.0:80",
        "tcp6://:80",
        "tcp6://[::]:80",
        "TCP://:80",
        "udp://:53",
        "udp4://127.0.0.1:53",
        "udp6://[fe80::1]:53",
        "unix:///run/a.sock",
        "unix:///run/a%20b#c:d=e",
        "unix://@name",
        "unix://@a b",
        "unixgram:///dev/log",
        "unixgram://@log",
        "fd://0",
        "fd://3",
        "fd://007",
    ];

    /// A key's values, good and bad.
    const VALUES: &[(&str, &[&str], &[&str])] = &[
        ("backlog", &["1", "4096", "2147483647", "007"], &["", "0", "-1", "+1", "2147483648", "99999999999", "many", "1 "]),
        ("mode", &["0660", "660", "0", "0777", "0000600"], &["", "0888", "1777", "-1", "+600", "0o660", "rw", "77777777777777777777"]),
        ("user", &["www-data", "33"], &["", "a:b", "a\tb"]),
        ("group", &["adm", "4"], &["", "a:b", "a\nb"]),
        ("name", &["web", "w", "web=1", "\u{e9}"], &["", "a:b", "a b", "a\tb", "a\u{7f}"]),
        ("nonblock", &["1", "0", "true", "false"], &["", "2", "yes", "TRUE"]),
        ("v6only", &["1", "0", "true", "false"], &["", "2", "no", "False"]),
        ("device", &["eth0", "br-1.2@x"], &["", ".", "..", "a/b", "a:1", "a b", "sixteen-letters-"]),
        ("fastopen", &["1", "256"], &["", "0", "-1", "on"]),
        ("defer", &["1", "007"], &["", "0", "-1", "1s"]),
        ("nodelay", &["1", "true"], &["", "2", "on"]),
        ("rcvbuf", &["65536", "1"], &["", "0", "64k", "2147483648"]),
        ("sndbuf", &["65536", "1"], &["", "0", "64k", "2147483648"]),
        ("freebind", &["1", "true"], &["", "2", "on"]),
        ("retry", &["500", "4294967295"], &["", "0", "-1", "1s", "4294967296"]),
    ];

    #[test]
    fn hosts_and_ports_are_read_by_gos_rules() {
        let any = |host, port| inet(Transport::Tcp, Family::Any, host, port);
        assert_eq!(read("tcp://:8080").address, any(Host::Any, 8080));
        assert_eq!(read("tcp://*:8080").address, any(Host::Any, 8080));
        assert_eq!(read("tcp://10.0.0.1:0").address, any(Host::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), 0));
        assert_eq!(read("tcp://[::1]:65535").address, any(Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)), 65535));
        assert_eq!(read("tcp://LOCALHOST.:1").address, any(Host::Localhost, 1));
        assert_eq!(read("tcp://Example.org:1").address, any(Host::Name("Example.org".to_string()), 1));
        assert_eq!(read("tcp4://:1").address, inet(Transport::Tcp, Family::V4, Host::Any, 1));
        assert_eq!(read("tcp6://:1").address, inet(Transport::Tcp, Family::V6, Host::Any, 1));
        assert_eq!(read("udp://:1").address, inet(Transport::Udp, Family::Any, Host::Any, 1));
        assert_eq!(read("udp4://:1").address, inet(Transport::Udp, Family::V4, Host::Any, 1));
        assert_eq!(read("udp6://:1").address, inet(Transport::Udp, Family::V6, Host::Any, 1));
    }

    #[test]
    fn unix_names_are_taken_literally() {
        let stream = |name| Address::Unix { kind: UnixKind::Stream, name };
        assert_eq!(read("unix:///run/a%20b#c").address, stream(SocketName::Path("/run/a%20b#c".into())));
        assert_eq!(read("unix:///a?mode=0600").address, stream(SocketName::Path("/a".into())));
        assert_eq!(read("unix://@a/b").address, stream(SocketName::Abstract(b"a/b".to_vec())));
        assert_eq!(
            read("unixgram://@log").address,
            Address::Unix { kind: UnixKind::Datagram, name: SocketName::Abstract(b"log".to_vec()) }
        );
    }

    #[test]
    fn a_unix_name_may_fill_sun_path_and_no_more() {
        for scheme in ["unix", "unixgram"] {
            for first in ["/", "@"] {
                let letters = if first == "/" { 106 } else { 107 };
                read(&format!("{scheme}://{first}{}", "x".repeat(letters)));
                assert!(refused(&format!("{scheme}://{first}{}", "x".repeat(letters + 1))).contains("the maximum is 107"));
            }
        }
    }

    #[test]
    fn what_is_no_unix_name_is_refused() {
        assert!(refused("unix://run/a.sock").contains("write unix:///PATH"));
        assert!(refused("unixgram://").contains("write unixgram:///PATH"));
        assert!(refused("unix://@").contains("empty"));
        assert!(refused("unix:///a\0b").contains("NUL"));
    }

    #[test]
    fn a_descriptor_is_a_number() {
        assert_eq!(read("fd://3").address, Address::Inherited(3));
        for text in ["fd://", "fd://-1", "fd://+3", "fd://x", "fd://2147483648", "fd://3/", "fd:// 3"] {
            assert!(refused(text).contains("such as fd://3"), "{text}");
        }
    }

    #[test]
    fn a_port_is_a_number_and_must_be_there() {
        for text in ["tcp://localhost", "tcp://localhost:", "tcp://", "tcp://[::1]", "tcp://[::1]:", "tcp://[::1]80", "udp://?name=x"] {
            assert!(refused(text).contains("port is missing"), "{text}");
        }
        for text in ["tcp://:http", "tcp://:65536", "tcp://:-1", "tcp://:+80", "tcp://: 80", "tcp://[::1]:99999"] {
            assert!(refused(text).contains("numbers from 0 to 65535"), "{text}");
        }
        assert!(refused("tcp://:80/").contains("nothing but a ?"));
    }

    #[test]
    fn an_address_of_the_other_family_is_refused() {
        for text in ["tcp4://[::1]:80", "udp4://[::]:80"] {
            assert!(refused(text).contains("takes IPv4 only"), "{text}");
        }
        for text in ["tcp6://127.0.0.1:80", "udp6://0.0.0.0:80"] {
            assert!(refused(text).contains("takes IPv6 only"), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        assert!(refused("tcp://::1:80").contains("brackets"));
        assert!(refused("tcp://[::1:80").contains("not closed"));
        assert!(refused("tcp://[127.0.0.1]:80").contains("not an IPv6 address"));
        assert!(refused("tcp://[fe80::1%eth0]:80").contains("zones"));
        let long = format!("tcp://{}:80", "x".repeat(64));
        for text in ["tcp://a b:80", "tcp://a..b:80", "tcp://.:80", "tcp://user@host:80", "tcp://h\u{e9}:80", "tcp://a/b:80", &long] {
            assert!(refused(text).contains("not a host name"), "{text}");
        }
    }

    #[test]
    fn numeric_forms_that_only_a_resolver_would_read_are_refused() {
        for host in
            ["0", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5", "256.0.0.1", "a.1", "127.0.0.1."]
        {
            assert!(refused(&format!("tcp://{host}:80")).contains("such as 127.0.0.1"), "{host}");
        }
        read("tcp://1.example:80");
        read("tcp://0xyz:80");
    }

    #[test]
    fn an_address_without_a_scheme_is_answered_with_the_whole_uri() {
        for (text, cure) in [
            (":8080", "tcp://:8080"),
            ("8080", "tcp://:8080"),
            ("host:8080", "tcp://host:8080"),
            ("[::1]:8080", "tcp://[::1]:8080"),
            ("tcp:8080", "tcp://:8080"),
            ("tcp::8080", "tcp://:8080"),
            ("udp:host:1", "udp://host:1"),
            ("/run/a.sock", "unix:///run/a.sock"),
            ("@a", "unix://@a"),
            ("unix:/run/a", "unix:///run/a"),
            ("unix:@a", "unix://@a"),
            ("unixgram:run/a", "unixgram:///run/a"),
            ("fd:3", "fd://3"),
            ("127.0.0.1:80?nonblock=1", "tcp://127.0.0.1:80?nonblock=1"),
        ] {
            assert_eq!(refused(text), format!("the scheme is missing; write {cure}"), "{text}");
        }
    }

    #[test]
    fn text_that_is_not_a_uri_is_answered_with_the_accepted_forms() {
        for text in ["", "localhost", "systemd", "none", "a b", "unix:"] {
            assert!(refused(text).contains("accepted: tcp://HOST:PORT, "), "{text}: {}", refused(text));
        }
        assert_eq!(refused("http://:80"), "unknown scheme http; accepted: tcp, tcp4, tcp6, unix, udp, udp4, udp6, unixgram, fd, systemd");
        assert_eq!(refused("tpc://:80"), "unknown scheme tpc; did you mean tcp?");
        assert!(refused("://:80").starts_with("unknown scheme"));
    }

    #[test]
    fn a_socket_unit_s_sockets_are_all_or_those_of_a_name() {
        assert_eq!(read("systemd:").address, Address::Activated(None));
        assert_eq!(read("SystemD:web").address, Address::Activated(Some("web".into())));
        assert_eq!(read("systemd:web?name=a&nonblock=1").to_string(), "systemd:web?name=a&nonblock=1");
        for text in ["systemd://web", "systemd:a:b", "systemd:a b"] {
            assert!(refused(text).contains("is not a socket's name; write systemd: for all, or systemd:NAME"), "{text}: {}", refused(text));
        }
        assert!(refused("systemd:?backlog=5").starts_with("backlog goes with"));
    }

    #[test]
    fn every_key_takes_its_values_and_no_others() {
        assert_eq!(VALUES.len(), QUERY_KEYS.len());
        for (name, good, bad) in VALUES {
            let form = FORMS.iter().find(|form| goes_with(form, name)).unwrap();
            for value in *good {
                read(&format!("{form}?{name}={value}"));
            }
            for value in *bad {
                let cause = form_cause(form, name, value);
                assert!(cause.starts_with(&format!("{name}={value}: not ")), "{cause}");
            }
        }
        let name = "x".repeat(255);
        assert_eq!(read(&format!("fd://3?name={name}")).options.name(), Some(name.as_str()));
        assert!(form_cause("fd://3", "name", &format!("{name}x")).contains("255"));
    }

    fn goes_with(form: &str, key: &str) -> bool {
        !refused(&format!("{form}?{key}=\u{1}")).contains(" only; accepted here: ")
    }

    fn form_cause(form: &str, name: &str, value: &str) -> String {
        match format!("{form}?{name}={value}").parse::<Endpoint>() {
            Ok(endpoint) => panic!("{name}={value} was read as {endpoint:?}"),
            Err(cause) => cause,
        }
    }

    #[test]
    fn keys_are_read_into_their_own_options() {
        let read = |text: &str| read(text).options.iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            read("unix:///a?nonblock=true&name=web&group=33&user=www&mode=0640&backlog=5"),
            [
                SocketOption::Backlog(5),
                SocketOption::Mode(0o640),
                SocketOption::User(NameOrId::Name("www".to_string())),
                SocketOption::Group(NameOrId::Id(33)),
                SocketOption::Name("web".to_string()),
                SocketOption::Nonblock(true),
            ]
        );
        assert_eq!(read("tcp://:1?v6only=0&nonblock=0&nodelay=0&freebind=0"), [SocketOption::V6only(false)]);
        assert_eq!(read("tcp6://:1?v6only=1&device=lo"), [SocketOption::V6only(true), SocketOption::Device("lo".to_string())]);
    }

    #[test]
    fn what_was_typed_is_kept_for_messages_on_one_line() {
        assert_eq!(read("TCP://*:080?nonblock=0").written.as_str(), "TCP://*:080?nonblock=0");
        assert_eq!(read("TCP://*:080?nonblock=0"), read("tcp://:80"), "equal is what means the same");
        for text in ["unix:///a\nb", "unix://@a\u{1b}[2J", "unixgram:///\u{7f}"] {
            assert!(refused(text).contains("it contains a control character"), "{text:?}");
        }
    }

    #[test]
    fn a_key_goes_only_with_what_it_can_change() {
        for text in [
            "tcp://:1?mode=0600",
            "udp://:1?user=a",
            "fd://3?group=a",
            "unix://@a?mode=0600",
            "unixgram://@a?user=a",
            "udp://:1?backlog=1",
            "unixgram:///a?backlog=1",
            "fd://3?backlog=1",
            "tcp4://:1?v6only=1",
            "udp4://:1?v6only=0",
            "unix:///a?v6only=1",
            "fd://3?v6only=1",
            "tcp://127.0.0.1:1?v6only=1",
            "unix:///a?device=lo",
            "fd://3?device=lo",
            "udp://:1?fastopen=1",
            "unix:///a?fastopen=1",
            "udp://:1?defer=1",
            "unix:///a?nodelay=1",
            "fd://3?rcvbuf=1",
            "systemd:?sndbuf=1",
            "unix:///a?freebind=1",
            "fd://3?retry=1",
        ] {
            let cause = refused(text);
            assert!(cause.contains(" only; accepted here: ") && cause.contains("nonblock"), "{text}: {cause}");
        }
    }

    #[test]
    fn a_query_that_is_not_understood_whole_is_refused() {
        assert_eq!(refused("tcp://:1?nonblok=1"), "unknown key nonblok; did you mean nonblock?");
        assert_eq!(
            refused("tcp://:1?ttl=1"),
            "unknown key ttl; accepted: backlog, name, nonblock, v6only, device, fastopen, defer, nodelay, rcvbuf, sndbuf, freebind, retry"
        );
        assert_eq!(refused("tcp://:1?name=a&name=a"), "name is given twice");
        assert_eq!(refused("tcp://:1?backlog"), "backlog needs a value; write backlog=N");
        for text in ["tcp://:1?", "tcp://:1?name=a&", "tcp://:1?&name=a", "tcp://:1?=a"] {
            assert!(refused(text).starts_with("a ? or & without a key"), "{text}");
        }
        assert!(refused("tcp://:1?name=a?b=c&x=1").contains("unknown key x"));
    }

    #[test]
    fn every_endpoint_reads_back_from_what_it_prints() {
        let mut seen = 0;
        for form in FORMS {
            let plain = read(form);
            let keys: Vec<_> = VALUES.iter().filter(|(name, ..)| goes_with(form, name)).collect();
            // Few keys at a time, or nearly all of them.
            let is_wanted = |chosen: &usize| chosen.count_ones() <= 3 || chosen.count_ones() as usize + 1 >= keys.len();
            for chosen in (0..1_usize << keys.len()).filter(is_wanted) {
                let pairs = keys.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
                for pick in 0..2 {
                    let query: Vec<String> = pairs.clone().rev().map(|(_, (name, good, _))| format!("{name}={}", good[pick])).collect();
                    let text = if query.is_empty() { form.to_string() } else { format!("{form}?{}", query.join("&")) };
                    let endpoint = read(&text);
                    assert_eq!(endpoint.to_string().parse(), Ok(endpoint.clone()), "{text} printed as {endpoint}");
                    assert_eq!(endpoint.address, plain.address);
                    seen += 1;
                }
            }
        }
        assert!(seen > 500, "{seen}");
    }

    #[test]
    fn the_printed_form_is_canonical() {
        for (text, canonical) in [
            ("TCP://*:080", "tcp://:80"),
            ("tcp://LOCALHOST.:1", "tcp://localhost:1"),
            ("tcp6://[0:0::1]:1", "tcp6://[::1]:1"),
            ("fd://007", "fd://7"),
            ("unix:///a?nonblock=0", "unix:///a"),
            ("unix:///a?nonblock=true&mode=660&backlog=07", "unix:///a?backlog=7&mode=0660&nonblock=1"),
            ("tcp://:1?v6only=false", "tcp://:1?v6only=0"),
        ] {
            assert_eq!(read(text).to_string(), canonical);
        }
    }

    #[test]
    fn a_slip_of_the_keys_is_understood() {
        let known = || ["listen", "start", "stop-signal", "stop-timeout", "h"].into_iter();
        for (typed, meant) in [
            ("strat", "start"),
            ("Listen", "listen"),
            ("lisen", "listen"),
            ("liisten", "listen"),
            ("lishen", "listen"),
            ("stop-timout", "stop-timeout"),
            ("timeout", "stop-timeout"),
            ("stop-sig", "stop-signal"),
        ] {
            assert_eq!(nearest(typed, known()), Some(meant), "{typed}");
        }
        for typed in ["", "s", "xx", "ready", "workers", &"x".repeat(100_000)] {
            assert_eq!(nearest(typed, known()), None, "{typed}");
        }
    }
}
