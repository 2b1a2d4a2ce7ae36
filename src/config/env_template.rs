//! `-env`: variables with placeholders.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::listen_uri::{Address, Endpoint};
use crate::types::environment::Chunk;
use crate::types::listener::{FIRST_FD, Listener};
use crate::types::one_line::OneLine;
use crate::types::process::WorkerPlace;

/// The value of an `-env`, with its placeholders found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Vec<u8>),
    Fd(Which),
    Addr(Which),
    Host(Which),
    Port(Which),
    Uri(Which),
    Fds(Vec<u8>),
    Generation,
    Worker,
    Pid,
}

/// The listener that a placeholder is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Which {
    First,
    Named(String),
}

/// The placeholders of a template, as the documentation shows them.
pub const PLACEHOLDERS: &[(&str, &str)] = &[
    ("{fd} {addr} {uri}", "descriptor, address and URI of the first listener"),
    ("{host} {port}", "its address without brackets, 0.0.0.0 or :: for the wildcard, and its port"),
    ("{fd:NAME} {addr:NAME} {uri:NAME} {host:NAME} {port:NAME}", "the same for the listener with ?name=NAME"),
    ("{fds,}", "all descriptors, separated by the text after fds: here a comma"),
    ("{generation}", "the number of the generation"),
    ("{worker}", "the number of the worker in its generation, from 0"),
    ("{pid}", "the worker's pid"),
    ("{{ }}", "a brace itself"),
];

impl Template {
    /// Finds the placeholders. The error says which one cannot be filled and why.
    pub fn parse(text: &OsStr, listeners: &[Endpoint]) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            match (byte, tail.first()) {
                (b'{', Some(b'{')) | (b'}', Some(b'}')) => {
                    literal.push(byte);
                    rest = tail.get(1..).unwrap_or_default();
                }
                (b'{', _) => {
                    let end = tail.iter().position(|byte| *byte == b'}').ok_or("'{' without '}'; write {{ for the brace itself")?;
                    let (inside, after) = tail.split_at(end);
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(placeholder(inside, listeners)?);
                    rest = after.get(1..).unwrap_or_default();
                }
                (b'}', _) => return Err("'}' without '{'; write }} for the brace itself".to_owned()),
                _ => {
                    literal.push(byte);
                    rest = tail;
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template(parts))
    }

    /// A name in it that none of these listeners has.
    pub fn missing_name(&self, listeners: &[Endpoint]) -> Option<&str> {
        let named = self.0.iter().filter_map(|part| match part {
            Part::Fd(which) | Part::Addr(which) | Part::Host(which) | Part::Port(which) | Part::Uri(which) => match which {
                Which::First => None,
                Which::Named(name) => Some(name.as_str()),
            },
            Part::Text(_) | Part::Fds(_) | Part::Generation | Part::Worker | Part::Pid => None,
        });
        named.into_iter().find(|name| !listeners.iter().any(|endpoint| may_be_named(endpoint, name)))
    }

    /// Filled in for these listeners, which are at 3 and up. In one chunk where no pid is in it, so that the master can read it too.
    pub fn fill(&self, listeners: &[Listener], place: WorkerPlace) -> Vec<Chunk> {
        let of = |which: &Which, pick: fn((i32, &Listener)) -> Vec<u8>| {
            let mut numbered = (FIRST_FD..).zip(listeners);
            let listener = match which {
                Which::First => numbered.next(),
                Which::Named(name) => numbered.find(|(_, listener)| listener.name.as_ref() == Some(name)),
            };
            listener.map(pick).unwrap_or_default()
        };
        let mut chunks = Vec::new();
        let mut known = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => known.extend_from_slice(text),
                Part::Fd(which) => known.extend(of(which, |(fd, _)| fd.to_string().into_bytes())),
                Part::Addr(which) => known.extend(of(which, |(_, listener)| listener.addr.clone())),
                Part::Host(which) => known.extend(of(which, |(_, listener)| listener.host.clone())),
                Part::Port(which) => {
                    known.extend(of(which, |(_, listener)| listener.port.map(|port| port.to_string().into_bytes()).unwrap_or_default()));
                }
                Part::Uri(which) => known.extend(of(which, |(_, listener)| listener.uri.clone().into_bytes())),
                Part::Fds(separator) => {
                    let fds: Vec<Vec<u8>> = (FIRST_FD..).zip(listeners).map(|(fd, _)| fd.to_string().into_bytes()).collect();
                    known.extend(fds.join(separator.as_slice()));
                }
                Part::Generation => known.extend(place.generation.to_string().into_bytes()),
                Part::Worker => known.extend(place.slot.to_string().into_bytes()),
                Part::Pid => chunks.extend([Chunk::Bytes(std::mem::take(&mut known)), Chunk::Pid]),
            }
        }
        chunks.push(Chunk::Bytes(known));
        chunks
    }
}

fn placeholder(inside: &[u8], listeners: &[Endpoint]) -> Result<Part, String> {
    let shown = || format!("{{{}}}", OneLine::from_bytes(inside));
    let (word, name) = match inside.iter().position(|byte| *byte == b':') {
        Some(colon) => (inside.get(..colon).unwrap_or_default(), inside.get(colon + 1..)),
        None => (inside, None),
    };
    let of_listener = |part: fn(Which) -> Part| match name {
        None if listeners.is_empty() => Err(format!("{} needs a listener, and -listen=none was given", shown())),
        None => Ok(part(Which::First)),
        Some(name) => {
            let name = String::from_utf8_lossy(name);
            if listeners.iter().any(|endpoint| may_be_named(endpoint, &name)) {
                Ok(part(Which::Named(name.into_owned())))
            } else {
                Err(format!("{}: no listener has that name; give it one with -listen='...?name={name}'", shown()))
            }
        }
    };
    match (word, name) {
        (b"fd", _) => of_listener(Part::Fd),
        (b"addr", _) => of_listener(Part::Addr),
        (b"host", _) => of_listener(Part::Host),
        (b"port", _) if is_unix(name, listeners) => Err(format!("{}: a unix socket has no port", shown())),
        (b"port", _) => of_listener(Part::Port),
        (b"uri", _) => of_listener(Part::Uri),
        (b"generation", None) => Ok(Part::Generation),
        (b"worker", None) => Ok(Part::Worker),
        (b"pid", None) => Ok(Part::Pid),
        _ => match inside.strip_prefix(b"fds") {
            Some(separator) => Ok(Part::Fds(separator.to_vec())),
            None => Err(format!(
                "unknown placeholder {}; accepted are {}, and {{{{ for a brace itself",
                shown(),
                "{fd} {addr} {host} {port} {uri} {fds,} {generation} {worker} {pid}"
            )),
        },
    }
}

/// Whether the first listener, or the one of this name, is known to be a unix socket.
fn is_unix(name: Option<&[u8]>, listeners: &[Endpoint]) -> bool {
    let endpoint = match name {
        None => listeners.first(),
        Some(name) => {
            let has_it = |endpoint: &&Endpoint| endpoint.options.name().is_some_and(|known| known.as_bytes() == name);
            listeners.iter().find(has_it)
        }
    };
    endpoint.is_some_and(|endpoint| matches!(endpoint.address, Address::Unix { .. }))
}

/// The names of a socket unit's sockets are known only when the service manager passes them.
fn may_be_named(endpoint: &Endpoint, name: &str) -> bool {
    match (endpoint.options.name(), &endpoint.address) {
        (Some(known), _) => known == name,
        (None, Address::Activated(Some(known))) => known == name,
        (None, Address::Activated(None)) => true,
        (None, Address::Inet { .. } | Address::Unix { .. } | Address::Inherited(_)) => false,
    }
}
