//! The ends of the connections at which workers send messages of einhorn's protocol: for each worker a stream that it
//! inherits, and a socket with a path to which its processes connect.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::einhorn::{self, Reaction};
use crate::sys::peer::{self, PeerCredentials};
use crate::sys::socket::send;
use crate::types::process::WorkerId;

/// The most connections to the path at once. Beyond it the oldest is closed.
const MOST_CONNECTIONS: usize = 64;
/// No message is nearly as long.
const LONGEST_LINE: usize = 4096;

/// All of these connections.
#[derive(Debug, Default)]
pub struct AckServer {
    listener: Option<UnixListener>,
    /// accept(2) has failed. The listener is left alone until a worker starts or exits: poll(2) would report it again and again.
    rests: bool,
    connections: Vec<Connection>,
    next: u64,
}

/// Names one source of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckToken {
    Listener,
    Connection(u64),
}

/// Where a message came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The stream of this worker.
    Worker(WorkerId),
    /// A process that has connected to the path.
    Process(PeerCredentials),
}

/// A worker is said to be ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    pub origin: Origin,
    /// The pid that the message names.
    pub pid: Option<i32>,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    origin: Origin,
    stream: UnixStream,
    input: Vec<u8>,
}

impl AckServer {
    /// Accepts connections here, too. The listener never blocks.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(UnixListener::from(listener));
    }

    /// The end of the stream of a worker.
    pub fn add_worker(&mut self, id: WorkerId, stream: UnixStream) {
        self.add(Origin::Worker(id), stream);
        self.rests = false;
    }

    /// Closes the stream of a worker that is gone.
    pub fn remove_worker(&mut self, id: WorkerId) {
        self.connections.retain(|connection| connection.origin != Origin::Worker(id));
        self.rests = false;
    }

    pub fn sources(&self) -> impl Iterator<Item = (AckToken, BorrowedFd<'_>)> {
        let listener = self.listener.as_ref().filter(|_| !self.rests).map(|listener| (AckToken::Listener, listener.as_fd()));
        let connections = self.connections.iter();
        listener.into_iter().chain(connections.map(|connection| (AckToken::Connection(connection.number), connection.stream.as_fd())))
    }

    /// Accepts or reads what the source has now.
    pub fn ready(&mut self, token: AckToken) -> Option<Ack> {
        match token {
            AckToken::Listener => {
                self.accept();
                None
            }
            AckToken::Connection(number) => {
                let index = self.connections.iter().position(|connection| connection.number == number)?;
                let (is_over, ack) = self.connections.get_mut(index)?.read();
                if is_over {
                    self.connections.remove(index);
                }
                ack
            }
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        match listener.accept() {
            Ok((stream, _)) => {
                if let (Ok(peer), Ok(())) = (peer::credentials(&stream), stream.set_nonblocking(true)) {
                    self.add(Origin::Process(peer), stream);
                }
            }
            Err(error) => {
                self.rests = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted);
            }
        }
    }

    fn add(&mut self, origin: Origin, stream: UnixStream) {
        let is_foreign = |connection: &Connection| matches!(connection.origin, Origin::Process(_));
        if self.connections.iter().filter(|connection| is_foreign(connection)).count() >= MOST_CONNECTIONS
            && let Some(oldest) = self.connections.iter().position(is_foreign)
        {
            self.connections.remove(oldest);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.connections.push(Connection { number, origin, stream, input: Vec::new() });
    }
}

impl Connection {
    /// Reads what is there. Returns whether the connection is over, and the message that a worker is ready.
    fn read(&mut self) -> (bool, Option<Ack>) {
        let mut buffer = [0; 512];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return (true, None),
            Ok(count) => count,
            Err(error) => return (!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted), None),
        };
        self.input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match einhorn::react(line.get(..end).unwrap_or_default()) {
                // einhorn closes the connection, and clients wait for its end.
                Reaction::Acknowledged { pid } => return (true, Some(Ack { origin: self.origin, pid })),
                Reaction::Closed => return (true, None),
                Reaction::Answer(answer) => {
                    if send(&self.stream, &answer).is_ok_and(|sent| sent == answer.len()) {
                        continue;
                    }
                    // Nobody reads the answers.
                    return (true, None);
                }
            }
        }
        (self.input.len() >= LONGEST_LINE, None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn connected(server: &mut AckServer, id: u32) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        server.add_worker(WorkerId(id), ours);
        theirs
    }

    fn ready(server: &mut AckServer) -> Vec<Ack> {
        let tokens: Vec<AckToken> = server.sources().map(|(token, _)| token).collect();
        tokens.into_iter().filter_map(|token| server.ready(token)).collect()
    }

    #[test]
    fn an_acknowledgement_may_come_in_pieces_and_ends_the_connection() {
        let mut server = AckServer::default();
        let mut worker = connected(&mut server, 7);
        let _other = connected(&mut server, 8);
        worker.write_all(b"\n{\"command\":\"worker").expect("room");
        assert_eq!(ready(&mut server), []);
        worker.write_all(b":ack\",\"pid\":3}\nmore").expect("room");
        assert_eq!(ready(&mut server), [Ack { origin: Origin::Worker(WorkerId(7)), pid: Some(3) }]);
        let mut back = String::new();
        worker.read_to_string(&mut back).expect("the end");
        assert_eq!(back, "---%0Amessage: Could not parse command%0A\n", "the empty line");
        assert_eq!(server.sources().count(), 1);
        server.remove_worker(WorkerId(8));
        assert_eq!(server.sources().count(), 0);
    }

    #[test]
    fn nothing_that_a_worker_sends_is_kept_without_end() {
        let mut server = AckServer::default();
        let mut worker = connected(&mut server, 7);
        for _ in 0..=LONGEST_LINE / 512 {
            let _ = worker.write_all(&[b'x'; 512]);
            assert_eq!(ready(&mut server), []);
        }
        assert_eq!(server.sources().count(), 0);
        // One that reads no answer.
        let mut worker = connected(&mut server, 8);
        worker.set_nonblocking(true).expect("a socket");
        for _ in 0..100_000 {
            let _ = worker.write(b"\n\n\n\n\n\n\n\n");
            ready(&mut server);
        }
        assert_eq!(server.sources().count(), 0);
    }
}
