//! Starts the master from its configuration. Everything that may fail is here, and all names are looked up before anything
//! is opened.

use std::ffi::OsStr;
use std::rc::Rc;

use super::reload::{self, Prepared};
use super::workers::Workers;
use super::{FirstGeneration, Running, pid_file};
use crate::config::listen_uri::Endpoint;
use crate::config::options::COMMAND_VARIABLE;
use crate::config::{Config, Invocation, Output};
use crate::control::server::Server;
use crate::error::Error;
use crate::listener::inherit;
use crate::listener::inherit::Offered;
use crate::listener::resolve::{Resolved, resolve};
use crate::listener::set::ListenerSet;
use crate::output::log::{Log, LogOptions};
use crate::output::relay::Relay;
use crate::report::ack::AckServer;
use crate::supervisor::Supervisor;
use crate::sys::errno::reason;
use crate::sys::signal::{self, InheritedSignals, SignalFd};
use crate::sys::stderr::NonblockingStderr;
use crate::sys::stdio::StandardStreams;
use crate::sys::{clock, fd, tty, wait};
use crate::systemd::fdstore::{self, Storable};
use crate::systemd::notify::ServiceManager;
use crate::systemd::watchdog::Watchdog;
use crate::types::environment::{path_in, variable};
use crate::types::level::Level;
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, WorkerPlace};
use crate::types::signal::Signal;
use crate::types::socket_name::SocketName;
use crate::worker::launch::StartDirectory;
use crate::worker::program::{self, Place};

/// The longest lines of output, to a pipe and in a datagram to syslog. Longer ones are cut.
const LONGEST_LINE: usize = 1024 * 1024;
const LONGEST_SYSLOG_LINE: usize = 8 * 1024;

/// Log lines that wait until there is a log.
type Notes = Vec<String>;

/// Starts the master. Nothing can fail after this has returned.
pub(super) fn boot(
    invocation: Invocation,
    config: Config,
    inherited_signals: InheritedSignals,
) -> Result<(Running, FirstGeneration), Error> {
    fd::fill_standard()?;
    let begun = clock::now();
    let Config { fixed, reloadable, operand_after_variable, warnings } = config;
    let mut notes: Notes = warnings.iter().map(ToString::to_string).collect();
    let mut streams = StandardStreams::found();
    let pid_file_path = fixed.pid_file.as_deref().map(pid_file::check).transpose()?;

    let rules = reloadable.signals.clone();
    let policy = reloadable.policy.clone();
    let plain_init = reload::is_plain_init(&reloadable, fixed.control.is_some());
    let offered = if plain_init { Ok(Vec::new()) } else { inherit::offered(&invocation.environment, std::process::id()) };
    let listen = inherit::expand(reloadable.listen.clone(), &offered)?;
    reload::check_templates(&reloadable, &listen)?;
    let prepared = reload::prepare(&invocation, reloadable, fixed.control.is_some())?;
    check_program(&prepared.command, &prepared)?;
    if let Some(check) = &prepared.check {
        check_program(check, &prepared).map_err(|error| match error {
            Error::Program { program, cause, .. } => Error::cannot("run", format!("-check={program}"), cause),
            other => other,
        })?;
    }
    if let Some(operand) = operand_after_variable.filter(|operand| check_program(operand, &prepared).is_ok()) {
        let operand = OneLine::from(operand.as_os_str());
        notes.push(format!(
            "{COMMAND_VARIABLE} names the program, so {operand} becomes its first argument; unset the variable to run {operand}"
        ));
    }
    let resolved = resolve(&listen)?;

    let (mut listeners, service_manager, store_room) = match plain_init {
        true => (ListenerSet::default(), None, 0),
        false => open_listeners(&invocation, resolved, &listen, &offered.unwrap_or_default(), &mut notes)?,
    };
    let control = match &fixed.control {
        Some(address) => Some(Server::new(listeners.open_control(address)?, matches!(address, SocketName::Abstract(_)))),
        None => None,
    };
    let signals = SignalFd::open()?;
    // With a listener, every inherited descriptor from 3 up has been closed by now. The master itself moves to /, so that it holds
    // no mount but that of the directory in which it was started.
    let start_directory = Rc::new(StartDirectory::current());
    let specs = prepared.specs(&start_directory, inherited_signals, streams.modes());
    if start_directory.is_held() {
        std::env::set_current_dir("/").map_err(|error| Error::cannot("enter", "/", reason(&error)))?;
    }
    wait::become_subreaper();
    notes.extend(deaf_to(policy.stop_signal, &inherited_signals));
    let mut log = Log::new(LogOptions {
        to_syslog: fixed.output == Output::Syslog,
        to_journal: variable(&invocation.environment, "JOURNAL_STREAM").is_some_and(NonblockingStderr::is_the_journal),
        verbosity: fixed.verbosity,
    });
    // After the log, which opens standard error once more: it may need a right that the new owner has.
    if let Some(identity) = &specs.worker.identity {
        streams.give_pipes_to(identity.uid);
    }
    for note in notes {
        log.note(Level::Warning, note);
    }
    let relay = match fixed.output {
        Output::Untouched => None,
        Output::Prefixed => Some(Relay::new(LONGEST_LINE)),
        Output::Syslog => Some(Relay::new(LONGEST_SYSLOG_LINE)),
    };
    let terminal = tty::role();
    let watchdog = service_manager.as_ref().and_then(|_| Watchdog::find(&invocation.environment, std::process::id(), begun));
    let running = Running {
        invocation,
        inherited_signals,
        start_directory,
        streams,
        supervisor: Supervisor::new(terminal),
        workers: Workers::default(),
        listeners,
        rules,
        next_rules: None,
        signals,
        log,
        relay,
        terminal,
        terminal_given: false,
        watchdog,
        service_manager,
        store_room,
        acks: AckServer::default(),
        ack_path: None,
        namespace: None,
        control,
        pid_file_path,
        pid_file: None,
        begun,
        last_reload: None,
        last_exit: None,
        end: None,
    };
    Ok((running, FirstGeneration { specs, policy }))
}

/// Refuses a program that could not be started, for a reason that can be seen before anything is opened.
fn check_program(command: &OsStr, prepared: &Prepared) -> Result<(), Error> {
    let environment = prepared.environment.of(WorkerPlace { generation: GenerationNumber::FIRST, slot: 0 }, &[]);
    let here = Place { base: None, directory: prepared.directory.as_deref() };
    program::check(command, path_in(&environment), here)
}

/// Opens the listeners that no parent, socket unit or descriptor store keeps open already.
fn open_listeners(
    invocation: &Invocation,
    resolved: Vec<Resolved>,
    listen: &[Endpoint],
    offered: &[Offered],
    notes: &mut Notes,
) -> Result<(ListenerSet, Option<ServiceManager>, usize), Error> {
    let environment = &invocation.environment;
    let stored = inherit::stored(&resolved, offered);
    if let Err(error) = fdstore::remove(&inherit::left_over(offered, &stored), environment) {
        notes.push(format!("cannot remove old listeners from the descriptor store: {}", reason(&error)));
    }
    let mut listeners = ListenerSet::boot(resolved, &stored, offered)?;
    // All other inherited descriptors are closed now, so descriptors opened from here on stay open.
    let manager = ServiceManager::find(environment)
        .and_then(|found| found.map_err(|error| notes.push(format!("cannot reach the service manager: {}", reason(&error)))).ok());
    let mut room = manager.as_ref().map_or(0, |_| fdstore::room(environment));
    if let Some(manager) = &manager {
        let storable = listeners.storable().map(|(name, held, fd)| Storable { name, address: held.address().to_string(), fd });
        let (kept, failure) = fdstore::keep(&storable.collect::<Vec<_>>(), manager, room);
        room -= kept;
        listeners.leave_paths(kept);
        notes.extend(failure);
    }
    let untaken = inherit::untaken(listen, offered).into_iter();
    notes.extend(untaken.map(|name| format!("no listener takes the socket unit's socket {name}; add -listen=systemd:{name}")));
    Ok((listeners, manager, room))
}

/// A warning if workers inherit the stop signal blocked or ignored.
fn deaf_to(stop_signal: Signal, inherited: &InheritedSignals) -> Option<String> {
    let how = match (inherited.blocks(stop_signal), signal::is_ignored(stop_signal)) {
        (true, _) => "blocked",
        (false, true) => "ignored",
        (false, false) => return None,
    };
    Some(format!("{stop_signal} is {how} in the process that started socketmaster; workers inherit this and may ignore the stop signal"))
}
