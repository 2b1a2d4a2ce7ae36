//! Messages of workers to NOTIFY_SOCKET: a status of one short line, names that systemd accepts, and each line on its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::report::message::{LONGEST_MESSAGE, Message};
use socketmaster_fuzz::assert_one_line;

fuzz_target!(|data: &[u8]| {
    let message = Message::read(data);
    if let Some(status) = message.status.as_ref().filter(|status| !status.as_str().is_empty()) {
        assert_one_line(status.as_str());
        // Escapes are longer than what they stand for.
        assert!(status.as_str().len() <= 10 * 512, "{} bytes", status.as_str().len());
    }
    if let Some(store) = &message.store {
        let text = store.text();
        assert!(text.len() <= LONGEST_MESSAGE && text.starts_with("FDSTORE") && text.lines().count() <= 3);
        assert_eq!(Message::read(text.as_bytes()).store.as_ref().map(|again| &again.name), Some(&store.name), "it is said again as it was");
    }
    assert_eq!(message.ready, data.split(|byte| matches!(byte, b'\n' | 0)).any(|line| line == b"READY=1"));
    let mut more = data.to_vec();
    more.extend_from_slice(b"\nX_UNKNOWN=1\nREADY=2");
    assert_eq!(Message::read(&more), message, "a line that is unknown changes nothing");
});
