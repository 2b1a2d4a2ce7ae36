//! Bad input: one line that names it, a status, and nothing opened, created or started.
//!
//! Every command line here begins with a valid listener whose path holds a stale socket.
//! While that one is still there, nothing has been opened: opening would have replaced it, and removed it at the end.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::geteuid;

use crate::harness::pre_exec::inherit;
use crate::harness::{FreeDir, SOON, Setup, Stream, exited, fixture, free_dir, make_program, phrase};

/// No such number is ever open.
const CLOSED_FD: i32 = 99;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    /// The mistake can be seen before anything is opened.
    Nothing,
    /// Only the kernel can tell, and what was opened before is closed and removed again.
    AndTakenBack,
}

struct Scene {
    dir: FreeDir,
    stale: u64,
}

impl Scene {
    fn new() -> Self {
        let dir = free_dir();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).expect("a directory of ours");
        drop(UnixListener::bind(dir.join("early")).expect("a socket"));
        let stale = inode(&dir.join("early")).expect("it was just made");
        Self { dir, stale }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `{dir}` in a word or an expected line.
    fn filled(&self, text: &str) -> String {
        text.replace("{dir}", &self.dir.display().to_string())
    }

    /// The good listener, and these words.
    fn without_program(&self, words: &[&str]) -> Setup {
        let setup = Setup::new().arg(self.filled("-listen=unix://{dir}/early")).arg("-start=0").env("PATH", "/bin:/usr/bin");
        words.iter().fold(setup, |setup, word| setup.arg(self.filled(word)))
    }

    /// The same with a program that leaves a marker; the words come last.
    fn setup(&self, words: &[&str]) -> Setup {
        let command = format!("-command={}", fixture("worker").display());
        let words: Vec<&str> = [command.as_str()].into_iter().chain(words.iter().copied()).collect();
        self.without_program(&words).env("SOCKETMASTER_ARGS", self.filled("report {dir}/marker"))
    }

    /// In an expected line `...` stands for any text.
    #[track_caller]
    fn refuses(&self, setup: Setup, opened: Opened, status: u8, line: &str) {
        let mut master = setup.spawn();
        let ended = master.wait_exit(3 * SOON);
        let said: Vec<String> = master.lines().iter().map(|line| format!("{:?}: {}", line.stream, line.text())).collect();
        let line = self.filled(&format!("{:?}: socketmaster: {line}", Stream::Err));
        let as_expected = |said: &str| match line.split_once("...") {
            Some((begin, end)) => said.len() > begin.len() + end.len() && said.starts_with(begin) && said.ends_with(end),
            None => said == line,
        };
        assert!(
            said.len() == 1 && as_expected(&said[0]),
            "expected the one line\n  {line}\nand nothing else, got\n  {}",
            said.join("\n  ")
        );
        self.ended(ended, exited(status), opened);
    }

    #[track_caller]
    fn ended(&self, ended: ExitStatus, expected: ExitStatus, opened: Opened) {
        assert_eq!(ended, expected);
        assert!(!self.path("marker").exists(), "the program was started");
        let left = (opened == Opened::Nothing).then_some(self.stale);
        assert_eq!(inode(&self.path("early")), left, "the listener before it: {opened:?}");
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// Each of the rows is a command line of its own.
#[track_caller]
fn refused(status: u8, rows: &[(&[&str], &str)]) {
    for (words, line) in rows {
        let scene = Scene::new();
        scene.refuses(scene.setup(words), Opened::Nothing, status, line);
    }
}

/// The control of all tests here: nothing is wrong with the rest of the command line.
#[test]
fn without_a_mistake_the_listener_is_opened_and_the_program_started() {
    let scene = Scene::new();
    let mut master = scene.setup(&[]).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    master.wait_note("listening on unix:///", SOON);
    assert!(scene.path("marker").exists());
    assert_eq!(inode(&scene.path("early")), None);
}

#[test]
fn an_unknown_option_is_answered_with_the_closest_known_one() {
    refused(
        2,
        &[
            (&["-strat=5"], "-strat: unknown option; did you mean -start?"),
            (&["--lisen=tcp://:0"], "--lisen: unknown option; did you mean -listen?"),
            (&["-stop-time=1"], "-stop-time: unknown option; did you mean -stop-timeout?"),
            (&["-nothing-like-it"], "-nothing-like-it: unknown option; see -help"),
            (&["-\n"], "-\\n: unknown option; see -help"),
        ],
    );
}

#[test]
fn a_missing_value_is_answered_with_the_form_to_write() {
    refused(
        2,
        &[
            (&["-start"], "-start: needs a value; write -start=MILLIS"),
            (&["--listen"], "--listen: needs a value; write --listen=URI"),
            (&["-user"], "-user: needs a value; write -user=LOGIN"),
        ],
    );
}

#[test]
fn an_invalid_value_is_answered_with_the_accepted_values() {
    refused(
        2,
        &[
            (&["-start=abc"], "-start=abc: not a whole number of milliseconds, such as 3000"),
            (&["-start=-1"], "-start=-1: not a whole number of milliseconds, such as 3000"),
            (&["--start", "1.5"], "--start=1.5: not a whole number of milliseconds, such as 3000"),
            (&["-start="], "-start=: not a whole number of milliseconds, such as 3000"),
            (&["-stop-timeout=18446744073709551616"], "-stop-timeout=18446744073709551616: too many milliseconds; the maximum is ..."),
            (&["-syslog=maybe"], "-syslog=maybe: neither on nor off; accepted are ..."),
            (&["-stop-signal=TREM"], "-stop-signal=TREM: unknown signal \"TREM\"; did you mean TERM?"),
            (&["-stop-signal=nothing"], "-stop-signal=nothing: unknown signal \"nothing\"; accepted are names such as TERM, ..."),
            (&["-signal=USR1:relaod"], "-signal=USR1:relaod: unknown action \"relaod\"; did you mean reload?"),
            (&["-signal=KILL:TERM"], "-signal=KILL:TERM: ... cannot be changed: the kernel or the reaping of processes needs it"),
            (&["-ok=256"], "-ok=256: not a list of exit statuses from 0 to 255, such as 143,130"),
            (&["-handoff=nosuch"], "-handoff=nosuch: unknown protocol 'nosuch'; accepted are none, or a list of ..."),
            (&["-handoff=systmd"], "-handoff=systmd: unknown protocol 'systmd'; did you mean systemd?"),
            (&["-quiet", "-verbose"], "-quiet and -verbose cannot go together; omit one of them"),
            (&["-pid-file="], "-pid-file=: is empty; give a path"),
            (&["-env=PORT"], "-env=PORT: not KEY=TEMPLATE, such as PORT={addr}"),
            (&["-env=PORT={prot}"], "-env=PORT={prot}: unknown placeholder {prot}; accepted are ..."),
            (&["-env=PORT={fd:nosuch}"], "-env=PORT={fd:nosuch}: {fd:nosuch}: no listener has that name; give it one with ..."),
            (&["-user="], "-user=: the user is empty; accepted are LOGIN, UID, LOGIN:GROUP, UID:GID"),
            (&["-user=4294967295"], "-user=4294967295: 4294967295 is too large for a user's number; the highest is 4294967294"),
            (&["-dir="], "-dir=: is empty; give a path"),
            (&["-control=run/a"], "-control=run/a: the path is not absolute; write /PATH or @NAME"),
            (&["-control="], "-control=: is empty; give an absolute path, or @NAME"),
            (&["-control=@a", "-s=relaod"], "-s=relaod: unknown request \"relaod\"; did you mean reload?"),
            (&["-s=reload"], "-s=reload: no master is named; give the address of its control socket with -control=ADDR"),
            (&["-json"], "-json goes with -s=VERB"),
            (&["-listen=systemd:a:b"], "-listen=systemd:a:b: \"a:b\" is not a socket's name; write systemd: for all, or systemd:NAME"),
        ],
    );
}

#[test]
fn an_invalid_listen_uri_is_answered_with_the_accepted_forms() {
    refused(
        2,
        &[
            (&["-listen=nonsense"], "-listen=nonsense: not a URI; accepted: tcp://HOST:PORT, ..."),
            (&["-listen=:8080"], "-listen=:8080: the scheme is missing; write tcp://:8080"),
            (&["-listen="], "-listen=: not a URI; accepted: tcp://HOST:PORT, ..."),
            (&["-listen=http://:80"], "-listen=http://:80: unknown scheme http; accepted: tcp, ..."),
            (&["-listen=unx:///run/a"], "-listen=unx:///run/a: unknown scheme unx; did you mean unix?"),
            (&["-listen=tcp://:0?bcklog=3"], "-listen=tcp://:0?bcklog=3: unknown key bcklog; did you mean backlog?"),
            (&["-listen=tcp://:0?nosuchkey=3"], "-listen=tcp://:0?nosuchkey=3: unknown key nosuchkey; accepted: backlog, ..."),
            (&["-listen=tcp://:0?mode=600"], "-listen=tcp://:0?mode=600: mode goes with unix and unixgram paths only; accepted here: ..."),
            (&["-listen=tcp://:0?backlog=0"], "-listen=tcp://:0?backlog=0: backlog=0: not a whole number from 1 to 2147483647"),
            (
                &["-listen=tcp://:0,tcp://:0"],
                "-listen=tcp://:0,tcp://:0: a comma does not separate listeners; repeat -listen, or put blanks between them in SOCKETMASTER_LISTEN",
            ),
            (&["-listen=tcp://::1:80"], "-listen=tcp://::1:80: an IPv6 address needs brackets; write ..."),
            (&["-listen=tcp://:65536"], "-listen=tcp://:65536: port \"65536\": ports are numbers from 0 to 65535, ..."),
            (&["-listen=tcp://:-1"], "-listen=tcp://:-1: port \"-1\": ports are numbers from 0 to 65535, ..."),
            (&["-listen=tcp://:http"], "-listen=tcp://:http: port \"http\": ports are numbers from 0 to 65535, ..."),
            (&["-listen=tcp://localhost"], "-listen=tcp://localhost: the port is missing; write tcp://HOST:PORT, ..."),
            (&["-listen=unix://run/a"], "-listen=unix://run/a: the path is not absolute; write unix:///PATH or unix://@NAME"),
            (&["-listen=fd://-1"], "-listen=fd://-1: \"-1\" is not a descriptor's number, such as fd://3"),
            (&["-listen=none"], "-listen=none: none cannot be combined with other listeners"),
            // To chown(2) the highest number means that the owner stays.
            (&["-listen=unix:///a?user=4294967295"], "-listen=unix:///a?user=4294967295: user=4294967295: not a login or a uid"),
            (&["-listen=unix:///a?group=4294967295"], "-listen=unix:///a?group=4294967295: group=4294967295: not a group's name or a gid"),
        ],
    );
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let scene = Scene::new();
    let setup = scene.without_program(&["/bin/true"]).env("SOCKETMASTER_STOP_TIMEOUT", "soon");
    let line = "SOCKETMASTER_STOP_TIMEOUT=soon: not a whole number of milliseconds, such as 3000";
    scene.refuses(setup, Opened::Nothing, 2, line);
}

#[test]
fn an_unclosed_quote_is_an_error_that_names_its_variable() {
    let scene = Scene::new();
    let setup = scene.without_program(&["-command=/bin/true"]).env("SOCKETMASTER_ARGS", "-g 'daemon off;");
    scene.refuses(setup, Opened::Nothing, 2, "SOCKETMASTER_ARGS=-g 'daemon off;: the quote ' is not closed");
    let setup = scene.without_program(&["/bin/true"]).env("SOCKETMASTER_ENV", "A=\"b c");
    scene.refuses(setup, Opened::Nothing, 2, "SOCKETMASTER_ENV=A=\"b c: the quote \" is not closed");
}

#[test]
fn an_option_in_place_of_the_program_is_answered_with_a_hint() {
    let scene = Scene::new();
    let line = "cannot execute -command=/bin/true: ...; options come before -- and before the program";
    scene.refuses(scene.without_program(&["--", "-command=/bin/true"]), Opened::Nothing, 127, line);
    let line = "cannot execute -no-option: No such file or directory; no directory in PATH contains it";
    scene.refuses(scene.without_program(&["--", "-no-option"]), Opened::Nothing, 127, line);
}

#[test]
fn a_name_with_control_characters_stays_on_one_line() {
    let scene = Scene::new();
    let line = "cannot execute {dir}/\\u{1b}[2J\\n: No such file or directory";
    scene.refuses(scene.without_program(&["-command={dir}/\u{1b}[2J\n"]), Opened::Nothing, 127, line);
    refused(2, &[(&["-start=\u{1b}\n"], "-start=\\u{1b}\\n: not a whole number of milliseconds, such as 3000")]);
    refused(1, &[(&["-pid-file={dir}/\n/pid"], "cannot write the pid file {dir}/\\n/pid: No such file or directory")]);
}

#[test]
fn a_pid_file_that_cannot_be_written_is_refused_before_anything_is_opened() {
    refused(
        1,
        &[
            (&["-pid-file={dir}/no/pid"], "cannot write the pid file {dir}/no/pid: No such file or directory"),
            (&["-pid-file={dir}"], "cannot write the pid file {dir}: is a directory"),
        ],
    );
    let scene = Scene::new();
    let mut master = scene.setup(&["-pid-file={dir}/pid"]).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    assert!(!scene.path("pid").exists(), "it is gone with the master");
}

#[test]
fn no_command_at_all_is_told() {
    let scene = Scene::new();
    let line = "no program to run; give one with -command=PATH, or after the options";
    scene.refuses(scene.without_program(&[]), Opened::Nothing, 2, line);
    scene.refuses(scene.without_program(&["--"]), Opened::Nothing, 2, line);
    scene.refuses(scene.without_program(&["-command="]), Opened::Nothing, 2, "-command=: is empty; give a path");
}

#[test]
fn an_unknown_host_is_an_error_within_bounded_time() {
    refused(1, &[(&["-listen=tcp://no-such-host.invalid:0"], "cannot resolve no-such-host.invalid of tcp://no-such-host.invalid:0: ...")]);
}

#[test]
fn an_unknown_user_or_group_is_refused_before_anything_is_opened() {
    let user = "cannot find user 'no-such-user': no such user; names come from /etc/passwd and /etc/group; numbers need no entry there";
    let group = "cannot find group 'no-such-group': no such group; names come from /etc/passwd and /etc/group; numbers need no entry there";
    refused(
        1,
        &[
            (&["-user=no-such-user"], user),
            (&["-user=no-such-user:0"], user),
            (&["-listen=unix://{dir}/late?user=no-such-user"], user),
            (&["-listen=unix://{dir}/late?group=no-such-group"], group),
            // A sign makes no number.
            (&["-listen=unix://{dir}/late?user=+0"], "cannot find user '+0': no such user; ..."),
        ],
    );
    if geteuid().is_root() {
        refused(1, &[(&["-user=0:no-such-group"], group)]);
    }
}

#[test]
fn a_user_without_being_root_is_refused() {
    let scene = Scene::new();
    let without_root = |setup: Setup| if geteuid().is_root() { setup.run_as(65534, 65534) } else { setup };
    let line = "cannot run workers as 65533: only root may become another user; start as root, or omit -user";
    scene.refuses(without_root(scene.setup(&["-user=65533"])), Opened::Nothing, 1, line);

    // Nothing else stood in that user's way; but what root has made, it may not replace.
    fs::remove_file(scene.path("early")).expect("the directory is ours");
    let mut master = without_root(scene.setup(&[])).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
}

#[test]
fn an_inherited_descriptor_that_is_no_listening_socket_is_refused() {
    let dir = free_dir();
    let listener = UnixListener::bind(dir.join("peer")).expect("a socket");
    let connected = UnixStream::connect(dir.join("peer")).expect("a peer");
    let file = File::create(dir.join("file")).expect("a file");
    let unbound = |family, kind| socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let unbound_udp = unbound(AddressFamily::Inet, SockType::Datagram);
    let unbound_unixgram = unbound(AddressFamily::Unix, SockType::Datagram);
    let idle = unbound(AddressFamily::Inet, SockType::Stream);
    let rows: [(OwnedFd, &str); 6] = [
        (file.into(), "is a file, not a socket"),
        (connected.into(), "is a connected socket, not one that listens"),
        (idle, "is a socket that does not listen"),
        (unbound_udp, "is a socket that is not bound to an address"),
        (unbound_unixgram, "is a socket that is not bound to an address"),
        (File::open("/dev/null").expect("a device").into(), "is a character device, not a socket"),
    ];
    for (file, cause) in rows {
        let scene = Scene::new();
        let setup = scene.setup(&["-listen=fd://20"]).tune(move |command| inherit(command, vec![(file, 20)]));
        scene.refuses(setup, Opened::Nothing, 1, &format!("cannot listen on fd://20: descriptor 20 {cause}"));
    }

    let scene = Scene::new();
    let line = "cannot listen on fd://99: no such descriptor is open; the parent must leave it open, without close-on-exec";
    scene.refuses(scene.setup(&[&format!("-listen=fd://{CLOSED_FD}")]), Opened::Nothing, 1, line);

    // The control: the same way of inheriting brings a listening one in.
    let scene = Scene::new();
    let mut master = scene.setup(&["-listen=fd://20"]).tune(move |command| inherit(command, vec![(listener.into(), 20)])).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
}

#[test]
fn an_address_in_use_is_refused_and_its_owner_never_notices() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("it is bound");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let scene = Scene::new();
    let unix = UnixListener::bind(scene.path("live")).expect("a socket");
    let live = inode(&scene.path("live"));
    let udp_address = udp.local_addr().expect("it is bound");
    for (uri, who) in [
        (format!("tcp://{address}"), "another program".to_owned()),
        (format!("udp://{udp_address}"), "another program".to_owned()),
        // Whose socket it is a connection tells.
        (scene.filled("unix://{dir}/live"), format!("pid {}", std::process::id())),
    ] {
        let scene = Scene::new();
        let line = format!("cannot listen on {uri}: Address already in use; {who} listens there already");
        scene.refuses(scene.setup(&[&format!("-listen={uri}")]), Opened::AndTakenBack, 1, &line);
    }
    assert_eq!(inode(&scene.path("live")), live);
    // The owners still get their clients. On the unix socket the first connection was the master's check for a listener.
    let client = TcpStream::connect(address).expect("the owner listens");
    assert_eq!(tcp.accept().expect("a client").1, client.local_addr().expect("it is connected"));
    let _client = UnixStream::connect(scene.path("live")).expect("the owner listens");
    unix.accept().and_then(|_| unix.accept()).expect("two clients");
}

#[test]
fn an_address_that_two_listeners_of_one_command_line_want_is_refused() {
    let scene = Scene::new();
    let line = "cannot listen on unix://{dir}/early: it is the same address as unix://{dir}/early, which comes before it";
    scene.refuses(scene.setup(&["-listen=unix://{dir}/early"]), Opened::Nothing, 1, line);
}

#[test]
fn a_path_that_is_no_socket_is_refused_and_left_as_it_is() {
    for make in [
        |path: &Path| fs::write(path, "precious"),
        |path: &Path| fs::create_dir(path),
        |path: &Path| symlink("nowhere", path),
        |path: &Path| symlink("early", path),
    ] {
        let scene = Scene::new();
        let path = scene.path("precious");
        make(&path).expect("something in the way");
        let before = (inode(&path), fs::read(&path).ok());
        let what = if fs::symlink_metadata(&path).expect("it is there").is_symlink() { "a symbolic link" } else { "not a socket" };
        let line = format!("cannot listen on unix://{{dir}}/precious: the path exists and is {what}; remove it or choose another path");
        scene.refuses(scene.setup(&["-listen=unix://{dir}/precious"]), Opened::AndTakenBack, 1, &line);
        assert_eq!((inode(&path), fs::read(&path).ok()), before);
    }
}

#[test]
fn a_path_in_a_directory_that_is_not_there_is_refused() {
    let scene = Scene::new();
    let line = "cannot listen on unix://{dir}/no/path: No such file or directory; the directory must exist";
    scene.refuses(scene.setup(&["-listen=unix://{dir}/no/path"]), Opened::AndTakenBack, 1, line);
}

#[test]
fn a_program_that_is_not_there_ends_with_127() {
    for (command, cause) in [
        ("{dir}/no-such-program", ""),
        ("no-such-program", "; no directory in PATH contains it"),
        ("sh -c", "; the name contains a blank; write arguments after --, or in SOCKETMASTER_ARGS"),
        ("./no-such-program", ""),
    ] {
        let scene = Scene::new();
        let line = format!("cannot execute {command}: No such file or directory{cause}");
        scene.refuses(scene.without_program(&["--", command]), Opened::Nothing, 127, &line);
        scene.refuses(scene.setup(&[&format!("-command={command}")]), Opened::Nothing, 127, &line);
    }
}

#[test]
fn a_request_in_place_of_the_program_is_answered_with_its_option() {
    for (word, option) in
        [("reload", "-s=reload"), ("status", "-s=status"), ("stop", "-s=stop"), ("help", "-help"), ("version", "-version")]
    {
        let scene = Scene::new();
        let line = format!("cannot execute {word}: No such file or directory; no directory in PATH contains it; did you mean {option}?");
        scene.refuses(scene.without_program(&[word]), Opened::Nothing, 127, &line);
        scene.refuses(scene.without_program(&["-control={dir}/control", word]), Opened::Nothing, 127, &line);
    }
}

#[test]
fn a_file_of_the_directory_in_place_of_a_program_in_path_is_answered_with_its_path() {
    let scene = Scene::new();
    fs::write(scene.path("app.py"), "").expect("a file of ours");
    let line = "cannot execute app.py: No such file or directory; no directory in PATH contains it; did you mean ./app.py?";
    scene.refuses(scene.without_program(&["-dir={dir}", "app.py"]), Opened::Nothing, 127, line);
    // A directory is no program, and elsewhere there is no such file.
    fs::create_dir(scene.path("app")).expect("a directory of ours");
    for words in [&["-dir={dir}", "app"][..], &["-dir=/", "app.py"]] {
        let line = format!("cannot execute {}: No such file or directory; no directory in PATH contains it", words[1]);
        scene.refuses(scene.without_program(words), Opened::Nothing, 127, &line);
    }
}

#[test]
fn a_program_s_name_stays_on_its_line_whatever_is_in_it() {
    let scene = Scene::new();
    let line = "cannot execute no\\nsuch\\u{1b}[2J: No such file or directory; no directory in PATH contains it";
    scene.refuses(scene.without_program(&["--", "no\nsuch\u{1b}[2J"]), Opened::Nothing, 127, line);
}

#[test]
fn an_option_in_place_of_the_program_is_answered_with_where_options_belong() {
    for word in ["-command=/bin/true", "--start=0", "-quiet"] {
        let scene = Scene::new();
        let line = format!("cannot execute {word}: No such file or directory; options come before -- and before the program");
        scene.refuses(scene.without_program(&["--", word]), Opened::Nothing, 127, &line);
    }
}

#[test]
fn a_program_that_may_not_be_executed_ends_with_126() {
    let scene = Scene::new();
    fs::write(scene.path("plain"), "#!/bin/sh\n").expect("a file");
    let line = "cannot execute {dir}/plain: Permission denied; {dir}/plain is not executable: check its mode and the options of its mount";
    scene.refuses(scene.without_program(&["--", "{dir}/plain"]), Opened::Nothing, 126, line);

    let line = "cannot execute {dir}: Permission denied; {dir} is a directory";
    scene.refuses(scene.without_program(&["--", "{dir}"]), Opened::Nothing, 126, line);

    // Found in PATH, where nothing better follows.
    let setup = scene.without_program(&["--", "plain"]).env("PATH", &*scene.dir);
    let line = "cannot execute plain: Permission denied; {dir}/plain is not executable: check its mode and the options of its mount";
    scene.refuses(setup, Opened::Nothing, 126, line);
}

/// Runs a program that only execve(2) can tell to be none, and reads the one line about it among the notes.
#[track_caller]
fn refused_by_the_kernel(contents: &[u8], status: u8, cause: &str) {
    let scene = Scene::new();
    let path = scene.path("program");
    make_program(&path, contents);
    let mut master = scene.without_program(&["--", "{dir}/program"]).spawn();
    let ended = master.wait_exit(SOON);
    let begin = format!("socketmaster[{}]: ", master.pid());
    let expected = ["listening on unix://{dir}/early (fd 3)", cause, &phrase::ended_with(status)];
    let expected: Vec<String> = expected.iter().map(|note| scene.filled(&format!("{begin}{note}"))).collect();
    assert_eq!(master.lines().iter().map(|line| line.text()).collect::<Vec<_>>(), expected);
    scene.ended(ended, exited(status), Opened::AndTakenBack);
}

#[test]
fn a_program_of_a_wrong_format_ends_the_start_with_126_and_removes_the_socket() {
    let cause = "cannot execute {dir}/program: Exec format error; \
                 the file is neither a program for this machine nor a script whose first line begins with #!";
    refused_by_the_kernel(b"\0\x01garbage\xff", 126, cause);
    refused_by_the_kernel(b"", 126, cause);
}

#[test]
fn a_script_without_its_interpreter_ends_the_start_with_127_and_removes_the_socket() {
    let cause = "cannot execute {dir}/program: No such file or directory; \
                 the file exists, but its interpreter does not";
    refused_by_the_kernel(b"#!/no/such/interpreter\n", 127, cause);
}

#[test]
fn a_missing_directory_for_workers_ends_the_start_with_1_and_removes_the_socket() {
    let scene = Scene::new();
    let mut master = scene.setup(&["-dir={dir}/no"]).spawn();
    let ended = master.wait_exit(SOON);
    master.wait_note(&scene.filled("cannot enter {dir}/no: No such file or directory"), SOON);
    scene.ended(ended, exited(1), Opened::AndTakenBack);
}
