//! Names and numbers of signals, and -signal rules: every spelling of one signal is the same signal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socketmaster::config::signal_rules::SignalAction;
use socketmaster::types::request::Request;
use socketmaster::types::signal::Signal;
use socketmaster_fuzz::parse_option;

fuzz_target!(|text: &str| {
    let signal = text.parse::<Signal>();
    if let Ok(signal) = signal {
        assert!((1..=64).contains(&signal.as_raw()));
        let printed = signal.to_string();
        assert_eq!(printed.strip_prefix("signal ").unwrap_or(&printed).parse(), Ok(signal));
        assert_eq!(text.to_ascii_lowercase().parse(), Ok(signal));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(signal));
        assert_eq!(signal.as_raw().to_string().parse(), Ok(signal));
    }
    let stop = parse_option("stop-signal", text.as_ref()).map(|config| config.reloadable.policy.stop_signal);
    assert_eq!(stop.ok(), signal.ok().filter(|signal| *signal != Signal::STOP));
    if let Ok(config) = parse_option("signal", text.as_ref()) {
        let (from, _) = text.split_once(':').expect("SIG:DO");
        let from = from.parse::<Signal>().expect("a signal");
        assert!(![Signal::KILL, Signal::STOP, Signal::CHLD].contains(&from));
        for signal in Signal::all() {
            let action = config.reloadable.signals.action(signal);
            let suspends = matches!(action, SignalAction::Request(Request::Stop { with: Some(Signal::STOP), .. }));
            assert!(!suspends, "a worker would never end");
        }
    }
});
