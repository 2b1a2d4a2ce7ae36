//! Lines of 100 bytes with the worker's pid put before each: as fast as they come, and one by one that none is lost.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};

use super::Effort;
use super::child::{Child, Notes, now};
use super::contenders::{Contender, Contenders};
use super::report::{Bound, Report, Table, plain};
use super::stats::{Turns, median};

const LINE: usize = 100;

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let lines = effort.of(2_000_000, 500_000);
    let count = lines.to_string();
    let all = [contenders.relay(), contenders.ours(&["-listen=none", "-prefix"])];
    let mut cpu = vec![Vec::new(); all.len()];
    // To /dev/null, to measure the relay and not its reader.
    let mut once = |contender: usize| {
        let command = all[contender].running(&contenders.worker, &["lines", &count]);
        let child = Child::start(&command, contenders.isolation, Notes::ToNull)?;
        let begun = now();
        let ended = child.wait()?;
        let took = now() - begun;
        cpu[contender].push(ended.cpu as f64 / lines as f64);
        // Bytes in a nanosecond are gigabytes in a second.
        Ok((lines * LINE) as f64 / took as f64)
    };
    let turns =
        Turns::take(all.len(), 1, effort.of(25, 7), |contender| report.expect(once(contender), &all[contender]).unwrap_or(f64::NAN));

    let mut table = Table::new(
        &format!("relay, {lines} lines of {LINE} bytes"),
        &["GB/s", "beside bare C", "CPU ns a line", "beside bare C", "lost or broken"],
    );
    for (index, contender) in all.iter().enumerate() {
        let checked = report.expect(check(contenders, contender, effort.of(1_000_000, 200_000)), contender);
        if let Some(bad) = checked.filter(|bad| *bad > 0) {
            report.wrong(format!("{}: {bad} lines lost or broken", contender.name));
        }
        table.row(
            contender.name,
            vec![
                plain(turns.median(index)),
                plain(turns.ratio(index, 0)),
                plain(median(&cpu[index])),
                plain(median(&cpu[index]) / median(&cpu[0])),
                checked.map_or_else(|| "-".to_owned(), |bad| bad.to_string()),
            ],
        );
    }
    table.print();
    report.goal("relay: CPU, ns a line", Bound::AtMost(80.0), median(&cpu[1]));
    report.goal("relay: throughput beside bare C", Bound::AtLeast(0.7), turns.ratio(1, 0));
}

/// Reads every line through a pipe; how many are not as they were written.
fn check(contenders: &Contenders, contender: &Contender, lines: usize) -> io::Result<usize> {
    let command = contender.running(&contenders.worker, &["numbered", &lines.to_string()]);
    let mut child = Child::start(&command, contenders.isolation, Notes::ToPipe)?;
    let Some(stderr) = child.stderr.take() else { return Err(io::Error::other("no pipe")) };
    let mut reader = BufReader::with_capacity(1 << 20, stderr);
    let (mut line, mut good, mut notes, mut pids) = (Vec::new(), 0, 0, BTreeMap::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.starts_with(b"socketmaster[") {
            notes += 1;
        } else if let Some(pid) = as_written(&line, good) {
            *pids.entry(pid).or_insert(0) += 1;
            good += 1;
        }
        line.clear();
    }
    let ended = child.wait()?;
    if ended.code != 0 || pids.len() != 1 || notes > 10 {
        return Err(io::Error::other(format!("status {}, {} pids, {notes} notes", ended.code, pids.len())));
    }
    Ok(lines - good)
}

/// `[pid] 0000000042 xxx...x`, of this number and length; the pid.
fn as_written(line: &[u8], number: usize) -> Option<u32> {
    let close = line.iter().position(|byte| *byte == b']')?;
    let pid = std::str::from_utf8(line.get(1..close)?).ok()?.parse().ok()?;
    let text = line.get(close + 2..)?;
    let whole = text.len() == LINE && text.starts_with(format!("{number:010} ").as_bytes());
    (whole && text[11..LINE - 1].iter().all(|byte| *byte == b'x')).then_some(pid)
}
