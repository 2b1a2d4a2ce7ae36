//! The descriptor store: listeners that outlive the master.

use crate::harness::{SOON, eventually};
use crate::machine::Machine;

/// Makes each further start first write to a file whether a client is refused, while no process of the service runs.
const PROBE: &str = "ExecStartPre=/bin/bash -c 'if (exec 3<>/dev/tcp/127.0.0.1/80); then echo waits; else echo refused; fi >>/run/probe'";
const NO_STORE: &str = "FileDescriptorStoreMax=0";

fn probed(machine: &Machine) -> String {
    machine.ok("cat /run/probe")
}

/// Kills the master with SIGKILL, and waits until systemd has started the next one.
fn kill_the_master(machine: &Machine) {
    let master = machine.main_pid("app");
    machine.ok(&format!("kill -KILL {master}"));
    eventually("another master", SOON, || {
        let (now, state) = (machine.main_pid("app"), machine.show("app", "ActiveState"));
        if now != master && now != 0 && state == "active" { Ok(()) } else { Err(format!("{now} {state}")) }
    });
}

#[test]
fn a_restart_refuses_nobody() {
    for machine in Machine::each() {
        machine.start_app("");
        assert_eq!(machine.show("app", "NFileDescriptorStore"), "1");
        machine.drop_in("app", PROBE);
        let load = machine.load();
        machine.ok("systemctl restart socketmaster@app");
        assert_eq!(probed(&machine), "waits");
        load.assert_no_failure();
        assert_eq!(machine.show("app", "NFileDescriptorStore"), "1", "the same one again");
    }
}

#[test]
fn a_crash_of_the_master_refuses_nobody() {
    for machine in Machine::each() {
        machine.start_app("");
        machine.drop_in("app", PROBE);
        let load = machine.load();
        kill_the_master(&machine);
        assert!(machine.answers());
        assert_eq!(probed(&machine), "waits");
        // What was under way dies with the workers, which systemd kills.
        let (_, report) = load.finish();
        assert!(!report.contains(" refused"), "{report}");
        assert_eq!(machine.show("app", "NRestarts"), "1");
    }
}

/// The negative controls.
#[test]
fn without_the_store_a_restart_and_a_crash_refuse_clients() {
    for machine in Machine::each() {
        machine.drop_in("app", NO_STORE);
        machine.start_app("");
        assert_eq!(machine.show("app", "NFileDescriptorStore"), "0");
        machine.drop_in("app", &format!("{NO_STORE}\n{PROBE}"));
        machine.ok("systemctl restart socketmaster@app");
        kill_the_master(&machine);
        assert_eq!(probed(&machine), "refused\nrefused");
    }
}

#[test]
fn a_unix_path_survives_a_restart_and_goes_at_a_stop_of_the_unit() {
    for machine in Machine::each() {
        machine.start_app("SOCKETMASTER_LISTEN=unix:///run/socketmaster/app/http?mode=0666");
        let inode = || machine.ok("stat --format=%i /run/socketmaster/app/http");
        let before = inode();
        machine.ok("systemctl restart socketmaster@app");
        assert_eq!(inode(), before);
        assert!(machine.succeeds("/client unix:///run/socketmaster/app/http --once"));
        machine.ok("systemctl stop socketmaster@app");
        assert!(!machine.succeeds("test -e /run/socketmaster/app"), "the directory goes with its unit");
    }
}
