//! Pages: pure functions from the tables to the text of files. What the program itself prints is in its own `help`.

pub mod bash;
pub mod fish;
pub mod man;
pub mod readme;
mod roff;
mod words;
pub mod zsh;

use socketmaster::config::options::OPTIONS;

/// A page that is a file of its own.
pub struct File {
    /// In the repository.
    pub path: &'static str,
    pub render: fn() -> String,
}

/// All of them; the README has its own way, since only parts of it are generated.
pub const FILES: &[File] = &[
    File { path: "docs/socketmaster.1", render: man::page },
    File { path: "docs/completions/socketmaster.bash", render: || bash::completion(OPTIONS) },
    File { path: "docs/completions/_socketmaster", render: || zsh::completion(OPTIONS) },
    File { path: "docs/completions/socketmaster.fish", render: || fish::completion(OPTIONS) },
];

/// The day of this version, as the changelog of the package has it: what is generated must not change by itself.
pub const RELEASED: &str = "2026-11-22";
