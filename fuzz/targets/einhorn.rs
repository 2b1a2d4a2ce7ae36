//! Messages of einhorn's protocol: every answer is one line that a client can split, and JSON that says no more is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::report::einhorn::{Reaction, react};

fuzz_target!(|data: &[u8]| {
    for line in data.split(|byte| *byte == b'\n') {
        if let Reaction::Answer(answer) = react(line) {
            assert!(answer.starts_with(b"---%0Amessage: ") && answer.ends_with(b"%0A\n") && answer.len() < 256);
            assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert!(answer.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n')));
        }
    }
    // A pid and an unknown key of any kind.
    let pid = data.iter().fold(0_i32, |sum, byte| sum.wrapping_mul(31).wrapping_add(i32::from(*byte)));
    let key: String = data.iter().filter(|byte| byte.is_ascii_lowercase()).map(|byte| char::from(*byte)).collect();
    if !["command", "pid", "id"].contains(&key.as_str()) {
        let json = format!(r#"{{"{key}": "x", "command": "worker:ack", "pid": {pid}}}"#);
        assert_eq!(react(json.as_bytes()), Reaction::Acknowledged { pid: Some(pid) });
        let yaml = format!("---%0A{key}: x%0Acommand: worker:ack%0Apid: {pid}%0A");
        assert_eq!(react(yaml.as_bytes()), Reaction::Acknowledged { pid: Some(pid) });
    }
});
