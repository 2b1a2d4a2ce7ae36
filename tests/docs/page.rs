//! A page of documentation, taken apart into what a reader can type: commands, sessions with their output, files.
//!
//! On a Markdown page a block has a language:
//!
//! * `sh`: commands of bash, each of which must succeed.
//! * `console`: lines behind `$ ` or `# ` are typed; the lines below each are what it prints. See `console.rs`.
//! * any language with `file=PATH`: the block is written to that file.
//! * `text` or none: an illustration. Any other language is an error unless the block is skipped, so that none is left out silently.
//!
//! Blocks of a page run in order, in one directory, and share the shell. Directives change that. A directive is a comment on a
//! line before a block, or before a heading, where it holds for the section:
//!
//! * `<!-- test: skip REASON -->`: not run, but counted.
//! * `<!-- test: engine -->`: in a shell of its own in the machine's network, with docker. `app` is a static server, and the container
//!   and the image of this name are removed at the end.
//! * `<!-- test: debian -->`: in a machine with Debian 13, systemd, and the package in the working directory. The package is
//!   installed before, unless a block of the page does it.
//! * `<!-- test: serves PORT -->`: the block runs until it is stopped. It is stopped when PORT accepts connections.
//! * `<!-- test: server NAME KEY=VALUE... version: COMMAND -->`, before a heading: a recipe. See `servers.rs`.
//!
//! In the manual's source, `.EX` and `.EE` enclose a block, which is a session without prompts in the section EXAMPLES and an illustration
//! elsewhere, and `.\" test: ...` is a directive.

use std::fmt::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Shell,
    Console,
    File(String),
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    Skip(String),
    Engine,
    Debian,
    Serves(u16),
    Server(String),
}

impl Directive {
    fn parse(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match (word, rest.trim()) {
            ("skip", "") => Err("skip needs a reason".into()),
            ("skip", reason) => Ok(Self::Skip(reason.into())),
            ("engine", "") => Ok(Self::Engine),
            ("debian", "") => Ok(Self::Debian),
            ("serves", port) => port.parse().map(Self::Serves).map_err(|_| format!("serves needs a port, not {port:?}")),
            ("server", "") => Err("server needs a name".into()),
            ("server", recipe) => Ok(Self::Server(recipe.into())),
            _ => Err(format!("unknown directive {text:?}")),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where its text begins, from 1.
    pub line: usize,
    pub kind: Kind,
    pub text: String,
    /// Its own first, then those of the sections around it.
    pub directives: Vec<Directive>,
}

impl Block {
    pub fn skipped(&self) -> Option<&str> {
        self.directives.iter().find_map(|directive| match directive {
            Directive::Skip(reason) => Some(reason.as_str()),
            _ => None,
        })
    }

    pub fn server(&self) -> Option<&str> {
        self.directives.iter().find_map(|directive| match directive {
            Directive::Server(recipe) => Some(recipe.as_str()),
            _ => None,
        })
    }
}

/// All blocks of a page, by its name: `socketmaster.1`, `conf.README` and Markdown differ.
pub fn blocks(name: &str, text: &str) -> Result<Vec<Block>, String> {
    let found = if name.ends_with(".1") {
        manual(text)
    } else if name.ends_with(".README") || name.ends_with("README.Debian") {
        Ok(indented(text))
    } else {
        markdown(text)
    };
    found.map_err(|(line, why)| format!("{name}:{line}: {why}"))
}

type Wrong = (usize, String);

/// The directives of the sections that a line is in, by the level of their headings.
#[derive(Default)]
struct Scope {
    sections: Vec<(usize, Vec<Directive>)>,
    pending: Vec<(usize, Directive)>,
}

impl Scope {
    fn heading(&mut self, level: usize) {
        self.sections.retain(|(other, _)| *other < level);
        let own = self.pending.drain(..).map(|(_, directive)| directive).collect();
        self.sections.push((level, own));
    }

    fn block(&mut self) -> Vec<Directive> {
        let own = self.pending.drain(..).map(|(_, directive)| directive);
        own.chain(self.sections.iter().rev().flat_map(|(_, directives)| directives.clone())).collect()
    }

    /// Text, or the end: a directive must not stand before it.
    fn other(&self) -> Result<(), Wrong> {
        self.pending.first().map_or(Ok(()), |(line, _)| Err((*line, "this directive is before neither a block nor a heading".into())))
    }
}

fn markdown(text: &str) -> Result<Vec<Block>, Wrong> {
    let mut found = Vec::new();
    let mut scope = Scope::default();
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        if let Some(directive) = bare.strip_prefix("<!-- test:") {
            let directive = directive.trim_end().strip_suffix("-->").ok_or((number, "the comment does not end on its line".to_owned()))?;
            let directive = Directive::parse(directive.trim()).map_err(|why| (number, why))?;
            scope.pending.push((number, directive));
        } else if let Some(info) = bare.strip_prefix("```") {
            let directives = scope.block();
            let skipped = directives.iter().any(|directive| matches!(directive, Directive::Skip(_)));
            let kind = kind(info.trim()).or_else(|why| if skipped { Ok(Kind::Shell) } else { Err((number, why)) })?;
            let mut text = String::new();
            loop {
                let (_, line) = lines.next().ok_or((number, "this block does not end".to_owned()))?;
                if line.trim() == "```" {
                    break;
                }
                let inner = line.char_indices().take_while(|(at, c)| *at < indent && *c == ' ').count();
                let _ = writeln!(text, "{}", &line[inner..]);
            }
            found.push(Block { line: number + 1, kind, text, directives });
        } else if line.starts_with('#') {
            scope.heading(line.chars().take_while(|c| *c == '#').count());
        } else if !bare.is_empty() {
            scope.other()?;
        }
    }
    scope.other()?;
    Ok(found)
}

fn kind(info: &str) -> Result<Kind, String> {
    let words: Vec<&str> = info.split_whitespace().collect();
    match words[..] {
        [] | ["text"] => Ok(Kind::Text),
        ["sh"] => Ok(Kind::Shell),
        ["console"] => Ok(Kind::Console),
        [_, file] => match file.strip_prefix("file=") {
            Some(path) if !path.is_empty() => Ok(Kind::File(path.into())),
            _ => Err(format!("a block of the unknown kind {info:?}")),
        },
        _ => Err(format!("a block of the unknown kind {info:?}: it runs as sh or console, is written with file=PATH, or is text")),
    }
}

fn manual(text: &str) -> Result<Vec<Block>, Wrong> {
    let mut found = Vec::new();
    let mut scope = Scope::default();
    let mut examples = false;
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(directive) = line.strip_prefix(".\\\" test:") {
            scope.pending.push((number, Directive::parse(directive.trim()).map_err(|why| (number, why))?));
        } else if line == ".EX" {
            let mut text = String::new();
            loop {
                let (_, line) = lines.next().ok_or((number, "this block does not end".to_owned()))?;
                if line == ".EE" {
                    break;
                }
                let _ = writeln!(text, "{}", typeset(line));
            }
            let directives = scope.block();
            let kind = match (examples, directives.iter().any(|directive| matches!(directive, Directive::Serves(_)))) {
                (true, true) => Kind::Shell,
                (true, false) => Kind::Console,
                (false, _) => Kind::Text,
            };
            let text = if kind == Kind::Console { prompted(&text) } else { text };
            found.push(Block { line: number + 1, kind, text, directives });
        } else if line.starts_with(".SH") || line.starts_with(".SS") {
            scope.heading(if line.starts_with(".SH") { 1 } else { 2 });
            examples = line == ".SH EXAMPLES" || (examples && line.starts_with(".SS"));
        } else if !line.starts_with('.') {
            scope.other()?;
        }
    }
    scope.other()?;
    Ok(found)
}

/// With a prompt before each command.
fn prompted(text: &str) -> String {
    let mut goes_on = false;
    let line = |line: &str| {
        let prompt = if goes_on { "" } else { "$ " };
        goes_on = line.ends_with('\\');
        format!("{prompt}{line}\n")
    };
    text.lines().map(line).collect()
}

/// What the formatter makes of a line of an example.
fn typeset(line: &str) -> String {
    let line = line.strip_prefix("\\&").unwrap_or(line);
    let plain = ["\\fB", "\\fI", "\\fR", "\\fP"].iter().fold(line.to_owned(), |line, font| line.replace(font, ""));
    plain.replace("\\-", "-").replace("\\(aq", "'").replace("\\(dq", "\"").replace("\\(ti", "~").replace("\\(ha", "^").replace("\\e", "\\")
}

/// A plain text with commands four blanks in, as the files below /usr/share/doc have them. Behind two blanks or more a remark follows.
/// They are for a machine with the package.
fn indented(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        let Some(command) = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ') && !rest.is_empty()) else { continue };
        let command = command.split("   ").next().unwrap_or(command).trim_end();
        match found.last_mut() {
            Some(block) if last == index => {
                let _ = writeln!(block.text, "{command}");
            }
            _ => {
                let (kind, directives) = kind_of_indented(command);
                found.push(Block { line: index + 1, kind, text: format!("{command}\n"), directives });
            }
        }
        last = index + 1;
    }
    found
}

/// By the first line: a section or a setting of a file illustrates.
fn kind_of_indented(line: &str) -> (Kind, Vec<Directive>) {
    let setting = line.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphabetic() || c == '_'));
    if setting || line.starts_with('[') {
        return (Kind::Text, Vec::new());
    }
    let terminal = line.starts_with("systemctl edit").then(|| Directive::Skip("systemctl edit needs a terminal".into()));
    (Kind::Shell, terminal.into_iter().chain([Directive::Debian]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Block>, String> {
        blocks("page.md", text)
    }

    #[test]
    fn a_page_has_commands_consoles_files_and_illustrations() {
        let page = "# Page\n\n```sh\ntrue\n```\n\n```console\n$ echo a\na\n```\n\n```python file=app.py\nprint()\n```\n\n```\nart\n```\n\n```text\nmore\n```\n";
        let found: Vec<(usize, Kind, String)> = of(page).unwrap().into_iter().map(|block| (block.line, block.kind, block.text)).collect();
        let wanted = [
            (4, Kind::Shell, "true\n"),
            (8, Kind::Console, "$ echo a\na\n"),
            (13, Kind::File("app.py".into()), "print()\n"),
            (17, Kind::Text, "art\n"),
            (21, Kind::Text, "more\n"),
        ];
        assert_eq!(found, wanted.map(|(line, kind, text)| (line, kind, text.to_owned())));
    }

    #[test]
    fn a_block_of_an_unknown_kind_is_an_error_that_names_its_line() {
        for (info, word) in
            [("dockerfile", "unknown kind"), ("python app.py", "unknown kind"), ("sh file=", "unknown kind"), ("shell", "unknown kind")]
        {
            let why = of(&format!("text\n\n```{info}\nx\n```\n")).unwrap_err();
            assert!(why.starts_with("page.md:3: ") && why.contains(word), "{info}: {why}");
        }
        assert!(of("```sh\ntrue\n").unwrap_err().contains("does not end"));
    }

    #[test]
    fn a_directive_holds_for_its_block_or_for_its_section() {
        let page = "<!-- test: skip because -->\n```sh\na\n```\n```sh\nb\n```\n<!-- test: engine -->\n## Section\n```sh\nc\n```\n### Deeper\n```sh\nd\n```\n## Next\n```sh\ne\n```\n";
        let found = of(page).unwrap();
        let directives: Vec<&[Directive]> = found.iter().map(|block| &block.directives[..]).collect();
        assert_eq!(directives, [&[Directive::Skip("because".into())][..], &[], &[Directive::Engine], &[Directive::Engine], &[]]);
        assert_eq!(found[0].skipped(), Some("because"));
    }

    #[test]
    fn a_directive_that_says_nothing_or_stands_nowhere_is_an_error() {
        for page in [
            "<!-- test: skip -->\n```sh\n```\n",
            "<!-- test: sometimes -->\n```sh\n```\n",
            "<!-- test: engine -->\ntext\n",
            "<!-- test: engine -->\n",
        ] {
            assert!(of(page).unwrap_err().starts_with("page.md:1: "), "{page}");
        }
    }

    #[test]
    fn a_block_in_a_list_loses_the_indentation_of_its_fence() {
        assert_eq!(of("* item\n\n  ```sh\n  if true; then\n    true\n  fi\n  ```\n").unwrap()[0].text, "if true; then\n  true\nfi\n");
    }

    #[test]
    fn the_manual_s_examples_are_read_as_they_are_typeset() {
        let page = ".EX\nA=1\n.EE\n.SH EXAMPLES\n.EX\nsocketmaster \\-start=0 \\e\n  \\-\\- echo \\(aqa\\(aq &\nb\n.EE\nText\n.\\\" test: serves 80\n.EX\nb\n.EE\n";
        let found = blocks("a.1", page).unwrap();
        assert_eq!(found[0].kind, Kind::Text);
        let typed = "$ socketmaster -start=0 \\\n  -- echo 'a' &\n$ b\n";
        assert_eq!((&found[1].kind, &found[1].text[..], found[1].line), (&Kind::Console, typed, 6));
        assert_eq!((&found[2].kind, &found[2].directives[..]), (&Kind::Shell, &[Directive::Serves(80)][..]));
    }

    #[test]
    fn a_plain_text_has_its_commands_four_blanks_in() {
        let found = blocks("conf.README", "Text\n\n    install a b\n    systemctl reload x       a new release\n\nMore\n").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, &found[0].text[..]), (3, "install a b\nsystemctl reload x\n"));
        assert_eq!(found[0].directives, [Directive::Debian]);
        let found = blocks("README.Debian", "Text\n\n    systemctl edit a\n\n    [Service]\n    A=b\n\n    A_B=c\n").unwrap();
        assert_eq!(found.iter().map(|block| &block.kind).collect::<Vec<_>>(), [&Kind::Shell, &Kind::Text, &Kind::Text]);
        assert!(found[0].skipped().is_some());
    }

    fn source(path: &str) -> String {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
    }

    #[test]
    fn every_page_can_be_taken_apart() {
        let pages = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).expect("docs");
        let names = pages.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| name.ends_with(".md") || name.ends_with(".1")).map(|name| format!("docs/{name}"));
        let others = ["README.md", "debian/conf.README", "debian/README.Debian"].map(String::from);
        for name in names.chain(others) {
            blocks(&name, &source(&name)).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// Whether all words of a line are in the other one, in the same order.
    fn is_part_of(line: &str, other: &str) -> bool {
        let mut words = other.split_whitespace();
        line.split_whitespace().all(|word| words.any(|other| other == word))
    }

    #[test]
    fn the_line_for_each_server_in_a_table_is_part_of_one_that_runs() {
        let page = source("docs/servers.md");
        let found = blocks("docs/servers.md", &page).unwrap();
        let lines = found.iter().filter(|block| block.kind == Kind::Shell && block.server().is_some());
        let lines: Vec<&str> = lines.map(|block| block.text.trim()).filter(|line| line.starts_with("socketmaster ")).collect();
        for text in [&page, &source("README.md")] {
            let rows: Vec<Vec<&str>> = text
                .lines()
                .skip_while(|line| !line.starts_with("| server | options"))
                .skip(2)
                .take_while(|line| line.starts_with('|'))
                .map(|line| line.split('|').map(str::trim).collect())
                .collect();
            assert_eq!(rows.len(), 12);
            for row in rows {
                let program = row[3].strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or_default();
                let line = format!("socketmaster {} -- {program}", row[2].trim_matches('`'));
                assert!(lines.iter().any(|other| is_part_of(&line, other)), "{line}");
            }
        }
        assert!(!is_part_of("a c b", "a b c d"));
    }
}
