//! Plain functions over parts of the product that talk to sockets and pipes: the only file here to change when such a
//! part gets another interface.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use socketmaster::config::Command;
use socketmaster::control::server::{Call, ControlToken, Server};
use socketmaster::output::lines::{Line, Sink};
use socketmaster::output::relay::Relay;
use socketmaster::types::process::Pid;
use socketmaster::types::request::Verb;
use socketmaster::types::time::Instant;

/// Whether the words of a variable may be quoted, and so any word can be written in one.
pub const WORDS_ARE_QUOTED: bool = true;

/// The words of a variable that holds several: those of SOCKETMASTER_ARGS, which reach the program as they are.
pub fn words(text: &OsStr) -> Result<Vec<OsString>, String> {
    let variables = [("SOCKETMASTER_ARGS".into(), text.to_owned())];
    crate::parse(&["-listen=none".into(), "program".into()], &variables).map(|command| match command {
        Command::Run(config) => config.reloadable.args,
        other => panic!("{other:?} is no configuration"),
    })
}

/// A control socket with nobody but the fuzzer on it.
pub struct Control {
    server: Server,
    address: SocketAddr,
}

impl Control {
    pub fn open() -> Control {
        let name = format!("socketmaster-fuzz-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a free name");
        listener.set_nonblocking(true).expect("it can be");
        Control { server: Server::new(listener.into(), true), address }
    }

    /// What is asked in these bytes, which arrive in pieces of this size, and the answers.
    pub fn hear(&mut self, bytes: &[u8], piece: usize) -> (Vec<Verb>, String) {
        let mut caller = UnixStream::connect_addr(&self.address).expect("it listens");
        caller.set_nonblocking(true).expect("it can be");
        self.serve();
        let mut asked = Vec::new();
        let mut answers = Vec::new();
        for piece in bytes.chunks(piece) {
            if caller.write_all(piece).is_err() {
                break;
            }
            self.take(&caller, &mut asked, &mut answers);
        }
        let _ = caller.shutdown(std::net::Shutdown::Write);
        // Each look takes one buffer of what has come; one more sees the end.
        for _ in 0..bytes.len() / 512 + 2 {
            self.take(&caller, &mut asked, &mut answers);
        }
        drop(caller);
        self.serve();
        (asked, String::from_utf8(answers).expect("answers are text"))
    }

    /// As if every source were ready.
    fn serve(&mut self) {
        let tokens: Vec<ControlToken> = self.server.sources().map(|(token, ..)| token).collect();
        for token in tokens {
            self.server.ready(token, Instant(Duration::ZERO));
        }
        self.server.flush();
    }

    fn take(&mut self, mut caller: &UnixStream, asked: &mut Vec<Verb>, answers: &mut Vec<u8>) {
        self.serve();
        loop {
            if let Some(Call { caller, verb, .. }) = self.server.next_call() {
                asked.push(verb);
                self.server.answer(caller, "asked\n");
            }
            self.server.flush();
            // An answer makes room for the next line.
            let before = answers.len();
            let _ = caller.read_to_end(answers);
            if answers.len() == before {
                break;
            }
        }
    }
}

/// The lines that come of these bytes, which a worker writes in pieces: whether each goes on a cut one, and its bytes.
pub fn relayed(limit: usize, bytes: &[u8], piece: usize) -> Vec<(bool, Vec<u8>)> {
    struct Lines(Vec<(bool, Vec<u8>)>);
    impl Sink for Lines {
        fn line(&mut self, line: Line) {
            self.0.push((line.continued, line.bytes.to_vec()));
        }
        fn takes_more(&mut self) -> bool {
            true
        }
        fn room(&mut self) -> usize {
            usize::MAX
        }
        fn took(&mut self, _: usize) {}
        fn lost(&mut self, _: Pid, bytes: usize) {
            panic!("{bytes} bytes are lost");
        }
    }
    let mut lines = Lines(Vec::new());
    let mut relay = Relay::new(limit);
    let pid = Pid::new(1).expect("a pid");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let id = relay.follow(pid, OwnedFd::from(reader));
    for piece in bytes.chunks(piece) {
        writer.write_all(piece).expect("it is read");
        relay.read(id, &mut lines);
    }
    drop(writer);
    relay.drain(pid, &mut lines);
    assert!(relay.is_idle(), "the pipe has ended");
    lines.0
}
