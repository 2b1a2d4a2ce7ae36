//! A message in the protocol of einhorn, and the answers to it. Pure.
//!
//! A message is one line. Clients write a flat YAML document, in which `%25` stands for `%` and `%0A` for the end of a line, or
//! JSON, which is YAML as well. Nothing but flat maps is read.

/// The longest `id` of a message that comes back in the answer.
const LONGEST_ID: usize = 64;

/// What follows from a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// The worker with this pid is ready. There is no answer but the end of the connection.
    Acknowledged { pid: Option<i32> },
    /// The same, but it means nothing.
    Closed,
    /// This line is the answer.
    Answer(Vec<u8>),
}

/// What is used of a message.
#[derive(Default)]
struct Request<'a> {
    command: Option<&'a [u8]>,
    pid: Option<i32>,
    /// What the answer is to be marked with.
    id: Option<&'a [u8]>,
}

/// Reads a line, without its end, and decides what follows.
pub fn react(line: &[u8]) -> Reaction {
    let text = decoded(line);
    let Some(Request { command, pid, id }) = Request::read(&text) else { return answer(b"Could not parse command", None) };
    match command {
        Some(b"worker:ack") => Reaction::Acknowledged { pid },
        Some(b"worker:ping") => Reaction::Closed,
        Some(_) => answer(b"Unrecognized command; accepted are worker:ack and worker:ping", id),
        None => answer(b"No command parameter provided", id),
    }
}

fn answer(message: &[u8], id: Option<&[u8]>) -> Reaction {
    let mut line = [b"---%0Amessage: ", message, b"%0A"].concat();
    if let Some(id) = id.filter(|id| id.len() <= LONGEST_ID && id.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')) {
        for part in [b"request_id: ", id, b"%0A"] {
            line.extend_from_slice(part);
        }
    }
    line.push(b'\n');
    Reaction::Answer(line)
}

/// Puts the two characters back that a line cannot hold.
fn decoded(mut line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    while let Some((first, rest)) = line.split_first() {
        let (byte, rest) = match line {
            [b'%', b'0', b'A' | b'a', rest @ ..] => (b'\n', rest),
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            _ => (*first, rest),
        };
        text.push(byte);
        line = rest;
    }
    text
}

impl<'a> Request<'a> {
    /// `None` if this is no flat map.
    fn read(text: &'a [u8]) -> Option<Request<'a>> {
        let text = text.trim_ascii();
        let text = text.strip_prefix(b"---").unwrap_or(text).trim_ascii();
        let (mut rest, end) = match text {
            // Pairs end with a comma, or else each with its line.
            [b'{', inner @ .., b'}'] => (inner.trim_ascii(), b','),
            [b'{', ..] | [] => return None,
            lines => (lines, b'\n'),
        };
        let mut request = Request::default();
        while !rest.is_empty() {
            let (key, after) = scalar(rest, b':')?;
            let after = after.strip_prefix(b":")?;
            let (value, after) = if after.starts_with(b"\n") { (&[][..], after) } else { scalar(after.trim_ascii_start(), end)? };
            rest = match after.trim_ascii_start() {
                more if end == b'\n' => more,
                [b',', more @ ..] => more.trim_ascii_start(),
                [] => &[],
                _ => return None,
            };
            match key {
                b"command" => request.command = Some(value),
                b"pid" => request.pid = std::str::from_utf8(value).ok().and_then(|pid| pid.parse().ok()),
                b"id" => request.id = Some(value),
                _ => {}
            }
        }
        Some(request)
    }
}

/// The scalar at the beginning of a text, plain or in quotes, and what is behind it. A plain one ends before `end`. No scalar that
/// means something has a quote or an escape in it.
fn scalar(text: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let position = |text: &[u8], wanted: u8| text.iter().position(|byte| *byte == wanted);
    match text {
        [quote @ (b'"' | b'\''), rest @ ..] => {
            let (value, rest) = rest.split_at_checked(position(rest, *quote)?)?;
            let rest = rest.get(1..)?;
            // Only white space may come before the end.
            let gap = rest.split_at_checked(position(rest, end).unwrap_or(rest.len()))?;
            gap.0.trim_ascii().is_empty().then_some((value, gap.1))
        }
        _ => {
            let (value, rest) = text.split_at_checked(position(text, end).unwrap_or(text.len()))?;
            Some((value.trim_ascii(), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: Reaction = Reaction::Acknowledged { pid: Some(4242) };

    /// The bytes of every client that is known, without the end of the line.
    #[test]
    fn every_client_is_understood() {
        for line in [
            r#"{"command":"worker:ack", "pid":4242}"#,
            r#"{"command": "worker:ack", "pid": 4242}"#,
            r#"{"pid":4242,"command":"worker:ack"}"#,
            r#"{ "command" : "worker:ack" , "pid" : "4242" } "#,
            "---%0Acommand: worker:ack%0Apid: 4242%0A",
            "--- %0Acommand: worker:ack%0Apid: 4242%0A",
            "--- %0Acommand: worker:ack%0Apid: 4242%0A\r",
            "command: worker:ack%0Apid: 4242%0A",
            "command: 'worker:ack'%0Apid: \"4242\"%0Aargs: %0A",
            "{command: worker:ack, pid: 4242}",
        ] {
            assert_eq!(react(line.as_bytes()), ACK, "{line}");
        }
        assert_eq!(react(b"---%0Acommand: worker:ping%0Apid: 4242%0Arequest_id: abc-1%0A"), Reaction::Closed);
        assert_eq!(react(br#"{"command":"worker:ack"}"#), Reaction::Acknowledged { pid: None });
        assert_eq!(react(br#"{"command":"worker:ack","pid":"x"}"#), Reaction::Acknowledged { pid: None });
    }

    #[test]
    fn what_cannot_be_parsed_is_answered_as_einhorn_does() {
        let cannot = Reaction::Answer(b"---%0Amessage: Could not parse command%0A\n".to_vec());
        for line in [
            &b"worker"[..],
            b"",
            b"---",
            b"garbage",
            b"{",
            b"{\"command\":\"worker:ack\"",
            b"{\"command\"}",
            b"\xff",
            b"{\"a\":\"b}",
            b"a: \"b\"c",
        ] {
            assert_eq!(react(line), cannot, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_unknown_is_answered_and_the_answer_bears_the_id_of_the_request() {
        let answer = |line: &str| match react(line.as_bytes()) {
            Reaction::Answer(answer) => String::from_utf8(answer).expect("text"),
            other => panic!("{other:?}"),
        };
        let unknown = "---%0Amessage: Unrecognized command; accepted are worker:ack and worker:ping%0A";
        assert_eq!(answer("---%0Acommand: upgrade%25%0Aid: abc-1%0A"), format!("{unknown}request_id: abc-1%0A\n"));
        assert_eq!(answer("{command: upgrade, id: \"a\\nb\"}"), format!("{unknown}\n"), "that id would not stay where it is");
        assert_eq!(answer(r#"{"comand":"worker:ack","Pid":4242}"#), "---%0Amessage: No command parameter provided%0A\n", "misspelt");
        assert_eq!(answer("{}"), "---%0Amessage: No command parameter provided%0A\n");
        let long = answer(&format!("{{\"command\":\"x\",\"id\":\"{}\"}}", "y".repeat(5000)));
        assert_eq!(long, format!("{unknown}\n"));
    }
}
