//! A command line and an environment: a configuration that is sound, or one line that says what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::Command;
use socketmaster::config::listen_uri::Endpoint;
use socketmaster_fuzz::{parse, parts};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Words that begin so are variables instead.
const VARIABLE: &[u8] = b"SOCKETMASTER_";

fuzz_target!(|data: &[u8]| {
    let (variables, words): (Vec<OsString>, Vec<OsString>) =
        parts(data).into_iter().partition(|word| word.as_bytes().starts_with(VARIABLE));
    let variables: Vec<(OsString, OsString)> = variables
        .iter()
        .map(|variable| {
            let bytes = variable.as_bytes();
            let end = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            (OsString::from_vec(bytes[..end].to_vec()), OsString::from_vec(bytes.get(end + 1..).unwrap_or_default().to_vec()))
        })
        .collect();
    let command = parse(&words, &variables);
    assert_eq!(command, parse(&words, &variables), "the same words mean the same");
    match command {
        Err(_) | Ok(Command::Ask(_) | Command::Probe(_)) => {}
        Ok(Command::Print(page)) => assert!(page.ends_with('\n') && !page.contains('\u{1b}')),
        Ok(Command::Run(config)) => {
            assert!(!config.reloadable.command.is_empty());
            for endpoint in &config.reloadable.listen {
                assert_eq!(endpoint.to_string().parse::<Endpoint>().as_ref(), Ok(endpoint));
            }
            for (key, template) in &config.reloadable.env {
                assert!(!key.is_empty() && !key.as_bytes().contains(&b'=') && !key.as_bytes().contains(&0));
                assert_eq!(template.missing_name(&config.reloadable.listen), None);
            }
            // The operands reach the program as they are, unless a variable names it or its arguments.
            if variables.is_empty() {
                let behind = words.iter().skip(words.len() - config.reloadable.args.len());
                assert!(behind.eq(&config.reloadable.args), "{:?} of {words:?}", config.reloadable.args);
            }
        }
    }
});
