//! How things are, in a line for the service manager, as a table for people, as JSON for machines. Pure.

use std::fmt;
use std::time::Duration;

use crate::control::{answer, quoted};
use crate::handoff::Listener;
use crate::ids::{Generation, Moment};
use crate::supervisor::{FailedReload, Phase, Reloaded, Role, Supervisor, Worker};

/// How the last reload ended, and when.
#[derive(Debug)]
pub struct LastReload {
    pub ended: Moment,
    pub outcome: Result<Reloaded, FailedReload>,
}

impl LastReload {
    /// What became of it, in a sentence.
    pub fn text(&self) -> String {
        match &self.outcome {
            Ok(reloaded) => reloaded.to_string(),
            Err(failed) => failed.to_string(),
        }
    }
}

/// All that there is to say.
#[derive(Debug)]
pub struct Status<'a> {
    pub pid: u32,
    pub begun: Moment,
    pub now: Moment,
    pub supervisor: &'a Supervisor,
    /// Those that are open.
    pub listeners: Vec<&'a Listener>,
    pub last_reload: Option<&'a LastReload>,
}

impl Status<'_> {
    /// What goes on, in one line, and why the last reload failed if it has.
    pub fn line(&self) -> String {
        let mut line = match self.supervisor.phase() {
            Phase::Starting { .. } => "generation 1 starts".to_owned(),
            Phase::Serving => format!("{} serves", self.group(Role::Current)),
            Phase::Warming { .. } => {
                format!("reloading: {} warms up, {} serves", self.group(Role::Candidate), self.group(Role::Current))
            }
            Phase::Ended => "ended".to_owned(),
            Phase::Stopping => match self.supervisor.workers().len() {
                1 => "stopping: waits for 1 worker".to_owned(),
                count => format!("stopping: waits for {count} workers"),
            },
        };
        let retiring = self.with_role(Role::Retiring).count();
        if retiring > 0 && !matches!(self.supervisor.phase(), Phase::Stopping | Phase::Ended) {
            line.push_str(&format!("; {retiring} told to stop"));
        }
        if let Some(LastReload { outcome: Err(failed), .. }) = self.last_reload {
            line.push_str(&format!("; last {failed}"));
        }
        // A name in it may hold anything.
        line.replace(char::is_control, "?")
    }

    /// Generation and pid of the workers of a role, as far as one line has room.
    fn group(&self, role: Role) -> String {
        let mut workers = self.with_role(role);
        match (workers.next(), workers.count()) {
            (None, _) => format!("generation {}", self.newest()),
            (Some(only), 0) => format!("generation {} (pid {})", only.generation, only.pid),
            (Some(first), more) => format!("generation {} ({} workers)", first.generation, more + 1),
        }
    }

    /// A candidate that does not run yet has the number before the next.
    fn newest(&self) -> Generation {
        Generation(self.supervisor.next_generation().0.saturating_sub(1))
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &Worker> {
        self.supervisor.workers().iter().filter(move |worker| worker.role == role)
    }

    fn sorted(&self) -> Vec<&Worker> {
        let mut workers: Vec<&Worker> = self.supervisor.workers().iter().collect();
        workers.sort_by_key(|worker| (std::cmp::Reverse(worker.generation), worker.pid));
        workers
    }

    /// What `-s status` shows.
    pub fn table(&self) -> String {
        let up = Age(self.now.since(self.begun));
        let mut text = format!("socketmaster {}, pid {}, up {up}: {}\n", env!("CARGO_PKG_VERSION"), self.pid, self.line());
        text.push_str(&format!("\n{:>10}  {:8}  {:>7}  {:>8}\n", "GENERATION", "ROLE", "PID", "AGE"));
        for worker in self.sorted() {
            let age = Age(self.now.since(worker.started));
            text.push_str(&format!("{:>10}  {:8}  {:>7}  {:>8}", worker.generation.0, role(worker), worker.pid.as_raw(), age.to_string()));
            if let Some(told) = &worker.told {
                text.push_str(&format!("  told to stop ({}) {} ago", told.signal, Age(self.now.since(told.at))));
            }
            text.push('\n');
        }
        if !self.listeners.is_empty() {
            text.push_str(&format!("\n{:>10}  LISTENER\n", "FD"));
        }
        for listener in &self.listeners {
            text.push_str(&format!("{:>10}  {}", listener.fd, listener.uri));
            if let Some(name) = &listener.name {
                text.push_str(&format!("  {name}"));
            }
            text.push('\n');
        }
        if let Some(last) = self.last_reload {
            text.push_str(&format!("\nlast reload, {} ago: {}\n", Age(self.now.since(last.ended)), last.text()));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The answer to a request for the status: the table as its text, and the same for machines.
    pub fn answer(&self) -> String {
        let mut more = format!(
            ",\"status\":{},\"version\":\"{}\",\"pid\":{},\"uptime\":{},\"state\":\"{}\",\"workers\":[",
            quoted(&self.line()),
            env!("CARGO_PKG_VERSION"),
            self.pid,
            Seconds(self.now.since(self.begun)),
            state(self.supervisor.phase()),
        );
        list(&mut more, self.sorted(), |worker| {
            let told = worker.told.as_ref().map_or("null".to_owned(), |told| {
                format!("{{\"signal\":\"{}\",\"ago\":{}}}", told.signal, Seconds(self.now.since(told.at)))
            });
            format!(
                "{{\"pid\":{},\"generation\":{},\"role\":\"{}\",\"age\":{},\"told\":{told}}}",
                worker.pid,
                worker.generation,
                role(worker),
                Seconds(self.now.since(worker.started)),
            )
        });
        more.push_str("],\"listeners\":[");
        list(&mut more, &self.listeners, |listener| {
            let name = listener.name.as_deref().map_or("null".to_owned(), quoted);
            format!("{{\"fd\":{},\"uri\":{},\"name\":{name}}}", listener.fd, quoted(&listener.uri))
        });
        more.push_str("],\"last_reload\":");
        more.push_str(&self.last_reload.map_or("null".to_owned(), |last| {
            format!("{{\"ok\":{},\"text\":{},\"ago\":{}}}", last.outcome.is_ok(), quoted(&last.text()), Seconds(self.now.since(last.ended)))
        }));
        answer(true, &self.table(), &more)
    }
}

fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, one: impl Fn(T) -> String) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&one(item));
    }
}

const fn role(worker: &Worker) -> &'static str {
    match worker.role {
        Role::Candidate => "candidate",
        Role::Current => "current",
        Role::Retiring => "retiring",
    }
}

const fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting { .. } => "starting",
        Phase::Serving => "serving",
        Phase::Warming { .. } => "reloading",
        Phase::Stopping | Phase::Ended => "stopping",
    }
}

/// With milliseconds, for machines.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// In the two largest units that say something, for people.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{minutes} min"),
            3600..86_400 => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Ending, Pid, Signal};
    use crate::supervisor::{Action, Event, Policy, Trust, Turn};

    /// A life as far as these events take it, a second after another; starts succeed, with pids from 101 up.
    fn life(events: &[Event]) -> (Supervisor, Moment, Option<LastReload>) {
        let policy = Policy {
            trust: Trust::Lived(Duration::from_millis(400)),
            workers: 1,
            stop_signal: Signal::TERM,
            stop_timeout: None,
            ok: vec![],
        };
        let mut supervisor = Supervisor::new(policy);
        let (mut now, mut last, mut pid) = (Moment(Duration::from_secs(1000)), None, 100);
        for event in events {
            let mut todo = vec![event.clone()];
            while let Some(event) = todo.pop() {
                for action in supervisor.handle(event, now) {
                    match action {
                        Action::Start { .. } => {
                            pid += 1;
                            todo.push(Event::Started { pid: Pid::new(pid).unwrap() });
                        }
                        Action::Announce(Turn::ReloadEnded { outcome, .. }) => last = Some(LastReload { ended: now, outcome }),
                        _ => {}
                    }
                }
            }
            now = now.after(Duration::from_secs(1));
        }
        (supervisor, now, last)
    }

    fn died(pid: i32) -> Event {
        Event::Died { pid: Pid::new(pid).unwrap(), ending: Ending::Exited(1) }
    }

    fn with<T>(events: &[Event], look: impl Fn(Status) -> T) -> T {
        let (supervisor, now, last) = life(events);
        let listeners = [
            Listener { fd: 3, name: Some("web".into()), addr: vec![], uri: "tcp://127.0.0.1:80".into() },
            Listener { fd: 4, name: None, addr: vec![], uri: "unix:///run/\"a\"".into() },
        ];
        look(Status {
            pid: 7,
            begun: Moment(Duration::from_secs(1000)),
            now,
            supervisor: &supervisor,
            listeners: listeners.iter().collect(),
            last_reload: last.as_ref(),
        })
    }

    #[test]
    fn a_line_says_what_goes_on() {
        let line = |events: &[Event]| with(events, |status| status.line());
        let stop = Event::Stop { signal: Signal::TERM };
        assert_eq!(line(&[]), "generation 1 starts");
        assert_eq!(line(&[Event::Boot]), "generation 1 (pid 101) serves");
        assert_eq!(line(&[Event::Boot, Event::Reload]), "reloading: generation 2 (pid 102) warms up, generation 1 (pid 101) serves");
        assert_eq!(line(&[Event::Boot, Event::Reload, Event::Tick]), "generation 2 (pid 102) serves; 1 told to stop");
        assert_eq!(
            line(&[Event::Boot, Event::Reload, died(102)]),
            "generation 1 (pid 101) serves; last reload failed: generation 2: pid 102 exited with status 1 after 1.00 s; generation 1 stays"
        );
        assert_eq!(line(&[Event::Boot, stop.clone()]), "stopping: waits for 1 worker");
        assert_eq!(line(&[Event::Boot, stop, died(101)]), "ended");
    }

    #[test]
    fn a_table_can_be_read_at_a_glance() {
        let table = with(&[Event::Boot, Event::Reload, Event::Tick], |status| status.table());
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            table,
            format!(
                "socketmaster {version}, pid 7, up 3 s: generation 2 (pid 102) serves; 1 told to stop

GENERATION  ROLE          PID       AGE
         2  current       102       2 s
         1  retiring      101       3 s  told to stop (SIGTERM) 1 s ago

        FD  LISTENER
         3  tcp://127.0.0.1:80  web
         4  unix:///run/\"a\"

last reload, 1 s ago: generation 2 serves after 1.00 s (pid 102)"
            )
        );
    }

    #[test]
    fn machines_get_one_line_with_everything() {
        let answer = with(&[Event::Boot, Event::Reload, Event::Tick], |status| status.answer());
        assert_eq!(answer.matches('\n').count(), 1);
        let (_, members) = answer.split_once(",\"status\":").expect("a status");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            members,
            format!(
                "\"generation 2 (pid 102) serves; 1 told to stop\",\"version\":\"{version}\",\"pid\":7,\"uptime\":3.000,\"state\":\"serving\",\
                 \"workers\":[{{\"pid\":102,\"generation\":2,\"role\":\"current\",\"age\":2.000,\"told\":null}},\
                 {{\"pid\":101,\"generation\":1,\"role\":\"retiring\",\"age\":3.000,\"told\":{{\"signal\":\"SIGTERM\",\"ago\":1.000}}}}],\
                 \"listeners\":[{{\"fd\":3,\"uri\":\"tcp://127.0.0.1:80\",\"name\":\"web\"}},\
                 {{\"fd\":4,\"uri\":\"unix:///run/\\\"a\\\"\",\"name\":null}}],\
                 \"last_reload\":{{\"ok\":true,\"text\":\"generation 2 serves after 1.00 s (pid 102)\",\"ago\":1.000}}}}\n"
            )
        );
    }

    #[test]
    fn ages_are_told_as_people_tell_them() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_500, "2 h 5 min"), (90_000, "1 d 1 h")] {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
