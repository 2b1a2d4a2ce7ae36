//! Where the configuration comes from: words of variables, variables with a slip of the keys, and the pid file.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{SOON, Setup, exited, fixture, free_dir};

#[test]
fn words_of_a_variable_are_split_as_systemd_splits_them() {
    for (arguments, said) in [
        ("say 'daemon off;'", "daemon off;"),
        (r#"say "a\tb""#, "a\tb"),
        (r"say a\sb", "a b"),
        ("say $HOME", "$HOME"),
        (r"say ^\d+$", r"^\d+$"),
    ] {
        let command = format!("-command={}", fixture("worker").display());
        let mut master = Setup::new().arg(command).env("SOCKETMASTER_ARGS", arguments).spawn();
        master.wait_output(said, SOON);
        assert_eq!(master.wait_exit(SOON), exited(0), "{arguments}");
    }
}

#[test]
fn a_listener_of_a_variable_may_hold_a_space() {
    let dir = free_dir();
    let path = dir.join("a b");
    let listen = format!("'unix://{}' unix://@{}", path.display(), dir.display());
    let master = Setup::new().arg("-start=0").env("SOCKETMASTER_LISTEN", listen).program(fixture("worker"), ["sleep"]).spawn();
    master.wait_current(1);
    assert!(path.exists());
}

#[test]
fn a_variable_with_a_slip_of_the_keys_is_ignored_with_a_warning_and_a_service_s_without() {
    let master = Setup::new()
        .env("SOCKETMASTER_STRAT", "0")
        .env("SOCKETMASTER_SERVICE_HOST", "10.0.0.1")
        .env("SOCKETMASTER_PORT", "tcp://10.0.0.1:80")
        .program(fixture("worker"), ["sleep"])
        .spawn();
    master.wait_current(1);
    master.wait_note("ignored the variable SOCKETMASTER_STRAT; did you mean SOCKETMASTER_START?", SOON);
    assert_eq!(master.notes().iter().filter(|note| note.contains("ignored")).count(), 1);
}

#[test]
fn the_pid_file_holds_the_master_s_pid_while_it_serves_and_is_gone_at_the_end() {
    let dir = free_dir();
    let path = dir.join("pid");
    fs::write(&path, "left by another master\n").expect("a directory of ours");
    let mut master =
        Setup::new().arg(format!("-pid-file={}", path.display())).arg("-start=0").program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    master.wait_current(1);
    crate::harness::eventually("its pid", SOON, || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text == format!("{}\n", master.pid()) { Ok(()) } else { Err(text) }
    });
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
    master.wait_outputs("ready", 2, SOON);
    assert_eq!(fs::read_to_string(&path).ok(), Some(format!("{}\n", master.pid())), "a reload leaves it as it is");
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
    assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 0, "nothing is left");
}

#[test]
fn a_pid_file_that_another_master_has_written_meanwhile_stays() {
    let dir = free_dir();
    let path = dir.join("pid");
    let mut master =
        Setup::new().arg(format!("-pid-file={}", path.display())).arg("-start=0").program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    master.wait_current(1);
    crate::harness::eventually("a pid file", SOON, || path.exists());
    fs::write(&path, "1\n").expect("it is ours");
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
    assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("1\n"));
}

#[test]
fn an_operand_that_is_a_program_is_named_where_a_variable_already_names_the_program() {
    let worker = fixture("worker");
    let warnings = |setup: Setup| {
        let mut master = setup.env("SOCKETMASTER_ARGS", "exit 0").spawn();
        master.wait_exit(SOON);
        master.count_notes("SOCKETMASTER_COMMAND names the program, so ... becomes its first argument; unset the variable to run ")
    };
    let by_variable = || Setup::new().env("SOCKETMASTER_COMMAND", &worker);
    assert_eq!(warnings(by_variable().program("sh", ["-c", "exit 0"])), 1);
    // No program has this name; no operand is given; the command line names the program.
    assert_eq!(warnings(by_variable().program("exit", ["0"])), 0);
    assert_eq!(warnings(by_variable()), 0);
    let by_option = Setup::new().arg("-command=/bin/echo");
    assert_eq!(warnings(by_option.program("sh", ["-c", "exit 0"])), 0);
}
