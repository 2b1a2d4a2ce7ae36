//! Machines with Debian: a container each, in which systemd is PID 1.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use crate::engine::{LoadInside, docker, new_name};
use crate::harness::{SOON, eventually, fixture, skip};

/// Debian's releases that the package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12, systemd 252: without notify-reload, and FDSTORE comes from the unit.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Release {
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The image without the package, which stays for the next run.
    #[track_caller]
    fn image(self) -> &'static str {
        static MADE: [OnceLock<String>; 2] = [const { OnceLock::new() }; 2];
        MADE[self as usize].get_or_init(|| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/debian-image");
            let Output { status, stdout, stderr } = Command::new(script).arg(self.name()).output().expect("bash");
            assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
            String::from_utf8_lossy(&stdout).trim().to_owned()
        })
    }
}

/// A release without anything of ours, for containers that need no systemd.
#[track_caller]
pub fn bare(release: Release) -> Option<&'static str> {
    engine_answers().then(|| release.image())
}

/// The directory of the packages under test; otherwise the calling test is skipped.
#[track_caller]
pub fn packages() -> Option<PathBuf> {
    let dir = env::var_os("SOCKETMASTER_PACKAGES").map(PathBuf::from);
    if dir.is_none() {
        skip("SOCKETMASTER_PACKAGES names no directory: `make test-deb` does");
    }
    dir
}

/// The package for an architecture, by Debian's name of it.
#[track_caller]
pub fn package_for(architecture: &str) -> Option<PathBuf> {
    let file = packages()?.join(format!("socketmaster_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    assert!(file.exists(), "{} is missing: `make deb` makes it", file.display());
    Some(file)
}

/// What Debian calls the architecture of this machine.
pub fn own_architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "armhf",
        other => panic!("there is no package for {other}"),
    }
}

/// An engine that runs static programs in its containers; otherwise the calling test is skipped.
#[track_caller]
fn engine_answers() -> bool {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| {
        if !cfg!(target_env = "musl") {
            return Err("only static programs run in any release, and these are not".into());
        }
        match Command::new("docker").arg("version").output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("there is no docker: {error}")),
        }
    });
    answer.as_ref().map_err(|why| skip(why)).is_ok()
}

/// What is on a machine beside `/client`, `/hello`, `/worker` and `/socketmaster.deb`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum With {
    Nothing,
    Package,
}

/// A machine that has booted. It has no network but its own loopback, where root alone may use ports below 1024. It goes
/// away with this; after a failure its journal is printed.
pub struct Machine {
    pub release: Release,
    pub name: String,
}

impl Machine {
    /// The arguments that make a container one. In a cgroup namespace of its own it may have the whole tree: the engine mounts
    /// it read-only, and where the machine has cgroups of version 1 not in the form that systemd now wants.
    const OPTIONS: &[&str] = &[
        "--network=none",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
        "--cgroupns=private",
        "--cap-add=SYS_ADMIN",
        // What another user's process has open and runs is asked of /proc.
        "--cap-add=SYS_PTRACE",
        "--security-opt=seccomp=unconfined",
        "--security-opt=apparmor=unconfined",
        "--tmpfs=/run:exec,mode=755",
        "--tmpfs=/tmp:exec,mode=1777",
    ];
    const INIT: &[&str] = &["sh", "-c", "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec /sbin/init"];

    #[track_caller]
    pub fn boot(release: Release, with: With) -> Option<Machine> {
        Self::boot_with(release, with, &[])
    }

    /// With more options of `docker create`.
    #[track_caller]
    pub fn boot_with(release: Release, with: With, more: &[&str]) -> Option<Machine> {
        let image = bare(release)?;
        let programs = ["client", "hello", "worker"].map(|name| (name, fixture(name)));
        let package = ("socketmaster.deb", package_for(own_architecture())?);
        let volumes = programs.into_iter().chain([package]).map(|(name, path)| format!("--volume={}:/{name}:ro", path.display()));
        let volumes: Vec<String> = volumes.collect();
        let name = new_name();
        let volumes: Vec<&str> = volumes.iter().map(String::as_str).collect();
        docker([&["create", "--name", &name], Self::OPTIONS, more, &volumes, &[image], Self::INIT].concat());
        // From here on it is removed, whatever happens.
        let machine = Machine { release, name };
        docker(["start", &machine.name]);
        machine.wait_until_up();
        if with == With::Package {
            machine.ok("dpkg --install /socketmaster.deb");
        }
        println!("on {release:?}, {}", machine.name);
        Some(machine)
    }

    /// Both releases with the package, one after the other; none if that has to be skipped.
    #[track_caller]
    pub fn each() -> impl Iterator<Item = Machine> {
        Release::ALL.into_iter().map_while(|release| Machine::boot(release, With::Package))
    }

    #[track_caller]
    fn wait_until_up(&self) {
        eventually("a machine that is up", SOON, || {
            let seen = self.run("systemctl is-system-running --wait");
            let state = String::from_utf8_lossy(&seen.stdout).trim().to_owned();
            if state == "running" { Ok(()) } else { Err(format!("{state} {}", String::from_utf8_lossy(&seen.stderr))) }
        });
    }

    pub fn reboot(&self) {
        docker(["restart", &self.name]);
        self.wait_until_up();
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive", &self.name, "bash", "-c", script]);
        command
    }

    /// Runs a script of bash to its end, as root.
    #[track_caller]
    pub fn run(&self, script: &str) -> Output {
        self.command(script).stdin(Stdio::null()).output().expect("docker")
    }

    /// What the script writes on stdout; that it succeeds is part of the test.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let Output { status, stdout, stderr } = self.run(script);
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
        assert!(status.success(), "{script}: {status}\n{stdout}\n{stderr}");
        stdout
    }

    #[track_caller]
    pub fn succeeds(&self, script: &str) -> bool {
        self.run(script).status.success()
    }

    /// Makes a file, whole, and the directories above.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let script = format!("mkdir -p $(dirname '{path}') && cat >'{path}.new' && mv '{path}.new' '{path}'");
        let mut writer = self.command(&script).stdin(Stdio::piped()).spawn().expect("docker");
        writer.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("cat reads");
        assert!(writer.wait().expect("it is our child").success(), "{path}");
    }

    /// Makes an instance of the unit with these lines in its file, and does not start it.
    #[track_caller]
    pub fn configure(&self, instance: &str, conf: &str) {
        self.write(&format!("/etc/socketmaster/{instance}.conf"), conf);
    }

    /// Adds to the section `[Service]` of an instance.
    #[track_caller]
    pub fn drop_in(&self, instance: &str, lines: &str) {
        self.write(&format!("/etc/systemd/system/socketmaster@{instance}.service.d/test.conf"), &format!("[Service]\n{lines}\n"));
        self.ok("systemctl daemon-reload");
    }

    /// A property of an instance, as systemd has it.
    #[track_caller]
    pub fn show(&self, instance: &str, property: &str) -> String {
        self.ok(&format!("systemctl show --value --property={property} socketmaster@{instance}"))
    }

    #[track_caller]
    pub fn main_pid(&self, instance: &str) -> u32 {
        self.show(instance, "MainPID").parse().expect("a number")
    }

    /// The processes that the master of an instance has started.
    #[track_caller]
    pub fn workers(&self, instance: &str) -> Vec<u32> {
        let list = self.ok(&format!("pgrep --parent {}", self.main_pid(instance)));
        list.lines().map(|pid| pid.parse().expect("a number")).collect()
    }

    /// Asks the app for something that takes it so many milliseconds, and returns when it has begun. The answer comes on stdout.
    #[track_caller]
    pub fn slow_request(&self, millis: u32) -> Child {
        let [worker] = self.workers("app")[..] else { panic!("one worker") };
        let threads = || self.ok(&format!("ls /proc/{worker}/task")).lines().count();
        let idle = eventually("a worker that has begun", SOON, || Some(threads()).filter(|count| *count > 1));
        let request = format!("exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /slow?ms={millis} HTTP/1.0\r\n\r\n' >&3; cat <&3");
        let child = self.command(&request).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("docker");
        eventually("a thread that answers", SOON, || threads() > idle);
        child
    }

    /// `/hello` on port 80 as www-data, a tenth of a second from reload to trust, as `socketmaster@app`; with more lines for
    /// its file.
    #[track_caller]
    pub fn start_app(&self, more: &str) {
        self.ok("install -D --mode=755 /hello /srv/app");
        self.configure("app", &format!("{APP}{more}\n"));
        self.ok("systemctl start socketmaster@app");
    }

    /// Puts `/hello` under load, from inside.
    #[track_caller]
    pub fn load(&self) -> LoadInside {
        LoadInside::begin(&self.name, URI)
    }

    /// Whether the app answers.
    #[track_caller]
    pub fn answers(&self) -> bool {
        self.succeeds(&format!("/client {URI} --once"))
    }
}

pub const URI: &str = "tcp://127.0.0.1:80";

/// What stands in the file of the instance `app`.
pub const APP: &str =
    "SOCKETMASTER_LISTEN=tcp://127.0.0.1:80\nSOCKETMASTER_COMMAND=/srv/app\nSOCKETMASTER_USER=www-data\nSOCKETMASTER_START=100\n";

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = self.run("journalctl --no-pager --lines=60; systemctl status --no-pager 'socketmaster@*'");
            println!("journal of {:?}:\n{}", self.release, String::from_utf8_lossy(&journal.stdout));
        }
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// A file of the source.
pub fn source(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What an example says to run, as it stands there: the first indented lines of its comment, in the directory that it is in.
pub fn commands_of(example: &str) -> String {
    let text = source(&format!("debian/examples/{example}"));
    let commands = text.lines().map(|line| line.strip_prefix("#     ")).skip_while(Option::is_none);
    let commands: Vec<&str> = commands.map_while(|command| command).collect();
    assert!(!commands.is_empty(), "{example} says nothing to run");
    let directory = Path::new("/usr/share/doc/socketmaster/examples").join(example);
    format!("set -e\ncd {}\n{}", directory.parent().expect("a file").display(), commands.join("\n"))
}
