//! The passwd and group files: a user is who the first line of the name says, with sound numbers, and never root for want
//! of better.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::sys::user::{group_in, memberships_in, user_in};
use socketmaster::types::account::NameOrId;
use socketmaster_fuzz::assert_one_line;
use std::os::unix::ffi::OsStrExt;

fuzz_target!(|data: (&str, u32, &[u8])| {
    let (name, id, text) = data;
    let first = |column: usize, wanted: &[u8]| {
        let lines = text.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>());
        lines
            .filter(|fields| !fields[0].is_empty() && !fields[0].starts_with(b"+") && !fields[0].starts_with(b"-"))
            .find(|fields| fields.get(column).is_some_and(|field| *field == wanted))
    };
    let number = |fields: &[&[u8]], column: usize| {
        let field = fields.get(column).filter(|field| !field.is_empty() && field.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(field).ok()?.parse::<u32>().ok().filter(|id| *id < u32::MAX)
    };
    match user_in(text, &NameOrId::Name(name.to_owned())) {
        Ok(Some(user)) => {
            let line = first(0, name.as_bytes()).expect("it has a line");
            assert_eq!((Some(user.uid), Some(user.gid)), (number(&line, 2), number(&line, 3)));
            assert_eq!(user.name.as_bytes(), name.as_bytes());
        }
        Ok(None) => assert_eq!(first(0, name.as_bytes()), None),
        Err(error) => {
            assert_one_line(&error.to_string());
            let line = first(0, name.as_bytes()).expect("it has a line");
            assert!(number(&line, 2).is_none() || number(&line, 3).is_none());
        }
    }
    match user_in(text, &NameOrId::Id(id)) {
        Ok(Some(user)) => assert!(user.uid == id && id < u32::MAX && user.gid < u32::MAX && !user.name.is_empty()),
        Ok(None) => assert!(id == u32::MAX || first(2, id.to_string().as_bytes()).is_none()),
        Err(error) => assert_one_line(&error.to_string()),
    }
    match group_in(text, name) {
        Ok(Some(gid)) => assert_eq!(first(0, name.as_bytes()).and_then(|line| number(&line, 2)), Some(gid)),
        Ok(None) => assert_eq!(first(0, name.as_bytes()), None),
        Err(error) => assert_one_line(&error.to_string()),
    }
    match memberships_in(text, name.as_ref()) {
        Ok(groups) => assert!(groups.iter().all(|gid| *gid < u32::MAX)),
        Err(error) => assert_one_line(&error.to_string()),
    }
});
