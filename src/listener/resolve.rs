//! Looks up the names in listeners, hosts, users and groups, before anything is opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::inherit::check_inherited;
use crate::config::listen_uri::{Address, Endpoint, Family, Host};
use crate::config::socket_options::SocketOption;
use crate::error::Error;
use crate::sys::errno::reason;
use crate::sys::user as accounts;
use crate::types::one_line::OneLine;

/// An endpoint with every name looked up.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub(super) endpoint: Endpoint,
    /// In order of preference; only the wildcard has more than one.
    pub(super) addresses: Vec<Wanted>,
    pub(super) settings: Settings,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub address: SocketAddr,
    pub v6only: bool,
}

impl Wanted {
    /// Whether the two addresses exclude each other: only one socket can be bound to them.
    pub fn overlaps(&self, other: &Wanted) -> bool {
        let covers = |one: &Wanted, other: &Wanted| {
            let family = one.address.is_ipv4() == other.address.is_ipv4() || (one.address.is_ipv6() && !one.v6only);
            one.address.ip() == other.address.ip() || (one.address.ip().is_unspecified() && family)
        };
        let port = self.address.port();
        port != 0 && port == other.address.port() && (covers(self, other) || covers(other, self))
    }
}

/// The options of a socket, each in its own place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Settings {
    /// `None`: the system's maximum.
    pub backlog: Option<i32>,
    pub mode: Option<u32>,
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub name: Option<String>,
    pub nonblock: bool,
    /// `None`: as the scheme and host imply.
    pub v6only: Option<bool>,
    pub device: Option<String>,
    pub fastopen: Option<i32>,
    pub defer: Option<i32>,
    pub nodelay: bool,
    pub rcvbuf: Option<i32>,
    pub sndbuf: Option<i32>,
    pub freebind: bool,
    pub retry: Option<Duration>,
}

impl Settings {
    fn of(endpoint: &Endpoint) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        for option in endpoint.options.iter().cloned() {
            match option {
                SocketOption::Backlog(length) => settings.backlog = Some(length),
                SocketOption::Mode(mode) => settings.mode = Some(mode),
                SocketOption::User(user) => settings.owner = Some(accounts::user_id(&user)?),
                SocketOption::Group(group) => settings.group = Some(accounts::group_id(&group)?),
                SocketOption::Name(name) => settings.name = Some(name),
                SocketOption::Nonblock(on) => settings.nonblock = on,
                SocketOption::V6only(on) => settings.v6only = Some(on),
                SocketOption::Device(interface) => settings.device = Some(interface),
                SocketOption::Fastopen(length) => settings.fastopen = Some(length),
                SocketOption::Defer(seconds) => settings.defer = Some(seconds),
                SocketOption::Nodelay(on) => settings.nodelay = on,
                SocketOption::Rcvbuf(bytes) => settings.rcvbuf = Some(bytes),
                SocketOption::Sndbuf(bytes) => settings.sndbuf = Some(bytes),
                SocketOption::Freebind(on) => settings.freebind = on,
                SocketOption::Retry(time) => settings.retry = Some(time),
            }
        }
        Ok(settings)
    }
}

impl Resolved {
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// As it was typed.
    pub fn written(&self) -> &OneLine {
        &self.endpoint.written
    }
}

/// Looks up every name. Also fails if two listeners have the same address.
pub fn resolve(endpoints: &[Endpoint]) -> Result<Vec<Resolved>, Error> {
    for (place, endpoint) in endpoints.iter().enumerate() {
        if let Some(first) = endpoints.iter().take(place).find(|other| is_same(&other.address, &endpoint.address)) {
            let cause = format!("it is the same address as {}, which comes before it", first.written);
            return Err(Error::cannot("listen on", endpoint.written.to_string(), cause));
        }
    }
    endpoints.iter().map(resolve_one).collect()
}

/// Whether only one socket can be bound to this address.
fn is_same(one: &Address, other: &Address) -> bool {
    match (one, other) {
        // Port 0 is another free port each time.
        (Address::Inet { port: 0, .. }, _) => false,
        (Address::Unix { name: one, .. }, Address::Unix { name: other, .. }) => one == other,
        _ => one == other,
    }
}

pub(super) fn resolve_one(endpoint: &Endpoint) -> Result<Resolved, Error> {
    let settings = Settings::of(endpoint)?;
    let addresses = match &endpoint.address {
        Address::Inet { family, host, port, .. } => inet_addresses(endpoint, settings.v6only, *family, host, *port)?,
        Address::Unix { .. } | Address::Activated(_) => Vec::new(),
        Address::Inherited(fd) => {
            check_inherited(&endpoint.written, *fd)?;
            Vec::new()
        }
    };
    Ok(Resolved { endpoint: endpoint.clone(), addresses, settings })
}

fn inet_addresses(endpoint: &Endpoint, v6only: Option<bool>, family: Family, host: &Host, port: u16) -> Result<Vec<Wanted>, Error> {
    let v4 = |ip: Ipv4Addr| Wanted { address: SocketAddr::new(ip.into(), port), v6only: false };
    let v6 = |ip: Ipv6Addr, only: bool| Wanted { address: SocketAddr::new(ip.into(), port), v6only: v6only.unwrap_or(only) };
    Ok(match (host, family) {
        (Host::Any, Family::V4) => vec![v4(Ipv4Addr::UNSPECIFIED)],
        (Host::Any, Family::V6) => vec![v6(Ipv6Addr::UNSPECIFIED, true)],
        // One socket for both families where there is IPv6, else IPv4.
        (Host::Any, Family::Any) if v6only == Some(true) => vec![v6(Ipv6Addr::UNSPECIFIED, true)],
        (Host::Any, Family::Any) => vec![v6(Ipv6Addr::UNSPECIFIED, false), v4(Ipv4Addr::UNSPECIFIED)],
        (Host::Ip(IpAddr::V4(ip)), _) => vec![v4(*ip)],
        (Host::Ip(IpAddr::V6(ip)), family) => vec![v6(*ip, family == Family::V6 || !ip.is_unspecified())],
        (Host::Localhost, Family::V6) => vec![v6(Ipv6Addr::LOCALHOST, true)],
        (Host::Localhost, Family::Any | Family::V4) => vec![v4(Ipv4Addr::LOCALHOST)],
        (Host::Name(name), family) => {
            let cannot = |cause: String| Error::cannot("resolve", format!("{name} of {}", endpoint.written), cause);
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map_err(|error| cannot(reason(&error)))?
                .find(|address| match family {
                    Family::Any => true,
                    Family::V4 => address.is_ipv4(),
                    Family::V6 => address.is_ipv6(),
                })
                .ok_or_else(|| cannot("it has no address of that family".to_owned()))?;
            vec![Wanted { address: found, v6only: v6only.unwrap_or(true) && found.is_ipv6() }]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(uris: &[&str]) -> Result<Vec<Resolved>, String> {
        let endpoints: Vec<Endpoint> = uris.iter().map(|uri| uri.parse().expect(uri)).collect();
        resolve(&endpoints).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_that_is_given_twice_is_named_both_times_as_it_was_written() {
        assert_eq!(
            resolved(&["tcp://:80", "TCP://*:080?name=b"]).expect_err("one address"),
            "cannot listen on TCP://*:080?name=b: it is the same address as tcp://:80, which comes before it"
        );
        assert!(resolved(&["unix:///a", "unixgram:///a"]).is_err(), "a path has room for one socket");
        assert!(resolved(&["unix://@a", "unix://@a"]).is_err());
        for uris in [&["tcp://:0", "tcp://:0"], &["tcp://:80", "udp://:80"], &["unix:///a", "unix://@/a"], &["unix:///a", "unix:///b"]] {
            assert_eq!(resolved(uris).map(|all| all.len()), Ok(2), "{uris:?}");
        }
    }

    #[test]
    fn addresses_overlap_where_one_is_a_part_of_the_other() {
        let overlap = |one: &str, other: &str| {
            let all = resolved(&[one, other]).expect("two addresses");
            all[0].addresses.iter().any(|one| all[1].addresses.iter().any(|other| one.overlaps(other)))
        };
        for (one, other) in [("tcp://:80", "tcp4://127.0.0.1:80"), ("tcp6://[::1]:80", "tcp6://:80"), ("tcp://0.0.0.0:80", "tcp://:80")] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [("tcp4://:80", "tcp6://:80"), ("tcp://127.0.0.1:80", "tcp://[::1]:80"), ("tcp://:80", "tcp://:81")] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }

    #[test]
    fn every_option_has_its_own_place() {
        let all = resolved(&[
            "unix:///a?backlog=1&mode=0640&user=2&group=3&name=n&nonblock=1&rcvbuf=4&sndbuf=5&retry=6",
            "tcp://:1?v6only=1&device=lo&fastopen=7&defer=8&nodelay=1&freebind=1",
        ])
        .expect("numbers need no look-up");
        let unix = Settings {
            backlog: Some(1),
            mode: Some(0o640),
            owner: Some(2),
            group: Some(3),
            name: Some("n".to_owned()),
            nonblock: true,
            rcvbuf: Some(4),
            sndbuf: Some(5),
            retry: Some(Duration::from_millis(6)),
            ..Settings::default()
        };
        let inet = Settings {
            v6only: Some(true),
            device: Some("lo".to_owned()),
            fastopen: Some(7),
            defer: Some(8),
            nodelay: true,
            freebind: true,
            ..Settings::default()
        };
        let settings: Vec<Settings> = all.into_iter().map(|resolved| resolved.settings).collect();
        assert_eq!(settings, [unix, inet]);
    }
}
