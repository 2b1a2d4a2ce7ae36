//! From execve(2) of PID 1 to the first line of the worker's main().

use super::Effort;
use super::child::{Child, Notes};
use super::contenders::Contenders;
use super::report::{Bound, Report, Table, plain};
use super::stats::{Turns, median};

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let mut listening = contenders.ours(&["-listen=tcp://127.0.0.1:0"]);
    listening.name = "socketmaster, listening";
    let all: Vec<_> =
        [contenders.direct(), contenders.forwarder(), contenders.plain(), listening].into_iter().chain(contenders.peers()).collect();
    let mut faults = vec![Vec::new(); all.len()];
    let mut once = |contender: usize| {
        let command = all[contender].running(&contenders.worker, &["stamp"]);
        let mut child = Child::start(&command, contenders.isolation, Notes::ToNull)?;
        let main = child.stamp()?;
        faults[contender].push(child.faults()? as f64);
        Ok((main - child.executed()) as f64)
    };
    let turns =
        Turns::take(all.len(), 5, effort.of(500, 60), |contender| report.expect(once(contender), &all[contender]).unwrap_or(f64::NAN));

    let mut table = Table::new("start as PID 1, to the worker's main()", &["us", "beside direct", "page faults"]);
    for (index, contender) in all.iter().enumerate() {
        table.row(contender.name, vec![plain(turns.median(index) / 1000.0), plain(turns.ratio(index, 0)), plain(median(&faults[index]))]);
    }
    table.print();
    if let Some(tini) = all.iter().position(|contender| contender.name == "tini-static") {
        report.goal("start: beside tini-static", Bound::AtMost(0.65), turns.ratio(2, tini));
    }
    report.goal("start: page faults", Bound::AtMost(30.0), median(&faults[2]));
}
