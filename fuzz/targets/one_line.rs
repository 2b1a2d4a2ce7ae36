//! Text from outside on its way to a log or a terminal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::types::one_line::OneLine;

fuzz_target!(|data: &[u8]| {
    let line = OneLine::from_bytes(data);
    let text = line.as_str();
    assert!(!text.contains(char::is_control));
    assert_eq!(text.lines().count(), usize::from(!text.is_empty()));
    assert_eq!(OneLine::from(text), line, "what is one line stays as it is");
    if data.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        assert_eq!(text.as_bytes(), data);
    }
});
