//! A listen URI: what is read prints as a URI that reads as the same; what is not is refused with a cure that works.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::listen_uri::Endpoint;
use socketmaster_fuzz::parse_option;

fuzz_target!(|text: &str| {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let printed = endpoint.to_string();
            assert_eq!(printed.parse::<Endpoint>().as_ref(), Ok(&endpoint), "{printed:?}");
            if text != "none" {
                assert_eq!(parse_option("listen", text.as_ref()).map(|config| config.reloadable.listen), Ok(vec![endpoint]));
            }
        }
        Err(cause) => {
            assert!(!cause.is_empty());
            if let Some((_, cure)) = cause.split_once("the scheme is missing; write ") {
                assert!(cure.parse::<Endpoint>().is_ok(), "{cure:?} is no cure");
            }
            if text != "none" {
                parse_option("listen", text.as_ref()).expect_err("what cannot be read is refused");
            }
        }
    }
});
