//! The master's end: callers come, ask, wait and go as they like, and none of them can disturb it. Nothing blocks here,
//! nobody is waited for, and what a caller may cost is bounded.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::{Verb, answer, request};
use crate::endpoint::UnixName;
use crate::error::Error;
use crate::ids::Generation;
use crate::sys::poll::Wait;
use crate::sys::sockets::{self, CreatedPath, Peer};

/// At once. Above this the first of those that wait for no answer makes room.
const MOST_CALLERS: usize = 64;
/// No request is nearly as long.
const LONGEST_LINE: usize = 4096;

/// The control socket, and those who have called.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: Option<CreatedPath>,
    /// Given up for a moment to turn a caller away where no descriptor is left to hear it.
    spare: Option<OwnedFd>,
    /// Not even that: calls wait until something else happens.
    resting: bool,
    callers: Vec<Caller>,
    next_id: u64,
}

/// A caller, for as long as the connection lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallerId(u64);

/// A request that has come.
#[derive(Debug)]
pub struct Call {
    pub caller: CallerId,
    pub peer: Peer,
    pub verb: Verb,
}

#[derive(Debug)]
struct Caller {
    id: CallerId,
    peer: Peer,
    stream: UnixStream,
    input: Vec<u8>,
    /// It will say no more.
    silent: bool,
    output: Vec<u8>,
    awaits: Option<Awaited>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaited {
    ReloadTo(Generation),
    End,
}

impl Server {
    pub fn open(address: &UnixName) -> Result<Server, Error> {
        let (listener, path) = sockets::open_control(address)?;
        let spare = listener.as_fd().try_clone_to_owned().ok();
        Ok(Server { listener, path, spare, resting: false, callers: Vec::new(), next_id: 0 })
    }

    /// Adds what there is to wait for: first the socket itself, then each caller.
    pub fn add_to<'a>(&'a self, wait: &mut Wait<'a>) {
        match self.resting {
            false => wait.readable([self.listener.as_fd()]),
            true => wait.closed([self.listener.as_fd()]),
        }
        for caller in &self.callers {
            match caller {
                _ if !caller.output.is_empty() => wait.writable([caller.stream.as_fd()]),
                _ if caller.may_speak() => wait.readable([caller.stream.as_fd()]),
                _ => wait.closed([caller.stream.as_fd()]),
            }
        }
    }

    /// Reads, writes and accepts what it can now; `ready` is what became of the wait, in the order of `add_to`.
    pub fn serve(&mut self, ready: &[bool]) {
        self.resting = false;
        let (called, ready) = ready.split_first().unwrap_or((&false, &[]));
        let mut ready = ready.iter().copied();
        self.callers.retain_mut(|caller| if ready.next() == Some(true) { caller.proceed() } else { true });
        if *called {
            self.accept();
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => self.admit(stream),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            // EMFILE, ENFILE, ENOMEM: the call would come up again and again.
            Err(_) => {
                self.spare = None;
                self.resting = self.listener.accept().is_err();
                self.spare = self.listener.as_fd().try_clone_to_owned().ok();
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let refusal = match (Peer::of(&stream), stream.set_nonblocking(true)) {
            (Ok(peer), Ok(())) if peer.may_command() => {
                if self.callers.len() >= MOST_CALLERS {
                    let idle = self.callers.iter().position(|caller| caller.awaits.is_none()).unwrap_or(0);
                    self.callers.remove(idle);
                }
                let id = CallerId(self.next_id);
                self.next_id = self.next_id.wrapping_add(1);
                self.callers.push(Caller { id, peer, stream, input: Vec::new(), silent: false, output: Vec::new(), awaits: None });
                return;
            }
            (Ok(peer), _) => format!("refused: uid {} may not command this master", peer.uid),
            (Err(error), _) => format!("refused: {error}"),
        };
        // Into an empty buffer, or not at all.
        let _ = stream.set_nonblocking(true).and_then(|()| sockets::send(&stream, answer(false, &refusal, "").as_bytes()));
    }

    /// Writes what answers can be written now.
    pub fn flush(&mut self) {
        self.callers.retain_mut(|caller| caller.output.is_empty() || caller.flush());
        self.callers.retain(|caller| !caller.is_done());
    }

    /// The next request that is due: none while an earlier one of the same caller has no answer.
    pub fn next_call(&mut self) -> Option<Call> {
        for caller in &mut self.callers {
            while let Some(line) = caller.next_line() {
                match line.and_then(|line| request(line.trim())) {
                    Ok(request) => return Some(Call { caller: caller.id, peer: caller.peer, verb: request.verb }),
                    Err(cause) => caller.say(&answer(false, &cause, "")),
                }
            }
        }
        None
    }

    /// The answer to a call.
    pub fn answer(&mut self, caller: CallerId, line: &str) {
        if let Some(caller) = self.callers.iter_mut().find(|known| known.id == caller) {
            caller.say(line);
        }
    }

    /// The answer will be how the reload to this generation ends.
    pub fn hold_for_reload(&mut self, caller: CallerId, generation: Generation) {
        self.hold(caller, Awaited::ReloadTo(generation));
    }

    /// The answer will be the status that the master ends with.
    pub fn hold_for_end(&mut self, caller: CallerId) {
        self.hold(caller, Awaited::End);
    }

    fn hold(&mut self, caller: CallerId, awaited: Awaited) {
        if let Some(caller) = self.callers.iter_mut().find(|known| known.id == caller) {
            caller.awaits = Some(awaited);
        }
    }

    pub fn reload_ended(&mut self, generation: Generation, line: &str) {
        self.release(|awaited| awaited == Awaited::ReloadTo(generation), line);
    }

    /// No reload will come to its end any more.
    pub fn stopping(&mut self, line: &str) {
        self.release(|awaited| matches!(awaited, Awaited::ReloadTo(_)), line);
    }

    /// Nobody can call any more. Who waits for the end hears of it when nothing is in the way of the next master.
    pub fn end(mut self, line: &str) {
        self.release(|awaited| awaited == Awaited::End, line);
        let Server { listener, path, spare, mut callers, .. } = self;
        drop(path);
        drop((listener, spare));
        for caller in &mut callers {
            // Into an empty buffer, or not at all.
            let _ = caller.flush();
        }
    }

    fn release(&mut self, which: impl Fn(Awaited) -> bool, line: &str) {
        for caller in &mut self.callers {
            if caller.awaits.is_some_and(&which) {
                caller.awaits = None;
                caller.say(line);
            }
        }
    }
}

impl Caller {
    fn may_speak(&self) -> bool {
        !self.silent && self.input.len() < LONGEST_LINE
    }

    /// Nothing more will come of it.
    fn is_done(&self) -> bool {
        self.silent && self.input.is_empty() && self.output.is_empty() && self.awaits.is_none()
    }

    /// Goes on with what it was waited for; whether the caller is still there.
    fn proceed(&mut self) -> bool {
        if !self.output.is_empty() {
            return self.flush();
        }
        if !self.may_speak() {
            // Nothing was waited for but that it goes away.
            return false;
        }
        let mut buffer = [0; 512];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.silent = true,
            Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        true
    }

    /// A whole line that may be answered now. The last one may lack its end.
    fn next_line(&mut self) -> Option<Result<String, String>> {
        if self.awaits.is_some() || !self.output.is_empty() || self.input.is_empty() {
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
                Some(Err(format!("a line of more than {LONGEST_LINE} bytes is no request")))
            }
            None => None,
        }
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
    }

    /// Whether the caller is still there.
    fn flush(&mut self) -> bool {
        match sockets::send(&self.stream, &self.output) {
            Ok(count) => {
                self.output.drain(..count);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => true,
            Err(_) => false,
        }
    }
}
