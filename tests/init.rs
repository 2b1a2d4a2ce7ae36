//! A correct PID 1, and the same for those who are not: reaping, signals, statuses, the terminal, and a root directory
//! that holds nothing but socketmaster and the program.

use std::collections::BTreeSet;
use std::fs;
use std::hint;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{self, c_int};
use nix::sys::signal::Signal::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use nix::unistd::{Pid, getpgid};

use crate::harness::pty::Pty;
use crate::harness::{
    Inherited, Master, SOON, Setup, Stream, bare_root, binary, children_of, descendants, eventually, exited, fixture, free_dir, only_child,
    phrase, pid_namespaces, pre_exec, send, skip, state_of,
};

/// The signals that a fault raises. The master leaves them alone.
/// The signals whose default action does not end a process.
const HARMLESS: [c_int; 8] =
    [libc::SIGCHLD, libc::SIGCONT, libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGURG, libc::SIGWINCH];
/// How long an idle master is watched; something that ticks once a second would be seen in one run of four.
const WATCHED: Duration = Duration::from_millis(250);

const CTRL_C: &[u8] = b"\x03";
const CTRL_BACKSLASH: &[u8] = b"\x1c";
const CTRL_Z: &[u8] = b"\x1a";

/// As a subreaper, and as PID 1 where this machine has namespaces for that.
fn everywhere() -> Vec<(&'static str, Setup)> {
    let mut places = vec![("as a subreaper", Setup::new())];
    places.extend(as_pid_1().map(|setup| ("as PID 1", setup)));
    places
}

fn as_pid_1() -> Option<Setup> {
    pid_namespaces().map(|()| Setup::new().in_pid_namespace()).map_err(|why| skip(&why)).ok()
}

fn run(setup: Setup, verbs: &str) -> Master {
    setup.program(fixture("worker"), verbs.split(' ')).spawn()
}

/// Runs these verbs until they say that they are ready.
#[track_caller]
fn ready(setup: Setup, verbs: &str) -> Master {
    let master = run(setup, verbs);
    master.wait_output("ready", SOON);
    master
}

/// The signals that workers have printed so far, in their order.
fn printed(master: &Master) -> Vec<c_int> {
    master.lines().iter().filter_map(|line| line.text().strip_prefix("signal ")?.parse().ok()).collect()
}

fn zombies(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| state_of(*pid) == Some('Z')).collect()
}

#[test]
fn ten_thousand_orphans_leave_nothing_behind() {
    for (place, setup) in everywhere() {
        let mut master = run(setup, "orphans 10000 signals");
        master.wait_output("ready", SOON);
        let worker = eventually(place, SOON, || match children_of(master.pid())[..] {
            [only] => Ok(only),
            ref all => Err(format!("{} children, {} of them zombies", all.len(), zombies(all).len())),
        });
        assert_eq!(descendants(master.pid()), [worker], "{place}");
        assert_eq!(master.stop(SIGTERM), exited(0));
        let complaints: Vec<String> =
            master.lines().iter().map(|line| line.text()).filter(|text| text.starts_with("worker: made")).collect();
        assert_eq!(complaints, [""; 0], "{place}");
    }
}

#[test]
fn an_orphan_falls_to_the_master_and_is_reaped_when_it_ends() {
    for (place, setup) in everywhere() {
        let mut master = ready(setup, "grandchild-holds-pipe signals");
        let both = eventually(place, SOON, || Some(children_of(master.pid())).filter(|pids| pids.len() == 2));
        // The worker leads its group.
        let leads = |pid: &u32| getpgid(Some(Pid::from_raw(*pid as i32))).is_ok_and(|group| group.as_raw() == *pid as i32);
        let (workers, orphans): (Vec<u32>, Vec<u32>) = both.into_iter().partition(leads);
        assert!(send(orphans[0], SIGKILL));
        assert_eq!(only_child(master.pid()), workers[0], "{place}");
        assert_eq!(state_of(orphans[0]), None, "{place}");
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
    }
}

#[test]
fn a_child_that_the_program_before_it_has_left_dead_is_reaped_too() {
    let master = ready(Setup::new().tune(pre_exec::leave_a_zombie), "signals");
    master.wait_current(1);
    let left = || zombies(&children_of(master.pid()));
    eventually("no zombie", SOON, || if left().is_empty() { Ok(()) } else { Err(left()) });
}

#[test]
fn under_a_pid_1_that_does_not_reap_the_same_look_finds_the_zombies() {
    let Some(setup) = as_pid_1() else { return };
    let dir = free_dir();
    let no_reaper = dir.join("socketmaster");
    symlink(fixture("worker"), &no_reaper).expect("a symlink");
    let pid_1 = setup.through(["sh", "-c", &format!("exec {} orphans 100 signals", no_reaper.display())]).spawn();
    pid_1.wait_output("ready", SOON);
    eventually("100 zombies", SOON, || zombies(&children_of(pid_1.pid())).len() == 100);
}

#[test]
fn every_signal_without_a_meaning_of_its_own_arrives_exactly_once() {
    let own = [SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM, SIGCHLD, SIGSTOP].map(|signal| signal as c_int);
    // A signal of these three takes a CONT with it that still waits, and the other way round: they have a test of their own.
    let stops = [SIGTSTP, SIGTTIN, SIGTTOU].map(|signal| signal as c_int);
    let others: Vec<c_int> = (1..=64).filter(|signal| !own.contains(signal) && !stops.contains(signal)).collect();
    assert_eq!(others.len(), 54, "those of faults too: it is kill(2) that sends them here");
    for (place, setup) in everywhere() {
        let mut master = ready(setup, "signals");
        for signal in &others {
            master.signal(*signal);
        }
        master.wait_outputs("signal ", others.len(), SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        let (last, before) = printed(&master).split_last().map(|(last, before)| (*last, before.to_vec())).expect("they were awaited");
        assert_eq!(last, libc::SIGTERM, "{place}");
        assert_eq!(before.len(), others.len(), "{place}: {before:?}");
        assert_eq!(before.into_iter().collect::<BTreeSet<c_int>>(), others.iter().copied().collect(), "{place}");
    }
}

#[test]
fn a_real_time_signal_sent_often_arrives_as_often() {
    for (place, setup) in everywhere() {
        let mut master = ready(setup, "signals");
        for _ in 0..50 {
            master.signal(libc::SIGRTMIN());
        }
        master.wait_outputs("signal ", 50, SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        assert_eq!(printed(&master), [vec![libc::SIGRTMIN(); 50], vec![libc::SIGTERM]].concat(), "{place}");
    }
}

#[test]
fn term_int_and_quit_reach_the_worker_as_they_came_and_are_a_stop() {
    for signal in [SIGTERM, SIGINT, SIGQUIT] {
        for (place, setup) in everywhere() {
            let mut master = ready(setup, &format!("signals --until {signal} exit 3"));
            assert_eq!(master.stop(signal), exited(3), "{signal} {place}");
            assert_eq!(printed(&master), [signal as c_int], "{signal} {place}");
            let notes = master.notes();
            assert_eq!(notes.iter().filter(|note| note.contains(phrase::SHUTTING_DOWN)).count(), 1, "{signal} {place}: {notes:#?}");
        }
    }
}

#[test]
fn a_master_that_kill_tells_to_suspend_forwards_that_and_goes_on_itself() {
    for signal in [SIGTSTP, SIGTTIN, SIGTTOU] {
        let mut master = ready(Setup::new(), "sleep");
        let worker = only_child(master.pid());
        let both = || [state_of(master.pid()), state_of(worker)];
        eventually("both are at rest", SOON, || if both() == [Some('S'); 2] { Ok(()) } else { Err(both()) });
        master.signal(signal);
        eventually("the worker alone is stopped", SOON, || if both() == [Some('S'), Some('T')] { Ok(()) } else { Err(both()) });
        master.signal(SIGCONT);
        eventually("both go on", SOON, || if both() == [Some('S'); 2] { Ok(()) } else { Err(both()) });
        assert_eq!(master.stop(SIGTERM), exited(143));
    }
}

#[test]
fn pid_1_forwards_signals_that_suspend_and_is_not_suspended() {
    let Some(setup) = as_pid_1() else { return };
    let mut master = ready(setup, "signals");
    for (count, signal) in [SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT].into_iter().enumerate() {
        master.signal(signal);
        // The arrival of this signal shows that no process was stopped.
        master.wait_outputs("signal ", count + 1, SOON);
    }
    assert_eq!(master.stop(SIGTERM), exited(0));
    assert_eq!(printed(&master), [SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGTERM].map(|signal| signal as c_int));
}

/// Two hands make light work of many short lives.
fn side_by_side<T: Copy + Send + Sync>(cases: &[T], each: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        let hands: Vec<_> =
            cases.chunks(cases.len().div_ceil(4)).map(|chunk| scope.spawn(|| chunk.iter().for_each(|case| each(*case)))).collect();
        for hand in hands {
            hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

#[test]
fn the_exit_status_is_the_worker_s_from_0_to_255() {
    let statuses: Vec<u8> = (0..=255).collect();
    side_by_side(&statuses, |status| {
        for (place, setup) in everywhere() {
            assert_eq!(run(setup, &format!("exit {status}")).wait_exit(SOON), exited(status), "{place}");
        }
    });
}

#[test]
fn a_worker_ended_by_a_signal_is_reported_as_128_and_its_number() {
    let deadly: Vec<c_int> = (1..=64).filter(|signal| !HARMLESS.contains(signal)).collect();
    assert_eq!(deadly.len(), 56);
    side_by_side(&deadly, |signal| {
        for (place, setup) in everywhere() {
            let status = 128 + u8::try_from(signal).expect("up to 64");
            assert_eq!(run(setup, &format!("die {signal}")).wait_exit(SOON), exited(status), "{place}");
        }
    });
}

#[test]
fn statuses_called_ok_are_reported_as_0_and_no_others() {
    for (verbs, status) in
        [("die TERM", 0), ("exit 130", 0), ("exit 143", 0), ("die INT", 0), ("exit 131", 131), ("exit 1", 1), ("die HUP", 129)]
    {
        for (place, setup) in everywhere() {
            assert_eq!(run(setup.arg("-ok=143,130"), verbs).wait_exit(SOON), exited(status), "{verbs} {place}");
        }
    }
}

#[test]
fn a_worker_of_pid_1_finds_mask_and_ignored_signals_as_pid_1_found_them() {
    for (blocked, ignored) in [(&[][..], &[][..]), (&[1, 15, 17, 34, 64], &[2, 10, 13, 22, 35])] {
        let Some(setup) = as_pid_1() else { return };
        let dir = free_dir();
        let file = dir.join("report");
        let setup = setup.tune(move |command| pre_exec::block_and_ignore(command, blocked, ignored));
        let mut master = setup.program(fixture("worker"), ["report".as_ref(), file.as_os_str()]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(0));
        let inherited = Inherited::wait(&file);
        let listed = |signals: &[c_int]| signals.iter().map(c_int::to_string).collect::<Vec<_>>().join(",");
        assert_eq!([inherited.get("blocked"), inherited.get("ignored")], [listed(blocked), listed(ignored)]);
        assert_eq!(inherited.get("ppid"), "1");
    }
}

/// How often it has gone to sleep: each time it had been woken before.
#[track_caller]
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("the kernel counts them");
    line.trim().parse().expect("a number")
}

#[test]
fn nothing_wakes_an_idle_master_and_a_signal_does() {
    for option in ["-prefix=false", "-prefix", "-stop-timeout=50"] {
        for (place, setup) in everywhere() {
            // Without a wait nothing is left to judge once it runs.
            let master = run(setup.arg(option).arg("-start=0"), "signals");
            master.wait_output("ready", SOON);
            master.signal(SIGUSR1);
            master.wait_output("signal 10", SOON);
            // A process is asleep a moment before its sleep is counted, so only two equal counts in a row show that it rests.
            let mut last = u64::MAX;
            eventually("rest", SOON, || std::mem::replace(&mut last, sleeps(master.pid())) == last && state_of(master.pid()) == Some('S'));
            thread::sleep(WATCHED);
            assert_eq!(sleeps(master.pid()), last, "{place}, {option}: it woke while nothing happened");
            master.signal(SIGUSR1);
            eventually("a signal wakes it", SOON, || sleeps(master.pid()) > last);
        }
    }
}

#[test]
fn a_row_of_the_signal_table_can_be_changed() {
    for (place, setup) in everywhere() {
        let rows = ["-signal=TERM:QUIT", "-signal=USR1:reload", "-signal=WINCH:ignore", "-signal=HUP:HUP", "-signal=RTMIN+3:stop"];
        let setup = rows.iter().fold(setup.arg("-start=0"), |setup, row| setup.arg(row));
        let mut master = ready(setup, "signals --until QUIT exit 4");
        master.signal(SIGWINCH);
        master.signal(SIGHUP);
        master.wait_output("signal 1", SOON);
        master.signal(SIGUSR2);
        master.wait_output("signal 12", SOON);
        assert_eq!(printed(&master), [1, 12], "{place}: WINCH was to be ignored, and HUP to be passed on");

        master.signal(SIGUSR1);
        master.wait_current(2);
        master.wait_outputs("ready", 2, SOON);
        master.wait_output("signal 15", SOON);
        master.signal(SIGTERM);
        assert_eq!(master.wait_exit(SOON), exited(4), "{place}");
        // TERM was of the reload, and the first generation has shrugged it off.
        assert_eq!(printed(&master)[2..], [libc::SIGTERM, libc::SIGQUIT, libc::SIGQUIT], "{place}");
    }
    let mut master = ready(Setup::new().arg("-signal=RTMIN+3:stop"), "signals exit 4");
    master.signal(37);
    assert_eq!(master.wait_exit(SOON), exited(4));
    assert_eq!(printed(&master), [libc::SIGTERM], "the program hears of a stop what -stop-signal says");
}

#[test]
fn a_first_term_is_the_stop_signal_and_a_second_one_and_the_others_are_as_they_came() {
    for (place, setup) in everywhere() {
        let mut master = ready(setup.arg("-stop-signal=USR2"), "signals --until TERM exit 3");
        master.signal(SIGTERM);
        master.wait_output("signal 12", SOON);
        master.wait_note(&phrase::stop_sent_with("SIGUSR2"), SOON);
        assert_eq!(master.stop(SIGTERM), exited(3), "{place}");
        assert_eq!(printed(&master), [libc::SIGUSR2, libc::SIGTERM], "{place}");
    }
    for signal in [SIGINT, SIGQUIT] {
        let mut master = ready(Setup::new().arg("-stop-signal=USR2"), &format!("signals --until {signal} exit 3"));
        assert_eq!(master.stop(signal), exited(3), "{signal}");
        assert_eq!(printed(&master), [signal as c_int], "{signal}");
    }
}

#[test]
fn a_signal_to_forward_is_no_stop() {
    for rule in ["QUIT:forward", "QUIT:QUIT", "3:sigquit"] {
        let mut master = ready(Setup::new().arg(format!("-signal={rule}")), "signals");
        master.signal(SIGQUIT);
        master.wait_output("signal 3", SOON);
        master.signal(SIGUSR1);
        master.wait_output("signal 10", SOON);
        assert!(!master.has_note(phrase::SHUTTING_DOWN), "{rule}");
        assert_eq!(master.stop(SIGTERM), exited(0), "{rule}");
        assert_eq!(printed(&master), [libc::SIGQUIT, libc::SIGUSR1, libc::SIGTERM], "{rule}");
    }
    // The control: another signal instead is still a stop.
    let mut master = ready(Setup::new().arg("-signal=QUIT:TERM"), "signals");
    assert_eq!(master.stop(SIGQUIT), exited(0));
    assert_eq!(printed(&master), [libc::SIGTERM]);
}

#[test]
fn without_a_listener_hup_is_passed_on() {
    for (place, setup) in everywhere() {
        let mut master = ready(setup.arg("-listen=none"), "signals");
        master.signal(SIGHUP);
        master.wait_output("signal 1", SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        assert_eq!(printed(&master), [libc::SIGHUP, libc::SIGTERM], "{place}");
        assert!(!master.has_note("generation 2"), "{place}");
    }
    let master = ready(Setup::new().arg("-listen=none").arg("-signal=HUP:reload").arg("-start=0"), "signals");
    master.signal(SIGHUP);
    master.wait_current(2);
}

/// A shell's child and, in the shell's place, another: both in the group that the second leads.
fn two_of_a_group(verbs: &str) -> [String; 2] {
    let worker = fixture("worker").display().to_string();
    ["-c".into(), format!("{worker} {verbs} & exec {worker} {verbs}")]
}

#[test]
fn with_group_grandchildren_get_the_signals_and_without_it_they_do_not() {
    for (place, setup) in everywhere() {
        let mut master = setup.arg("-group").program("sh", two_of_a_group("signals")).spawn();
        master.wait_outputs("ready", 2, SOON);
        master.signal(SIGUSR1);
        master.wait_outputs("signal 10", 2, SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
    }
    for (place, setup) in everywhere() {
        let mut master = setup.program("sh", two_of_a_group("signals")).spawn();
        master.wait_outputs("ready", 2, SOON);
        master.signal(SIGUSR1);
        master.wait_output("signal 10", SOON);
        let grandchild = only_child(only_child(master.pid()));
        assert!(send(grandchild, SIGUSR2));
        master.wait_output("signal 12", SOON);
        assert_eq!(printed(&master), [libc::SIGUSR1, libc::SIGUSR2], "{place}");
        send(grandchild, SIGKILL);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
    }
}

#[test]
fn a_sigterm_at_any_early_moment_ends_the_master_and_leaves_no_worker() {
    let moments: Vec<u32> = (0..200).collect();
    let ends = std::sync::Mutex::new(Vec::new());
    side_by_side(&moments, |moment| {
        let mut master = run(Setup::new().with_stdin(), "sleep");
        let launched = Instant::now();
        // Spread over the first five milliseconds: before the master's first act, between fork and exec, after both.
        while launched.elapsed() < Duration::from_micros(u64::from(moment) * 25) {
            hint::spin_loop();
        }
        master.signal(SIGTERM);
        let end = master.wait_exit(SOON);
        eventually("no process is left", SOON, || master.left_nobody());
        ends.lock().expect("nobody has failed").push(end);
    });
    let ends = ends.into_inner().expect("nobody has failed");
    let by_worker = ends.iter().filter(|end| end.code() == Some(143)).count();
    // Before the master has blocked it the kernel's own action is in force.
    let by_kernel = ends.iter().filter(|end| end.signal() == Some(libc::SIGTERM)).count();
    assert_eq!(by_worker + by_kernel, 200, "{ends:?}");
    assert!(by_worker > 0, "no moment was late enough");
}

#[test]
fn the_look_for_processes_left_over_finds_one() {
    let mut master = run(Setup::new().with_stdin(), "sleep");
    master.wait_output("ready", SOON);
    let worker = only_child(master.pid());
    master.signal(SIGKILL);
    master.wait_exit(SOON);
    assert!(!master.left_nobody());
    send(worker, SIGKILL);
    eventually("no process is left", SOON, || master.left_nobody());
}

/// Masters that lead the session of a terminal, as under `docker run -it`.
fn on_a_terminal() -> Vec<(&'static str, Setup, Pty)> {
    let (pty, tty) = Pty::open();
    let leader = Setup::new().tune(move |command| pre_exec::lead_session(command, Some(tty)));
    let mut places = vec![("as a session leader", leader, pty)];
    places.extend(as_pid_1().map(|setup| {
        let (pty, tty) = Pty::open();
        let setup = setup.through(["setsid", "--ctty"]).tune(move |command| {
            command.stdin(tty);
        });
        ("as PID 1 and session leader", setup, pty)
    }));
    places
}

#[test]
fn what_is_typed_reaches_the_program_once() {
    for (place, setup, mut pty) in on_a_terminal() {
        let mut master = ready(setup, "signals");
        assert_eq!(pty.foreground(), Some(only_child(master.pid())), "{place}");
        pty.press(CTRL_C);
        master.wait_output("signal 2", SOON);
        pty.press(CTRL_BACKSLASH);
        master.wait_output("signal 3", SOON);
        pty.resize(50, 132);
        master.wait_output("signal 28", SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        assert_eq!(printed(&master), [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH, libc::SIGTERM], "{place}");
    }
}

#[test]
fn after_a_reload_the_terminal_is_the_new_generation_s() {
    for (place, setup, mut pty) in on_a_terminal() {
        let mut master = ready(setup.arg("-start=0"), "signals");
        let first = only_child(master.pid());
        master.signal(SIGHUP);
        master.wait_note(&phrase::exited_with(0), SOON);
        let second = only_child(master.pid());
        assert_ne!(second, first);
        eventually(place, SOON, || pty.foreground() == Some(second));
        master.wait_outputs("ready", 2, SOON);
        pty.press(CTRL_C);
        master.wait_output("signal 2", SOON);
        assert_eq!(master.stop(SIGTERM), exited(0), "{place}");
        let mut all = printed(&master);
        // CONT comes with the terminal, as from a shell's fg; maybe before the program looks.
        all.retain(|signal| *signal != libc::SIGCONT);
        assert_eq!(all, [libc::SIGTERM, libc::SIGINT, libc::SIGTERM], "{place}");
    }
}

#[test]
fn a_new_generation_that_waits_for_the_terminal_goes_on_once_it_is_its_own() {
    for (place, setup, mut pty) in on_a_terminal() {
        let script = r#"read -r line; echo "$SERVER_STARTER_GENERATION read $line"; exec sleep 600"#;
        let master = setup.arg("-start=600000").program("sh", ["-c", script]).spawn();
        master.wait_current(1);
        pty.press(b"first\n");
        master.wait_output("1 read first", SOON);
        let first = only_child(master.pid());
        master.signal(SIGHUP);
        master.started_pid(2);
        let of_second = |pid: &u32| *pid != first;
        let second = children_of(master.pid()).into_iter().find(of_second).expect("it has been started");
        eventually("the candidate is stopped: it may not read yet", SOON, || state_of(second) == Some('T'));
        assert!(send(first, SIGKILL));
        master.wait_current(2);
        pty.press(b"second\n");
        assert_eq!(master.wait_output("2 read", SOON), "2 read second", "{place}");
    }
}

#[test]
fn a_program_suspended_by_ctrl_z_is_continued_where_no_shell_could() {
    for (place, setup, mut pty) in on_a_terminal() {
        let mut master = ready(setup, "sleep");
        let worker = only_child(master.pid());
        pty.press(CTRL_Z);
        master.wait_note(phrase::CONTINUED, SOON);
        let both = || [state_of(master.pid()), state_of(worker)];
        eventually("neither is stopped", SOON, || if both() == [Some('S'); 2] { Ok(()) } else { Err(both()) });
        assert_eq!(master.stop(SIGTERM), exited(143), "{place}");
    }
}

#[test]
fn below_a_shell_the_terminal_stays_the_shell_s_and_ctrl_z_stops_the_job() {
    let (mut pty, tty) = Pty::open();
    // Run bash with job control. Enter brings the job back.
    let shell = ["sh", "-c", r#"set -m; "$@"; read -r enter; fg; exit $?"#, "sh"];
    let setup = Setup::new().through(shell).tune(move |command| pre_exec::lead_session(command, Some(tty)));
    let below = ready(setup.arg("-start=0"), "sleep");
    let master = only_child(below.pid());
    let worker = only_child(master);
    assert_eq!(pty.foreground(), Some(master), "the group of the shell's job");
    send(master, SIGHUP);
    below.wait_note(&phrase::worker_killed_by(worker, "SIGTERM"), SOON);
    let worker = only_child(master);
    assert_eq!(pty.foreground(), Some(master), "after a reload too");
    below.wait_outputs("ready", 2, SOON);

    let both = || [state_of(master), state_of(worker)];
    pty.press(CTRL_Z);
    eventually("master and worker are stopped", SOON, || if both() == [Some('T'); 2] { Ok(()) } else { Err(both()) });
    eventually("the shell has the terminal back", SOON, || pty.foreground() == Some(below.pid()));
    pty.press(b"\n");
    eventually("master and worker go on", SOON, || if both() == [Some('S'); 2] { Ok(()) } else { Err(both()) });
    assert!(!below.has_note(phrase::CONTINUED), "nobody but the shell continues its jobs");
    pty.press(CTRL_C);
    below.wait_note(&phrase::shutting_down_on("SIGINT"), SOON);
    below.wait_note(&phrase::ended_with(130), SOON);
}

#[test]
fn a_closed_terminal_is_a_stop_and_a_sighup_from_a_process_is_a_reload() {
    for (place, setup, pty) in on_a_terminal() {
        let mut master = ready(setup.arg("-start=0"), "signals exit 5");
        master.signal(SIGHUP);
        master.wait_current(2);
        master.wait_note(&phrase::exited_with(5), SOON);
        master.wait_outputs("ready", 2, SOON);
        drop(pty);
        assert_eq!(master.wait_exit(SOON), exited(5), "{place}");
        let notes = master.notes();
        assert!(notes.iter().any(|note| note.contains(phrase::SHUTTING_DOWN)), "{place}: {notes:#?}");
        assert!(!notes.iter().any(|note| note.contains("generation 3")), "{place}: {notes:#?}");
    }
}

#[test]
fn an_interactive_shell_has_job_control_and_nothing_to_complain_of() {
    if Command::new("bash").arg("--version").output().is_err() {
        return skip("there is no bash");
    }
    let complains = |master: &Master| String::from_utf8_lossy(&master.bytes(Stream::Err)).contains("job control");
    let shell = ["--norc", "--noprofile", "-i"];
    for (place, setup, mut pty) in on_a_terminal() {
        let mut master = setup.program("bash", shell).spawn();
        pty.press(b"sleep 600\n");
        let bash = only_child(master.pid());
        let sleep = only_child(bash);
        eventually("the shell gives the terminal to its job", SOON, || pty.foreground() == Some(sleep));
        // Before it executes it ignores Ctrl-Z like the shell itself.
        eventually("the job runs", SOON, || fs::read_to_string(format!("/proc/{sleep}/comm")).is_ok_and(|name| name == "sleep\n"));
        pty.press(CTRL_Z);
        eventually("the job is the shell's to continue", SOON, || state_of(sleep) == Some('T'));
        eventually("the shell has the terminal back", SOON, || pty.foreground() == Some(bash));
        pty.press(b"fg\n");
        eventually("its job has it again", SOON, || pty.foreground() == Some(sleep));
        pty.press(CTRL_C);
        eventually("the job is gone", SOON, || pty.foreground() == Some(bash));
        pty.press(b"exit 7\n");
        assert_eq!(master.wait_exit(SOON), exited(7), "{place}");
        assert!(!complains(&master), "{place}");
    }
    let mut without = Setup::new().tune(|command| pre_exec::lead_session(command, None)).program("bash", shell).spawn();
    without.wait_exit(SOON);
    assert!(complains(&without), "the same shell without a terminal must complain");
}

#[test]
fn one_socketmaster_may_run_another() {
    for (place, setup) in everywhere() {
        let (inner, worker) = (binary().display().to_string(), fixture("worker").display().to_string());
        let arguments = ["-listen=fd://3", "-start=0", "--", &worker, "orphans", "100", "signals", "exit", "6"];
        let mut master = setup.arg("-start=0").program(&inner, arguments).spawn();
        master.wait_output("ready", SOON);
        let inner = only_child(master.pid());
        only_child(inner);
        master.signal(SIGUSR1);
        master.wait_output("signal 10", SOON);

        assert!(send(inner, SIGHUP));
        master.wait_current(2);
        master.wait_note(&phrase::exited_with(6), SOON);
        master.wait_outputs("ready", 2, SOON);

        master.signal(SIGHUP);
        // Said by the outer of its inner one, and by that of its worker.
        master.wait_notes(&phrase::exited_with(6), 3, SOON);
        master.wait_outputs("ready", 3, SOON);
        assert_ne!(only_child(master.pid()), inner);
        assert_eq!(master.stop(SIGTERM), exited(6), "{place}");
    }
}

#[test]
fn it_needs_nothing_but_itself_and_the_program() {
    let Some(setup) = as_pid_1() else { return };
    let root = match bare_root() {
        Ok(root) => root,
        Err(why) => return skip(&why),
    };
    // Read-only, without /proc, /dev, /etc and /tmp, and as a user without a passwd entry.
    let root = root.display();
    let change = "chroot --userspec=54321:54321 --groups=";
    let script = format!(r#"mount --bind {root} {root} && mount -o remount,bind,ro {root} && exec {change} {root} "$@""#);
    let setup = setup.through(["sh", "-c", &script, "sh"]).binary("/socketmaster").arg("-prefix").arg("-start=0");
    let mut master = setup.program("/worker", ["orphans", "50", "raw", "signals", "exit", "9"]).spawn();
    master.wait_output("ready", SOON);
    assert_eq!(fs::read_dir(format!("/proc/{}/root/", master.pid())).expect("its root directory").count(), 2);
    let status = fs::read_to_string(format!("/proc/{}/status", master.pid())).expect("it lives");
    for line in ["Uid:\t54321\t54321\t54321\t54321", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    master.signal(SIGHUP);
    master.wait_note(&phrase::exited_with(9), SOON);
    master.wait_outputs("ready", 2, SOON);
    let worker = only_child(master.pid());
    assert_eq!(descendants(master.pid()), [worker]);
    master.signal(SIGUSR1);
    master.wait_output("signal 10", SOON);
    assert_eq!(master.stop(SIGTERM), exited(9));
}
