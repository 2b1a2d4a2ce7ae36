//! `systemctl reload`: it ends when the new generation serves, fails when that does not, and no client notices.

use crate::harness::{SOON, eventually, phrase};
use crate::machine::{Machine, Release, With, commands_of};

const RELOADS: u32 = 10;

#[test]
fn ten_reloads_under_load_fail_nobody() {
    for machine in Machine::each() {
        machine.start_app("");
        let master = machine.main_pid("app");
        let load = machine.load();
        for generation in 2..=RELOADS + 1 {
            machine.ok("systemctl reload socketmaster@app");
            let status = machine.show("app", "StatusText");
            assert!(is_served_by(&status, generation), "{status}");
        }
        let answers = load.assert_no_failure();
        assert!(answers > RELOADS as usize / 2, "the load has met {answers} generations only");
        assert_eq!((machine.main_pid("app"), machine.show("app", "NRestarts")), (master, "0".into()));
        let shown = machine.ok("systemctl status --no-pager socketmaster@app");
        assert!(shown.contains(&format!("Status: \"generation {} ", RELOADS + 1)), "{shown}");
    }
}

#[test]
fn a_reload_with_a_broken_program_fails_and_touches_nothing() {
    for machine in Machine::each() {
        machine.start_app("");
        let workers = machine.workers("app");
        let load = machine.load();
        let no_program: &[(&str, &str)] = &[
            ("exits at once", "printf '#!/bin/sh\\nexit 3\\n' >/srv/new && chmod 755 /srv/new"),
            ("cannot be executed", "head -c 100 /hello >/srv/new && chmod 644 /srv/new"),
            ("is not there", "rm /srv/app"),
        ];
        for (what, deploy) in no_program {
            machine.ok(&format!("{deploy}; [ ! -e /srv/new ] || mv /srv/new /srv/app"));
            assert!(!machine.succeeds("systemctl reload socketmaster@app"), "a program that {what}");
            assert_eq!(machine.workers("app"), workers, "a program that {what}");
            assert_eq!(machine.show("app", "ActiveState"), "active", "a program that {what}");
            let status = machine.show("app", "StatusText");
            assert!(is_served_by(&status, 1) && status.contains(phrase::RELOAD_FAILED), "{status}");
        }
        // A good one goes in again.
        machine.ok("install --mode=755 /hello /srv/new && mv /srv/new /srv/app");
        machine.ok("systemctl reload socketmaster@app");
        assert_eq!(load.assert_no_failure(), 2, "the first generation and the one that works");
        assert_ne!(machine.workers("app"), workers);
    }
}

#[test]
fn with_the_drop_in_for_notify_reload_systemd_waits_for_the_new_generation() {
    let Some(machine) = Machine::boot(Release::Trixie, With::Package) else { return };
    machine.start_app("SOCKETMASTER_START=1000");
    machine.ok(&commands_of("notify-reload.conf"));
    assert_eq!([machine.show("app", "Type"), machine.show("app", "ExecReload")], ["notify-reload", ""]);
    let load = machine.load();
    for generation in 2..=3 {
        machine.ok("systemctl reload socketmaster@app");
        let status = machine.show("app", "StatusText");
        assert!(is_served_by(&status, generation), "one reload each, and over: {status}");
    }
    load.assert_no_failure();
    // What the drop-in warns of: the protocol knows no failure.
    machine.ok("printf '#!/bin/sh\\nexit 3\\n' >/srv/new && chmod 755 /srv/new && mv /srv/new /srv/app");
    machine.ok("systemctl reload socketmaster@app");
    assert!(machine.show("app", "StatusText").contains(phrase::RELOAD_FAILED));
}

/// What the unit's status says: which generation is current.
fn is_served_by(status: &str, generation: u32) -> bool {
    phrase::matches(status, &phrase::serves(generation, "..."))
}

/// The negative control of the tests that check the status after a reload.
#[test]
fn while_a_reload_is_under_way_systemd_says_so() {
    for machine in Machine::each() {
        machine.start_app("SOCKETMASTER_START=600000");
        machine.ok("systemctl kill --signal=HUP --kill-whom=main socketmaster@app");
        eventually("a state", SOON, || match &*machine.show("app", "ActiveState") {
            "reloading" => Ok(()),
            other => Err(other.to_owned()),
        });
        let status = machine.show("app", "StatusText");
        let [candidate, current] = status.split(", ").collect::<Vec<_>>()[..] else { panic!("{status}") };
        assert!(!is_served_by(candidate, 2) && is_served_by(current, 1), "{status}");
        assert!(machine.answers());
    }
}
