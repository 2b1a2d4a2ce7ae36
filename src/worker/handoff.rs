//! `-handoff`: the variables of the protocols that tell a worker about its sockets. Pure.

use crate::config::protocols::{Protocol, Protocols};
use crate::types::environment::{Chunk, Variable};
use crate::types::listener::{FIRST_FD, Listener};
use crate::types::process::GenerationNumber;

/// The variables with which the chosen protocols describe these listeners. The worker has them at descriptors 3 and up.
pub fn variables(protocols: &Protocols, listeners: &[Listener], generation: GenerationNumber) -> Vec<Variable> {
    let said = |protocol: &Protocol| match protocol {
        Protocol::Einhorn => true,
        Protocol::ServerStarter => !listeners.is_empty() || protocols.are_chosen(),
        Protocol::EinhornFds | Protocol::Systemd => !listeners.is_empty(),
    };
    protocols.in_use().filter(said).flat_map(|protocol| variables_of(protocol, listeners, generation)).collect()
}

fn variables_of(protocol: Protocol, listeners: &[Listener], generation: GenerationNumber) -> Vec<Variable> {
    match protocol {
        Protocol::Einhorn => {
            let mut variables = vec![Variable::text("EINHORN_FD_COUNT", listeners.len().to_string())];
            for (index, listener) in listeners.iter().enumerate() {
                let family = match listener.port {
                    None => "AF_UNIX",
                    Some(_) if listener.host.contains(&b':') => "AF_INET6",
                    Some(_) => "AF_INET",
                };
                variables.push(Variable::text(&format!("EINHORN_FD_{index}"), listener.fd.to_string()));
                variables.push(Variable::text(&format!("EINHORN_FD_FAMILY_{index}"), family.to_owned()));
            }
            variables
        }
        Protocol::EinhornFds => vec![Variable::text("EINHORN_FDS", FIRST_FD.to_string())],
        Protocol::Systemd => {
            let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_deref().unwrap_or("unknown")).collect();
            vec![
                Variable::text("LISTEN_FDS", listeners.len().to_string()),
                Variable { key: "LISTEN_PID".into(), value: vec![Chunk::Pid] },
                Variable::text("LISTEN_FDNAMES", names.join(":")),
            ]
        }
        Protocol::ServerStarter => {
            let ports: Vec<Vec<u8>> = (FIRST_FD..)
                .zip(listeners)
                .map(|(fd, listener)| [listener.addr.as_slice(), format!("={fd}").as_bytes()].concat())
                .collect();
            vec![
                Variable::bytes("SERVER_STARTER_PORT", ports.join(&b';')),
                Variable::text("SERVER_STARTER_GENERATION", generation.to_string()),
            ]
        }
    }
}
