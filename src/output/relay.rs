//! Reads the workers' output from their pipes and splits it into lines, each whole and with its worker's pid.
//!
//! The total memory is bounded. While the log accepts nothing, workers wait. A worker that has exited cannot wait: as much
//! of its output is kept as there is room for, and the rest is counted.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::lines::{Sink, Splitter};
use crate::sys::fd as descriptors;
use crate::sys::poll::{Interest, Wait};
use crate::types::process::Pid;

/// The size of one read(2), which is the default size of a pipe.
const READ_SIZE: usize = 64 * 1024;
/// The most bytes of all unfinished lines together. Above this the longest line is cut before it reaches its limit.
const MOST_HELD: usize = 8 * 1024 * 1024;

/// A pipe that is read. A number is never given twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OutputId(u64);

#[derive(Debug)]
struct Stream {
    id: OutputId,
    source: OwnedFd,
    splitter: Splitter,
}

/// All pipes that are read, two to a worker.
#[derive(Debug)]
pub struct Relay {
    /// The pipes in the order in which they are read. A pipe that was read moves to the end.
    streams: Vec<Stream>,
    buffer: Vec<u8>,
    limit: usize,
    most_held: usize,
    /// The bytes of unfinished lines of all streams.
    held: usize,
    next_id: u64,
}

impl Relay {
    /// Cuts lines into pieces of at most `limit` bytes.
    pub fn new(limit: usize) -> Relay {
        Relay { streams: Vec::new(), buffer: vec![0; READ_SIZE], limit, most_held: MOST_HELD, held: 0, next_id: 0 }
    }

    /// Reads what this worker writes from now on.
    pub fn follow(&mut self, pid: Pid, source: OwnedFd) -> OutputId {
        let id = OutputId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.streams.push(Stream { id, source, splitter: Splitter::new(pid, self.limit) });
        id
    }

    /// Whether there is no pipe to read.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// The pipes to wait for while the sink takes more. Read them in this order: the pipe that was read last comes last, so
    /// that each gets its turn when the sink is slow.
    pub fn sources(&self) -> impl Iterator<Item = (OutputId, BorrowedFd<'_>)> {
        self.streams.iter().map(|stream| (stream.id, stream.source.as_fd()))
    }

    /// Reads once from this source, unless the sink takes no more.
    pub fn read(&mut self, id: OutputId, out: &mut impl Sink) {
        if !out.takes_more() {
            return;
        }
        let Some(place) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let mut stream = self.streams.remove(place);
        let before = stream.splitter.held();
        let open = read_once(&mut stream, &mut self.buffer, out).is_some();
        self.held = (self.held + stream.splitter.held()).saturating_sub(before);
        if open {
            self.streams.push(stream);
        }
        self.cut_the_longest(out);
    }

    fn cut_the_longest(&mut self, out: &mut impl Sink) {
        while self.held > self.most_held {
            let Some(stream) = self.streams.iter_mut().max_by_key(|stream| stream.splitter.held()) else { break };
            self.held = self.held.saturating_sub(stream.splitter.held());
            stream.splitter.cut(out);
        }
    }

    /// Reads the output that this worker has left in its pipes, as far as there is room, and ends its last line. The rest is
    /// lost and counted.
    /// Does not wait for other processes that still hold the pipe. Their output is read later.
    pub fn drain(&mut self, pid: Pid, out: &mut impl Sink) {
        let (buffer, held) = (&mut self.buffer, &mut self.held);
        self.streams.retain_mut(|stream| stream.splitter.pid() != pid || drain(stream, buffer, held, out));
    }

    /// Does the same for all workers.
    pub fn drain_all(&mut self, out: &mut impl Sink) {
        let (buffer, held) = (&mut self.buffer, &mut self.held);
        self.streams.retain_mut(|stream| drain(stream, buffer, held, out));
    }
}

/// Whether a process may still write to this pipe.
fn drain(stream: &mut Stream, buffer: &mut [u8], held: &mut usize, out: &mut impl Sink) -> bool {
    let mut left = descriptors::bytes_waiting(&stream.source);
    let mut open = true;
    while open && left > 0 {
        let room = out.room().min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|room| !room.is_empty()) else { break };
        let before = stream.splitter.held();
        let read = read_once(stream, buffer, out);
        *held = (*held + stream.splitter.held()).saturating_sub(before);
        open = read.is_some_and(|count| count > 0);
        out.took(read.unwrap_or(0));
        left = left.saturating_sub(read.unwrap_or(0));
    }
    if open && left > 0 && !is_abandoned(&stream.source) {
        // Nothing is lost: it stays in the pipe until there is room.
        return true;
    }
    *held = held.saturating_sub(stream.splitter.held());
    stream.splitter.finish(out);
    if open && left > 0 {
        out.lost(stream.splitter.pid(), left);
        return false;
    }
    // Look once more, to find the end of a pipe without writers.
    open && read_once(stream, buffer, out).is_some() && {
        *held += stream.splitter.held();
        true
    }
}

/// Whether no process holds the writing end of this pipe.
fn is_abandoned(source: &OwnedFd) -> bool {
    let mut wait = Wait::default();
    wait.add(source.as_fd(), Interest::Closed);
    wait.ready(Some(Duration::ZERO)).contains(&true)
}

/// How many bytes were read; `None` at the end of the stream.
fn read_once(stream: &mut Stream, buffer: &mut [u8], out: &mut impl Sink) -> Option<usize> {
    match descriptors::read_some(&stream.source, buffer) {
        Ok(0) => {
            stream.splitter.finish(out);
            None
        }
        Ok(count) => {
            stream.splitter.push(buffer.get(..count).unwrap_or_default(), out);
            Some(count)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Some(0),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::super::lines::Line;
    use super::*;

    /// Keeps what comes, up to a number of bytes.
    struct Bounded {
        lines: Vec<String>,
        room: usize,
        lost: Vec<(i32, usize)>,
    }

    impl Sink for Bounded {
        fn line(&mut self, line: Line) {
            self.lines.push(format!("{}{} {}", line.pid, if line.continued { "+" } else { "" }, line.bytes.escape_ascii()));
        }

        fn takes_more(&mut self) -> bool {
            self.room > 0
        }

        fn room(&mut self) -> usize {
            self.room
        }

        fn took(&mut self, bytes: usize) {
            self.room = self.room.saturating_sub(bytes);
        }

        fn lost(&mut self, pid: Pid, bytes: usize) {
            self.lost.push((pid.as_raw(), bytes));
        }
    }

    fn bounded(room: usize) -> Bounded {
        Bounded { lines: Vec::new(), room, lost: Vec::new() }
    }

    fn pid(raw: i32) -> Pid {
        Pid::new(raw).expect("a pid")
    }

    fn followed(relay: &mut Relay, raw: i32) -> (OutputId, File) {
        let (reader, writer) = descriptors::pipe().expect("a pipe");
        (relay.follow(pid(raw), reader), File::from(writer))
    }

    fn order(relay: &Relay) -> Vec<OutputId> {
        relay.sources().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_pipe_that_was_read_goes_to_the_end_of_the_line() {
        let mut relay = Relay::new(99);
        let [(a, mut to_a), (b, _to_b), (c, mut to_c)] = [1, 2, 3].map(|raw| followed(&mut relay, raw));
        assert_eq!(order(&relay), [a, b, c]);
        let mut out = bounded(99);
        to_a.write_all(b"x\n").expect("room");
        relay.read(a, &mut out);
        assert_eq!(order(&relay), [b, c, a]);
        to_c.write_all(b"y\n").expect("room");
        relay.read(c, &mut out);
        assert_eq!(order(&relay), [b, a, c]);
        assert_eq!(out.lines, ["1 x", "3 y"]);
    }

    #[test]
    fn a_sink_without_room_leaves_everything_in_its_pipe_and_in_its_place() {
        let mut relay = Relay::new(99);
        let [(a, mut to_a), (b, _to_b)] = [1, 2].map(|raw| followed(&mut relay, raw));
        to_a.write_all(b"x\n").expect("room");
        relay.read(a, &mut bounded(0));
        assert_eq!(order(&relay), [a, b]);
        let mut out = bounded(99);
        relay.read(a, &mut out);
        assert_eq!(out.lines, ["1 x"]);
    }

    #[test]
    fn a_pipe_without_writers_is_dropped_and_an_unknown_number_does_nothing() {
        let mut relay = Relay::new(99);
        let (a, mut to_a) = followed(&mut relay, 1);
        to_a.write_all(b"no end").expect("room");
        drop(to_a);
        let mut out = bounded(99);
        relay.read(a, &mut out);
        relay.read(a, &mut out);
        assert_eq!((out.lines.as_slice(), relay.is_idle(), relay.held), (&["1 no end".to_owned()][..], true, 0));
        relay.read(a, &mut out);
    }

    #[test]
    fn the_output_of_a_dead_worker_is_read_if_there_is_room() {
        let mut relay = Relay::new(1 << 20);
        let (_, mut to_a) = followed(&mut relay, 1);
        let (b, _to_b) = followed(&mut relay, 2);
        to_a.write_all(&[b'x'; 60_000]).expect("room");
        drop(to_a);
        let mut out = bounded(1 << 20);
        relay.drain(pid(1), &mut out);
        assert_eq!(out.lines, [format!("1 {}", "x".repeat(60_000))]);
        assert_eq!((order(&relay), relay.held, out.lost), (vec![b], 0, vec![]));
    }

    #[test]
    fn output_without_room_is_counted_and_its_pipe_closed() {
        let mut relay = Relay::new(1 << 20);
        let (_, mut to_a) = followed(&mut relay, 1);
        to_a.write_all(&b"1234567\n".repeat(100)).expect("room");
        drop(to_a);
        let mut out = bounded(20);
        relay.drain(pid(1), &mut out);
        assert_eq!(out.lines, ["1 1234567", "1 1234567", "1 1234"]);
        assert_eq!(out.lost, [(1, 800 - 20)]);
        assert_eq!((relay.is_idle(), relay.held), (true, 0));
    }

    #[test]
    fn a_pipe_that_another_process_holds_stays_open_and_loses_nothing() {
        let mut relay = Relay::new(99);
        let (a, mut to_a) = followed(&mut relay, 1);
        to_a.write_all(b"x\ny\n").expect("room");
        let mut out = bounded(0);
        relay.drain(pid(1), &mut out);
        assert_eq!((order(&relay), out.lost.len()), (vec![a], 0));
        let mut out = bounded(99);
        relay.read(a, &mut out);
        assert_eq!(out.lines, ["1 x", "1 y"]);
        relay.drain(pid(1), &mut out);
        assert_eq!(order(&relay), [a], "a grandchild may go on");
    }

    #[test]
    fn lines_under_way_are_bounded_in_total_and_the_longest_is_cut() {
        let mut relay = Relay { most_held: 10, ..Relay::new(99) };
        let [(a, mut to_a), (b, mut to_b)] = [1, 2].map(|raw| followed(&mut relay, raw));
        to_a.write_all(b"abcdefg").expect("room");
        to_b.write_all(b"1234").expect("room");
        let mut out = bounded(99);
        relay.read(a, &mut out);
        assert_eq!((out.lines.len(), relay.held), (0, 7));
        relay.read(b, &mut out);
        assert_eq!((out.lines.as_slice(), relay.held), (&["1 abcdefg".to_owned()][..], 4));
        to_a.write_all(b"h\n").expect("room");
        relay.read(a, &mut out);
        assert_eq!(out.lines[1..], ["1+ h"]);
    }
}
