//! The value of an -env: text stays what it is, braces are doubled, and a placeholder is filled or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::env_template::Template;
use socketmaster::config::listen_uri::Endpoint;
use socketmaster::types::environment::Chunk;
use socketmaster::types::listener::Listener;
use socketmaster::types::process::{GenerationNumber, WorkerPlace};
use socketmaster_fuzz::parse;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

const LISTENERS: &[&[&str]] =
    &[&[], &["tcp://127.0.0.1:80"], &["tcp://:80?name=web", "unix:///run/{x}?name=admin"], &["systemd:", "systemd:db"]];

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let uris = LISTENERS[usize::from(*which) % LISTENERS.len()];
    let endpoints: Vec<Endpoint> = uris.iter().map(|uri| uri.parse().expect(uri)).collect();
    let listeners: Vec<Listener> = (3..)
        .zip(&endpoints)
        .map(|(fd, endpoint)| Listener {
            fd,
            name: endpoint.options.name().map(str::to_owned),
            addr: b"address".to_vec(),
            host: b"host".to_vec(),
            port: Some(80),
            uri: endpoint.to_string(),
        })
        .collect();
    let fill = |template: &Template| template.fill(&listeners, WorkerPlace { generation: GenerationNumber::FIRST, slot: 0 });

    // Doubled braces are text, whatever else is.
    let doubled: Vec<u8> = text.iter().flat_map(|byte| std::iter::repeat_n(*byte, if b"{}".contains(byte) { 2 } else { 1 })).collect();
    let template = Template::parse(OsStr::from_bytes(&doubled), &endpoints).expect("it has no placeholder");
    assert_eq!(fill(&template), [Chunk::Bytes(text.to_vec())]);

    let mut words: Vec<OsString> = uris.iter().map(|uri| format!("-listen={uri}").into()).collect();
    if words.is_empty() {
        words.push("-listen=none".into());
    }
    let mut option = OsString::from("-env=KEY=");
    option.push(OsStr::from_bytes(text));
    words.extend([option, "program".into()]);
    let parsed = parse(&words, &[]);

    match Template::parse(OsStr::from_bytes(text), &endpoints) {
        Ok(template) => {
            let chunks = fill(&template);
            let pids = chunks.iter().filter(|chunk| **chunk == Chunk::Pid).count();
            assert!(pids <= text.windows(5).filter(|window| window == b"{pid}").count());
            assert!(matches!(chunks.last(), Some(Chunk::Bytes(_))));
            assert_eq!(parsed.is_ok(), !text.contains(&0), "{parsed:?}");
        }
        Err(cause) => {
            assert!(!cause.is_empty());
            parsed.expect_err("what cannot be read is refused");
        }
    }
});
