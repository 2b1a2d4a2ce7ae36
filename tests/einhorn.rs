//! `-handoff=einhorn` and `-ready=einhorn`: the variables, and the acknowledgements of each kind of client.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Inherited, Planned, SOON, Setup, bare_root, exited, fixture, free_dir, open_fds, phrase, skip};

/// So long a master is watched that must not do something.
const WATCHED: Duration = Duration::from_millis(300);

const ACK: &str = r#"{"command":"worker:ack","pid":{pid}}"#;

fn acknowledged() -> Setup {
    Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-ready=einhorn")
}

#[test]
fn workers_get_the_full_set_of_variables_and_a_stream_behind_the_listeners() {
    let dir = free_dir();
    let path = dir.join("inherited");
    let socket = dir.join("socket");
    let setup = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg(format!("-listen=unix://{}", socket.display())).arg("-handoff=einhorn");
    let program = ["report".to_owned(), path.display().to_string(), "sleep".to_owned()];
    let mut master = setup.arg("-start=0").env("TMPDIR", &*dir).program(fixture("worker"), program).spawn();
    let inherited = Inherited::wait(&path);
    let expected = [
        ("MASTER_PID", inherited.get("ppid")),
        ("FD_COUNT", "2"),
        ("FD_0", "3"),
        ("FD_FAMILY_0", "AF_INET"),
        ("FD_1", "4"),
        ("FD_FAMILY_1", "AF_UNIX"),
        ("CHILD_INDEX", "0"),
        ("SOCK_FD", "5"),
    ];
    for (name, value) in expected {
        assert_eq!(inherited.env(&format!("EINHORN_{name}")), Some(value), "{name}");
    }
    assert_eq!(inherited.env("EINHORN_FDS"), None);
    assert_eq!(inherited.env("LISTEN_FDS"), None);
    assert!(inherited.fds()[&5].contains("socket:["), "{:?}", inherited.fds());
    assert_eq!(inherited.fds().keys().max(), Some(&5));
    let ack = std::path::PathBuf::from(inherited.env("EINHORN_SOCK_PATH").expect("a path"));
    assert_eq!(ack.parent(), Some(&*dir));
    assert_eq!(fs::metadata(&ack).expect("it exists").permissions().mode() & 0o777, 0o666);
    master.stop(Signal::SIGTERM);
    assert!(!ack.exists());
}

#[test]
fn a_generation_is_current_when_it_acknowledges_in_any_way_and_never_before() {
    let planned = Planned::new(&format!("einhorn fd {ACK} sleep"));
    let master = planned.spawn(acknowledged());
    master.wait_current(1);
    for (number, way) in (2..).zip(["path", "fd"]) {
        let _ = fs::remove_file(planned.gate());
        planned.becomes(&format!("say loading await {{gate}} einhorn {way} {ACK} sleep"));
        master.signal(Signal::SIGHUP);
        master.wait_outputs("loading", number - 1, SOON);
        thread::sleep(WATCHED);
        assert!(!master.has_note(&phrase::current(number)), "{way}");
        fs::write(planned.gate(), "").expect("a file of our own");
        master.wait_current(number);
    }
    // Those with blanks.
    for text in
        ["---%0Acommand: worker:ack%0Apid: {pid}%0A", "command: worker:ack%0Apid: {pid}%0A", r#"{"command": "worker:ack", "pid": {pid}}"#]
    {
        for way in ["fd", "path"] {
            let master = acknowledged().program(fixture("worker"), ["einhorn", way, text, "sleep"]).spawn();
            master.wait_output("answered ", SOON);
            master.wait_current(1);
            let answer = master.lines().into_iter().map(|line| line.text()).find(|line| line.starts_with("answered"));
            assert_eq!(answer.as_deref().map(str::trim_end), Some("answered"), "the connection just ends");
        }
    }
}

#[test]
fn each_of_several_workers_has_an_index_and_acknowledges_for_itself() {
    let dir = free_dir();
    let path = dir.join("inherited-{pid}").display().to_string();
    let words = ["report", &path, "einhorn", "path", ACK, "sleep"];
    let master = acknowledged().arg("-workers=2").program(fixture("worker"), words).spawn();
    master.wait_current(1);
    assert_eq!(master.count_notes(&phrase::ready(1)), 2);
    let inherited = |pid: u32| Inherited::wait(&dir.join(format!("inherited-{pid}")));
    let mut indices: Vec<String> =
        master.children().into_iter().map(|pid| inherited(pid).env("EINHORN_CHILD_INDEX").expect("an index").to_owned()).collect();
    indices.sort();
    assert_eq!(indices, ["0", "1"]);
}

#[test]
fn what_is_no_acknowledgement_is_answered_and_counts_for_nothing() {
    let dir = free_dir();
    let gate = dir.join("gate").display().to_string();
    let words = [
        "einhorn",
        "path",
        "garbage",
        "einhorn",
        "path",
        "{command: worker:ping, pid: {pid}}",
        "einhorn",
        "path",
        "{command: upgrade}",
        "einhorn",
        "path",
        "{command: worker:ack, pid: 1}",
        "say",
        "sent",
        "await",
        &gate,
        "einhorn",
        "fd",
        ACK,
        "sleep",
    ];
    let master = acknowledged().program(fixture("worker"), words).spawn();
    master.wait_output("sent", SOON);
    master.wait_output("answered ---%0Amessage: Could not parse command%0A\\n", SOON);
    master.wait_output("answered ---%0Amessage: Unrecognized command; accepted are worker:ack and worker:ping%0A\\n", SOON);
    master.wait_note("ignored an acknowledgement of einhorn: pid 1 is no worker", SOON);
    assert!(!master.has_note(&phrase::ready(1)), "{:?}", master.notes());
    fs::write(&gate, "").expect("a file of our own");
    master.wait_current(1);
}

#[test]
fn an_acknowledgement_that_nobody_waits_for_means_nothing_and_a_missing_one_fails_the_start() {
    let words = ["einhorn", "fd", ACK, "sleep"];
    let setup = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-handoff=einhorn");
    let mut master = setup.arg("-ready=notify").arg("-start=300").program(fixture("worker"), words).spawn();
    master.wait_output("answered", SOON);
    master.wait_note("generation 1 was not ready in time", SOON);
    assert_eq!(master.wait_exit(SOON), exited(1));
}

#[test]
fn another_user_s_process_is_refused_and_one_of_the_workers_user_is_not() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may run a process as another user");
    }
    let dir = free_dir();
    fs::set_permissions(&*dir, fs::Permissions::from_mode(0o777)).expect("our own");
    let path = dir.join("inherited").display().to_string();
    let master = acknowledged().arg("-user=65534:65534").program(fixture("worker"), ["report", &path, "sleep"]).spawn();
    let inherited = Inherited::wait(path.as_ref());
    let text = ACK.replace("{pid}", inherited.get("pid"));
    let report = |uid: u32| {
        let mut command = Command::new(fixture("worker"));
        let ack = inherited.env("EINHORN_SOCK_PATH").expect("a path");
        assert!(
            command.args(["einhorn", "path", &text]).env("EINHORN_SOCK_PATH", ack).uid(uid).output().expect("it runs").status.success()
        );
    };
    report(4711);
    let note = master.wait_note("ignored an acknowledgement of einhorn: its sender (pid ", SOON);
    assert!(note.contains(", uid 4711) does not belong to pid "), "{note}");
    assert!(!master.has_note(&phrase::ready(1)));
    report(65534);
    master.wait_current(1);
}

#[test]
fn without_a_directory_to_write_to_the_stream_is_left_and_the_log_says_so() {
    let root = match bare_root() {
        Ok(root) => root,
        Err(reason) => return skip(&reason),
    };
    let words = ["chroot".as_ref(), root.as_os_str()];
    let setup = acknowledged().through(words).binary("/socketmaster").program("/worker", ["einhorn", "fd", ACK, "sleep"]);
    let master = setup.env("TMPDIR", "/nowhere").spawn();
    master.wait_note("no socket for EINHORN_SOCK_PATH: ", SOON);
    master.wait_current(1);
}

#[test]
fn reloads_leave_no_stream_open() {
    let planned = Planned::new(&format!("einhorn path {ACK} sleep"));
    let master = planned.start(acknowledged());
    let reload = |number: u32| {
        master.signal(Signal::SIGHUP);
        master.wait_current(number);
        master.wait_exited(number - 1);
    };
    reload(2);
    let before = open_fds(master.pid()).len();
    (3..8).for_each(reload);
    assert_eq!(open_fds(master.pid()).len(), before, "{:?}", open_fds(master.pid()));
}
