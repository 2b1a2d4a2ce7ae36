//! The file itself.

use std::fs;

use super::Effort;
use super::contenders::Contenders;
use super::report::{Bound, Report, Table};

pub fn run(contenders: &Contenders, _: Effort, report: &mut Report) {
    let mut table = Table::new("size of the file", &["bytes", ""]);
    let ours = contenders.plain();
    for contender in [&ours].into_iter().chain(&contenders.peers()) {
        let Some(path) = contender.command.first() else { continue };
        let Ok(bytes) = fs::read(path) else { continue };
        // A program that names its loader is dynamic: the libc beside it does not count here.
        let dynamic = bytes.windows(8).take(4096).any(|window| window == b"/ld-linu");
        table.row(contender.name, vec![bytes.len().to_string(), if dynamic { "and a libc" } else { "static" }.to_owned()]);
        if contender.name == ours.name {
            report.goal("binary, bytes", Bound::AtMost(614_400.0), bytes.len() as f64);
        }
    }
    table.print();
}
