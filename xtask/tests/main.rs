//! What is generated is fresh, and right for those who read it: manual page, documentation, completions.

#[path = "../../tests/harness/basics.rs"]
mod basics;
mod completions;
mod install;
mod pages;
mod summary;
