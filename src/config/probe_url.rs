//! The URL of `-probe`: what it means. Pure: nothing is looked up or connected to here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::listen_uri::{Host, host_and_port};
use super::socket_options::number;
use super::suggest::or_one_of;
use crate::types::one_line::OneLine;
use crate::types::socket_name::{SocketName, unix_name};

/// What `-probe` connects to, and whether it sends a request then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeUrl {
    pub target: Target,
    /// `None`: a connection is all that is asked for.
    pub request: Option<HttpRequest>,
    /// As it was typed, for messages.
    pub written: OneLine,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To be tried in this order: a name that stands for several addresses may be bound to one of them only.
    Inet(Vec<SocketAddr>),
    Unix(SocketName),
}

/// A request of HTTP. Neither part holds white space or a control character.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// The host with its port, as the URL has it.
    pub host: String,
    /// The path with its query.
    pub path: String,
}

const SCHEMES: [&str; 3] = ["http", "tcp", "unix"];
const FORMS: &str = "http://HOST:PORT/PATH, tcp://HOST:PORT, unix:///PATH";
const HTTP_PORT: u16 = 80;

impl FromStr for ProbeUrl {
    type Err = String;

    /// Reads a URL; the error is the cause and what is accepted, for one line.
    fn from_str(text: &str) -> Result<ProbeUrl, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("not a URL; accepted are {FORMS}"))?;
        let lower = scheme.to_ascii_lowercase();
        let (target, request) = match lower.as_str() {
            "http" => {
                // RFC 3986: the authority ends at the first of these.
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
                (inet(&lower, authority, Some(HTTP_PORT))?, Some(HttpRequest { host: authority.to_owned(), path: request_path(path)? }))
            }
            "tcp" => (inet(&lower, rest, None)?, None),
            "unix" if rest.contains('?') => return Err("a probe takes no options; nothing but a path may follow unix://".to_owned()),
            "unix" => (Target::Unix(unix_name(rest, "unix:///PATH or unix://@NAME")?), None),
            _ => return Err(format!("unknown scheme {scheme}; {}", or_one_of(&lower, SCHEMES.iter().copied()))),
        };
        Ok(ProbeUrl { target, request, written: OneLine::from(text) })
    }
}

/// `HOST:PORT`. Only what is an address of this host by itself is accepted: no resolver shall choose where a probe connects to.
fn inet(scheme: &str, location: &str, port: Option<u16>) -> Result<Target, String> {
    if location.contains('@') {
        return Err("a user name or a password is never sent; write the host alone".to_owned());
    }
    let (host, written) = host_and_port(scheme, location)?;
    let port = match written {
        None => port.ok_or_else(|| format!("the port is missing; write {scheme}://HOST:PORT"))?,
        Some(text) => number(text).filter(|port| *port > 0).ok_or_else(|| format!("port {text:?}: ports are numbers from 1 to 65535"))?,
    };
    let addresses: &[IpAddr] = match host {
        Host::Ip(address) => &[address],
        Host::Localhost => &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        Host::Any => return Err(format!("the host is missing; write {scheme}://127.0.0.1:{port}")),
        Host::Name(name) => return Err(format!("{name}: names are not looked up; write localhost, or an address of this host")),
    };
    Ok(Target::Inet(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()))
}

/// The path as a request line holds it. A character that could end the line or a word of it is refused.
fn request_path(text: &str) -> Result<String, String> {
    if text.contains('#') {
        return Err("the part after # is never sent; omit it".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("the path holds the character {odd:?}; write it with a percent sign, such as %20 for a space"));
    }
    Ok(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ProbeUrl {
        text.parse().unwrap_or_else(|cause| panic!("{text}: {cause}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<ProbeUrl>().map(|url| panic!("{text} was read as {url:?}")).unwrap_or_else(|cause| cause)
    }

    fn inet(addresses: &[&str]) -> Target {
        Target::Inet(addresses.iter().map(|address| address.parse().expect("an address")).collect())
    }

    #[test]
    fn a_url_of_http_has_a_host_and_may_have_a_port_and_a_path() {
        for (text, address, host, path) in [
            ("http://127.0.0.1:8080/healthz", "127.0.0.1:8080", "127.0.0.1:8080", "/healthz"),
            ("HTTP://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080", "/"),
            ("http://127.0.0.1?x=a/b", "127.0.0.1:80", "127.0.0.1", "/?x=a/b"),
            ("http://[::1]:8080/a:b@c?d=http://e", "[::1]:8080", "[::1]:8080", "/a:b@c?d=http://e"),
            ("http://[::1]/%20//", "[::1]:80", "[::1]", "/%20//"),
            ("http://192.0.2.1/", "192.0.2.1:80", "192.0.2.1", "/"),
        ] {
            let url = read(text);
            assert_eq!(url.target, inet(&[address]), "{text}");
            assert_eq!(url.request, Some(HttpRequest { host: host.to_owned(), path: path.to_owned() }), "{text}");
            assert_eq!(url.written.as_str(), text);
        }
        let localhost = read("http://localhost:8080/");
        assert_eq!(localhost.target, inet(&["127.0.0.1:8080", "[::1]:8080"]));
        assert_eq!(localhost.request.map(|request| request.host), Some("localhost:8080".to_owned()));
    }

    #[test]
    fn a_connection_needs_no_path() {
        assert_eq!(read("tcp://127.0.0.1:1").target, inet(&["127.0.0.1:1"]));
        assert_eq!(read("tcp://[::]:65535").target, inet(&["[::]:65535"]));
        assert_eq!(read("tcp://LocalHost.:80").target, inet(&["127.0.0.1:80", "[::1]:80"]));
        assert_eq!(read("unix:///run/a%20#b").target, Target::Unix(SocketName::Path("/run/a%20#b".into())));
        assert_eq!(read("unix://@a").target, Target::Unix(SocketName::Abstract(b"a".to_vec())));
        for text in ["tcp://127.0.0.1:1", "unix:///a"] {
            assert_eq!(read(text).request, None);
        }
    }

    #[test]
    fn what_no_probe_can_use_is_refused_with_the_cause() {
        for (text, cause) in [
            ("", "not a URL; accepted are http://HOST:PORT/PATH, tcp://HOST:PORT, unix:///PATH"),
            ("127.0.0.1:80", "not a URL"),
            ("/run/a.sock", "not a URL"),
            ("https://127.0.0.1/", "unknown scheme https; did you mean http?"),
            ("ftp://127.0.0.1/", "unknown scheme ftp; "),
            ("http://example.org/", "example.org: names are not looked up"),
            ("tcp://db:5432", "db: names are not looked up"),
            ("http:///healthz", "the host is missing; write http://127.0.0.1:80"),
            ("tcp://:8080", "the host is missing; write tcp://127.0.0.1:8080"),
            ("tcp://*:8080", "the host is missing"),
            ("tcp://127.0.0.1", "the port is missing"),
            ("tcp://127.0.0.1:", "the port is missing"),
            ("tcp://127.0.0.1:80/", "port \"80/\": ports are numbers"),
            ("http://127.0.0.1:0/", "port \"0\": ports are numbers from 1 to 65535"),
            ("http://127.0.0.1:65536/", "port \"65536\""),
            ("http://127.0.0.1:http/", "port \"http\""),
            ("http://[::1]8080/", "the port is missing after the bracket; write http://[::1]:8080"),
            ("http://[::1/", "the bracket around the IPv6 address is not closed"),
            ("http://[fe80::1%eth0]/", "fe80::1%eth0: zones are not supported"),
            ("http://::1:80/", "an IPv6 address needs brackets"),
            ("http://127.1/", "127.1 is not an IPv4 address"),
            ("http://user:secret@127.0.0.1/", "a user name or a password is never sent"),
            ("http://127.0.0.1/#top", "the part after # is never sent"),
            ("http://127.0.0.1/a b", "the path holds the character ' '"),
            ("http://127.0.0.1/a\r\nHost: b", "the path holds the character '\\r'"),
            ("http://127.0.0.1/\u{e9}", "the path holds the character '\u{e9}'"),
            ("http://127.0.0.1 /", "\"127.0.0.1 \" is not a host name"),
            ("unix://run/a", "the path is not absolute"),
            ("unix:///a?mode=0600", "a probe takes no options"),
            ("unix://", "the path is not absolute"),
        ] {
            assert!(refused(text).starts_with(cause), "{text}: {}", refused(text));
        }
    }
}
