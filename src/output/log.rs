//! Writes the master's log lines (notes) and the workers' lines to standard error or syslog, and never blocks. Lines that
//! cannot be written yet wait in a bounded queue. While the queue is full, the master reads no more output of the workers.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::lines::{Line, Sink};
use super::syslog::{Syslog, severity};
use crate::sys::stderr::NonblockingStderr;
use crate::types::level::{Level, Verbosity};
use crate::types::one_line::OneLine;
use crate::types::process::Pid;

pub(super) const NAME: &str = "socketmaster";
/// The size of the queue above which the workers' output is not read. Above twice this size notes are counted instead of kept.
const FULL: usize = 64 * 1024;
/// The most bytes to keep from workers that exit while nothing can be written.
const BUDGET: usize = 1024 * 1024;
/// The queue's memory beyond this is released once the queue has been written.
const KEEP: usize = 256 * 1024;
/// The longest note, enough for two paths. A longer one is cut.
const LONGEST_NOTE: usize = 8 * 1024;

/// The options of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogOptions {
    /// Log to syslog. Without it, or if there is no syslogd, the log goes to standard error.
    pub to_syslog: bool,
    pub verbosity: Verbosity,
    /// Standard error is the journal, which knows name and pid, and takes a level: sd-daemon(3).
    pub to_journal: bool,
}

/// The queue of lines to write.
#[derive(Debug)]
pub struct Log {
    stderr: NonblockingStderr,
    syslog: Option<Syslog>,
    options: LogOptions,
    /// `socketmaster[PID]: `, before each note on standard error; syslog has it in its header.
    tag: String,
    line_tag: LineTag,
    /// Lines with their ends. For syslog each begins with a byte that is its level, see `mark`.
    queue: Vec<u8>,
    written: usize,
    blocked: Option<Blocked>,
    /// Bytes of notes that were put into a queue already full.
    notes_beyond: usize,
    /// Bytes of exited workers that were read while nothing could be written and the queue was full.
    dead_beyond: usize,
    lost: Lost,
}

/// Losses for whose reports there was no room.
#[derive(Debug, Default)]
struct Lost {
    notes: u64,
    bytes: u64,
}

/// The prefix of a worker's line. It is kept, since the next line is usually from the same worker.
#[derive(Debug, Default)]
struct LineTag {
    of: Option<(Pid, bool)>,
    text: [u8; LineTag::ROOM],
    length: usize,
}

impl LineTag {
    /// For a mark and `[2147483647]+ `.
    const ROOM: usize = 16;

    /// Adds `[pid] `, or `[pid]+ ` where the line goes on from a cut.
    fn add_to(&mut self, queue: &mut Vec<u8>, marked: bool, line: &Line) {
        let of = Some((line.pid, line.continued));
        if self.of != of {
            self.of = of;
            let mut rest = self.text.as_mut_slice();
            let mark = if marked { mark(Level::Notice) } else { "" };
            let _ = write!(rest, "{mark}[{}]{} ", line.pid, if line.continued { "+" } else { "" });
            self.length = Self::ROOM - rest.len();
        }
        // All of the room, then cut: so the size is known when this is compiled, and it is one move instead of a memcpy(3),
        // which takes as long for these few bytes as for the line.
        queue.extend(self.text);
        queue.truncate((queue.len() + self.length).saturating_sub(Self::ROOM));
    }
}

/// The destination that the log waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blocked {
    Stderr,
    Syslog,
}

impl Log {
    pub fn new(options: LogOptions) -> Log {
        Log::over(options, NonblockingStderr::stderr(), options.to_syslog.then(|| Syslog::new(std::process::id())))
    }

    fn over(options: LogOptions, stderr: NonblockingStderr, syslog: Option<Syslog>) -> Log {
        Log {
            stderr,
            syslog,
            options,
            tag: format!("{NAME}[{}]: ", std::process::id()),
            line_tag: LineTag::default(),
            queue: Vec::new(),
            written: 0,
            blocked: None,
            notes_beyond: 0,
            dead_beyond: 0,
            lost: Lost::default(),
        }
    }

    /// Writes one line of the master's own. Control characters in the text are escaped.
    pub fn note(&mut self, level: Level, text: impl Display) {
        if self.options.verbosity.shows(level) && !self.put_if_room(level, text) {
            self.lost.notes = self.lost.notes.saturating_add(1);
        }
    }

    /// Returns whether there was room for the note. Output of a worker must never displace the note about its exit.
    fn put_if_room(&mut self, level: Level, text: impl Display) -> bool {
        if !self.is_full() {
            self.notes_beyond = 0;
            self.tell_lost();
            self.put(level, text);
            return true;
        }
        let is_room = self.notes_beyond < FULL;
        if is_room {
            let before = self.queue.len();
            self.put(level, text);
            self.notes_beyond += self.queue.len() - before;
        }
        is_room
    }

    fn tell_lost(&mut self) {
        let Lost { notes, bytes } = std::mem::take(&mut self.lost);
        if notes > 0 {
            self.put(Level::Warning, format_args!("lost {notes} log lines while the log was blocked"));
        }
        if bytes > 0 {
            self.put(Level::Warning, format_args!("lost {bytes} bytes of output while the log was blocked"));
        }
    }

    fn put(&mut self, level: Level, text: impl Display) {
        let text = OneLine::from(text.to_string());
        let (shown, more) = shortened(text.as_str());
        // Cannot fail: a Vec takes all.
        let _ = match (&self.syslog, self.options.to_journal) {
            (Some(_), _) => writeln!(self.queue, "{}{shown}{more}", mark(level)),
            (None, true) => writeln!(self.queue, "<{}>{shown}{more}", severity(level) as u8),
            (None, false) => writeln!(self.queue, "{}{shown}{more}", self.tag),
        };
    }

    fn waiting(&self) -> usize {
        self.queue.len().saturating_sub(self.written)
    }

    /// Whether the workers must wait before they write more.
    pub fn is_full(&self) -> bool {
        self.blocked.is_some() && self.waiting() >= FULL
    }

    /// The descriptor to wait for until more can be written; `None` if the queue is empty.
    pub fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match (self.blocked?, &self.syslog) {
            (Blocked::Syslog, Some(syslog)) => syslog.socket().or(Some(self.stderr.as_fd())),
            _ => Some(self.stderr.as_fd()),
        }
    }

    /// Writes as much as possible now, and then the number of lost notes.
    pub fn flush(&mut self) {
        self.write_queue();
        if self.blocked.is_none() && (self.lost.notes > 0 || self.lost.bytes > 0) {
            self.tell_lost();
            self.write_queue();
        }
    }

    fn write_queue(&mut self) {
        self.blocked = None;
        while let Some(waiting) = self.queue.get(self.written..).filter(|waiting| !waiting.is_empty()) {
            let result = match &mut self.syslog {
                None => self.stderr.write(waiting).map_err(|error| (error, Blocked::Stderr)),
                Some(syslog) => syslog.write(waiting, &mut self.stderr, &self.tag),
            };
            match result {
                Ok(count @ 1..) => self.written = self.written.saturating_add(count),
                Err((error, whom)) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = Some(whom);
                    break;
                }
                // The reader is gone for good, so drop the lines. A device that refuses every write would keep the loop here
                // for ever.
                Ok(0) | Err(_) => self.written = self.queue.len(),
            }
        }
        if self.written >= self.queue.len() {
            self.queue.clear();
            self.queue.shrink_to(KEEP);
            self.written = 0;
        } else if self.written >= FULL {
            self.queue.drain(..self.written);
            self.written = 0;
        }
    }
}

impl Sink for Log {
    fn line(&mut self, line: Line) {
        self.line_tag.add_to(&mut self.queue, self.syslog.is_some(), &line);
        self.queue.extend_from_slice(line.bytes);
        self.queue.push(b'\n');
    }

    fn takes_more(&mut self) -> bool {
        if self.waiting() >= FULL {
            self.flush();
        }
        !self.is_full()
    }

    fn room(&mut self) -> usize {
        self.flush();
        if !self.is_full() {
            self.dead_beyond = 0;
        }
        match self.blocked {
            None => usize::MAX,
            // A long line of another worker that waits here does not count: this one's output would be lost for it, though
            // the log may only be slow.
            Some(_) => BUDGET.saturating_sub(self.dead_beyond.min(self.waiting())),
        }
    }

    fn took(&mut self, bytes: usize) {
        if self.blocked.is_some() {
            self.dead_beyond = self.dead_beyond.saturating_add(bytes);
        }
    }

    fn lost(&mut self, pid: Pid, bytes: usize) {
        if !self.put_if_room(Level::Warning, format_args!("lost {bytes} bytes of output of pid {pid} while the log was blocked")) {
            self.lost.bytes = self.lost.bytes.saturating_add(bytes as u64);
        }
    }
}

/// The first byte of a line in the queue, for a receiver that takes a level.
fn mark(level: Level) -> &'static str {
    match level {
        Level::Error => "e",
        Level::Warning => "w",
        Level::Notice => "n",
        Level::Info => "i",
    }
}

/// The level of such a byte.
pub(super) fn marked_with(mark: u8) -> Level {
    match mark {
        b'e' => Level::Error,
        b'w' => Level::Warning,
        b'i' => Level::Info,
        _ => Level::Notice,
    }
}

/// The text, cut to the longest note, with a sign if it was longer.
fn shortened(text: &str) -> (&str, &'static str) {
    if text.len() <= LONGEST_NOTE {
        return (text, "");
    }
    let end = (0..=LONGEST_NOTE).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    (text.get(..end).unwrap_or_default(), "...")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A log over a socket, and its reader.
    fn log(verbosity: Verbosity) -> (Log, UnixStream) {
        over(LogOptions { verbosity, ..LogOptions::default() })
    }

    fn over(options: LogOptions) -> (Log, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        (Log::over(options, NonblockingStderr::over(OwnedFd::from(ours)), None), theirs)
    }

    /// All that can be read now.
    fn read(mut source: &UnixStream) -> String {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    /// All there is to read, while the log goes on writing.
    fn read_through(log: &mut Log, source: &UnixStream) -> Vec<String> {
        let mut text = String::new();
        loop {
            log.flush();
            let more = read(source);
            text.push_str(&more);
            if more.is_empty() && log.blocked_on().is_none() {
                return text.lines().map(str::to_owned).collect();
            }
        }
    }

    fn pid(raw: i32) -> Pid {
        Pid::new(raw).expect("a pid")
    }

    fn line(log: &mut Log, text: &[u8]) {
        log.line(Line { pid: pid(7), continued: false, bytes: text });
    }

    /// Workers' lines until no more are taken.
    fn fill(log: &mut Log) -> usize {
        let mut count = 0;
        while log.takes_more() {
            line(log, &[b'x'; 1000]);
            count += 1;
        }
        count
    }

    #[test]
    fn a_note_is_one_line_whatever_it_holds() {
        let (mut log, reader) = log(Verbosity::Normal);
        log.note(Level::Notice, "cannot execute a\nsocketmaster[1]: generation 1: current\u{1b}[2J");
        log.note(Level::Notice, "y".repeat(LONGEST_NOTE + 1));
        log.flush();
        let text = read(&reader);
        let tag = format!("socketmaster[{}]: ", std::process::id());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{tag}cannot execute a\\nsocketmaster[1]: generation 1: current\\u{{1b}}[2J"));
        assert_eq!(lines[1..], [format!("{tag}{}...", "y".repeat(LONGEST_NOTE))]);
    }

    #[test]
    fn a_log_says_as_much_as_is_wanted() {
        for (verbosity, said) in [(Verbosity::Quiet, "ew"), (Verbosity::Normal, "ewn"), (Verbosity::Verbose, "ewni")] {
            let (mut log, reader) = log(verbosity);
            for level in [Level::Error, Level::Warning, Level::Notice, Level::Info] {
                assert_eq!(marked_with(mark(level).as_bytes()[0]), level);
                log.note(level, mark(level));
            }
            log.flush();
            let text = read(&reader);
            let last: String = text.lines().filter_map(|line| line.chars().last()).collect();
            assert_eq!(last, said);
        }
    }

    #[test]
    fn the_journal_gets_levels_instead_of_name_and_pid() {
        let (mut log, reader) = over(LogOptions { to_journal: true, ..LogOptions::default() });
        log.note(Level::Error, "reload failed");
        log.note(Level::Notice, "started");
        line(&mut log, b"<3>a worker's line");
        log.flush();
        assert_eq!(read(&reader), "<3>reload failed\n<6>started\n[7] <3>a worker's line\n");
    }

    #[test]
    fn lines_and_notes_come_in_their_order_however_slowly_they_are_read() {
        let (mut log, reader) = log(Verbosity::Normal);
        let count = fill(&mut log);
        assert!(log.is_full() && log.blocked_on().is_some());
        log.note(Level::Notice, "behind them");
        let lines = read_through(&mut log, &reader);
        assert_eq!(lines.len(), count + 1);
        assert!(lines[..count].iter().all(|line| line.starts_with("[7] xxx")) && lines[count].ends_with("behind them"));
        assert!(!log.is_full() && log.blocked_on().is_none());
    }

    #[test]
    fn notes_beyond_the_bound_are_counted_and_the_count_is_logged() {
        const NOTES: usize = 5000;
        let (mut log, reader) = log(Verbosity::Normal);
        let count = fill(&mut log);
        for number in 0..NOTES {
            log.note(Level::Notice, number);
        }
        assert!(log.waiting() < 3 * FULL, "{}", log.waiting());
        let lines = read_through(&mut log, &reader);
        let notes = &lines[count..];
        let lost: usize = notes.last().and_then(|line| line.rsplit(": lost ").next()?.split(' ').next()?.parse().ok()).expect("a number");
        assert!(lost > 0 && notes[notes.len() - 1].ends_with(" log lines while the log was blocked"));
        assert_eq!(notes.len() - 1 + lost, NOTES);
        assert!(notes[..notes.len() - 1].iter().enumerate().all(|(number, line)| line.ends_with(&format!(": {number}"))));
    }

    #[test]
    fn a_blocked_log_takes_no_more_of_the_dead_than_its_budget() {
        let (mut log, reader) = log(Verbosity::Normal);
        assert_eq!(log.room(), usize::MAX, "nothing is lost where all is read");
        fill(&mut log);
        line(&mut log, &vec![b'y'; 2 * BUDGET]);
        assert_eq!(log.room(), BUDGET, "a long line of one worker costs another nothing");
        log.took(1000);
        assert_eq!(log.room(), BUDGET - 1000);
        log.took(BUDGET - 1000);
        assert_eq!(log.room(), 0);
        log.lost(pid(8), 12_345);
        let lines = read_through(&mut log, &reader);
        assert!(lines.last().is_some_and(|line| line.ends_with(": lost 12345 bytes of output of pid 8 while the log was blocked")));
        assert_eq!(log.room(), usize::MAX);
    }

    #[test]
    fn lost_bytes_are_logged_in_total_if_there_was_no_room_to_log_each_loss() {
        let (mut log, reader) = log(Verbosity::Quiet);
        fill(&mut log);
        for _ in 0..2000 {
            log.lost(pid(8), 10);
        }
        let lines = read_through(&mut log, &reader);
        let told = |line: &&String| line.contains(": lost ") && line.ends_with(" while the log was blocked");
        let total: u64 =
            lines.iter().filter(told).filter_map(|line| line.split_once(": lost ")?.1.split(' ').next()?.parse::<u64>().ok()).sum();
        assert_eq!(total, 20_000);
        assert!(lines.iter().filter(told).count() < 2000);
    }
}
