//! What a worker inherits, as the fixture reports it: exactly what it should, and nothing else.
//!
//! Wherever it should be "as found", the control is a fixture that is executed in the same way without a socketmaster.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc::{self, c_int};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::harness::pre_exec::block_and_ignore;
use crate::harness::{
    FreeDir, Inherited, Master, SOON, Setup, bare_root, eventually, exited, fixture, free_dir, make_program, open_fds, phrase, skip,
    state_of,
};

/// A master whose workers write what they inherited, each to a file of its own, and go on.
struct Reported {
    master: Master,
    reports: FreeDir,
}

impl Reported {
    #[track_caller]
    fn by(setup: Setup) -> Self {
        let reports = free_dir();
        // Whoever the workers are.
        fs::set_permissions(&reports, fs::Permissions::from_mode(0o777)).expect("ours");
        let file = reports.join("{pid}");
        let words = ["report", file.to_str().expect("a plain path"), "signals"];
        let master = setup.arg("-start=0").program(fixture("worker"), words).spawn();
        Self { master, reports }
    }

    /// What the only worker of this generation has reported.
    #[track_caller]
    fn of_generation(&self, generation: u32) -> Inherited {
        Inherited::wait(&self.reports.join(self.master.started_pid(generation).to_string()))
    }

    #[track_caller]
    fn reload(&self, generation: u32) -> Inherited {
        // Do not signal a worker before it has blocked all signals, as the verb `signals` does.
        self.master.wait_outputs("ready", generation as usize - 1, SOON);
        self.master.signal(Signal::SIGHUP);
        self.of_generation(generation)
    }
}

/// What a fixture reports that `prepare` has executed directly: the control.
#[track_caller]
fn without_socketmaster(prepare: impl FnOnce(&mut Command)) -> Inherited {
    let dir = free_dir();
    let mut command = Command::new(fixture("worker"));
    command.arg("report").arg(dir.join("report"));
    prepare(&mut command);
    assert!(command.status().expect("the fixture").success());
    Inherited::wait(&dir.join("report"))
}

fn fd_numbers(inherited: &Inherited) -> Vec<c_int> {
    inherited.fds().into_keys().collect()
}

/// A described descriptor's `TARGET`.
fn target(inherited: &Inherited, fd: c_int) -> &str {
    inherited.fds()[&fd].splitn(3, ' ').last().unwrap_or_default()
}

#[test]
fn workers_have_the_standard_descriptors_and_the_listeners_and_nothing_else() {
    for relayed in [false, true] {
        let mut setup = Setup::new().arg("-listen=tcp://127.0.0.1:0").arg("-listen=tcp://127.0.0.1:0");
        if relayed {
            setup = setup.arg("-prefix");
        }
        let reported = Reported::by(setup);
        let first = reported.of_generation(1);
        for inherited in [&first, &reported.reload(2)] {
            assert_eq!(fd_numbers(inherited), [0, 1, 2, 3, 4], "relayed: {relayed}");
            assert!(inherited.fds().values().all(|described| described.starts_with("cloexec=0 ")), "{:?}", inherited.fds());
            let own = open_fds(reported.master.pid());
            for fd in [0, 3, 4] {
                assert_eq!(target(inherited, fd), own[&fd], "relayed: {relayed}");
            }
            // Untouched, or pipes that the master reads.
            for fd in [1, 2] {
                assert_eq!(target(inherited, fd) == own[&fd], !relayed, "relayed: {relayed}");
                assert!(target(inherited, fd).starts_with("pipe:"));
            }
        }
        assert_ne!(target(&first, 1), target(&first, 2));
    }
}

#[test]
fn the_signal_mask_and_the_ignored_signals_are_as_the_master_found_them() {
    let rows: [(&[c_int], &[c_int]); 4] = [
        (&[], &[]),
        (&[libc::SIGTERM, libc::SIGCHLD, 34, 64], &[]),
        (&[], &[libc::SIGPIPE, libc::SIGCHLD, libc::SIGHUP, libc::SIGUSR1, 34, 64]),
        (
            &[libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGPIPE, libc::SIGSEGV, 33, 34, 64],
            &[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGCHLD, libc::SIGTSTP, 32, 35, 63],
        ),
    ];
    for (blocked, ignored) in rows {
        let control = without_socketmaster(|command| block_and_ignore(command, blocked, ignored));
        let listed = |signals: &[c_int]| {
            let sorted: BTreeSet<c_int> = signals.iter().copied().collect();
            sorted.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let expected = (listed(blocked), listed(ignored));
        let seen = |inherited: &Inherited| (inherited.get("blocked").to_owned(), inherited.get("ignored").to_owned());
        assert_eq!(seen(&control), expected, "the control");

        let mut reported = Reported::by(Setup::new().tune(move |command| block_and_ignore(command, blocked, ignored)));
        assert_eq!(seen(&reported.of_generation(1)), expected);
        // That it found HUP, TERM and CHLD ignored or blocked makes no difference to the master itself.
        assert_eq!(seen(&reported.reload(2)), expected);
        reported.master.wait_note(&phrase::exited_with(0), SOON);
        reported.master.wait_outputs("ready", 2, SOON);
        assert_eq!(reported.master.stop(Signal::SIGTERM), exited(0));
    }
}

#[test]
fn every_worker_leads_a_process_group_of_its_own_in_the_session_of_the_master() {
    let reported = Reported::by(Setup::new());
    let first = reported.of_generation(1);
    let control = without_socketmaster(|_| ());
    for inherited in [&first, &reported.reload(2)] {
        assert_eq!(inherited.get("pgid"), inherited.get("pid"));
        assert_eq!(inherited.get("sid"), control.get("sid"));
        assert_eq!(inherited.number::<u32>("ppid"), reported.master.pid());
    }
    assert_ne!(control.get("pgid"), control.get("pid"));
}

/// Two releases and a directory to be started in, below one with a `current` that points to the first.
fn releases() -> FreeDir {
    let dir = free_dir();
    for name in ["releases/1", "releases/2", "start"] {
        fs::create_dir_all(dir.join(name)).expect("ours");
    }
    point_current_to("releases/1", &dir);
    dir
}

/// As deployment tools do it: at no time is there no `current`.
#[track_caller]
fn point_current_to(release: &str, dir: &Path) {
    symlink(release, dir.join("next")).and_then(|()| fs::rename(dir.join("next"), dir.join("current"))).expect("ours");
}

fn in_directory(directory: PathBuf) -> Setup {
    Setup::new().tune(move |command| {
        command.current_dir(directory);
    })
}

#[track_caller]
fn assert_cwd(inherited: &Inherited, expected: &Path) {
    let expected = expected.canonicalize().expect("it is there");
    assert_eq!(Path::new(inherited.get("cwd")), expected);
}

#[test]
fn workers_begin_where_the_master_was_started_and_the_master_itself_moves_to_the_root() {
    let dir = releases();
    let reported = Reported::by(in_directory(dir.join("start")));
    assert_cwd(&reported.of_generation(1), &dir.join("start"));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", reported.master.pid())).expect("it lives"), Path::new("/"));
    assert_cwd(&reported.reload(2), &dir.join("start"));
}

#[test]
fn a_directory_may_be_absolute_or_relative_to_where_the_master_was_started() {
    let dir = releases();
    let absolute = dir.join("releases/2");
    for given in [absolute.to_str().expect("a plain path"), "../releases/2", "../releases/../releases/2/."] {
        let reported = Reported::by(in_directory(dir.join("start")).arg(format!("-dir={given}")));
        assert_cwd(&reported.of_generation(1), &absolute);
        assert_cwd(&reported.reload(2), &absolute);
    }
}

#[test]
fn a_directory_that_is_a_symlink_is_followed_anew_at_each_start() {
    let dir = releases();
    let absolute = dir.join("current");
    for given in [absolute.to_str().expect("a plain path"), "../current"] {
        point_current_to("releases/1", &dir);
        let reported = Reported::by(in_directory(dir.join("start")).arg(format!("-dir={given}")));
        let first = reported.of_generation(1);
        assert_cwd(&first, &dir.join("releases/1"));
        assert_cwd(&reported.reload(2), &dir.join("releases/1"));
        point_current_to("releases/2", &dir);
        assert_cwd(&reported.reload(3), &dir.join("releases/2"));
    }
}

#[test]
fn a_relative_command_is_looked_for_in_the_directory_of_the_workers() {
    let dir = releases();
    for release in ["1", "2"] {
        make_program(&dir.join("releases").join(release).join("app"), format!("#!/bin/sh\necho release {release}\nexec sleep 600\n"));
    }
    let setup = in_directory(dir.join("start")).arg("-start=0").arg("-dir=../current");
    let master = setup.program("./app", [""; 0]).spawn();
    master.wait_output("release 1", SOON);
    point_current_to("releases/2", &dir);
    master.signal(Signal::SIGHUP);
    master.wait_output("release 2", SOON);
}

/// The numbers in a list of them, as getgroups(2) and id(1) give them.
fn numbers(text: &str) -> BTreeSet<u32> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(|word| word.parse().expect("a number")).collect()
}

fn id(login: &str, option: &str) -> Option<String> {
    let output = Command::new("id").args([option, login]).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The accounts of this machine, each with its line of passwd(5).
fn accounts() -> Vec<Vec<String>> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines().map(|line| line.split(':').map(String::from).collect::<Vec<_>>()).filter(|fields| fields.len() == 7).collect()
}

#[test]
fn a_user_of_this_machine_brings_ids_and_groups_as_id_tells_them_and_its_home() {
    if !geteuid().is_root() {
        return skip("-user needs root");
    }
    let groups = |account: &[String]| id(&account[0], "-G").map_or(0, |groups| numbers(&groups).len());
    let Some(account) = accounts().into_iter().max_by_key(|account| groups(account)) else { return skip("there is no account") };
    let [login, _, uid, gid, _, home, shell] = account.try_into().expect("seven fields");
    let Some(expected) = id(&login, "-G") else { return skip("there is no id(1)") };
    for user in [&login, &uid] {
        let reported = Reported::by(Setup::new().arg(format!("-user={user}")).env("USER", "root").env("HOME", "/root").env("MAIL", "kept"));
        for inherited in [reported.of_generation(1), reported.reload(2)] {
            assert_eq!(inherited.get("uid"), format!("{uid},{uid},{uid}"));
            assert_eq!(inherited.get("gid"), format!("{gid},{gid},{gid}"));
            assert_eq!(numbers(inherited.get("groups")), numbers(&expected), "{login}");
            let user = ["USER", "LOGNAME", "HOME", "SHELL", "MAIL"].map(|name| inherited.env(name).unwrap_or("unset").to_owned());
            assert_eq!(user, [&login, &login, &home, &shell, "kept"].map(String::from));
            assert_eq!(inherited.get("no_new_privs"), "0");
        }
    }
    let control = Reported::by(Setup::new().env("USER", "root").env("LOGNAME", "root"));
    let inherited = control.of_generation(1);
    assert_eq!((inherited.get("uid"), inherited.get("gid")), ("0,0,0", "0,0,0"));
    assert_eq!((inherited.env("USER"), inherited.env("LOGNAME")), (Some("root"), Some("root")));
    assert_eq!(inherited.get("groups"), without_socketmaster(|_| ()).get("groups"));
}

#[test]
fn user_and_groups_come_from_the_files_of_the_image_and_numbers_need_none() {
    let root = match bare_root() {
        Ok(root) => root,
        Err(why) => return skip(&why),
    };
    let etc = root.join("etc");
    fs::create_dir(&etc).expect("ours");
    fs::create_dir(root.join("out")).expect("ours");
    fs::set_permissions(root.join("out"), fs::Permissions::from_mode(0o777)).expect("ours");
    fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1234:2345:An App:/srv/app:/bin/app\nother:x:77:88::/:\n")
        .expect("ours");
    let group = "root:x:0:root\napp:x:2345:\naudio:x:3001:app,other\nvideo:x:3002:other,app\nnone:x:3003:other\nempty:x:3004:\n";
    fs::write(etc.join("group"), group).expect("ours");

    struct Row {
        user: &'static str,
        ids: (u32, u32),
        groups: &'static [u32],
        /// HOME, USER, LOGNAME, SHELL; or the root and nothing else.
        login: Option<[&'static str; 4]>,
    }
    let app = Some(["/srv/app", "app", "app", "/bin/app"]);
    let rows = [
        Row { user: "app", ids: (1234, 2345), groups: &[2345, 3001, 3002], login: app },
        Row { user: "1234", ids: (1234, 2345), groups: &[2345, 3001, 3002], login: app },
        Row { user: "app:empty", ids: (1234, 3004), groups: &[3001, 3002, 3004], login: app },
        Row { user: "app:9999", ids: (1234, 9999), groups: &[3001, 3002, 9999], login: app },
        Row { user: "1234:audio", ids: (1234, 3001), groups: &[3001, 3002], login: app },
        Row { user: "5555:6666", ids: (5555, 6666), groups: &[6666], login: None },
        Row { user: "5555:video", ids: (5555, 3002), groups: &[3002], login: None },
        // Never root's group by accident.
        Row { user: "5555", ids: (5555, 5555), groups: &[5555], login: None },
    ];
    let inherited = |setup: Setup| {
        let setup = setup.through(["chroot".as_ref(), root.as_os_str()]).binary("/socketmaster");
        let setup = setup.env("HOME", "/found").env("USER", "found").env("LOGNAME", "found").env("SHELL", "/found/sh");
        let mut master = setup.program("/worker", ["report", "/out/report"]).spawn();
        assert_eq!(master.wait_exit(SOON), exited(0));
        let inherited = Inherited::wait(&root.join("out/report"));
        fs::remove_file(root.join("out/report")).expect("ours");
        inherited
    };
    let check = |row: &Row| {
        let seen = inherited(Setup::new().arg(format!("-user={}", row.user)));
        let (uid, gid) = row.ids;
        let what = format!("-user={}", row.user);
        assert_eq!(seen.get("uid"), format!("{uid},{uid},{uid}"), "{what}");
        assert_eq!(seen.get("gid"), format!("{gid},{gid},{gid}"), "{what}");
        assert_eq!(numbers(seen.get("groups")), row.groups.iter().copied().collect(), "{what}");
        let variables = ["HOME", "USER", "LOGNAME", "SHELL"].map(|name| seen.env(name).unwrap_or("unset").to_owned());
        assert_eq!(variables, row.login.unwrap_or(["/", "unset", "unset", "unset"]).map(String::from), "{what}");
    };
    rows.iter().for_each(check);

    fs::remove_dir_all(etc).expect("ours");
    for row in rows.iter().filter(|row| row.user.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && row.login.is_none()) {
        check(row);
    }
    let mut master = Setup::new()
        .arg("-user=app")
        .through(["chroot".as_ref(), root.as_os_str()])
        .binary("/socketmaster")
        .program("/worker", ["report", "/out/report"])
        .spawn();
    assert_eq!(master.wait_exit(SOON), exited(1), "the control: without the files there is no such name");
}

/// Variables that belong to another supervisor.
const STALE: [&str; 13] = [
    "SOCKETMASTER_START=0",
    "EINHORN_FDS=7",
    "EINHORN_MASTER_PID=1",
    "EINHORN_SOCK_PATH=/run/einhorn",
    "LISTEN_FDS=1",
    "LISTEN_PID=1",
    "LISTEN_FDNAMES=old",
    "LISTEN_PIDFDID=9",
    "SERVER_STARTER_PORT=80=9",
    "SERVER_STARTER_GENERATION=77",
    "NOTIFY_SOCKET=/run/notify",
    "WATCHDOG_PID=1",
    "WATCHDOG_USEC=1",
];

/// Variables that only look like those, or are hard to copy.
const KEPT: [&[u8]; 11] = [
    b"LISTEN_ADDR=0.0.0.0",
    b"NOTIFY_SOCKETS=mine",
    b"XEINHORN_FDS=4",
    b"listen_fds=5",
    b"EMPTY=",
    b"EQUALS=a=b==",
    b"LINES=one\ntwo\n",
    b"BLANKS= \t ",
    b"LATIN1=caf\xe9 \xff\x01",
    b"N\xe4ME=\xe4",
    b"PATH=/bin:/usr/bin",
];

fn with_environment<'a>(command: &mut Command, entries: impl IntoIterator<Item = &'a [u8]>) {
    command.env_clear();
    for entry in entries {
        let equals = entry.iter().position(|byte| *byte == b'=').expect("KEY=VALUE");
        command.env(OsStr::from_bytes(&entry[..equals]), OsStr::from_bytes(&entry[equals + 1..]));
    }
}

fn kept_and_stale() -> impl Iterator<Item = &'static [u8]> {
    KEPT.into_iter().chain(STALE.into_iter().map(str::as_bytes))
}

#[test]
fn stale_variables_are_removed_and_all_others_are_unchanged_byte_for_byte() {
    let with_stale = |command: &mut Command| with_environment(command, kept_and_stale());
    let control = without_socketmaster(with_stale);
    assert_eq!(control.environment().len(), KEPT.len() + STALE.len(), "{control:?}");
    let expected: Vec<&str> = control.environment().into_iter().filter(|entry| !STALE.contains(entry)).collect();
    assert_eq!(expected.len(), KEPT.len());
    assert!(expected.contains(&r"LATIN1=caf\xe9 \xff\x01") && expected.contains(&"EMPTY="), "{expected:?}");

    let reported = Reported::by(Setup::new().arg("-handoff=none").tune(with_stale));
    assert_eq!(reported.of_generation(1).environment(), expected);
    assert_eq!(reported.reload(2).environment(), expected);
}

#[test]
fn the_chosen_protocols_and_no_others_tell_of_the_sockets() {
    for (chosen, einhorn_fds, listen_fds, ports) in [
        (None, true, true, true),
        (Some("einhorn-fds,systemd,server-starter"), true, true, true),
        (Some("einhorn-fds"), true, false, false),
        (Some("systemd"), false, true, false),
        (Some("server-starter"), false, false, true),
        (Some("server-starter,systemd"), false, true, true),
        (Some("none"), false, false, false),
    ] {
        let dir = free_dir();
        let listen = [format!("-listen=unix://@{}?name=web", dir.display()), format!("-listen=unix://{}/sock", dir.display())];
        let setup = Setup::new().arg(&listen[0]).arg(&listen[1]);
        let setup = match chosen {
            Some(list) => setup.arg(format!("-handoff={list}")),
            None => setup,
        };
        let reported = Reported::by(setup.tune(|command| with_environment(command, kept_and_stale())));
        for generation in [1, 2] {
            let inherited = if generation == 1 { reported.of_generation(1) } else { reported.reload(generation) };
            let (pid, path) = (inherited.get("pid"), dir.display());
            let mut expected = BTreeSet::new();
            if einhorn_fds {
                expected.insert("EINHORN_FDS=3".to_owned());
            }
            if listen_fds {
                expected.extend(["LISTEN_FDS=2".to_owned(), format!("LISTEN_PID={pid}"), "LISTEN_FDNAMES=web:unknown".to_owned()]);
            }
            if ports {
                let addresses = format!("SERVER_STARTER_PORT=@{path}=3;{path}/sock=4");
                expected.extend([addresses, format!("SERVER_STARTER_GENERATION={generation}")]);
            }
            let names = ["EINHORN_", "LISTEN_FD", "LISTEN_PID", "SERVER_STARTER_"];
            let told = inherited.environment().into_iter().filter(|entry| names.iter().any(|name| entry.starts_with(name)));
            assert_eq!(told.map(String::from).collect::<BTreeSet<_>>(), expected, "{chosen:?}, generation {generation}");
            assert_eq!(inherited.environment().len(), KEPT.len() + expected.len(), "{chosen:?}: each once");
        }
    }
}

#[test]
fn templates_are_filled_for_each_worker_anew() {
    let dir = free_dir();
    let path = dir.join("sock").display().to_string();
    let setup = Setup::new()
        .arg("-listen=tcp://127.0.0.1:0?name=web")
        .arg(format!("-listen=unix://{path}?name=admin"))
        .arg("-env=NGINX={fd};")
        .arg("-env=FPM_SOCKETS={addr}={fd}")
        .arg("-env=PUMA_INHERIT_0={fd}:{uri}")
        .arg("-env=ADMIN={fd:admin} {addr:admin} {uri:admin}")
        .arg("-env=ALL={fds,}")
        .arg("-env=SPACED={fds ; }")
        .arg("-env=WHO={pid}/{generation}/{pid}")
        .arg("-env=BRACES={{{fd:web}}}")
        .arg("-env=NOTHING=")
        .arg("-env=HOME=/replaced")
        .arg("-env=LISTEN_PID=0{pid}")
        .env("HOME", "/found")
        .env("NOTHING", "something");
    let reported = Reported::by(setup);
    let web = reported.master.uri();
    let address = web.strip_prefix("tcp://").expect("a URI");
    for generation in [1, 2] {
        let inherited = if generation == 1 { reported.of_generation(1) } else { reported.reload(generation) };
        let pid = inherited.get("pid");
        for (name, value) in [
            ("NGINX", "3;"),
            ("FPM_SOCKETS", &format!("{address}=3")),
            ("PUMA_INHERIT_0", &format!("3:tcp://{address}")),
            ("ADMIN", &format!("4 {path} unix://{path}")),
            ("ALL", "3,4"),
            ("SPACED", "3 ; 4"),
            ("WHO", &format!("{pid}/{generation}/{pid}")),
            ("BRACES", "{3}"),
            ("NOTHING", ""),
            ("HOME", "/replaced"),
            ("LISTEN_PID", &format!("0{pid}")),
        ] {
            assert_eq!(inherited.env(name), Some(value), "{name}, generation {generation}");
            let entries = inherited.environment();
            assert_eq!(entries.iter().filter(|entry| entry.split('=').next() == Some(name)).count(), 1, "{name}: {entries:?}");
        }
    }
}

/// A program in that directory that prints its name.
#[track_caller]
fn put(directory: &Path, name: &str) {
    fs::create_dir_all(directory).expect("ours");
    make_program(&directory.join("app"), format!("#!/bin/sh\necho this is {name}\nexec sleep 600\n"));
}

#[test]
fn a_bare_name_is_looked_up_in_path_at_every_start() {
    let dir = free_dir();
    let (early, late) = (dir.join("early"), dir.join("late"));
    put(&late, "late");
    let path = format!("{}:{}:/bin:/usr/bin", early.display(), late.display());
    let master = Setup::new().arg("-start=0").env("PATH", path).program("app", [""; 0]).spawn();
    let reload = |name: &str| {
        master.signal(Signal::SIGHUP);
        master.wait_output(&format!("this is {name}"), SOON);
    };
    master.wait_output("this is late", SOON);
    put(&late, "late, replaced");
    reload("late, replaced");
    put(&early, "early");
    reload("early");
    // What may not be executed, and what is no file, is passed over as a shell does it.
    fs::set_permissions(early.join("app"), fs::Permissions::from_mode(0o644)).expect("ours");
    put(&late, "late again");
    reload("late again");
    fs::remove_file(early.join("app")).and_then(|()| fs::create_dir(early.join("app"))).expect("ours");
    put(&late, "late at last");
    reload("late at last");
    assert!(!master.notes().iter().any(|note| note.contains("failed")));
}

#[test]
fn the_path_is_that_of_the_workers_where_env_sets_one() {
    let dir = free_dir();
    put(&dir.join("1"), "in the first directory");
    put(&dir.join("2"), "in the second directory");
    let template = format!("-env=PATH={}/{{generation}}:/bin:/usr/bin", dir.display());
    let master = Setup::new().arg("-start=0").arg(template).program("app", [""; 0]).spawn();
    master.wait_output("this is in the first directory", SOON);
    master.signal(Signal::SIGHUP);
    master.wait_output("this is in the second directory", SOON);
}

#[test]
fn options_and_arguments_come_from_variables_where_the_command_line_has_none() {
    let dir = free_dir();
    let report = dir.join("report");
    let listen = format!("unix://{0}/a?name=a  unix://{0}/b?name=b", dir.display());
    let from_variables = || {
        Setup::new()
            .env("SOCKETMASTER_LISTEN", &listen)
            .env("SOCKETMASTER_COMMAND", fixture("worker"))
            .env("SOCKETMASTER_ARGS", format!("report {} exit 7", report.display()))
            .env("SOCKETMASTER_HANDOFF", "systemd")
            .env("SOCKETMASTER_ENV", "ONE={fd} TWO={fd:b}")
            .env("SOCKETMASTER_OK", "7")
    };
    let told = |names: [&str; 4], inherited: &Inherited| names.map(|name| inherited.env(name).unwrap_or("unset").to_owned());
    let names = ["LISTEN_FDNAMES", "ONE", "TWO", "EINHORN_FDS"];

    let mut master = from_variables().spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    let inherited = Inherited::wait(&report);
    assert_eq!(told(names, &inherited), ["a:b", "3", "4", "unset"]);
    let own: Vec<&str> = inherited.environment().into_iter().filter(|entry| entry.starts_with("SOCKETMASTER_")).collect();
    assert_eq!(own, [""; 0]);

    // The command line wins, option by option, and its arguments stand for all of them.
    fs::remove_file(&report).expect("ours");
    let listen = format!("-listen=unix://{}/c?name=c", dir.display());
    let setup = from_variables().arg(listen).arg("-env=ONE=1").arg("-ok=8").arg("-handoff=systemd,einhorn-fds");
    let words = ["report", report.to_str().expect("a plain path"), "exit", "8"];
    // With a command from the environment, all words after the options are its arguments.
    let mut master = setup.program(words[0], &words[1..]).spawn();
    assert_eq!(master.wait_exit(SOON), exited(0));
    assert_eq!(told(names, &Inherited::wait(&report)), ["c", "1", "unset", "3"]);
}

#[test]
fn limits_niceness_umask_and_oom_score_are_as_found() {
    let script = r#"echo 321 >/proc/self/oom_score_adj; umask 027; ulimit -Sn 200; ulimit -Hn 300; exec nice -n 5 "$@""#;
    let found = |inherited: &Inherited| ["nofile", "nice", "umask", "oom_score_adj"].map(|key| inherited.get(key).to_owned());
    let plain = without_socketmaster(|_| ());
    let dir = free_dir();
    let mut command = Command::new("sh");
    let report = dir.join("report");
    command.args(["-c", script, "sh"]).arg(fixture("worker")).arg("report").arg(&report);
    assert!(command.status().expect("a shell").success());
    let control = Inherited::wait(&report);
    assert!(found(&plain).iter().zip(found(&control)).all(|(plain, changed)| *plain != changed), "{plain:?} {control:?}");

    let reported = Reported::by(Setup::new().through(["sh", "-c", script, "sh"]));
    assert_eq!(found(&reported.of_generation(1)), found(&control));
    assert_eq!(found(&reported.reload(2)), found(&control));
    let plainly = Reported::by(Setup::new());
    assert_eq!(found(&plainly.of_generation(1)), found(&plain));
}

/// Breaks something, sees the reload fail with that cause and the first generation stay, and repairs it.
#[track_caller]
fn fails_at_reload(setup: Setup, program: &Path, break_it: impl FnOnce(), repair: impl FnOnce(), cause: &str) {
    let mut master = setup.arg("-start=0").program(program, ["signals", "exit", "3"]).spawn();
    master.wait_output("ready", SOON);
    let worker = master.children()[0];
    break_it();
    master.signal(Signal::SIGHUP);
    let note = master.reload_failed(2);
    assert!(note.ends_with(&format!("{cause}; {}", phrase::keeps_running(1))), "{note}");
    // The old worker got no stop signal, and forwarded signals still reach it. No other worker is left.
    master.signal(Signal::SIGUSR1);
    master.wait_output("signal 10", SOON);
    eventually("the failed child is gone", SOON, || master.children() == [worker]);
    assert_eq!(master.bytes(crate::harness::Stream::Out), b"ready\nsignal 10\n");
    repair();
    master.signal(Signal::SIGHUP);
    master.wait_outputs("ready", 2, SOON);
    eventually("the old worker's end", SOON, || state_of(worker).is_none());
    assert_eq!(master.stop(Signal::SIGTERM), exited(3));
}

#[test]
fn a_reload_of_a_program_that_cannot_be_executed_fails_with_the_cause_and_the_old_generation_keeps_running() {
    type Break = fn(&Path);
    let rows: [(Break, &str); 5] = [
        (|path| fs::remove_file(path).expect("ours"), "No such file or directory"),
        (|path| fs::remove_file(path).and_then(|()| fs::create_dir(path)).expect("ours"), "Permission denied; {program} is a directory"),
        (
            |path| fs::remove_file(path).and_then(|()| fs::write(path, "#!/bin/sh\n")).expect("ours"),
            "Permission denied; {program} is not executable: check its mode and the options of its mount",
        ),
        (
            |path| make_program(path, "garbage"),
            "Exec format error; the file is neither a program for this machine nor a script whose first line begins with #!",
        ),
        (|path| make_program(path, "#!/no/such/interpreter\n"), "No such file or directory; the file exists, but its interpreter does not"),
    ];
    for (break_it, cause) in rows {
        let dir = free_dir();
        let program = dir.join("app");
        let whole = || symlink(fixture("worker"), &program).expect("ours");
        whole();
        let repair = || {
            let _ = fs::remove_file(&program).or_else(|_| fs::remove_dir(&program));
            whole();
        };
        let name = program.display().to_string();
        let cause = format!("cannot execute {name}: {}", cause.replace("{program}", &name));
        fails_at_reload(Setup::new(), &program, || break_it(&program), repair, &cause);
    }
}

#[test]
fn a_reload_into_a_directory_that_cannot_be_entered_fails_with_the_cause_and_the_old_generation_keeps_running() {
    let dir = releases();
    let setup = Setup::new().arg(format!("-dir={}/current", dir.display()));
    let cause = format!("cannot enter {}/current: No such file or directory", dir.display());
    let break_it = || point_current_to("releases/3", &dir);
    let repair = || point_current_to("releases/2", &dir);
    fails_at_reload(setup, &fixture("worker"), break_it, repair, &cause);

    let setup = Setup::new().arg(format!("-dir={}/current", dir.display()));
    let cause = format!("cannot enter {}/current: Not a directory", dir.display());
    fs::write(dir.join("releases/4"), "no directory").expect("ours");
    let break_it = || point_current_to("releases/4", &dir);
    let repair = || point_current_to("releases/1", &dir);
    fails_at_reload(setup, &fixture("worker"), break_it, repair, &cause);
}
