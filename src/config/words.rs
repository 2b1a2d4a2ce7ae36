//! Text of a variable -> words, as systemd splits the command line of `ExecStart=`, systemd.service(5), except that
//! nothing is expanded: neither `$VARIABLE`, nor `%`-specifiers, nor `;`.
//!
//! White space separates words. Single and double quotes keep it together; they may stand anywhere in a word, and both
//! allow the same escapes behind a backslash: those of C, and `\s` for a space. A backslash before anything else stands
//! for itself, as systemd has it: a regular expression needs no second backslash.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The words of `text`; the error is the cause. Bytes that are not UTF-8 pass unchanged.
pub fn split(text: &OsStr) -> Result<Vec<OsString>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match (byte, quote) {
            (b'\\', _) => {
                let (bytes, behind) = escape(rest);
                word.get_or_insert_default().extend(bytes);
                rest = behind;
            }
            (_, Some(open)) if byte == open => quote = None,
            (b'\'' | b'"', None) => {
                // Quotes around nothing are an empty word.
                word.get_or_insert_default();
                quote = Some(byte);
            }
            (b' ' | b'\t' | b'\n' | b'\r', None) => words.extend(word.take().map(OsString::from_vec)),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if let Some(open) = quote {
        return Err(format!("the quote {} is not closed", char::from(open)));
    }
    words.extend(word.map(OsString::from_vec));
    Ok(words)
}

/// The bytes that an escape stands for, and the text after it. An escape of NUL is not one, since no word can hold a NUL.
fn escape(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some((&letter, behind)) = text.split_first() else { return (vec![b'\\'], text) };
    let plain = match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b's' => b' ',
        b'\\' | b'"' | b'\'' => letter,
        _ => return numeric(letter, text, behind).unwrap_or_else(|| (vec![b'\\', letter], behind)),
    };
    (vec![plain], behind)
}

/// `xHH` and three octal digits are a byte, `uHHHH` and `UHHHHHHHH` a character.
fn numeric<'a>(letter: u8, text: &'a [u8], behind: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let (digits, length, radix) = match letter {
        b'x' => (behind, 2, 16),
        b'u' => (behind, 4, 16),
        b'U' => (behind, 8, 16),
        b'0'..=b'7' => (text, 3, 8),
        _ => return None,
    };
    let (digits, behind) = digits.split_at_checked(length)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let number = u32::from_str_radix(digits, radix).ok().filter(|number| *number != 0)?;
    let bytes = match letter {
        b'u' | b'U' => char::from_u32(number)?.to_string().into_bytes(),
        _ => vec![u8::try_from(number).ok()?],
    };
    Some((bytes, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let words = split(OsStr::new(text)).unwrap_or_else(|cause| panic!("{text}: {cause}"));
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn white_space_separates_and_quotes_keep_together() {
        for (text, expected) in [
            ("", &[][..]),
            (" \t\r\n", &[]),
            (" -a  b\n", &["-a", "b"]),
            ("-g 'daemon off;'", &["-g", "daemon off;"]),
            ("-g \"daemon off;\"", &["-g", "daemon off;"]),
            ("'' a \"\"", &["", "a", ""]),
            ("--name='a b'c\"d e\"", &["--name=a bcd e"]),
            ("\"it's\" 'say \"x\"'", &["it's", "say \"x\""]),
            ("a 'b\tc\nd'", &["a", "b\tc\nd"]),
            ("caf\u{e9} '\u{1f600} x'", &["caf\u{e9}", "\u{1f600} x"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn escapes_are_those_of_systemd_with_and_without_quotes() {
        for (text, expected) in [
            (r"\n\t\r\a\b\f\v\s\\", "\n\t\r\x07\x08\x0c\x0b \\"),
            (r"\x41\102\u00e9\U0001f600", "AB\u{e9}\u{1f600}"),
            (r#"\"\'"#, "\"'"),
            (r"a\sb", "a b"),
            (r"C:\x5cdir", "C:\\dir"),
        ] {
            assert_eq!(words(text), [expected], "{text}");
            for quote in ['\'', '"'] {
                assert_eq!(words(&format!("{quote}{text}{quote}")), [expected], "{quote}{text}{quote}");
            }
        }
        assert_eq!(split(OsStr::new(r"\xff\377")), Ok(vec![OsString::from_vec(vec![0xff, 0xff])]));
    }

    #[test]
    fn a_backslash_before_anything_else_stands_for_itself() {
        for (text, expected) in [
            (r"^\d+\.js$", r"^\d+\.js$"),
            (r"a\", r"a\"),
            (r"\x0", r"\x0"),
            (r"\x00\000", r"\x00\000"),
            (r"\777", r"\777"),
            (r"\08", r"\08"),
            (r"\ud800", r"\ud800"),
            (r"\u+123", r"\u+123"),
            ("\\\u{e9}", "\\\u{e9}"),
        ] {
            assert_eq!(words(text), [expected], "{text}");
        }
        assert_eq!(words(r"a\ b"), [r"a\ b"], "systemd keeps such a space, too");
    }

    #[test]
    fn nothing_is_expanded() {
        assert_eq!(words("$HOME ${A} %i ; a;b # c `x` *"), ["$HOME", "${A}", "%i", ";", "a;b", "#", "c", "`x`", "*"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_refused() {
        for (text, quote) in [("'", '\''), ("a 'b", '\''), ("\"a", '"'), ("\"it's", '"'), (r"'a\'", '\'')] {
            assert_eq!(split(OsStr::new(text)), Err(format!("the quote {quote} is not closed")), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        let odd = OsString::from_vec(b"\xff '\xfe \xfd'".to_vec());
        let expected = [&b"\xff"[..], b"\xfe \xfd"].map(|word| OsString::from_vec(word.to_vec()));
        assert_eq!(split(&odd), Ok(expected.to_vec()));
    }
}
