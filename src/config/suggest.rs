//! The word that was probably meant.

/// The known word that `typed` was probably meant to be: a slip of the keys away, or `typed` is a part of it.
/// Upper and lower case make no difference.
pub fn nearest<'a>(typed: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_of(typed, &mut known)
}

/// The end of an error: the word that was probably meant, or the accepted ones if no word is close.
pub fn or_accepted<'a>(typed: &str, mut known: impl Iterator<Item = &'a str>, accepted: &str) -> String {
    match nearest_of(typed, &mut known) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("accepted are {accepted}"),
    }
}

/// The same if nothing but the known words is accepted.
pub fn or_one_of<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    or_accepted(typed, known.clone(), &known.collect::<Vec<_>>().join(", "))
}

// One body for all kinds of words: a generic one would be in the program once for each.
fn nearest_of<'a>(typed: &str, known: &mut dyn Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let slips = (typed.len() / 3).min(2);
    let near = known.filter_map(|word| {
        let lower = word.to_ascii_lowercase();
        let part = typed.len() >= 3 && lower.contains(&typed);
        // The distance costs memory and time in proportion to both lengths, and what is typed has no bound.
        let comparable = typed.len().abs_diff(word.len()) <= slips;
        let distance = if comparable { strsim::osa_distance(&typed, &lower) } else { usize::MAX };
        (part || distance <= slips).then_some((distance, word))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["start", "stop-timeout", "SIGTERM", "TERM", "ok"];

    #[test]
    fn a_slip_of_the_keys_or_a_part_finds_the_word() {
        for (typed, meant) in [
            ("strat", "start"),
            ("statr", "start"),
            ("stat", "start"),
            ("staart", "start"),
            ("Start", "start"),
            ("timeout", "stop-timeout"),
            ("stop-tiemout", "stop-timeout"),
            ("TREM", "TERM"),
            ("term", "TERM"),
            ("sigtrem", "SIGTERM"),
        ] {
            assert_eq!(nearest(typed, KNOWN.into_iter()), Some(meant), "{typed}");
        }
    }

    #[test]
    fn a_word_that_is_close_to_no_known_one_finds_nothing() {
        for typed in ["", "o", "xy", "port", "nothing-like-it", "k", "\u{e9}\u{e9}\u{e9}\u{e9}", &"start".repeat(1000)] {
            assert_eq!(nearest(typed, KNOWN.into_iter()), None, "{typed}");
        }
    }

    #[test]
    fn an_error_names_the_near_word_or_all_that_are_accepted() {
        assert_eq!(or_accepted("trem", KNOWN.into_iter(), "names"), "did you mean TERM?");
        assert_eq!(or_accepted("zzz", KNOWN.into_iter(), "names"), "accepted are names");
    }
}
