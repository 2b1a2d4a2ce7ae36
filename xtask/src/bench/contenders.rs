//! The programs to compare: socketmaster, small C programs that make the same bare system calls, and the installed peers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::child::Isolation;
use super::report::Report;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench/baseline");
/// Static and small comes first.
const COMPILERS: &[&str] = &["musl-gcc", "cc", "gcc", "clang"];
const PLACES: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"];

/// A command line in front of the program that it starts.
#[derive(Clone)]
pub struct Contender {
    pub name: &'static str,
    pub command: Vec<String>,
    pub ours: bool,
}

impl Contender {
    fn new(name: &'static str, command: &[&str]) -> Contender {
        Contender { name, command: command.iter().map(ToString::to_string).collect(), ours: false }
    }

    /// The whole command line, in front of the worker doing this.
    pub fn running(&self, worker: &str, verb: &[&str]) -> Vec<String> {
        self.command.iter().cloned().chain([worker.to_owned()]).chain(verb.iter().map(ToString::to_string)).collect()
    }
}

pub struct Contenders {
    pub socketmaster: String,
    pub worker: String,
    pub isolation: Isolation,
    forwarder: String,
    reaper: String,
    reloader: String,
    relay: String,
    peers: Vec<Contender>,
    start_server: Option<String>,
}

impl Contenders {
    /// Fails where nothing could be measured at all: without a C compiler there is no worker.
    pub fn gather(socketmaster: String, report: &mut Report) -> Result<Contenders, String> {
        fs::metadata(&socketmaster).map_err(|error| format!("{socketmaster}: {error}"))?;
        let mut peers = Vec::new();
        for (name, command) in [("tini-static", &["--"][..]), ("dumb-init", &["--"]), ("catatonit", &["--"])] {
            match installed(name) {
                Some(path) => peers.push(Contender::new(name, &[&[path.as_str()], command].concat())),
                None => report.skip(name, "not installed"),
            }
        }
        let start_server = installed("start_server");
        if start_server.is_none() {
            report.skip("start_server", "not installed");
        }
        Ok(Contenders {
            socketmaster,
            worker: compile("worker")?,
            isolation: Isolation::find().ok_or("no PID namespace can be made here: not root, and no user namespaces")?,
            forwarder: compile("forwarder")?,
            reaper: compile("reaper")?,
            reloader: compile("reloader")?,
            relay: compile("relay")?,
            peers,
            start_server,
        })
    }

    pub fn direct(&self) -> Contender {
        Contender::new("direct", &[])
    }

    pub fn ours(&self, options: &[&str]) -> Contender {
        let command = [&[self.socketmaster.as_str()], options, &["--"]].concat();
        Contender { ours: true, ..Contender::new("socketmaster", &command) }
    }

    /// As a plain init, without a listener, as the peers are.
    pub fn plain(&self) -> Contender {
        self.ours(&["-listen=none"])
    }

    pub fn forwarder(&self) -> Contender {
        Contender::new("bare C", &[&self.forwarder])
    }

    pub fn reaper(&self) -> Contender {
        Contender::new("bare C", &[&self.reaper])
    }

    pub fn reloader(&self) -> Contender {
        Contender::new("bare C", &[&self.reloader])
    }

    pub fn relay(&self) -> Contender {
        Contender::new("bare C", &[&self.relay])
    }

    pub fn peers(&self) -> Vec<Contender> {
        self.peers.clone()
    }

    pub fn start_server(&self) -> Option<Contender> {
        let path = self.start_server.as_ref()?;
        Some(Contender::new("start_server", &[path, "--port=127.0.0.1:0", "--interval=0", "--"]))
    }
}

fn installed(name: &str) -> Option<String> {
    PLACES.iter().map(|place| format!("{place}/{name}")).find(|path| Path::new(path).exists())
}

/// A static program of ours, built beside this one; its path.
fn compile(name: &str) -> Result<String, String> {
    let source = Path::new(SOURCES).join(name).with_extension("c");
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let program = own.with_file_name(format!("bench-{name}"));
    let mut why = "no C compiler found".to_owned();
    for compiler in COMPILERS {
        let mut command = Command::new(compiler);
        match command.args(["-static", "-O2", "-o"]).arg(&program).arg(&source).output() {
            Ok(output) if output.status.success() => return Ok(program.display().to_string()),
            Ok(output) => why = format!("{compiler}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {}
        }
    }
    Err(format!("cannot build {}: {why}", source.display()))
}
