//! Sends SIGHUP again and again: each starts a new worker and stops the old one.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use nix::libc;

use super::Effort;
use super::child::{Child, Memory, Notes, now};
use super::contenders::Contenders;
use super::report::{Bound, Report, Table, plain};
use super::stats::Turns;

/// Not counted: until then every buffer has its size.
const WARM_UP: usize = 30;
/// For the old worker to be gone.
const BETWEEN: Duration = Duration::from_micros(300);
/// A page more or less comes and goes with the allocator: what counts is whether the highest is ever higher.
const LOOK: usize = 10;
/// Perl takes its time.
const FEW: usize = 50;

/// One that is reloaded, and how it stood once it was warm.
struct Master {
    child: Child,
    reloads: usize,
    warm: Option<Stand>,
    /// Anonymous memory in kB, every [`LOOK`] reloads from then on.
    memory: Vec<u64>,
}

struct Stand {
    cpu: u64,
    descriptors: usize,
    memory: Memory,
}

pub fn run(contenders: &Contenders, effort: Effort, report: &mut Report) {
    let ours = contenders.ours(&["-listen=tcp://127.0.0.1:0", "-start=0"]);
    let all: Vec<_> = [contenders.reloader(), ours].into_iter().chain(contenders.start_server()).collect();
    let mut masters: Vec<_> = all
        .iter()
        .map(|contender| {
            let command = contender.running(&contenders.worker, &["stamp"]);
            report.expect(Master::start(&command, contenders), contender)
        })
        .collect();
    let turns = Turns::take(all.len(), WARM_UP, effort.of(1_000, 150), |contender| {
        let Some(master) = &mut masters[contender] else { return f64::NAN };
        if all[contender].name == "start_server" && master.reloads >= WARM_UP + FEW {
            return f64::NAN;
        }
        report.expect(master.reload(), &all[contender]).unwrap_or(f64::NAN)
    });
    sleep(Duration::from_millis(50));

    let mut table = Table::new("reload: HUP to the new main()", &["us, p50", "beside bare C", "CPU us each", "fds", "RSS kB", "after"]);
    for (index, (contender, master)) in all.iter().zip(&masters).enumerate() {
        let Some(Master { child, reloads, warm: Some(warm), memory }) = master else { continue };
        let Some(stand) = report.expect(Stand::of(child), contender) else { continue };
        let counted = reloads - WARM_UP;
        let cpu = (stand.cpu - warm.cpu) as f64 / 1000.0 / counted as f64;
        table.row(
            contender.name,
            vec![
                plain(turns.median(index) / 1000.0),
                plain(turns.ratio(index, 0)),
                plain(cpu),
                format!("{} -> {}", warm.descriptors, stand.descriptors),
                format!("{} -> {}", warm.memory.resident, stand.memory.resident),
                counted.to_string(),
            ],
        );
        if index == 1 {
            report.goal("reload: CPU, us", Bound::AtMost(500.0), cpu);
            report.goal("reload: HUP to main() beside bare C", Bound::AtMost(1.3), turns.ratio(1, 0));
            let (early, late) = memory.split_at(memory.len() / 2);
            let highest = |memory: &[u64]| memory.iter().max().map_or(f64::NAN, |highest| *highest as f64);
            let grown = highest(late) - highest(early);
            report.goal("reload: memory grown, kB", Bound::AtMost(0.0), grown.max(0.0));
            if stand.descriptors != warm.descriptors {
                report.wrong(format!("{} descriptors before {counted} reloads, {} after", warm.descriptors, stand.descriptors));
            }
        }
    }
    table.print();
}

impl Master {
    fn start(command: &[String], contenders: &Contenders) -> io::Result<Master> {
        let mut child = Child::start(command, contenders.isolation, Notes::ToNull)?;
        child.stamp()?;
        // Perl takes signals only after its first look at the worker.
        sleep(Duration::from_millis(100));
        Ok(Master { child, reloads: 0, warm: None, memory: Vec::new() })
    }

    fn reload(&mut self) -> io::Result<f64> {
        let sent = now();
        self.child.send(libc::SIGHUP);
        let came = self.child.stamp()?;
        sleep(BETWEEN);
        self.reloads += 1;
        if self.reloads == WARM_UP {
            self.warm = Some(Stand::of(&self.child)?);
        } else if self.reloads > WARM_UP && self.reloads.is_multiple_of(LOOK) {
            self.memory.push(self.child.memory()?.anonymous);
        }
        Ok((came - sent) as f64)
    }
}

impl Stand {
    fn of(child: &Child) -> io::Result<Stand> {
        Ok(Stand { cpu: child.cpu(), descriptors: child.descriptors()?, memory: child.memory()? })
    }
}
