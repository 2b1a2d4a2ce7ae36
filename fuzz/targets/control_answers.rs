//! What a master answers, or something else that listens there: what is shown of it stays on its lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::control::answer;
use socketmaster_fuzz::adapter;

fuzz_target!(|text: &str| {
    if let Some((_, shown)) = adapter::answer(text) {
        // A table has several lines.
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
    for ok in [true, false] {
        let line = answer(ok, text, ",\"more\":1");
        assert_eq!(line.matches('\n').count(), 1, "one line: {line:?}");
        assert!(!line.trim_end_matches('\n').contains(char::is_control));
        let expected: String = text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect();
        assert_eq!(adapter::answer(line.trim_end_matches('\n')), Some((ok, expected)));
    }
});
