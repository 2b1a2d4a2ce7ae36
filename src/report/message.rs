//! A message of a worker to NOTIFY_SOCKET, read as sd_notify(3) describes it. Pure.

use std::time::Duration;

use crate::types::one_line::OneLine;

/// The longest message; systemd ignores a longer one, too.
pub const LONGEST_MESSAGE: usize = 4096;
/// The longest status that is kept, in bytes.
const LONGEST_STATUS: usize = 512;
/// The longest name of a stored descriptor.
const LONGEST_NAME: usize = 255;

/// What one message says. What is not here means nothing to socketmaster: MAINPID, STOPPING and RELOADING describe the
/// program, and socketmaster is the main process of its service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// READY=1
    pub ready: bool,
    /// STATUS=
    pub status: Option<OneLine>,
    pub watchdog: Option<Watchdog>,
    /// WATCHDOG_USEC=; zero switches the watchdog off.
    pub watchdog_time: Option<Duration>,
    /// EXTEND_TIMEOUT_USEC=
    pub more_time: Option<Duration>,
    pub store: Option<Store>,
    /// BARRIER=1
    pub barrier: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watchdog {
    /// WATCHDOG=1
    Alive,
    /// WATCHDOG=trigger
    Trigger,
}

/// A request to the descriptor store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// FDSTOREREMOVE=1 rather than FDSTORE=1.
    pub remove: bool,
    /// FDNAME=, where it is one.
    pub name: Option<String>,
    /// FDPOLL=0
    pub unpolled: bool,
}

impl Message {
    /// Reads a message. A line that is unknown or wrong says nothing, and the others still count.
    pub fn read(bytes: &[u8]) -> Message {
        let mut message = Message::default();
        let (mut keeps, mut removes, mut unpolled, mut name) = (false, false, false, None);
        for line in bytes.split(|byte| matches!(byte, b'\n' | 0)) {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            match (key, value) {
                (b"READY", b"1") => message.ready = true,
                (b"BARRIER", b"1") => message.barrier = true,
                (b"WATCHDOG", b"1") => message.watchdog = Some(Watchdog::Alive),
                (b"WATCHDOG", b"trigger") => message.watchdog = Some(Watchdog::Trigger),
                (b"FDSTORE", b"1") => keeps = true,
                (b"FDSTOREREMOVE", b"1") => removes = true,
                (b"FDPOLL", b"0") => unpolled = true,
                (b"STATUS", value) => message.status = Some(OneLine::from_bytes(cut(value))),
                (b"FDNAME", value) => name = self::name(value),
                (b"WATCHDOG_USEC", value) => message.watchdog_time = microseconds(value),
                (b"EXTEND_TIMEOUT_USEC", value) => message.more_time = microseconds(value),
                _ => {}
            }
        }
        // systemd, too, looks for a removal first.
        message.store = (keeps || removes).then_some(Store { remove: removes, name, unpolled });
        message
    }
}

impl Store {
    /// The message by which the master asks for the same.
    pub fn text(&self) -> String {
        let mut text = String::from(if self.remove { "FDSTOREREMOVE=1" } else { "FDSTORE=1" });
        if let Some(name) = &self.name {
            text.push_str("\nFDNAME=");
            text.push_str(name);
        }
        if self.unpolled && !self.remove {
            text.push_str("\nFDPOLL=0");
        }
        text
    }
}

/// The beginning of a status, cut between characters.
fn cut(status: &[u8]) -> &[u8] {
    let is_inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = status.len().min(LONGEST_STATUS);
    while is_inside(status.get(end)) && end > 0 {
        end -= 1;
    }
    status.get(..end).unwrap_or_default()
}

/// A name that systemd accepts, sd_pid_notify_with_fds(3).
fn name(value: &[u8]) -> Option<String> {
    let is_sound = value.len() <= LONGEST_NAME && value.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b':');
    is_sound.then(|| String::from_utf8_lossy(value).into_owned()).filter(|name| !name.is_empty())
}

fn microseconds(value: &[u8]) -> Option<Duration> {
    std::str::from_utf8(value).ok()?.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_its_own() {
        let message =
            Message::read(b"READY=1\nSTATUS=Serving 5\xc2\xb5\nMAINPID=1\nWATCHDOG=1\nWATCHDOG_USEC=20\nEXTEND_TIMEOUT_USEC=1500000");
        assert_eq!(
            message,
            Message {
                ready: true,
                status: Some(OneLine::from("Serving 5\u{b5}")),
                watchdog: Some(Watchdog::Alive),
                watchdog_time: Some(Duration::from_micros(20)),
                more_time: Some(Duration::from_millis(1500)),
                store: None,
                barrier: false,
            }
        );
        assert_eq!(Message::read(b"WATCHDOG=trigger\n").watchdog, Some(Watchdog::Trigger));
        assert!(Message::read(b"BARRIER=1").barrier);
    }

    #[test]
    fn only_ready_1_is_ready() {
        for text in
            ["", "READY", "READY=", "READY=0", "READY=11", "READY=1 ", " READY=1", "ready=1", "X_READY=1", "STATUS=READY=1", "RELOADING=1"]
        {
            assert_eq!(
                Message::read(text.as_bytes()),
                Message { status: Message::read(text.as_bytes()).status, ..Message::default() },
                "{text:?}"
            );
        }
        for text in ["READY=1", "READY=1\n", "\n\nREADY=1", "garbage\nREADY=1\0", "STATUS=a\nREADY=1\nREADY=0"] {
            assert!(Message::read(text.as_bytes()).ready, "{text:?}");
        }
    }

    #[test]
    fn numbers_that_are_none_say_nothing() {
        for value in ["", "-1", "1s", "18446744073709551616", " 1", "\u{661}"] {
            let message = Message::read(format!("EXTEND_TIMEOUT_USEC={value}\nWATCHDOG_USEC={value}").as_bytes());
            assert_eq!(message, Message::default(), "{value:?}");
        }
        let most = Message::read(b"EXTEND_TIMEOUT_USEC=18446744073709551615");
        assert_eq!(most.more_time, Some(Duration::from_micros(u64::MAX)), "the control");
    }

    #[test]
    fn a_status_stays_on_its_line_and_is_cut_between_characters() {
        let status = |text: String| Message::read(text.as_bytes()).status.expect("a status").as_str().to_owned();
        assert_eq!(status("STATUS=a\u{1b}[2Jb".to_owned()), "a\\u{1b}[2Jb");
        let long = "\u{e9}".repeat(LONGEST_STATUS);
        assert_eq!(status(format!("STATUS={long}")), "\u{e9}".repeat(LONGEST_STATUS / 2));
        assert_eq!(status(format!("STATUS=x{long}")), format!("x{}", "\u{e9}".repeat(LONGEST_STATUS / 2 - 1)));
    }

    #[test]
    fn requests_to_the_store_are_passed_on_in_our_words() {
        let text = |text: &str| Message::read(text.as_bytes()).store.map(|store| store.text());
        assert_eq!(text("FDSTORE=1"), Some("FDSTORE=1".to_owned()));
        assert_eq!(text("FDPOLL=0\nFDNAME=my state\nFDSTORE=1\nMAINPID=1"), Some("FDSTORE=1\nFDNAME=my state\nFDPOLL=0".to_owned()));
        assert_eq!(text("FDSTOREREMOVE=1\nFDNAME=x"), Some("FDSTOREREMOVE=1\nFDNAME=x".to_owned()));
        assert_eq!(text("FDNAME=x"), None);
        for name in ["", "a:b", "a\u{7f}", "\u{e9}", &"x".repeat(LONGEST_NAME + 1)] {
            assert_eq!(text(&format!("FDSTORE=1\nFDNAME={name}")), Some("FDSTORE=1".to_owned()), "{name:?}");
        }
    }
}
