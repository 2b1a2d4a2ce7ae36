//! The control socket: requests are carried out and answered, and no caller can disturb the master.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::pre_exec::{in_user_namespace, into_user_namespace_of};
use crate::harness::{
    FreeDir, Master, SOON, Setup, binary, eventually, exited, fixture, free_dir, make_program, open_fds, phrase, send, skip,
};

/// A master with a control socket, whose program can be replaced.
struct Scene {
    dir: FreeDir,
    master: Master,
}

const GOOD: &str = "signals";

impl Scene {
    fn with(setup: Setup) -> Scene {
        let dir = free_dir();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("a directory of our own");
        become_program(&dir, GOOD);
        let setup = setup.arg(format!("-control={}", dir.join("control").display()));
        let master = setup.program(dir.join("app"), [""; 0]).spawn();
        master.wait_output("ready", SOON);
        Scene { dir, master }
    }

    fn new() -> Scene {
        Scene::with(Setup::new().arg("-start=0"))
    }

    fn control(&self) -> PathBuf {
        self.dir.join("control")
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.asking(words).wait_with_output().expect("it was started")
    }

    fn asking(&self, words: &[&str]) -> Child {
        started(asker(&self.control().display().to_string(), words))
    }

    fn call(&self) -> UnixStream {
        let stream = UnixStream::connect(self.control()).expect("the master listens there");
        stream.set_read_timeout(Some(SOON)).expect("a time");
        stream
    }

    /// The master answers, whatever was done to it.
    #[track_caller]
    fn is_well(&self) {
        let status = self.ask(&["-s=status"]);
        assert_eq!(status.status, exited(0), "{}", said(&status));
    }
}

/// As in `systemctl reload`: the journal adds the name, and a second one would be in the way.
#[test]
fn a_refusal_in_the_journal_has_a_level_and_no_name() {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    let scene = Scene::new();
    become_program(&scene.dir, "exit 3");
    fs::remove_file(scene.dir.join("app")).expect("it is there");
    let (mut reader, journal) = UnixStream::pair().expect("a pair");
    let stat = nix::sys::stat::fstat(&journal).expect("a socket");
    let mut command = asker(&scene.control().display().to_string(), &["-s=reload"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino)).stderr(OwnedFd::from(journal));
    assert_eq!(command.status().expect("it starts"), exited(1));
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert!(text.starts_with("<3>reload failed: "), "{text}");
}

/// Each start runs the worker with these words.
fn become_program(dir: &Path, words: &str) {
    let next = dir.join("next");
    make_program(&next, format!("#!/bin/sh\nexec {} {words}\n", fixture("worker").display()));
    fs::rename(next, dir.join("app")).expect("a directory of our own");
}

fn asker(control: &str, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg(format!("-control={control}")).args(words);
    command
}

fn started(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
}

fn said(output: &Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat().trim_end().to_owned()
}

fn line(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    line
}

#[test]
fn a_reload_is_waited_for_and_told() {
    let scene = Scene::with(Setup::new().arg("-start=200"));
    let output = scene.ask(&["-s", "reload"]);
    assert_eq!(output.status, exited(0), "{}", said(&output));
    let text = said(&output);
    assert!(phrase::matches(&text, &phrase::reloaded(2)), "{text}");
    assert!(output.stderr.is_empty());
    assert!(scene.master.has_note(&phrase::current(2)), "it has waited");
    scene.master.wait_note(phrase::RELOAD_REQUESTED, SOON);
}

#[test]
fn a_reload_that_fails_says_why_and_the_old_one_stays() {
    let scene = Scene::with(Setup::new().arg("-start=5000"));
    let old = scene.master.children();
    become_program(&scene.dir, "exit 3");
    let output = scene.ask(&["-s=reload"]);
    assert_eq!(output.status, exited(1));
    let text = said(&output);
    assert!(text.starts_with("socketmaster: ") && phrase::matches(&text, &phrase::reload_failed(2)), "{text}");
    assert!(phrase::matches(&text, &phrase::exited_with(3)) && text.ends_with(&phrase::keeps_running(1)), "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(scene.master.children(), old);
    fs::remove_file(scene.dir.join("app")).expect("it was made");
    let output = scene.ask(&["-s=reload"]);
    assert_eq!(output.status, exited(1));
    assert!(phrase::matches(&said(&output), &(phrase::reload_failed(3) + "...cannot execute ")), "{}", said(&output));
}

#[test]
fn callers_at_once_are_answered_for_the_reload_that_began_after_they_asked() {
    let scene = Scene::with(Setup::new().arg("-start=600"));
    let first = scene.asking(&["-s=reload"]);
    scene.master.started_pid(2);
    let others = [scene.asking(&["-s=reload"]), scene.asking(&["-s=reload"])];
    scene.master.wait_notes(phrase::RELOAD_REQUESTED, 3, SOON);
    let texts = [first].into_iter().chain(others).map(|child| {
        let output = child.wait_with_output().expect("it was started");
        assert_eq!(output.status, exited(0), "{}", said(&output));
        said(&output)
    });
    let texts: Vec<String> = texts.collect();
    for (text, generation) in texts.iter().zip([2, 3, 3]) {
        assert!(phrase::matches(text, &phrase::reloaded(generation)), "{texts:#?}");
    }
    assert!(!scene.master.has_note("generation 4"));
}

#[test]
fn a_caller_that_goes_away_leaves_nothing_behind_and_its_reload_goes_on() {
    let scene = Scene::with(Setup::new().arg("-start=600"));
    // By then the master has closed the pipe by which an exec that fails is reported.
    scene.master.wait_current(1);
    let before = open_fds(scene.master.pid()).len();
    let mut child = scene.asking(&["-s=reload"]);
    scene.master.started_pid(2);
    child.kill().and_then(|()| child.wait()).expect("it is our child");
    let half_closed = scene.call();
    (&half_closed).write_all(b"status").expect("room for a word");
    half_closed.shutdown(Shutdown::Write).expect("a connection");
    assert!(line(&half_closed).starts_with("{\"ok\":true,"), "the last line needs no end");
    drop(half_closed);
    scene.master.wait_current(2);
    eventually("its descriptors are closed", SOON, || {
        let open = open_fds(scene.master.pid());
        if open.len() == before { Ok(()) } else { Err(format!("{before} before, now {open:#?}")) }
    });
}

#[test]
fn who_waits_for_a_reload_hears_of_a_stop() {
    let mut scene = Scene::with(Setup::new().arg("-start=60000"));
    let child = scene.asking(&["-s=reload"]);
    scene.master.started_pid(2);
    scene.master.wait_outputs("ready", 2, SOON);
    assert_eq!(scene.master.stop(Signal::SIGTERM), exited(0));
    let output = child.wait_with_output().expect("it was started");
    assert_eq!((output.status, said(&output)), (exited(1), format!("socketmaster: {}", phrase::RELOAD_REFUSED)));
}

#[test]
fn a_stop_is_passed_on_as_term_and_waited_for() {
    let mut scene = Scene::new();
    let output = scene.ask(&["-s=stop"]);
    assert_eq!((output.status, said(&output)), (exited(0), phrase::ended_with(0)));
    assert_eq!(scene.master.wait_exit(SOON), exited(0));
    scene.master.wait_output("signal 15", SOON);
    assert!(!scene.control().exists(), "the socket goes away with the master");
}

/// A script may start the next master at once. The test has many paths, since removing a single one takes too little time.
#[test]
fn a_stop_is_answered_when_the_master_has_removed_what_it_made() {
    let dir = free_dir();
    let control = dir.join("control");
    let listen = (0..200).map(|number| format!("-listen=unix://{}", dir.join(number.to_string()).display()));
    let setup = listen.fold(Setup::new().arg("-start=0"), Setup::arg);
    let master = setup.arg(format!("-control={}", control.display())).program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    let left = || fs::read_dir(&dir).expect("a directory").count();
    // Each with its second name.
    assert_eq!(left(), 402);
    let stream = UnixStream::connect(&control).expect("the master listens there");
    stream.set_read_timeout(Some(SOON)).expect("a time");
    (&stream).write_all(b"stop\n").expect("room");
    assert_eq!(line(&stream), format!("{{\"ok\":true,\"text\":\"{}\"}}\n", phrase::ended_with(0)));
    assert_eq!(left(), 0);
    assert_eq!(UnixStream::connect(&control).map_err(|error| error.kind()).map(drop), Err(std::io::ErrorKind::NotFound));
}

#[test]
fn however_much_is_asked_signals_are_heard_in_between() {
    const REQUESTS: usize = 70;
    let mut scene = Scene::new();
    let stream = scene.call();
    scene.is_well();
    // All of it waits when the master goes on; a signal is taken at a time, and the first may come before the requests.
    scene.master.signal(Signal::SIGSTOP);
    (&stream).write_all("reload\n".repeat(REQUESTS).as_bytes()).expect("room");
    scene.master.signal(Signal::SIGUSR1);
    scene.master.signal(Signal::SIGTERM);
    scene.master.signal(Signal::SIGCONT);
    scene.master.wait_exit(SOON);
    let notes = scene.master.notes();
    let started = notes.iter().filter(|note| phrase::matches(note, phrase::STARTED)).count();
    assert!(started < REQUESTS, "{started}");
}

#[test]
fn during_a_shutdown_a_reload_is_refused_and_the_status_is_answered() {
    become_stubborn(|scene| {
        scene.master.signal(Signal::SIGTERM);
        scene.master.wait_note(phrase::SHUTTING_DOWN, SOON);
        let reload = scene.ask(&["-s=reload"]);
        assert_eq!((reload.status, said(&reload)), (exited(1), format!("socketmaster: {}", phrase::RELOAD_REFUSED)));
        let status = said(&scene.ask(&["-s=status"]));
        assert!(status.contains(phrase::STATUS_WAITS_FOR_ONE) && status.contains(phrase::STATUS_STOP_SENT), "{status}");
    });
}

/// A scene whose worker does not stop.
fn become_stubborn(look: impl FnOnce(&Scene)) {
    let dir = free_dir();
    let control = format!("-control={}", dir.join("control").display());
    let master =
        Setup::new().arg(control).arg("-start=0").program(fixture("worker"), ["ignore", "TERM", "signals", "--until", "INT"]).spawn();
    master.wait_output("ready", SOON);
    look(&Scene { dir, master });
}

#[test]
fn the_status_shows_generations_workers_listeners_and_the_last_reload() {
    let scene = Scene::with(Setup::new().arg("-start=0").arg("-listen=tcp://127.0.0.1:0?name=web"));
    let uri = scene.master.uri();
    scene.ask(&["-s=reload"]);
    scene.master.wait_exited(1);
    let pid = scene.master.children()[0];
    let table = said(&scene.ask(&["-s=status"]));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(table.starts_with("socketmaster ") && table.contains(&format!("{}\n", phrase::serves(2, pid))), "{table}");
    assert!(rows.iter().any(|row| row.starts_with(&["2", "current", &pid.to_string()])), "{table}");
    assert!(rows.contains(&vec!["3", &uri, "web"]), "{table}");
    assert!(phrase::matches(&table, &format!("last reload, 0 s ago: {}", phrase::reloaded(2))), "{table}");

    let json = said(&scene.ask(&["-s=status", "-json"]));
    assert!(json.starts_with("{\"ok\":true,\"text\":\"socketmaster ") && json.ends_with('}') && !json.contains('\n'), "{json}");
    for member in [
        format!("\"pid\":{},", scene.master.pid()),
        "\"state\":\"serving\"".to_owned(),
        format!("{{\"pid\":{pid},\"generation\":2,\"role\":\"current\",\"age\":"),
        format!("{{\"fd\":3,\"uri\":\"{uri}\",\"name\":\"web\"}}"),
        "\"last_reload\":{\"ok\":true,\"text\":\"generation 2 ".to_owned(),
    ] {
        assert!(json.contains(&member), "{member} in {json}");
    }
}

#[test]
fn garbage_is_answered_or_dropped_and_disturbs_no_other_caller() {
    let scene = Scene::new();
    let stream = scene.call();
    (&stream).write_all(b"relaod\n\n\x00\xff\x1b[2J\nstatus\n").expect("room");
    let mut answers = BufReader::new(&stream).lines().map(|line| line.expect("an answer"));
    assert_eq!(
        answers.next().as_deref(),
        Some("{\"ok\":false,\"text\":\"unknown request \\\"relaod\\\"; accepted are reload, status, stop\"}")
    );
    for _ in 0..2 {
        let answer = answers.next().expect("an answer to each line");
        assert!(answer.starts_with("{\"ok\":false,\"text\":\"unknown request ") && !answer.contains('\u{1b}'), "{answer:?}");
    }
    assert!(answers.next().is_some_and(|answer| answer.starts_with("{\"ok\":true,")));

    let endless = scene.call();
    // It may be hung up on before all of it is through.
    let _ = (&endless).write_all(&[b'x'; 100_000]);
    let mut answer = String::new();
    let _ = (&endless).read_to_string(&mut answer);
    assert_eq!(answer, "{\"ok\":false,\"text\":\"the request is longer than 4096 bytes\"}\n");
    scene.is_well();
}

#[test]
fn a_caller_that_does_not_read_blocks_only_itself() {
    let scene = Scene::new();
    let deaf = scene.call();
    deaf.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    // Until the answers fill the socket's buffer, and the requests the other one.
    eventually("nothing more is taken", SOON, || match (&deaf).write(b"status\nstatus\nstatus\nstatus\n") {
        Ok(count) => {
            sent += count;
            false
        }
        Err(_) => true,
    });
    assert!(sent > 1000, "{sent}");
    scene.is_well();
    let output = scene.ask(&["-s=reload"]);
    assert_eq!(output.status, exited(0), "{}", said(&output));
}

#[test]
fn more_callers_than_there_is_room_for_push_out_the_idle_ones() {
    let scene = Scene::with(Setup::new().arg("-start=600"));
    let waiting = scene.asking(&["-s=reload"]);
    scene.master.wait_note(phrase::RELOAD_REQUESTED, SOON);
    let idle: Vec<UnixStream> = (0..80).map(|_| scene.call()).collect();
    scene.is_well();
    assert_eq!(waiting.wait_with_output().expect("it was started").status, exited(0), "who waits for an answer is not idle");
    drop(idle);
    scene.is_well();
}

#[test]
fn without_descriptors_callers_are_refused_and_everything_else_works() {
    let scene = Scene::with(Setup::new().arg("-start=0").tune(|command| {
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 24, 24)?)) };
    }));
    let mut callers: Vec<UnixStream> = (0..30).map(|_| scene.call()).collect();
    eventually("one is turned away", SOON, || {
        let gone = |stream: &mut UnixStream| {
            stream.set_nonblocking(true).expect("a socket");
            matches!(stream.read(&mut [0]), Ok(0))
        };
        callers.iter_mut().any(gone)
    });
    scene.master.signal(Signal::SIGUSR1);
    scene.master.wait_output("signal 10", SOON);
    drop(callers);
    eventually("it answers again", SOON, || scene.ask(&["-s=status"]).status == exited(0));
}

#[test]
fn a_refused_caller_is_answered_with_the_shortage_and_its_limit() {
    let scene = Scene::with(Setup::new().arg("-start=0").tune(|command| {
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 24, 24)?)) };
    }));
    let callers: Vec<UnixStream> = (0..30).map(|_| scene.call()).collect();
    let refusal = "{\"ok\":false,\"text\":\"refused: no more descriptors: the limit is 24 (RLIMIT_NOFILE)\"}\n";
    assert_eq!(line(callers.last().expect("a caller")), refusal);
    drop(callers);
    eventually("it answers again", SOON, || scene.ask(&["-s=status"]).status == exited(0));
}

/// Sets the limit of descriptors of a running master, and gives the one before.
fn limit_descriptors(master: &Master, limit: u64) -> u64 {
    let pid = master.pid() as libc::pid_t;
    // SAFETY: both structs live during the calls, which read one and write the other.
    unsafe {
        let mut before: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before), 0);
        let now = libc::rlimit { rlim_cur: limit as libc::rlim_t, ..before };
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const now, std::ptr::null_mut()), 0);
        before.rlim_cur as u64
    }
}

/// There is not even the spare descriptor with which a caller is turned away.
#[test]
fn after_a_moment_without_any_descriptor_callers_are_answered_and_nothing_else_has_to_happen() {
    let mut scene = Scene::new();
    let stream = scene.call();
    scene.is_well();
    let before = limit_descriptors(&scene.master, 5);
    let waiting = scene.call();
    (&waiting).write_all(b"status\n").expect("room");
    scene.master.wait_note("cannot accept connections at the control socket: no more descriptors: the limit is 5 (RLIMIT_NOFILE)", SOON);
    scene.master.signal(Signal::SIGUSR1);
    scene.master.wait_output("signal 10", SOON);
    (&stream).write_all(b"status\n").expect("room");
    assert!(line(&stream).starts_with("{\"ok\":true,"), "who was there before is served meanwhile");
    limit_descriptors(&scene.master, before);
    assert!(line(&waiting).starts_with("{\"ok\":true,"));
    assert_eq!(scene.master.notes().iter().filter(|note| note.contains("cannot accept")).count(), 1);
    assert_eq!(scene.master.stop(Signal::SIGTERM), exited(0));
}

/// poll(2) refuses to wait for more descriptors than the limit allows.
#[test]
fn with_more_callers_than_poll_may_wait_for_every_caller_is_heard() {
    let mut scene = Scene::new();
    let callers: Vec<UnixStream> = (0..10).map(|_| scene.call()).collect();
    scene.is_well();
    limit_descriptors(&scene.master, 5);
    // With a signal it looks once more at everything, and from then on it waits for a part.
    scene.master.signal(Signal::SIGUSR1);
    scene.master.wait_output("signal 10", SOON);
    for mut caller in &callers {
        caller.write_all(b"status\n").expect("room");
    }
    for caller in &callers {
        assert!(line(caller).starts_with("{\"ok\":true,"));
    }
    assert_eq!(scene.master.stop(Signal::SIGTERM), exited(0));
}

#[test]
fn a_request_with_ack_is_acknowledged_at_once_and_others_get_one_line() {
    let mut scene = Scene::with(Setup::new().arg("-start=60000"));
    let [plain, wanted] = [scene.call(), scene.call()];
    (&wanted).write_all(b"reload ack\n").expect("room");
    assert_eq!(line(&wanted), "{\"accepted\":true}\n", "the reload is under way");
    (&plain).write_all(b"reload\n").expect("room");
    scene.master.wait_notes(phrase::RELOAD_REQUESTED, 2, SOON);
    scene.master.wait_outputs("ready", 2, SOON);
    scene.master.stop(Signal::SIGTERM);
    for stream in [&wanted, &plain] {
        assert_eq!(line(stream), format!("{{\"ok\":false,\"text\":\"{}\"}}\n", phrase::RELOAD_REFUSED));
    }
}

#[test]
fn a_control_socket_and_an_idle_caller_cause_no_wakeups() {
    let scene = Scene::new();
    let _idle = scene.call();
    scene.is_well();
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", scene.master.pid())).expect("it runs");
        status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    // It is idle again when two looks at some distance are alike, and then it stays so.
    eventually("it rests", SOON, || {
        let before = switches();
        std::thread::sleep(std::time::Duration::from_millis(300));
        before == switches()
    });
    let before = switches();
    scene.is_well();
    assert_ne!(switches(), before, "a request does wake it");
}

#[test]
fn the_socket_is_its_owner_s_and_is_handed_to_no_worker() {
    let scene = Scene::new();
    assert_eq!(fs::metadata(scene.control()).expect("a socket").mode() & 0o777, 0o600);
    let worker = scene.master.children()[0];
    assert_eq!(open_fds(worker).into_keys().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn another_user_is_refused_where_the_file_s_mode_cannot_do_it() {
    if !geteuid().is_root() {
        return skip("it needs root to be somebody else");
    }
    let name = format!("socketmaster-control-{}", std::process::id());
    let master = Setup::new().arg(format!("-control=@{name}")).arg("-start=0").program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    let asked_by = |uid: u32| {
        let mut command = asker(&format!("@{name}"), &["-s=status"]);
        command.uid(uid).gid(uid);
        started(command).wait_with_output().expect("it was started")
    };
    let refused = asked_by(65_534);
    assert_eq!((refused.status, said(&refused)), (exited(1), "socketmaster: refused: uid 65534 may not command this master".to_owned()));
    assert_eq!(asked_by(0).status, exited(0), "the control");
}

#[test]
fn root_and_its_own_user_may_command_a_master_of_another_user() {
    if !geteuid().is_root() {
        return skip("it needs root to be somebody else");
    }
    let name = format!("socketmaster-control-of-another-{}", std::process::id());
    let master = Setup::new()
        .run_as(65_534, 65_534)
        .arg(format!("-control=@{name}"))
        .arg("-start=0")
        .program(fixture("worker"), ["signals"])
        .spawn();
    master.wait_output("ready", SOON);
    for (uid, status) in [(0, 0), (65_534, 0), (12_345, 1)] {
        let mut command = asker(&format!("@{name}"), &["-s=status"]);
        command.uid(uid).gid(uid);
        let output = started(command).wait_with_output().expect("it was started");
        assert_eq!(output.status, exited(status), "uid {uid}: {}", said(&output));
    }
}

/// In a container whose user namespace does not know every uid, all strangers have the uid 65534, and so may the master.
#[test]
fn a_uid_that_every_stranger_has_is_believed_only_in_the_master_s_own_user_namespace() {
    if !geteuid().is_root() {
        return skip("it needs root to make a user namespace with many ids");
    }
    let name = format!("socketmaster-control-in-a-namespace-{}", std::process::id());
    let mut master = Setup::new()
        .arg("-listen=none")
        .arg(format!("-control=@{name}"))
        .program(fixture("worker"), ["signals"])
        .tune(|command| in_user_namespace(command, 65_534))
        .spawn();
    master.wait_output("ready", SOON);
    let call = |who: &dyn Fn(&mut Command), words: &str| {
        let mut command = Command::new(fixture("worker"));
        command.args(["call", &name, words]);
        who(&mut command);
        said(&started(command).wait_with_output().expect("it was started"))
    };
    let within = |id: u32| {
        let pid = master.pid();
        move |command: &mut Command| into_user_namespace_of(command, pid, id)
    };
    // Root of the host is a stranger, too.
    for uid in [1000, 65_534, 0] {
        let answer = call(&|command| _ = command.uid(uid).gid(uid), "stop");
        assert_eq!(
            answer,
            "{\"ok\":false,\"text\":\"refused: uid 65534 may stand for any user, and the caller is not known to be in the master's user namespace\"}",
            "uid {uid}"
        );
    }
    let answer = call(&within(5), "stop");
    assert_eq!(answer, "{\"ok\":false,\"text\":\"refused: uid 5 may not command this master\"}");
    for id in [65_534, 0] {
        let answer = call(&within(id), "status");
        assert!(answer.starts_with("{\"ok\":true,\"text\":\"socketmaster "), "id {id} of the namespace: {answer}");
    }
    let mut command = asker(&format!("@{name}"), &["-s=stop"]);
    within(65_534)(&mut command);
    let output = started(command).wait_with_output().expect("it was started");
    assert_eq!((output.status, said(&output)), (exited(0), phrase::ended_with(0)));
    assert_eq!(master.wait_exit(SOON), exited(0));
}

/// Lets a program of one user listen at a control address, and a client of another user send a request to it. Returns the
/// output of both.
fn impersonated(listener: u32, caller: u32, answer: &str) -> (Output, String) {
    let name = format!("socketmaster-impersonated-{}-{listener}-{caller}", std::process::id());
    let mut command = Command::new(fixture("worker"));
    command.args(["impersonate", &name, answer]).uid(listener).gid(listener);
    let mut impostor = started(command);
    let mut ready = [0; "ready\n".len()];
    impostor.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it listens");
    let mut command = asker(&format!("@{name}"), &["-s=status"]);
    command.uid(caller).gid(caller);
    let output = started(command).wait_with_output().expect("it was started");
    (output, said(&impostor.wait_with_output().expect("it was started")))
}

#[test]
fn a_client_sends_nothing_to_another_user_s_program_and_prints_nothing_from_it() {
    if !geteuid().is_root() {
        return skip("it needs root to be somebody else");
    }
    let answer = "{\"ok\":true,\"text\":\"fine\"}";
    let (output, heard) = impersonated(12_345, 65_534, answer);
    let text = said(&output);
    assert_eq!(output.status, exited(1), "{text}");
    assert!(text.starts_with("socketmaster: cannot reach a master at @socketmaster-impersonated-"), "{text}");
    assert!(text.ends_with(": the listener belongs to uid 12345, which is neither root nor uid 65534"), "{text}");
    assert_eq!(heard, "heard");
    for (listener, caller) in [(65_534, 65_534), (0, 65_534), (65_534, 0)] {
        let (output, heard) = impersonated(listener, caller, answer);
        assert_eq!((output.status, said(&output).as_str(), heard.as_str()), (exited(0), "fine", "heard status\\n"), "{listener}, {caller}");
    }
}

#[test]
fn nothing_that_a_terminal_obeys_is_printed_of_an_answer() {
    let name = format!("socketmaster-loud-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
    let text = r#"a\n  b\u001b]0;owned\u0007\r"#;
    for (words, answer, status, shown) in [
        (&["-s=status"][..], format!("{{\"ok\":true,\"text\":\"{text}\u{9b}\u{202e}\"}}"), 0, r"a\n  b\u{1b}]0;owned\u{7}\r\u{9b}\u{202e}"),
        (&["-s=status"], format!("{{\"ok\":false,\"text\":\"{text}\"}}"), 1, r"socketmaster: a\n  b\u{1b}]0;owned\u{7}\r"),
        (
            &["-s=status", "-json"],
            format!("{{ \"ok\":\ttrue,\"text\":\"{text}\u{7f}\u{9b}\"}}"),
            0,
            r#"{ "ok": true,"text":"a\n  b\u001b]0;owned\u0007\r\u007f\u009b"}"#,
        ),
    ] {
        let child = started(asker(&format!("@{name}"), words));
        let (stream, _) = listener.accept().expect("a caller");
        line(&stream);
        (&stream).write_all(format!("{answer}\n").as_bytes()).expect("room");
        let output = child.wait_with_output().expect("it was started");
        // The end of a line of the text is the end of a line.
        let shown = if words.len() == 1 { shown.replacen(r"\n", "\n", 1) } else { shown.to_owned() };
        assert_eq!((output.status, said(&output)), (exited(status), shown));
    }
    // A control character within a string is no JSON.
    for words in [&["-s=status"][..], &["-s=status", "-json"]] {
        let child = started(asker(&format!("@{name}"), words));
        let (stream, _) = listener.accept().expect("a caller");
        line(&stream);
        (&stream).write_all(b"{\"ok\":true,\"text\":\"\x1b]0;owned\x07\"}\n").expect("room");
        let output = child.wait_with_output().expect("it was started");
        let cause = r#"unexpected answer "{\"ok\":true,\"text\":\"\u{1b}]0;owned\u{7}\"}""#;
        assert_eq!((output.status, said(&output)), (exited(1), format!("socketmaster: cannot reach a master at @{name}: {cause}")));
    }
}

#[test]
fn a_master_that_does_not_answer_is_given_up_on() {
    let name = format!("socketmaster-deaf-{}", std::process::id());
    let _deaf = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
    let children = ["status", "reload", "stop"].map(|verb| started(asker(&format!("@{name}"), &[&format!("-s={verb}")])));
    for mut child in children {
        eventually("it gives up", SOON, || child.try_wait().expect("it is our child"));
        let output = child.wait_with_output().expect("it was started");
        let cause = format!("socketmaster: cannot reach a master at @{name}: no answer within 10 s");
        assert_eq!((output.status, said(&output)), (exited(1), cause));
    }
}

#[test]
fn a_control_address_without_a_master_is_an_error_that_names_it() {
    let dir = free_dir();
    let path = dir.join("control").display().to_string();
    let ask = |control: &str| {
        let output = started(asker(control, &["-s=reload"])).wait_with_output().expect("it was started");
        (output.status, said(&output))
    };
    let hint = "is it running with this -control?";
    assert_eq!(ask(&path), (exited(1), format!("socketmaster: cannot reach a master at {path}: No such file or directory; {hint}")));
    drop(UnixListener::bind(&path).expect("a path of our own"));
    assert_eq!(ask(&path), (exited(1), format!("socketmaster: cannot reach a master at {path}: Connection refused; {hint}")));
    assert_eq!(
        ask("@nobody-listens-here"),
        (exited(1), format!("socketmaster: cannot reach a master at @nobody-listens-here: Connection refused; {hint}"))
    );
}

#[test]
fn who_answers_otherwise_is_no_master() {
    let name = format!("socketmaster-impostor-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a socket");
    for (answer, cause) in [
        ("", "it closed the connection without an answer"),
        ("HTTP/1.1 400 Bad Request\r\n", "unexpected answer \"HTTP/1.1 400 Bad Request\""),
    ] {
        let child = started(asker(&format!("@{name}"), &["-s=status"]));
        let (stream, _) = listener.accept().expect("a caller");
        line(&stream);
        (&stream).write_all(answer.as_bytes()).expect("room");
        drop(stream);
        let output = child.wait_with_output().expect("it was started");
        assert_eq!((output.status, said(&output)), (exited(1), format!("socketmaster: cannot reach a master at @{name}: {cause}")));
    }
}

#[test]
fn a_client_can_be_interrupted() {
    let scene = Scene::with(Setup::new().arg("-start=60000"));
    let child = scene.asking(&["-s=reload"]);
    scene.master.wait_note(phrase::RELOAD_REQUESTED, SOON);
    send(child.id(), Signal::SIGINT);
    let output = child.wait_with_output().expect("it was started");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(Signal::SIGINT as i32));
}

#[test]
fn a_control_socket_in_use_is_an_error_and_a_stale_one_is_replaced() {
    let scene = Scene::new();
    let control = format!("-control={}", scene.control().display());
    let marker = scene.dir.join("marker");
    let second = || Setup::new().arg(&control).arg("-start=0").program(fixture("worker"), ["report".as_ref(), marker.as_os_str()]);
    let mut refused = second().spawn();
    assert_eq!(refused.wait_exit(SOON), exited(1));
    let said: Vec<String> = refused.lines().iter().map(|line| line.text()).collect();
    assert!(said.len() == 1 && said[0].contains("Address already in use"), "{said:#?}");
    assert!(!marker.exists() && scene.control().exists());

    let Scene { dir, mut master } = scene;
    let left = master.children();
    master.signal(Signal::SIGKILL);
    master.wait_exit(SOON);
    left.into_iter().for_each(|worker| _ = send(worker, Signal::SIGKILL));
    assert!(dir.join("control").exists(), "stale");
    let mut third = second().spawn();
    assert_eq!(third.wait_exit(SOON), exited(0));
}
