//! The request of a probe, and its reader of answers: as little of HTTP as a status needs. Pure.

use crate::config::probe_url::HttpRequest;

/// A reason longer than this is cut.
const LONGEST_REASON: usize = 80;

/// The request as it is sent. It asks the server to close the connection, so that nothing is left open.
pub fn request(HttpRequest { host, path }: &HttpRequest) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: socketmaster/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// What the first bytes of an answer are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// More bytes are needed.
    Incomplete,
    /// The status of the final answer, and the reason that the server gives with it.
    Status(u16, String),
    /// No answer of HTTP/1 begins like this.
    Nonsense,
}

/// Reads the bytes that have come so far. An answer with a status below 200 only announces the final one.
pub fn read(mut bytes: &[u8]) -> Answer {
    loop {
        let Some((line, rest)) = split_line(bytes) else {
            return if may_begin(bytes) { Answer::Incomplete } else { Answer::Nonsense };
        };
        let Some((status, reason)) = status_line(line) else { return Answer::Nonsense };
        if status >= 200 {
            let reason = String::from_utf8_lossy(reason.trim_ascii());
            return Answer::Status(status, reason.chars().take(LONGEST_REASON).collect());
        }
        bytes = rest;
        loop {
            match split_line(bytes) {
                None => return Answer::Incomplete,
                Some((line, rest)) => {
                    bytes = rest;
                    if line.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}

/// The first line without its end, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest.get(1..).unwrap_or_default()))
}

const VERSION: &[u8] = b"HTTP/1.";

/// Whether a line that is not complete may become a status line.
fn may_begin(bytes: &[u8]) -> bool {
    bytes.iter().zip(VERSION).all(|(byte, wanted)| byte == wanted)
}

/// `HTTP/1.1 200 OK`, with or without the reason.
fn status_line(line: &[u8]) -> Option<(u16, &[u8])> {
    let [minor, b' ', status @ ..] = line.strip_prefix(VERSION)? else { return None };
    let (digits, reason) = status.split_at_checked(3)?;
    if !minor.is_ascii_digit() || !digits.iter().all(u8::is_ascii_digit) || !matches!(reason.first(), None | Some(b' ')) {
        return None;
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    (100..600).contains(&status).then_some((status, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_host_and_asks_for_the_end_of_the_connection() {
        let request = request(&HttpRequest { host: "[::1]:80".to_owned(), path: "/a?b".to_owned() });
        let lines: Vec<&str> = request.split("\r\n").collect();
        assert_eq!(lines[..2], ["GET /a?b HTTP/1.1", "Host: [::1]:80"]);
        assert_eq!(lines[4..], ["Connection: close", "", ""]);
    }

    fn status(status: u16, reason: &str) -> Answer {
        Answer::Status(status, reason.to_owned())
    }

    #[test]
    fn a_status_is_found_in_every_form_that_servers_send() {
        for (text, answer) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", status(200, "OK")),
            ("HTTP/1.0 200\r\n", status(200, "")),
            ("HTTP/1.0 204 \n", status(204, "")),
            ("HTTP/1.1 301 Moved Permanently\r\n", status(301, "Moved Permanently")),
            ("HTTP/1.1 599 \u{1b}[2J\r\n", status(599, "\u{1b}[2J")),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n", status(503, "Busy")),
            ("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 103 More\r\n\r\nHTTP/1.1 200 OK\r\n", status(200, "OK")),
        ] {
            assert_eq!(read(text.as_bytes()), answer, "{text:?}");
            // However it is split, the beginning is never taken for anything else.
            for cut in 0..text.len() {
                let part = read(&text.as_bytes()[..cut]);
                assert!(part == Answer::Incomplete || part == answer, "{:?}: {part:?}", &text[..cut]);
            }
        }
        let long = format!("HTTP/1.1 200 {}\r\n", "x".repeat(10_000));
        assert_eq!(read(long.as_bytes()), status(200, &"x".repeat(LONGEST_REASON)));
    }

    #[test]
    fn what_is_no_answer_of_http_is_seen_at_once() {
        for text in [
            "\n",
            "X",
            "HTTQ",
            "HTTP/2 200 OK\r\n",
            "HTTP/1.1  200 OK\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 abc\r\n",
            "HTTP/1.1 099 Low\r\n",
            "HTTP/1.1 600 High\r\n",
            "HTTP/1.x 200 OK\r\n",
            "http/1.1 200 OK\r\n",
            "SSH-2.0-OpenSSH\r\n",
            "\u{15}\u{3}\u{1}",
            "GET / HTTP/1.1\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nbody\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Answer::Nonsense, "{text:?}");
        }
    }
}
