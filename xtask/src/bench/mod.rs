//! `make bench`: what socketmaster costs, beside bare system calls and beside its peers, in turns in one run.
//!
//! A time is shown as it was, and judged as a ratio to the same work done by a few lines of C a moment before. No time
//! fails the run: that does only what is wrong, such as a lost line, a zombie or a descriptor too many.

mod child;
mod contenders;
mod idle;
mod reap;
mod relay;
mod reload;
mod report;
mod signal;
mod size;
mod start;
mod stats;

use std::process::ExitCode;
use std::time::Instant;

use contenders::Contenders;
use report::Report;

/// How much is done: everything, or enough to see that it works.
#[derive(Clone, Copy)]
pub struct Effort {
    quick: bool,
}

impl Effort {
    pub fn of(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

type Row = fn(&Contenders, Effort, &mut Report);

const ROWS: &[(&str, Row)] = &[
    ("size", size::run),
    ("start", start::run),
    ("idle", idle::run),
    ("signal", signal::run),
    ("reap", reap::run),
    ("reload", reload::run),
    ("relay", relay::run),
];

/// Whatever hangs, it is the end after so many seconds, of this program and so of all that it has started.
const AT_MOST: u32 = 300;

/// Runs the rows; the words are the binary and options.
pub fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    nix::unistd::alarm::set(AT_MOST);
    let mut rows: Vec<&(&str, Row)> = ROWS.iter().collect();
    let mut effort = Effort { quick: false };
    let Some(socketmaster) = arguments.next() else {
        eprintln!("usage: xtask bench BINARY [--quick] [--rows=ROW,...]");
        return ExitCode::from(2);
    };
    for argument in arguments {
        match argument.split_once('=') {
            None if argument == "--quick" => effort.quick = true,
            Some(("--rows", wanted)) if wanted.split(',').all(|name| ROWS.iter().any(|(known, _)| *known == name)) => {
                rows.retain(|(known, _)| wanted.split(',').any(|name| name == *known));
            }
            _ => {
                let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
                eprintln!("unknown: {argument}; accepted are --quick and --rows= of {}", names.join(","));
                return ExitCode::from(2);
            }
        }
    }
    let mut report = Report::default();
    let contenders = match Contenders::gather(socketmaster, &mut report) {
        Ok(contenders) => contenders,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", contenders.socketmaster);
    for (name, run) in rows {
        let begun = Instant::now();
        run(&contenders, effort, &mut report);
        println!("  ({name}: {:.1} s)", begun.elapsed().as_secs_f64());
    }
    report.end()
}
