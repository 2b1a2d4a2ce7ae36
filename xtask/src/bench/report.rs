//! What is shown: a table a row, then all goals together, what was skipped, and what was wrong.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use super::contenders::Contender;

#[derive(Default)]
pub struct Report {
    goals: Vec<Goal>,
    skipped: Vec<String>,
    wrong: Vec<String>,
}

struct Goal {
    what: &'static str,
    bound: Bound,
    measured: f64,
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub fn goal(&mut self, what: &'static str, bound: Bound, measured: f64) {
        self.goals.push(Goal { what, bound, measured });
    }

    /// Not measured here, and why. Counted at the end.
    pub fn skip(&mut self, what: &str, why: impl Display) {
        let skipped = format!("{what}: {why}");
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }

    /// What came out for this contender. Where nothing did, ours is wrong, and any other cannot be compared with.
    pub fn expect<T>(&mut self, result: io::Result<T>, contender: &Contender) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) if contender.ours => {
                self.wrong(format!("{}: {error}", contender.name));
                None
            }
            Err(error) => {
                self.skip(contender.name, error);
                None
            }
        }
    }

    /// Not slow but wrong: the run fails.
    pub fn wrong(&mut self, what: String) {
        if !self.wrong.contains(&what) {
            println!("  WRONG: {what}");
            self.wrong.push(what);
        }
    }

    /// Only what is wrong makes a failure.
    pub fn end(self) -> ExitCode {
        let mut table = Table::new("goals", &["wanted", "measured", ""]);
        for goal in &self.goals {
            let (sign, bound, excess) = match goal.bound {
                Bound::AtMost(bound) => ("<=", bound, goal.measured - bound),
                Bound::AtLeast(bound) => (">=", bound, bound - goal.measured),
            };
            let verdict = match (excess, bound) {
                (excess, _) if excess.is_nan() => "not measured".to_owned(),
                (excess, _) if excess <= 0.0 => "reached".to_owned(),
                (excess, 0.0) => format!("missed by {}", plain(excess)),
                (excess, bound) => format!("missed by {:.0} %", (excess / bound * 100.0).max(1.0)),
            };
            table.row(goal.what, vec![format!("{sign} {}", plain(bound)), plain(goal.measured), verdict]);
        }
        table.print();
        let missed = self.goals.iter().filter(|goal| match goal.bound {
            Bound::AtMost(bound) => goal.measured > bound,
            Bound::AtLeast(bound) => goal.measured < bound,
        });
        println!("\n{} goals, {} missed; {} skipped; {} wrong", self.goals.len(), missed.count(), self.skipped.len(), self.wrong.len());
        self.skipped.iter().for_each(|skipped| println!("SKIPPED: {skipped}"));
        self.wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
        if self.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A title, then names at the left and figures at the right.
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, columns: &[&str]) -> Table {
        Table { head: [title].iter().chain(columns).map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub fn row(&mut self, name: &str, cells: Vec<String>) {
        self.rows.push([name.to_owned()].into_iter().chain(cells).collect());
    }

    pub fn print(&self) {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        println!();
        for row in all() {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = width(column);
                if column == 0 { format!("{cell:width$}") } else { format!("   {cell:>width$}") }
            });
            println!("{}", cells.collect::<String>().trim_end());
        }
    }
}

/// As many digits as tell something.
pub fn plain(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        size if size >= 1000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
