//! A -user: a name or a number, never a name that is a number, and never the number that means "as it is".
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::types::account::{NameOrId, UserSpec};
use socketmaster_fuzz::parse_option;

fuzz_target!(|text: &str| {
    let spec = UserSpec::parse(text);
    if !text.is_empty() {
        assert_eq!(parse_option("user", text.as_ref()).map(|config| config.reloadable.user).ok(), spec.clone().ok().map(Some));
    }
    let Ok(spec) = spec else { return };
    for part in [Some(&spec.user), spec.group.as_ref()].into_iter().flatten() {
        match part {
            NameOrId::Id(id) => assert_ne!(*id, u32::MAX),
            NameOrId::Name(name) => {
                assert!(!name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit()));
                assert!(!name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()));
            }
        }
    }
    let word = |part: &NameOrId| match part {
        NameOrId::Id(id) => id.to_string(),
        NameOrId::Name(name) => name.clone(),
    };
    let printed = [Some(&spec.user), spec.group.as_ref()].into_iter().flatten().map(word).collect::<Vec<_>>().join(":");
    assert_eq!(UserSpec::parse(&printed), Ok(spec));
});
