//! What callers write to the control socket: the same requests in whatever pieces it comes, and an answer for each line
//! that is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::types::request::{Verb, request};
use socketmaster_fuzz::adapter::{self, Control};
use std::cell::RefCell;

const LONGEST_LINE: usize = 4096;

thread_local! {
    static CONTROL: RefCell<Control> = RefCell::new(Control::open());
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, text)) = data.split_first() else { return };
    let (asked, answers) = CONTROL.with_borrow_mut(|control| control.hear(text, 1 + usize::from(*piece) * 2));
    for line in answers.lines().filter(|line| *line != "asked") {
        let (ok, text) = adapter::answer(line).unwrap_or_else(|| panic!("{line:?} is no answer"));
        assert!(!ok && !text.is_empty());
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    if lines.iter().all(|line| line.len() < LONGEST_LINE / 2) {
        let words = lines.iter().map(|line| String::from_utf8_lossy(line));
        let expected: Vec<Verb> = words.filter_map(|word| Some(request(word.trim()).ok()?.verb)).collect();
        assert_eq!(asked, expected);
        let answered = answers.lines().count();
        let ended = lines.last().is_some_and(|last| last.is_empty());
        assert_eq!(answered, lines.len() - usize::from(ended), "each line gets its answer");
    }
});
