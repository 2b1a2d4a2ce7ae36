//! The end of `-s`: one request, one answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use super::understood;
use crate::config::Ask;
use crate::error::Error;
use crate::sys::signals::Found;
use crate::sys::sockets;

/// The status of ten thousand workers is shorter; who listens there may be no master.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// Asks the master and prints its answer, on standard error where it is a refusal; the status to exit with.
/// Waits for as long as the master takes.
pub fn ask(ask: &Ask, found: Found) -> Result<u8, Error> {
    // This is no master: Ctrl-C and all else are to end it.
    found.restore();
    let cannot = |cause: String| Error::cannot("reach a master at", ask.control.to_string(), cause);
    let stream = sockets::connect_control(&ask.control)
        .map_err(|error| cannot(sockets::reason(&error)).hint("is it running, with this -control?"))?;
    let line = exchange(stream, ask.request.word).map_err(|error| cannot(sockets::reason(&error)))?;
    let Some((ok, text)) = understood(&line) else {
        return Err(cannot(if line.is_empty() { "it has gone away without an answer".to_owned() } else { format!("it answers {line:?}") }));
    };
    let shown = if ask.json { line } else { text };
    let said = if ok || ask.json { writeln!(io::stdout(), "{shown}") } else { writeln!(io::stderr(), "socketmaster: {shown}") };
    said.map_err(|error| Error::cannot("write to", "standard output", error))?;
    Ok(u8::from(!ok))
}

fn exchange(stream: UnixStream, word: &str) -> io::Result<String> {
    // A master that refuses has closed its end already; the reason is to be read all the same.
    let sent = sockets::send(&stream, format!("{word}\n").as_bytes());
    let mut line = Vec::new();
    match BufReader::new(stream.take(LONGEST_ANSWER)).read_until(b'\n', &mut line) {
        Ok(0) => drop(sent?),
        read => drop(read?),
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
