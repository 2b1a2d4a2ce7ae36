//! Pieces of a manual page in the macros of man(7). Texts come as in the tables: words between backticks are typed, all else
//! is prose. The page turns hyphenation off.

/// No source line is longer, unless one word is.
const WIDTH: usize = 78;

/// A label and what it is; the label is in roff already.
pub fn item(label: &str, text: &str) -> String {
    format!(".TP\n{}\n{}", guarded(label), filled(&marked(text)))
}

/// A further paragraph of an item.
pub fn more(text: &str) -> String {
    format!(".IP\n{}", filled(&marked(text)))
}

/// A line ends with a sentence, or where it would become too long.
fn filled(roff: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in roff.split(' ') {
        if !line.is_empty() && (line.len() + 1 + word.len() > WIDTH || ends_sentence(&line)) {
            text.push_str(&format!("{}\n", guarded(&line)));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + &guarded(&line) + "\n"
}

fn ends_sentence(line: &str) -> bool {
    line.trim_end_matches(')').ends_with(['.', ':', '!', '?'])
}

/// A line that begins with a dot or an apostrophe would be a request.
pub fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Prose with typed words in it. A word that begins with a dash is typed as well, backticks or not.
fn marked(text: &str) -> String {
    let mut roff = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            roff.push_str(&bold(part));
            continue;
        }
        for (number, word) in part.split(' ').enumerate() {
            if number > 0 {
                roff.push(' ');
            }
            let typed = word.trim_start_matches(['(', '[']).starts_with('-');
            roff.push_str(&if typed { literal(word) } else { word.replace('\\', "\\(rs") });
        }
    }
    roff
}

/// What is typed as it is.
pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", literal(text))
}

/// What is typed with placeholders in it, which are its words in upper case.
pub fn form(text: &str) -> String {
    let mut roff = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let upper = |c: char| c.is_ascii_uppercase();
        let end = rest.find(|c| upper(c) != upper(first)).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(end);
        roff.push_str(&format!("\\f{}{}", if upper(first) { 'I' } else { 'B' }, literal(part)));
        rest = behind;
    }
    roff + "\\fR"
}

/// Every character as it is in ASCII: a typesetter has other dashes and quotes.
fn literal(text: &str) -> String {
    let mut roff = String::new();
    for c in text.chars() {
        match c {
            '\\' => roff.push_str("\\(rs"),
            '-' => roff.push_str("\\-"),
            '\'' => roff.push_str("\\(aq"),
            '`' => roff.push_str("\\(ga"),
            '^' => roff.push_str("\\(ha"),
            '~' => roff.push_str("\\(ti"),
            plain => roff.push(plain),
        }
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_told_from_prose() {
        assert_eq!(marked("a hand-over, `php-fpm -x='~'`, don't"), "a hand-over, \\fBphp\\-fpm \\-x=\\(aq\\(ti\\(aq\\fR, don't");
        assert_eq!(marked("with -stop-signal (-ok) a\\b"), "with \\-stop\\-signal (\\-ok) a\\(rsb");
    }

    #[test]
    fn no_text_becomes_a_request() {
        assert_eq!(item(".a", ".hidden"), ".TP\n\\&.a\n\\&.hidden\n");
        assert_eq!(filled("A. .b 'c'"), "A.\n\\&.b 'c'\n");
    }

    #[test]
    fn placeholders_are_set_apart() {
        assert_eq!(form("-listen=URI"), "\\fB\\-listen=\\fIURI\\fR");
        assert_eq!(form("unix://@NAME"), "\\fBunix://@\\fINAME\\fR");
        assert_eq!(form(""), "\\fR");
    }

    #[test]
    fn a_line_is_a_sentence_at_most_and_not_too_long() {
        assert_eq!(filled("One. Two (three.) Four: five"), "One.\nTwo (three.)\nFour:\nfive\n");
        let text = filled("word ".repeat(100).trim_end());
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }
}
