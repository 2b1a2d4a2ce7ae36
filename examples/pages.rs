//! Writes the generated blocks of README.md anew: `cargo run --example pages [README]`.

use std::process::ExitCode;

use socketmaster::cli::page::readme;

fn main() -> ExitCode {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "README.md".into());
    match refresh(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("{}: {cause}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn refresh(path: &std::ffi::OsStr) -> Result<(), String> {
    let stale = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let fresh = readme::refresh(&stale)?;
    if fresh == stale { Ok(()) } else { std::fs::write(path, fresh).map_err(|error| error.to_string()) }
}
