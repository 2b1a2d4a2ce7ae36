//! `make test-docs`: runs what the documentation shows, as it stands. `page.rs` has the conventions, `servers.rs` those of servers.
//!
//! Each page is a session of its own, as root, in namespaces of its own for network, processes and mounts: what it writes to /etc, /usr,
//! /var, /srv, /opt, /root and /run is gone afterwards. On PATH are `socketmaster`, the servers below target/servers, `sudo`, which a
//! session does not need, and an `editor` that changes nothing.
//!
//! PAGES names some of the pages, SERVERS some of the servers, RELOADS how often each server is reloaded (10). The last line adds up
//! blocks and servers. Before the pages come false pages, each of which must fail.

#![allow(unsafe_code, reason = "the harness prepares what a child finds between fork(2) and execve(2)")]

#[allow(dead_code, reason = "its tests run in tests/main.rs")]
mod console;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../docker/engine.rs"]
mod engine;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "several crates share it, and each uses a part")]
#[path = "../deb/machine.rs"]
mod machine;
#[allow(dead_code, reason = "its tests run in tests/main.rs")]
mod page;
mod servers;
mod session;

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use engine::docker;
use harness::{FreeDir, fixture, free_dir, make_program};
use machine::{Machine, Release, With};
use page::{Block, Directive, Kind, blocks};
use servers::{Recipe, Row};
use session::Session;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
/// Begins the part of this program that is in the namespaces of a page.
const INSIDE: &str = "--inside";
/// What the pages use in a machine with Debian beside the package.
const DEBIAN_PACKAGES: &str = "curl,python3";
/// An application for the manual, which has no files: `app.py`. Its `/srv/app/current/app` is a static server.
const APPLICATION: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n";
/// A page of false pages, of which two reloads are enough.
const WRONG: &str = "tests/docs/wrong.md";
/// What becomes a layer over the machine's own, and then runs the rest of the line.
const NAMESPACES: &str = r#"
set -e
ip link set lo up
layers=$(mktemp -d)
mount -t tmpfs layers "$layers"
for tree in etc usr var srv opt root; do
    mkdir -p "$layers/$tree/upper" "$layers/$tree/work"
    mount -t overlay -o "lowerdir=/$tree,upperdir=$layers/$tree/upper,workdir=$layers/$tree/work" layer "/$tree"
done
mkdir "$layers/run"
mount --bind /run "$layers/run"
mount -t tmpfs run /run
if [ -S "$layers/run/docker.sock" ]; then
    touch /run/docker.sock
    mount --bind "$layers/run/docker.sock" /run/docker.sock
fi
exec "$@"
"#;

/// Pages that must fail, and what they must fail with.
const FALSE_PAGES: &[(&str, &str, &str)] = &[
    ("a command that fails", "```sh\nfalse\n```\n", "status"),
    ("a command that fails before others", "```sh\nfalse\ntrue\n```\n", "status"),
    ("other output", "```console\n$ echo a\nb\n```\n", "printed"),
    ("more output", "```console\n$ echo a; echo b\na\n```\n", "printed"),
    ("a command that fails without output", "```console\n$ false\n```\n", "status"),
    ("an unknown kind", "```bash\ntrue\n```\n", "unknown kind"),
    ("a block after one that failed", "```sh\nexit 3\n```\n```sh\ntrue\n```\n", "the shell is gone"),
    ("no socket", "```sh\nsocketmaster -listen=none -- sleep 60 &\nsleep 1\ncurl --silent http://127.0.0.1:8080/\n```\n", "status"),
];

/// How a page went. Every block that runs, and every server, counts one.
#[derive(Default, Serialize, Deserialize)]
struct Summary {
    passed: usize,
    failures: Vec<String>,
    skips: Vec<String>,
    rows: Vec<Row>,
}

impl Summary {
    fn add(&mut self, other: Summary) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
        self.rows.extend(other.rows);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [inside, name, server, path, summary] = &arguments[..] {
        assert_eq!(inside, INSIDE);
        let found = blocks(name, &fs::read_to_string(path).expect("the page")).expect("the part outside has looked at it");
        let result = Run::new(name).part(&found, server);
        fs::write(summary, serde_json::to_string(&result).expect("it is plain data")).expect("a file of our own");
        return ExitCode::SUCCESS;
    }
    let mut all = Summary { failures: unknown_names(), ..Summary::default() };
    for (what, text, why) in FALSE_PAGES {
        all.add(expect_failure(what, "false.md", text, why));
    }
    for (name, path) in pages() {
        println!("\n=== {name}");
        let text = fs::read_to_string(&path).expect("a page");
        let summary = in_namespaces(&name, &text);
        summary.failures.iter().for_each(|failure| println!("FAILED {failure}"));
        println!("{} passed, {} failed, {} skipped", summary.passed, summary.failures.len(), summary.skips.len());
        all.add(summary);
    }
    if chosen("PAGES", "docs/servers.md") {
        println!("\n=== lines that are known to be wrong");
        for (name, text) in sections(&source(WRONG)) {
            // gunicorn-wrong-bind belongs to gunicorn.
            if server_names(&text).iter().any(|name| chosen("SERVERS", name.split("-wrong-").next().unwrap_or(name))) {
                all.add(expect_failure(&name, WRONG, &text, ""));
            }
        }
    }
    report(&all)
}

fn report(all: &Summary) -> ExitCode {
    println!();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for skip in &all.skips {
        *reasons.entry(skip).or_default() += 1;
    }
    reasons.iter().for_each(|(reason, count)| println!("SKIPPED {count}: {reason}"));
    all.failures.iter().for_each(|failure| println!("FAILED {}", failure.lines().next().unwrap_or_default()));
    if !all.rows.is_empty() {
        println!("\n{}", Row::HEAD);
        all.rows.iter().for_each(|row| println!("{}", row.line()));
        println!();
    }
    println!("{} passed, {} failed, {} skipped", all.passed, all.failures.len(), all.skips.len());
    if all.failures.is_empty() && all.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The pages that PAGES names, or all, each with its path.
fn pages() -> Vec<(String, PathBuf)> {
    all_pages().into_iter().filter(|name| chosen("PAGES", name)).map(|name| (name.clone(), Path::new(SOURCE).join(name))).collect()
}

/// The pages of this project.
fn all_pages() -> Vec<String> {
    let below = |directory: &str, wanted: fn(&str) -> bool| {
        let entries = fs::read_dir(Path::new(SOURCE).join(directory)).expect("a directory of the source");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| wanted(name)).map(|name| format!("{directory}/{name}")).collect::<Vec<_>>()
    };
    let mut names = below("docs", |name| name.ends_with(".md") || name.ends_with(".1"));
    names.extend(below("debian", |name| name.contains("README")));
    names.push("README.md".into());
    names.sort();
    names
}

/// Names in PAGES and SERVERS that belong to nothing: with them, nothing would run and nothing would fail.
fn unknown_names() -> Vec<String> {
    let pages = all_pages();
    let servers: Vec<String> = pages.iter().flat_map(|page| server_names(&source(page))).collect();
    let unknown = |variable: &str, known: &[String]| -> Vec<String> {
        let names = env::var(variable).unwrap_or_default();
        let unknown = names.split_whitespace().filter(|name| !known.iter().any(|known| known == name));
        unknown.map(|name| format!("{variable} names {name}, which there is not")).collect()
    };
    [unknown("PAGES", &pages), unknown("SERVERS", &servers)].concat()
}

/// The servers that a page has recipes of.
fn server_names(text: &str) -> Vec<String> {
    let recipes = text.lines().filter_map(|line| line.strip_prefix("<!-- test: server "));
    recipes.filter_map(|recipe| recipe.split_whitespace().next()).map(str::to_owned).collect()
}

/// Whether a variable names it, or is not set.
fn chosen(variable: &str, name: &str) -> bool {
    env::var(variable).map_or(true, |chosen| chosen.trim().is_empty() || chosen.split_whitespace().any(|word| word == name))
}

fn source(path: &str) -> String {
    fs::read_to_string(Path::new(SOURCE).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The sections of a page of false pages, by their headings.
fn sections(text: &str) -> Vec<(String, String)> {
    let parts = text.split("\n<!-- test: server").skip(1).map(|part| format!("<!-- test: server{part}"));
    parts.map(|part| (part.lines().find_map(|line| line.strip_prefix("## ")).unwrap_or_default().to_owned(), part)).collect()
}

fn expect_failure(what: &str, name: &str, text: &str, why: &str) -> Summary {
    let seen = in_namespaces(name, text);
    let mut summary = Summary::default();
    match seen.failures.first() {
        Some(failure) if seen.failures.iter().any(|failure| failure.contains(why)) => {
            println!("is seen to fail: {what}: {}", failure.lines().next().unwrap_or_default());
            summary.passed = 1;
        }
        _ => summary.failures.push(format!("{what}: a false page has to fail with {why:?}, and did with {:?}", seen.failures)),
    }
    summary
}

/// Runs a page in namespaces of its own, and so each server of it; all that they start ends with them.
fn in_namespaces(name: &str, text: &str) -> Summary {
    let found = match blocks(name, text) {
        Ok(found) => found,
        Err(why) => return Summary { failures: vec![why], ..Summary::default() },
    };
    if found.iter().any(|block| block.skipped().is_none() && block.directives.contains(&Directive::Debian)) {
        // It needs the network, once.
        let made = Command::new(Path::new(SOURCE).join("scripts/debian-image"))
            .arg("trixie")
            .env("DEBIAN_PACKAGES", DEBIAN_PACKAGES)
            .output()
            .expect("bash");
        if !made.status.success() {
            return Summary { failures: vec![format!("{name}: {}", String::from_utf8_lossy(&made.stderr))], ..Summary::default() };
        }
    }
    let mut all = Summary::default();
    let mut recipes: Vec<&str> = found.iter().filter_map(Block::server).collect();
    recipes.dedup();
    if found.iter().any(|block| block.server().is_none() && block.kind != Kind::Text) {
        all.add(part_in_namespaces(name, text, ""));
    }
    for recipe in recipes {
        match Recipe::parse(recipe) {
            Ok(parsed) if name == WRONG || chosen("SERVERS", &parsed.name) => all.add(part_in_namespaces(name, text, recipe)),
            Ok(_) => all.skips.push("SERVERS does not name it".into()),
            Err(why) => all.failures.push(format!("{name}: {why}")),
        }
    }
    all
}

/// The part of a page that belongs to a server's recipe, or to none.
fn part_in_namespaces(name: &str, text: &str, recipe: &str) -> Summary {
    let dir = free_dir();
    let (page, summary) = (dir.join("page"), dir.join("summary"));
    fs::write(&page, text).expect("a file of our own");
    let network = File::open("/proc/self/ns/net").expect("/proc");
    fcntl(&network, FcntlArg::F_SETFD(FdFlag::empty())).expect("a descriptor of our own");
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", NAMESPACES, "bash"])
        .arg(env::current_exe().expect("/proc"))
        .args([INSIDE, name, recipe])
        .args([&page, &summary])
        .env("DEBIAN_PACKAGES", DEBIAN_PACKAGES)
        .env("DOCS_NETWORK", network.as_raw_fd().to_string())
        .envs((name == WRONG).then_some(("RELOADS", "2")))
        .status();
    let status = status.expect("unshare");
    let read = fs::read_to_string(&summary).ok().and_then(|text| serde_json::from_str(&text).ok());
    read.unwrap_or_else(|| Summary { failures: vec![format!("{name}: its session ended with {status}")], ..Summary::default() })
}

/// A page that runs, in its namespaces.
struct Run {
    name: String,
    work: FreeDir,
    /// The working directory of its shells.
    dir: PathBuf,
    local: Option<Session>,
    engine: Option<Session>,
    debian: Option<(Machine, Session)>,
    summary: Summary,
    /// Why nothing more can run.
    broken: Option<String>,
}

impl Run {
    fn new(name: &str) -> Run {
        let work = free_dir();
        let dir = work.join("page");
        fs::create_dir_all(work.join("bin")).expect("a directory of our own");
        fs::create_dir(&dir).expect("a directory of our own");
        symlink(harness::binary(), work.join("bin/socketmaster")).expect("a link of our own");
        make_program(&work.join("bin/sudo"), "#!/bin/sh\nexec \"$@\"\n");
        make_program(&work.join("bin/editor"), "#!/bin/sh\ntest -w \"$1\"\n");
        if name.ends_with(".1") {
            fs::write(dir.join("app.py"), APPLICATION).expect("a file of our own");
            fs::create_dir_all("/srv/app/current").expect("a directory in a layer of our own");
            make_program(Path::new("/srv/app/current/app"), fs::read(fixture("hello")).expect("it is built"));
        }
        Run { name: name.into(), work, dir, local: None, engine: None, debian: None, summary: Summary::default(), broken: None }
    }

    fn part(&mut self, page: &[Block], recipe: &str) -> Summary {
        if recipe.is_empty() {
            page.iter().filter(|block| block.server().is_none()).for_each(|block| self.block(block, page));
        } else {
            let section: Vec<Block> = page.iter().filter(|block| block.server() == Some(recipe)).cloned().collect();
            self.server(recipe, &section);
        }
        mem::take(&mut self.summary)
    }

    fn block(&mut self, block: &Block, page: &[Block]) {
        let place = format!("{}:{}", self.name, block.line);
        if block.kind == Kind::Text {
            return;
        }
        if let Some(reason) = block.skipped() {
            self.summary.skips.push(reason.into());
            return;
        }
        let result = match &self.broken {
            Some(why) => Err(why.clone()),
            None => self.try_block(block, page),
        };
        match result {
            Ok(()) => self.summary.passed += 1,
            Err(why) => self.summary.failures.push(format!("{place}: {why}")),
        }
    }

    fn try_block(&mut self, block: &Block, page: &[Block]) -> Result<(), String> {
        let debian = block.directives.contains(&Directive::Debian);
        if let Kind::File(path) = &block.kind {
            if debian {
                self.machine(page).0.write(path, &block.text);
            } else {
                write_in(&self.dir, path, &block.text);
            }
            return Ok(());
        }
        let serves = block.directives.iter().find_map(|directive| match directive {
            Directive::Serves(port) => Some(*port),
            _ => None,
        });
        let session = if debian {
            &mut self.machine(page).1
        } else if block.directives.contains(&Directive::Engine) {
            self.engine()
        } else {
            self.local()
        };
        let result = match (&block.kind, serves) {
            (Kind::Console, _) => run_console(session, block),
            (_, Some(port)) => run_until_it_serves(session, block, port),
            (_, None) => {
                let done = session.run(&block.text);
                if done.well() { Ok(()) } else { Err(failure(done.status, &block.text, &done.output)) }
            }
        };
        if result.is_err() && !session.run("true").well() {
            self.broken = Some("the shell is gone, by a block before".into());
        }
        result
    }

    fn server(&mut self, recipe: &str, blocks: &[Block]) {
        let place = format!("{}:{}", self.name, blocks[0].line);
        let recipe = Recipe::parse(recipe).expect("the part outside has looked at it");
        let dir = self.work.join(&recipe.name);
        fs::create_dir(&dir).expect("a directory of our own");
        let mut session = self.session(&dir, &recipe.name, "bash", &[]);
        let (row, result) = servers::try_out(&recipe, blocks, &mut session, |path, text| write_in(&dir, path, text));
        println!("{}", row.line());
        self.summary.rows.push(row);
        match result {
            Ok(()) => self.summary.passed += 1,
            Err(why) => self.summary.failures.push(format!("{place}: {}: {why}", recipe.name)),
        }
    }

    fn session(&self, dir: &Path, name: &str, program: &str, words: &[&str]) -> Session {
        let mut bash = Command::new(program);
        let path = [
            &self.work.join("bin").display().to_string(),
            &format!("{SOURCE}/target/servers/bin"),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ];
        bash.args(words).args(["--norc", "--noprofile", "-m"]).current_dir(dir).env_clear();
        bash.env("PATH", path.join(":")).env("HOME", "/root").env("LANG", "C.UTF-8").env("TERM", "dumb");
        bash.env("GOCACHE", format!("{SOURCE}/target/servers/go"));
        Session::new(bash, &self.work, name)
    }

    fn local(&mut self) -> &mut Session {
        if self.local.is_none() {
            self.local = Some(self.session(&self.dir, "local", "bash", &[]));
        }
        self.local.as_mut().expect("it has just been made")
    }

    /// A shell in the network of the machine, where the engine publishes ports.
    fn engine(&mut self) -> &mut Session {
        if self.engine.is_none() {
            let found = docker(["ps", "--all", "--quiet", "--filter", "name=^app$"]) + &docker(["images", "--quiet", "app"]);
            assert!(found.is_empty(), "the engine has a container or an image called app, as the pages call theirs");
            make_program(&self.dir.join("app"), fs::read(fixture("hello")).expect("it is built"));
            let network = format!("--net=/proc/self/fd/{}", env::var("DOCS_NETWORK").expect("the part outside sets it"));
            self.engine = Some(self.session(&self.dir, "engine", "nsenter", &[&network, "bash"]));
        }
        self.engine.as_mut().expect("it has just been made")
    }

    /// Debian 13 under systemd, and a shell in it whose directory is this page's.
    fn machine(&mut self, page: &[Block]) -> &mut (Machine, Session) {
        if self.debian.is_none() {
            let installs = page.iter().any(|block| {
                block.directives.contains(&Directive::Debian) && block.skipped().is_none() && block.text.contains("apt install")
            });
            let with = if installs { With::Nothing } else { With::Package };
            let work = self.work.display().to_string();
            let machine =
                Machine::boot_with(Release::Trixie, with, &[&format!("--volume={work}:{work}")]).expect("an engine and the package");
            machine.ok("install -D -m 755 /hello /srv/app/current/app && printf '#!/bin/sh\ntest -w \"$1\"\n' >/usr/local/bin/editor && chmod 755 /usr/local/bin/editor");
            let package = machine::package_for(machine::own_architecture()).expect("the package");
            fs::copy(&package, self.dir.join(package.file_name().expect("a file"))).expect("a file of our own");
            let mut shell = Command::new("docker");
            shell.args(["exec", "--interactive", "--workdir"]).arg(&self.dir).args([&machine.name, "bash", "--norc", "--noprofile", "-m"]);
            self.debian = Some((machine, Session::new(shell, &self.work, "debian")));
        }
        self.debian.as_mut().expect("it has just been made")
    }
}

impl Drop for Run {
    /// The engine outlives the namespaces, and with it what the page has made there.
    fn drop(&mut self) {
        if self.engine.is_some() {
            let _ = Command::new("docker").args(["rm", "--force", "app"]).output();
            let _ = Command::new("docker").args(["rmi", "app"]).output();
        }
    }
}

fn run_console(session: &mut Session, block: &Block) -> Result<(), String> {
    for typed in console::typed(&block.text)? {
        let right = |printed: &str| typed.expected.is_empty() || console::matches(&typed.expected, printed);
        let (done, right) = session.type_in(&typed.command, console::in_background(&typed.command), right);
        let at = block.line + typed.line;
        if !right {
            let expected = typed.expected.join("\n");
            return Err(format!("line {at}: {}\nexpected:\n{expected}\nprinted:\n{}", typed.command, done.output.trim_end()));
        }
        // What a command prints tells how it went.
        if done.status.is_none() || (typed.expected.is_empty() && !done.well()) {
            return Err(format!("line {at}: {}", failure(done.status, &typed.command, &done.output)));
        }
    }
    Ok(())
}

fn run_until_it_serves(session: &mut Session, block: &Block, port: u16) -> Result<(), String> {
    let step = session.leave(&format!("export SOCKETMASTER_CONTROL=@docs\n{}", block.text), 0);
    let accepts = format!("(for _ in $(seq 300); do ! (exec 9<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null || exit 0; sleep 0.1; done; exit 1)");
    let served = session.run(&accepts).well();
    let stopped = session.run("socketmaster -control=@docs -s stop").well();
    let printed = session.printed(&step);
    if served && stopped { Ok(()) } else { Err(format!("port {port} accepts: {served}, stops: {stopped}, printed:\n{printed}")) }
}

fn failure(status: Option<i32>, command: &str, output: &str) -> String {
    let status = status.map_or("no status: it ended the shell, or takes too long".into(), |status| format!("status {status}"));
    format!("{status}\n{}\nprinted:\n{}", command.trim_end(), output.trim_end())
}

fn write_in(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a file")).expect("a directory in a layer of our own");
    let mut file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(text.as_bytes()).expect("a file in a layer of our own");
}
