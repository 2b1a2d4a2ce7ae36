//! The processes of the supervisor's workers, and the settings of each generation.

use std::rc::Rc;

use crate::report::notify::NotifySocket;
use crate::supervisor::Program;
use crate::types::process::{GenerationNumber, Pid, WorkerId};
use crate::worker::launch::{LaunchSpec, Launched, Progress};

/// A worker that has a process, or had one and still has its process group.
#[derive(Debug)]
pub struct Process {
    pub id: WorkerId,
    pub pid: Pid,
    /// The report on the execution of its program, until it has been read.
    starting: Option<Launched>,
    /// Where it reports, if it does.
    notify: Option<NotifySocket>,
}

/// The settings of the programs of one generation.
#[derive(Debug)]
pub struct Specs {
    pub worker: Rc<LaunchSpec>,
    pub check: Option<Rc<LaunchSpec>>,
}

/// All workers and the settings of their generations.
#[derive(Debug, Default)]
pub struct Workers {
    specs: Vec<(GenerationNumber, Specs)>,
    processes: Vec<Process>,
    /// Children that could not execute the program and have not been reaped. They belong to no worker.
    failed: Vec<Pid>,
}

impl Workers {
    /// Keeps the settings of this generation.
    pub fn lay_down(&mut self, generation: GenerationNumber, specs: Specs) {
        self.specs.push((generation, specs));
    }

    /// The settings of this program, unless its generation has been forgotten.
    pub fn spec(&self, program: Program) -> Option<Rc<LaunchSpec>> {
        let of = |generation| self.specs.iter().find(|(known, _)| *known == generation).map(|(_, specs)| specs);
        match program {
            Program::Worker(place) => of(place.generation).map(|specs| specs.worker.clone()),
            Program::Check { generation } => of(generation)?.check.clone(),
        }
    }

    /// Drops the settings of this generation: it has no worker, and none will start.
    pub fn forget(&mut self, generation: GenerationNumber) {
        self.specs.retain(|(known, _)| *known != generation);
    }

    pub fn add(&mut self, id: WorkerId, launched: Launched, notify: Option<NotifySocket>) {
        self.processes.push(Process { id, pid: launched.pid(), starting: Some(launched), notify });
    }

    pub fn remove(&mut self, id: WorkerId) {
        self.processes.retain(|process| process.id != id);
    }

    /// Removes a worker whose program could not be executed. Its process exits, and is reaped as no worker's.
    pub fn give_up(&mut self, id: WorkerId) {
        self.failed.extend(self.pid(id));
        self.remove(id);
    }

    /// Forgets a process that has been reaped.
    pub fn reaped(&mut self, pid: Pid) {
        self.failed.retain(|known| *known != pid);
    }

    /// Whether this is a process that the master itself has started, and not one of the program's.
    pub fn knows(&self, pid: Pid) -> bool {
        self.id(pid).is_some() || self.failed.contains(&pid)
    }

    pub fn pid(&self, id: WorkerId) -> Option<Pid> {
        self.processes.iter().find(|process| process.id == id).map(|process| process.pid)
    }

    pub fn id(&self, pid: Pid) -> Option<WorkerId> {
        self.processes.iter().find(|process| process.pid == pid).map(|process| process.id)
    }

    /// Whether a worker leads this process group.
    pub fn leads(&self, group: Pid) -> bool {
        self.processes.iter().any(|process| process.pid == group)
    }

    /// The workers that have a socket for their reports.
    pub fn reporting(&self) -> impl Iterator<Item = (WorkerId, &NotifySocket)> {
        self.processes.iter().filter_map(|process| Some((process.id, process.notify.as_ref()?)))
    }

    /// The socket of this worker for its reports, if it has one, and its pid.
    pub fn notify_socket(&mut self, id: WorkerId) -> Option<(Pid, &mut NotifySocket)> {
        let process = self.processes.iter_mut().find(|process| process.id == id)?;
        Some((process.pid, process.notify.as_mut()?))
    }

    /// The workers without a report on the execution of their program.
    pub fn starting(&self) -> impl Iterator<Item = (WorkerId, &Launched)> {
        self.processes.iter().filter_map(|process| Some((process.id, process.starting.as_ref()?)))
    }

    /// The progress of the start of this worker. Forgets the report once the result is known.
    pub fn progress(&mut self, id: WorkerId) -> Option<Progress> {
        let process = self.processes.iter_mut().find(|process| process.id == id)?;
        let progress = process.starting.as_ref()?.progress();
        if progress != Progress::Pending {
            process.starting = None;
        }
        Some(progress)
    }
}
