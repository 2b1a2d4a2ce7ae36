//! Ten thousand orphans at once.

use super::Effort;
use super::child::{Child, Notes};
use super::contenders::Contenders;
use super::report::{Bound, Report, Table, plain};
use super::stats::Turns;

/// Peers begin at this place, and have fewer turns: to make the orphans takes longer than to reap them.
const PEERS: usize = 2;
const FEW: usize = 6;

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let orphans = effort.of(10_000, 3_000);
    let count = orphans.to_string();
    let all: Vec<_> = [contenders.reaper(), contenders.plain()].into_iter().chain(contenders.peers()).collect();
    let once = |contender: usize| {
        let command = all[contender].running(&contenders.worker, &["orphans", &count]);
        let mut child = Child::start(&command, contenders.isolation, Notes::ToNull)?;
        child.stamp()?;
        let before = child.cpu();
        child.go()?;
        // It comes when none is left, and does not when one is.
        child.stamp()?;
        Ok((child.cpu() - before) as f64 / orphans as f64)
    };
    let mut done = vec![0; all.len()];
    let turns = Turns::take(all.len(), 1, effort.of(15, 5), |contender| {
        done[contender] += 1;
        if contender >= PEERS && done[contender] > FEW {
            return f64::NAN;
        }
        report.expect(once(contender), &all[contender]).unwrap_or(f64::NAN)
    });

    let mut table = Table::new(&format!("reaping {orphans} orphans, CPU"), &["ns each", "beside bare C"]);
    for (index, contender) in all.iter().enumerate() {
        table.row(contender.name, vec![plain(turns.median(index)), plain(turns.ratio(index, 0))]);
    }
    table.print();
    report.goal("reaping: CPU beside bare C", Bound::AtMost(1.15), turns.ratio(1, 0));
}
