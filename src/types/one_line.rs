//! Text that stays on its line: what comes from outside is printed without control characters.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Text without control characters. A terminal or a log shows it on one line and obeys nothing in it.
///
/// Control characters become escapes such as `\n` and `\u{1b}`; bytes that are not UTF-8 become U+FFFD.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct OneLine(String);

/// Whether a terminal, a log or a viewer might obey this character instead of showing it.
pub fn breaks_a_line(c: char) -> bool {
    // The separators of lines and paragraphs break a line for some viewers, and the marks of direction reorder it.
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl OneLine {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From bytes of any kind: a path, an argument, another program's answer.
    pub fn from_bytes(bytes: &[u8]) -> OneLine {
        OneLine::from(String::from_utf8_lossy(bytes).as_ref())
    }
}

impl From<&str> for OneLine {
    fn from(text: &str) -> OneLine {
        let mut line = String::with_capacity(text.len());
        for c in text.chars() {
            if breaks_a_line(c) {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        OneLine(line)
    }
}

impl From<String> for OneLine {
    fn from(text: String) -> OneLine {
        OneLine::from(text.as_str())
    }
}

impl From<&OsStr> for OneLine {
    fn from(text: &OsStr) -> OneLine {
        OneLine::from_bytes(text.as_bytes())
    }
}

impl From<&Path> for OneLine {
    fn from(path: &Path) -> OneLine {
        OneLine::from(path.as_os_str())
    }
}

impl fmt::Display for OneLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(OneLine::from("a\nb\r\u{1b}[2J\u{7f}\u{9b}").as_str(), "a\\nb\\r\\u{1b}[2J\\u{7f}\\u{9b}");
        assert_eq!(OneLine::from("\u{202e}gpj.exe\u{2028}").as_str(), "\\u{202e}gpj.exe\\u{2028}");
        assert_eq!(OneLine::from_bytes(b"\xff\0").as_str(), "\u{fffd}\\u{0}");
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        assert_eq!(OneLine::from("/srv/caf\u{e9} 1/\u{1f600}\\n").as_str(), "/srv/caf\u{e9} 1/\u{1f600}\\n");
    }
}
