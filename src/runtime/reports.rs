//! What workers report to their NOTIFY_SOCKET, and what follows from it. The messages of sd_notify(3) that are about one
//! process stay here; those about the service go on to the service manager.

use std::os::fd::OwnedFd;

use super::Running;
use crate::config::ReportBy;
use crate::listener::inherit::STORE_PREFIX;
use crate::report::message::{Message, Store};
use crate::report::notify::{Heard, NotifySocket};
use crate::report::sender::{self, Namespace};
use crate::supervisor::{Event, Generation, Role, Seconds, Worker};
use crate::sys::clock;
use crate::sys::errno::reason;
use crate::systemd::notify::ServiceManager;
use crate::systemd::watchdog::Watchdog;
use crate::types::environment::{Chunk, Variable};
use crate::types::level::Level;
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, WorkerId};
use crate::types::signal::Signal;
use crate::types::time::Instant;
use crate::worker::launch::LaunchSpec;

/// So many messages of one worker are read before the loop handles everything else.
const MOST_IN_A_ROW: usize = 32;

/// The socket for the reports of a worker that is about to start, if such reports are waited for.
pub(super) fn notify_socket(
    spec: &LaunchSpec,
    generation: GenerationNumber,
    namespace: &mut Option<Namespace>,
    watchdog: Option<&Watchdog>,
) -> Result<Option<NotifySocket>, String> {
    match spec.report {
        Some(ReportBy::Notify) => {}
        None => return Ok(None),
    }
    let namespace = *namespace.get_or_insert_with(sender::look);
    let uid = spec.identity.as_ref().map(|identity| identity.uid);
    let opened = NotifySocket::open(generation, namespace, uid, watchdog.map(Watchdog::time));
    opened.map(Some).map_err(|error| format!("cannot open a NOTIFY_SOCKET: {}", reason(&error)))
}

impl Running {
    /// What the worker is told about this socket, and about what the service manager offers through it.
    pub(super) fn notify_variables(&self, notify: &NotifySocket) -> Vec<Variable> {
        let mut variables = vec![Variable::text("NOTIFY_SOCKET", notify.address().to_owned())];
        if let Some(watchdog) = &self.watchdog {
            variables.push(Variable::text("WATCHDOG_USEC", watchdog.time().as_micros().to_string()));
            variables.push(Variable { key: "WATCHDOG_PID".into(), value: vec![Chunk::Pid] });
        }
        if self.store_room > 0 {
            variables.push(Variable::text("FDSTORE", self.store_room.to_string()));
        }
        variables
    }

    /// Handles messages that a worker has sent.
    pub(super) fn hear_worker(&mut self, id: WorkerId) {
        for _ in 0..MOST_IN_A_ROW {
            let Some((message, fds)) = self.next_message(id) else { return };
            self.note_message(id, &message, fds);
            if let Some(time) = message.more_time {
                self.tell(Event::MoreTime { id, time });
            }
            if message.ready {
                self.tell(Event::Ready { id });
            }
            self.tell_manager(ServiceManager::status);
        }
    }

    /// Handles the messages of a worker that has exited, except that it is ready.
    pub(super) fn hear_last_words(&mut self, id: WorkerId) {
        for _ in 0..MOST_IN_A_ROW {
            let Some((message, fds)) = self.next_message(id) else { return };
            self.note_message(id, &message, fds);
        }
    }

    /// The next message that counts. Its descriptors are closed when they are dropped: that of a BARRIER=1 after every earlier
    /// message was handled.
    fn next_message(&mut self, id: WorkerId) -> Option<(Message, Vec<OwnedFd>)> {
        for _ in 0..MOST_IN_A_ROW {
            let (pid, notify) = self.workers.notify_socket(id)?;
            match notify.next(pid)? {
                Heard::Message(message, fds) => return Some((message, fds)),
                Heard::Refused(why) => {
                    self.log.note(Level::Warning, format_args!("ignored a message to the NOTIFY_SOCKET of pid {pid}: {why}"));
                }
                Heard::RefusedAgain => {}
            }
        }
        None
    }

    fn note_message(&mut self, id: WorkerId, message: &Message, fds: Vec<OwnedFd>) {
        let Some((_, notify)) = self.workers.notify_socket(id) else { return };
        notify.watchdog().hear(message, clock::now());
        if let Some(status) = &message.status {
            notify.status = Some(status.clone());
        }
        let role = self.worker_of(id).map(|(generation, _)| generation.role);
        let Some(manager) = &mut self.service_manager else { return };
        if let (Some(time), Some(Role::Current | Role::Candidate)) = (message.more_time, role) {
            manager.pass_on(format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()), Vec::new());
        }
        if let Some(store) = message.store.as_ref().filter(|_| self.store_room > 0)
            && may_be_stored(store, &fds)
            && !manager.pass_on(store.text(), fds)
        {
            self.log.note(Level::Warning, "cannot pass a descriptor to the service manager: it does not read its messages");
        }
    }

    fn worker_of(&self, id: WorkerId) -> Option<(&Generation, &Worker)> {
        let generations = self.supervisor.generations().iter();
        generations
            .flat_map(|generation| generation.workers.iter().map(move |worker| (generation, worker)))
            .find(|(_, worker)| worker.id == id)
    }

    /// The status that a worker of the current generation has reported.
    pub(super) fn reported_status(&self) -> Option<OneLine> {
        let workers = &self.supervisor.current()?.workers;
        let mut reported = self.workers.reporting().filter(|(id, _)| workers.iter().any(|worker| worker.id == *id));
        reported.find_map(|(_, notify)| notify.status.clone())
    }

    // ---- the watchdogs of workers

    /// Sends SIGABRT to workers that have stopped to report, and SIGKILL to those that still run after the same time.
    pub(super) fn check_workers(&mut self, now: Instant) {
        let due = |notify: &NotifySocket| notify.deadline().is_some_and(|due| due <= now);
        let due: Vec<WorkerId> = self.workers.reporting().filter(|(_, notify)| due(notify)).map(|(id, _)| id).collect();
        for id in due {
            self.check_worker(id, now);
        }
    }

    fn check_worker(&mut self, id: WorkerId, now: Instant) {
        // What has come already counts, however late the master was itself.
        self.hear_worker(id);
        let found = self
            .worker_of(id)
            .map(|(generation, worker)| (generation.number, generation.policy.group, worker.stop.is_some() || worker.suspended));
        let Some((pid, notify)) = self.workers.notify_socket(id) else { return };
        let Some((number, group, false)) = found else { return notify.watchdog().rest() };
        let Some(late) = notify.watchdog().check(now) else { return };
        let signal = if late.again { Signal::KILL } else { Signal::ABRT };
        self.log.note(
            Level::Error,
            format_args!("generation {number} (pid {pid}) has not sent WATCHDOG=1 for {}; sending {signal}", Seconds(late.time)),
        );
        self.signal_worker(id, signal, group);
    }
}

/// Whether this may go on to the store, where the master keeps its own listeners under names with a prefix.
fn may_be_stored(store: &Store, fds: &[OwnedFd]) -> bool {
    let is_ours = store.name.as_ref().is_some_and(|name| name.starts_with(STORE_PREFIX));
    !is_ours && (store.remove || !fds.is_empty())
}
