//! The end of `-s`: one request, one answer.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::protocol::{self, Answer, ReplyLine};
use super::trust::{self, Verdict};
use crate::config::Ask;
use crate::error::Error;
use crate::sys::errno::reason;
use crate::sys::signal::InheritedSignals;
use crate::sys::socket::{self, ConnectWait};
use crate::sys::stderr::NonblockingStderr;
use crate::sys::{peer, user};
use crate::types::one_line::OneLine;
use crate::types::request::Verb;
use crate::types::socket_name::SocketName;

/// The status of ten thousand workers is shorter. The program that listens there may not be a master.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;
/// How long the client waits for the first byte from the master.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// How many characters of an invalid answer are shown.
const SHOWN: usize = 200;

/// Asks the master and prints its answer, on standard error where it is a refusal; the status to exit with.
/// Waits for as long as the master takes, once it has accepted the request.
pub fn ask(ask: &Ask, found: InheritedSignals) -> Result<u8, Error> {
    // The client is no master: Ctrl-C and other signals must end it.
    found.restore();
    let cannot = |cause: String| Error::cannot("reach a master at", OneLine::from(ask.control.to_string()).to_string(), cause);
    let stream = socket::connect_stream(&ask.control, ConnectWait::Until(LONGEST_SILENCE)).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => cannot(silence()),
        _ => cannot(reason(&error)).hint("is it running with this -control?"),
    })?;
    check(&stream, &ask.control).map_err(cannot)?;
    let mut asked = Asked::new(stream).map_err(|error| cannot(reason(&error)))?;
    let (line, Answer { ok, text }) = asked.ask(ask.request.verb, ask.request.word).map_err(cannot)?;
    let shown = if ask.json { protocol::printable(line.trim_end()) } else { lines(&text) };
    let (said, stream) = match ok || ask.json {
        true => (writeln!(io::stdout(), "{shown}"), "standard output"),
        false => (writeln!(io::stderr(), "{}{shown}", NonblockingStderr::error_tag()), "standard error"),
    };
    said.map_err(|error| Error::cannot("write to", stream, reason(&error)))?;
    Ok(u8::from(!ok))
}

/// Fails if the program at the address belongs to another user. The client then sends it nothing and prints nothing from it.
fn check(stream: &UnixStream, address: &SocketName) -> Result<(), String> {
    let peer = peer::credentials(stream).map_err(|error| reason(&error))?;
    let own = user::own_uid();
    let is_abstract = matches!(address, SocketName::Abstract(_));
    match trust::may_answer(peer.uid, own, is_abstract, || trust::look(stream)) {
        Verdict::Trusted => Ok(()),
        Verdict::Stranger => Err(format!("the listener belongs to uid {}, which is neither root nor uid {own}", peer.uid)),
        Verdict::Unseen => Err(format!(
            "the listener belongs to uid {}, which may stand for any user, and its process is not seen in this user namespace",
            peer.uid
        )),
    }
}

/// A connection on which a request is made.
struct Asked {
    answers: BufReader<io::Take<UnixStream>>,
}

impl Asked {
    fn new(stream: UnixStream) -> io::Result<Asked> {
        stream.set_read_timeout(Some(LONGEST_SILENCE))?;
        Ok(Asked { answers: BufReader::new(stream.take(LONGEST_ANSWER)) })
    }

    fn stream(&self) -> &UnixStream {
        self.answers.get_ref().get_ref()
    }

    /// Returns the line of the answer and the answer itself. The error says why there is none.
    fn ask(&mut self, verb: Verb, word: &str) -> Result<(String, Answer), String> {
        // The status arrives at once, so its first byte is sign enough.
        let acknowledge = verb != Verb::Status;
        let sent = self.send(&protocol::request_line(word, acknowledge));
        let (line, reply) = self.reply(sent)?;
        let sent = match reply {
            // This is a master of version 0.1. It has read the request, and it knows the bare word.
            ReplyLine::Answer(answer) if acknowledge && !answer.ok && answer.text.starts_with(protocol::UNKNOWN) => {
                self.send(&protocol::request_line(word, false))
            }
            ReplyLine::Answer(answer) => return Ok((line, answer)),
            ReplyLine::Accepted => Ok(()),
        };
        self.stream().set_read_timeout(None).map_err(|error| reason(&error))?;
        match self.reply(sent)? {
            (line, ReplyLine::Answer(answer)) => Ok((line, answer)),
            (line, ReplyLine::Accepted) => Err(nonsense(&line)),
        }
    }

    fn send(&self, line: &str) -> io::Result<()> {
        socket::send(self.stream(), line.as_bytes()).map(drop)
    }

    /// The next line from the master. One that refuses has closed its end already; the reason is to be read all the same.
    fn reply(&mut self, sent: io::Result<()>) -> Result<(String, ReplyLine), String> {
        let mut line = Vec::new();
        match self.answers.read_until(b'\n', &mut line) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(silence()),
            Err(error) => return Err(reason(&error)),
            Ok(0) => {
                return Err(match sent {
                    Ok(()) => "it closed the connection without an answer".to_owned(),
                    Err(error) => reason(&error),
                });
            }
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let reply = protocol::read_reply(&line).ok_or_else(|| nonsense(&line))?;
        Ok((line, reply))
    }
}

fn silence() -> String {
    format!("no answer within {} s", LONGEST_SILENCE.as_secs())
}

fn nonsense(line: &str) -> String {
    let shown: String = line.trim_end().chars().take(SHOWN).collect();
    format!("unexpected answer {shown:?}")
}

/// A text of several lines, each without control characters.
fn lines(text: &str) -> String {
    text.split('\n').map(|line| OneLine::from(line).to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_its_line_ends_and_no_other_control_character() {
        assert_eq!(lines("a\n  b\u{1b}]0;x\u{7}\r\n\nc"), "a\n  b\\u{1b}]0;x\\u{7}\\r\n\nc");
        assert_eq!(lines(""), "");
    }

    #[test]
    fn an_answer_that_is_none_is_shown_in_part() {
        assert_eq!(nonsense("HTTP/1.1 400 Bad\u{1b}\r\n"), "unexpected answer \"HTTP/1.1 400 Bad\\u{1b}\"");
        assert!(nonsense(&"x".repeat(100_000)).len() < 300);
    }

    /// Asks a master that sends these lines at once. Returns the lines that it received, and the result.
    fn asked(verb: Verb, word: &str, answers: &str) -> (String, Result<(String, Answer), String>) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (&theirs).write_all(answers.as_bytes()).expect("room");
        theirs.shutdown(std::net::Shutdown::Write).expect("a socket");
        let mut asked = Asked::new(ours).expect("a socket");
        let result = asked.ask(verb, word);
        drop(asked);
        let mut sent = String::new();
        let _ = (&theirs).read_to_string(&mut sent);
        (sent, result)
    }

    #[test]
    fn masters_of_either_version_are_understood() {
        let answer = "{\"ok\":true,\"text\":\"x\"}\n";
        let result = Ok((answer.to_owned(), Answer::ok("x")));
        let accepted = format!("{{\"accepted\":true}}\n{answer}");
        assert_eq!(asked(Verb::Reload, "reload", &accepted), ("reload ack\n".to_owned(), result.clone()));
        let old = format!("{{\"ok\":false,\"text\":\"unknown request \\\"reload ack\\\"; accepted are reload, status, stop\"}}\n{answer}");
        assert_eq!(asked(Verb::Reload, "reload", &old), ("reload ack\nreload\n".to_owned(), result.clone()));
        assert_eq!(asked(Verb::Status, "status", answer), ("status\n".to_owned(), result.clone()));
        assert_eq!(asked(Verb::Stop, "stop", answer), ("stop ack\n".to_owned(), result), "refused before it was accepted");
    }

    #[test]
    fn a_master_that_goes_away_and_one_that_talks_nonsense_are_no_answer() {
        let gone = Err("it closed the connection without an answer".to_owned());
        assert_eq!(asked(Verb::Reload, "reload", "").1, gone);
        assert_eq!(asked(Verb::Reload, "reload", "{\"accepted\":true}\n").1, gone);
        assert!(asked(Verb::Reload, "reload", "{\"accepted\":true}\n{\"accepted\":true}\n").1.is_err());
        assert!(asked(Verb::Status, "status", "{}\n").1.is_err());
    }
}
