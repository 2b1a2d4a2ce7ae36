//! Paths of unix sockets: whose they are, how they are born, how they come back, and what remains of them.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::{FreeDir, Master, SOON, Setup, eventually, exited, fixture, free_dir, killed, open_fds, phrase, skip};

/// The end of the log line that names a path which exists again.
const RESTORED: &str = ", which had disappeared";

fn listen_on(path: &Path, query: &str) -> Setup {
    Setup::new().arg("-start=0").arg(format!("-listen=unix://{}{query}", path.display()))
}

#[track_caller]
fn serving(setup: Setup) -> Master {
    let master = setup.program(fixture("worker"), ["serve"]).spawn();
    master.wait_output("ready", SOON);
    master
}

fn is_served(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\n\r\n").is_ok() && stream.read(&mut [0; 64]).is_ok_and(|read| read > 0)
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

fn hidden(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.socketmaster", path.file_name().expect("a name").display()))
}

fn names(dir: &FreeDir) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn said(master: &Master) -> Vec<String> {
    master.lines().iter().map(|line| line.text()).collect()
}

/// Starts it and returns its one line.
#[track_caller]
fn refused(setup: Setup) -> String {
    let mut master = setup.program(fixture("worker"), ["serve"]).spawn();
    assert_eq!(master.wait_exit(SOON), exited(1), "{:?}", said(&master));
    let said = said(&master);
    assert_eq!(said.len(), 1, "{said:?}");
    said.into_iter().next().unwrap_or_default()
}

#[test]
fn a_path_that_disappears_comes_back_with_the_same_socket() {
    let dir = free_dir();
    // The longest path that there may be: its second name is too long for sun_path.
    let long = "x".repeat(107 - dir.as_os_str().len() - 1);
    for name in ["sock", &long] {
        let path = dir.join(name);
        let mut master = serving(listen_on(&path, ""));
        let born = inode(&path);
        for (count, take_away) in
            [|path: &Path| fs::remove_file(path), |path: &Path| fs::rename(path, path.with_file_name("moved"))].into_iter().enumerate()
        {
            take_away(&path).expect("it is there");
            master.wait_notes(&format!("{}{RESTORED}", path.display()), count + 1, SOON);
            assert_eq!(inode(&path), born);
            assert!(is_served(&path));
        }
        assert_eq!(master.stop(Signal::SIGTERM), exited(143));
        assert_eq!(names(&dir), ["moved"], "the path and its second name are gone");
        fs::remove_file(dir.join("moved")).expect("it is there");
    }
}

#[test]
fn the_path_of_a_datagram_socket_and_that_of_the_control_socket_come_back_too() {
    let dir = free_dir();
    let (path, control) = (dir.join("sock"), dir.join("control"));
    let setup = Setup::new().arg(format!("-listen=unixgram://{}", path.display())).arg(format!("-control={}", control.display()));
    let mut master = setup.program(fixture("worker"), ["signals"]).spawn();
    master.wait_output("ready", SOON);
    for path in [&path, &control] {
        let born = inode(path);
        fs::remove_file(path).expect("it is there");
        master.wait_note(&format!("{}{RESTORED}", path.display()), SOON);
        assert_eq!(inode(path), born);
    }
    UnixStream::connect(&control).expect("the control socket is reached again");
    assert_eq!(master.stop(Signal::SIGTERM), exited(0));
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn a_second_name_that_a_cleaner_removes_is_made_anew() {
    let dir = free_dir();
    let path = dir.join("sock");
    let _master = serving(listen_on(&path, ""));
    fs::remove_file(hidden(&path)).expect("a second name");
    eventually("a new one", SOON, || hidden(&path).exists());
    fs::remove_file(&path).expect("it is there");
    eventually("the path again", SOON, || path.exists());
}

#[test]
fn a_path_that_another_program_takes_over_is_left_and_logged() {
    let dir = free_dir();
    let path = dir.join("sock");
    let mut master = serving(listen_on(&path, ""));
    let other = UnixListener::bind(dir.join("other")).expect("a free path");
    fs::rename(dir.join("other"), &path).expect("a directory of our own");
    master.wait_note("now belongs to another program", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    UnixStream::connect(&path).and_then(|_| other.accept()).expect("the other one is still reached");
    assert_eq!(names(&dir), ["sock"]);
}

#[test]
fn a_path_that_cannot_be_restored_is_logged() {
    let dir = free_dir();
    fs::create_dir(dir.join("run")).expect("a directory");
    let path = dir.join("run/sock");
    let mut master = serving(listen_on(&path, ""));
    // Both names before it can do anything about the first.
    master.signal(Signal::SIGSTOP);
    eventually("it is stopped", SOON, || crate::harness::state_of(master.pid()) == Some('T'));
    fs::remove_dir_all(dir.join("run")).expect("it is there");
    master.signal(Signal::SIGCONT);
    master.wait_note("cannot restore ", SOON);
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
}

/// php-fpm removes the path when it exits. At a stop the path is not restored.
#[test]
fn while_it_stops_a_path_is_not_put_back() {
    let dir = free_dir();
    let path = dir.join("sock");
    let mut master =
        listen_on(&path, "").arg("-start=0").program(fixture("worker"), ["ignore", "TERM", "signals", "--until", "INT"]).spawn();
    master.wait_output("ready", SOON);
    master.signal(Signal::SIGTERM);
    master.wait_note(phrase::STOP_SENT, SOON);
    fs::remove_file(&path).expect("it is there");
    assert_eq!(master.stop(Signal::SIGINT), exited(0));
    assert_eq!(said(&master).iter().filter(|line| line.contains("disappeared")).count(), 0);
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn the_path_and_second_name_of_a_killed_master_are_replaced() {
    let dir = free_dir();
    let path = dir.join("sock");
    let mut master = serving(listen_on(&path, ""));
    let worker = master.children()[0];
    assert_eq!(master.stop(Signal::SIGKILL), killed(Signal::SIGKILL));
    crate::harness::send(worker, Signal::SIGKILL);
    eventually("the worker's end", SOON, || UnixStream::connect(&path).is_err());
    assert_eq!(names(&dir), [".sock.socketmaster", "sock"]);
    // The number of a file may come again, so its second name tells them apart.
    let mut next = serving(listen_on(&path, ""));
    assert_eq!(inode(&hidden(&path)), inode(&path));
    fs::remove_file(&path).expect("it is there");
    next.wait_note(RESTORED, SOON);
    assert_eq!(next.stop(Signal::SIGTERM), exited(143));
    assert_eq!(names(&dir), [""; 0]);
}

#[test]
fn a_second_name_that_is_no_leftover_is_left_alone() {
    let dir = free_dir();
    let path = dir.join("sock");
    fs::write(hidden(&path), "mine").expect("a file");
    let mut master = serving(listen_on(&path, ""));
    assert_eq!(master.stop(Signal::SIGTERM), exited(143));
    assert_eq!(fs::read(hidden(&path)).expect("still there"), b"mine");
}

/// strace(1) with these options, where it can delay system calls here; otherwise why not.
fn strace(options: &[&str]) -> Result<Vec<String>, String> {
    let words: Vec<String> = ["strace", "-f", "-qq", "-o", "/dev/null"].iter().chain(options).map(|word| (*word).to_owned()).collect();
    let tried = Command::new(&words[0]).args(&words[1..]).arg("true").status();
    if tried.is_ok_and(|status| status.success()) { Ok(words) } else { Err("no strace(1) that can delay a system call".to_owned()) }
}

/// Between bind(2) and listen(2) a socket refuses connections, as a stale one does. strace widens that instant.
#[test]
fn a_socket_that_does_not_listen_yet_is_not_taken_for_stale() {
    let through = match strace(&["-e", "trace=listen", "-e", "inject=listen:delay_enter=500000"]) {
        Ok(through) => through,
        Err(why) => return skip(&why),
    };
    let dir = free_dir();
    let path = dir.join("sock");
    let first = listen_on(&path, "").through(through).program(fixture("worker"), ["serve"]).spawn();
    eventually("it is bound", SOON, || path.exists());
    let born = inode(&path);
    let line = refused(listen_on(&path, ""));
    assert!(line.contains("Address already in use; pid "), "{line}");
    first.wait_output("ready", SOON);
    assert_eq!(inode(&path), born);
    assert!(is_served(&path));
}

/// Of many masters that start at once on a stale path exactly one gets it, and keeps it.
#[test]
fn of_many_starters_one_has_the_path() {
    for _ in 0..5 {
        let dir = free_dir();
        let path = dir.join("sock");
        drop(UnixListener::bind(&path).expect("a socket"));
        let mut masters: Vec<Master> = (0..6).map(|_| listen_on(&path, "").program(fixture("worker"), ["serve"]).spawn()).collect();
        let mut serves = 0;
        for master in &mut masters {
            let line = eventually("how it went", SOON, || said(master).into_iter().find(|line| line.contains(" listen")));
            if line.contains("listening on") {
                serves += 1;
            } else {
                assert!(line.contains("Address already in use"), "{line}");
                assert_eq!(master.wait_exit(SOON), exited(1));
            }
        }
        assert_eq!(serves, 1);
        assert!(is_served(&path), "the one that has it is reached");
    }
}

/// Whether a process blocks that signal, as the master does from its first act on; but those that it waits for just now.
fn blocks(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 << (signal as u32 - 1) != 0)
}

fn lock(dir: &FreeDir) -> File {
    let lock = File::open(dir).expect("a directory");
    // SAFETY: takes plain numbers.
    Errno::result(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).expect("nobody else locks it");
    lock
}

#[test]
fn the_directory_is_locked_meanwhile_and_a_lock_that_never_ends_is_no_obstacle() {
    let dir = free_dir();
    let path = dir.join("sock");
    let _lock = lock(&dir);
    let mut waiting = listen_on(&path, "").program(fixture("worker"), ["serve"]).spawn();
    eventually("signals are blocked", SOON, || blocks(waiting.pid(), Signal::SIGUSR1));
    assert_eq!(waiting.stop(Signal::SIGTERM), exited(143));
    let text = format!("socketmaster: received SIGTERM during the start, while waiting for the lock of {}", dir.display());
    assert_eq!(said(&waiting), [text]);
    assert_eq!(names(&dir), [""; 0]);
    // Held for ever, as anybody may do to /tmp. It waits once, however many paths there are: these would take a quarter of an hour.
    let many = (0..300).map(|number| format!("-listen=unix://{}", dir.join(number.to_string()).display()));
    let setup = many.fold(listen_on(&path, ""), Setup::arg);
    let _master = serving(setup);
    assert!(is_served(&path));
}

#[test]
fn with_retry_a_start_waits_for_an_address_that_is_still_in_use() {
    let dir = free_dir();
    let path = dir.join("sock");
    let before = UnixListener::bind(&path).expect("a free path");
    let line = refused(listen_on(&path, ""));
    let in_use = |query: &str| {
        let pid = std::process::id();
        format!("socketmaster: cannot listen on unix://{}{query}: Address already in use; pid {pid} listens there already", path.display())
    };
    assert_eq!(line, in_use(""));
    assert_eq!(refused(listen_on(&path, "?retry=1")), in_use("?retry=1"), "in the end it gives up");
    // What has been asked so far.
    before.set_nonblocking(true).expect("a socket");
    while before.accept().is_ok() {}
    before.set_nonblocking(false).expect("a socket");

    let mut told = listen_on(&path, "?retry=4294967295").program(fixture("worker"), ["serve"]).spawn();
    eventually("signals are blocked", SOON, || blocks(told.pid(), Signal::SIGUSR1));
    assert_eq!(told.stop(Signal::SIGTERM), exited(143));
    assert_eq!(said(&told).len(), 1);

    let master = listen_on(&path, "?retry=4294967295").program(fixture("worker"), ["serve"]).spawn();
    // It has looked, as the queue of the one before shows.
    before.accept().expect("it knocks");
    assert_eq!(said(&master), [""; 0]);
    drop(before);
    master.wait_output("ready", SOON);
    assert!(is_served(&path));
}

#[test]
fn a_symbolic_link_in_the_place_of_a_socket_is_named_and_left() {
    let dir = free_dir();
    let (path, target) = (dir.join("sock"), dir.join("target"));
    symlink(&target, &path).expect("a link");
    let line = refused(listen_on(&path, "?mode=0666"));
    assert!(line.ends_with("the path exists and is a symbolic link; remove it or choose another path"), "{line}");
    assert_eq!(names(&dir), ["sock"]);
    let target = UnixListener::bind(&target).expect("a free path");
    refused(listen_on(&path, "?mode=0666"));
    drop(target);
    refused(listen_on(&path, "?mode=0666"));
    assert_eq!(names(&dir), ["sock", "target"], "nothing stale is removed through a link");

    for looping in [dir.join("loop"), dir.join("loop/sock")] {
        let _ = symlink("loop", dir.join("loop"));
        let line = refused(listen_on(&looping, ""));
        assert!(line.starts_with(&format!("socketmaster: cannot listen on unix://{}: Too many ", looping.display())), "{line}");
    }
    for not_a_name in ["", ".", ".."] {
        let line = refused(listen_on(&dir.join(not_a_name), ""));
        assert!(line.ends_with(if not_a_name.is_empty() { "Is a directory" } else { "directory" }), "{line}");
    }
}

/// Between bind(2) and chown(2) another user puts something else there. strace widens that instant.
#[test]
fn a_file_that_another_user_puts_in_place_of_the_socket_keeps_its_owner() {
    if !geteuid().is_root() {
        return skip("only root may give a file away");
    }
    let through = match strace(&["-e", "trace=bind", "-e", "inject=bind:delay_exit=300000"]) {
        Ok(through) => through,
        Err(why) => return skip(&why),
    };
    let dir = free_dir();
    let (secret, run) = (dir.join("secret"), dir.join("run"));
    let path = run.join("sock");
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("ours");
    let old = dir.join("old");
    let _old = UnixListener::bind(&old).expect("a free path");
    fs::set_permissions(&old, PermissionsExt::from_mode(0o600)).expect("ours");
    type Swap = fn(&Path, &Path, &Path) -> std::io::Result<()>;
    let swaps: [(&str, Swap); 3] = [
        ("a symbolic link", |path, secret, _| fs::remove_file(path).and_then(|()| symlink(secret, path))),
        ("a hard link", |path, secret, _| fs::remove_file(path).and_then(|()| fs::hard_link(secret, path))),
        ("a socket of root's", |path, _, old| fs::rename(old, path)),
    ];
    for (what, swap) in swaps {
        fs::create_dir(&run).expect("a directory");
        std::os::unix::fs::chown(&run, Some(65534), Some(65534)).expect("we are root");
        let setup = listen_on(&path, "?mode=0600&user=65534").through(through.clone());
        let mut master = setup.program(fixture("worker"), ["serve"]).spawn();
        eventually("the socket", SOON, || path.exists());
        swap(&path, &secret, &old).expect("we are root");
        assert_eq!(master.wait_exit(SOON), exited(1), "{what}: {:?}", said(&master));
        let line = "the path does not lead to the socket that was just bound there; another user writes to its directory";
        assert_eq!(said(&master), [format!("socketmaster: cannot listen on unix://{}?mode=0600&user=65534: {line}", path.display())]);
        let left = fs::symlink_metadata(&path).expect("what was put there stays");
        assert_eq!(left.uid(), 0, "{what}");
        let found = fs::metadata(&secret).expect("it is there");
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600), "{what}");
        fs::remove_dir_all(&run).expect("it is there");
    }
    // The control: undisturbed it gets its owner, in the same directory.
    fs::create_dir(&run).expect("a directory");
    std::os::unix::fs::chown(&run, Some(65534), Some(65534)).expect("we are root");
    let _master = serving(listen_on(&path, "?mode=0660&user=65534"));
    let found = fs::symlink_metadata(&path).expect("a socket");
    assert_eq!((found.uid(), found.mode() & 0o777), (65534, 0o660));
}

/// The owner of a directory above leads the path elsewhere while the start waits for the lock of the first place: the socket
/// is born in the second one, and the name in the first is a file of root's.
#[test]
fn a_path_redirected_during_the_start_changes_the_owner_of_no_other_file() {
    if !geteuid().is_root() {
        return skip("only root may give a file away");
    }
    let dir = free_dir();
    let (home, theirs, roots) = (dir.join("home"), dir.join("home/real"), dir.join("roots"));
    for directory in [&home, &theirs, &roots] {
        fs::create_dir(directory).expect("a directory");
    }
    for directory in [&home, &theirs] {
        std::os::unix::fs::chown(directory, Some(65534), Some(65534)).expect("we are root");
    }
    let (secret, run) = (roots.join("sock"), home.join("run"));
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("ours");
    symlink(&roots, &run).expect("a link");
    let locked = File::open(&roots).expect("a directory");
    // SAFETY: takes plain numbers.
    assert_eq!(unsafe { libc::flock(locked.as_raw_fd(), libc::LOCK_EX) }, 0);
    let setup = listen_on(&run.join("sock"), "?mode=0666&user=65534");
    let mut master = setup.program(fixture("worker"), ["serve"]).spawn();
    eventually("the wait for the lock", SOON, || {
        fs::metadata(&roots).is_ok() && open_fds(master.pid()).values().any(|file| Path::new(file) == roots)
    });
    symlink("real", home.join("new")).and_then(|()| fs::rename(home.join("new"), &run)).expect("we are root");
    drop(locked);
    assert_eq!(master.wait_exit(SOON), exited(1), "{:?}", said(&master));
    let found = fs::metadata(&secret).expect("it is still there");
    assert_eq!((found.uid(), found.mode() & 0o777, found.nlink()), (0, 0o600, 1));
    // The control: undisturbed the link is followed.
    let _master = serving(listen_on(&run.join("sock2"), "?mode=0660&user=65534"));
    let found = fs::symlink_metadata(theirs.join("sock2")).expect("a socket");
    assert_eq!((found.uid(), found.mode() & 0o777), (65534, 0o660));
}

/// Neither for an instant: no system call changes the mode of the path.
#[test]
fn a_path_is_born_with_its_mode() {
    let dir = free_dir();
    let path = dir.join("sock");
    let setup = listen_on(&path, "?mode=0606").tune(|command| {
        #[cfg(target_arch = "x86_64")]
        crate::harness::pre_exec::refuse(command, libc::SYS_chmod, None, Errno::EPERM);
        crate::harness::pre_exec::refuse(command, libc::SYS_fchmodat, None, Errno::EPERM);
        crate::harness::pre_exec::refuse(command, 452, None, Errno::EPERM);
    });
    let mut tried = Command::new("true");
    crate::harness::pre_exec::refuse(&mut tried, libc::SYS_fchmodat, None, Errno::EPERM);
    if let Err(error) = tried.output() {
        return skip(&format!("no system call can be refused: {error}"));
    }
    let _master = serving(setup.through(["sh", "-c", r#"umask 077; exec "$@""#, "sh"]));
    assert_eq!(fs::symlink_metadata(&path).expect("a socket").mode() & 0o777, 0o606);
}
