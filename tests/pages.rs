//! What is generated from the tables in the source is fresh where it is committed.

use socketmaster::cli::page::readme;

const README: &str = include_str!("../README.md");

#[test]
fn the_generated_parts_of_the_readme_are_fresh() {
    let fresh = readme::refresh(README).expect("all markers are there");
    let stale = fresh.lines().zip(README.lines()).find(|(fresh, committed)| fresh != committed);
    assert!(fresh == README, "run `make pages`; the first line that differs: {stale:#?}");
}

#[test]
fn a_change_in_a_table_would_be_seen() {
    let changed = README.replacen("| `-listen=URI` |", "| `-lisen=URI` |", 1);
    assert_ne!(changed, README, "the table of options is not where it is looked for");
    assert_eq!(readme::refresh(&changed).as_deref(), Ok(README));
}

#[test]
fn every_option_that_the_readme_shows_exists() {
    // With one dash, as the README writes ours; Docker's have two.
    let words = README.split(|char: char| !(char.is_ascii_alphanumeric() || "-=_".contains(char)));
    let shown = words
        .filter_map(|word| word.strip_prefix('-')?.split_once('=').map(|(name, _)| name))
        .filter(|name| !name.is_empty() && !name.starts_with('-'));
    let unknown: Vec<&str> = shown.filter(|name| socketmaster::cli::options::OPTIONS.iter().all(|opt| opt.name != *name)).collect();
    assert_eq!(unknown, [""; 0]);
}
