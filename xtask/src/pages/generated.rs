//! Pages of which parts are generated: each part stands between two marks, and all around them is written by hand.

use super::man;
use super::markdown;

/// A generated part: its name in the mark, and its text.
pub struct Part {
    pub name: &'static str,
    pub render: fn() -> String,
}

/// How marks are written in a format, as its comments. The name of the part stands between `begin` and `close`.
struct Marks {
    begin: &'static str,
    close: &'static str,
    /// Between a mark and the part.
    space: &'static str,
    end: &'static str,
}

const MARKDOWN: Marks = Marks { begin: "<!-- generated: ", close: " -->\n", space: "\n", end: "<!-- end generated -->" };
const ROFF: Marks = Marks { begin: ".\\\" generated: ", close: "\n", space: "", end: ".\\\" end generated" };

/// A page, and its generated parts: each of them is there once.
pub struct Page {
    /// In the repository.
    pub path: &'static str,
    marks: &'static Marks,
    pub parts: &'static [Part],
}

/// All pages with generated parts.
pub const PAGES: &[Page] = &[
    Page { path: "docs/socketmaster.1", marks: &ROFF, parts: man::PARTS },
    Page {
        path: "docs/options.md",
        marks: &MARKDOWN,
        parts: &[
            Part { name: "options", render: markdown::options },
            Part { name: "variables", render: markdown::variables },
            Part { name: "exit statuses", render: markdown::exit_statuses },
        ],
    },
    Page {
        path: "docs/listeners.md",
        marks: &MARKDOWN,
        parts: &[
            Part { name: "listeners", render: markdown::listeners },
            Part { name: "socket options", render: markdown::socket_options },
            Part { name: "protocols", render: markdown::protocols },
            Part { name: "placeholders", render: markdown::placeholders },
        ],
    },
    Page { path: "docs/signals.md", marks: &MARKDOWN, parts: &[Part { name: "signals", render: markdown::signals }] },
    Page { path: "docs/readiness-and-reload.md", marks: &MARKDOWN, parts: &[Part { name: "requests", render: markdown::requests }] },
];

impl Page {
    /// The page with its parts as the tables want them. The error says which mark is missing or wrong.
    pub fn refresh(&self, stale: &str) -> Result<String, String> {
        let Marks { begin, close, space, end } = self.marks;
        let mut fresh = String::new();
        let mut seen = Vec::new();
        let mut rest = stale;
        while let Some((before, after)) = rest.split_once(begin) {
            let (name, body) = after.split_once(close).ok_or("a mark is not closed")?;
            let part = self.parts.iter().find(|part| part.name == name).ok_or_else(|| format!("unknown part {name:?}"))?;
            if seen.contains(&name) {
                return Err(format!("part '{name}' is there twice"));
            }
            seen.push(name);
            let (old, behind) = body.split_once(end).ok_or_else(|| format!("part '{name}' has no end"))?;
            if old.contains(begin) {
                return Err(format!("part '{name}' has no end of its own"));
            }
            fresh.push_str(&format!("{before}{begin}{name}{close}{space}{}{space}{end}", (part.render)()));
            rest = behind;
        }
        fresh.push_str(rest);
        match self.parts.iter().find(|part| !seen.contains(&part.name)) {
            Some(part) => Err(format!("no part '{}'", part.name)),
            None => Ok(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(page: &Page) -> String {
        let Marks { begin, close, end, .. } = page.marks;
        page.parts.iter().map(|Part { name, .. }| format!("Before {name}.\n{begin}{name}{close}OUTDATED\n{end}\nAfter.\n")).collect()
    }

    #[test]
    fn every_part_is_written_anew_and_nothing_else_is_touched() {
        for page in PAGES {
            let fresh = page.refresh(&stale(page)).unwrap();
            assert!(!fresh.contains("OUTDATED"), "{fresh}");
            let Marks { begin, close, space, end } = page.marks;
            for Part { name, render } in page.parts {
                let expected = format!("Before {name}.\n{begin}{name}{close}{space}{}{space}{end}\nAfter.\n", render());
                assert!(fresh.contains(&expected), "{}: {name}", page.path);
            }
            assert_eq!(page.refresh(&fresh), Ok(fresh.clone()), "a fresh page stays as it is");
        }
    }

    #[test]
    fn a_wrong_mark_is_told() {
        let page = PAGES.iter().find(|page| page.path == "docs/options.md").unwrap();
        let end = page.marks.end;
        for (text, error) in [
            (String::new(), "no part 'options'"),
            (stale(page).replace("generated: variables", "generated: varables"), "unknown part \"varables\""),
            (stale(page).replacen(end, "", 1), "part 'options' has no end of its own"),
            (stale(page).replace(end, ""), "part 'options' has no end"),
            (stale(page) + "<!-- generated: options -->\n", "part 'options' is there twice"),
            ("<!-- generated: options".to_owned(), "a mark is not closed"),
        ] {
            assert_eq!(page.refresh(&text), Err(error.to_owned()));
        }
    }
}
