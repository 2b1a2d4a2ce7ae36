//! Writes what is generated from the tables in the source: `cargo run --example pages [DIRECTORY]`, for the repository
//! in that directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use socketmaster::cli::page::{FILES, readme};

fn main() -> ExitCode {
    let root = env::args_os().nth(1).map_or_else(PathBuf::new, PathBuf::from);
    let pages = FILES.iter().map(|file| refresh(&root.join(file.path), false, |_| Ok((file.render)())));
    let readme = refresh(&root.join("README.md"), true, readme::refresh);
    match pages.chain([readme]).find_map(Result::err) {
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
