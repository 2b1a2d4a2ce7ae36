//! What the master does at each signal: the table of defaults, and what `-signal` changes in it.
//! Pure: nothing here is sent or blocked.

use crate::ids::Signal;

/// What a signal to the master means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// Start a new generation beside the current one.
    Reload,
    /// Tell every worker with this signal, start nothing any more, end when they have.
    Stop(Signal),
    /// Pass this signal to the current generation.
    Pass(Signal),
    /// Pass it to all workers, then stop as a shell's job does.
    Suspend,
    /// Pass it to all workers: they were suspended together.
    Resume,
    /// Reap; never passed on.
    Reap,
    /// Do nothing.
    Ignore,
    /// Not ours to take: the kernel's action for it stays in force.
    LeaveAlone,
}

/// A line of the table of defaults, as the documentation shows it.
pub struct Row {
    pub signals: &'static [Signal],
    pub does: &'static str,
    meaning: fn(Signal) -> Meaning,
}

/// Signals that say that the program itself has gone wrong: blocking them would hide a fault.
pub const FAULTS: &[Signal] = &[Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL, Signal::ABRT, Signal::TRAP, Signal::SYS];

/// What each signal does unless `-signal` says otherwise. A signal in no row is passed on: [`OTHERS`].
pub const SIGNALS: &[Row] = &[
    Row {
        signals: &[Signal::HUP],
        does: "reload. From the kernel (the terminal went away) it is a stop; with -listen=none it is passed on",
        meaning: |_| Meaning::Reload,
    },
    Row {
        signals: &[Signal::TERM, Signal::INT, Signal::QUIT],
        does: "stop: passed to all workers as it came; nothing is started any more; ends when they have",
        meaning: Meaning::Stop,
    },
    Row { signals: &[Signal::CHLD], does: "reaping", meaning: |_| Meaning::Reap },
    Row {
        signals: &[Signal::TSTP, Signal::TTIN, Signal::TTOU],
        does: "passed to all workers, then the master stops itself",
        meaning: |_| Meaning::Suspend,
    },
    Row { signals: &[Signal::CONT], does: "passed to all workers", meaning: |_| Meaning::Resume },
    Row { signals: FAULTS, does: "left alone", meaning: |_| Meaning::LeaveAlone },
];

/// What all signals do that [`SIGNALS`] does not name.
pub const OTHERS: &str = "passed to the current generation, real-time signals included";

fn default_meaning(signal: Signal) -> Meaning {
    SIGNALS.iter().find(|row| row.signals.contains(&signal)).map_or(Meaning::Pass(signal), |row| (row.meaning)(signal))
}

/// The word behind the colon of `-signal=SIG:DO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    Reload,
    Stop,
    Ignore,
    /// As if this signal's plain effect were wanted: passed on, and from TERM, INT and QUIT still a stop.
    As(Signal),
}

/// The words for orders that are no signal's name, in any case.
pub const ORDERS: &[(&str, Order)] = &[("reload", Order::Reload), ("stop", Order::Stop), ("ignore", Order::Ignore)];

/// The meaning of every signal in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignalTable {
    changed: Vec<(Signal, Meaning)>,
}

/// The kernel takes it before any program could.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotBeChanged;

impl SignalTable {
    /// The defaults. Without a listener there is nothing a reload could keep, and HUP is passed on like any other.
    pub fn new(listens: bool) -> SignalTable {
        let changed = if listens { Vec::new() } else { vec![(Signal::HUP, Meaning::Pass(Signal::HUP))] };
        SignalTable { changed }
    }

    /// Changes one row. `stop_signal` is what `stop` tells the workers with.
    pub fn change(&mut self, signal: Signal, order: Order, stop_signal: Signal) -> Result<(), CannotBeChanged> {
        if matches!(signal, Signal::KILL | Signal::STOP | Signal::CHLD) || FAULTS.contains(&signal) {
            return Err(CannotBeChanged);
        }
        let meaning = match (order, default_meaning(signal)) {
            (Order::Reload, _) => Meaning::Reload,
            (Order::Stop, _) => Meaning::Stop(stop_signal),
            (Order::Ignore, _) => Meaning::Ignore,
            (Order::As(with), Meaning::Stop(_)) => Meaning::Stop(with),
            (Order::As(with), _) => Meaning::Pass(with),
        };
        self.changed.retain(|(known, _)| *known != signal);
        self.changed.push((signal, meaning));
        Ok(())
    }

    pub fn meaning(&self, signal: Signal) -> Meaning {
        self.changed.iter().find(|(known, _)| *known == signal).map_or_else(|| default_meaning(signal), |(_, meaning)| *meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_stands_in_one_row_at_most() {
        for signal in Signal::all() {
            assert!(SIGNALS.iter().filter(|row| row.signals.contains(&signal)).count() <= 1, "{signal}");
        }
    }

    #[test]
    fn what_no_row_names_is_passed_on_as_it_came() {
        let table = SignalTable::new(true);
        for signal in [Signal::USR1, Signal::USR2, Signal::WINCH, Signal::RTMIN, Signal::RTMAX] {
            assert_eq!(table.meaning(signal), Meaning::Pass(signal));
        }
        assert_eq!(table.meaning(Signal::HUP), Meaning::Reload);
        assert_eq!(table.meaning(Signal::SEGV), Meaning::LeaveAlone);
    }

    #[test]
    fn without_a_listener_hup_is_passed_on_unless_asked_for() {
        let mut table = SignalTable::new(false);
        assert_eq!(table.meaning(Signal::HUP), Meaning::Pass(Signal::HUP));
        table.change(Signal::HUP, Order::Reload, Signal::TERM).unwrap();
        assert_eq!(table.meaning(Signal::HUP), Meaning::Reload);
    }

    #[test]
    fn a_stop_told_by_another_signal_is_still_a_stop() {
        let mut table = SignalTable::new(true);
        table.change(Signal::TERM, Order::As(Signal::QUIT), Signal::TERM).unwrap();
        table.change(Signal::USR1, Order::Stop, Signal::WINCH).unwrap();
        table.change(Signal::USR2, Order::As(Signal::HUP), Signal::TERM).unwrap();
        assert_eq!(table.meaning(Signal::TERM), Meaning::Stop(Signal::QUIT));
        assert_eq!(table.meaning(Signal::USR1), Meaning::Stop(Signal::WINCH));
        assert_eq!(table.meaning(Signal::USR2), Meaning::Pass(Signal::HUP));
    }

    #[test]
    fn the_last_word_on_a_signal_wins() {
        let mut table = SignalTable::new(true);
        table.change(Signal::WINCH, Order::Reload, Signal::TERM).unwrap();
        table.change(Signal::WINCH, Order::Ignore, Signal::TERM).unwrap();
        assert_eq!(table.meaning(Signal::WINCH), Meaning::Ignore);
    }

    #[test]
    fn what_the_kernel_or_reaping_needs_cannot_be_changed() {
        for signal in [Signal::KILL, Signal::STOP, Signal::CHLD, Signal::SEGV] {
            assert_eq!(SignalTable::new(true).change(signal, Order::Ignore, Signal::TERM), Err(CannotBeChanged));
        }
    }
}
