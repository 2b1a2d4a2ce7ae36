//! What workers write: no byte is lost or put elsewhere, in whatever pieces it comes, and no line is longer than allowed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster_fuzz::adapter::relayed;

fuzz_target!(|data: &[u8]| {
    let [limit, piece, text @ ..] = data else { return };
    let (limit, piece) = (1 + usize::from(*limit), 1 + usize::from(*piece));
    let mut expected: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // What follows the last line end is a line only if there is something.
    lines.pop_if(|last| last.is_empty());
    for line in lines {
        expected.push((false, line[..line.len().min(limit)].to_vec()));
        expected.extend(line.chunks(limit).skip(1).map(|more| (true, more.to_vec())));
    }
    assert_eq!(relayed(limit, text, piece), expected);
});
