//! What must not end it, confuse it or make it grow: storms, deaths at any moment, shortage of everything, and a machine
//! that changes under it.

use std::fs::{self, File, Permissions};
use std::hint;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc::{self, RLIM_INFINITY, rlim_t};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1};

use crate::harness::{
    Master, SOON, Setup, assert_ended_at_term, binary, descendants, eventually, exited, fixture, free_dir, has_pending, make_program,
    only_child, open_fds, phrase, pid_namespaces, pre_exec, send, skip, state_of,
};

fn run(setup: Setup, verbs: &str) -> Master {
    setup.program(fixture("worker"), verbs.split(' ')).spawn()
}

/// Goes through the notes in their order: no generation is started while another is a candidate. How many were started.
#[track_caller]
fn never_two_candidates(notes: &[String]) -> usize {
    let mut candidate = None;
    let mut started = 0;
    for note in notes {
        let Some((_, what)) = note.split_once("]: ") else { continue };
        if phrase::matches(what, phrase::STARTED) {
            assert_eq!(candidate, None, "{note}");
            candidate = Some(phrase::pid_in(what));
            started += 1;
        } else if what.starts_with(phrase::RELOAD_FAILED) || what.ends_with(phrase::CURRENT) || what.starts_with(phrase::SHUTTING_DOWN) {
            candidate = None;
        }
    }
    started
}

/// What descriptors the master has when nothing is under way. Their numbers may change, as the workers' pipes do.
#[track_caller]
fn descriptors_at_rest(master: &Master) -> Vec<String> {
    // A worker may be ready before the master has closed what it started it with.
    master.wait_current(1);
    only_child(master.pid());
    // It has reaped the others; once it sleeps it has also closed what was theirs.
    eventually("it sleeps", SOON, || state_of(master.pid()) == Some('S'));
    let mut kinds: Vec<String> =
        open_fds(master.pid()).values().map(|what| what.split('[').next().unwrap_or_default().to_owned()).collect();
    kinds.sort();
    kinds
}

#[test]
fn a_storm_of_signals_leaves_one_reload_pending_at_most_and_nothing_behind() {
    const BLOWS: usize = 10_000;
    for option in ["-prefix=false", "-prefix"] {
        for start in ["-start=0", "-start=5"] {
            // Workers are born deaf to both, so that none dies of them before it has begun.
            let setup = Setup::new().with_stdin().tune(|command| {
                pre_exec::block_and_ignore(command, &[libc::SIGTERM, libc::SIGUSR1], &[]);
            });
            let mut master = run(setup.arg(option).arg(start), "signals exit 7");
            master.wait_output("ready", SOON);
            let before = descriptors_at_rest(&master);
            for _ in 0..BLOWS {
                master.signal(SIGHUP);
                master.signal(SIGUSR1);
            }
            // The last one is not lost either: once it has been taken all of them have.
            eventually("the storm is over", SOON, || !has_pending(master.pid(), libc::SIGHUP));
            eventually("all reloads are over", SOON, || {
                let notes = master.notes();
                let (started, current) = (count(&notes, phrase::STARTED), count(&notes, phrase::CURRENT));
                if started == current && master.children().len() == 1 { Ok(()) } else { Err((started, current)) }
            });
            eventually("no descriptor is left", SOON, || descriptors_at_rest(&master) == before);
            assert_eq!(master.stop(SIGTERM), exited(7), "{option} {start}");
            eventually("no process is left", SOON, || master.left_nobody());
            let notes = master.notes();
            let started = never_two_candidates(&notes);
            assert!(started >= 3, "{option} {start}: {started} generations are no storm");
            assert_eq!(count(&notes, phrase::STOP_SENT), started, "each once");
            assert_eq!(count(&notes, &phrase::exited_with(7)), started);
        }
    }
}

fn count(notes: &[String], text: &str) -> usize {
    notes.iter().filter(|note| phrase::matches(note, text)).count()
}

#[test]
fn a_term_in_the_storm_ends_it() {
    for option in ["-prefix=false", "-prefix"] {
        let setup = Setup::new().with_stdin().tune(|command| {
            pre_exec::block_and_ignore(command, &[libc::SIGTERM, libc::SIGUSR1], &[]);
        });
        let mut master = run(setup.arg(option).arg("-start=1"), "signals exit 7");
        master.wait_output("ready", SOON);
        for _ in 0..10_000 {
            master.signal(SIGHUP);
            master.signal(SIGUSR1);
        }
        master.signal(SIGTERM);
        assert_eq!(master.wait_exit(SOON), exited(7), "{option}");
        eventually("no process is left", SOON, || master.left_nobody());
        let notes = master.notes();
        never_two_candidates(&notes);
        let (_, after) = notes.split_at(notes.iter().position(|note| note.contains(phrase::SHUTTING_DOWN)).expect("a stop"));
        assert_eq!(count(after, phrase::STARTED), 0, "{after:#?}");
    }
}

#[test]
fn the_look_for_two_candidates_finds_them() {
    let started = |pid: &str| phrase::started(1).replace("...", pid);
    let notes = [started("1"), phrase::current(1), started("2"), started("3")].map(|note| format!("socketmaster[9]: {note}"));
    assert_eq!(never_two_candidates(&notes[..3]), 2);
    assert!(std::panic::catch_unwind(|| never_two_candidates(&notes)).is_err());
}

/// Not for long, and without sleeping, since that takes longer than what is to be hit.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        hint::spin_loop();
    }
}

#[test]
fn a_term_at_any_moment_of_a_reload_ends_it() {
    for moment in 0..120 {
        let option = if moment % 2 == 0 { "-prefix" } else { "-prefix=false" };
        let mut master = run(Setup::new().with_stdin().arg("-start=3").arg(option), "sleep");
        master.wait_current(1);
        master.signal(SIGHUP);
        // From before the candidate's start to after its promotion and the old one's end.
        spin(Duration::from_micros(moment * 60));
        assert_eq!(master.stop(SIGTERM), exited(143), "after {} us", moment * 60);
        eventually("no process is left", SOON, || master.left_nobody());
    }
}

#[test]
fn of_two_generations_either_may_be_killed_and_the_other_serves() {
    const RELOADS: usize = 100;
    let mut master = run(Setup::new().arg("-start=600000"), "sleep");
    master.wait_output("ready", SOON);
    let fds = descriptors_at_rest(&master);
    let mut current = only_child(master.pid());
    for generation in 2..RELOADS + 2 {
        master.signal(SIGHUP);
        let candidate = master.started_pid(generation);
        // Neither in turn nor at random: each order of the two comes up.
        if generation % 5 < 2 {
            assert!(send(current, SIGKILL));
            master.wait_current(generation);
            current = candidate;
        } else {
            assert!(send(candidate, SIGKILL));
            master.wait_note(&(phrase::reload_failed(generation) + "..." + &phrase::worker_killed_by(candidate, "SIGKILL")), SOON);
        }
        assert_eq!(only_child(master.pid()), current);
    }
    assert_eq!(descriptors_at_rest(&master), fds);
    assert_eq!(never_two_candidates(&master.notes()), RELOADS + 1);
    send(current, SIGKILL);
    assert_eq!(master.wait_exit(SOON), exited(137));
}

#[test]
fn candidates_that_crash_at_once_cost_nothing_but_notes() {
    const RELOADS: usize = 100;
    for option in ["-prefix=false", "-prefix"] {
        let worker = fixture("worker").display().to_string();
        let script = format!("[ $SERVER_STARTER_GENERATION = 1 ] && exec {worker} signals; echo doomed; exit 11");
        let mut master = Setup::new().arg(option).arg("-start=600000").program("sh", ["-c", &script]).spawn();
        master.wait_output("ready", SOON);
        let (current, fds) = (only_child(master.pid()), descriptors_at_rest(&master));
        for generation in 2..RELOADS + 2 {
            master.signal(SIGHUP);
            let note = master.reload_failed(generation);
            assert!(note.contains(&phrase::exited_with(11)) && note.ends_with(&phrase::keeps_running(1)), "{note}");
        }
        assert_eq!(only_child(master.pid()), current);
        assert_eq!(descriptors_at_rest(&master), fds, "{option}");
        assert_eq!(master.stop(SIGTERM), exited(0), "{option}");
        assert_eq!(master.lines().iter().filter(|line| line.text().ends_with("doomed")).count(), RELOADS, "{option}");
    }
}

/// Changes the soft limit of a running process, by prlimit(1) and as its user: not every root may change others'.
#[track_caller]
fn limit(master: &Master, user: u32, what: Resource, soft: rlim_t) {
    let option = match what {
        Resource::RLIMIT_NOFILE => "nofile",
        Resource::RLIMIT_NPROC => "nproc",
        Resource::RLIMIT_AS => "as",
        Resource::RLIMIT_DATA => "data",
        other => panic!("prlimit(1) has a word for {other:?}, too: write it here"),
    };
    let soft = if soft == RLIM_INFINITY { "unlimited".to_owned() } else { soft.to_string() };
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", master.pid())).arg(format!("--{option}={soft}:"));
    if user != 0 {
        command.uid(user).gid(user);
    }
    assert!(command.status().expect("there is prlimit").success());
}

/// What this test runs with, and so the master.
fn usual_limit(what: Resource) -> rlim_t {
    getrlimit(what).expect("it has one").0
}

/// A reload that fails for this reason, then one that does not once `cure` has been called.
#[track_caller]
fn fails_and_then_works(master: &Master, reason: &str, cure: impl FnOnce()) {
    let (current, fds) = (only_child(master.pid()), descriptors_at_rest(master));
    master.signal(SIGHUP);
    let note = master.reload_failed(2);
    assert!(note.contains(reason), "{note}");
    assert_eq!(only_child(master.pid()), current, "the old one stays");
    assert_eq!(descriptors_at_rest(master), fds, "nothing is left of the attempt");
    cure();
    master.signal(SIGHUP);
    master.wait_current(3);
    assert_ne!(only_child(master.pid()), current);
    // Of the first and the third: from then on a signal finds what it is for.
    master.wait_outputs("ready", 2, SOON);
}

#[test]
fn without_descriptors_a_reload_fails_and_with_them_the_next_works() {
    for (option, free, reason) in [
        ("-prefix=false", 0, ": no more descriptors: the limit is "),
        ("-prefix", 0, "cannot open a pipe"),
        ("-prefix", 3, "cannot open a pipe"),
    ] {
        let mut master = run(Setup::new().arg(option).arg("-start=0"), "signals");
        master.wait_current(1);
        master.wait_output("ready", SOON);
        let open = open_fds(master.pid());
        // So many numbers are free below it, which is none or too few.
        let end = (0..).filter(|number| !open.contains_key(number)).nth(free).expect("there are more numbers than descriptors");
        limit(&master, 0, Resource::RLIMIT_NOFILE, end as rlim_t);
        let cure = || limit(&master, 0, Resource::RLIMIT_NOFILE, usual_limit(Resource::RLIMIT_NOFILE));
        fails_and_then_works(&master, reason, cure);
        assert_eq!(master.stop(SIGTERM), exited(0), "{option}");
    }
}

/// poll(2) takes no more descriptors than the limit allows: without care the loop would spin from there on.
#[test]
fn with_a_limit_below_what_it_waits_for_signals_still_arrive_and_it_sleeps_in_between() {
    let mut master = run(Setup::new().arg("-prefix"), "signals");
    master.wait_output("ready", SOON);
    limit(&master, 0, Resource::RLIMIT_NOFILE, 1);
    let worker = only_child(master.pid());
    master.signal(SIGUSR1);
    eventually("the worker has taken it", SOON, || !has_pending(worker, libc::SIGUSR1));
    let mut asleep = 0;
    eventually("it sleeps whenever one looks", SOON, || {
        asleep = if state_of(master.pid()) == Some('S') { asleep + 1 } else { 0 };
        asleep == 10
    });
    limit(&master, 0, Resource::RLIMIT_NOFILE, usual_limit(Resource::RLIMIT_NOFILE));
    master.signal(SIGUSR1);
    master.wait_outputs("signal 10", 2, SOON);
    assert_eq!(master.stop(SIGTERM), exited(0));
}

#[test]
fn without_processes_a_reload_fails_and_with_them_the_next_works() {
    // Of the tests' other processes none has this uid, and root has no such limit.
    const NOBODY_ELSE: u32 = 54_322;
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become a user who has no other processes");
    }
    let dir = free_dir();
    copy(&binary(), &dir.join("socketmaster"));
    copy(&fixture("worker"), &dir.join("worker"));
    let setup = Setup::new().binary(dir.join("socketmaster")).run_as(NOBODY_ELSE, NOBODY_ELSE).arg("-start=0").arg("-prefix");
    let mut master = setup.program(dir.join("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    limit(&master, NOBODY_ELSE, Resource::RLIMIT_NPROC, 2);
    let cure = || limit(&master, NOBODY_ELSE, Resource::RLIMIT_NPROC, usual_limit(Resource::RLIMIT_NPROC));
    fails_and_then_works(&master, ": no more processes: the limit is 2 (RLIMIT_NPROC)", cure);
    assert_eq!(master.stop(SIGTERM), exited(0));
}

/// A copy that other users may execute.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    make_program(to, fs::read(from).expect("it is built"));
}

#[test]
fn a_program_that_is_away_or_being_written_fails_the_reload_and_is_started_once_it_is_whole() {
    type Spoil = fn(&Path) -> Option<File>;
    let cases: [(&str, &str, Spoil); 4] = [
        ("removed", "No such file", |program| {
            fs::remove_file(program).expect("it was there");
            None
        }),
        ("being written", "Text file busy", |program| Some(File::options().append(true).open(program).expect("it is there"))),
        ("not executable", "Permission denied", |program| {
            fs::set_permissions(program, Permissions::from_mode(0o644)).expect("it is ours");
            None
        }),
        ("replaced by no program", "Exec format error", |program| {
            make_program(program, "neither fish nor fowl");
            None
        }),
    ];
    for (case, reason, spoil) in cases {
        let dir = free_dir();
        let program = dir.join("program");
        copy(&fixture("worker"), &program);
        let mut master = Setup::new().arg("-start=0").program(&program, ["signals"]).spawn();
        master.wait_output("ready", SOON);
        let serving = only_child(master.pid());
        let executed = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).expect("it lives");
        // Make a new file of that name: a running program cannot be written to.
        copy(&fixture("worker"), &program);
        let writer = spoil(&program);
        fails_and_then_works(&master, reason, || {
            drop(writer);
            copy(&fixture("worker"), &program);
        });
        assert_eq!(executed(only_child(master.pid())), program, "{case}: {serving} ran from what was there before");
        assert_eq!(master.stop(SIGTERM), exited(0), "{case}");
    }
}

#[test]
fn a_directory_that_is_away_fails_the_reload_and_serves_again_once_it_is_back() {
    let dir = free_dir();
    let home = dir.join("current");
    fs::create_dir(&home).expect("a directory");
    let mut master = run(Setup::new().arg("-start=0").arg(format!("-dir={}", home.display())), "signals");
    master.wait_output("ready", SOON);
    fs::remove_dir(&home).expect("nobody holds it");
    fails_and_then_works(&master, &format!("cannot enter {}", home.display()), || fs::create_dir(&home).expect("a directory"));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", only_child(master.pid()))).expect("it lives"), home);
    assert_eq!(master.stop(SIGTERM), exited(0));
}

/// A line of /proc/PID/status, in kB.
#[track_caller]
fn memory(pid: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).expect("it has memory");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

/// What a process has in memory, in kB.
#[track_caller]
fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS")
}

/// Gives it no more memory than it has, and this much.
#[track_caller]
fn limit_memory(master: &Master, what: Resource, more: u64) {
    let now = memory(master.pid(), if what == Resource::RLIMIT_AS { "VmSize" } else { "VmData" });
    limit(master, 0, what, (now + more) * 1024);
}

/// The answer to a request, or the refusal.
fn ask(control: &Path, verb: &str) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    let output = command.arg(format!("-control={}", control.display())).arg(format!("-s={verb}")).output().expect("the binary");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).trim_end().to_owned())
}

#[test]
fn without_memory_requests_are_answered_or_refused_and_the_master_lives() {
    const CALLERS: usize = 64;
    for what in [Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        // What a program needs at its start is not the same everywhere: with some of these the reload fails.
        for more in [0, 40, 400] {
            let dir = free_dir();
            let control = dir.join("control");
            let mut master = run(Setup::new().arg("-start=400").arg(format!("-control={}", control.display())), "signals");
            master.wait_output("ready", SOON);
            limit_memory(&master, what, more);
            let callers: Vec<UnixStream> = (0..CALLERS).map(|_| UnixStream::connect(&control).expect("it listens")).collect();
            for mut caller in &callers {
                caller.write_all(b"status\nstatus\nnonsense\n").expect("it reads");
            }
            for caller in &callers {
                let mut lines = BufReader::new(caller).lines();
                let mut line = || lines.next().expect("an answer").expect("a line");
                assert!(line().starts_with(r#"{"ok":true"#) && line().starts_with(r#"{"ok":true"#));
                assert!(line().starts_with(r#"{"ok":false"#));
            }
            for mut caller in callers.iter().skip(2) {
                caller.write_all(&[b'x'; 4_000]).expect("it reads");
            }
            let (status, text) = ask(&control, "reload");
            assert!(status == Some(0) || status == Some(1), "{what:?} + {more} kB: {status:?} {text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            if more == 0 {
                let note = master.wait_note("out of memory: ", SOON);
                assert!(note.contains(&format!("{what:?} is ")), "{note}");
            }
            let (status, text) = ask(&control, "status");
            assert_eq!(status, Some(0), "{text}");
            drop(callers);

            limit(&master, 0, what, usual_limit(what));
            let (status, text) = ask(&control, "reload");
            assert_eq!(status, Some(0), "with memory again: {text}");
            assert!(master.notes().iter().filter(|note| note.contains("out of memory: ")).count() <= 1, "said once");
            // The last generation may not have its handlers yet.
            assert_ended_at_term(master.stop(SIGTERM));
        }
    }
}

#[test]
fn without_memory_a_stop_ends_it_and_a_long_line_is_cut() {
    const LENGTH: usize = 3_000_000;
    for what in [Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        let worker = fixture("worker").display().to_string();
        let script = format!("echo ready; read line; head -c {LENGTH} /dev/zero | tr '\\0' x; echo; echo done; exec {worker} signals");
        let mut master = Setup::new().with_stdin().arg("-prefix").program("sh", ["-c", &script]).spawn();
        master.wait_output("ready", SOON);
        limit_memory(&master, what, 0);
        master.stdin().as_mut().expect("a pipe").write_all(b"go\n").expect("the shell reads");
        master.wait_output("done", SOON);
        let lines = master.lines();
        let pieces = lines.iter().filter(|line| !line.is_note()).map(|line| line.bytes.iter().filter(|byte| **byte == b'x').count());
        assert_eq!(pieces.sum::<usize>(), LENGTH, "every byte of it: {what:?}");
        master.wait_outputs("ready", 2, SOON);
        assert_eq!(master.stop(SIGTERM), exited(0));
    }
}

#[test]
fn a_thousand_reloads_leave_no_descriptor_and_no_memory() {
    const RELOADS: usize = 1_000;
    const WARM_UP: usize = 300;
    for option in ["-prefix=false", "-prefix"] {
        let master = run(Setup::new().arg(option).arg("-start=0"), "sleep");
        master.wait_current(1);
        let mut reload = |generation: usize| {
            master.signal(SIGHUP);
            eventually("a new generation", SOON, || master.notes().iter().rev().any(|note| note.ends_with(&phrase::current(generation))));
        };
        (2..WARM_UP).for_each(&mut reload);
        let before = (descriptors_at_rest(&master), resident(master.pid()));
        (WARM_UP..RELOADS + 2).for_each(&mut reload);
        let after = (descriptors_at_rest(&master), resident(master.pid()));
        assert_eq!(before.0, after.0, "{option}");
        assert!(after.1 <= before.1 + 64, "{option}: {} kB before, {} kB after", before.1, after.1);
    }
}

#[test]
fn a_master_that_is_stopped_loses_no_signal_and_its_workers_serve_on() {
    for in_namespace in [false, true] {
        let mut setup = Setup::new();
        if in_namespace {
            if let Err(why) = pid_namespaces() {
                return skip(&why);
            }
            setup = setup.in_pid_namespace();
        }
        let dir = free_dir();
        let mut master = run(setup.arg("-start=0"), &format!("ready-to {} serve", dir.join("ready").display()));
        let address = master.uri().replace("tcp://", "");
        let request = || {
            let mut client = TcpStream::connect(&address)?;
            client.set_read_timeout(Some(SOON))?;
            client.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
            std::io::read_to_string(client)
        };
        let answer = eventually("an answer", SOON, request);
        master.signal(SIGSTOP);
        eventually("it is stopped", SOON, || state_of(master.pid()) == Some('T'));
        assert_eq!(request().expect("the worker serves"), answer);
        for _ in 0..100 {
            master.signal(SIGHUP);
        }
        assert_eq!(master.children().len(), 1);
        master.signal(SIGCONT);
        master.wait_current(2);
        master.wait_note(&phrase::killed_by("SIGTERM"), SOON);
        assert_ne!(eventually("an answer", SOON, request), answer, "another pid");
        assert_eq!(master.stop(SIGTERM), exited(143));
    }
}

/// Both in one process group: a grandchild, and in the shell's place a child, neither of which TERM can end.
fn stubborn(setup: Setup) -> Master {
    let worker = fixture("worker").display().to_string();
    let script = format!("{worker} ignore TERM sleep & exec {worker} ignore TERM sleep");
    setup.with_stdin().program("sh", ["-c", &script]).spawn()
}

#[test]
fn stop_timeout_kills_a_stubborn_worker_with_its_whole_group_and_without_it_nothing_is_killed() {
    let patient = stubborn(Setup::new().arg("-start=0"));
    patient.wait_outputs("ready", 2, SOON);
    let of_patient = descendants(patient.pid());
    assert_eq!(of_patient.len(), 2);
    patient.signal(SIGHUP);
    patient.wait_stop_sent(1);

    let mut master = stubborn(Setup::new().arg("-start=0").arg("-stop-timeout=100"));
    master.wait_outputs("ready", 2, SOON);
    let old = descendants(master.pid());
    assert_eq!(old.len(), 2);
    master.signal(SIGHUP);
    master.wait_note(&phrase::stop_sent_with("SIGTERM"), SOON);
    master.wait_note(&phrase::killed_by("SIGKILL"), SOON);
    eventually("both are gone", SOON, || old.iter().all(|pid| state_of(*pid).is_none()));
    master.wait_outputs("ready", 4, SOON);
    assert_eq!(descendants(master.pid()).len(), 2, "the new ones");
    assert_eq!(master.stop(SIGTERM), exited(137));
    eventually("nobody is left", SOON, || master.left_nobody());

    // It got its stop signal before the others, and has had at least as much time.
    assert!(of_patient.iter().all(|pid| state_of(*pid) == Some('S')), "nobody may kill without -stop-timeout");
    assert_eq!(count(&patient.notes(), "killed"), 0);
}

#[test]
fn a_second_term_is_passed_on_again() {
    let mut master = run(Setup::new(), "signals --count 2 exit 4");
    master.wait_output("ready", SOON);
    master.signal(SIGTERM);
    master.wait_output("signal 15", SOON);
    assert_eq!(master.children().len(), 1, "one is not enough for this worker");
    master.signal(SIGTERM);
    assert_eq!(master.wait_exit(SOON), exited(4));
    assert_eq!(master.count_notes(phrase::SHUTTING_DOWN), 2);
}
