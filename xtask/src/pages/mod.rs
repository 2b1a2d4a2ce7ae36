//! Pages: pure functions from the tables to the text of files. What the program itself prints is in its own `help`.

pub mod bash;
pub mod fish;
pub mod generated;
mod man;
mod markdown;
mod roff;
mod words;
pub mod zsh;

use std::sync::LazyLock;

use socketmaster::config::options::OPTIONS;

/// A page that is generated as a whole.
pub struct File {
    /// In the repository.
    pub path: &'static str,
    pub render: fn() -> String,
}

/// All of them; [`generated::PAGES`] has those of which only parts are generated.
pub const FILES: &[File] = &[
    File { path: "docs/completions/socketmaster.bash", render: || bash::completion(OPTIONS) },
    File { path: "docs/completions/_socketmaster", render: || zsh::completion(OPTIONS) },
    File { path: "docs/completions/socketmaster.fish", render: || fish::completion(OPTIONS) },
];

/// The day of this version: that of the newest entry in the changelog of the package, so that it stands once and what is
/// generated does not change by itself.
pub static RELEASED: LazyLock<String> = LazyLock::new(|| {
    let changelog = include_str!("../../../debian/changelog");
    // " -- NAME <ADDRESS>  Sun, 22 Nov 2026 12:00:00 +0000"
    let (_, signed) = changelog.split_once("\n -- ").expect("debian/changelog has a signed entry");
    let date: Vec<&str> = signed.split_once(", ").expect("a date").1.split(' ').take(3).collect();
    let [day, month, year] = date[..] else { panic!("no date in {signed}") };
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + months.iter().position(|name| *name == month).expect("a month");
    format!("{year}-{month:02}-{day:0>2}")
});
