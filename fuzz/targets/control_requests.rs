//! What callers write to the control socket: the same requests in whatever pieces it comes, and an answer for each line
//! that is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::control::protocol::{Answer, ReplyLine, RequestLine, read_reply};
use socketmaster::types::request::Verb;
use socketmaster_fuzz::adapter::Control;
use std::cell::RefCell;

const LONGEST_LINE: usize = 4096;

thread_local! {
    static CONTROL: RefCell<Control> = RefCell::new(Control::open());
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, text)) = data.split_first() else { return };
    let (asked, answers) = CONTROL.with_borrow_mut(|control| control.hear(text, 1 + usize::from(*piece) * 2));
    let replies = || answers.lines().filter(|line| *line != "asked").map(|line| read_reply(line).unwrap_or_else(|| panic!("{line:?}")));
    let accepted = replies().filter(|reply| *reply == ReplyLine::Accepted).count();
    for reply in replies() {
        assert!(matches!(&reply, ReplyLine::Accepted | ReplyLine::Answer(Answer { ok: false, .. })), "{reply:?}");
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.iter().all(|line| line.len() < LONGEST_LINE / 2) {
        let requests = || lines.iter().filter_map(|line| RequestLine::read(&String::from_utf8_lossy(line)).ok());
        assert_eq!(asked, requests().map(|request| request.verb).collect::<Vec<Verb>>());
        assert_eq!(accepted, requests().filter(|request| request.acknowledge).count());
        let answered = answers.lines().count() - accepted;
        let ended = lines.last().is_some_and(|last| last.is_empty());
        assert_eq!(answered, lines.len() - usize::from(ended), "each line gets its answer");
    }
});
