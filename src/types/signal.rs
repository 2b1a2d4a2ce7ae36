//! Signal numbers and names, signal(7).

use std::fmt;
use std::str::FromStr;

/// A signal number as the kernel counts it, 1 to 64, real-time signals included, signal(7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Signal {
            $(pub const $name: Signal = Signal($number);)*

            const NAMES: &'static [(&'static str, Signal)] = &[$((stringify!($name), Signal($number))),*];
        }
    };
}

// The numbers of x86 and ARM, signal(7).
signals! {
    HUP = 1, INT = 2, QUIT = 3, ILL = 4, TRAP = 5, ABRT = 6, BUS = 7, FPE = 8, KILL = 9, USR1 = 10,
    SEGV = 11, USR2 = 12, PIPE = 13, ALRM = 14, TERM = 15, STKFLT = 16, CHLD = 17, CONT = 18,
    STOP = 19, TSTP = 20, TTIN = 21, TTOU = 22, URG = 23, XCPU = 24, XFSZ = 25, VTALRM = 26,
    PROF = 27, WINCH = 28, IO = 29, PWR = 30, SYS = 31,
}

impl Signal {
    /// The first real-time signal as the kernel, Docker and systemd count it; a libc keeps some for itself.
    pub const RTMIN: Signal = Signal(34);
    pub const RTMAX: Signal = Signal(64);

    /// `None` unless `raw` is a signal number, 1 to 64.
    pub const fn new(raw: i32) -> Option<Signal> {
        if raw >= 1 && raw <= 64 { Some(Signal(raw as u8)) } else { None }
    }

    pub const fn as_raw(self) -> i32 {
        self.0 as i32
    }

    /// The names of all signals below the real-time ones, without SIG.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Signal::NAMES.iter().map(|(name, _)| *name)
    }

    /// All signals there are.
    pub fn all() -> impl Iterator<Item = Signal> {
        (1..=64).map(Signal)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Signal::NAMES.iter().find(|(_, signal)| signal == self) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if *self == Signal::RTMIN => f.write_str("SIGRTMIN"),
            None if *self > Signal::RTMIN => write!(f, "SIGRTMIN+{}", self.0 - Signal::RTMIN.0),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// The text is no signal's name or number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownSignal;

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// A name with or without SIG in any case, RTMIN+N, RTMAX-N, or a number from 1 to 64.
    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().and_then(Signal::new).ok_or(UnknownSignal);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, signal)) = Signal::NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*signal);
        }
        let real_time = match name {
            "RTMIN" => Signal::RTMIN.as_raw(),
            "RTMAX" => Signal::RTMAX.as_raw(),
            "POLL" => Signal::IO.as_raw(),
            "CLD" => Signal::CHLD.as_raw(),
            "IOT" => Signal::ABRT.as_raw(),
            _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(up), _) => Signal::RTMIN.as_raw() + i32::from(up.parse::<u8>().map_err(|_| UnknownSignal)?),
                (_, Some(down)) => Signal::RTMAX.as_raw() - i32::from(down.parse::<u8>().map_err(|_| UnknownSignal)?),
                _ => return Err(UnknownSignal),
            },
        };
        if name.starts_with("RT") && real_time < Signal::RTMIN.as_raw() {
            return Err(UnknownSignal);
        }
        Signal::new(real_time).ok_or(UnknownSignal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_from_what_it_prints() {
        for signal in Signal::all() {
            let printed = signal.to_string();
            let text = printed.strip_prefix("signal ").unwrap_or(&printed);
            assert_eq!(text.parse(), Ok(signal), "{printed}");
            assert_eq!(signal.as_raw().to_string().parse(), Ok(signal));
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in ["", "0", "65", "-1", "TREM", "SIG", "RTMIN+31", "RTMAX-31", "RTMIN+", "999", "+15", " TERM"] {
            assert_eq!(text.parse::<Signal>(), Err(UnknownSignal), "{text:?}");
        }
    }

    #[test]
    fn names_are_read_in_every_usual_spelling() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("term", 15),
            ("15", 15),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMAX", 64),
            ("POLL", 29),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }
}
