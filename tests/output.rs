//! Where the output goes: untouched, line by line behind a pid, or to syslog; and that no reader, however slow or dead,
//! holds up the master or costs a byte.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::Signal::{SIGHUP, SIGKILL, SIGTERM, SIGUSR1, SIGUSR2};

use crate::harness::pty::Pty;
use crate::harness::{
    FreeDir, Inherited, Master, SOON, Setup, Stream, children_of, eventually, exited, fixture, free_dir, has_pending, open_fds, phrase,
    pid_namespaces, pre_exec, send, skip, state_of,
};

const RAW: &[u8] = b"nul \0 high \xff\xfe\nno newline at the end";
/// Lines above these are cut.
const LONGEST: usize = 1024 * 1024;
const LONGEST_FOR_SYSLOG: usize = 8 * 1024;

fn run(setup: Setup, verbs: &str) -> Master {
    setup.program(fixture("worker"), verbs.split(' ')).spawn()
}

/// Has the generations do different things: the first these, the second those, and so on.
fn by_generation(setup: Setup, dir: &Path, plans: &[String]) -> Setup {
    for (index, plan) in plans.iter().enumerate() {
        fs::write(dir.join(format!("plan.{}", index + 1)), plan).expect("a file");
    }
    setup.program(fixture("worker"), ["plan".as_ref(), dir.join("plan.{generation}").as_os_str()])
}

#[track_caller]
fn wait_file(path: &Path) {
    eventually(&format!("{} appears", path.display()), SOON, || path.exists());
}

/// The pid in the last note with this text.
fn pid_in_note(note: &str) -> u32 {
    let (_, rest) = note.split_once("pid ").expect("a pid");
    rest.split(|char: char| !char.is_ascii_digit()).next().and_then(|pid| pid.parse().ok()).expect("a number")
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Note(String),
    /// A worker's line or a part of it.
    Piece {
        pid: u32,
        continued: bool,
        bytes: Vec<u8>,
    },
}

impl Entry {
    /// Reads a line without its newline. A line that is neither a note nor a piece is broken.
    #[track_caller]
    fn read(line: &[u8]) -> Entry {
        if line.starts_with(b"socketmaster[") {
            return Entry::Note(String::from_utf8_lossy(line).into_owned());
        }
        let piece = || {
            let digits = line.strip_prefix(b"[")?.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let pid = std::str::from_utf8(&line[1..=digits]).ok()?.parse().ok()?;
            let rest = line[1 + digits..].strip_prefix(b"]")?;
            let (continued, bytes) = rest.strip_prefix(b"+").map_or((false, rest), |rest| (true, rest));
            Some(Entry::Piece { pid, continued, bytes: bytes.strip_prefix(b" ")?.to_vec() })
        };
        let Some(piece) = piece() else {
            let shown = &line[..line.len().min(200)];
            panic!("neither a note nor a worker's line, {} bytes: {}", line.len(), shown.escape_ascii())
        };
        piece
    }
}

#[track_caller]
fn entries(log: &[u8]) -> Vec<Entry> {
    let Some(log) = log.strip_suffix(b"\n") else { panic!("the log does not end with a line's end") };
    log.split(|byte| *byte == b'\n').map(Entry::read).collect()
}

fn pieces(entries: &[Entry]) -> Vec<(u32, bool, &[u8])> {
    let piece = |entry| match entry {
        &Entry::Piece { pid, continued, ref bytes } => Some((pid, continued, bytes.as_slice())),
        Entry::Note(_) => None,
    };
    entries.iter().filter_map(piece).collect()
}

/// Checks the output of the verb `lines`: each line is whole, follows the pid of its writer, and is in order.
/// How many there are of each writer and length. Lines of another kind are passed over.
#[track_caller]
fn numbered<'a>(pieces: impl IntoIterator<Item = (u32, bool, &'a [u8])>) -> BTreeMap<(u32, usize), usize> {
    let mut counts = BTreeMap::new();
    for (pid, continued, bytes) in pieces {
        let mut parts = bytes.splitn(3, |byte| *byte == b' ');
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
        let (Some(writer), Some(number)) = (number(), number()) else { continue };
        let rest = parts.next().unwrap_or_default();
        let count = counts.entry((pid, bytes.len() + 1)).or_insert(0);
        assert!(rest.iter().all(|byte| *byte == b'x'), "line {number} of {pid} is broken");
        assert_eq!((u64::from(pid), *count, continued), (writer, number as usize, false), "of {pid}");
        *count += 1;
    }
    counts
}

#[test]
fn by_default_workers_write_to_the_master_s_own_output_and_it_is_not_in_the_way() {
    for (prefix, same) in [("-prefix=false", true), ("-prefix", false)] {
        let dir = free_dir();
        let file = dir.join("report");
        let master = run(Setup::new().arg(prefix), &format!("report {} signals", file.display()));
        let inherited = Inherited::wait(&file);
        // By then the pipe by which the execution was reported is closed.
        master.wait_current(1);
        let [master, worker] = [open_fds(master.pid()), inherited.fds().into_iter().map(|(fd, what)| (fd, what.to_owned())).collect()];
        for fd in [1, 2] {
            assert!(worker[&fd].starts_with("cloexec=0 nonblock=0 pipe:["), "{prefix}: {worker:#?}");
            assert_eq!(worker[&fd].ends_with(&format!(" {}", master[&fd])), same, "{prefix}: {fd} of {worker:#?} and {master:#?}");
        }
        let others = master.values().filter(|what| what.starts_with("pipe:") && ![&master[&1], &master[&2]].contains(what));
        assert_eq!(others.count() == 0, same, "{prefix}: {master:#?}");
    }
}

#[test]
fn by_default_every_byte_arrives_as_it_was_written() {
    let mut master = run(Setup::new(), "raw complain loud write 70000 z");
    assert_eq!(master.wait_exit(SOON), exited(0));
    assert_eq!(master.bytes(Stream::Out), [RAW, &[b'z'; 70_000]].concat());
    let loud: Vec<String> =
        master.lines().iter().filter(|line| line.stream == Stream::Err && !line.is_note()).map(|line| line.text()).collect();
    assert_eq!(loud, ["loud"]);
}

#[test]
fn two_generations_that_write_at_once_lose_break_and_mix_up_nothing() {
    for (count, length) in [(10, 1_000_000), (20_000, 100), (3, LONGEST)] {
        let dir = free_dir();
        let ready = dir.join("{generation}");
        let verbs = format!("ready-to {} signals --count 1 lines {count} {length} lines {count} {} --stderr", ready.display(), length - 1);
        // One ends while the other is a candidate, and so becomes the current one, whichever it is.
        let mut master = run(Setup::new().arg("-prefix").arg("-start=600000"), &verbs);
        wait_file(&dir.join("1"));
        master.signal(SIGHUP);
        wait_file(&dir.join("2"));
        let workers = children_of(master.pid());
        assert_eq!(workers.len(), 2);
        for worker in &workers {
            assert!(send(*worker, SIGUSR1));
        }
        assert_eq!(master.wait_exit(SOON), exited(0));
        assert_eq!(master.bytes(Stream::Out), b"");
        let log = entries(&master.bytes(Stream::Err));
        let expected = workers.iter().flat_map(|pid| [((*pid, length), count), ((*pid, length - 1), count)]).collect();
        assert_eq!(numbered(pieces(&log)), expected);
    }
}

#[test]
fn a_line_over_the_limit_goes_on_behind_a_mark() {
    // With nothing to say it is just the end of the line.
    let mut master = run(Setup::new().arg("-prefix"), "write 3000000 y say end write 1048576 z say  exit 4");
    assert_eq!(master.wait_exit(SOON), exited(4));
    let log = entries(&master.bytes(Stream::Err));
    let pid = pid_in_note(&master.wait_note("started", SOON));
    let pieces = pieces(&log);
    let shape: Vec<(u32, bool, usize)> = pieces.iter().map(|(pid, continued, bytes)| (*pid, *continued, bytes.len())).collect();
    let long = [(false, LONGEST), (true, LONGEST), (true, 3_000_000 - 2 * LONGEST + 3), (false, LONGEST)];
    assert_eq!(shape, long.map(|(continued, length)| (pid, continued, length)));
    let whole: Vec<u8> = pieces[..3].iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
    assert_eq!(whole, [&[b'y'; 3_000_000][..], b"end"].concat());
}

#[test]
fn bytes_that_are_not_text_arrive_unchanged_and_an_unfinished_last_line_is_ended() {
    let mut master = run(Setup::new().arg("-prefix"), "raw");
    assert_eq!(master.wait_exit(SOON), exited(0));
    let pid = pid_in_note(&master.wait_note("started", SOON));
    let lines = [&b"nul \0 high \xff\xfe"[..], b"no newline at the end"];
    assert_eq!(pieces(&entries(&master.bytes(Stream::Err))), lines.map(|line| (pid, false, line)));
}

#[test]
fn all_output_of_a_worker_is_logged_before_its_exit() {
    const RELOADS: usize = 30;
    let dir = free_dir();
    let mut plans = vec!["signals".to_owned()];
    // 60 kB: what a pipe holds, so that all of it is there when the worker is not any more.
    plans.extend((0..RELOADS).map(|_| "lines 600 100 write 300 z exit 3".to_owned()));
    let mut master = by_generation(Setup::new().arg("-prefix").arg("-start=600000"), &dir, &plans).spawn();
    master.wait_output("ready", SOON);
    for generation in 2..RELOADS + 2 {
        master.signal(SIGHUP);
        master.reload_failed(generation);
    }
    assert_eq!(master.stop(SIGTERM), exited(0));
    let log = entries(&master.bytes(Stream::Err));
    let mut deaths = 0;
    for (index, entry) in log.iter().enumerate() {
        let Entry::Note(note) = entry else { continue };
        if !note.contains(&phrase::exited_with(3)) || note.contains(phrase::RELOAD_FAILED) {
            continue;
        }
        let pid = pid_in_note(note);
        let before: Vec<_> = pieces(&log[..index]).into_iter().filter(|(writer, _, _)| *writer == pid).collect();
        assert_eq!(numbered(before.iter().copied()), [((pid, 100), 600)].into());
        assert_eq!(before.last(), Some(&(pid, false, &[b'z'; 300][..])), "the last line, which has no end");
        deaths += 1;
    }
    assert_eq!(deaths, RELOADS);
}

#[test]
fn a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end() {
    let mut master = run(Setup::new().arg("-prefix"), "grandchild-holds-pipe say bye exit 5");
    assert_eq!(master.wait_exit(SOON), exited(5));
    let said = master.wait_output("grandchild ", SOON);
    let grandchild: u32 = said.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("its pid");
    let state = state_of(grandchild);
    send(grandchild, SIGKILL);
    assert_eq!(state, Some('S'), "it was to live on");
    master.wait_output("bye", SOON);
}

#[test]
fn what_a_grandchild_writes_after_the_worker_s_death_is_still_relayed() {
    let worker = fixture("worker").display().to_string();
    let grandchild = format!("if [ $SERVER_STARTER_GENERATION = 1 ]; then {worker} signals --count 1 say late & fi");
    let script = format!("{grandchild}; exec {worker} signals");
    let mut master = Setup::new().arg("-prefix").arg("-start=0").program("sh", ["-c", &script]).spawn();
    master.wait_outputs("ready", 2, SOON);
    let leader = pid_in_note(&master.wait_note("started", SOON));
    let grandchild = children_of(leader)[0];
    let pipes = || open_fds(master.pid()).values().filter(|what| what.starts_with("pipe:")).count();
    let before = pipes();
    master.signal(SIGHUP);
    master.wait_note(&format!("(pid {leader}) exited"), SOON);
    master.wait_outputs("ready", 3, SOON);
    assert!(pipes() > before, "those of the grandchild are still open");
    assert!(send(grandchild, SIGUSR1));
    assert_eq!(master.wait_output("late", SOON), format!("[{leader}] late"));
    eventually("its pipes are closed", SOON, || pipes() == before);
    assert_eq!(master.stop(SIGTERM), exited(0));
}

/// As under systemd: JOURNAL_STREAM says that standard error is the journal, by device and inode.
#[test]
fn the_journal_gets_levels_and_everything_else_name_and_pid() {
    for is_the_journal in [true, false] {
        let (reader, journal) = UnixStream::pair().expect("a pair");
        let stat = nix::sys::stat::fstat(&journal).expect("a socket");
        let inode = if is_the_journal { stat.st_ino } else { stat.st_ino + 1 };
        let setup = Setup::new().env("JOURNAL_STREAM", format!("{}:{inode}", stat.st_dev));
        let mut master = run(with_stderr(setup, OwnedFd::from(journal).into()), "exit 3");
        assert_eq!(master.wait_exit(SOON), exited(3));
        drop(master);
        let text = String::from_utf8(read_all(reader)).expect("text");
        let start = if is_the_journal { "<6>" } else { "socketmaster[" };
        assert!(text.lines().count() == 5 && text.lines().all(|line| line.starts_with(start)), "{text}");
        assert_eq!(text.contains("socketmaster["), !is_the_journal, "{text}");
    }
}

/// A start that fails: the journal reads `socketmaster[PID]: cannot ...`, and not the name twice.
#[test]
fn the_journal_gets_the_level_of_an_error_at_the_start() {
    let (reader, journal) = UnixStream::pair().expect("a pair");
    let stat = nix::sys::stat::fstat(&journal).expect("a socket");
    let setup = Setup::new().arg("-listen=nonsense").env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    let mut master = run(with_stderr(setup, OwnedFd::from(journal).into()), "exit 3");
    master.wait_exit(SOON);
    drop(master);
    let text = String::from_utf8(read_all(reader)).expect("text");
    assert!(text.starts_with("<3>") && text.contains("nonsense") && !text.contains("socketmaster: "), "{text}");
}

/// Kinds of standard error that the test does not read at first.
fn unread() -> Vec<(&'static str, Box<dyn Read + Send>, Stdio)> {
    let (reader, pipe) = io::pipe().expect("a pipe");
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let (peer, socket) = UnixStream::pair().expect("a pair");
    let (pty, tty) = Pty::open();
    vec![
        ("a pipe", Box::new(reader), pipe.into()),
        ("a socket", Box::new(peer), OwnedFd::from(socket).into()),
        ("a terminal", Box::new(pty.screen()), tty.into()),
    ]
}

/// Reads until no writer is left.
fn read_all(mut source: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    match source.read_to_end(&mut all) {
        Ok(_) => all,
        // That is how a terminal ends, and its lines end as on a typewriter.
        Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => all.into_iter().filter(|byte| *byte != b'\r').collect(),
        Err(error) => panic!("after {} bytes: {error}", all.len()),
    }
}

/// With that as the master's standard error.
fn with_stderr(setup: Setup, stderr: Stdio) -> Setup {
    setup.tune(|command| {
        command.stderr(stderr);
    })
}

/// How many bytes a process has written so far.
fn written_by(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/io")).ok()?.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok())
}

/// Waits until a worker that has much to say gets no further.
#[track_caller]
fn wait_until_blocked(worker: u32, all: u64) {
    let mut last = 0;
    let what = format!("{worker} is blocked before it has written {all} bytes");
    eventually(&what, SOON, || {
        let now = written_by(worker)?;
        (now > 0 && std::mem::replace(&mut last, now) == now && state_of(worker) == Some('S')).then_some(())
    });
    assert!(last < all, "{last} of {all} bytes were written, though nobody reads");
}

/// What two generations do: the first writes so many lines at a signal, the second nothing.
fn plans_of_two_one_writing(dir: &FreeDir, lines: usize) -> [String; 2] {
    let path = |name: &str| dir.join(name).display().to_string();
    [
        format!("ready-to {} signals --count 1 lines {lines} 100 ready-to {} signals", path("1"), path("written")),
        format!("ready-to {} signals", path("2")),
    ]
}

/// Has the first generation of these plans write more than anybody takes; signals and a reload go on as always. Its pid.
#[track_caller]
fn fill_the_log_and_reload(master: &Master, dir: &FreeDir, lines: usize, kind: &str) -> u32 {
    wait_file(&dir.join("1"));
    let worker = children_of(master.pid())[0];
    assert!(send(worker, SIGUSR1));
    wait_until_blocked(worker, lines as u64 * 100);
    master.signal(SIGUSR2);
    eventually("the signal is passed on", SOON, || has_pending(worker, libc::SIGUSR2));
    master.signal(SIGHUP);
    wait_file(&dir.join("2"));
    assert!(!dir.join("written").exists(), "{kind}: the worker has written all, though nobody reads");
    worker
}

#[test]
fn an_unread_log_blocks_the_workers_but_not_the_master_and_loses_nothing() {
    const LINES: usize = 20_000;
    for (kind, source, stderr) in unread() {
        let dir = free_dir();
        let plans = plans_of_two_one_writing(&dir, LINES);
        let setup = with_stderr(Setup::new().arg("-prefix").arg("-start=600000"), stderr);
        let mut master = by_generation(setup, &dir, &plans).spawn();
        let worker = fill_the_log_and_reload(&master, &dir, LINES, kind);

        let reader = thread::spawn(move || read_all(source));
        wait_file(&dir.join("written"));
        assert_eq!(master.stop(SIGTERM), exited(0), "{kind}");
        let log = entries(&reader.join().expect("it is read"));
        let pieces = pieces(&log);
        assert_eq!(numbered(pieces.iter().copied()), [((worker, 100), LINES)].into(), "{kind}");
        let told: Vec<String> = pieces.iter().map(|(pid, _, bytes)| format!("{pid} {}", bytes.escape_ascii())).collect();
        for said in ["signal 10", "signal 12", "signal 15"] {
            assert!(told.contains(&format!("{worker} {said}")), "{kind}: {said}");
        }
        let notes: Vec<&Entry> = log.iter().filter(|entry| matches!(entry, Entry::Note(_))).collect();
        let expected = ["listening", "started", "current", "received", "started", "stopping", "told", "told", "exited", "exited", "ended"];
        assert_eq!(notes.len(), expected.len(), "{kind}: {notes:#?}");
    }
}

/// Dead workers cannot wait. Their output is kept up to a bound, and the rest is counted.
#[test]
fn unread_output_of_exited_workers_is_bounded_in_total_and_the_rest_is_counted() {
    const DEAD: usize = 60;
    const LINES: usize = 600;
    let dir = free_dir();
    let (reader, pipe) = io::pipe().expect("a pipe");
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let path = |name: &str| dir.join(name).display().to_string();
    let mut plans = vec![format!("ready-to {} signals --count 1 lines 5000 100 signals", path("1"))];
    plans.extend((2..DEAD + 2).map(|generation| format!("report {} lines {LINES} 100 exit 3", path(&generation.to_string()))));
    let setup = with_stderr(Setup::new().arg("-prefix").arg("-start=600000"), pipe.into());
    let mut master = by_generation(setup, &dir, &plans).spawn();
    wait_file(&dir.join("1"));
    let first = children_of(master.pid())[0];
    assert!(send(first, SIGUSR1));
    wait_until_blocked(first, 500_000);
    for generation in 2..DEAD + 2 {
        master.signal(SIGHUP);
        wait_file(&dir.join(generation.to_string()));
        eventually("it is dead and buried", SOON, || master.children() == [first]);
    }
    let reader = thread::spawn(move || read_all(reader));
    eventually("the first has written all", SOON, || written_by(first).is_some_and(|bytes| bytes >= 500_000));
    assert_eq!(master.stop(SIGTERM), exited(0));
    let log = entries(&reader.join().expect("it is read"));
    let mut lost = BTreeMap::new();
    for entry in &log {
        let Entry::Note(note) = entry else { continue };
        if let Some((_, loss)) = note.split_once(": lost ") {
            let bytes: usize = loss.split(' ').next().and_then(|bytes| bytes.parse().ok()).expect("a number");
            assert!(lost.insert(phrase::pid_in(loss), bytes).is_none(), "once each: {note}");
        }
    }
    assert!(lost.len() > DEAD / 2 && lost.len() < DEAD, "{lost:?}");
    let mut kept = BTreeMap::<u32, usize>::new();
    for (pid, _, bytes) in pieces(&log) {
        // A line that was cut where the room ended has no end of its own.
        *kept.entry(pid).or_default() += if bytes.len() == 99 { 100 } else { bytes.len() };
    }
    assert!(!lost.contains_key(&first) && kept.remove(&first) >= Some(500_000), "who lives waits, and loses nothing");
    let pids: std::collections::BTreeSet<u32> = lost.keys().chain(kept.keys()).copied().collect();
    assert_eq!(pids.len(), DEAD);
    for pid in pids {
        let [kept, lost] = [&kept, &lost].map(|bytes| bytes.get(&pid).copied().unwrap_or(0));
        assert_eq!(kept + lost, LINES * 100, "{kept} kept and {lost} lost of {pid}");
    }
    let all: usize = kept.values().sum();
    assert!(all < 2 * 1024 * 1024, "{all} bytes were kept");
}

/// Otherwise a reader of the log decides when a container ends.
#[test]
fn a_reader_that_takes_a_little_now_and_then_does_not_hold_up_the_end_for_ever() {
    const LINES: usize = 5_000;
    let dir = free_dir();
    let (mut reader, pipe) = io::pipe().expect("a pipe");
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let plan = format!("ready-to {} signals --count 1 lines {LINES} 100", dir.join("1").display());
    let mut master = by_generation(with_stderr(Setup::new().arg("-prefix"), pipe.into()), &dir, &[plan]).spawn();
    wait_file(&dir.join("1"));
    let worker = children_of(master.pid())[0];
    assert!(send(worker, SIGUSR1));
    wait_until_blocked(worker, LINES as u64 * 100);
    assert!(send(worker, SIGKILL));
    // At this rate it would take longer than the deadline below.
    let trickle = thread::spawn(move || {
        let mut taken = 0;
        while let Ok(count @ 1..) = reader.read(&mut [0; 4096]) {
            taken += count;
            thread::sleep(Duration::from_millis(700));
        }
        taken
    });
    assert_eq!(master.wait_exit(SOON), exited(137));
    drop(master);
    let taken = trickle.join().expect("it is read");
    assert!(taken < 64 * 1024, "{taken} bytes");
}

/// A path or a name may hold a newline, and the text behind it may look like a line of the log.
#[test]
fn no_name_makes_a_line_of_its_own() {
    const FORGED: &str = "socketmaster[1]: generation 1 is current";
    let name = format!("a\n{FORGED}");
    let directory = free_dir();
    let missing = directory.join(&name).display().to_string();
    for option in [
        format!("-command={missing}"),
        format!("-dir={missing}"),
        format!("-control={missing}/x"),
        format!("-listen=unix://{missing}/x"),
        format!("-user={name}"),
        format!("-stop-signal={name}"),
    ] {
        let mut master = Setup::new().arg(&option).program("true", [""; 0]).spawn();
        assert!([exited(1), exited(2), exited(127)].contains(&master.wait_exit(SOON)), "{option}");
        let lines: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
        assert!(lines.iter().all(|line| line != FORGED), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.contains(&format!("a\\n{FORGED}"))).count(), 1, "{option}: {lines:#?}");
    }
    // In a note too: the program is gone at the reload.
    let program = directory.join(&name);
    crate::harness::make_program(&program, format!("#!/bin/sh\nexec {} signals\n", fixture("worker").display()));
    let mut master = Setup::new().arg("-start=0").program(&program, [""; 0]).spawn();
    master.wait_output("ready", SOON);
    fs::remove_file(&program).expect("it was made");
    master.signal(SIGHUP);
    let note = master.wait_note(&(phrase::reload_failed(2) + "...cannot execute "), SOON);
    assert!(note.contains(&format!("a\\n{FORGED}")), "{note}");
    assert_eq!(master.stop(SIGTERM), exited(0));
    assert!(master.notes().iter().all(|note| note != FORGED), "{:#?}", master.notes());
}

#[test]
fn unread_notes_are_counted_and_the_count_is_logged_when_the_log_is_read_again() {
    const GENERATIONS: usize = 800;
    let dir = free_dir();
    let (mut reader, pipe) = io::pipe().expect("a pipe");
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let setup = with_stderr(Setup::new().arg("-start=0"), pipe.into());
    let ready = dir.join("{generation}").display().to_string();
    let mut master = run(setup, &format!("ready-to {ready} signals"));
    wait_file(&dir.join("1"));
    for generation in 2..=GENERATIONS {
        master.signal(SIGHUP);
        wait_file(&dir.join(generation.to_string()));
    }
    eventually("the last but one is gone", SOON, || master.children().len() == 1);
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("O_NONBLOCK");
    let mut log = Vec::new();
    eventually("the count comes by itself: nothing else happens", SOON, || {
        let _ = reader.read_to_end(&mut log);
        phrase::matches(&String::from_utf8_lossy(&log), phrase::LOST_LINES)
    });
    assert_eq!(master.stop(SIGTERM), exited(0));
    log.extend(read_all(reader));
    let notes: Vec<String> = String::from_utf8_lossy(&log).lines().map(String::from).collect();
    let (lost, told): (Vec<&String>, Vec<&String>) = notes.iter().partition(|note| phrase::matches(note, phrase::LOST_LINES));
    let count = |note: &String| note.split_once(": lost ")?.1.split(' ').next()?.parse::<usize>().ok();
    let lost: usize = lost.into_iter().map(|note| count(note).expect("a number")).sum();
    assert!(lost > 0, "the test was to make it lose some");
    // Of each generation: started, current, told, gone, and the request for all but the first; at the ends: listening, stopping, ended.
    assert_eq!(lost + told.len(), 5 * GENERATIONS + 2, "{lost} lost: {notes:#?}");
}

#[test]
fn a_standard_error_that_accepts_nothing_loses_the_lines_and_affects_nothing_else() {
    let full = || File::options().write(true).open("/dev/full").expect("Linux has it").into();
    let file = |dir: &FreeDir| File::create(dir.join("log")).expect("a file").into();
    let pipe = || io::pipe().expect("a pipe").1.into();
    let stream = || OwnedFd::from(UnixStream::pair().expect("a pair").1).into();
    let datagram = || OwnedFd::from(UnixDatagram::unbound().expect("a socket")).into();
    let read_only = || File::open("/dev/null").expect("Linux has it").into();
    for prefix in ["-prefix=false", "-prefix"] {
        let dirs: [FreeDir; 7] = std::array::from_fn(|_| free_dir());
        let kinds: [(&str, Option<Stdio>); 7] = [
            ("a file", Some(file(&dirs[0]))),
            ("a full device", Some(full())),
            ("a pipe without a reader", Some(pipe())),
            ("a socket without a peer", Some(stream())),
            ("a datagram socket without an address", Some(datagram())),
            ("something that cannot be written to", Some(read_only())),
            ("nothing at all", None),
        ];
        for (dir, (kind, stderr)) in dirs.iter().zip(kinds) {
            let ready = dir.join("{generation}").display().to_string();
            // With -prefix what the worker writes goes there, too, and must be taken from it all the same.
            let verbs = if prefix == "-prefix" { "lines 3000 100 " } else { "" };
            let setup = Setup::new().arg(prefix).arg("-start=0").tune(|command| match stderr {
                Some(stderr) => {
                    command.stderr(stderr);
                }
                None => pre_exec::close(command, &[2]),
            });
            let mut master = run(setup, &format!("ready-to {ready} {verbs}signals exit 3"));
            wait_file(&dir.join("1"));
            master.signal(SIGHUP);
            wait_file(&dir.join("2"));
            assert_eq!(master.stop(SIGTERM), exited(3), "{prefix}: {kind}");
            if kind == "a file" {
                let log = entries(&fs::read(dir.join("log")).expect("it is there"));
                let counts = numbered(pieces(&log));
                assert!(prefix != "-prefix" || counts.values().eq(&[3000, 3000]), "{counts:?}");
                let notes: Vec<&Entry> = log.iter().filter(|entry| matches!(entry, Entry::Note(_))).collect();
                assert_eq!(notes.len(), 5 * 2 + 2, "{prefix}: {notes:#?}");
            }
        }
    }
}

// ---- syslog

/// A /dev of the master's own, empty but for `log`.
fn with_dev_log(log: Option<&Path>) -> Option<Setup> {
    if let Err(why) = pid_namespaces() {
        skip(&why);
        return None;
    }
    let link = log.map_or_else(String::new, |log| format!("ln -s {} /dev/log &&", log.display()));
    let script = format!(r#"mount -t tmpfs none /dev && {link} exec "$@""#);
    Some(Setup::new().in_pid_namespace().through(["sh", "-c", &script, "sh"]).arg("-syslog"))
}

/// Stands in for syslogd.
fn bind_log(dir: &Path) -> UnixDatagram {
    let path = dir.join("log");
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(path).expect("a socket");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket
}

/// The text of the next datagram, without the header, which is checked: facility daemon, severity info.
#[track_caller]
fn receive(socket: &UnixDatagram) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let length = match socket.recv(&mut buffer) {
        Ok(length) => length,
        Err(error) => panic!("nothing from the master: {error}"),
    };
    let datagram = &buffer[..length];
    let Some(text) = datagram.strip_prefix(b"<30>socketmaster[1]: ") else { panic!("{}", datagram.escape_ascii()) };
    text.to_vec()
}

/// All texts up to and with the first that holds this one.
#[track_caller]
fn receive_until(socket: &UnixDatagram, last: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::<Vec<u8>>::new();
    while !texts.last().is_some_and(|text| String::from_utf8_lossy(text).contains(last)) {
        texts.push(receive(socket));
    }
    texts
}

#[test]
fn syslog_gets_notes_and_lines_byte_for_byte_and_standard_error_gets_nothing() {
    let dir = free_dir();
    let syslogd = bind_log(&dir);
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let mut master = run(setup, "complain loud write 20000 q say end raw exit 7");
    assert_eq!(master.wait_exit(SOON), exited(7));
    let texts = receive_until(&syslogd, &phrase::ended_with(7));
    assert_eq!(master.lines().len(), 0);
    let worker: Vec<Entry> = texts.iter().filter(|text| text.starts_with(b"[")).map(|text| Entry::read(text)).collect();
    assert_eq!(texts.len() - worker.len(), ["listening", "started", "current", "exited", "ended"].len());
    let mut pieces = pieces(&worker);
    // Standard output and standard error are two streams.
    let loud = pieces.iter().position(|(_, _, bytes)| *bytes == b"loud").expect("it is among them");
    let (pid, ..) = pieces.remove(loud);
    let long = [(false, LONGEST_FOR_SYSLOG), (true, LONGEST_FOR_SYSLOG), (true, 20_000 - 2 * LONGEST_FOR_SYSLOG + 3)];
    let shape: Vec<(u32, bool, usize)> = pieces[..3].iter().map(|(pid, continued, bytes)| (*pid, *continued, bytes.len())).collect();
    assert_eq!(shape, long.map(|(continued, length)| (pid, continued, length)));
    let whole: Vec<u8> = pieces[..3].iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
    assert_eq!(whole, [&[b'q'; 20_000][..], b"end"].concat());
    assert_eq!(pieces[3..], [&b"nul \0 high \xff\xfe"[..], b"no newline at the end"].map(|line| (pid, false, line)));
}

#[test]
fn a_syslogd_that_takes_nothing_holds_up_the_workers_and_not_the_master() {
    const LINES: usize = 5_000;
    let dir = free_dir();
    let syslogd = bind_log(&dir);
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let plans = plans_of_two_one_writing(&dir, LINES);
    let mut master = by_generation(setup.arg("-start=600000"), &dir, &plans).spawn();
    fill_the_log_and_reload(&master, &dir, LINES, "syslog");

    let reader = thread::spawn(move || receive_until(&syslogd, &phrase::ended_with(0)));
    wait_file(&dir.join("written"));
    assert_eq!(master.stop(SIGTERM), exited(0));
    let texts = reader.join().expect("all of it came");
    let log: Vec<Entry> = texts.iter().filter(|text| text.starts_with(b"[")).map(|text| Entry::read(text)).collect();
    assert!(numbered(pieces(&log)).values().eq(&[LINES]));
    assert_eq!(master.lines().len(), 0);
}

#[test]
fn a_syslogd_that_dies_while_the_master_waits_for_it_is_noticed() {
    const LINES: usize = 5_000;
    let dir = free_dir();
    let syslogd = bind_log(&dir);
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let verbs = format!("ready-to {} lines {LINES} 100 signals", dir.join("written").display());
    let mut master = run(setup, &verbs);
    let worker = eventually("a worker", SOON, || children_of(master.pid()).first().copied());
    wait_until_blocked(worker, LINES as u64 * 100);
    drop(syslogd);
    wait_file(&dir.join("written"));
    assert_eq!(master.stop(SIGTERM), exited(0));
    let notes = master.notes();
    assert_eq!(notes.iter().filter(|note| note.contains("cannot reach syslog")).count(), 1, "{:#?}", &notes[..10]);
    // What syslogd had and has not read died with it; from there on all is on standard error.
    let lines = notes.iter().filter(|note| note.ends_with("xxx"));
    let numbers: Vec<usize> = lines.filter_map(|note| note.split(' ').nth(3)?.parse().ok()).collect();
    let first = numbers[0];
    assert!(first < 100, "{first} lines are lost");
    assert!(numbers.iter().copied().eq(first..LINES), "{numbers:?}");
}

#[test]
fn without_syslogd_all_is_on_standard_error_with_one_note_about_it() {
    let Some(setup) = with_dev_log(None) else { return };
    let mut master = run(setup, "say one say two complain three exit 7");
    assert_eq!(master.wait_exit(SOON), exited(7));
    let notes = master.notes();
    assert_eq!(notes.len(), 1 + 3 + 5, "one about syslog, three of the worker's, five of the master's: {notes:#?}");
    assert_eq!(notes.iter().filter(|note| note.contains("cannot reach syslog at /dev/log")).count(), 1, "{notes:#?}");
    for said in ["] one", "] two", "] three"] {
        assert!(notes.iter().any(|note| note.ends_with(said)), "{said}: {notes:#?}");
    }
}

/// The messages that came over a stream, each ended by a NUL.
fn messages(stream: impl Read) -> Vec<Vec<u8>> {
    let all = read_all(stream);
    let Some(all) = all.strip_suffix(b"\0") else { panic!("the last message has no end") };
    all.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The master's connection.
#[track_caller]
fn accepted(syslogd: &UnixListener) -> UnixStream {
    syslogd.set_nonblocking(true).expect("a socket");
    let (stream, _) = eventually("the master connects", SOON, || syslogd.accept());
    stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(SOON))).expect("a socket");
    stream
}

/// As syslog-ng may listen.
#[test]
fn a_syslogd_with_a_stream_socket_gets_each_line_whole_with_its_severity() {
    const LINES: usize = 5_000;
    let dir = free_dir();
    let syslogd = UnixListener::bind(dir.join("log")).expect("a path of our own");
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let written = dir.join("written");
    let plans =
        [format!("lines {LINES} 100 ready-to {} signals", written.display()), format!("report {} raw exit 3", dir.join("2").display())];
    let mut master = by_generation(setup.arg("-start=600000"), &dir, &plans).spawn();
    let first = accepted(&syslogd);
    let worker = eventually("a worker", SOON, || children_of(master.pid()).first().copied());
    // The log is not read yet: the master has sent a part of a line and waits.
    wait_until_blocked(worker, LINES as u64 * 100);
    let reader = thread::spawn(move || messages(first));
    wait_file(&written);
    master.signal(SIGHUP);
    wait_file(&dir.join("2"));
    eventually("the reload has failed", SOON, || master.children() == [worker]);
    assert_eq!(master.stop(SIGTERM), exited(0));
    let texts = reader.join().expect("it is read");
    assert_eq!(master.lines().len(), 0);
    let texts: Vec<String> = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let lines: Vec<Entry> = texts
        .iter()
        .filter_map(|text| text.strip_prefix("<30>socketmaster[1]: "))
        .filter(|text| text.ends_with("xx"))
        .map(|text| Entry::read(text.as_bytes()))
        .collect();
    assert!(numbered(pieces(&lines)).values().eq(&[LINES]));
    let with = |part: &str| texts.iter().filter(|text| text.contains(part)).collect::<Vec<_>>();
    assert!(with("nul ")[0].contains("nul #000 high "), "a NUL within a line does not end it: {:?}", with("nul "));
    assert!(
        with(phrase::RELOAD_FAILED)[0].starts_with(&format!("<27>socketmaster[1]: {}", phrase::RELOAD_FAILED)),
        "{:?}",
        with(phrase::RELOAD_FAILED)
    );
    assert_eq!(with(&phrase::ended_with(0)), [&format!("<30>socketmaster[1]: {}", phrase::ended_with(0))]);
}

#[test]
fn a_syslogd_with_a_stream_socket_that_is_restarted_is_found_again() {
    let dir = free_dir();
    let syslogd = UnixListener::bind(dir.join("log")).expect("a path of our own");
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let mut master = run(setup, "signals");
    let first = accepted(&syslogd);
    receive_message(&first, "] ready");
    drop((first, syslogd));
    fs::remove_file(dir.join("log")).expect("it was made");
    let syslogd = UnixListener::bind(dir.join("log")).expect("the path again");
    master.signal(SIGUSR1);
    let again = accepted(&syslogd);
    let all = receive_message(&again, "] signal 10");
    assert!(all.starts_with("<30>socketmaster[1]: [") && all.matches('\0').count() == 1, "whole, from its beginning: {all:?}");
    assert_eq!(master.stop(SIGTERM), exited(0));
    assert_eq!(master.lines().len(), 0);
}

/// Reads up to the end of the message that ends with this text.
#[track_caller]
fn receive_message(mut stream: &UnixStream, last: &str) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with(&format!("{last}\0")) {
        stream.read_exact(&mut byte).expect("more of it");
        text.push(char::from(byte[0]));
    }
    text
}

/// A real one, listening at `log` of a directory and writing to `messages` there.
struct Rsyslogd(Child);

impl Rsyslogd {
    fn start(dir: &Path) -> Option<Rsyslogd> {
        let shown = dir.display();
        let configuration = format!(
            r#"global(workDirectory="{shown}")
            module(load="imuxsock" SysSock.Use="off")
            input(type="imuxsock" Socket="{shown}/log")
            template(name="plain" type="string" string="%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\n")
            *.* action(type="omfile" file="{shown}/messages" template="plain")"#
        );
        fs::write(dir.join("rsyslog.conf"), configuration).expect("a file");
        let mut command = Command::new("rsyslogd");
        command
            .arg("-n")
            .arg("-f")
            .arg(dir.join("rsyslog.conf"))
            .arg("-i")
            .arg(dir.join("pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let daemon = Rsyslogd(command.spawn().ok()?);
        eventually("rsyslogd listens", SOON, || UnixDatagram::unbound().and_then(|socket| socket.connect(dir.join("log"))));
        Some(daemon)
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        // TERM, so that it writes what it has.
        send(self.0.id(), SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_syslogd_gets_all_of_it_also_after_a_restart() {
    const LINES: usize = 2_000;
    let dir = free_dir();
    let Some(syslogd) = Rsyslogd::start(&dir) else { return skip("there is no rsyslogd") };
    let Some(setup) = with_dev_log(Some(&dir.join("log"))) else { return };
    let mut master = run(setup, &format!("lines {LINES} 100 signals"));
    let messages = || fs::read_to_string(dir.join("messages")).unwrap_or_default();
    eventually("ready in the log", SOON, || messages().contains("ready"));
    assert_eq!(master.lines().len(), 0);

    drop(syslogd);
    master.signal(SIGUSR1);
    master.wait_note("] signal 10", SOON);
    assert_eq!(master.lines().len(), 2, "the line, and that syslogd is away");

    let syslogd = Rsyslogd::start(&dir);
    master.signal(SIGUSR2);
    eventually("a line in the log again", SOON, || messages().contains("signal 12"));
    assert_eq!(master.stop(SIGTERM), exited(0));
    drop(syslogd);
    assert_eq!(master.lines().len(), 2, "nothing else has come here");

    let text = messages();
    let told: Vec<&str> = text.lines().collect();
    let texts = told.iter().map(|line| line.strip_prefix("daemon.info socketmaster[1]: ").unwrap_or_else(|| panic!("{line}")));
    let log: Vec<Entry> = texts.clone().filter(|text| text.starts_with('[')).map(|text| Entry::read(text.as_bytes())).collect();
    assert!(numbered(pieces(&log)).values().eq(&[LINES]));
    assert_eq!(texts.clone().filter(|text| text.contains(&phrase::ended_with(0))).count(), 1);
    assert!(!text.contains("signal 10"), "that one went to standard error");
}
