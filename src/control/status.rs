//! The state of a master: in one line for the service manager, as a table for people, as a report for machines. Pure.

use std::fmt;
use std::time::Duration;

use super::protocol::{ListenerReport, ReloadReport, StatusReport, ToldReport, WorkerReport};
use crate::supervisor::Role;
use crate::types::one_line::OneLine;
use crate::types::process::{GenerationNumber, Pid};
use crate::types::signal::Signal;

/// The state of a master as plain data.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The master's.
    pub pid: u32,
    pub uptime: Duration,
    pub state: State,
    /// The generation last started.
    pub newest: GenerationNumber,
    /// All running workers, in any order.
    pub workers: Vec<WorkerSeen>,
    /// The open listeners.
    pub listeners: Vec<ListenerSeen>,
    pub last_reload: Option<LastReloadSeen>,
    /// How the last worker exited, or why the program could not be started, in a sentence.
    pub last_exit: Option<String>,
    /// STATUS of a worker of the generation that serves, or of the first one while it starts.
    pub reported: Option<OneLine>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Starting,
    Serving,
    Reloading,
    Stopping,
    Ended,
}

#[derive(Clone, Debug)]
pub struct WorkerSeen {
    pub pid: Pid,
    pub generation: GenerationNumber,
    pub role: Role,
    pub age: Duration,
    /// The stop signal that the worker was sent, and how long ago.
    pub told: Option<(Signal, Duration)>,
}

#[derive(Clone, Debug)]
pub struct ListenerSeen {
    pub fd: i32,
    pub uri: String,
    pub name: Option<String>,
    /// How many connections wait to be accepted, if that is known.
    pub queue: Option<u32>,
}

/// How the last reload ended.
#[derive(Clone, Debug)]
pub struct LastReloadSeen {
    pub ok: bool,
    /// The result in one sentence.
    pub text: String,
    pub ago: Duration,
}

impl Snapshot {
    /// The state of the master in one line, with the reason if the last reload failed.
    pub fn line(&self) -> String {
        let mut line = match self.state {
            State::Starting => format!("starting generation {}", GenerationNumber::FIRST),
            State::Serving => format!("{} serves", self.group(Role::Current)),
            State::Reloading => format!("reloading: {} starts, {} serves", self.group(Role::Candidate), self.group(Role::Current)),
            State::Ended => self.last_exit.clone().unwrap_or_else(|| "exiting".to_owned()),
            State::Stopping => match self.workers.len() {
                1 => "shutting down: waiting for 1 worker".to_owned(),
                count => format!("shutting down: waiting for {count} workers"),
            },
        };
        let retiring = self.with_role(Role::Retiring).count();
        if retiring > 0 && !matches!(self.state, State::Stopping | State::Ended) {
            line.push_str(&format!("; stopping workers: {retiring}"));
        }
        if let Some(reported) = self.reported.as_ref().filter(|_| !matches!(self.state, State::Stopping | State::Ended)) {
            line.push_str(&format!("; the program reports: {reported}"));
        }
        if let Some(LastReloadSeen { ok: false, text, .. }) = &self.last_reload {
            line.push_str(&format!("; last {text}"));
        }
        OneLine::from(line).to_string()
    }

    /// The generation of the workers with this role, and the pid if there is one worker, or else their number.
    fn group(&self, role: Role) -> String {
        let mut workers = self.with_role(role);
        match (workers.next(), workers.count()) {
            (None, _) => format!("generation {}", self.newest),
            (Some(only), 0) => format!("generation {} (pid {})", only.generation, only.pid),
            (Some(first), more) => format!("generation {} ({} workers)", first.generation, more + 1),
        }
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = &WorkerSeen> {
        self.workers.iter().filter(move |worker| worker.role == role)
    }

    fn sorted(&self) -> Vec<&WorkerSeen> {
        let mut workers: Vec<&WorkerSeen> = Vec::with_capacity(self.workers.len());
        let key = |worker: &WorkerSeen| (std::cmp::Reverse(worker.generation), worker.pid);
        for worker in &self.workers {
            workers.insert(workers.partition_point(|known| key(known) < key(worker)), worker);
        }
        workers
    }

    /// What `-s status` shows. Only the ends of its own lines are control characters.
    pub fn table(&self) -> String {
        let up = Age(self.uptime);
        let mut text = format!("socketmaster {}, pid {}, up {up}: {}\n", env!("CARGO_PKG_VERSION"), self.pid, self.line());
        text.push_str(&format!("\n{:>10}  {:9}  {:>7}  {:>8}\n", "GENERATION", "ROLE", "PID", "AGE"));
        for worker in self.sorted() {
            let age = Age(worker.age).to_string();
            text.push_str(&format!("{:>10}  {:9}  {:>7}  {age:>8}", worker.generation.0, role(worker), worker.pid.as_raw()));
            if let Some((signal, ago)) = worker.told {
                text.push_str(&format!("  sent {signal} {} ago", Age(ago)));
            }
            text.push('\n');
        }
        if !self.listeners.is_empty() {
            text.push_str(&format!("\n{:>10}  LISTENER\n", "FD"));
        }
        for listener in &self.listeners {
            text.push_str(&format!("{:>10}  {}", listener.fd, OneLine::from(listener.uri.as_str())));
            if let Some(name) = &listener.name {
                text.push_str(&format!("  {}", OneLine::from(name.as_str())));
            }
            if let Some(queue @ 1..) = listener.queue {
                text.push_str(&format!("  {queue} waiting"));
            }
            text.push('\n');
        }
        if let Some(last) = &self.last_reload {
            text.push_str(&format!("\nlast reload, {} ago: {}\n", Age(last.ago), OneLine::from(last.text.as_str())));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The answer to a request for the status: the table as its text, and the same for machines.
    pub fn report(&self) -> StatusReport {
        let worker = |worker: &WorkerSeen| WorkerReport {
            pid: worker.pid.as_raw(),
            generation: worker.generation.0,
            role: role(worker),
            age: worker.age.into(),
            told: worker.told.map(|(signal, ago)| ToldReport { signal: signal.to_string(), ago: ago.into() }),
        };
        let listener = |listener: &ListenerSeen| ListenerReport {
            fd: listener.fd,
            uri: listener.uri.clone(),
            name: listener.name.clone(),
            queue: listener.queue,
        };
        let reload = |last: &LastReloadSeen| ReloadReport { ok: last.ok, text: last.text.clone(), ago: last.ago.into() };
        StatusReport {
            ok: true,
            text: self.table(),
            status: self.line(),
            version: env!("CARGO_PKG_VERSION"),
            pid: self.pid,
            uptime: self.uptime.into(),
            state: state(self.state),
            workers: self.sorted().into_iter().map(worker).collect(),
            listeners: self.listeners.iter().map(listener).collect(),
            last_reload: self.last_reload.as_ref().map(reload),
        }
    }
}

const fn role(worker: &WorkerSeen) -> &'static str {
    match worker.role {
        Role::Check => "check",
        Role::Candidate => "candidate",
        Role::Current => "current",
        Role::Retiring => "retiring",
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Serving => "serving",
        State::Reloading => "reloading",
        State::Stopping | State::Ended => "stopping",
    }
}

/// A duration in its two largest units, for people.
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

    fn worker(pid: i32, generation: u32, role: Role, age: u64, told: Option<(Signal, Duration)>) -> WorkerSeen {
        let pid = Pid::new(pid).expect("a pid");
        WorkerSeen { pid, generation: GenerationNumber(generation), role, age: Duration::from_secs(age), told }
    }

    fn current(pid: i32, generation: u32) -> WorkerSeen {
        worker(pid, generation, Role::Current, 2, None)
    }

    fn retiring(pid: i32, generation: u32) -> WorkerSeen {
        worker(pid, generation, Role::Retiring, 3, Some((Signal::TERM, Duration::from_secs(1))))
    }

    fn snapshot(state: State, workers: Vec<WorkerSeen>) -> Snapshot {
        let newest = workers.iter().map(|worker| worker.generation).max().unwrap_or(GenerationNumber::FIRST);
        Snapshot {
            pid: 7,
            uptime: Duration::from_secs(3),
            state,
            newest,
            workers,
            listeners: vec![],
            last_reload: None,
            last_exit: None,
            reported: None,
        }
    }

    /// After a reload, the old generation not gone yet.
    fn reloaded() -> Snapshot {
        let listener =
            |fd, uri: &str, name: Option<&str>, queue| ListenerSeen { fd, uri: uri.into(), name: name.map(str::to_owned), queue };
        Snapshot {
            listeners: vec![listener(3, "tcp://127.0.0.1:80", Some("web"), Some(12)), listener(4, "unix:///run/\"a\"", None, None)],
            last_reload: Some(LastReloadSeen {
                ok: true,
                text: "generation 2 (pid 102) is current after 1.00 s".into(),
                ago: Duration::from_secs(1),
            }),
            ..snapshot(State::Serving, vec![retiring(101, 1), current(102, 2)])
        }
    }

    #[test]
    fn a_line_says_what_goes_on() {
        assert_eq!(snapshot(State::Starting, vec![]).line(), "starting generation 1");
        assert_eq!(snapshot(State::Serving, vec![current(101, 1)]).line(), "generation 1 (pid 101) serves");
        assert_eq!(snapshot(State::Serving, vec![current(101, 1), current(102, 1)]).line(), "generation 1 (2 workers) serves");
        assert_eq!(
            snapshot(State::Reloading, vec![current(101, 1), worker(102, 2, Role::Candidate, 1, None)]).line(),
            "reloading: generation 2 (pid 102) starts, generation 1 (pid 101) serves"
        );
        assert_eq!(
            Snapshot { newest: GenerationNumber(2), ..snapshot(State::Reloading, vec![current(101, 1)]) }.line(),
            "reloading: generation 2 starts, generation 1 (pid 101) serves",
            "a candidate that does not run yet"
        );
        assert_eq!(reloaded().line(), "generation 2 (pid 102) serves; stopping workers: 1");
        assert_eq!(snapshot(State::Stopping, vec![retiring(101, 1)]).line(), "shutting down: waiting for 1 worker");
        assert_eq!(snapshot(State::Ended, vec![]).line(), "exiting");
        let last_exit = Some("the program (pid 101) exited with status 1 after 0.20 s".to_owned());
        assert_eq!(
            Snapshot { last_exit, ..snapshot(State::Ended, vec![]) }.line(),
            "the program (pid 101) exited with status 1 after 0.20 s"
        );
    }

    #[test]
    fn a_line_holds_what_the_program_reports() {
        let line = |state| Snapshot { reported: Some(OneLine::from("5 jobs")), ..snapshot(state, vec![current(101, 1)]) }.line();
        assert_eq!(line(State::Serving), "generation 1 (pid 101) serves; the program reports: 5 jobs");
        assert_eq!(line(State::Stopping), "shutting down: waiting for 1 worker");
    }

    #[test]
    fn a_line_says_why_the_last_reload_failed() {
        let text = "reload failed: generation 2 did not start: cannot execute a\u{1b}\nb; generation 1 keeps running";
        let last_reload = Some(LastReloadSeen { ok: false, text: text.into(), ago: Duration::ZERO });
        assert_eq!(
            Snapshot { last_reload, ..snapshot(State::Serving, vec![current(101, 1)]) }.line(),
            "generation 1 (pid 101) serves; last reload failed: generation 2 did not start: cannot execute a\\u{1b}\\nb; generation 1 keeps running"
        );
    }

    #[test]
    fn a_table_can_be_read_at_a_glance() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            reloaded().table(),
            format!(
                "socketmaster {version}, pid 7, up 3 s: generation 2 (pid 102) serves; stopping workers: 1

GENERATION  ROLE           PID       AGE
         2  current        102       2 s
         1  retiring       101       3 s  sent SIGTERM 1 s ago

        FD  LISTENER
         3  tcp://127.0.0.1:80  web  12 waiting
         4  unix:///run/\"a\"

last reload, 1 s ago: generation 2 (pid 102) is current after 1.00 s"
            )
        );
    }

    #[test]
    fn the_columns_fit_the_longest_role() {
        let candidate = WorkerSeen { role: Role::Candidate, ..current(102, 2) };
        let table = snapshot(State::Reloading, vec![current(101, 1), candidate]).table();
        let mut rows = table.lines().skip(2).take(3);
        let width = rows.next().expect("a header").len();
        assert!(rows.all(|row| row.len() == width), "{table}");
    }

    #[test]
    fn no_name_breaks_the_table() {
        let listeners = vec![ListenerSeen { fd: 3, uri: "unix:///a\nb".into(), name: Some("\u{1b}[2J".into()), queue: Some(0) }];
        let table = Snapshot { listeners, ..snapshot(State::Serving, vec![]) }.table();
        assert!(table.ends_with("\n         3  unix:///a\\nb  \\u{1b}[2J"), "{table}");
    }

    #[test]
    fn machines_get_one_line_with_everything() {
        let line = reloaded().report().line();
        assert_eq!(line.matches('\n').count(), 1);
        let (text, members) = line.split_once(",\"status\":").expect("a status");
        assert!(text.starts_with("{\"ok\":true,\"text\":\"socketmaster "), "{text}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            members,
            format!(
                "\"generation 2 (pid 102) serves; stopping workers: 1\",\"version\":\"{version}\",\"pid\":7,\"uptime\":3.0,\"state\":\"serving\",\
                 \"workers\":[{{\"pid\":102,\"generation\":2,\"role\":\"current\",\"age\":2.0,\"told\":null}},\
                 {{\"pid\":101,\"generation\":1,\"role\":\"retiring\",\"age\":3.0,\"told\":{{\"signal\":\"SIGTERM\",\"ago\":1.0}}}}],\
                 \"listeners\":[{{\"fd\":3,\"uri\":\"tcp://127.0.0.1:80\",\"name\":\"web\",\"queue\":12}},\
                 {{\"fd\":4,\"uri\":\"unix:///run/\\\"a\\\"\",\"name\":null}}],\
                 \"last_reload\":{{\"ok\":true,\"text\":\"generation 2 (pid 102) is current after 1.00 s\",\"ago\":1.0}}}}\n"
            )
        );
        let none = snapshot(State::Stopping, vec![]).report().line();
        assert!(none.ends_with("\"state\":\"stopping\",\"workers\":[],\"listeners\":[],\"last_reload\":null}\n"), "{none}");
    }

    #[test]
    fn ages_are_printed_in_their_two_largest_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_500, "2 h 5 min"), (90_000, "1 d 1 h")] {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}
