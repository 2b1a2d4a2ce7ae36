//! What the project needs beside its product: `cargo run -p xtask -- COMMAND`.

mod bench;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use xtask::pages::FILES;
use xtask::pages::generated::PAGES;

const USAGE: &str = "\
usage: xtask pages [DIRECTORY]                          writes what is generated from the tables in the source, for the
                                                       repository in that directory
       xtask bench BINARY [--quick] [--rows=ROW,...]    measures that binary beside bare system calls and its peers";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("pages") => pages(&arguments.next().map_or_else(PathBuf::new, PathBuf::from)),
        Some("bench") => bench::run(arguments),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn pages(root: &Path) -> ExitCode {
    let whole = FILES.iter().map(|file| refresh(&root.join(file.path), false, |_| Ok((file.render)())));
    let parts = PAGES.iter().map(|page| refresh(&root.join(page.path), true, |stale| page.refresh(stale)));
    match whole.chain(parts).find_map(Result::err) {
        None => ExitCode::SUCCESS,
        Some(cause) => {
            eprintln!("{cause}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the file where it is not what `fresh` makes of it; one that is needed must be there.
fn refresh(path: &Path, needed: bool, fresh: impl FnOnce(&str) -> Result<String, String>) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let stale = match fs::read_to_string(path) {
        Err(error) if needed => return Err(told(&error)),
        read => read.unwrap_or_default(),
    };
    let fresh = fresh(&stale).map_err(|error| told(&error))?;
    if fresh == stale {
        return Ok(());
    }
    path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, fresh)).map_err(|error| told(&error))
}
