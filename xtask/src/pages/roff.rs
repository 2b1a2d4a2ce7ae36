//! A manual page in the macros of man(7), built from the top. Texts come as in the tables: words between backticks are
//! typed, all else is prose.

/// No source line is longer, unless one word is.
const WIDTH: usize = 78;

pub struct Roff(String);

impl Roff {
    /// With the page's name, section and date, and what stands below it on the left and above it in the middle.
    /// Typed words are never broken, and so lines cannot well be of one length.
    pub fn new(name: &str, section: u8, date: &str, source: &str, manual: &str) -> Roff {
        Roff(format!(".TH {name} {section} {date} \"{source}\" \"{manual}\"\n.ad l\n"))
    }

    pub fn comment(&mut self, text: &str) {
        self.0.push_str(&format!(".\\\" {text}\n"));
    }

    pub fn section(&mut self, title: &str) {
        self.0.push_str(&format!(".SH {title}\n"));
    }

    pub fn subsection(&mut self, title: &str) {
        self.0.push_str(&format!(".SS {title}\n"));
    }

    /// The first below a heading needs no space above it.
    pub fn paragraph(&mut self, text: &str) {
        if !self.below_heading() {
            self.0.push_str(".PP\n");
        }
        self.fill(&marked(text));
    }

    /// A label and what it is; the label is in roff already.
    pub fn tagged(&mut self, label: &str, text: &str) {
        self.0.push_str(&format!(".TP\n{}\n", guarded(label)));
        self.fill(&marked(text));
    }

    /// A further paragraph of the one that [`Roff::tagged`] has begun; in roff already.
    pub fn facts(&mut self, facts: &str) {
        self.0.push_str(".IP\n");
        self.fill(facts);
    }

    /// A line that is broken from the one before.
    pub fn line(&mut self, roff: &str) {
        if !self.below_heading() {
            self.0.push_str(".br\n");
        }
        self.0.push_str(&format!("{}\n", guarded(roff)));
    }

    /// Lines as they are typed.
    pub fn example(&mut self, text: &str) {
        self.0.push_str(".PP\n.RS 4\n.EX\n");
        for line in text.lines() {
            self.0.push_str(&format!("{}\n", guarded(&literal(line))));
        }
        self.0.push_str(".EE\n.RE\n");
    }

    pub fn end(self) -> String {
        self.0
    }

    fn below_heading(&self) -> bool {
        self.0.lines().last().is_some_and(|line| line.starts_with(".SH ") || line.starts_with(".SS "))
    }

    /// A line ends with a sentence, or where it would become too long.
    fn fill(&mut self, roff: &str) {
        let mut line = String::new();
        for word in roff.split(' ') {
            if !line.is_empty() && (line.len() + 1 + word.len() > WIDTH || ends_sentence(&line)) {
                self.0.push_str(&format!("{}\n", guarded(&line)));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.0.push_str(&format!("{}\n", guarded(&line)));
    }
}

fn ends_sentence(line: &str) -> bool {
    line.trim_end_matches(')').ends_with(['.', ':', '!', '?'])
}

/// A line that begins with a dot or an apostrophe would be a request.
fn guarded(line: &str) -> String {
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
            if word.trim_start_matches(['(', '[']).starts_with('-') {
                roff.push_str(&whole(word));
            } else {
                // The names of variables and of C.
                let unbroken = if word.contains('_') { UNBROKEN } else { "" };
                roff.push_str(&format!("{unbroken}{}", word.replace('\\', "\\(rs")));
            }
        }
    }
    roff
}

/// What is typed as it is.
pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", text.split(' ').map(whole).collect::<Vec<_>>().join(" "))
}

/// What is typed with placeholders in it, which are its words in upper case.
pub fn form(text: &str) -> String {
    let mut roff = UNBROKEN.to_owned();
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

/// Before a word: it is not hyphenated.
const UNBROKEN: &str = "\\%";

fn whole(word: &str) -> String {
    format!("{UNBROKEN}{}", literal(word))
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

    fn filled(text: &str) -> String {
        let mut page = Roff(String::new());
        page.fill(&marked(text));
        page.0
    }

    #[test]
    fn what_is_typed_is_told_from_prose() {
        assert_eq!(filled("a hand-over, `php-fpm -x='~'`, don't"), "a hand-over, \\fB\\%php\\-fpm \\%\\-x=\\(aq\\(ti\\(aq\\fR, don't\n");
        assert_eq!(filled("with -stop-signal (-ok) a\\b"), "with \\%\\-stop\\-signal \\%(\\-ok) a\\(rsb\n");
    }

    #[test]
    fn no_text_becomes_a_request() {
        assert_eq!(filled(".hidden"), "\\&.hidden\n");
        assert_eq!(filled("A. .b 'c'"), "A.\n\\&.b 'c'\n");
        let mut page = Roff(String::new());
        page.example(".a\n'b'\nc");
        assert_eq!(page.0, ".PP\n.RS 4\n.EX\n\\&.a\n\\(aqb\\(aq\nc\n.EE\n.RE\n");
    }

    #[test]
    fn placeholders_are_set_apart() {
        assert_eq!(form("-listen=URI"), "\\%\\fB\\-listen=\\fIURI\\fR");
        assert_eq!(form("unix://@NAME"), "\\%\\fBunix://@\\fINAME\\fR");
        assert_eq!(form(""), "\\%\\fR");
    }

    #[test]
    fn a_line_is_a_sentence_at_most_and_not_too_long() {
        assert_eq!(filled("One. Two (three.) Four: five"), "One.\nTwo (three.)\nFour:\nfive\n");
        let text = filled("word ".repeat(100).trim_end());
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn a_paragraph_below_a_heading_stands_close() {
        let mut page = Roff::new("X", 1, "2000-01-01", "x 1", "Manual");
        page.section("NAME");
        page.paragraph("a");
        page.paragraph("b");
        assert_eq!(page.end(), ".TH X 1 2000-01-01 \"x 1\" \"Manual\"\n.ad l\n.SH NAME\na\n.PP\nb\n");
    }
}
