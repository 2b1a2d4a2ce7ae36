//! Pages: pure functions from the tables to text.

pub mod help;
pub mod readme;

use crate::signals::{OTHERS, SIGNALS};

pub fn version() -> String {
    format!("socketmaster {}\n", env!("CARGO_PKG_VERSION"))
}

/// The signals and what the master does at them, one row each; the last row is all the others.
fn signal_rows() -> Vec<(String, &'static str)> {
    let known = SIGNALS.iter().map(|row| {
        let names: Vec<String> = row.signals.iter().map(|signal| signal.to_string().trim_start_matches("SIG").to_owned()).collect();
        (names.join(", "), row.does)
    });
    known.chain([("all others".to_owned(), OTHERS)]).collect()
}
