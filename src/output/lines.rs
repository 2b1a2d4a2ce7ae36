//! Splits a stream of bytes into lines, none longer than a limit.

use crate::sys::reserve;
use crate::types::process::Pid;

/// The memory of an unfinished line beyond this is released when the line ends.
const KEEP: usize = 64 * 1024;

/// One piece of output, to be written as one line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    pub pid: Pid,
    /// Whether it continues the previous line of the same worker, which was cut.
    pub continued: bool,
    /// Without the line end.
    pub bytes: &'a [u8],
}

/// The receiver of lines.
pub trait Sink {
    fn line(&mut self, line: Line);

    /// Whether the sink has room. If not, the workers must wait before they write more.
    fn takes_more(&mut self) -> bool;

    /// How many more bytes the sink accepts from workers that have exited and cannot wait.
    fn room(&mut self) -> usize;

    /// Counts bytes read from a worker that has exited.
    fn took(&mut self, bytes: usize);

    /// Reports bytes of this worker that are lost for want of room.
    fn lost(&mut self, pid: Pid, bytes: usize);
}

/// Cuts a worker's stream into lines.
#[derive(Debug)]
pub struct Splitter {
    pid: Pid,
    limit: usize,
    begun: Vec<u8>,
    continued: bool,
}

impl Splitter {
    /// Cuts lines into pieces of at most `limit` bytes.
    pub fn new(pid: Pid, limit: usize) -> Splitter {
        Splitter { pid, limit, begun: Vec::new(), continued: false }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// How many bytes of an unfinished line are held.
    pub fn held(&self) -> usize {
        self.begun.len()
    }

    pub fn push(&mut self, mut bytes: &[u8], out: &mut impl Sink) {
        while let Some((line, rest)) = memchr::memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end)) {
            // The usual case takes one step.
            if self.begun.is_empty() && line.len() <= self.limit {
                let continued = std::mem::take(&mut self.continued);
                out.line(Line { pid: self.pid, continued, bytes: line });
            } else {
                self.put(line, true, out);
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        if !bytes.is_empty() {
            self.put(bytes, false, out);
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
        } else if reserve::try_reserve(&mut self.begun, piece.len()) {
            self.begun.extend_from_slice(piece);
        } else {
            // There is no memory for more, so cut the line here instead of at the limit.
            self.emit(piece, out);
            self.continued = true;
        }
    }

    fn emit(&mut self, last: &[u8], out: &mut impl Sink) {
        let (pid, continued) = (self.pid, self.continued);
        if self.begun.is_empty() {
            return out.line(Line { pid, continued, bytes: last });
        }
        let fits = reserve::try_reserve(&mut self.begun, last.len());
        if fits {
            self.begun.extend_from_slice(last);
        }
        out.line(Line { pid, continued, bytes: &self.begun });
        if !fits {
            out.line(Line { pid, continued: true, bytes: last });
        }
        self.begun.clear();
        // Release the memory of a rare long line.
        self.begun.shrink_to(KEEP);
    }

    /// Cuts the unfinished line here, because there is no room for more.
    pub fn cut(&mut self, out: &mut impl Sink) {
        if !self.begun.is_empty() {
            self.emit(b"", out);
            self.continued = true;
        }
    }

    /// Ends the last line.
    pub fn finish(&mut self, out: &mut impl Sink) {
        if !self.begun.is_empty() {
            self.emit(b"", out);
        }
        self.continued = false;
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

        fn room(&mut self) -> usize {
            usize::MAX
        }

        fn took(&mut self, _bytes: usize) {}

        fn lost(&mut self, _pid: Pid, _bytes: usize) {}
    }

    fn split(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::new(Pid::new(1).expect("a pid"), limit);
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

    #[test]
    fn a_line_that_is_cut_early_goes_on_behind_the_mark() {
        let mut splitter = Splitter::new(Pid::new(1).expect("a pid"), 99);
        let mut lines = Lines(Vec::new());
        splitter.cut(&mut lines);
        splitter.push(b"abc", &mut lines);
        assert_eq!(splitter.held(), 3);
        splitter.cut(&mut lines);
        assert_eq!(splitter.held(), 0);
        splitter.push(b"d\ne\n", &mut lines);
        assert_eq!(lines.0, ["abc", "+d", "e"]);
    }
}
