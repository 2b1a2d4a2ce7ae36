//! The master's end of the control socket. Callers may connect, send requests and leave at any time, and none of them can
//! block the master. The memory for each caller is bounded.
//!
//! While a request of a caller is open, its further requests wait in its buffer. The server does not know when an answer
//! comes: its owner calls `answer`.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::protocol::{self, Answer, RequestLine};
use super::trust::{self, Verdict};
use crate::sys::errno::reason;
use crate::sys::peer::{self, PeerCredentials};
use crate::sys::poll::Interest;
use crate::sys::socket::send;
use crate::sys::user;
use crate::types::request::{CallerId, Verb};
use crate::types::time::Instant;

/// The most callers at once. Beyond it the server drops the first caller that waits for no answer.
const MOST_CALLERS: usize = 64;
/// No request is nearly as long.
const LONGEST_LINE: usize = 4096;
/// How long the server waits before it calls accept(2) again after a failure, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The control socket and its callers.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    is_abstract: bool,
    /// A spare descriptor. If no other is left, the server closes it to accept a caller, refuses that caller, and opens it again.
    spare: Option<OwnedFd>,
    rest: Option<Rest>,
    callers: VecDeque<Caller>,
    departures: VecDeque<CallerId>,
    note: Option<String>,
    next_id: u64,
}

/// A listener on which accept(2) fails even with the spare descriptor. poll(2) would report it again and again, so it is
/// left alone for a while.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    length: Duration,
}

/// Names one source of events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ControlToken {
    Listener,
    Caller(CallerId),
}

/// A request. No further request of its caller is handed out until it is answered.
#[derive(Debug)]
pub struct Call {
    pub caller: CallerId,
    pub peer: PeerCredentials,
    pub verb: Verb,
}

#[derive(Debug)]
struct Caller {
    id: CallerId,
    peer: PeerCredentials,
    stream: UnixStream,
    input: Vec<u8>,
    /// The caller has closed its end and sends nothing more.
    silent: bool,
    output: Vec<u8>,
    /// A request of this caller has no answer yet.
    asks: bool,
    gone: bool,
}

impl Server {
    /// `listener` is a unix stream socket that listens and never blocks. Its path, if it has one, is its opener's to remove.
    pub fn new(listener: OwnedFd, is_abstract: bool) -> Server {
        let listener = UnixListener::from(listener);
        let spare = listener.as_fd().try_clone_to_owned().ok();
        Server { listener, is_abstract, spare, rest: None, callers: VecDeque::new(), departures: VecDeque::new(), note: None, next_id: 0 }
    }

    /// The descriptors to wait for. A listener that rests is not among them.
    pub fn sources(&self) -> impl Iterator<Item = (ControlToken, BorrowedFd<'_>, Interest)> {
        let listener = self.rest.is_none().then(|| (ControlToken::Listener, self.listener.as_fd(), Interest::Readable));
        let callers = self.callers.iter().map(|caller| (ControlToken::Caller(caller.id), caller.stream.as_fd(), caller.interest()));
        listener.into_iter().chain(callers)
    }

    /// Reads, writes or accepts what the source allows now. Does nothing for a caller that has gone.
    pub fn ready(&mut self, token: ControlToken, now: Instant) {
        match token {
            ControlToken::Listener => self.accept(now),
            ControlToken::Caller(id) => {
                if let Some(caller) = self.callers.iter_mut().find(|caller| caller.id == id) {
                    caller.proceed();
                }
                self.sweep();
            }
        }
    }

    /// When the listener is to be tried again; `None` unless it rests.
    pub fn retry_at(&self) -> Option<Instant> {
        self.rest.map(|rest| rest.until)
    }

    /// Tries a listener whose rest is over.
    pub fn retry(&mut self, now: Instant) {
        if self.rest.is_some_and(|rest| rest.until <= now) {
            self.accept(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        let Err(error) = self.accept_one() else {
            self.rest = None;
            return;
        };
        self.spare = None;
        let accepted = self.listener.accept();
        let left = match accepted {
            Ok((stream, _)) => {
                turn_away(&stream, &reason(&error));
                Ok(())
            }
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        };
        self.spare = self.listener.as_fd().try_clone_to_owned().ok();
        let Err(error) = left else {
            self.rest = None;
            return;
        };
        let length = match self.rest {
            Some(rest) => rest.length.saturating_mul(2).min(LONGEST_REST),
            None => {
                self.note = Some(format!("cannot accept connections at the control socket: {}; retrying", reason(&error)));
                FIRST_REST
            }
        };
        self.rest = Some(Rest { until: now.after(length), length });
    }

    /// An error means that the call still waits.
    fn accept_one(&mut self) -> io::Result<()> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                self.admit(stream);
                if self.spare.is_none() {
                    self.spare = self.listener.as_fd().try_clone_to_owned().ok();
                }
                Ok(())
            }
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let peer = match (peer::credentials(&stream), stream.set_nonblocking(true)) {
            (Ok(peer), Ok(())) => peer,
            (Err(error), _) | (_, Err(error)) => return turn_away(&stream, &reason(&error)),
        };
        match trust::may_command(peer.uid, user::own_uid(), self.is_abstract, || trust::look(&stream)) {
            Verdict::Trusted => self.add(stream, peer),
            Verdict::Stranger => turn_away(&stream, &format!("uid {} may not command this master", peer.uid)),
            Verdict::Unseen => {
                turn_away(
                    &stream,
                    &format!("uid {} may stand for any user, and the caller is not known to be in the master's user namespace", peer.uid),
                );
            }
        }
    }

    fn add(&mut self, stream: UnixStream, peer: PeerCredentials) {
        if self.callers.len() >= MOST_CALLERS {
            let idle = self.callers.iter().position(|caller| !caller.asks).unwrap_or(0);
            if let Some(caller) = self.callers.get_mut(idle) {
                caller.gone = true;
            }
            self.sweep();
        }
        let id = CallerId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let (input, output) = (Vec::new(), Vec::new());
        self.callers.push_back(Caller { id, peer, stream, input, silent: false, output, asks: false, gone: false });
    }

    /// Drops callers that have disconnected, and callers that send nothing more and have all their answers.
    fn sweep(&mut self) {
        let departures = &mut self.departures;
        self.callers.retain(|caller| {
            if caller.gone && caller.asks {
                departures.push_back(caller.id);
            }
            !caller.gone && !caller.is_done()
        });
    }

    /// Writes what answers can be written now.
    pub fn flush(&mut self) {
        self.callers.iter_mut().for_each(Caller::flush);
        self.sweep();
    }

    /// The next request. Each caller has at most one open request, and callers take turns.
    pub fn next_call(&mut self) -> Option<Call> {
        let mut found = None;
        'callers: for (index, caller) in self.callers.iter_mut().enumerate() {
            while let Some(line) = caller.next_line() {
                match line.and_then(|line| RequestLine::read(&line)) {
                    Ok(RequestLine { verb, acknowledge }) => {
                        caller.asks = true;
                        if acknowledge {
                            caller.say(&protocol::accepted_line());
                            // At once: the request itself may take long.
                            caller.flush();
                        }
                        found = Some((index, Call { caller: caller.id, peer: caller.peer, verb }));
                        break 'callers;
                    }
                    Err(cause) => caller.say(&Answer::failed(cause).line()),
                }
            }
        }
        let (index, call) = found?;
        let heard = self.callers.remove(index);
        self.callers.extend(heard);
        Some(call)
    }

    /// The answer to a call.
    pub fn answer(&mut self, caller: CallerId, line: &str) {
        if let Some(caller) = self.callers.iter_mut().find(|known| known.id == caller) {
            caller.asks = false;
            caller.say(line);
        }
    }

    /// A caller that has gone away without its answer, each once.
    pub fn next_departure(&mut self) -> Option<CallerId> {
        self.departures.pop_front()
    }

    /// A line about the control socket for the log.
    pub fn next_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Closes the listener, then sends these answers, so that a caller that gets one can start the next master at once.
    pub fn end(mut self, answers: impl IntoIterator<Item = (CallerId, String)>) {
        for (caller, line) in answers {
            self.answer(caller, &line);
        }
        let Server { listener, spare, mut callers, .. } = self;
        drop((listener, spare));
        // Into an empty buffer, or not at all.
        callers.iter_mut().for_each(Caller::flush);
    }
}

/// Whether there is nothing to accept, or nothing any more.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

/// Into an empty buffer, or not at all.
fn turn_away(stream: &UnixStream, cause: &str) {
    let line = Answer::failed(format!("refused: {cause}")).line();
    let _ = stream.set_nonblocking(true).and_then(|()| send(stream, line.as_bytes()));
}

impl Caller {
    fn interest(&self) -> Interest {
        if !self.output.is_empty() {
            Interest::Writable
        } else if self.may_speak() {
            Interest::Readable
        } else {
            Interest::Closed
        }
    }

    fn may_speak(&self) -> bool {
        !self.silent && self.input.len() < LONGEST_LINE
    }

    /// Whether this caller can be dropped.
    fn is_done(&self) -> bool {
        self.silent && self.input.is_empty() && self.output.is_empty() && !self.asks
    }

    /// Handles the event that `interest` asks for.
    fn proceed(&mut self) {
        match self.interest() {
            Interest::Writable => self.flush(),
            Interest::Readable => self.read(),
            Interest::Closed => self.gone = true,
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 512];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.silent = true,
            Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => self.gone = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// A whole line that may be answered now. The last one may lack its end.
    fn next_line(&mut self) -> Option<Result<String, String>> {
        if self.asks || self.gone || !self.output.is_empty() || self.input.is_empty() {
            return None;
        }
        match self.input.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let line = self.input.drain(..=end).collect::<Vec<u8>>();
                Some(Ok(String::from_utf8_lossy(&line).into_owned()))
            }
            None if self.silent => Some(Ok(String::from_utf8_lossy(&std::mem::take(&mut self.input)).into_owned())),
            None if self.input.len() >= LONGEST_LINE => {
                self.input.clear();
                self.silent = true;
                Some(Err(format!("the request is longer than {LONGEST_LINE} bytes")))
            }
            None => None,
        }
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
    }

    /// Writes what can be written now.
    fn flush(&mut self) {
        if self.output.is_empty() || self.gone {
            return;
        }
        match send(&self.stream, &self.output) {
            Ok(count) => drop(self.output.drain(..count)),
            Err(error) => self.gone = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const NOW: Instant = Instant(Duration::from_secs(1000));

    /// A server at an abstract address of its own.
    struct Scene {
        server: Server,
        address: SocketAddr,
    }

    impl Scene {
        fn new() -> Scene {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("socketmaster-server-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let address = SocketAddr::from_abstract_name(name).expect("a name");
            let listener = UnixListener::bind_addr(&address).expect("an address of our own");
            listener.set_nonblocking(true).expect("a socket");
            Scene { server: Server::new(listener.into(), true), address }
        }

        /// Has called and was let in.
        fn call(&mut self) -> UnixStream {
            let caller = UnixStream::connect_addr(&self.address).expect("it listens");
            caller.set_nonblocking(true).expect("a socket");
            self.server.ready(ControlToken::Listener, NOW);
            caller
        }

        /// All callers are looked at, as if each were ready.
        fn look(&mut self) {
            for id in self.ids() {
                self.server.ready(ControlToken::Caller(id), NOW);
            }
        }

        fn ids(&self) -> Vec<CallerId> {
            self.server.callers.iter().map(|caller| caller.id).collect()
        }

        fn interest(&self) -> Vec<Interest> {
            self.server.sources().filter(|(token, ..)| *token != ControlToken::Listener).map(|(_, _, interest)| interest).collect()
        }
    }

    fn ask(mut caller: &UnixStream, text: &str) {
        caller.write_all(text.as_bytes()).expect("room");
    }

    /// What has come so far.
    fn heard(mut caller: &UnixStream) -> String {
        let mut bytes = Vec::new();
        let _ = caller.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_caller_is_silent_until_it_is_answered_and_its_requests_come_in_their_order() {
        let mut scene = Scene::new();
        let caller = scene.call();
        ask(&caller, "reload\nstatus\nst");
        scene.look();
        let call = scene.server.next_call().expect("a call");
        assert_eq!((call.verb, call.peer.uid), (Verb::Reload, user::own_uid()));
        assert!(scene.server.next_call().is_none(), "the next one waits");
        scene.server.answer(call.caller, "one\n");
        assert!(scene.server.next_call().is_none(), "until the answer is on its way");
        scene.server.flush();
        assert_eq!(heard(&caller), "one\n");
        let call = scene.server.next_call().expect("a call");
        assert_eq!(call.verb, Verb::Status);
        scene.server.answer(call.caller, "two\n");
        scene.server.flush();
        assert!(scene.server.next_call().is_none(), "half a line is no request");
        ask(&caller, "op");
        caller.shutdown(Shutdown::Write).expect("a socket");
        scene.look();
        scene.look();
        assert_eq!(scene.server.next_call().map(|call| call.verb), Some(Verb::Stop), "the last line needs no end");
        assert_eq!(scene.interest(), [Interest::Closed]);
    }

    #[test]
    fn an_acknowledgement_comes_before_the_answer_and_only_where_it_is_wanted() {
        let mut scene = Scene::new();
        let (plain, wanted) = (scene.call(), scene.call());
        ask(&plain, "stop\n");
        ask(&wanted, "stop ack\n");
        scene.look();
        for _ in 0..2 {
            assert_eq!(scene.server.next_call().map(|call| call.verb), Some(Verb::Stop));
        }
        assert_eq!([heard(&plain), heard(&wanted)], ["", "{\"accepted\":true}\n"]);
        for id in scene.ids() {
            scene.server.answer(id, "done\n");
        }
        scene.server.flush();
        assert_eq!([heard(&plain), heard(&wanted)], ["done\n", "done\n"]);
    }

    #[test]
    fn callers_take_turns() {
        let mut scene = Scene::new();
        let callers = [scene.call(), scene.call()];
        callers.iter().for_each(|caller| ask(caller, "status\nstatus\n"));
        scene.look();
        let mut order = Vec::new();
        while let Some(call) = scene.server.next_call() {
            order.push(call.caller.0);
            scene.server.answer(call.caller, "x\n");
            scene.server.flush();
        }
        assert_eq!(order, [0, 1, 0, 1]);
    }

    #[test]
    fn a_caller_that_leaves_with_an_open_request_is_reported_once_and_no_other() {
        let mut scene = Scene::new();
        let (idle, asks, answered) = (scene.call(), scene.call(), scene.call());
        ask(&asks, "reload\n");
        ask(&answered, "reload\n");
        scene.look();
        let calls = [scene.server.next_call(), scene.server.next_call()].map(|call| call.expect("a call").caller);
        scene.server.answer(calls[1], "x\n");
        drop((idle, asks, answered));
        for _ in 0..3 {
            scene.look();
            scene.server.flush();
        }
        assert_eq!(scene.server.next_departure(), Some(calls[0]));
        assert_eq!(scene.server.next_departure(), None);
        assert!(scene.ids().is_empty());
        scene.server.answer(calls[0], "nobody hears it\n");
    }

    #[test]
    fn a_waiting_caller_with_a_full_buffer_is_watched_only_for_its_departure() {
        let mut scene = Scene::new();
        let caller = scene.call();
        ask(&caller, &format!("reload\n{}", "x".repeat(LONGEST_LINE)));
        for _ in 0..20 {
            scene.look();
            while scene.server.next_call().is_some() {}
            if scene.interest() == [Interest::Closed] {
                break;
            }
        }
        assert_eq!(scene.interest(), [Interest::Closed], "no more than a line is kept meanwhile");
        assert!(scene.server.callers[0].input.len() < LONGEST_LINE + 512);
    }

    #[test]
    fn a_line_without_an_end_is_answered_and_hung_up_on() {
        let mut scene = Scene::new();
        let caller = scene.call();
        ask(&caller, &"x".repeat(LONGEST_LINE + 100));
        for _ in 0..20 {
            scene.look();
            assert!(scene.server.next_call().is_none());
            scene.server.flush();
        }
        assert_eq!(heard(&caller), "{\"ok\":false,\"text\":\"the request is longer than 4096 bytes\"}\n");
        assert!(scene.ids().is_empty());
    }

    #[test]
    fn a_caller_that_does_not_read_keeps_one_answer_in_memory() {
        let mut scene = Scene::new();
        let caller = scene.call();
        ask(&caller, "status\nstatus\nstatus\n");
        scene.look();
        let call = scene.server.next_call().expect("a call");
        // More than a socket takes at once.
        scene.server.answer(call.caller, &"y".repeat(1 << 20));
        scene.server.flush();
        assert_eq!(scene.interest(), [Interest::Writable]);
        assert!(scene.server.next_call().is_none());
        let mut count = 0;
        while count < 1 << 20 {
            count += heard(&caller).len();
            scene.look();
        }
        assert!(scene.server.next_call().is_some());
    }

    #[test]
    fn more_callers_than_there_is_room_for_push_out_the_idle_ones_first() {
        let mut scene = Scene::new();
        let waiting = scene.call();
        ask(&waiting, "reload\n");
        scene.look();
        let first = scene.server.next_call().expect("a call").caller;
        let callers: Vec<UnixStream> = (0..MOST_CALLERS).map(|_| scene.call()).collect();
        assert_eq!(scene.ids().len(), MOST_CALLERS);
        assert!(scene.ids().contains(&first) && scene.server.next_departure().is_none());
        callers.iter().skip(1).for_each(|caller| ask(caller, "reload\n"));
        scene.look();
        while scene.server.next_call().is_some() {}
        let _one_more = scene.call();
        assert_eq!(scene.ids().len(), MOST_CALLERS);
        assert_eq!(scene.server.next_departure(), Some(first), "all wait: the first makes room");
    }

    #[test]
    fn a_listener_that_rests_is_left_alone_and_tried_again_at_growing_intervals() {
        let mut scene = Scene::new();
        // A socket that does not listen refuses every accept(2), as a shortage does.
        let (one, _other) = UnixStream::pair().expect("a pair");
        let listener = std::mem::replace(&mut scene.server.listener, UnixListener::from(OwnedFd::from(one)));
        let is_listed = |scene: &Scene| scene.server.sources().any(|(token, ..)| token == ControlToken::Listener);
        assert!(is_listed(&scene) && scene.server.retry_at().is_none());
        scene.server.ready(ControlToken::Listener, NOW);
        assert!(scene.server.next_note().is_some());
        let mut now = NOW;
        for millis in [100, 200, 400, 800, 1000, 1000] {
            assert!(!is_listed(&scene));
            let at = now.after(Duration::from_millis(millis));
            assert_eq!(scene.server.retry_at(), Some(at));
            scene.server.retry(now);
            assert_eq!(scene.server.retry_at(), Some(at), "not before it is due");
            now = at;
            scene.server.retry(now);
            assert!(scene.server.next_note().is_none(), "it is said once");
        }
        let caller = UnixStream::connect_addr(&scene.address).expect("it still listens");
        scene.server.listener = listener;
        now = scene.server.retry_at().expect("it rests");
        scene.server.retry(now);
        assert!(is_listed(&scene) && scene.server.retry_at().is_none());
        assert_eq!(scene.ids().len(), 1, "the caller that came meanwhile is let in");
        drop(caller);
    }

    #[test]
    fn at_the_end_the_listener_is_closed_before_the_last_answers_are_sent() {
        let mut scene = Scene::new();
        let (waits, idle) = (scene.call(), scene.call());
        ask(&waits, "stop\n");
        scene.look();
        let call = scene.server.next_call().expect("a call");
        let Scene { server, address } = scene;
        server.end([(call.caller, "ended\n".to_owned())]);
        assert_eq!([heard(&waits), heard(&idle)], ["ended\n", ""]);
        assert!(UnixStream::connect_addr(&address).is_err());
    }
}
