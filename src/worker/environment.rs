//! The environment of a worker: the variables that it keeps from the master, those that describe its user and its sockets,
//! and those that `-env` adds. Pure: addresses and the master's environment come in as data.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::config::env_template::Template;
use crate::config::protocols::{Protocol, Protocols};
use crate::types::environment::{Chunk, Variable, set};
use crate::types::listener::Listener;
use crate::types::process::WorkerPlace;
use crate::worker::handoff;
use crate::worker::identity;

/// What happens to the variables of a service manager, such as NOTIFY_SOCKET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManagerVariables {
    /// They address the master, so workers do not get them.
    Remove,
    /// The master is transparent: the program gets them. Where one holds the master's pid, `master`, it then holds the program's.
    PassOn { master: u32 },
}

/// Prefixes of variables that no worker inherits. Those of another supervisor would point the worker at sockets and parents
/// that it does not have; those of socketmaster configure only the master.
fn is_stale(key: &[u8]) -> bool {
    const PREFIXES: &[&[u8]] = &[b"SOCKETMASTER_", b"EINHORN_", b"SERVER_STARTER_"];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Variables of a service manager, sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
/// Of LISTEN_* only the protocol's own names: LISTEN_ADDR and LISTEN_PORT are settings of many programs.
fn is_of_manager(key: &[u8]) -> bool {
    const PREFIXES: &[&[u8]] = &[b"LISTEN_FD", b"LISTEN_PID", b"WATCHDOG_"];
    matches!(key, b"NOTIFY_SOCKET" | b"FDSTORE") || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The parts from which the environment of every worker is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentRecipe {
    base: Vec<Variable>,
    protocols: Protocols,
    templates: Vec<(OsString, Template)>,
}

impl EnvironmentRecipe {
    /// `inherited` is the master's environment, `user` the variables of the user that the workers run as, if it is another.
    pub fn new(
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        manager: ManagerVariables,
        user: Option<&[(OsString, OsString)]>,
        protocols: Protocols,
        templates: Vec<(OsString, Template)>,
    ) -> EnvironmentRecipe {
        let inherited: Vec<(OsString, OsString)> = inherited.into_iter().collect();
        let passed_on = match manager {
            ManagerVariables::Remove => None,
            ManagerVariables::PassOn { master } => Some(master.to_string()),
        };
        let names_master = |value: &OsStr| passed_on.as_deref().is_some_and(|master| value == master);
        let sockets_are_ours = inherited.iter().any(|(key, value)| key == "LISTEN_PID" && names_master(value));
        let kept = |key: &OsStr| {
            let user_variable = user.is_some() && identity::VARIABLES.iter().any(|name| key == *name);
            // It identifies the process as LISTEN_PID does, but the worker's value is not known before the worker exists.
            let foreign_identity = key == "LISTEN_PIDFDID" && sockets_are_ours;
            let of_manager = is_of_manager(key.as_bytes()) && passed_on.is_none();
            !is_stale(key.as_bytes()) && !user_variable && !foreign_identity && !of_manager
        };
        let variable = |(key, value): (OsString, OsString)| {
            if (key == "LISTEN_PID" || key == "WATCHDOG_PID") && names_master(&value) {
                Variable { key, value: vec![Chunk::Pid] }
            } else {
                Variable::bytes(key, value.into_vec())
            }
        };
        let mut base: Vec<Variable> = inherited.into_iter().filter(|(key, _)| kept(key)).map(variable).collect();
        set(&mut base, user.unwrap_or_default().iter().cloned().map(variable));
        EnvironmentRecipe { base, protocols, templates }
    }

    /// Whether workers are told about their sockets by this protocol.
    pub fn uses(&self, protocol: Protocol) -> bool {
        self.protocols.in_use().any(|used| used == protocol)
    }

    /// The environment of the worker at this place, which has these listeners at descriptors 3 and up.
    pub fn of(&self, place: WorkerPlace, listeners: &[Listener]) -> Vec<Variable> {
        let mut environment = self.base.clone();
        set(&mut environment, handoff::variables(&self.protocols, listeners, place.generation));
        let templates = self.templates.iter();
        set(&mut environment, templates.map(|(key, template)| Variable { key: key.clone(), value: template.fill(listeners, place) }));
        environment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listen_uri::Endpoint;
    use crate::types::process::GenerationNumber;

    fn first_of(generation: u32) -> WorkerPlace {
        WorkerPlace { generation: GenerationNumber(generation), slot: 0 }
    }

    fn endpoints(uris: &[&str]) -> Vec<Endpoint> {
        uris.iter().map(|uri| uri.parse().unwrap()).collect()
    }

    fn listeners() -> Vec<Listener> {
        vec![
            Listener {
                fd: 3,
                name: None,
                addr: b"127.0.0.1:80".to_vec(),
                host: b"127.0.0.1".to_vec(),
                port: Some(80),
                uri: "tcp://127.0.0.1:80".into(),
            },
            Listener {
                fd: 4,
                name: Some("admin".into()),
                addr: b"/run/a.sock".to_vec(),
                host: b"/run/a.sock".to_vec(),
                port: None,
                uri: "unix:///run/a.sock".into(),
            },
        ]
    }

    fn recipe(
        inherited: impl IntoIterator<Item = (&'static str, &'static str)>,
        user: Option<&[(OsString, OsString)]>,
        protocols: Protocols,
        templates: Vec<(OsString, Template)>,
    ) -> EnvironmentRecipe {
        let inherited = inherited.into_iter().map(|(key, value)| (key.into(), value.into()));
        EnvironmentRecipe::new(inherited, ManagerVariables::Remove, user, protocols, templates)
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
        let variable = Variable { key: "K".into(), value: template.fill(&listeners(), first_of(2)) };
        Ok(shown(&[variable])[0]["K=".len()..].to_owned())
    }

    #[test]
    fn every_protocol_tells_all_it_promises() {
        let recipe = recipe([], None, Protocols::default(), vec![]);
        assert_eq!(
            shown(&recipe.of(first_of(2), &listeners())),
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
        for protocols in [Protocols::default(), Protocols::parse("systemd,einhorn-fds").unwrap()] {
            assert_eq!(recipe([], None, protocols, vec![]).of(first_of(1), &[]), []);
        }
    }

    #[test]
    fn server_starter_asked_for_by_name_tells_that_there_is_no_port() {
        let recipe = recipe([], None, Protocols::parse("server-starter").unwrap(), vec![]);
        assert_eq!(shown(&recipe.of(first_of(2), &[])), ["SERVER_STARTER_PORT=", "SERVER_STARTER_GENERATION=2"]);
    }

    #[test]
    fn a_chosen_protocol_stands_alone() {
        let of = |list| shown(&recipe([], None, Protocols::parse(list).unwrap(), vec![]).of(first_of(1), &listeners()));
        assert_eq!(of("einhorn-fds"), ["EINHORN_FDS=3"]);
        assert_eq!(of("none"), [""; 0]);
        assert_eq!(of("server-starter,einhorn-fds").len(), 3);
        let einhorn =
            ["EINHORN_FD_COUNT=2", "EINHORN_FD_0=3", "EINHORN_FD_FAMILY_0=AF_INET", "EINHORN_FD_1=4", "EINHORN_FD_FAMILY_1=AF_UNIX"];
        assert_eq!(of("einhorn"), einhorn);
        for list in ["", "einhorns", "none,systemd", "systemd,"] {
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
        let recipe = recipe(inherited, None, Protocols::parse("none").unwrap(), vec![]);
        assert_eq!(
            shown(&recipe.of(first_of(1), &listeners())),
            ["PATH=/bin", "LISTEN_ADDR=0.0.0.0", "LISTEN_PORT=80", "NOTIFY_SOCKETS=mine", "EMPTY="]
        );
    }

    #[test]
    fn what_is_set_replaces_what_was_there() {
        let template = Template::parse(OsStr::new("b"), &[]).unwrap();
        let home = [("HOME".into(), "/home/x".into())];
        let inherited = [("A", "a"), ("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root"), ("SHELL", "/bin/sh")];
        let recipe = recipe(inherited, Some(&home), Protocols::default(), vec![("A".into(), template)]);
        assert_eq!(shown(&recipe.of(first_of(1), &[])), ["HOME=/home/x", "A=b"]);
    }

    #[test]
    fn without_another_user_the_variables_of_the_users_stay() {
        let recipe = recipe([("HOME", "/root"), ("USER", "root")], None, Protocols::default(), vec![]);
        assert_eq!(shown(&recipe.of(first_of(1), &[])), ["HOME=/root", "USER=root"]);
    }

    #[test]
    fn a_transparent_master_passes_on_what_its_manager_says() {
        let passed_on = |pid: &'static str| {
            let inherited = [
                ("LISTEN_FDS", "2"),
                ("LISTEN_PID", pid),
                ("LISTEN_PIDFDID", "4711"),
                ("LISTEN_FDNAMES", "a:b"),
                ("NOTIFY_SOCKET", "/run/notify"),
                ("WATCHDOG_USEC", "1000"),
                ("WATCHDOG_PID", pid),
                ("SOCKETMASTER_LISTEN", "none"),
                ("EINHORN_FDS", "3"),
            ];
            let inherited = inherited.map(|(key, value)| (key.into(), value.into()));
            let manager = ManagerVariables::PassOn { master: 71 };
            shown(&EnvironmentRecipe::new(inherited, manager, None, Protocols::default(), vec![]).of(first_of(1), &[]))
        };
        let rest = ["LISTEN_FDNAMES=a:b", "NOTIFY_SOCKET=/run/notify", "WATCHDOG_USEC=1000"];
        assert_eq!(passed_on("71"), [&["LISTEN_FDS=2", "LISTEN_PID=PID"], &rest[..], &["WATCHDOG_PID=PID"]].concat());
        // Meant for somebody else, who will not be found by its number any more: as it was.
        let others = ["LISTEN_FDS=2", "LISTEN_PID=7", "LISTEN_PIDFDID=4711"];
        assert_eq!(passed_on("7"), [&others, &rest[..], &["WATCHDOG_PID=7"]].concat());
    }

    #[test]
    fn templates_serve_the_odd_protocols() {
        for (template, expected) in [
            ("{fd};", "3;"),
            ("{addr}={fd}", "127.0.0.1:80=3"),
            ("{host}:{port}={fd}", "127.0.0.1:80=3"),
            ("{fds,} {fd:admin} {host:admin}", "3,4 4 /run/a.sock"),
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
        for template in ["{", "}", "{fd", "{nosuch}", "{fd:nosuch}", "{}", "{pid:1}", "a}b", "{port:admin}", "{host:nosuch}"] {
            assert!(filled(template).is_err(), "{template}");
        }
        assert!(Template::parse(OsStr::new("{fd}"), &[]).unwrap_err().contains("-listen=none"));
    }
}
