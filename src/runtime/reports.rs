//! What workers report, and what follows from it. Messages of sd_notify(3) that are about one process stay here; those
//! about the service go on to the service manager.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::Running;
use crate::config::ReportBy;
use crate::config::protocols::Protocol;
use crate::listener::inherit::STORE_PREFIX;
use crate::report::ack::{Ack, Origin};
use crate::report::message::{Message, Store};
use crate::report::notify::{Heard, NotifySocket};
use crate::report::sender::{self, Namespace, Subject};
use crate::supervisor::{Event, Generation, Program, Role, Seconds, Worker};
use crate::sys::errno::reason;
use crate::sys::peer::PeerCredentials;
use crate::sys::socket::stream_pair;
use crate::sys::{clock, random};
use crate::systemd::notify::ServiceManager;
use crate::systemd::watchdog::Watchdog;
use crate::types::environment::{Chunk, Variable, variable};
use crate::types::level::Level;
use crate::types::listener::FIRST_FD;
use crate::types::one_line::OneLine;
use crate::types::process::{Pid, WorkerId, WorkerPlace};
use crate::types::signal::Signal;
use crate::types::time::Instant;
use crate::worker::launch::LaunchSpec;

/// So many messages of one worker are read before the loop handles everything else.
const MOST_IN_A_ROW: usize = 32;

/// The master's ends of what a worker reports to.
#[derive(Default)]
pub(super) struct Reporting {
    pub notify: Option<NotifySocket>,
    pub ack: Option<UnixStream>,
}

/// What a worker that is about to start reports to.
#[derive(Default)]
pub(super) struct Reported {
    pub reporting: Reporting,
    /// The worker's end of `ack`. Its number in the worker is the first one after the listeners.
    pub ack_of_worker: Option<OwnedFd>,
    pub variables: Vec<Variable>,
}

impl Running {
    /// Opens what this program is to report to. The error is the cause if that is impossible.
    pub(super) fn report_to(&mut self, spec: &LaunchSpec, what: Program) -> Result<Reported, String> {
        let Program::Worker(WorkerPlace { generation, slot }) = what else { return Ok(Reported::default()) };
        let mut reported = Reported::default();
        if spec.report == Some(ReportBy::Notify) {
            let uid = spec.identity.as_ref().map(|identity| identity.uid);
            let watchdog = self.watchdog.as_ref().map(Watchdog::time);
            let notify = NotifySocket::open(generation, self.namespace(), uid, watchdog)
                .map_err(|error| format!("cannot open a NOTIFY_SOCKET: {}", reason(&error)))?;
            reported.variables = self.notify_variables(&notify);
            reported.reporting.notify = Some(notify);
        }
        if spec.environment.uses(Protocol::Einhorn) {
            let (ack, of_worker) =
                stream_pair().map_err(|error| format!("cannot open a socket for acknowledgements: {}", reason(&error)))?;
            reported.variables.extend(self.ack_variables(slot));
            (reported.reporting.ack, reported.ack_of_worker) = (Some(ack), Some(of_worker));
        }
        Ok(reported)
    }

    fn namespace(&mut self) -> Namespace {
        *self.namespace.get_or_insert_with(sender::look)
    }

    /// What the worker is told about this socket, and about what the service manager offers through it.
    fn notify_variables(&self, notify: &NotifySocket) -> Vec<Variable> {
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

    // ---- einhorn

    fn ack_variables(&mut self, slot: usize) -> Vec<Variable> {
        let fd = self.listeners.descriptors().count() + FIRST_FD as usize;
        let mut variables = vec![
            Variable::text("EINHORN_MASTER_PID", std::process::id().to_string()),
            Variable::text("EINHORN_CHILD_INDEX", slot.to_string()),
            Variable::text("EINHORN_SOCK_FD", fd.to_string()),
        ];
        if self.ack_path.is_none() {
            let path = self.open_ack_path();
            self.ack_path = Some(path);
        }
        if let Some(Some(path)) = &self.ack_path {
            variables.push(Variable::bytes("EINHORN_SOCK_PATH", path.as_os_str().as_bytes().to_vec()));
        }
        variables
    }

    /// A socket with a path in the first directory that can be written to. Most clients only know paths of files.
    fn open_ack_path(&mut self) -> Option<PathBuf> {
        let name = format!("socketmaster-{}-{:016x}.sock", std::process::id(), random::number());
        let environment = &self.invocation.environment;
        let temporary = variable(environment, "TMPDIR").map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
        let directories = temporary.into_iter().chain(["/tmp", "/run", "/dev/shm"].map(PathBuf::from));
        for path in directories.map(|directory| directory.join(&name)) {
            if let Ok(listener) = self.listeners.open_for_workers(path.clone()) {
                self.acks.listen(listener);
                return Some(path);
            }
        }
        self.log.note(
            Level::Warning,
            "no socket for EINHORN_SOCK_PATH: none of $TMPDIR, /tmp, /run and /dev/shm can be written to; workers can acknowledge only \
             at EINHORN_SOCK_FD",
        );
        None
    }

    /// Handles an acknowledgement. It means something only if the generation waits for it.
    pub(super) fn hear_ack(&mut self, ack: Ack) {
        let named = || self.workers.id(Pid::new(ack.pid?)?);
        let (id, sender) = match ack.origin {
            Origin::Worker(id) => (Some(id), None),
            Origin::Process(peer) => (named(), Some(peer)),
        };
        let worker = id.and_then(|id| Some((id, self.workers.pid(id)?, self.worker_of(id)?.0.number)));
        let Some((id, pid, generation)) = worker else {
            let pid = ack.pid.unwrap_or(0);
            return self.log.note(Level::Warning, format_args!("ignored an acknowledgement of einhorn: pid {pid} is no worker"));
        };
        let Some(spec) = self.workers.spec(Program::Worker(WorkerPlace { generation, slot: 0 })) else { return };
        let subject = Subject { pid, uid: spec.identity.as_ref().map(|identity| identity.uid) };
        if let Some(peer) = sender
            && !self.namespace().trusts(peer, subject)
        {
            let PeerCredentials { pid: sender, uid } = peer;
            return self.log.note(
                Level::Warning,
                format_args!("ignored an acknowledgement of einhorn: its sender (pid {sender}, uid {uid}) does not belong to pid {pid}"),
            );
        }
        if spec.report == Some(ReportBy::Einhorn) {
            self.start_progressed(id);
            self.tell(Event::Ready { id });
        }
    }

    // ---- sd_notify(3)

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
