//! `-ready=notify`: workers report to NOTIFY_SOCKET, and what follows from each of their messages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::manager::Manager;
use crate::harness::{
    Inherited, Master, Planned, SOON, Setup, bare_root, eventually, exited, fixture, free_dir, open_fds, phrase, skip, state_of,
};

/// So long a master is watched that must not do something.
const WATCHED: Duration = Duration::from_millis(300);

fn notified() -> Setup {
    Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-ready=notify")
}

/// How many workers have reported their environment.
static INHERITED: AtomicUsize = AtomicUsize::new(0);

/// A worker that reports its environment in a file and waits.
fn inherited(setup: Setup, directory: &std::path::Path) -> (Master, Inherited) {
    let path = directory.join(format!("inherited-{}", INHERITED.fetch_add(1, Ordering::Relaxed)));
    let master = setup.program(fixture("worker"), ["report".as_ref(), path.as_os_str(), "sleep".as_ref()]).spawn();
    let inherited = Inherited::wait(&path);
    (master, inherited)
}

/// Has the program `program` been found?
fn is_there(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

#[test]
fn a_generation_is_current_when_it_reports_ready_and_never_before() {
    let planned = Planned::new("notify READY=1 sleep");
    let master = planned.spawn(notified());
    master.wait_note(&phrase::ready(1), SOON);
    master.wait_current(1);
    planned.becomes("say loading await {gate} notify READY=1 sleep");
    master.signal(Signal::SIGHUP);
    master.wait_output("loading", SOON);
    thread::sleep(WATCHED);
    assert!(!master.has_note(&phrase::current(2)));
    fs::write(planned.gate(), "").expect("a file of our own");
    master.wait_note(&phrase::ready(2), SOON);
    master.wait_current(2);
    master.wait_stop_sent(1);
}

#[test]
fn each_of_several_workers_must_report_and_one_cannot_report_for_another() {
    let dir = free_dir();
    let script = dir.join("app");
    let worker = fixture("worker").display().to_string();
    let gate = dir.join("gate");
    // Only the first one goes on at once, and it reports twice.
    let text = format!(
        "#!/bin/sh\nif [ $SLOT = 0 ]; then exec {worker} notify READY=1 notify READY=1 barrier say first sleep; fi\nexec {worker} await {} notify READY=1 sleep\n",
        gate.display()
    );
    crate::harness::make_program(&script, text);
    let master = notified().arg("-workers=2").arg("-env=SLOT={worker}").program(&script, [""; 0]).spawn();
    master.wait_output("first", SOON);
    assert_eq!(master.count_notes(&phrase::ready(1)), 1);
    assert!(!master.has_note(&phrase::current(1)));
    fs::write(&gate, "").expect("a file of our own");
    master.wait_current(1);
    assert_eq!(master.count_notes(&phrase::ready(1)), 2);
}

#[test]
fn only_with_notify_a_worker_has_a_notify_socket() {
    let dir = free_dir();
    let inherited_with = |ready: &str| {
        let listen = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg(format!("-ready={ready}"));
        inherited(listen.env("NOTIFY_SOCKET", "/somebody/elses").env("WATCHDOG_USEC", "1"), &dir).1
    };
    for ready in ["auto", "start", "accept"] {
        assert_eq!(inherited_with(ready).env("NOTIFY_SOCKET"), None, "{ready}");
    }
    let inherited = inherited_with("notify");
    let address = inherited.env("NOTIFY_SOCKET").expect("its own");
    assert!(address.starts_with(&format!("@socketmaster/{}/1/", inherited.get("ppid"))), "{address}");
    assert_eq!((inherited.env("WATCHDOG_USEC"), inherited.env("FDSTORE")), (None, None), "that manager cannot be reached");
}

#[test]
fn each_worker_has_an_address_of_its_own_and_it_is_gone_with_the_worker() {
    let dir = free_dir();
    let (mut master, first) = inherited(notified(), &dir);
    let (_other, second) = inherited(notified(), &dir);
    let address = first.env("NOTIFY_SOCKET").expect("an address").to_owned();
    assert_ne!(Some(&*address), second.env("NOTIFY_SOCKET"));
    let bound = || fs::read_to_string("/proc/net/unix").expect("/proc").contains(&address);
    assert!(bound());
    master.stop(Signal::SIGTERM);
    assert!(!bound());
}

#[test]
fn what_is_not_ready_is_ignored() {
    let long = "x".repeat(5000);
    let garbage = ["", "READY=0", "ready=1", "\u{1b}[2J\u{7}", "STATUS=READY=1", "RELOADING=1", "STOPPING=1", "MAINPID=1", "===\\n=\\n"];
    let mut words = vec!["notify".to_owned(), format!("READY=1\\nX_LONG={long}")];
    words.extend(garbage.iter().flat_map(|text| ["notify".to_owned(), (*text).to_owned()]));
    let dir = free_dir();
    let gate = dir.join("gate").display().to_string();
    words.extend(["barrier", "say", "sent", "await", &gate, "notify", "STATUS=x\\nREADY=1", "sleep"].map(str::to_owned));
    let master = notified().program(fixture("worker"), words).spawn();
    master.wait_output("sent", SOON);
    master.wait_note("ignored a message to the NOTIFY_SOCKET of pid ...: it is longer than 4096 bytes", SOON);
    assert!(!master.has_note(&phrase::current(1)), "{:?}", master.notes());
    fs::write(&gate, "").expect("a file of our own");
    master.wait_current(1);
}

#[test]
fn a_flood_with_descriptors_leaves_nothing_open_and_stops_nothing() {
    let planned = Planned::new("notify READY=1 sleep");
    let master = planned.start(notified());
    planned
        .becomes("notify READY=1 await {gate} notify --times 1000 --fds 9 X_NOTHING=1 notify --times 1000 READY=1 barrier say sent sleep");
    master.signal(Signal::SIGHUP);
    master.wait_exited(1);
    let before = open_fds(master.pid()).len();
    fs::write(planned.gate(), "").expect("a file of our own");
    master.wait_output("sent", SOON);
    assert_eq!(open_fds(master.pid()).len(), before);
    assert_eq!(master.count_notes(&phrase::ready(2)), 1);
    // As many descriptors as a message can carry, more than the master may open.
    planned.becomes("notify --fds 253 READY=1 barrier say sent sleep");
    let limited = planned.spawn(notified().through(["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]));
    limited.wait_output("sent", SOON);
    limited.wait_current(1);
    assert!(open_fds(limited.pid()).len() < 20, "{:?}", open_fds(limited.pid()));
}

#[test]
fn systemd_notify_reports_from_a_shell_script_and_as_another_user() {
    if !is_there("systemd-notify") {
        return;
    }
    let dir = free_dir();
    let script = |line: &str| {
        let path = dir.join("app");
        crate::harness::make_program(
            &path,
            format!("#!/bin/sh\n{line} || exit 9\necho reported\nexec {} sleep\n", fixture("worker").display()),
        );
        path
    };
    // It waits for its barrier, and has exited before the program runs.
    let master = notified().program(script("systemd-notify --ready --status='all is well'"), [""; 0]).spawn();
    master.wait_output("reported", SOON);
    master.wait_current(1);
    // The barrier is left out: the sender may be gone before its message is read.
    let master = notified().program(script("systemd-notify --no-block --ready"), [""; 0]).spawn();
    master.wait_current(1);
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may run workers as another user");
    }
    let master = notified().program(script("setpriv --reuid=4711 --clear-groups systemd-notify --ready"), [""; 0]).spawn();
    master.wait_output("reported", SOON);
    master.wait_current(1);
    fs::set_permissions(&*dir, fs::Permissions::from_mode(0o755)).expect("our own");
    let master = notified().arg("-user=65534:65534").program(script("systemd-notify --ready"), [""; 0]).spawn();
    master.wait_output("reported", SOON);
    master.wait_current(1);
}

#[test]
fn a_process_of_another_user_that_is_none_of_the_workers_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root may run a process as another user");
    }
    let dir = free_dir();
    let (master, inherited) = inherited(notified().arg("-user=65534:65534"), &crate::notify::for_all(&dir));
    let address = inherited.env("NOTIFY_SOCKET").expect("an address").to_owned();
    let report = |uid: u32| {
        let mut command = Command::new(fixture("worker"));
        let status = command.args(["notify", "READY=1"]).env("NOTIFY_SOCKET", &address).uid(uid).status();
        assert!(status.expect("it runs").success());
    };
    report(4711);
    report(4711);
    let note = master.wait_note("ignored a message to the NOTIFY_SOCKET of pid ", SOON);
    assert!(note.contains(", uid 4711) does not belong to the worker"), "{note}");
    assert!(!master.has_note(&phrase::ready(1)));
    report(65534);
    master.wait_current(1);
    assert_eq!(master.count_notes("ignored a message"), 1, "{:?}", master.notes());
}

/// A directory below this one that every user may write to.
fn for_all(dir: &std::path::Path) -> std::path::PathBuf {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("our own");
    dir.to_owned()
}

#[test]
fn a_missed_deadline_fails_the_start_and_the_reload() {
    let planned = Planned::new("sleep");
    let mut master = planned.spawn(notified().arg("-start=200"));
    master.wait_note("generation 1 was not ready in time", SOON);
    assert_eq!(master.wait_exit(SOON), exited(1));
    planned.becomes("notify READY=1 sleep");
    let master = planned.start(notified().arg("-start=200"));
    planned.becomes("sleep");
    master.signal(Signal::SIGHUP);
    let failed = master.reload_failed(2);
    assert!(failed.contains("was not ready in time") && failed.ends_with(&phrase::keeps_running(1)), "{failed}");
}

#[test]
fn a_candidate_may_extend_its_deadline() {
    let planned = Planned::new("notify EXTEND_TIMEOUT_USEC=600000000 say loading hold 400 notify READY=1 sleep");
    let master = planned.spawn(notified().arg("-start=200"));
    master.wait_current(1);
    master.signal(Signal::SIGHUP);
    master.wait_current(2);
}

#[test]
fn a_candidate_that_has_exited_is_not_ready_whatever_it_has_sent_before() {
    let planned = Planned::new("notify READY=1 sleep");
    let master = planned.start(notified());
    planned.becomes("say loading await {gate} notify READY=1 exit 3");
    master.signal(Signal::SIGHUP);
    master.wait_output("loading", SOON);
    let candidate = master.started_pid(2);
    master.signal(Signal::SIGSTOP);
    fs::write(planned.gate(), "").expect("a file of our own");
    eventually("the candidate exits", SOON, || state_of(candidate) == Some('Z'));
    master.signal(Signal::SIGCONT);
    let failed = master.reload_failed(2);
    assert!(failed.contains(&phrase::exited_with(3)), "{failed}");
    assert!(!master.has_note(&phrase::current(2)));
}

#[test]
fn without_proc_and_without_any_directory_to_write_to_workers_report() {
    let root = match bare_root() {
        Ok(root) => root,
        Err(reason) => return skip(&reason),
    };
    let words = ["chroot".as_ref(), root.as_os_str()];
    let setup = || notified().through(words).binary("/socketmaster").program("/worker", ["notify", "READY=1", "sleep"]);
    setup().spawn().wait_current(1);
    setup().arg("-user=65534:65534").spawn().wait_current(1);
}

// ---- what goes on to the service manager

#[test]
fn the_status_goes_up_and_what_describes_the_program_does_not() {
    let manager = Manager::new();
    let planned = Planned::new(
        "notify STATUS=warming notify MAINPID=1\\nSTOPPING=1\\nRELOADING=1\\nSTATUS=warm barrier await {gate} notify READY=1 sleep",
    );
    let master = planned.spawn(manager.over(notified()));
    manager.wait("STATUS=starting generation 1; the program reports: warm");
    assert_eq!(manager.turns(), [""; 0]);
    fs::write(planned.gate(), "").expect("a file of our own");
    manager.wait("READY=1\nSTATUS=generation 1 (pid ");
    planned.becomes("notify EXTEND_TIMEOUT_USEC=9000000 notify STATUS=new\\nREADY=1 sleep");
    master.signal(Signal::SIGHUP);
    manager.wait("EXTEND_TIMEOUT_USEC=9000000");
    eventually("the new status", SOON, || manager.told().last().is_some_and(|told| told.ends_with("; the program reports: new")));
    let told = manager.told().concat();
    assert!(!told.contains("MAINPID") && !told.contains("STOPPING"), "{told}");
    assert_eq!(manager.turns(), ["READY=1", "RELOADING=1", "READY=1"]);
}

#[test]
fn descriptors_go_to_the_store_where_there_is_one_even_the_last_ones() {
    let manager = Manager::new();
    let planned = Planned::new(
        "notify --fds 2 FDSTORE=1\\nFDNAME=state\\nFDPOLL=0 notify FDSTOREREMOVE=1\\nFDNAME=socketmaster+x notify --fds 1 FDSTORE=1\\nFDNAME=socketmaster+y \
         notify FDSTORE=1\\nFDNAME=none barrier notify READY=1 say loaded await {gate} notify --fds 1 FDSTORE=1\\nFDNAME=last exit 0",
    );
    let mut master = planned.spawn(manager.with_store(notified()));
    master.wait_output("loaded", SOON);
    manager.wait("FDSTORE=1\nFDNAME=state\nFDPOLL=0");
    let kept = || manager.kept().into_iter().filter(|name| !name.starts_with("socketmaster+tcp")).collect::<Vec<_>>();
    eventually("both are kept", SOON, || kept() == ["state", "state"]);
    let worker = master.started_pid(1);
    master.signal(Signal::SIGSTOP);
    fs::write(planned.gate(), "").expect("a file of our own");
    eventually("the worker exits", SOON, || state_of(worker) == Some('Z'));
    master.signal(Signal::SIGCONT);
    assert_eq!(master.wait_exit(SOON), exited(0));
    eventually("the last one is kept", SOON, || kept() == ["state", "state", "last"]);
    assert!(!manager.told().iter().any(|told| told.contains("socketmaster+x") || told.contains("=none")), "{:?}", manager.told());

    let manager = Manager::new();
    let planned = Planned::new("notify --fds 2 FDSTORE=1\\nFDNAME=state barrier notify READY=1 say loaded sleep");
    let master = planned.spawn(manager.over(notified()));
    master.wait_output("loaded", SOON);
    manager.wait("READY=1");
    assert_eq!(manager.kept(), [""; 0], "there is no store");
}

// ---- watchdogs

#[test]
fn the_master_answers_its_own_watchdog_and_no_other() {
    let manager = Manager::new();
    let signs = |manager: &Manager| manager.told().iter().filter(|told| told.contains("WATCHDOG=1")).count();
    let _master = manager.over(Setup::new()).arg("-start=0").env("WATCHDOG_USEC", "100000").program(fixture("worker"), ["sleep"]).spawn();
    eventually("it is told again and again", SOON, || signs(&manager) > 5);
    let other = Manager::new();
    let setup = other.over(Setup::new()).arg("-start=0").env("WATCHDOG_USEC", "100000").env("WATCHDOG_PID", "1");
    let _other = setup.program(fixture("worker"), ["sleep"]).spawn();
    other.wait("READY=1");
    let before = signs(&manager);
    eventually("the time of several messages is over", SOON, || signs(&manager) > before + 5);
    assert_eq!(signs(&other), 0);
}

#[test]
fn a_worker_that_stops_to_report_is_aborted_and_one_that_never_has_is_not() {
    let manager = Manager::new();
    let watched = || manager.over(notified()).env("WATCHDOG_USEC", "200000");
    let dir = free_dir();
    let (master, inherited) = inherited(watched(), &dir);
    assert_eq!((inherited.env("WATCHDOG_USEC"), inherited.env("WATCHDOG_PID")), (Some("200000"), Some(inherited.get("pid"))));
    let mut hung = watched().program(fixture("worker"), ["notify", "READY=1\\nWATCHDOG=1", "sleep"]).spawn();
    hung.wait_note("generation 1 (pid ...) has not sent WATCHDOG=1 for 0.20 s; sending SIGABRT", SOON);
    assert_eq!(hung.wait_exit(SOON), exited(128 + 6));
    assert_eq!(master.children(), [inherited.number::<u32>("pid")], "it has not reported once");
    // SIGABRT may be ignored.
    let mut deaf = watched().program(fixture("worker"), ["ignore", "ABRT", "notify", "READY=1\\nWATCHDOG=1", "sleep"]).spawn();
    assert_eq!(deaf.wait_exit(SOON), exited(128 + 9));
    // One that was told to stop may take its time.
    let mut slow = watched().program(fixture("worker"), ["notify", "READY=1\\nWATCHDOG=1", "signals", "hold", "600"]).spawn();
    slow.wait_current(1);
    slow.wait_output("ready", SOON);
    assert_eq!(slow.stop(Signal::SIGTERM), exited(0));
}
