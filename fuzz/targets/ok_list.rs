//! The list of -ok: numbers from 0 to 255 with commas between them, and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster_fuzz::parse_option;

fuzz_target!(|text: &str| {
    let digits =
        |word: &str| (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())).then(|| word.trim_start_matches('0').to_owned());
    let number = |word: &str| match digits(word)?.as_str() {
        "" => Some(0),
        word if word.len() <= 3 => word.parse::<u8>().ok(),
        _ => None,
    };
    let expected: Option<Vec<u8>> = text.split(',').map(number).collect();
    assert_eq!(parse_option("ok", text.as_ref()).map(|config| config.reloadable.policy.ok).ok(), expected);
});
