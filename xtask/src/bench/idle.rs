//! Nothing happens: what is held, and whether anything is done.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::Effort;
use super::child::{Child, Memory, Notes};
use super::contenders::Contenders;
use super::report::{Bound, Report, Table, plain};

/// Long enough after the start for what belongs to it.
const SETTLE: Duration = Duration::from_millis(200);

struct Idle {
    memory: Memory,
    threads: u64,
    wake_ups: u64,
    cpu: u64,
}

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let mut ours = contenders.ours(&["-listen=tcp://127.0.0.1:0", "-start=0"]);
    ours.name = "socketmaster, listening";
    let all: Vec<_> = [contenders.forwarder(), contenders.plain(), ours].into_iter().chain(contenders.peers()).collect();
    let span = Duration::from_secs(effort.of(6, 2) as u64);
    // All at the same time: none of them should be noticed.
    let start = |command: &[String]| {
        let mut child = Child::start(command, contenders.isolation, Notes::ToNull)?;
        child.stamp().map(|_| child)
    };
    let children: Vec<_> =
        all.iter().map(|contender| report.expect(start(&contender.running(&contenders.worker, &["stamp"])), contender)).collect();
    sleep(SETTLE);
    let before: Vec<_> = children.iter().map(|child| child.as_ref().map(Idle::of)).collect();
    sleep(span);
    let after: Vec<_> = children.iter().map(|child| child.as_ref().map(Idle::of)).collect();

    let title = format!("idle, one worker, over {} s", span.as_secs());
    let mut table = Table::new(&title, &["RSS kB", "anonymous kB", "threads", "wake-ups", "CPU us"]);
    for ((contender, before), after) in all.iter().zip(before).zip(after) {
        let (Some(Ok(before)), Some(Ok(after))) = (before, after) else { continue };
        let (wake_ups, cpu) = (after.wake_ups - before.wake_ups, after.cpu - before.cpu);
        table.row(
            contender.name,
            vec![
                after.memory.resident.to_string(),
                after.memory.anonymous.to_string(),
                after.threads.to_string(),
                wake_ups.to_string(),
                plain(cpu as f64 / 1000.0),
            ],
        );
        if contender.name == "socketmaster, listening" {
            report.goal("idle: RSS, kB", Bound::AtMost(600.0), after.memory.resident as f64);
            report.goal("idle: anonymous memory, kB", Bound::AtMost(80.0), after.memory.anonymous as f64);
            report.goal("idle: threads", Bound::AtMost(1.0), after.threads as f64);
            report.goal("idle: wake-ups", Bound::AtMost(0.0), wake_ups as f64);
            // A process that uses no CPU time makes no system call.
            report.goal("idle: CPU, so system calls, ns", Bound::AtMost(0.0), cpu as f64);
        }
    }
    table.print();
}

impl Idle {
    fn of(child: &Child) -> io::Result<Idle> {
        Ok(Idle { memory: child.memory()?, threads: child.threads()?, wake_ups: child.wake_ups()?, cpu: child.cpu() })
    }
}
