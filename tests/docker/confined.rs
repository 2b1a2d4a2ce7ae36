//! Restricted containers: fewer capabilities, system calls or memory, no /proc, and a user who does not own the log.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::engine::{Container, Image, docker, programs};
use crate::harness::load::{Load, Target};
use crate::harness::{SOON, Setup, descendants, eventually, exited, free_dir, phrase, send, state_of};

/// Without network it is always: see [`Image::run`].
const NO_RIGHTS: &str = "--read-only --cap-drop=ALL --user=65534:65534 --security-opt=no-new-privileges";

/// What the kernel says of a process.
fn status(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs")
}

/// Rolled over three times, each to its end.
fn roll_over(container: &Container) {
    for generation in 2..=4 {
        container.signal("HUP");
        container.wait_current(generation);
        container.wait_exited(generation - 1);
    }
}

/// Hello, rolled over under load from inside.
fn serves(image: &Arc<Image>, options: &str, arguments: &str, uri: &str) {
    let mut container = image.run(options, &format!("-listen={uri} -start=20 {arguments} -- /hello"));
    container.wait_current(1);
    let load = container.load(uri);
    roll_over(&container);
    load.assert_no_failure();
    assert_eq!(container.stop(20), exited(0), "{options}");
}

#[test]
fn it_needs_no_right_no_writable_file_and_no_network() {
    let Some(image) = programs() else { return };
    serves(&image, NO_RIGHTS, "", "tcp://127.0.0.1:8080");
    serves(&image, NO_RIGHTS, "-prefix", "unix://@hello");
    serves(&image, NO_RIGHTS, "-ready=accept -start=60000", "tcp://127.0.0.1:8080");
    serves(&image, &format!("{NO_RIGHTS} --tmpfs=/run:mode=1777"), "", "unix:///run/hello.sock");

    let container = image.run(NO_RIGHTS, "-listen=none -- /worker sleep");
    container.wait_output("ready", SOON);
    for pid in [vec![container.pid()], descendants(container.pid())].concat() {
        let status = status(pid);
        for line in ["Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(line), "{line} is not in {status}");
        }
    }

    let mut refused = image.run(NO_RIGHTS, "-listen=unix:///hello.sock -- /hello");
    assert_eq!(refused.wait_exit(SOON), exited(1), "there is no such path to write to");
    let lines: Vec<String> = refused.lines().iter().map(|line| line.text()).collect();
    assert!(lines.len() == 1 && lines[0].contains("unix:///hello.sock"), "{lines:#?}");
}

/// Runs a probe in a container: its status, and its one line.
fn probed(container: &Container, words: &str) -> (Option<i32>, String) {
    let output = container.exec(&format!("/socketmaster {words}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).trim_end().to_owned())
}

#[test]
fn a_probe_needs_no_right_and_tells_whether_the_program_answers() {
    let Some(image) = programs() else { return };
    // What an image sets for its master does not disturb a probe.
    let options = format!("{NO_RIGHTS} --env=SOCKETMASTER_START=0 --env=SOCKETMASTER_HANDOFF=nosuch --env=SOCKETMASTER_COMMAND=/hello");
    let arguments = "-start=20 -handoff=systemd -listen=tcp://127.0.0.1:8080 -listen=unix://@hello";
    let container = image.run(&options, arguments);
    container.wait_current(1);
    for url in ["http://127.0.0.1:8080/", "http://localhost:8080/any?thing"] {
        let healthy = (Some(0), format!("healthy: {url}: 200 OK"));
        eventually("the program answers", SOON, || match probed(&container, &format!("-probe={url}")) {
            seen if seen == healthy => Ok(()),
            seen => Err(seen),
        });
    }
    for url in ["tcp://127.0.0.1:8080", "unix://@hello"] {
        assert_eq!(probed(&container, &format!("-probe={url}")), (Some(0), format!("healthy: {url}: connected")));
    }
    let refused = "socketmaster: unhealthy: http://127.0.0.1:8081/: cannot connect: Connection refused";
    assert_eq!(probed(&container, "-probe=http://127.0.0.1:8081/"), (Some(1), refused.to_owned()));
    assert_eq!(probed(&container, "-probe=http://127.0.0.1:8080/ -control=@a").0, Some(2));

    // The master holds the socket, so only a request tells that the program hangs.
    for pid in descendants(container.pid()) {
        send(pid, Signal::SIGSTOP);
        eventually("it hangs", SOON, || state_of(pid) == Some('T'));
    }
    let silent = "socketmaster: unhealthy: http://127.0.0.1:8080/: connected, but no answer within 300 ms";
    assert_eq!(probed(&container, "-start=300 -probe=http://127.0.0.1:8080/"), (Some(1), silent.to_owned()));
    assert_eq!(probed(&container, "-probe=tcp://127.0.0.1:8080").0, Some(0));
}

/// Another container is reached by the client that every image may hold, and not by a probe, even where the system lets
/// a process bind to addresses of other hosts.
#[test]
fn a_probe_connects_to_no_other_container() {
    let Some(image) = programs() else { return };
    let arguments = "-listen=none -- /worker sleep";
    let server = image.run("--network=bridge", "-start=20 -listen=tcp://:8080 -- /hello");
    server.wait_current(1);
    let address = server.inspect("{{.NetworkSettings.IPAddress}}");
    let url = format!("http://{address}:8080/");
    for (option, cause) in [
        ("", format!("{address} is not an address of this host, and a probe connects to no other")),
        ("--sysctl=net.ipv4.ip_nonlocal_bind=1", "cannot connect: ".to_owned()),
    ] {
        let other = image.run(&format!("--network=bridge {option}"), arguments);
        other.wait_output("ready", SOON);
        eventually("a client gets an answer", SOON, || other.exec(&format!("/busybox wget -q -O /dev/null {url}")).status.success());
        let (status, said) = probed(&other, &format!("-probe={url}"));
        assert_eq!(status, Some(1), "{option}: {said}");
        assert!(said.starts_with(&format!("socketmaster: unhealthy: {url}: {cause}")), "{option}: {said}");
    }
    assert_eq!(probed(&server, &format!("-probe={url}")).0, Some(0), "its own address");
}

#[test]
fn it_runs_under_any_seccomp_profile() {
    let Some(image) = programs() else { return };
    let dir = free_dir();
    // An old one answers EPERM to what it does not know; the one of today answers ENOSYS, and is in force in all other tests.
    let old = dir.join("old.json");
    let new_calls = r#""close_range", "clone3", "pidfd_open", "pidfd_send_signal", "pidfd_getfd", "preadv2", "pwritev2", "faccessat2""#;
    let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": [{new_calls}], "action": "SCMP_ACT_ERRNO"}}]}}"#);
    fs::write(&old, profile).expect("a file in a directory of our own");
    for (profile, filtered) in [("unconfined", false), (&old.display().to_string(), true)] {
        let options = format!("--security-opt=seccomp={profile}");
        serves(&image, &options, "", "tcp://127.0.0.1:8080");
        serves(&image, &options, "-prefix", "tcp://127.0.0.1:8080");
        let container = image.run(&options, "-listen=none -- /worker sleep");
        container.wait_output("ready", SOON);
        assert_eq!(status(container.pid()).contains("Seccomp:\t2"), filtered, "{profile}");
    }
}

/// The engine mounts it always; a shell that is PID 1 first takes it away.
#[test]
fn it_works_without_proc() {
    let Some(image) = programs() else { return };
    let options = "--cap-add=SYS_ADMIN --security-opt=apparmor=unconfined --publish=127.0.0.1:0:8080";
    let script = r#"/busybox umount -l /proc && /busybox echo "left of proc: $(/busybox ls -A /proc)." && exec "$@""#;
    for arguments in ["", "-prefix"] {
        let mut container = image.run_after(script, options, &format!("-start=20 {arguments} -- /hello"));
        container.wait_output("left of proc: .", SOON);
        container.wait_current(1);
        let address = docker(["port", container.name(), "8080"]);
        let target = Target::from_uri(&format!("tcp://{address}")).expect("a loopback address");
        let load = Load { rate: Some(200.0), ..Load::new(target) }.start();
        eventually("answers", SOON, || load.so_far().requests() > 10);
        roll_over(&container);
        load.stop().assert_no_failure();
        assert_eq!(container.stop(20), exited(0));
    }
    let mut container = image.run_after(script, options, "-listen=none -- /worker orphans 100 signals exit 3");
    container.wait_output("ready", SOON);
    eventually("nobody but the worker", SOON, || descendants(container.pid()).len() == 1);
    assert_eq!(container.stop(20), exited(3));
}

/// It takes all memory that there is.
const EATER: &str = "/busybox tail /dev/zero";
const LITTLE_MEMORY: &str = "--memory=32m --memory-swap=32m";

#[test]
fn a_program_that_the_memory_limit_kills_is_reported_as_137() {
    let Some(image) = programs() else { return };
    let mut container = image.run(LITTLE_MEMORY, &format!("-listen=none -- {EATER}"));
    assert_eq!(container.wait_exit(SOON), exited(137));
    container.wait_note(&phrase::killed_by("SIGKILL"), SOON);
    container.wait_note(&phrase::ended_with(137), SOON);
    eventually("the engine has noticed, too", SOON, || container.inspect("{{.State.OOMKilled}}") == "true");
}

#[test]
fn a_copy_that_the_memory_limit_kills_is_a_failed_reload() {
    let Some(image) = programs() else { return };
    let script = format!(r#"[ "$SERVER_STARTER_GENERATION" = 1 ] && exec /hello; exec {EATER}"#);
    let options = format!("{LITTLE_MEMORY} --entrypoint=/socketmaster");
    let mut container = image.start(Setup::new(), &options, &["-start=60000", "--", "/busybox", "sh", "-c", &script]);
    container.wait_current(1);
    let load = container.load("tcp://127.0.0.1:8080");
    for generation in 2..=4 {
        container.signal("HUP");
        let failed = container.reload_failed(generation);
        assert!(failed.contains(&phrase::killed_by("SIGKILL")) && failed.ends_with(&phrase::keeps_running(1)), "{failed}");
    }
    assert_eq!(load.assert_no_failure(), 1, "one generation has answered");
    assert_eq!(container.stop(20), exited(0));
}

#[test]
fn the_log_has_notes_and_lines_whoever_the_user_is() {
    let Some(image) = programs() else { return };
    const LINES: usize = 1000;
    let worker = format!("-listen=none -- /worker say spoken complain written lines {LINES} 60");
    for (options, arguments) in [
        ("", ""),
        ("", "-user=65534:65534"),
        ("--user=65534:65534", ""),
        ("--user=65534:65534", "-prefix"),
        ("--user=65534:65534 --read-only --cap-drop=ALL", "-prefix"),
        ("", "-prefix -user=65534:65534"),
    ] {
        let mut container = image.run(options, &format!("{arguments} {worker}"));
        assert_eq!(container.wait_exit(SOON), exited(0), "{options} {arguments}");
        let logs = Command::new("docker").args(["logs", container.name()]).output().expect("docker");
        let [out, err] = [logs.stdout, logs.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let count = |text: &str, end: &str| text.lines().filter(|line| line.ends_with(end)).count();
        let (of_stdout, tag) = if arguments.contains("-prefix") { (&err, "] ") } else { (&out, "") };
        assert_eq!(count(of_stdout, &format!("{tag}spoken")), 1, "{options} {arguments}");
        assert_eq!(count(&err, &format!("{tag}written")), 1, "{options} {arguments}");
        assert_eq!(count(of_stdout, "xxx"), LINES, "{options} {arguments}");
        assert_eq!(count(&err, &format!("socketmaster[1]: {}", phrase::ended_with(0))), 1, "{options} {arguments}");
    }
}

#[test]
fn a_restart_after_a_kill_replaces_the_socket_that_was_left_behind() {
    let Some(image) = programs() else { return };
    let mut container = image.run("", "-listen=unix:///hello.sock -start=0 -- /hello");
    container.wait_current(1);
    container.signal("KILL");
    assert_eq!(container.wait_exit(SOON), exited(137));
    docker(["start", container.name()]);
    eventually("answers again", SOON, || container.exec("/client unix:///hello.sock --once").status.success());
    docker(["stop", "-t", "20", container.name()]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0");
}
