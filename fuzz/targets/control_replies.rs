//! Lines of the control socket's protocol: what one end writes the other reads as it was meant, and what is shown of a
//! stranger's answer is no danger to a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::control::protocol::{Answer, ReplyLine, RequestLine, printable, read_reply, request_line};
use socketmaster::types::one_line::OneLine;

fuzz_target!(|text: &str| {
    for answer in [Answer::ok(text), Answer::failed(text)] {
        let line = answer.line();
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert_eq!(read_reply(line.trim_end_matches('\n')), Some(ReplyLine::Answer(answer)));
    }
    if let Some(reply) = read_reply(text) {
        let shown = printable(text);
        assert_eq!(OneLine::from(shown.as_str()).as_str(), shown, "a terminal would obey it");
        assert_eq!(read_reply(&shown), Some(reply), "the same values");
    }
    if let Ok(line) = RequestLine::read(text) {
        let again = request_line(text.trim().split(' ').next().unwrap_or_default(), line.acknowledge);
        assert_eq!(RequestLine::read(&again), Ok(line));
    }
});
