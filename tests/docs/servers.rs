//! A server's recipe: its line is started as the page shows it, reloaded under load, and stopped.
//!
//! `<!-- test: server NAME KEY=VALUE... version: COMMAND -->` stands before the heading of its section. Each section has a directory
//! and a shell of its own. Blocks that call `socketmaster` are masters and stay in the background; all others run to their end, before
//! that. Keys:
//!
//! * `port=N`: where it serves; 8080 unless given.
//! * `slow=PATH`: what takes it about two seconds to answer.
//! * `download=PATH file=FILE`: instead of that, a large file which is put there, and which the client reads for two seconds.
//! * `drops=N`: how many connections the server itself may reset or close without an answer, for a reason that its section gives; none unless given.
//! * `status=N`: the master's exit status; 0 unless given.
//!
//! Two loads ask together 200 times a second, one with a new connection each time and one with connections that it keeps. A kept
//! connection that is closed before the first byte of an answer is asked again once on a new one, and counted apart.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::harness::load::{Load, Outcome, Report, Running, Target};
use crate::page::{Block, Kind};
use crate::session::{Session, Step};

const RATE: f64 = 200.0;
const CLIENTS: usize = 4;
/// For whatever should take a few seconds.
const SOON: Duration = Duration::from_secs(60);
/// Larger than what the kernel keeps of a connection.
const LARGE: u64 = 64 << 20;
/// Behind a request, before what is to meet it. It has been accepted then by any server that is idle.
const BEGUN: Duration = Duration::from_millis(500);

pub struct Recipe {
    pub name: String,
    port: u16,
    slow: String,
    large_file: Option<String>,
    drops: u64,
    status: i32,
    version: String,
}

impl Recipe {
    pub fn parse(text: &str) -> Result<Recipe, String> {
        let (words, version) = text.split_once(" version: ").ok_or_else(|| format!("a recipe needs a version: {text:?}"))?;
        let mut words = words.split_whitespace();
        let name = words.next().ok_or("a recipe needs a name")?.to_owned();
        let mut recipe = Recipe { name, port: 8080, slow: String::new(), large_file: None, drops: 0, status: 0, version: version.into() };
        for word in words {
            let wrong = || format!("{word:?} is nothing that a recipe has");
            match word.split_once('=').ok_or_else(wrong)? {
                ("port", port) => recipe.port = port.parse().map_err(|_| wrong())?,
                ("slow" | "download", path) => recipe.slow = path.into(),
                ("file", path) => recipe.large_file = Some(path.into()),
                ("drops", drops) => recipe.drops = drops.parse().map_err(|_| wrong())?,
                ("status", status) => recipe.status = status.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        if recipe.slow.is_empty() { Err(format!("the recipe of {} has nothing slow", recipe.name)) } else { Ok(recipe) }
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// A line of the table.
#[derive(Default, Serialize, Deserialize)]
pub struct Row {
    pub server: String,
    pub version: String,
    pub reloads: u32,
    pub requests: u64,
    pub failed: u64,
    pub refused: u64,
    pub reset: u64,
    pub retried: u64,
    pub longest_ms: u64,
    /// Whether the request over a reload, and the one over the stop, were completed.
    pub over_reload: Option<bool>,
    pub over_stop: Option<bool>,
    pub status: Option<i32>,
}

impl Row {
    pub const HEAD: &str = "server                version   reloads  requests  failed  refused  reset  retried  longest wait  over a reload  stop       status";

    pub fn line(&self) -> String {
        let word = |completed| match completed {
            Some(true) => "completed",
            Some(false) => "CUT",
            None => "-",
        };
        format!(
            "{:<22}{:<9}{:>8}{:>10}{:>8}{:>9}{:>7}{:>9}{:>11} ms  {:<13}  {:<9}  {}",
            self.server,
            self.version,
            self.reloads,
            self.requests,
            self.failed,
            self.refused,
            self.reset,
            self.retried,
            self.longest_ms,
            word(self.over_reload),
            word(self.over_stop),
            self.status.map_or("-".into(), |status| status.to_string())
        )
    }
}

/// Starts, reloads and stops what the blocks of a section say. The row holds what was seen until the first thing went wrong.
pub fn try_out(recipe: &Recipe, blocks: &[Block], session: &mut Session, write: impl Fn(&str, &str)) -> (Row, Result<(), String>) {
    let mut row = Row { server: recipe.name.clone(), ..Row::default() };
    let result = Trial { recipe, session, masters: Vec::new() }.run(blocks, &mut row, write);
    (row, result)
}

struct Trial<'a> {
    recipe: &'a Recipe,
    session: &'a mut Session,
    masters: Vec<Step>,
}

impl Trial<'_> {
    fn run(mut self, blocks: &[Block], row: &mut Row, write: impl Fn(&str, &str)) -> Result<(), String> {
        let result = self.steps(blocks, row, write);
        result.map_err(|why| {
            let logs = self.masters.iter().map(|step| last_lines(&self.session.printed(step)));
            format!("{why}\n{}", logs.collect::<Vec<_>>().join("\n"))
        })
    }

    fn steps(&mut self, blocks: &[Block], row: &mut Row, write: impl Fn(&str, &str)) -> Result<(), String> {
        let reloads = env::var("RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(10);
        self.start(blocks, write)?;
        let version = self.session.run(&self.recipe.version);
        row.version = version_in(&version.output).ok_or_else(|| format!("no version in {:?}", version.output))?;
        if let Some(path) = &self.recipe.large_file {
            File::create(path).and_then(|file| file.set_len(LARGE)).map_err(|error| format!("{path}: {error}"))?;
        }
        let loads = self.load()?;
        for number in 1..=reloads {
            let slow = (number == reloads).then(|| self.slow());
            self.reload()?;
            row.reloads += 1;
            row.over_reload = slow.map(|slow| finish(slow).is_ok());
        }
        let reports = loads.map(Running::stop);
        count(row, &reports);
        let dropped: u64 = reports.iter().map(|report| report.count(Outcome::Reset) + report.count(Outcome::Short)).sum();
        // No other failure is allowed.
        if row.failed > dropped.min(self.recipe.drops) {
            let first = reports.iter().find_map(|report| report.first_error.clone()).unwrap_or_default();
            return Err(format!("{} of {} requests failed, first: {first}", row.failed, row.requests));
        }
        if row.over_reload != Some(true) {
            return Err("a reload cut a request".into());
        }
        let slow = self.slow();
        if slow.is_finished() {
            return Err(format!("the slow request ended before the stop: {:?}", finish(slow)));
        }
        self.tell_to_stop()?;
        let completed = finish(slow);
        row.over_stop = Some(completed.is_ok());
        row.status = self.wait_for_the_end()?;
        completed.map_err(|why| format!("the stop cut a request: {why}"))?;
        if row.status == Some(self.recipe.status) {
            return Ok(());
        }
        Err(format!("it exited with {:?}, not with {}", row.status, self.recipe.status))
    }

    fn start(&mut self, blocks: &[Block], write: impl Fn(&str, &str)) -> Result<(), String> {
        for block in blocks {
            match &block.kind {
                Kind::File(path) => write(path, &block.text),
                Kind::Shell if block.text.lines().any(|line| line.starts_with("socketmaster ")) => {
                    let index = self.masters.len();
                    let script = format!("export SOCKETMASTER_CONTROL=@docs-{index}\n{}", block.text);
                    self.masters.push(self.session.leave(&script, index));
                }
                Kind::Shell => {
                    let done = self.session.run(&block.text);
                    if !done.well() {
                        return Err(format!("line {}: status {:?}: {}\n{}", block.line, done.status, block.text, done.output));
                    }
                }
                Kind::Console | Kind::Text => {}
            }
        }
        if self.masters.is_empty() { Err("no block starts socketmaster".into()) } else { Ok(()) }
    }

    /// Waits for the first answer, then begins both loads and waits for theirs.
    fn load(&mut self) -> Result<[Running; 2], String> {
        let target = Target::Tcp(self.recipe.address());
        let once = Load { count: Some(1), clients: 1, timeout: Duration::from_secs(5), ..Load::new(target.clone()) };
        let mut last = None;
        self.until("an answer", || {
            let report = once.clone().run();
            last = report.first_error.clone();
            report.ok() == 1
        })
        .map_err(|why| format!("{why}: {}", last.unwrap_or_default()))?;
        let loads = [false, true]
            .map(|keep_alive| Load { clients: CLIENTS, rate: Some(RATE / 2.0), keep_alive, ..Load::new(target.clone()) }.start());
        self.until("answers to both loads", || loads.iter().all(|load| load.so_far().ok() > 0))?;
        Ok(loads)
    }

    fn until(&mut self, what: &str, mut seen: impl FnMut() -> bool) -> Result<(), String> {
        let end = Instant::now() + SOON;
        while !seen() {
            let running = (0..self.masters.len()).map(|index| format!("kill -0 ${{jobs[{index}]}}\n")).collect::<String>();
            if !self.session.run(&format!("({running})")).well() {
                return Err(format!("waited for {what}, but a master has exited"));
            }
            if Instant::now() > end {
                return Err(format!("waited {} s for {what}", SOON.as_secs()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), String> {
        for index in 0..self.masters.len() {
            let done = self.session.run(&format!("socketmaster -control=@docs-{index} -s reload"));
            if !done.well() {
                return Err(format!("a reload failed: {}", done.output.trim_end()));
            }
        }
        Ok(())
    }

    /// SIGTERM to every master. Its pid is another one than that of the job, which is a shell.
    fn tell_to_stop(&mut self) -> Result<(), String> {
        let pids = (0..self.masters.len()).map(|index| {
            format!("$(socketmaster -control=@docs-{index} -s status | sed -n 's/^socketmaster .*, pid \\([0-9]*\\), .*/\\1/p')")
        });
        let script = format!("pids=\"{}\"\nkill -TERM $pids", pids.collect::<Vec<_>>().join(" "));
        let done = self.session.run(&script);
        if done.well() { Ok(()) } else { Err(format!("cannot stop it: {}", done.output)) }
    }

    /// The status of the first master.
    fn wait_for_the_end(&mut self) -> Result<Option<i32>, String> {
        for index in (0..self.masters.len()).rev() {
            let done = self.session.run(&format!("set +e\nwait ${{jobs[{index}]}}\nstatus=$?"));
            done.status.ok_or("it did not exit after SIGTERM")?;
        }
        Ok(self.session.run("echo $status").output.trim().parse().ok())
    }

    /// Begins a request that takes about two seconds.
    fn slow(&self) -> JoinHandle<Result<(), String>> {
        let (address, path, download) = (self.recipe.address(), self.recipe.slow.clone(), self.recipe.large_file.is_some());
        let slow = thread::spawn(move || ask_slowly(address, &path, download).map_err(|error| error.to_string())?);
        thread::sleep(BEGUN);
        slow
    }
}

fn finish(slow: JoinHandle<Result<(), String>>) -> Result<(), String> {
    slow.join().map_err(|_| "the client panicked")?
}

/// Asks and reads to the end. Of a download, as much is read at a time as makes it last for two seconds.
fn ask_slowly(address: SocketAddr, path: &str, download: bool) -> io::Result<Result<(), String>> {
    let mut stream = TcpStream::connect_timeout(&address, SOON)?;
    stream.set_read_timeout(Some(SOON))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut piece = vec![0; 1 << 20];
    let (mut head, mut total) = (Vec::new(), 0);
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        if head.len() < 4096 {
            head.extend_from_slice(&piece[..length.min(4096)]);
        }
        if download {
            thread::sleep(Duration::from_secs_f64(2.0 * length as f64 / LARGE as f64));
        }
    }
    let text = String::from_utf8_lossy(&head);
    let wanted = if download { LARGE } else { 1 };
    let begins_well = text.starts_with("HTTP/1.1 200 ") || text.starts_with("HTTP/1.0 200 ");
    let whole = begins_well && total >= wanted && (download || is_whole(&text));
    Ok(if whole { Ok(()) } else { Err(format!("after {total} bytes: {:?}", text.lines().next().unwrap_or_default())) })
}

/// An answer of a few lines, to which the server has put its length or an end.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    match (header("content-length"), header("transfer-encoding")) {
        (Some(length), _) => length.parse() == Ok(body.len()),
        (None, Some(coding)) => coding == "chunked" && body.ends_with("0\r\n\r\n"),
        (None, None) => !body.is_empty(),
    }
}

fn count(row: &mut Row, reports: &[Report]) {
    let all = |value: fn(&Report) -> u64| reports.iter().map(value).sum::<u64>();
    row.requests = all(Report::requests);
    row.failed = all(Report::failed);
    row.refused = all(|report| report.count(Outcome::Refused));
    row.reset = all(|report| report.count(Outcome::Reset));
    row.retried = all(|report| report.retried);
    row.longest_ms = reports.iter().map(|report| report.max.as_millis() as u64).max().unwrap_or_default();
}

/// The first thing that looks like a version.
fn version_in(text: &str) -> Option<String> {
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    numbers.into_iter().find(|word| word.contains('.')).map(str::to_owned)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].iter().map(|line| format!("    | {line}")).collect::<Vec<_>>().join("\n")
}
