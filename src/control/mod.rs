//! The control socket: how a running master is asked to reload, to stop, and how it is. Here is what both ends say;
//! `server` is the master's end, `client` that of `-s`.
//!
//! A request is one word on a line. Its answer is one line of JSON, an object that begins with `ok`, a boolean, and
//! `text`, what a person is to read. Requests on one connection are answered in their order.

pub mod client;
pub mod server;

use std::fmt::Write;

/// What can be asked of a master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Reload,
    Status,
    Stop,
}

/// A request: its word, and what it does.
#[derive(PartialEq, Debug)]
pub struct Request {
    pub word: &'static str,
    pub verb: Verb,
    pub does: &'static str,
}

/// In the order in which the documentation shows them.
pub const REQUESTS: &[Request] = &[
    Request { word: "reload", verb: Verb::Reload, does: "reloads, waits for the end of that reload, and fails if it has failed" },
    Request { word: "status", verb: Verb::Status, does: "shows generations, workers, listeners and the last reload" },
    Request { word: "stop", verb: Verb::Stop, does: "stops like TERM, and waits for the end" },
];

/// The request of that word; the error says which words there are.
pub fn request(word: &str) -> Result<&'static Request, String> {
    REQUESTS.iter().find(|request| request.word == word).ok_or_else(|| {
        let words: Vec<&str> = REQUESTS.iter().map(|request| request.word).collect();
        format!("unknown request {word:?}; accepted are {}", words.join(", "))
    })
}

/// An answer's line, with its end. `more` are further members of the object, each behind a comma.
pub fn answer(ok: bool, text: &str, more: &str) -> String {
    format!("{{\"ok\":{ok},\"text\":{}{more}}}\n", quoted(text))
}

/// A string as JSON has it, RFC 8259.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What an answer's line says to a person: whether it went well, and the text. `None` if it is none of ours.
fn understood(line: &str) -> Option<(bool, String)> {
    let rest = line.strip_prefix("{\"ok\":")?;
    let (ok, rest) = rest.split_once(",\"text\":\"")?;
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some((ok.parse().ok()?, text)),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                // A terminal would obey what hides behind these.
                'u' => {
                    chars.nth(3)?;
                    text.push(char::REPLACEMENT_CHARACTER);
                }
                plain => text.push(plain),
            },
            plain => text.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_words() {
        assert_eq!(request("reload").map(|request| request.verb), Ok(Verb::Reload));
        assert_eq!(request("Reload").map(drop), Err("unknown request \"Reload\"; accepted are reload, status, stop".to_owned()));
        assert!(request("").is_err());
    }

    #[test]
    fn an_answer_is_read_as_it_was_meant() {
        for (ok, text) in [(true, "generation 3 serves"), (false, "a \"b\" \\ c\nd"), (true, ""), (false, "\u{e9}\u{1f600}")] {
            let line = answer(ok, text, ",\"pid\":1");
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert_eq!(understood(line.trim_end()), Some((ok, text.to_owned())));
        }
        assert_eq!(answer(true, "a\"b", ",\"pid\":1"), "{\"ok\":true,\"text\":\"a\\\"b\",\"pid\":1}\n");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let line = answer(true, "a\u{1b}[2Jb\u{7f}", "");
        assert_eq!(line, "{\"ok\":true,\"text\":\"a\\u001b[2Jb\\u007f\"}\n");
        assert_eq!(understood(&line), Some((true, "a\u{fffd}[2Jb\u{fffd}".to_owned())));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for line in
            ["", "{}", "HTTP/1.1 400", "{\"ok\":true,\"text\":\"cut", "{\"ok\":maybe,\"text\":\"x\"}", "{\"ok\":true,\"text\":\"\\u00\"}"]
        {
            assert_eq!(understood(line), None, "{line}");
        }
    }
}
