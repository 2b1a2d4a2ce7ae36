//! Prepares the settings of a generation from the invocation, at the start and again at each reload.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use super::Running;
use super::pid_file::PidFile;
use super::workers::Specs;
use crate::config::listen_uri::Endpoint;
use crate::config::signal_rules::{SignalAction, SignalTable};
use crate::config::{self, Command, Invocation, Reloadable, ReportBy};
use crate::error::Error;
use crate::supervisor::Event;
use crate::sys::signal::InheritedSignals;
use crate::sys::stdio::BlockingModes;
use crate::types::level::Level;
use crate::types::one_line::OneLine;
use crate::types::process::GenerationNumber;
use crate::types::request::Request;
use crate::types::settings::Policy;
use crate::types::signal::Signal;
use crate::worker::environment::{EnvironmentRecipe, ManagerVariables};
use crate::worker::identity::Identity;
use crate::worker::launch::{Directory, LaunchSpec, StartDirectory};

/// The settings of workers, with every name looked up and nothing opened yet.
pub(super) struct Prepared {
    pub command: OsString,
    args: Vec<OsString>,
    pub check: Option<OsString>,
    pub directory: Option<PathBuf>,
    identity: Option<Identity>,
    pub environment: EnvironmentRecipe,
    report: Option<ReportBy>,
}

/// Looks up the names in the settings of workers. `controlled`: a reload may be requested at a control socket.
pub(super) fn prepare(invocation: &Invocation, reloadable: Reloadable, controlled: bool) -> Result<Prepared, Error> {
    let identity = reloadable.user.as_ref().map(Identity::look_up).transpose()?;
    let manager = match is_plain_init(&reloadable, controlled) {
        true => ManagerVariables::PassOn { master: std::process::id() },
        false => ManagerVariables::Remove,
    };
    let environment = EnvironmentRecipe::new(
        invocation.environment.iter().cloned(),
        manager,
        identity.as_ref().map(|identity| identity.environment.as_slice()),
        reloadable.handoff,
        reloadable.env,
    );
    let Reloadable { command, args, check, dir: directory, report, .. } = reloadable;
    Ok(Prepared { command, args, check, directory, identity, environment, report })
}

impl Prepared {
    pub(super) fn specs(self, start: &Rc<StartDirectory>, signals: InheritedSignals, modes: BlockingModes) -> Specs {
        let Prepared { command, args, check, directory, identity, environment, report } = self;
        let worker =
            LaunchSpec { command, args, directory: Directory::new(start, directory), identity, environment, report, signals, modes };
        let check = check.map(|command| Rc::new(LaunchSpec { command, args: Vec::new(), report: None, ..worker.clone() }));
        Specs { worker: Rc::new(worker), check }
    }
}

/// Whether the master is a plain init, which is transparent: the variables of a service manager are meant for the program,
/// and the master itself sends the manager nothing. A master to which workers report is none.
pub(super) fn is_plain_init(reloadable: &Reloadable, controlled: bool) -> bool {
    let reloads = || Signal::all().any(|signal| reloadable.signals.action(signal) == SignalAction::Request(Request::Reload));
    reloadable.listen.is_empty() && reloadable.report.is_none() && !controlled && !reloads()
}

/// Fails if a template names a listener that the service manager has not passed.
pub(super) fn check_templates(reloadable: &Reloadable, listen: &[Endpoint]) -> Result<(), Error> {
    let missing = reloadable.env.iter().find_map(|(key, template)| Some((key, template.missing_name(listen)?)));
    missing.map_or(Ok(()), |(key, name)| {
        let cause = format!("no socket unit passes a socket named {name}");
        Err(Error::cannot("fill in", format!("-env={}", key.display()), cause))
    })
}

impl Running {
    /// Reads the configuration again, for this generation.
    pub(super) fn load(&mut self, generation: GenerationNumber) -> Event {
        match self.load_again() {
            Ok((specs, policy, rules)) => {
                if let Some(identity) = &specs.worker.identity {
                    self.streams.give_pipes_to(identity.uid);
                }
                self.workers.lay_down(generation, specs);
                self.next_rules = Some(rules);
                Event::Loaded { policy, listeners: self.listeners.labels() }
            }
            Err(error) => Event::LoadFailed { cause: OneLine::from(error.to_string()) },
        }
    }

    fn load_again(&self) -> Result<(Specs, Policy, SignalTable), Error> {
        let Command::Run(config) = config::load(&self.invocation)? else {
            return Err(Error::usage("the configuration no longer names a program to run"));
        };
        let reloadable = config.reloadable;
        let (policy, rules) = (reloadable.policy.clone(), reloadable.signals.clone());
        let prepared = prepare(&self.invocation, reloadable, self.control.is_some())?;
        Ok((prepared.specs(&self.start_directory, self.inherited_signals, self.streams.modes()), policy, rules))
    }

    /// The first generation serves.
    pub(super) fn serves(&mut self) {
        if let Some(path) = &self.pid_file_path {
            match PidFile::write(path) {
                Ok(file) => self.pid_file = Some(file),
                Err(error) => self.log.note(Level::Error, error),
            }
        }
    }

    /// Ends a reload. If it succeeded, the signal rules of the new generation now apply to the master.
    pub(super) fn reload_ended(&mut self, generation: GenerationNumber, succeeded: bool) {
        match self.next_rules.take() {
            Some(rules) if succeeded => self.rules = rules,
            _ => {}
        }
        if self.supervisor.generations().iter().all(|known| known.number != generation) {
            self.workers.forget(generation);
        }
    }
}
