//! What a worker's environment holds: which variables of the master go, which protocols tell of the sockets,
//! what `-env` adds. Pure: descriptors, addresses and the master's environment come in as data.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::endpoint::{Address, Endpoint};
use crate::ids::Generation;

/// The first descriptor of a listener, as systemd's sd_listen_fds(3) and einhorn have it.
pub const FIRST_FD: i32 = 3;

/// A way of telling a program about its sockets.
pub struct Protocol {
    pub name: &'static str,
    /// The variables, as the documentation shows them.
    pub variables: &'static str,
    variables_of: fn(&[Listener], Generation) -> Vec<Variable>,
}

/// In the order in which the documentation lists them.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "einhorn-fds",
        variables: "EINHORN_FDS=3: always the one number 3, also with several listeners, as the original set it",
        variables_of: |_, _| vec![Variable::text("EINHORN_FDS", FIRST_FD.to_string())],
    },
    Protocol {
        name: "systemd",
        variables: "LISTEN_FDS, LISTEN_PID (the worker's own pid), LISTEN_FDNAMES: see sd_listen_fds(3)",
        variables_of: |listeners, _| {
            let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_deref().unwrap_or("unknown")).collect();
            vec![
                Variable::text("LISTEN_FDS", listeners.len().to_string()),
                Variable { key: "LISTEN_PID".into(), value: vec![Chunk::Pid] },
                Variable::text("LISTEN_FDNAMES", names.join(":")),
            ]
        },
    },
    Protocol {
        name: "server-starter",
        variables: "SERVER_STARTER_PORT (host:port=3;/path=4, the addresses really bound), SERVER_STARTER_GENERATION",
        variables_of: |listeners, generation| {
            let ports: Vec<Vec<u8>> =
                listeners.iter().map(|listener| [listener.addr.as_slice(), format!("={}", listener.fd).as_bytes()].concat()).collect();
            vec![
                Variable::bytes("SERVER_STARTER_PORT", ports.join(&b';')),
                Variable::text("SERVER_STARTER_GENERATION", generation.to_string()),
            ]
        },
    },
];

/// The protocols in use, as a set over [`PROTOCOLS`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocols(Vec<&'static str>);

impl Default for Protocols {
    fn default() -> Protocols {
        Protocols(PROTOCOLS.iter().map(|protocol| protocol.name).collect())
    }
}

impl Protocols {
    /// Reads a comma-separated list of names, or `none`.
    pub fn parse(list: &str) -> Result<Protocols, String> {
        let accepted = || {
            let names: Vec<&str> = PROTOCOLS.iter().map(|protocol| protocol.name).collect();
            format!("accepted are none, or a list of {}", names.join(", "))
        };
        if list == "none" {
            return Ok(Protocols(Vec::new()));
        }
        list.split(',')
            .map(|word| match PROTOCOLS.iter().find(|protocol| protocol.name == word) {
                Some(protocol) => Ok(protocol.name),
                None if word == "none" => Err("none stands alone".to_owned()),
                None => Err(format!("unknown protocol '{word}'; {}", accepted())),
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Protocols)
    }
}

/// What a worker is told of a listener it holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub fd: i32,
    pub name: Option<String>,
    /// `host:port`, a bare port for the wildcard, a path, or `@name`.
    pub addr: Vec<u8>,
    pub uri: String,
}

/// A piece of a variable's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chunk {
    Bytes(Vec<u8>),
    /// The worker's own pid, which only the worker knows: written between fork and exec.
    Pid,
}

/// `KEY=` and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variable {
    pub key: OsString,
    pub value: Vec<Chunk>,
}

impl Variable {
    fn text(key: &str, value: String) -> Variable {
        Variable::bytes(key, value.into_bytes())
    }

    fn bytes(key: impl Into<OsString>, value: Vec<u8>) -> Variable {
        Variable { key: key.into(), value: vec![Chunk::Bytes(value)] }
    }
}

/// The value of an `-env`, with its placeholders found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Vec<u8>),
    Fd(Which),
    Addr(Which),
    Uri(Which),
    Fds(Vec<u8>),
    Generation,
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
    ("{fd:NAME} {addr:NAME} {uri:NAME}", "the same of the listener with ?name=NAME"),
    ("{fds,}", "all descriptors, with the text after 'fds' between them"),
    ("{generation}", "the number of the generation"),
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
            Part::Fd(Which::Named(name)) | Part::Addr(Which::Named(name)) | Part::Uri(Which::Named(name)) => Some(name.as_str()),
            _ => None,
        });
        named.into_iter().find(|name| !listeners.iter().any(|endpoint| may_be_named(endpoint, name)))
    }

    /// In one chunk where no pid is in it, so that the master can read it too.
    fn fill(&self, listeners: &[Listener], generation: Generation) -> Vec<Chunk> {
        let of = |which: &Which, pick: fn(&Listener) -> Vec<u8>| {
            let listener = match which {
                Which::First => listeners.first(),
                Which::Named(name) => listeners.iter().find(|listener| listener.name.as_ref() == Some(name)),
            };
            listener.map(pick).unwrap_or_default()
        };
        let mut chunks = Vec::new();
        let mut known = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => known.extend_from_slice(text),
                Part::Fd(which) => known.extend(of(which, |listener| listener.fd.to_string().into_bytes())),
                Part::Addr(which) => known.extend(of(which, |listener| listener.addr.clone())),
                Part::Uri(which) => known.extend(of(which, |listener| listener.uri.clone().into_bytes())),
                Part::Fds(separator) => {
                    let fds: Vec<Vec<u8>> = listeners.iter().map(|listener| listener.fd.to_string().into_bytes()).collect();
                    known.extend(fds.join(separator.as_slice()));
                }
                Part::Generation => known.extend(generation.to_string().into_bytes()),
                Part::Pid => chunks.extend([Chunk::Bytes(std::mem::take(&mut known)), Chunk::Pid]),
            }
        }
        chunks.push(Chunk::Bytes(known));
        chunks
    }
}

fn placeholder(inside: &[u8], listeners: &[Endpoint]) -> Result<Part, String> {
    let shown = || format!("{{{}}}", String::from_utf8_lossy(inside));
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
        (b"uri", _) => of_listener(Part::Uri),
        (b"generation", None) => Ok(Part::Generation),
        (b"pid", None) => Ok(Part::Pid),
        _ => match inside.strip_prefix(b"fds") {
            Some(separator) => Ok(Part::Fds(separator.to_vec())),
            None => Err(format!(
                "unknown placeholder {}; accepted are {}, and {{{{ for a brace itself",
                shown(),
                "{fd} {addr} {uri} {fds,} {generation} {pid}"
            )),
        },
    }
}

/// What a socket unit offers is known only when it is offered.
fn may_be_named(endpoint: &Endpoint, name: &str) -> bool {
    match (&endpoint.options.name, &endpoint.address) {
        (Some(known), _) | (None, Address::Activated(Some(known))) => known == name,
        (None, Address::Activated(None)) => true,
        (None, Address::Inet { .. } | Address::Unix { .. } | Address::Inherited(_)) => false,
    }
}

/// Variables of a life that is not the worker's: they would point it at sockets, parents and watchdogs it does not have.
/// Of LISTEN_* only the protocol's own names: LISTEN_ADDR and LISTEN_PORT are the settings of many a program.
fn is_stale(key: &[u8]) -> bool {
    const PREFIXES: &[&[u8]] = &[b"SOCKETMASTER_", b"EINHORN_", b"SERVER_STARTER_", b"LISTEN_FD", b"LISTEN_PID", b"WATCHDOG_"];
    matches!(key, b"NOTIFY_SOCKET" | b"FDSTORE") || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The recipe of every worker's environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handoff {
    base: Vec<Variable>,
    protocols: Protocols,
    templates: Vec<(OsString, Template)>,
    listeners: Vec<Listener>,
}

impl Handoff {
    /// `inherited` is the master's environment, `user` what belongs to the user that the workers run as.
    pub fn new(
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        user: Vec<(OsString, OsString)>,
        protocols: Protocols,
        templates: Vec<(OsString, Template)>,
        listeners: Vec<Listener>,
    ) -> Handoff {
        let own = |(key, value): (OsString, OsString)| Variable::bytes(key, value.into_vec());
        let mut base: Vec<Variable> = inherited.into_iter().filter(|(key, _)| !is_stale(key.as_bytes())).map(own).collect();
        set(&mut base, user.into_iter().map(own));
        Handoff { base, protocols, templates, listeners }
    }

    /// The environment of a worker of that generation.
    pub fn environment(&self, generation: Generation) -> Vec<Variable> {
        let mut environment = self.base.clone();
        if !self.listeners.is_empty() {
            let chosen = PROTOCOLS.iter().filter(|protocol| self.protocols.0.contains(&protocol.name));
            set(&mut environment, chosen.flat_map(|protocol| (protocol.variables_of)(&self.listeners, generation)));
        }
        let templates = self.templates.iter();
        set(
            &mut environment,
            templates.map(|(key, template)| Variable { key: key.clone(), value: template.fill(&self.listeners, generation) }),
        );
        environment
    }
}

/// A variable of an environment; an empty one is as good as none.
pub fn variable<'a>(environment: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
}

/// The PATH of such an environment: where the program is looked for.
pub fn path_in(environment: &[Variable]) -> Option<&OsStr> {
    let path = environment.iter().find(|variable| variable.key == "PATH")?;
    match path.value.as_slice() {
        [Chunk::Bytes(path)] => Some(OsStr::from_bytes(path)),
        _ => None,
    }
}

fn set(environment: &mut Vec<Variable>, variables: impl IntoIterator<Item = Variable>) {
    for variable in variables {
        environment.retain(|known| known.key != variable.key);
        environment.push(variable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(uris: &[&str]) -> Vec<Endpoint> {
        uris.iter().map(|uri| uri.parse().unwrap()).collect()
    }

    fn listeners() -> Vec<Listener> {
        vec![
            Listener { fd: 3, name: None, addr: b"127.0.0.1:80".to_vec(), uri: "tcp://127.0.0.1:80".into() },
            Listener { fd: 4, name: Some("admin".into()), addr: b"/run/a.sock".to_vec(), uri: "unix:///run/a.sock".into() },
        ]
    }

    /// What the worker sees, with its pid written as PID.
    fn shown(environment: &[Variable]) -> Vec<String> {
        environment
            .iter()
            .map(|variable| {
                let value: Vec<u8> = variable
                    .value
                    .iter()
                    .flat_map(|chunk| match chunk {
                        Chunk::Bytes(bytes) => bytes.clone(),
                        Chunk::Pid => b"PID".to_vec(),
                    })
                    .collect();
                format!("{}={}", variable.key.display(), String::from_utf8_lossy(&value))
            })
            .collect()
    }

    fn filled(template: &str) -> Result<String, String> {
        let template = Template::parse(OsStr::new(template), &endpoints(&["tcp://127.0.0.1:80", "unix:///run/a.sock?name=admin"]))?;
        let variable = Variable { key: "K".into(), value: template.fill(&listeners(), Generation(2)) };
        Ok(shown(&[variable])[0]["K=".len()..].to_owned())
    }

    #[test]
    fn every_protocol_tells_all_it_promises() {
        let handoff = Handoff::new([], vec![], Protocols::default(), vec![], listeners());
        assert_eq!(
            shown(&handoff.environment(Generation(2))),
            [
                "EINHORN_FDS=3",
                "LISTEN_FDS=2",
                "LISTEN_PID=PID",
                "LISTEN_FDNAMES=unknown:admin",
                "SERVER_STARTER_PORT=127.0.0.1:80=3;/run/a.sock=4",
                "SERVER_STARTER_GENERATION=2"
            ]
        );
    }

    #[test]
    fn without_a_listener_no_protocol_tells_anything() {
        assert!(Handoff::new([], vec![], Protocols::default(), vec![], vec![]).environment(Generation(1)).is_empty());
    }

    #[test]
    fn a_chosen_protocol_stands_alone() {
        let of = |list| shown(&Handoff::new([], vec![], Protocols::parse(list).unwrap(), vec![], listeners()).environment(Generation(1)));
        assert_eq!(of("einhorn-fds"), ["EINHORN_FDS=3"]);
        assert_eq!(of("none"), [""; 0]);
        assert_eq!(of("server-starter,einhorn-fds").len(), 3);
        for list in ["", "einhorn", "none,systemd", "systemd,"] {
            assert!(Protocols::parse(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn stale_variables_go_and_all_others_stay_as_they_were() {
        let inherited = [
            ("PATH", "/bin"),
            ("EINHORN_FDS", "7"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "1"),
            ("LISTEN_PIDFDID", "9"),
            ("LISTEN_FDNAMES", "x"),
            ("SOCKETMASTER_START", "1"),
            ("SERVER_STARTER_PORT", "1"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("WATCHDOG_USEC", "1"),
            ("LISTEN_ADDR", "0.0.0.0"),
            ("LISTEN_PORT", "80"),
            ("NOTIFY_SOCKETS", "mine"),
            ("EMPTY", ""),
        ];
        let handoff = Handoff::new(
            inherited.map(|(key, value)| (key.into(), value.into())),
            vec![],
            Protocols::parse("none").unwrap(),
            vec![],
            listeners(),
        );
        assert_eq!(
            shown(&handoff.environment(Generation(1))),
            ["PATH=/bin", "LISTEN_ADDR=0.0.0.0", "LISTEN_PORT=80", "NOTIFY_SOCKETS=mine", "EMPTY="]
        );
    }

    #[test]
    fn what_is_set_replaces_what_was_there() {
        let template = Template::parse(OsStr::new("b"), &[]).unwrap();
        let handoff = Handoff::new(
            [("A".into(), "a".into()), ("HOME".into(), "/root".into())],
            vec![("HOME".into(), "/home/x".into())],
            Protocols::default(),
            vec![("A".into(), template)],
            vec![],
        );
        assert_eq!(shown(&handoff.environment(Generation(1))), ["HOME=/home/x", "A=b"]);
    }

    #[test]
    fn templates_serve_the_odd_protocols() {
        for (template, expected) in [
            ("{fd};", "3;"),
            ("{addr}={fd}", "127.0.0.1:80=3"),
            ("{fd}:{uri}", "3:tcp://127.0.0.1:80"),
            ("{fds,}", "3,4"),
            ("{fds;};", "3;4;"),
            ("{fds}", "34"),
            ("{fd:admin} {addr:admin} {uri:admin}", "4 /run/a.sock unix:///run/a.sock"),
            ("g{generation}p{pid}.", "g2pPID."),
            ("{{{fd}}}", "{3}"),
            ("", ""),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        for template in ["{", "}", "{fd", "{nosuch}", "{fd:nosuch}", "{}", "{pid:1}", "a}b"] {
            assert!(filled(template).is_err(), "{template}");
        }
        assert!(Template::parse(OsStr::new("{fd}"), &[]).unwrap_err().contains("-listen=none"));
    }
}
