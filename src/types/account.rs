//! Users and groups as they are written, before they are looked up.

/// `LOGIN`, `UID`, `LOGIN:GROUP` or `UID:GID`, not looked up yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserSpec {
    pub user: NameOrId,
    pub group: Option<NameOrId>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameOrId {
    Name(String),
    Id(u32),
}

impl UserSpec {
    /// Reads one of the four forms; the error says what is wrong and what is accepted.
    pub fn parse(text: &str) -> Result<UserSpec, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(UserSpec { user: NameOrId::parse(user, "user")?, group: group.map(|group| NameOrId::parse(group, "group")).transpose()? })
    }
}

impl NameOrId {
    fn parse(text: &str, what: &str) -> Result<NameOrId, String> {
        if text.is_empty() {
            return Err(format!("the {what} is empty; accepted are LOGIN, UID, LOGIN:GROUP, UID:GID"));
        }
        if text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} is not a {what}; accepted are LOGIN, UID, LOGIN:GROUP, UID:GID"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(NameOrId::Name(text.to_owned()));
        }
        // The highest number means "leave it as it is" to setresuid(2): the worker would stay root.
        match text.parse() {
            Ok(id) if id < u32::MAX => Ok(NameOrId::Id(id)),
            _ => Err(format!("{text} is too large for a {what}'s number; the highest is {}", u32::MAX - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NameOrId {
        NameOrId::Name(text.to_owned())
    }

    #[test]
    fn a_user_is_a_name_or_a_number_with_or_without_a_group() {
        for (text, user, group) in [
            ("www-data", name("www-data"), None),
            ("33", NameOrId::Id(33), None),
            ("www:adm", name("www"), Some(name("adm"))),
            ("0:4294967294", NameOrId::Id(0), Some(NameOrId::Id(4294967294))),
            ("www:4", name("www"), Some(NameOrId::Id(4))),
            ("33x", name("33x"), None),
            ("-1", name("-1"), None),
        ] {
            assert_eq!(UserSpec::parse(text), Ok(UserSpec { user, group }), "{text}");
        }
    }

    #[test]
    fn half_a_user_is_refused() {
        for text in ["", ":", "www:", ":adm", "a:b:c", "a b", "a\nb", "4294967295", "0:4294967295", "99999999999"] {
            assert!(UserSpec::parse(text).is_err(), "{text:?}");
        }
    }
}
