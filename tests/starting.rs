//! The start of a worker: its user, its directory, its standard streams, and failures during the start.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::Signal::{SIGCONT, SIGHUP, SIGKILL, SIGTERM};
use nix::sys::signal::killpg;
use nix::sys::stat::fstat;
use nix::unistd::{Pid, geteuid, pipe};
use socketmaster::config::protocols::Protocols;
use socketmaster::sys::signal::block_all;
use socketmaster::sys::stdio::StandardStreams;
use socketmaster::types::listener::Listener;
use socketmaster::types::process::{GenerationNumber, WorkerPlace};
use socketmaster::worker::environment::{EnvironmentRecipe, ManagerVariables};
use socketmaster::worker::launch::{Directory, LaunchSpec, Progress, Start, StartDirectory};

use crate::harness::{
    FreeDir, Inherited, Master, SOON, Setup, assert_ended_at_term, binary, children_of, eventually, exited, fixture, free_dir, held_up,
    make_program, only_child, phrase, send, skip, state_of,
};

/// No other process of the tests has this uid.
const SOMEBODY: u32 = 54_323;

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("only root may become another user");
    }
    root
}

/// A directory that all users may enter, with copies of the master and of the fixture that all users may execute.
#[track_caller]
fn for_everybody() -> FreeDir {
    let dir = free_dir();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("ours");
    for (from, name) in [(binary(), "socketmaster"), (fixture("worker"), "worker")] {
        make_program(&dir.join(name), fs::read(from).expect("it is built"));
    }
    dir
}

#[track_caller]
fn directory(path: &Path, owner: u32, mode: u32) {
    fs::create_dir(path).expect("ours");
    chown(path, Some(owner), Some(owner)).expect("root may");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

fn become_somebody() -> Vec<String> {
    vec!["setpriv".into(), format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"), "--clear-groups".into(), "--".into()]
}

/// Runs a program that only prints, without a listener, and waits for its end: the status and what it printed.
#[track_caller]
fn printed(setup: Setup, words: &[&str]) -> (std::process::ExitStatus, Vec<String>) {
    let (program, arguments) = words.split_first().expect("a program");
    let mut master = setup.arg("-listen=none").program(program, arguments).spawn();
    let status = master.wait_exit(SOON);
    (status, master.lines().iter().filter(|line| !line.is_note()).map(|line| line.text()).collect())
}

// Directories.

/// Waits for a child of this test, which is known to be ending.
fn reap(pid: socketmaster::types::process::Pid) {
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.as_raw()), None).expect("a child of our own");
}

#[test]
fn a_directory_that_cannot_be_reached_by_its_path_any_more_is_the_worker_s_too() {
    if !is_root() {
        return;
    }
    let dir = for_everybody();
    let closed = free_dir();
    directory(&closed.join("inside"), 0, 0o755);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("ours");
    let inside = closed.join("inside");
    let begin = inside.clone();
    let setup = || {
        let begin = begin.clone();
        Setup::new().binary(dir.join("socketmaster")).through(become_somebody()).tune(move |command| {
            command.current_dir(begin);
        })
    };
    let seen = printed(setup(), &["/bin/pwd"]);
    assert_eq!(seen, (exited(0), vec![inside.display().to_string()]));
    // The control: by its path it is out of reach.
    let (status, said) = printed(setup().arg(format!("-dir={}", inside.display())), &["/bin/pwd"]);
    assert_ne!(status, exited(0), "{said:?}");
}

#[test]
fn a_directory_is_entered_before_the_change_of_user_or_after_it_whichever_works() {
    if !is_root() {
        return;
    }
    let dir = free_dir();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("ours");
    directory(&dir.join("home"), SOMEBODY, 0o700);
    directory(&dir.join("roots"), 0, 0o700);
    directory(&dir.join("roots/inside"), 0, 0o755);
    directory(&dir.join("nobodys"), SOMEBODY + 1, 0o700);
    // A root as in a container that has dropped all it can: modes hold for it as for everybody.
    let powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
    let pwd = |name: &str| {
        let setup = Setup::new().through(powerless).arg(format!("-user={SOMEBODY}")).arg(format!("-dir={}", dir.join(name).display()));
        printed(setup, &["/bin/pwd"])
    };
    for name in ["home", "roots/inside"] {
        assert_eq!(pwd(name), (exited(0), vec![dir.join(name).display().to_string()]));
    }
    assert_eq!(pwd("nobodys"), (exited(1), vec![]));
}

// Users and groups.

/// Has the master find these files as /etc/passwd and /etc/group. `None`: not possible here.
#[track_caller]
fn with_accounts(dir: &Path, passwd: &str, group: &str) -> Option<Setup> {
    let possible = geteuid().is_root() && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !possible {
        skip("another /etc/passwd needs a mount namespace");
        return None;
    }
    fs::write(dir.join("passwd"), passwd).expect("ours");
    fs::write(dir.join("group"), group).expect("ours");
    let script = r#"mount --make-rprivate / && mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@""#;
    let words = ["unshare", "-m", "sh", "-c", script].map(OsString::from);
    Some(Setup::new().through(words.into_iter().chain([dir.as_os_str().to_owned()])))
}

#[test]
fn a_user_or_group_with_an_invalid_number_is_refused_before_anything_is_opened() {
    let root = "root:x:0:0:root:/root:/bin/sh\n";
    let cure = "write a number from 0 to 4294967294 there";
    for (passwd, group, options, refusal) in [
        ("app:x:1000:1000::/app:/bin/sh", "", "-user=app", None),
        ("app:x::::/app:/bin/sh", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is empty")),
        ("app:x:4294967296:5::/:", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is too large")),
        ("app:x:4294967295:5::/:", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is too large")),
        ("app:x:-1:5::/:", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is not a number")),
        ("app:x: 5:5::/:", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is not a number")),
        ("app:x:1000:::/:", "", "-user=app", Some("cannot use user 'app': the gid in line 2 of /etc/passwd is empty")),
        ("app:x:1000:::/:", "", "-user=1000", Some("cannot use user 'app': the gid in line 2 of /etc/passwd is empty")),
        ("app:x", "", "-user=app", Some("cannot use user 'app': the uid in line 2 of /etc/passwd is missing")),
        ("app:x:1000:5::/:", "adm:x:7:", "-user=app:adm", None),
        ("app:x:1000:5::/:", "adm:x::", "-user=app:adm", Some("cannot use group 'adm': the gid in line 1 of /etc/group is empty")),
        ("app:x:1000:5::/:", "adm:x::app", "-user=app", Some("cannot use group 'adm': the gid in line 1 of /etc/group is empty")),
        ("app:x:1000:5::/:", "adm:x::other", "-user=app", None),
    ] {
        let dir = free_dir();
        let Some(setup) = with_accounts(&dir, &format!("{root}{passwd}\n"), &format!("{group}\n")) else { return };
        let mut master = setup.arg(options).program("sh", ["-c", "echo runs as $(id -u)"]).spawn();
        let status = master.wait_exit(SOON);
        let said: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
        match refusal {
            Some(cause) => {
                assert_eq!(said, [format!("socketmaster: {cause}; {cure}")], "{passwd:?}");
                assert_eq!(status, exited(1));
            }
            None => assert!(said.contains(&"runs as 1000".to_owned()), "{passwd:?}: {said:?}"),
        }
    }
}

#[test]
fn the_owner_of_a_socket_is_looked_up_with_the_same_care() {
    for (option, cause) in [
        ("user=app", "cannot use user 'app': the uid in line 2 of /etc/passwd is empty"),
        ("group=app", "cannot use group 'app': the gid in line 1 of /etc/group is empty"),
    ] {
        let dir = free_dir();
        let Some(setup) = with_accounts(&dir, "root:x:0:0:root:/root:/bin/sh\napp:x:::::\n", "app:x::\n") else { return };
        let listener = dir.join("socket");
        let setup = setup.arg(format!("-listen=unix://{}?{option}", listener.display()));
        let mut master = setup.program("true", [""; 0]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(1));
        let said: Vec<String> = master.lines().iter().map(|line| line.text()).collect();
        assert_eq!(said, [format!("socketmaster: {cause}; write a number from 0 to 4294967294 there")]);
        assert!(!listener.exists());
    }
}

#[test]
fn a_user_may_be_in_as_many_groups_as_there_are() {
    let dir = free_dir();
    let group: String = (0..100).map(|n| format!("g{n}:x:{}:other,bob\n", 5000 + n)).collect();
    let Some(setup) = with_accounts(&dir, "root:x:0:0::/:/bin/sh\nbob:x:1000:1000::/:/bin/sh\n", &group) else { return };
    let (status, said) = printed(setup.arg("-user=bob"), &["id", "-G"]);
    assert_eq!(status, exited(0), "{said:?}");
    let mut groups: Vec<u32> = said.concat().split_whitespace().map(|gid| gid.parse().expect("a number")).collect();
    groups.sort_unstable();
    assert_eq!(groups, [1000].into_iter().chain(5000..5100).collect::<Vec<u32>>());
}

#[test]
fn a_master_that_already_runs_as_that_user_needs_no_privilege() {
    if !is_root() {
        return;
    }
    let dir = for_everybody();
    let setup = |user: u32| Setup::new().binary(dir.join("socketmaster")).through(become_somebody()).arg(format!("-user={user}"));
    let who = ["sh", "-c", "echo $(id -u) $(id -g) $(id -G)"];
    assert_eq!(printed(setup(SOMEBODY), &who), (exited(0), vec![format!("{SOMEBODY} {SOMEBODY} {SOMEBODY}")]));
    let (status, said) = printed(setup(SOMEBODY + 1), &who);
    assert_eq!(status, exited(1));
    assert!(said.concat().contains("only root may become another user"), "{said:?}");
    // Already that user, but not in all of its groups.
    let dir = for_everybody();
    let Some(setup) = with_accounts(&dir, &format!("me:x:{SOMEBODY}:{SOMEBODY}::/:\n"), "more:x:77:me\n") else { return };
    let setup = setup.through(become_somebody()).binary(dir.join("socketmaster")).arg("-user=me");
    let (status, said) = printed(setup, &who);
    assert_eq!(status, exited(1));
    assert!(said.concat().contains("only root may change its groups"), "{said:?}");
}

#[test]
fn where_groups_can_not_be_changed_they_are_left_as_they_are() {
    let possible = Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success());
    if !possible {
        return skip("a user namespace cannot be made");
    }
    let (status, said) = printed(Setup::new().through(["unshare", "-Ur"]).arg("-user=0:0"), &["id", "-u"]);
    assert_eq!((status, said), (exited(0), vec!["0".to_owned()]));
}

#[test]
fn a_user_that_passwd_does_not_know_has_the_root_for_a_home_and_no_name() {
    if !is_root() {
        return;
    }
    let setup = |user: &str| {
        let setup = Setup::new().arg(format!("-user={user}"));
        ["HOME", "USER", "LOGNAME", "SHELL"].iter().fold(setup, |setup, name| setup.env(name, "of-root"))
    };
    let variables = |user: &str| {
        let (status, said) = printed(setup(user), &["env"]);
        assert_eq!(status, exited(0));
        let of_users = |line: &String| ["HOME=", "USER=", "LOGNAME=", "SHELL="].iter().any(|name| line.starts_with(name));
        said.into_iter().filter(of_users).collect::<Vec<String>>()
    };
    assert_eq!(variables(&format!("{SOMEBODY}:{SOMEBODY}")), ["HOME=/"]);
    let of_root = variables("0");
    assert!(of_root.contains(&"HOME=/root".to_owned()) && of_root.contains(&"USER=root".to_owned()), "{of_root:?}");
    assert_eq!(of_root.len(), 4, "{of_root:?}");
}

#[test]
fn the_error_for_too_many_processes_of_a_user_names_the_limit() {
    if !is_root() {
        return;
    }
    let mut other = Command::new("sleep").arg("1000").uid(SOMEBODY + 2).spawn().expect("it starts");
    let with_limit = |limit: &str| {
        let setup = Setup::new().through(["prlimit", &format!("--nproc={limit}"), "--"]).arg(format!("-user={}", SOMEBODY + 2));
        let mut master = setup.arg("-listen=none").program("true", [""; 0]).spawn();
        (master.wait_exit(SOON), master.notes().concat())
    };
    let seen = [with_limit("0"), with_limit("1000")];
    other.kill().and_then(|()| other.wait()).expect("it is our child");
    let [(status, said), (enough, _)] = seen;
    assert_eq!(enough, exited(0));
    assert_eq!(status, exited(126), "{said}");
    assert!(said.contains("cannot execute true: no more processes: the limit is 0 (RLIMIT_NPROC)"), "{said}");
}

// Standard streams.

/// The master with these files as stdout and stderr, until its end; stderr by itself is not looked at.
#[track_caller]
fn with_stdout(options: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>, script: &str) -> Output {
    let mut command = Command::new(binary());
    command.arg("-listen=none").args(options).args(["--", "sh", "-c", script]).current_dir("/");
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).output().expect("it starts")
}

#[test]
fn another_user_can_open_its_output_by_path_and_root_owns_the_pipe_again_at_the_end() {
    if !is_root() {
        return;
    }
    let user = format!("-user={SOMEBODY}");
    let (mut reader, writer) = pipe().map(|(reader, writer)| (File::from(reader), writer)).expect("a pipe");
    let ours = writer.try_clone().expect("a copy");
    let (_unread, errors) = pipe().expect("a pipe");
    with_stdout(&[&user], writer, errors, "echo one >/dev/stdout && stat -Lc %u /dev/stdout && echo two >/dev/stderr && echo done");
    assert_eq!(fstat(&ours).expect("it is open").st_uid, 0, "the owner is back");
    drop(ours);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("a text");
    assert_eq!(said, format!("one\n{SOMEBODY}\ndone\n"));

    // A file is nobody's but its owner's, and stays so meanwhile.
    let dir = free_dir();
    let file = File::create(dir.join("log")).expect("ours");
    with_stdout(&[&user], file, Stdio::null(), "stat -Lc %u /dev/stdout");
    assert_eq!(fs::read_to_string(dir.join("log")).expect("a text"), "0\n");
}

#[test]
fn another_user_can_open_the_pipes_that_the_master_reads() {
    if !is_root() {
        return;
    }
    let output = with_stdout(
        &["-prefix", &format!("-user={SOMEBODY}")],
        Stdio::piped(),
        Stdio::piped(),
        "echo one >/dev/stdout && echo two >/dev/stderr && echo three",
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["one", "two", "three"] {
        assert!(said.lines().any(|line| line.ends_with(&format!("] {word}"))), "{said}");
    }
}

fn set_nonblocking(fd: impl AsFd, nonblocking: bool) {
    let mut flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).expect("it is open"));
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(&fd, FcntlArg::F_SETFL(flags)).expect("it is open");
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).expect("it is open")).contains(OFlag::O_NONBLOCK)
}

#[test]
fn workers_and_the_process_after_the_master_find_the_blocking_modes_that_the_master_found() {
    for found_nonblocking in [false, true] {
        let reports = free_dir();
        let (_reader, writer) = pipe().expect("a pipe");
        let (input, _input_writer) = pipe().expect("a pipe");
        let copies: [OwnedFd; 2] = [input.try_clone().expect("a copy"), writer.try_clone().expect("a copy")];
        copies.iter().for_each(|fd| set_nonblocking(fd, found_nonblocking));
        let file = reports.join("{pid}");
        let words = ["report", file.to_str().expect("a plain path"), "signals"];
        let mut master = Setup::new()
            .arg("-start=0")
            .program(fixture("worker"), words)
            .tune(move |command| {
                command.stdin(input).stdout(writer);
            })
            .spawn();
        let expect = |generation: u32| {
            let report = Inherited::wait(&reports.join(master.started_pid(generation).to_string()));
            for fd in [0, 1] {
                let flag = format!("nonblock={}", u8::from(found_nonblocking));
                assert!(report.fds()[&fd].contains(&flag), "generation {generation}, {fd}: {}", report.fds()[&fd]);
            }
        };
        expect(1);
        // The flag belongs to the open file: as if the worker had changed it.
        copies.iter().for_each(|fd| set_nonblocking(fd, !found_nonblocking));
        master.signal(SIGHUP);
        expect(2);
        copies.iter().for_each(|fd| set_nonblocking(fd, !found_nonblocking));
        assert_ended_at_term(master.stop(SIGTERM));
        assert_eq!(copies.map(is_nonblocking), [found_nonblocking; 2]);
    }
}

// ---- the variables of the program

#[test]
fn host_and_port_are_what_php_fpm_compares() {
    for (uri, hosts) in [
        ("tcp://:0", &["::", "0.0.0.0"][..]),
        ("tcp4://:0", &["0.0.0.0"]),
        ("tcp://[::1]:0", &["::1"]),
        ("tcp://127.0.0.1:0", &["127.0.0.1"]),
    ] {
        let setup =
            Setup::new().arg(format!("-listen={uri}?name=web")).arg("-env=A={host}:{port}={fd}").arg("-env=B={host:web}:{port:web}");
        let mut master = setup.program("sh", ["-c", "echo \"$A $B\""]).spawn();
        if uri.contains("::1") && master.wait_exit(SOON) != exited(0) {
            continue;
        }
        let bound = master.uri();
        let port = bound.rsplit(':').next().expect("a port");
        let line = master.wait_output(&format!(":{port}=3 "), SOON);
        assert!(hosts.iter().any(|host| line == format!("{host}:{port}=3 {host}:{port}")), "{uri}: {line}");
    }
}

#[test]
fn server_starter_asked_for_by_name_has_an_empty_list_where_there_is_no_socket() {
    let said = |option: &str| printed(Setup::new().arg(option), &["sh", "-c", "echo ${SERVER_STARTER_PORT-unset}"]);
    assert_eq!(said("-handoff=server-starter"), (exited(0), vec![String::new()]));
    assert_eq!(said("-start=0"), (exited(0), vec!["unset".to_owned()]));
}

#[test]
fn a_plain_init_passes_on_the_variables_of_its_service_manager_and_sends_it_nothing() {
    let dir = free_dir();
    let manager = UnixDatagram::bind(dir.join("notify")).expect("a socket");
    manager.set_nonblocking(true).expect("ours");
    let script = r#"exec 7<"$0" && export LISTEN_FDS=1 LISTEN_PID=$$ WATCHDOG_PID=$$ LISTEN_PIDFDID=1 && exec "$@""#;
    let seen = |option: Option<String>| {
        let words = ["sh", "-c", script].map(OsString::from).into_iter().chain([dir.join("file").into_os_string()]);
        let setup = Setup::new().through(words).env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "1000000");
        let setup = option.into_iter().fold(setup, Setup::arg);
        let show = r#"own() { [ "$1" = $$ ] && echo own || echo "$1"; }
            echo "$LISTEN_FDS $(own "$LISTEN_PID") $(own "$WATCHDOG_PID") $WATCHDOG_USEC $NOTIFY_SOCKET $LISTEN_PIDFDID $(readlink /proc/$$/fd/7)""#;
        printed(setup, &["sh", "-c", show])
    };
    fs::write(dir.join("file"), "").expect("ours");
    let passed_on = format!("1 own own 1000000 {}  {}", dir.join("notify").display(), dir.join("file").display());
    assert_eq!(seen(None), (exited(0), vec![passed_on]));
    let heard = manager.recv(&mut [0; 256]).expect_err("the master itself says nothing").kind();
    assert_eq!(heard, std::io::ErrorKind::WouldBlock);

    // The controls: a master that can be asked to reload is a supervisor, and the manager's variables are its own.
    for option in [format!("-control={}", dir.join("control").display()), "-signal=HUP:reload".to_owned()] {
        let (status, said) = seen(Some(option));
        assert_eq!(status, exited(0));
        assert!(said.concat().starts_with("  "), "{said:?}");
        assert!(manager.recv(&mut [0; 256]).is_ok(), "a supervisor says that it serves");
        while manager.recv(&mut [0; 256]).is_ok() {}
    }
}

/// A program of the fixture that writes to `inherited` in that directory what it has inherited.
fn reporting(program: &Path, dir: &Path) -> LaunchSpec {
    let systemd = Protocols::parse("systemd").expect("a protocol");
    LaunchSpec {
        command: program.as_os_str().to_owned(),
        args: vec!["report".into(), "inherited".into()],
        directory: Directory::new(&Rc::new(StartDirectory::current()), Some(dir.to_owned())),
        identity: None,
        environment: EnvironmentRecipe::new([], ManagerVariables::Remove, None, systemd, vec![]),
        report: None,
        // The mask is this thread's own.
        signals: block_all(),
        modes: StandardStreams::found().modes(),
    }
}

/// The library itself, since a master of today holds its listeners where the worker has them.
#[test]
fn listeners_reach_their_numbers_from_wherever_they_are_held() {
    const COUNT: usize = 60;
    let dir = free_dir();
    let sockets: Vec<TcpListener> = (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    // In reverse order many of them are in each other's way.
    let listeners: Vec<BorrowedFd> = sockets.iter().rev().map(AsFd::as_fd).collect();
    let info = Listener { fd: 3, name: None, addr: vec![], host: vec![], port: None, uri: String::new() };
    let infos = vec![info; COUNT];
    let streams = StandardStreams::found();
    let environment = EnvironmentRecipe::new([], ManagerVariables::Remove, None, Protocols::parse("systemd").expect("a protocol"), vec![]);
    let spec = Rc::new(LaunchSpec {
        command: fixture("worker").into_os_string(),
        args: vec!["report".into(), "inherited".into()],
        directory: Directory::new(&Rc::new(StartDirectory::current()), Some(dir.to_owned())),
        identity: None,
        environment,
        report: None,
        // The mask is this thread's own.
        signals: block_all(),
        modes: streams.modes(),
    });
    let start = Start {
        place: WorkerPlace { generation: GenerationNumber::FIRST, slot: 0 },
        listeners: &listeners,
        infos: &infos,
        own: &[],
        output: None,
        foreground: false,
    };
    let launched = spec.launch(&start).expect("it starts");
    eventually("it is executed", SOON, || match launched.progress() {
        Progress::Pending => false,
        Progress::Executed => true,
        Progress::Failed(error) => panic!("{error:?}"),
    });
    let inherited = Inherited::wait(&dir.join("inherited"));
    reap(launched.pid());
    assert_eq!(inherited.env("LISTEN_FDS"), Some("60"));
    let fds = inherited.fds();
    for (number, listener) in (3..).zip(&listeners) {
        let inode = fstat(listener).expect("it is open").st_ino;
        assert!(fds[&number].ends_with(&format!("socket:[{inode}]")), "{number}: {}", fds[&number]);
    }

    let missing = Rc::new(LaunchSpec { command: "/no/such/program".into(), ..LaunchSpec::clone(&spec) });
    let launched = missing.launch(&start).expect("there is a child");
    let failure = eventually("the failure is known", SOON, || match launched.progress() {
        Progress::Failed(error) => Some(error),
        Progress::Pending | Progress::Executed => None,
    });
    reap(launched.pid());
    assert_eq!(failure.status, 127);
    assert_eq!(failure.cause, "cannot execute /no/such/program: No such file or directory");
    assert_eq!(launched.progress(), Progress::Failed(failure), "it stays so");
}

// What may happen between fork and exec.

/// A write lease, fcntl(2): until it is given back, or for 45 s, who executes the file waits, as on a file system that does
/// not answer.
struct Lease(File);

impl Lease {
    /// `None`: this file system has no leases.
    #[track_caller]
    fn of(program: &Path) -> Option<Lease> {
        let file = File::open(program).expect("it is there");
        let fd = file.as_raw_fd();
        // Of the signal that tells the holder that somebody waits: one that does nothing.
        // SAFETY: both take plain numbers.
        let taken = unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGWINCH) == 0 && libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) == 0 };
        if !taken {
            skip("this file system has no leases, or this user may not take one");
        }
        taken.then_some(Lease(file))
    }

    fn somebody_waits(&self) -> bool {
        // It tells what the lease is to become.
        // SAFETY: takes plain numbers.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_GETLEASE) != libc::F_WRLCK }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing alone would not do: a child that has not executed yet has a copy of the descriptor.
        // SAFETY: takes plain numbers.
        unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}

/// fcntl(2); libc has it not for every target.
const F_SETSIG: libc::c_int = 10;

#[test]
fn a_start_does_not_wait_for_a_program_whose_execution_hangs() {
    let dir = for_everybody();
    let program = dir.join("worker");
    let Some(lease) = Lease::of(&program) else { return };
    let spec = Rc::new(reporting(&program, &dir));
    let start = Start {
        place: WorkerPlace { generation: GenerationNumber::FIRST, slot: 0 },
        listeners: &[],
        infos: &[],
        own: &[],
        output: None,
        foreground: false,
    };
    let launched = spec.launch(&start).expect("there is a child");
    eventually("the child executes the program, and waits", SOON, || lease.somebody_waits());
    assert_eq!(launched.progress(), Progress::Pending);
    drop(lease);
    eventually("it is executed", SOON, || launched.progress() == Progress::Executed);
    Inherited::wait(&dir.join("inherited"));
    reap(launched.pid());
}

#[test]
fn while_the_execution_of_a_new_worker_hangs_the_master_answers_and_a_stop_ends_both() {
    let dir = for_everybody();
    let setup = Setup::new().arg("-start=0").arg(format!("-control={}", dir.join("control").display()));
    let mut master = setup.program(dir.join("worker"), ["signals"]).spawn();
    master.wait_current(1);
    master.wait_output("ready", SOON);
    let old = only_child(master.pid());
    // Another file: the one that runs is open already.
    make_program(&dir.join("worker"), fs::read(fixture("worker")).expect("it is built"));
    let Some(lease) = Lease::of(&dir.join("worker")) else { return };
    master.signal(SIGHUP);
    eventually("the new worker waits", SOON, || lease.somebody_waits());
    let new = children_of(master.pid()).into_iter().find(|child| *child != old).expect("it was started");
    answers(&dir);
    assert!(!master.has_note(&phrase::current(2)), "it is not executed yet");
    master.stop(SIGTERM);
    assert_eq!(state_of(new), None);
}

fn group_of(pid: u32) -> Option<i32> {
    nix::unistd::getpgid(Some(Pid::from_raw(pid as i32))).ok().map(Pid::as_raw)
}

#[test]
fn a_signal_to_the_master_s_group_does_not_end_a_worker_that_is_just_being_started() {
    let Some(setup) = held_up("setpgid:delay_enter=700000") else { return };
    let setup = setup.arg("-start=0").program(fixture("worker"), ["signals"]).tune(|command| {
        command.process_group(0);
    });
    let mut master = setup.spawn();
    master.wait_note(&phrase::current(1), 3 * SOON);
    master.wait_output("ready", SOON);
    let old = only_child(master.pid());
    master.signal(SIGHUP);
    let own = master.pid();
    eventually("the new worker is in the master's group for a moment", SOON, || {
        children_of(own).into_iter().any(|child| child != old && group_of(child) == Some(own as i32))
    });
    killpg(Pid::from_raw(own as i32), SIGHUP).expect("the master's group");
    // Both were asked for: the one that was being started, and another after it.
    master.wait_note(&phrase::current(2), 3 * SOON);
    master.wait_note(&phrase::current(3), 3 * SOON);
    assert_ended_at_term(master.stop(SIGTERM));
    assert!(!master.has_note(&phrase::killed_by("SIGHUP")), "{:?}", master.notes());
}

/// A master whose every new worker is stopped between its change of user and its execve, as a process of that user can do it.
#[track_caller]
fn whose_workers_are_stopped(dir: &Path) -> Option<Master> {
    if !is_root() {
        return None;
    }
    let setup = held_up("setresuid:signal=STOP")?;
    let setup = setup.arg("-start=0").arg(format!("-user={SOMEBODY}")).arg(format!("-control={}", dir.join("control").display()));
    Some(setup.program(dir.join("worker"), ["signals"]).spawn())
}

#[track_caller]
fn stopped_child(master: &Master, but: Option<u32>) -> u32 {
    eventually("the new worker is stopped", SOON, || {
        let mut children = children_of(master.pid()).into_iter();
        children.find(|child| Some(*child) != but && matches!(state_of(*child), Some('T' | 't')))
    })
}

/// Continues it until this has been noted: strace(1) may be about to stop it just now, and then one SIGCONT comes too early.
/// Not at each look, since strace(1) stops the child for each SIGCONT, too.
#[track_caller]
fn continued(master: &Master, child: u32, note: &str) {
    let mut looks = 0;
    eventually(note, 3 * SOON, || {
        if looks % 100 == 0 {
            send(child, SIGCONT);
        }
        looks += 1;
        master.notes().iter().any(|line| line.contains(note))
    });
}

/// `-s status` within a time in which it cannot but be answered.
#[track_caller]
fn answers(dir: &Path) {
    let mut asked = Command::new(binary())
        .arg(format!("-control={}", dir.join("control").display()))
        .arg("-s=status")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("an answer", SOON, || asked.try_wait().expect("our child")).success()
    }));
    if answered.is_err() {
        send(asked.id(), SIGKILL);
        let _ = asked.wait();
    }
    assert!(answered.unwrap_or(false), "the master answers while a worker is stopped");
}

#[test]
fn while_a_new_worker_is_stopped_before_it_executes_the_master_answers_and_a_stop_ends_both() {
    let dir = for_everybody();
    let Some(mut master) = whose_workers_are_stopped(&dir) else { return };
    let first = stopped_child(&master, None);
    answers(&dir);
    continued(&master, first, &phrase::current(1));
    master.wait_output("ready", SOON);

    master.signal(SIGHUP);
    let second = stopped_child(&master, Some(first));
    answers(&dir);
    assert!(!master.has_note(&phrase::current(2)), "it is not executed yet");
    master.stop(SIGTERM);
    assert_eq!(state_of(second), None);
}

#[test]
fn a_worker_that_was_stopped_before_execve_and_continued_works_normally() {
    let dir = for_everybody();
    let Some(mut master) = whose_workers_are_stopped(&dir) else { return };
    let first = stopped_child(&master, None);
    continued(&master, first, &phrase::current(1));
    master.wait_output("ready", SOON);
    master.signal(SIGHUP);
    let second = stopped_child(&master, Some(first));
    continued(&master, second, &phrase::current(2));
    assert_ended_at_term(master.stop(SIGTERM));
}
