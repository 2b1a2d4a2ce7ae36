//! The generated parts of README.md, each between `<!-- generated: NAME -->` and `<!-- end generated -->`.

use socketmaster::config::env_template::PLACEHOLDERS;
use socketmaster::config::help::signal_rows;
use socketmaster::config::listen_uri::SCHEMES;
use socketmaster::config::options::{ARGS_VARIABLE, Kind, OPTIONS};
use socketmaster::config::protocols::PROTOCOLS;
use socketmaster::config::socket_options::QUERY_KEYS;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end generated -->";

/// A generated part: its name in the marker, and its text.
struct Block {
    name: &'static str,
    render: fn() -> String,
}

/// All blocks there are; the README has each of them once.
const BLOCKS: &[Block] = &[
    Block { name: "options", render: options },
    Block { name: "listeners", render: listeners },
    Block { name: "signals", render: signals },
    Block { name: "environment", render: environment },
];

/// The README with its generated blocks as the tables want them. The error says which marker is missing or wrong.
pub fn refresh(readme: &str) -> Result<String, String> {
    let mut fresh = String::new();
    let mut seen = Vec::new();
    let mut rest = readme;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, body) = after.split_once(" -->").ok_or("a marker is not closed with ' -->'")?;
        let block = BLOCKS.iter().find(|block| block.name == name).ok_or_else(|| format!("unknown block '{}'", name.escape_debug()))?;
        if seen.contains(&name) {
            return Err(format!("block '{name}' is there twice"));
        }
        seen.push(name);
        let (_, behind) = body
            .split_once(END)
            .filter(|(old, _)| !old.contains(BEGIN))
            .ok_or_else(|| format!("block '{name}' has no '{END}' of its own"))?;
        fresh.push_str(&format!("{before}{BEGIN}{name} -->\n\n{}\n{END}", (block.render)()));
        rest = behind;
    }
    fresh.push_str(rest);
    match BLOCKS.iter().find(|block| !seen.contains(&block.name)) {
        Some(block) => Err(format!("no block '{}'", block.name)),
        None => Ok(fresh),
    }
}

fn options() -> String {
    let rows = OPTIONS.iter().map(|opt| {
        let default = match (opt.default, opt.kind) {
            (Some(default), _) => code(default),
            (None, Kind::Switch) => "off".to_owned(),
            (None, Kind::Value(_)) => "-".to_owned(),
        };
        let alias = opt.alias.map_or_else(String::new, |alias| format!(", `-{alias}`"));
        let repeatable = if opt.repeatable { "Repeatable. " } else { "" };
        [format!("{}{alias}", code(&opt.usage())), format!("{repeatable}{}", opt.long), default]
    });
    table(["option", "meaning", "default"], rows)
}

fn listeners() -> String {
    let schemes = SCHEMES.iter().map(|scheme| {
        let forms: Vec<String> = scheme.forms.iter().copied().map(code).collect();
        [forms.join(" or "), scheme.does.to_owned()]
    });
    let keys = QUERY_KEYS.iter().map(|key| [code(&format!("{}={}", key.name, key.value)), key.does.to_owned(), key.goes_with.to_owned()]);
    format!("{}\n{}", table(["listener", "is"], schemes), table(["key behind `?`", "meaning", "goes with"], keys))
}

fn signals() -> String {
    table(["signal", "does"], signal_rows().into_iter().map(|(signals, does)| [signals, does.to_owned()]))
}

fn environment() -> String {
    let own = OPTIONS.iter().filter_map(|opt| {
        let words = if opt.repeatable { "words, each a value of " } else { "" };
        opt.variable().map(|variable| [code(&variable), format!("{words}{}", code(&format!("-{}", opt.name)))])
    });
    let args = [code(ARGS_VARIABLE), "the program's arguments, as words, where the command line has none".to_owned()];
    let protocols = PROTOCOLS.iter().map(|protocol| [code(protocol.name), protocol.variables.to_owned()]);
    let placeholders = PLACEHOLDERS.iter().map(|(placeholder, does)| {
        let words: Vec<String> = placeholder.split(' ').map(code).collect();
        [words.join(" "), (*does).to_owned()]
    });
    format!(
        "{}\n{}\n{}",
        table(["variable for socketmaster", "stands for"], own.chain([args])),
        table(["protocol", "variables for workers"], protocols),
        table(["in the template of `-env`", "becomes"], placeholders),
    )
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale() -> String {
        BLOCKS
            .iter()
            .map(|Block { name, .. }| format!("Before {name}.\n<!-- generated: {name} -->OUTDATED<!-- end generated -->\nAfter.\n"))
            .collect()
    }

    #[test]
    fn every_block_is_written_anew_and_nothing_else_is_touched() {
        let fresh = refresh(&stale()).unwrap();
        assert!(!fresh.contains("OUTDATED"));
        for Block { name, render } in BLOCKS {
            assert!(fresh.contains(&format!("Before {name}.\n<!-- generated: {name} -->\n\n{}\n{END}\nAfter.\n", render())), "{name}");
        }
    }

    #[test]
    fn a_fresh_readme_stays_as_it_is() {
        let fresh = refresh(&stale()).unwrap();
        assert_eq!(refresh(&fresh), Ok(fresh.clone()));
    }

    #[test]
    fn a_wrong_marker_is_told() {
        for (readme, error) in [
            (String::new(), "no block 'options'"),
            (stale().replace("generated: signals", "generated: singals"), "unknown block 'singals'"),
            (stale().replacen(END, "", 1), "block 'options' has no '<!-- end generated -->' of its own"),
            (stale() + "<!-- generated: options -->", "block 'options' is there twice"),
            (stale().replace(END, ""), "block 'options' has no '<!-- end generated -->' of its own"),
            ("<!-- generated: options".to_owned(), "a marker is not closed with ' -->'"),
        ] {
            assert_eq!(refresh(&readme), Err(error.to_owned()));
        }
    }

    #[test]
    fn the_tables_hold_every_row() {
        for opt in OPTIONS {
            assert!(options().contains(&format!("| `{}`", opt.usage())), "{}", opt.name);
            assert!(opt.variable().is_none_or(|variable| environment().contains(&format!("| `{variable}` |"))), "{}", opt.name);
        }
        assert!(environment().contains(ARGS_VARIABLE) && environment().contains("`server-starter`") && environment().contains("`{fds,}`"));
        assert!(listeners().contains("| `unix:///PATH` or `unix://@NAME` |") && listeners().contains("| `backlog=N` |"));
        assert!(signals().contains("| INT, QUIT |") && signals().contains("| all others |"));
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_head() {
        for Block { name, render } in BLOCKS {
            for block in render().split("\n\n") {
                let cells: Vec<usize> = block.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
                assert!(cells.len() > 2 && cells.iter().all(|count| *count == cells[0]), "{name}: {block}");
            }
        }
    }
}
