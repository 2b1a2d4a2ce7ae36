//! Generated files are fresh and correct: manual page, documentation, completions.

#[path = "../../tests/harness/basics.rs"]
mod basics;
mod completions;
mod install;
mod pages;
mod summary;
