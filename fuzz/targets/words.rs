//! The words of a variable: none is lost, and where they can be quoted every word can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster_fuzz::adapter::{WORDS_ARE_QUOTED, words};
use socketmaster_fuzz::parts;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

fuzz_target!(|data: &[u8]| {
    let texts = parts(data);
    for text in &texts {
        let Ok(words) = words(text) else { continue };
        assert!(words.iter().all(|word| !word.as_bytes().contains(&0)));
        if !text.as_bytes().iter().any(|byte| b"\"'\\\x0c".contains(byte)) {
            let plain: Vec<&[u8]> = text.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
            let read: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(read, plain, "without quotes white space separates");
        }
    }
    if WORDS_ARE_QUOTED {
        for quote in [b'\'', b'"'] {
            let line: Vec<Vec<u8>> = texts.iter().map(|word| quoted(word, quote)).collect();
            let line = OsString::from_vec(line.join(&b' '));
            assert_eq!(words(&line).as_ref(), Ok(&texts), "{line:?}");
        }
    }
});

fn quoted(word: &OsStr, quote: u8) -> Vec<u8> {
    let mut text = vec![quote];
    for byte in word.as_bytes() {
        match byte {
            b'\\' => text.extend(b"\\\\"),
            byte if *byte == quote => text.extend([b'\\', quote]),
            byte => text.push(*byte),
        }
    }
    text.push(quote);
    text
}
