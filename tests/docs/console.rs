//! A console block: what is typed and what is to be printed.
//!
//! A line of `...` stands for any lines, `...` within a line for any text. Numbers stand for any numbers, and blanks for any
//! blanks. Lines of a master's log that the page does not show may stand between the others.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Counted from the block's first.
    pub line: usize,
    pub command: String,
    pub expected: Vec<String>,
}

/// The commands of a block. A line that ends in a backslash goes on in the next one.
pub fn typed(block: &str) -> Result<Vec<Typed>, String> {
    let mut found: Vec<Typed> = Vec::new();
    let mut goes_on = false;
    for (line, text) in block.lines().enumerate() {
        let last = found.last_mut();
        if let Some(command) = text.strip_prefix("$ ").or_else(|| text.strip_prefix("# ")).filter(|_| !goes_on) {
            found.push(Typed { line, command: command.into(), expected: Vec::new() });
        } else if let Some(last) = last {
            if goes_on {
                last.command = format!("{}\n{}", last.command, text.strip_prefix("> ").unwrap_or(text));
            } else if !text.trim().is_empty() {
                last.expected.push(text.into());
            }
        } else if !text.trim().is_empty() {
            return Err(format!("a console block begins with a prompt, not with {text:?}"));
        }
        goes_on = found.last().is_some_and(|typed| typed.expected.is_empty() && typed.command.ends_with('\\'));
    }
    Ok(found)
}

/// Whether a command is left in the background.
pub fn in_background(command: &str) -> bool {
    let code = command.split(" #").next().unwrap_or(command).trim_end();
    code.ends_with('&') && !code.ends_with("&&")
}

pub fn matches(expected: &[String], printed: &str) -> bool {
    let printed: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    lines_match(&expected, &printed)
}

fn lines_match(expected: &[&str], printed: &[&str]) -> bool {
    match (expected, printed) {
        ([], rest) => rest.iter().all(|line| is_log(line)),
        (["..."], _) => true,
        ([first, more @ ..], _) if first.trim() == "..." => (0..=printed.len()).any(|skipped| lines_match(more, &printed[skipped..])),
        (_, []) => false,
        ([first, more @ ..], [line, rest @ ..]) => {
            (line_matches(first, line) && lines_match(more, rest)) || (is_log(line) && lines_match(expected, rest))
        }
    }
}

fn is_log(line: &str) -> bool {
    line.strip_prefix("socketmaster[").and_then(|rest| rest.split_once("]: ")).is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let (expected, printed) = (general(expected), general(printed));
    let parts: Vec<&str> = expected.split("...").collect();
    let [first, middle @ .., last] = &parts[..] else { return expected == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Numbers, with or without a point, as `0`, and blanks as one.
fn general(line: &str) -> String {
    let mut words = String::new();
    let mut characters = line.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect::<Vec<char>>().into_iter().peekable();
    while let Some(c) = characters.next() {
        words.push(if c.is_ascii_digit() { '0' } else { c });
        if c.is_ascii_digit() {
            let mut ahead = characters.clone();
            while let Some(next) = ahead.next() {
                let decimal = next == '.' && ahead.peek().is_some_and(char::is_ascii_digit);
                if !next.is_ascii_digit() && !decimal {
                    break;
                }
                characters.next();
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(expected: &str, printed: &str) -> bool {
        matches(&expected.lines().map(String::from).collect::<Vec<_>>(), printed)
    }

    #[test]
    fn a_console_has_commands_and_what_they_print() {
        let found = typed("$ a \\\n  b\nout\n\n# c\n$ d\n").unwrap();
        let wanted = [(0, "a \\\n  b", &["out"][..]), (4, "c", &[]), (5, "d", &[])];
        let found: Vec<(usize, &str, Vec<&str>)> =
            found.iter().map(|typed| (typed.line, &typed.command[..], typed.expected.iter().map(String::as_str).collect())).collect();
        assert_eq!(found, wanted.map(|(line, command, expected)| (line, command, expected.to_vec())));
        assert!(typed("out\n$ a\n").is_err());
    }

    #[test]
    fn numbers_and_blanks_match_any_and_words_only_themselves() {
        assert!(fits("generation 3 serves after 3.00 s (pid 812)", "generation 2 serves after 0.4 s (pid 9)\n"));
        assert!(fits("  1 h 3 min", "1 h 59   min"));
        assert!(!fits("generation 3 serves", "generation 3 fails"));
        assert!(!fits("a", ""));
        assert!(!fits("a", "a\nb"));
    }

    #[test]
    fn dots_stand_for_any_text_or_any_lines() {
        assert!(fits("a ... c", "a b b c"));
        assert!(fits("...", ""));
        assert!(fits("a\n...\nd", "a\nb\nc\nd"));
        assert!(!fits("a ... c", "a b"));
        assert!(!fits("a\n...\nd", "a\nb"));
    }

    #[test]
    fn the_log_of_a_master_may_stand_between() {
        assert!(fits("a\nb", "socketmaster[7]: x\na\nsocketmaster[7]: y\nb\nsocketmaster[7]: z"));
        assert!(fits("socketmaster[1]: y", "socketmaster[7]: x\nsocketmaster[7]: y"));
        assert!(!fits("socketmaster[1]: y", "socketmaster[7]: x"));
        assert!(!fits("a", "a\nsocketmaster: b"));
    }

    #[test]
    fn a_command_in_the_background_is_known_by_its_end() {
        assert!(in_background("socketmaster -- a &"));
        assert!(in_background("socketmaster -- a &   # remark"));
        assert!(!in_background("a && b"));
    }
}
