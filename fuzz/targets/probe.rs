//! The URL of a probe and the answer of its server: a URL that is read never changes the form of the request, and an answer
//! that has been read means the same however many bytes follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::Command;
use socketmaster::config::probe_url::{ProbeUrl, Target};
use socketmaster::probe::http::{Answer, read, request};
use socketmaster_fuzz::parse;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let url = text.parse::<ProbeUrl>();
        let command = parse(&["-probe".into(), text.into()], &[("SOCKETMASTER_START".into(), "x".into())]);
        match &url {
            Ok(url) => {
                if let Target::Inet(addresses) = &url.target {
                    assert!(!addresses.is_empty() && addresses.iter().all(|address| address.port() > 0));
                }
                if let Some(asked) = &url.request {
                    let request = request(asked);
                    assert!(request.starts_with("GET /") && request.ends_with("\r\n\r\n"), "{request:?}");
                    let lines: Vec<&str> = request.split("\r\n").collect();
                    assert_eq!(lines.len(), 7, "{request:?}");
                    assert_eq!(lines[0].split(' ').count(), 3, "{request:?}");
                    assert!(lines.iter().all(|line| line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())), "{request:?}");
                }
                assert!(matches!(command, Ok(Command::Probe(probe)) if probe.url == *url));
            }
            Err(cause) => {
                assert!(!cause.is_empty());
                command.expect_err("what cannot be read is refused");
            }
        }
    }
    let whole = read(data);
    for end in 0..data.len() {
        let part = read(&data[..end]);
        assert!(part == Answer::Incomplete || part == whole, "{part:?} becomes {whole:?}");
    }
    if let Answer::Status(status, _) = whole {
        assert!((200..600).contains(&status));
    }
});
