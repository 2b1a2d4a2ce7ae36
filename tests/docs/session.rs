//! A shell that the blocks of a page share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// For one block or command, however slow the machine is.
pub const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);
/// How long a reader takes to type the next command behind one that is left in the background.
const TYPING: Duration = Duration::from_millis(1000);

/// How a block or a command went.
pub struct Done {
    /// None: it did not end in time, or took the shell with it.
    pub status: Option<i32>,
    /// What it has printed, and jobs that it left in the background.
    pub output: String,
}

impl Done {
    pub fn well(&self) -> bool {
        self.status == Some(0)
    }
}

pub struct Session {
    shell: Child,
    input: ChildStdin,
    /// Each step's script, output and status.
    steps: PathBuf,
    outputs: Vec<PathBuf>,
}

impl Session {
    /// Runs `bash`, a command that begins a shell which reads its input and sees the files of `work` under the same names.
    pub fn new(mut bash: Command, work: &Path, name: &str) -> Session {
        let steps = work.join(format!("steps-{name}"));
        fs::create_dir_all(&steps).expect("a directory of our own");
        let mut shell = bash.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("bash");
        let input = shell.stdin.take().expect("a pipe");
        Session { shell, input, steps, outputs: Vec::new() }
    }

    /// Runs commands of which each must succeed.
    pub fn run(&mut self, script: &str) -> Done {
        let step = self.begin(&format!("set -e\n{script}\nset +e\n"), "");
        let status = self.wait(&step);
        Done { status, output: self.printed(&step) }
    }

    /// Runs one command as a reader types it. `right` looks at what it has printed, also together with what the jobs in the background
    /// have printed meanwhile, until it is content or the time is up.
    pub fn type_in(&mut self, command: &str, background: bool, right: impl Fn(&str) -> bool) -> (Done, bool) {
        let before: Vec<u64> = self.outputs.iter().map(|path| length(path)).collect();
        let step = self.begin(&format!("{command}\n"), "");
        let status = self.wait(&step);
        let end = Instant::now() + if status.is_some() { Duration::from_secs(10) } else { Duration::ZERO };
        if background {
            thread::sleep(TYPING);
        }
        loop {
            let own = self.printed(&step);
            let others = self.outputs.iter().zip(&before).map(|(path, length)| text_behind(path, *length)).collect::<String>();
            let all = format!("{own}{others}");
            if right(&own) || right(&all) {
                return (Done { status, output: own }, true);
            }
            if Instant::now() > end {
                return (Done { status, output: all }, false);
            }
            thread::sleep(LOOK);
        }
    }

    /// Runs commands as a job in the background, to which `jobs[INDEX]` is the key; how many there are is the next one's.
    pub fn leave(&mut self, script: &str, index: usize) -> Step {
        self.begin(script, &format!(" & jobs[{index}]=$!"))
    }

    fn begin(&mut self, script: &str, behind: &str) -> Step {
        let step = Step(self.steps.join(self.outputs.len().to_string()));
        fs::write(step.file("sh"), script).expect("a file of our own");
        fs::write(step.file("out"), "").expect("a file of our own");
        self.outputs.push(step.file("out"));
        let [script, out, status] = ["sh", "out", "status"].map(|what| step.file(what).display().to_string());
        let line = format!(". {script} >>{out} 2>&1 </dev/null{behind}\necho $? >{status}.new; mv {status}.new {status}\n");
        // A shell that is gone is seen when its status is waited for.
        let _ = self.input.write_all(line.as_bytes()).and_then(|()| self.input.flush());
        step
    }

    fn wait(&mut self, step: &Step) -> Option<i32> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Ok(status) = fs::read_to_string(step.file("status")) {
                return status.trim().parse().ok();
            }
            match self.shell.try_wait() {
                // `set -e` has ended it.
                Ok(Some(status)) => return status.code().filter(|code| *code != 0),
                _ if Instant::now() > end => return None,
                _ => {}
            }
            thread::sleep(LOOK);
        }
    }

    pub fn printed(&self, step: &Step) -> String {
        text_behind(&step.file("out"), 0)
    }
}

pub struct Step(PathBuf);

impl Step {
    fn file(&self, what: &str) -> PathBuf {
        self.0.with_extension(what)
    }
}

impl Drop for Session {
    /// What it has started in a namespace ends with that.
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn text_behind(path: &Path, length: u64) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(length as usize..).unwrap_or_default()).into_owned()
}
