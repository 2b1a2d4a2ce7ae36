//! An instance of the unit from start to stop, under its hardening.

use std::process::Output;

use crate::harness::{SOON, eventually, phrase};
use crate::machine::{APP, Machine, Release, With, commands_of, source};

const EXAMPLES: &str = "/usr/share/doc/socketmaster/examples";
const DROP_INS: &str = "/etc/systemd/system/socketmaster@app.service.d";

fn status(machine: &Machine, pid: u32) -> String {
    machine.ok(&format!("cat /proc/{pid}/status"))
}

fn exposure(machine: &Machine) -> String {
    let said = machine.ok("systemd-analyze security --no-pager socketmaster@app.service");
    let (_, level) = said.rsplit_once("exposure level for socketmaster@app.service: ").expect("a level");
    level.split(' ').next().expect("a number").to_owned()
}

#[test]
fn a_program_of_an_unprivileged_user_serves_port_80_under_hardening() {
    for machine in Machine::each() {
        assert!(!machine.succeeds("setpriv --reuid=www-data --clear-groups /usr/bin/socketmaster -listen=tcp://127.0.0.1:80 -- /bin/true"));
        machine.start_app("");
        assert!(machine.answers());
        let [worker] = machine.workers("app")[..] else { panic!("one worker") };
        let of_worker = status(&machine, worker);
        for line in ["Uid:\t33\t33\t33\t33", "Gid:\t33\t33\t33\t33", "CapEff:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t2"] {
            assert!(of_worker.contains(line), "{line} is not in {of_worker}");
        }
        let inside = |script: &str| machine.succeeds(&format!("nsenter --target {worker} --mount -- {script}"));
        assert!(!inside("touch /usr/new") && !inside("touch /etc/new") && inside("touch /srv/new"));
        assert_ne!(machine.ok(&format!("nsenter --target {worker} --mount -- stat --format=%i /tmp")), machine.ok("stat --format=%i /tmp"));
        let control = machine.ok("stat --format='%a %U' /run/socketmaster/app/control");
        assert_eq!(control, "600 root");
        assert!(machine.ok("systemctl status --no-pager socketmaster@app").contains(&format!("Status: \"{}", phrase::serves(1, worker))));
    }
}

#[test]
fn the_strict_drop_in_leaves_what_a_server_needs() {
    for machine in Machine::each() {
        machine.ok("install -D --mode=755 /hello /srv/app");
        machine.configure("app", &APP.replace("SOCKETMASTER_USER=www-data\n", ""));
        machine.ok(&commands_of("strict.conf"));
        let load = machine.load();
        let [worker] = machine.workers("app")[..] else { panic!("one worker") };
        let status = status(&machine, worker);
        for line in ["CapEff:\t0000000000000400", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(line), "{line} is not in {status}");
        }
        assert!(!status.contains("Uid:\t0"), "{status}");
        for _ in 0..3 {
            machine.ok("systemctl reload socketmaster@app");
        }
        machine.ok("systemctl restart socketmaster@app");
        load.assert_no_failure();
        machine.ok("systemctl stop socketmaster@app");
        assert_eq!(machine.show("app", "Result"), "success");
    }
}

#[test]
fn the_documented_figures_of_exposure_are_systemd_s() {
    let mut rows = [("as installed", vec![]), ("with `strict.conf`", vec![])];
    for machine in Machine::each() {
        machine.configure("app", APP);
        rows[0].1.push(exposure(&machine));
        machine.ok(&format!("install -D -m 644 {EXAMPLES}/strict.conf {DROP_INS}/strict.conf && systemctl daemon-reload"));
        rows[1].1.push(exposure(&machine));
    }
    for (what, levels) in rows.iter().filter(|(_, levels)| levels.len() == Release::ALL.len()) {
        let row = format!("| {what} | {} |", levels.join(" | "));
        assert!(source("docs/systemd.md").contains(&row), "docs/systemd.md should have: {row}");
    }
}

#[test]
fn a_stop_waits_for_requests_under_way_but_not_for_ever() {
    for machine in Machine::each() {
        machine.start_app("");
        let request = machine.slow_request(1500);
        machine.ok("systemctl stop socketmaster@app");
        let Output { stdout, .. } = request.wait_with_output().expect("docker");
        assert!(String::from_utf8_lossy(&stdout).contains(" 200 OK"));
        assert_eq!(machine.show("app", "Result"), "success");
        assert!(!machine.answers());

        machine.drop_in("app", "TimeoutStopSec=100ms");
        machine.ok("systemctl start socketmaster@app");
        let request = machine.slow_request(600_000);
        machine.ok("systemctl stop socketmaster@app");
        let Output { stdout, .. } = request.wait_with_output().expect("docker");
        assert_eq!(String::from_utf8_lossy(&stdout), "", "the negative control");
        assert!(!machine.succeeds("pgrep socketmaster || pgrep app"), "nobody is left");
    }
}

#[test]
fn a_stop_of_a_program_that_term_ends_is_a_success() {
    for machine in Machine::each() {
        machine.configure("sleeper", "SOCKETMASTER_LISTEN=none\nSOCKETMASTER_COMMAND=/worker\nSOCKETMASTER_ARGS=sleep\n");
        for (drop_in, result) in [("", "success"), ("SuccessExitStatus=", "exit-code")] {
            machine.drop_in("sleeper", drop_in);
            machine.ok("systemctl start socketmaster@sleeper && systemctl stop socketmaster@sleeper");
            assert_eq!(machine.show("sleeper", "Result"), result);
        }
    }
}

#[test]
fn a_start_that_fails_says_so() {
    for machine in Machine::each() {
        for (conf, why) in [
            (None, "Failed to load environment files"),
            (Some("SOCKETMASTER_LISTEN=tcp://127.0.0.1:80\nSOCKETMASTER_COMMAND=/srv/none\n"), "/srv/none"),
            (Some("SOCKETMASTER_LISTEN=nonsense\nSOCKETMASTER_COMMAND=/hello\n"), "nonsense"),
        ] {
            machine.drop_in("app", "Restart=no");
            if let Some(conf) = conf {
                machine.configure("app", conf);
            }
            assert!(!machine.succeeds("systemctl start socketmaster@app"), "{why}");
            eventually("the reason in the journal", SOON, || {
                machine.ok("journalctl --sync; journalctl --no-pager --unit=socketmaster@app").contains(why)
            });
            assert_eq!(machine.show("app", "ActiveState"), "failed", "{why}");
            // The journal adds the name of the program, so the line must not begin with it.
            let journal = machine.ok("journalctl --no-pager --unit=socketmaster@app");
            assert!(!journal.contains("]: socketmaster:") && !journal.contains("]: socketmaster["), "{journal}");
        }
    }
}

#[test]
fn a_program_that_exits_again_and_again_leaves_the_reason_in_the_status() {
    for machine in Machine::each() {
        machine.drop_in("app", "RestartSec=10ms");
        machine.write("/srv/app", "#!/bin/sh\nsleep 0.2; exit 3\n");
        machine.ok("chmod 755 /srv/app");
        machine.configure("app", APP);
        // Whether the start itself fails depends on how long the program must live.
        machine.run("systemctl start socketmaster@app");
        eventually("systemd gives up", SOON, || match &*machine.show("app", "ActiveState") {
            "failed" => Ok(()),
            other => Err(other.to_owned()),
        });
        let status = String::from_utf8_lossy(&machine.run("systemctl status --no-pager socketmaster@app").stdout).into_owned();
        assert!(status.contains("Status: \"the program (pid ") && status.contains(") exited with status 3 after "), "{status}");
    }
}

#[test]
fn lines_in_the_journal_have_the_pids_of_their_writers() {
    for machine in Machine::each() {
        let words = "SOCKETMASTER_LISTEN=none\nSOCKETMASTER_COMMAND=/worker\nSOCKETMASTER_ARGS=say spoken complain written sleep\n";
        machine.configure("speaker", words);
        machine.ok("systemctl start socketmaster@speaker");
        let master = machine.main_pid("speaker");
        let [worker] = machine.workers("speaker")[..] else { panic!("one worker") };
        let lines = |pid: u32| machine.ok(&format!("journalctl --sync; journalctl --output=json _PID={pid}"));
        for word in ["spoken", "written"] {
            eventually("the worker's line", SOON, || lines(worker).contains(&format!("\"MESSAGE\":\"{word}\"")));
            assert!(!lines(master).contains(word), "{}", lines(master));
        }
        let notes = lines(master);
        // The journal knows name and pid by itself.
        assert!(notes.contains(&format!("\"MESSAGE\":\"{}\"", phrase::current(1))) && !notes.contains("socketmaster["), "{notes}");
        assert!(notes.contains("\"PRIORITY\":\"6\""), "{notes}");
        assert!(notes.contains("\"_SYSTEMD_UNIT\":\"socketmaster@speaker.service\""), "{notes}");
    }
}

#[test]
fn an_instance_that_is_enabled_comes_up_with_the_machine() {
    for machine in Machine::each() {
        machine.start_app("");
        machine.reboot();
        assert!(!machine.answers(), "the negative control: it was started and not enabled");
        machine.ok("systemctl enable socketmaster@app");
        machine.reboot();
        eventually("it serves", SOON, || machine.answers());
        assert_eq!(machine.show("app", "NRestarts"), "0");
    }
}

#[test]
fn the_first_client_of_an_activated_socket_starts_it() {
    for machine in Machine::each() {
        machine.ok("install -D --mode=755 /hello /srv/app");
        machine.configure("app", &APP.replace("tcp://127.0.0.1:80", "systemd:"));
        machine.ok(&commands_of("socket-activation/socketmaster@app.socket"));
        assert_eq!(machine.show("app", "ActiveState"), "inactive");
        assert!(machine.answers());
        assert_eq!(machine.show("app", "ActiveState"), "active");
        let load = machine.load();
        machine.ok("systemctl reload socketmaster@app");
        machine.ok("systemctl restart socketmaster@app");
        load.assert_no_failure();

        // The drop-in makes a start of the service start its sockets too.
        let start_alone = "systemctl stop socketmaster@app.socket socketmaster@app && systemctl start socketmaster@app";
        machine.ok(start_alone);
        assert!(machine.answers());
        machine.ok(&format!("rm {DROP_INS}/sockets.conf && systemctl daemon-reload"));
        assert!(!machine.succeeds(start_alone), "the negative control");
    }
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    for release in Release::ALL {
        let Some(machine) = Machine::boot(release, With::Package) else { return };
        machine.configure("app", APP);
        assert_eq!(machine.ok("systemd-analyze verify socketmaster@app.service 2>&1"), "");
        machine.drop_in("app", "NoSuchSetting=yes");
        assert_ne!(machine.ok("systemd-analyze verify socketmaster@app.service 2>&1"), "", "the negative control");
    }
}
