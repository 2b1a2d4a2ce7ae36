//! Looks at the processes of a generation, and at what a worker leaves behind.

use super::Running;
use crate::supervisor::Event;
use crate::sys::proc::{self, Process};
use crate::sys::wait;
use crate::types::level::Level;
use crate::types::process::{GenerationNumber, Pid, WorkerId};
use crate::worker::accept::{self, Seen, Target};

/// So many processes of a group are looked at when their leader is gone.
const MOST_LEFT: usize = 64;

impl Running {
    /// Looks on which listeners these workers of a generation accept.
    pub(super) fn look(&self, generation: GenerationNumber, workers: &[WorkerId]) -> Event {
        let leaders: Vec<(WorkerId, Pid)> = workers.iter().filter_map(|id| Some((*id, self.workers.pid(*id)?))).collect();
        // A process whose parent is gone is the master's child, and mostly of its worker's process group still.
        let left = self.left_of(&leaders.iter().map(|(_, pid)| *pid).collect::<Vec<_>>());
        let targets = self.targets();
        let mut accepts = Vec::new();
        let mut hidden = None;
        for (id, leader) in leaders {
            let of_its_group = left.iter().filter(|process| process.group == leader.as_raw()).map(|process| process.pid);
            let processes: Vec<Pid> = std::iter::once(leader).chain(of_its_group).collect();
            let seen = accept::look(&processes, &targets);
            accepts.push((id, seen.accepts));
            hidden = hidden.or(seen.hidden);
        }
        Event::Looked { generation, accepts, hidden }
    }

    fn targets(&self) -> Vec<Target<'_>> {
        self.listeners.sockets().iter().filter_map(|socket| Some(Target { id: socket.id(), fd: socket.held()? })).collect()
    }

    /// Processes of these groups whose parent has become the master.
    fn left_of(&self, groups: &[Pid]) -> Vec<Process> {
        self.adopted(MOST_LEFT).filter(|child| groups.iter().any(|group| group.as_raw() == child.group)).collect()
    }

    /// Among the first `most` children of the master, those that the program and not the master has started.
    pub(super) fn adopted(&self, most: usize) -> impl Iterator<Item = Process> {
        proc::children(most).into_iter().filter(|child| !self.workers.knows(child.pid))
    }

    /// Logs the processes that the first process of a worker has left behind and that still accept. Clients would get answers
    /// of the old version from them, and no stop signal reaches them.
    pub(super) fn report_accepting(&mut self, generation: GenerationNumber, leader: Pid) {
        if self.listeners.is_empty() || !wait::has_children() {
            return;
        }
        for process in self.left_of(&[leader]) {
            let Seen { accepts, .. } = accept::look(&[process.pid], &self.targets());
            let Some(socket) = self.listeners.sockets().iter().find(|socket| accepts.contains(&socket.id())) else { continue };
            self.log.note(
                Level::Warning,
                format_args!(
                    "pid {} ({}) of generation {generation} still accepts connections on {}, although its parent, pid {leader}, has \
                     exited; start the program with exec, or use -group",
                    process.pid,
                    process.name,
                    socket.listener().uri
                ),
            );
        }
    }
}
