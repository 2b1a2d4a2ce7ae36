//! `-handoff`: the protocols that tell workers about their sockets.

use super::suggest::or_accepted;

/// A protocol. `worker::handoff` knows its variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    EinhornFds,
    Einhorn,
    Systemd,
    ServerStarter,
}

/// A row of the table of protocols.
pub struct ProtocolRow {
    pub protocol: Protocol,
    pub name: &'static str,
    /// The variables, as the documentation shows them.
    pub variables: &'static str,
}

/// In the order in which the documentation lists them.
pub const PROTOCOLS: &[ProtocolRow] = &[
    ProtocolRow {
        protocol: Protocol::EinhornFds,
        name: "einhorn-fds",
        variables: "EINHORN_FDS=3. The value is 3 even with several listeners, as in the original socketmaster",
    },
    ProtocolRow {
        protocol: Protocol::Einhorn,
        name: "einhorn",
        variables: "EINHORN_MASTER_PID, EINHORN_FD_COUNT, EINHORN_FD_0 and so on with EINHORN_FD_FAMILY_0 and so on, EINHORN_CHILD_INDEX, \
                    EINHORN_SOCK_FD, and EINHORN_SOCK_PATH where there is a directory for it",
    },
    ProtocolRow {
        protocol: Protocol::Systemd,
        name: "systemd",
        variables: "LISTEN_FDS, LISTEN_PID (the worker's own pid) and LISTEN_FDNAMES, see sd_listen_fds(3)",
    },
    ProtocolRow {
        protocol: Protocol::ServerStarter,
        name: "server-starter",
        variables: "SERVER_STARTER_PORT (such as host:port=3;/path=4, with the addresses actually bound) and SERVER_STARTER_GENERATION",
    },
];

/// The protocols in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocols(Vec<Protocol>);

impl Default for Protocols {
    fn default() -> Protocols {
        // The variables of einhorn make a program expect more of it.
        Protocols(PROTOCOLS.iter().map(|row| row.protocol).filter(|protocol| *protocol != Protocol::Einhorn).collect())
    }
}

impl Protocols {
    /// Reads a comma-separated list of names, or `none`.
    pub fn parse(list: &str) -> Result<Protocols, String> {
        if list == "none" {
            return Ok(Protocols(Vec::new()));
        }
        let names = || PROTOCOLS.iter().map(|row| row.name);
        list.split(',')
            .map(|word| match PROTOCOLS.iter().find(|row| row.name == word) {
                Some(row) => Ok(row.protocol),
                None if word == "none" => Err("none cannot be combined with protocols".to_owned()),
                None => {
                    let accepted = format!("none, or a list of {}", names().collect::<Vec<_>>().join(", "));
                    Err(format!("unknown protocol '{word}'; {}", or_accepted(word, names(), &accepted)))
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Protocols)
    }

    /// Whether the list is another than the default one: then each of its protocols was asked for by name.
    pub fn are_chosen(&self) -> bool {
        *self != Protocols::default()
    }

    /// Adds one that another option implies.
    pub fn add(&mut self, protocol: Protocol) {
        self.0.push(protocol);
    }

    /// Those in use, in the order of the table.
    pub fn in_use(&self) -> impl Iterator<Item = Protocol> {
        PROTOCOLS.iter().map(|row| row.protocol).filter(|protocol| self.0.contains(protocol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_known_names_or_none() {
        assert_eq!(Protocols::parse("systemd,einhorn-fds").unwrap().in_use().count(), 2);
        assert_eq!(Protocols::parse("none").unwrap().in_use().count(), 0);
        for (list, cause) in [
            ("systmd", "unknown protocol 'systmd'; did you mean systemd?"),
            ("systemd,none", "none cannot be combined with protocols"),
            ("", "unknown protocol ''; accepted are none, or a list of einhorn-fds, einhorn, systemd, server-starter"),
        ] {
            assert_eq!(Protocols::parse(list).unwrap_err(), cause);
        }
    }
}
