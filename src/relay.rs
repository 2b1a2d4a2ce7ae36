//! The workers' output: read from their pipes, split into lines, each line whole and behind its worker's pid.

use std::io::{BufRead, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::ids::Pid;
use crate::sys::descriptors;

/// What one read(2) takes: as much as a pipe holds unless somebody made it larger.
const READ_SIZE: usize = 64 * 1024;

/// One piece of output, to be written as one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    pub pid: Pid,
    /// It goes on where the line before it, of the same worker, was cut.
    pub continued: bool,
    /// Without the line end.
    pub bytes: &'a [u8],
}

/// Where lines go.
pub trait Sink {
    fn line(&mut self, line: Line);

    /// Whether it has room; where not, the workers wait with what they write.
    fn takes_more(&mut self) -> bool;
}

/// Cuts a stream of bytes into lines, none longer than a limit.
#[derive(Debug)]
struct Splitter {
    pid: Pid,
    limit: usize,
    begun: Vec<u8>,
    continued: bool,
}

impl Splitter {
    fn push(&mut self, mut bytes: &[u8], out: &mut impl Sink) {
        loop {
            let mut tail = bytes;
            // Cannot fail: a slice is its own buffer.
            let length = tail.skip_until(b'\n').unwrap_or(0);
            let Some((piece, rest)) = bytes.split_at_checked(length) else { return };
            match piece.strip_suffix(b"\n") {
                // Nearly always: in one step.
                Some(line) if self.begun.is_empty() && line.len() <= self.limit => {
                    let continued = std::mem::take(&mut self.continued);
                    out.line(Line { pid: self.pid, continued, bytes: line });
                }
                Some(line) => self.put(line, true, out),
                None => return self.put(piece, false, out),
            }
            bytes = rest;
        }
    }

    fn put(&mut self, mut piece: &[u8], ends: bool, out: &mut impl Sink) {
        while self.begun.len() + piece.len() > self.limit {
            let (fits, rest) = piece.split_at(self.limit.saturating_sub(self.begun.len()).min(piece.len()));
            self.emit(fits, out);
            self.continued = true;
            piece = rest;
        }
        if ends {
            self.emit(piece, out);
            self.continued = false;
        } else {
            self.begun.extend_from_slice(piece);
        }
    }

    fn emit(&mut self, last: &[u8], out: &mut impl Sink) {
        let (pid, continued) = (self.pid, self.continued);
        if self.begun.is_empty() {
            return out.line(Line { pid, continued, bytes: last });
        }
        self.begun.extend_from_slice(last);
        out.line(Line { pid, continued, bytes: &self.begun });
        self.begun.clear();
        // A rare long line does not keep its memory for good.
        self.begun.shrink_to(READ_SIZE);
    }

    /// Gives the last line its end.
    fn finish(&mut self, out: &mut impl Sink) {
        if !self.begun.is_empty() {
            self.emit(b"", out);
        }
        self.continued = false;
    }
}

#[derive(Debug)]
struct Stream {
    source: OwnedFd,
    splitter: Splitter,
}

/// All pipes that are read, two to a worker.
#[derive(Debug)]
pub struct Relay {
    streams: Vec<Stream>,
    buffer: Vec<u8>,
    limit: usize,
}

impl Relay {
    /// Lines longer than `limit` bytes go on as several.
    pub fn new(limit: usize) -> Relay {
        Relay { streams: Vec::new(), buffer: vec![0; READ_SIZE], limit }
    }

    /// Reads what this worker writes from now on.
    pub fn follow(&mut self, pid: Pid, source: OwnedFd) {
        let splitter = Splitter { pid, limit: self.limit, begun: Vec::new(), continued: false };
        self.streams.push(Stream { source, splitter });
    }

    /// Whether there is nobody to read from.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// What to wait for, in the order of `read`.
    pub fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().map(|stream| stream.source.as_fd())
    }

    /// Reads once from each source that `ready` says so of, in the order of `sources`, as long as the sink takes more.
    /// Those that were read go to the end of the line: where the sink is slow, each gets its turn.
    pub fn read(&mut self, ready: &[bool], out: &mut impl Sink) {
        let mut served = Vec::new();
        let mut waiting = Vec::new();
        let ready = ready.iter().copied().chain(std::iter::repeat(false));
        for (mut stream, ready) in self.streams.drain(..).zip(ready) {
            if !ready || !out.takes_more() {
                waiting.push(stream);
            } else if read_once(&mut stream, &mut self.buffer, out).is_some() {
                served.push(stream);
            }
        }
        waiting.append(&mut served);
        self.streams = waiting;
    }

    /// Reads all that this worker has left behind, and gives its last line its end.
    /// Does not wait for those of its children that still hold the pipe; what they write later is read as it comes.
    pub fn drain(&mut self, pid: Pid, out: &mut impl Sink) {
        let buffer = &mut self.buffer;
        self.streams.retain_mut(|stream| {
            if stream.splitter.pid != pid {
                return true;
            }
            let mut left = descriptors::bytes_waiting(&stream.source);
            let mut open = true;
            while open && left > 0 {
                let read = read_once(stream, buffer, out);
                open = read.is_some_and(|count| count > 0);
                left = left.saturating_sub(read.unwrap_or(0));
            }
            stream.splitter.finish(out);
            // One more look, for the end of a pipe that nobody holds any more.
            open && read_once(stream, buffer, out).is_some()
        });
    }

    /// The same for everybody.
    pub fn drain_all(&mut self, out: &mut impl Sink) {
        let pids: Vec<Pid> = self.streams.iter().map(|stream| stream.splitter.pid).collect();
        for pid in pids {
            self.drain(pid, out);
        }
    }
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
    use super::*;

    struct Lines(Vec<String>);

    impl Sink for Lines {
        fn line(&mut self, line: Line) {
            self.0.push(format!("{}{}", if line.continued { "+" } else { "" }, line.bytes.escape_ascii()));
        }

        fn takes_more(&mut self) -> bool {
            true
        }
    }

    fn split(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter { pid: Pid::new(1).expect("a pid"), limit, begun: Vec::new(), continued: false };
        let mut lines = Lines(Vec::new());
        chunks.iter().for_each(|chunk| splitter.push(chunk, &mut lines));
        splitter.finish(&mut lines);
        lines.0
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(split(99, &[b"a\nb", b"c\n\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(split(99, &[b"\0\xff\r\n"]), ["\\x00\\xff\\r"]);
        assert_eq!(split(99, &[b"a", b"", b"\n"]), ["a"]);
        assert_eq!(split(99, &[]), [""; 0]);
    }

    #[test]
    fn a_line_over_the_limit_goes_on_as_several_and_no_byte_is_lost() {
        assert_eq!(split(3, &[b"abc\nabcd\nx"]), ["abc", "abc", "+d", "x"]);
        assert_eq!(split(3, &[b"ab", b"cdefgh", b"ij"]), ["abc", "+def", "+ghi", "+j"]);
        assert_eq!(split(3, &[b"abcdef\n", b"g\n"]), ["abc", "+def", "g"]);
    }
}
