//! What a service manager hands over, by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES: each socket once, each name printable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::listen_uri::{Address, Endpoint};
use socketmaster::listener::inherit::{expand, kept, left_over, offered, store_name, untaken};
use socketmaster_fuzz::{assert_one_line, parts};
use std::collections::BTreeSet;
use std::ffi::OsString;

const PID: u32 = 77;
const LISTEN: &[&str] = &["systemd:", "systemd:web?nonblock=1", "tcp://:80", "unix:///run/a%b:c", "tcp://:80", "fd://4"];

fuzz_target!(|data: &[u8]| {
    let values = parts(data);
    let environment: Vec<(OsString, OsString)> =
        ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].into_iter().map(OsString::from).zip(values).collect();
    let offer = offered(&environment, PID);
    match &offer {
        Err(cause) => assert_one_line(cause),
        Ok(sockets) => {
            assert!((3..).zip(sockets).all(|(fd, socket)| socket.fd == fd));
            assert!(sockets.iter().all(|socket| !socket.name.contains(char::is_control)));
        }
    }
    let listen: Vec<Endpoint> = LISTEN.iter().map(|uri| uri.parse().expect(uri)).collect();
    // All of them, and without those of systemd.
    for listen in [&listen[..], &listen[1..], &listen[2..]] {
        match expand(listen.to_vec(), &offer) {
            Err(error) => assert_one_line(&error.to_string()),
            Ok(expanded) => {
                let names = expanded.iter().all(|endpoint| !matches!(endpoint.address, Address::Activated(_)));
                assert!(names, "each listener is a socket or an address");
                if let Ok(sockets) = &offer {
                    untaken(&expanded, sockets).into_iter().for_each(|name| assert!(name.is_empty() || printable(name)));
                    let kept = kept(expanded.iter().map(|endpoint| &endpoint.address), sockets);
                    let numbers: Vec<i32> = kept.iter().flatten().copied().collect();
                    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "each is given once");
                    for (endpoint, fd) in expanded.iter().zip(&kept) {
                        let found = fd.and_then(|fd| sockets.iter().find(|socket| socket.fd == fd)).map(|socket| socket.name.clone());
                        assert!(found.is_none() || found == store_name(&endpoint.address));
                    }
                    left_over(sockets, &kept).into_iter().for_each(|name| assert!(printable(name)));
                }
            }
        }
    }
});

fn printable(text: &str) -> bool {
    !text.contains(char::is_control)
}
