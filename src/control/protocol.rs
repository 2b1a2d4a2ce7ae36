//! The lines that both ends of the control socket send. The only room that knows JSON.
//!
//! A request is a line: a word such as `reload`, followed by the word `ack` if the caller wants to know that the request has
//! been accepted. The answer is one line of JSON, an object that begins with `ok`, a boolean, and `text`, a text for people.
//! With `ack`, the line `{"accepted":true}` precedes it as soon as the master begins with the request, since the answer to
//! `reload` and to `stop` may take as long as a worker does. Requests on one connection are answered in their order.
//!
//! A master of version 0.1 does not know `ack`. It answers such a line at once with `ok` false and a text that begins with
//! [`UNKNOWN`]; the caller then sends the bare word. A caller of version 0.1 sends bare words only, and gets one line each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::one_line;
use crate::types::request::{Verb, request};

/// The word after a request with which the caller asks for a line as soon as the request is accepted.
const ACKNOWLEDGE: &str = "ack";
/// What the text of an answer to an unknown request begins with, since version 0.1.
pub const UNKNOWN: &str = "unknown request ";

/// A request's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLine {
    pub verb: Verb,
    /// Whether the caller asks for a line as soon as the request is accepted.
    pub acknowledge: bool,
}

impl RequestLine {
    /// Reads a line, with or without its end. The error is the text of the answer to the caller.
    pub fn read(line: &str) -> Result<RequestLine, String> {
        let line = line.trim();
        let (word, acknowledge) = match line.split_once(' ') {
            Some((word, ACKNOWLEDGE)) => (word, true),
            _ => (line, false),
        };
        request(word).map(|request| RequestLine { verb: request.verb, acknowledge })
    }
}

/// The line of a request for this word, with its end.
pub fn request_line(word: &str, acknowledge: bool) -> String {
    if acknowledge { format!("{word} {ACKNOWLEDGE}\n") } else { format!("{word}\n") }
}

#[derive(Serialize, Deserialize)]
struct Accepted {
    accepted: bool,
}

/// The line that says that a request has been accepted, with its end.
pub fn accepted_line() -> String {
    line(&Accepted { accepted: true })
}

/// An answer: whether the request has succeeded, and a text for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub ok: bool,
    pub text: String,
}

impl Answer {
    pub fn ok(text: impl Into<String>) -> Answer {
        Answer { ok: true, text: text.into() }
    }

    pub fn failed(text: impl Into<String>) -> Answer {
        Answer { ok: false, text: text.into() }
    }

    /// Its line, with its end.
    pub fn line(&self) -> String {
        line(self)
    }
}

/// The answer to `status`: an answer, and the complete status.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StatusReport {
    pub ok: bool,
    /// The table for people.
    pub text: String,
    /// The state of the master in one line.
    pub status: String,
    pub version: &'static str,
    pub pid: u32,
    pub uptime: JsonSeconds,
    pub state: &'static str,
    pub workers: Vec<WorkerReport>,
    pub listeners: Vec<ListenerReport>,
    pub last_reload: Option<ReloadReport>,
}

impl StatusReport {
    /// Its line, with its end.
    pub fn line(&self) -> String {
        line(self)
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WorkerReport {
    pub pid: i32,
    pub generation: u32,
    pub role: &'static str,
    pub age: JsonSeconds,
    /// The stop signal, if the worker was sent one.
    pub told: Option<ToldReport>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ToldReport {
    pub signal: String,
    pub ago: JsonSeconds,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ListenerReport {
    pub fd: i32,
    pub uri: String,
    pub name: Option<String>,
    /// How many connections wait to be accepted, where that can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReloadReport {
    pub ok: bool,
    pub text: String,
    pub ago: JsonSeconds,
}

/// A duration in seconds, to the millisecond.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct JsonSeconds(f64);

impl From<Duration> for JsonSeconds {
    fn from(duration: Duration) -> JsonSeconds {
        JsonSeconds(duration.as_millis() as f64 / 1000.0)
    }
}

/// A line from a master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplyLine {
    Accepted,
    Answer(Answer),
}

/// Reads a line from a master; `None` if no master sends such a line.
pub fn read_reply(line: &str) -> Option<ReplyLine> {
    if serde_json::from_str::<Accepted>(line).is_ok_and(|accepted| accepted.accepted) {
        return Some(ReplyLine::Accepted);
    }
    serde_json::from_str(line).ok().map(ReplyLine::Answer)
}

/// This line of JSON as it may be printed: the same values, without a character that a terminal obeys. Only for a line that
/// [`read_reply`] has read.
pub fn printable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // JSON has these between its tokens, and nowhere else unescaped.
            '\t' | '\r' | '\n' => out.push(' '),
            // Only a string can hold any of the others.
            _ if one_line::breaks_a_line(c) => {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
            _ => out.push(c),
        }
    }
    out
}

fn line(value: &impl Serialize) -> String {
    // Cannot fail: all keys are strings and nothing here serializes by hand.
    let mut line = printable(&serde_json::to_string(value).unwrap_or_default());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_word_and_may_want_to_be_acknowledged() {
        for verb in ["reload", "status", "stop"] {
            let wanted = request(verb).expect("a request").verb;
            for acknowledge in [false, true] {
                assert_eq!(RequestLine::read(&request_line(verb, acknowledge)), Ok(RequestLine { verb: wanted, acknowledge }));
            }
        }
        for line in ["", "reload ", " reload\r\n", "reload now", "ack", "reload ack ack", "Reload"] {
            let refused = RequestLine::read(line).map_or_else(|text| text.starts_with(UNKNOWN), |read| read.acknowledge);
            assert_eq!(refused, !["reload ", " reload\r\n"].contains(&line), "{line:?}");
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_meant() {
        for (ok, text) in [(true, "generation 3 serves"), (false, "a \"b\" \\ c\nd"), (true, ""), (false, "\u{e9}\u{1f600}")] {
            let answer = Answer { ok, text: text.to_owned() };
            assert_eq!(answer.line().matches('\n').count(), 1, "{:?}", answer.line());
            assert_eq!(read_reply(&answer.line()), Some(ReplyLine::Answer(answer)));
        }
        assert_eq!(Answer::ok("a\"b").line(), "{\"ok\":true,\"text\":\"a\\\"b\"}\n");
        assert_eq!(accepted_line(), "{\"accepted\":true}\n");
        assert_eq!(read_reply("{\"accepted\":true}\n"), Some(ReplyLine::Accepted));
        let newer = "{\"ok\":true,\"text\":\"x\",\"what\":[{\"is\":null}]}";
        assert_eq!(read_reply(newer), Some(ReplyLine::Answer(Answer::ok("x"))), "members of a newer master are passed over");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_into_a_line() {
        let answer = Answer::ok("a\u{1b}[2Jb\u{7f}\u{9b}\u{202e}c");
        assert_eq!(answer.line(), "{\"ok\":true,\"text\":\"a\\u001b[2Jb\\u007f\\u009b\\u202ec\"}\n");
        assert_eq!(read_reply(&answer.line()), Some(ReplyLine::Answer(answer)));
        assert_eq!(printable("{\t\"a\" :\r\"\u{9b}\u{1f600}\"}"), "{ \"a\" : \"\\u009b\u{1f600}\"}");
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for line in [
            "",
            "{}",
            "HTTP/1.1 400",
            "{\"ok\":true,\"text\":\"cut",
            "{\"ok\":maybe,\"text\":\"x\"}",
            "{\"ok\":true,\"text\":\"\\u00\"}",
            "{\"ok\":true,\"text\":\"raw \u{1b} in a string\"}",
            "{\"accepted\":false}",
            "{\"ok\":true,\"text\":\"x\"} more",
        ] {
            assert_eq!(read_reply(line), None, "{line}");
        }
    }
}
