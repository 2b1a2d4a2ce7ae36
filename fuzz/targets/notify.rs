//! Messages to the service manager: datagrams of whole characters that fit, each with its state and one status line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::systemd::notify::ServiceManager;
use socketmaster::types::time::Instant;
use std::cell::RefCell;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

const LONGEST: usize = 4096;

thread_local! {
    static MANAGER: RefCell<(UnixDatagram, ServiceManager)> = RefCell::new(manager());
}

fn manager() -> (UnixDatagram, ServiceManager) {
    let name = format!("socketmaster-fuzz-notify-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a free name");
    socket.set_nonblocking(true).expect("it can be");
    let environment = [(OsString::from("NOTIFY_SOCKET"), OsString::from(format!("@{name}")))];
    (socket, ServiceManager::find(&environment).expect("it is named").expect("it is there"))
}

fuzz_target!(|texts: Vec<(u8, String)>| {
    MANAGER.with_borrow_mut(|(socket, manager)| {
        let mut told = 0;
        for (kind, text) in &texts {
            // Long ones do not come by themselves.
            let text = text.repeat(1 + usize::from(kind / 4) * 8);
            match kind % 4 {
                0 => manager.ready(text),
                1 => manager.reloading(Instant(Duration::from_micros(u64::from(*kind))), text),
                2 => manager.stopping(text),
                _ => manager.status(text),
            }
            told += 1;
        }
        let mut heard = 0;
        let mut buffer = [0; 2 * LONGEST];
        loop {
            manager.flush().expect("it is there");
            let before = heard;
            while let Ok(length) = socket.recv(&mut buffer) {
                assert!(length <= LONGEST, "systemd ignores {length} bytes");
                let text = std::str::from_utf8(&buffer[..length]).expect("no character is cut");
                let states = ["READY=1\nSTATUS=", "RELOADING=1\nMONOTONIC_USEC=", "STOPPING=1\nSTATUS=", "STATUS="];
                assert!(states.iter().any(|state| text.starts_with(state)), "{text:?}");
                heard += 1;
            }
            if heard == before && manager.blocked_on().is_none() {
                break;
            }
        }
        assert!(heard <= told);
    });
});
