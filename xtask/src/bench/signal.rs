//! From kill(2) to the first line of the worker's handler.

use nix::libc;

use super::Effort;
use super::child::{Child, Notes, now};
use super::contenders::Contenders;
use super::report::{Bound, Report, Table, plain};
use super::stats::Turns;

const WARM_UP: usize = 50;

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let all: Vec<_> = [contenders.direct(), contenders.forwarder(), contenders.plain()].into_iter().chain(contenders.peers()).collect();
    let start = |command: &[String]| {
        let mut child = Child::start(command, contenders.isolation, Notes::ToNull)?;
        child.stamp().map(|_| child)
    };
    let mut children: Vec<_> =
        all.iter().map(|contender| report.expect(start(&contender.running(&contenders.worker, &["signals"])), contender)).collect();
    let count = effort.of(25_000, 4_000);
    let mut before = vec![0; all.len()];
    let mut sent_so_far = 0;
    let turns = Turns::take(all.len(), WARM_UP, count, |contender| {
        let Some(child) = &mut children[contender] else { return f64::NAN };
        if sent_so_far < WARM_UP * all.len() + all.len() {
            before[contender] = child.cpu();
        }
        sent_so_far += 1;
        let sent = now();
        child.send(libc::SIGUSR1);
        report.expect(child.stamp(), &all[contender]).map_or(f64::NAN, |came| (came - sent) as f64)
    });

    let cpu =
        |index: usize| children[index].as_ref().map_or(f64::NAN, |child| (child.cpu() - before[index]) as f64 / 1000.0 / count as f64);
    let mut table = Table::new("signal to the worker's handler, p50", &["us", "beside direct", "beside bare C", "CPU us each"]);
    for (index, contender) in all.iter().enumerate() {
        table.row(
            contender.name,
            vec![plain(turns.median(index) / 1000.0), plain(turns.ratio(index, 0)), plain(turns.ratio(index, 1)), plain(cpu(index))],
        );
    }
    table.print();
    report.goal("signal: p50 beside bare C", Bound::AtMost(1.2), turns.ratio(2, 1));
}
