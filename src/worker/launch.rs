//! Starts a worker from the settings of its generation, and words the errors of a start.

use std::cell::OnceCell;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::ReportBy;
use crate::sys::rlimit;
use crate::sys::signal::InheritedSignals;
use crate::sys::spawn::{self, Report, ReportState, SpawnPlan, Spawned, Step};
use crate::sys::stdio::{self, BlockingModes};
use crate::sys::{errno, fd as descriptors};
use crate::types::environment::{Variable, path_in, set};
use crate::types::listener::Listener;
use crate::types::one_line::OneLine;
use crate::types::process::{Pid, SpawnError, WorkerPlace};
use crate::worker::environment::EnvironmentRecipe;
use crate::worker::identity::Identity;
use crate::worker::program::{self, Place};

/// The exit status of the master if a start fails for a reason other than the program.
const OWN_FAILURE: u8 = 1;

/// The directory in which the master was started.
#[derive(Debug)]
pub struct StartDirectory {
    /// `None` if the master has no permission to search it. The master then stays there, and workers inherit it.
    held: Option<OwnedFd>,
    /// The path, for messages; empty if the kernel does not know it.
    path: PathBuf,
}

impl StartDirectory {
    /// Holds the current directory.
    pub fn current() -> StartDirectory {
        StartDirectory { held: descriptors::current_directory(), path: std::env::current_dir().unwrap_or_default() }
    }

    /// Whether the master may change its own directory.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

/// The directory in which a worker starts.
#[derive(Clone, Debug)]
pub struct Directory {
    /// `None` where `path` is absolute.
    start: Option<Rc<StartDirectory>>,
    path: Option<PathBuf>,
}

impl Directory {
    /// The directory of `-dir`, which is relative to that of the start; without `-dir` that one. Symlinks are followed anew
    /// at each start of a worker.
    pub fn new(start: &Rc<StartDirectory>, path: Option<PathBuf>) -> Directory {
        let needed = path.as_ref().is_none_or(|path| !path.is_absolute());
        Directory { start: needed.then(|| start.clone()), path }
    }

    /// Where relative paths of the program begin.
    pub fn place(&self) -> Place<'_> {
        Place { base: self.base(), directory: self.path.as_deref() }
    }

    fn base(&self) -> Option<BorrowedFd<'_>> {
        Some(self.start.as_ref()?.held.as_ref()?.as_fd())
    }

    fn shown(&self) -> OneLine {
        let start = self.start.as_ref().map_or(Path::new(""), |start| &start.path);
        let path = self.path.as_deref().map_or_else(|| start.to_owned(), |path| start.join(path));
        OneLine::from(path.as_path())
    }
}

/// The settings with which all workers of one generation start.
#[derive(Clone, Debug)]
pub struct LaunchSpec {
    pub command: OsString,
    pub args: Vec<OsString>,
    pub directory: Directory,
    pub identity: Option<Identity>,
    pub environment: EnvironmentRecipe,
    pub report: Option<ReportBy>,
    /// The signal mask and dispositions at the start of the master.
    pub signals: InheritedSignals,
    /// The blocking modes in which the master found the standard descriptors.
    pub modes: BlockingModes,
}

/// The settings of a single start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    pub place: WorkerPlace,
    /// The listeners. The worker has them at 3 and up, whatever numbers they have in the master.
    pub listeners: &'a [BorrowedFd<'a>],
    /// The descriptions of the listeners, in the same order.
    pub infos: &'a [Listener],
    /// Variables of this worker alone.
    pub own: &'a [Variable],
    /// Becomes standard output and standard error.
    pub output: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// The worker becomes the foreground group of the terminal on standard input.
    pub foreground: bool,
}

/// The progress of a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The program is not executed yet.
    Pending,
    Executed,
    /// The program cannot be executed. The child exits and is still to be reaped.
    Failed(SpawnError),
}

impl LaunchSpec {
    /// Starts one worker and returns at once: whether the program could be executed is known later.
    pub fn launch(self: &Rc<LaunchSpec>, start: &Start) -> Result<Launched, SpawnError> {
        let mut environment = self.environment.of(start.place, start.infos);
        set(&mut environment, start.own.iter().cloned());
        let path = path_in(&environment);
        let cannot_start = |errno| self.failure(Step::Start, errno, path);

        let strings =
            |texts: &mut dyn Iterator<Item = &OsStr>| texts.map(|text| CString::new(text.as_bytes())).collect::<Result<Vec<_>, _>>();
        let invalid = |_| cannot_start(errno::EINVAL);
        let found = program::candidates(&self.command, path);
        let programs = strings(&mut found.iter().map(OsString::as_os_str)).map_err(invalid)?;
        let args =
            strings(&mut std::iter::once(self.command.as_os_str()).chain(self.args.iter().map(OsString::as_os_str))).map_err(invalid)?;
        let directory = self.directory.path.as_ref().map(|path| CString::new(path.as_os_str().as_bytes())).transpose().map_err(invalid)?;
        if let (Some(identity), Some((out, err))) = (&self.identity, start.output) {
            stdio::give_pipe_to(out, identity.uid);
            stdio::give_pipe_to(err, identity.uid);
        }
        let Spawned { pid, report } = spawn::spawn(&SpawnPlan {
            programs: &programs,
            args: &args,
            environment: &environment,
            base: self.directory.base(),
            directory: directory.as_deref(),
            change: self.identity.as_ref().map(|identity| &identity.change),
            signals: self.signals,
            modes: self.modes,
            listeners: start.listeners,
            output: start.output,
            foreground: start.foreground,
        })
        .map_err(cannot_start)?;
        Ok(Launched { pid, report, spec: self.clone(), path: path.map(OsStr::to_owned), end: OnceCell::new() })
    }

    fn failure(&self, step: Step, errno: i32, path: Option<&OsStr>) -> SpawnError {
        let reason = || rlimit::process_shortage(errno).unwrap_or_else(|| errno::description(errno).to_owned());
        let own = |what: String| SpawnError { status: OWN_FAILURE, cause: format!("cannot {what}: {}", reason()) };
        let identity = self.identity.as_ref();
        let command = OneLine::from(self.command.as_os_str());
        match step {
            Step::Start => own(format!("start {command}")),
            Step::Output => own("connect the output to the program".to_owned()),
            Step::Listener => own("pass the listeners to the program".to_owned()),
            Step::Directory => own(format!("enter {}", self.directory.shown())),
            Step::Groups => own(format!("set the groups of uid {}", identity.map_or(0, |identity| identity.uid))),
            Step::Group => own(format!("become gid {}", identity.map_or(0, |identity| identity.gid))),
            Step::User => own(format!("become uid {}", identity.map_or(0, |identity| identity.uid))),
            Step::Execute => SpawnError {
                status: program::status(errno),
                cause: format!("cannot execute {command}: {}", program::cause(errno, &self.command, path, self.directory.place())),
            },
        }
    }
}

/// A started worker. Its report becomes readable when the program has been executed or cannot be.
#[derive(Debug)]
pub struct Launched {
    pid: Pid,
    report: Report,
    spec: Rc<LaunchSpec>,
    /// The worker's PATH.
    path: Option<OsString>,
    end: OnceCell<Progress>,
}

impl Launched {
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What is known by now; anything but `Pending` stays as it is. Never blocks.
    pub fn progress(&self) -> Progress {
        if let Some(end) = self.end.get() {
            return end.clone();
        }
        let progress = match self.report.read() {
            ReportState::Pending => return Progress::Pending,
            ReportState::Executed => Progress::Executed,
            ReportState::Failed { step, errno } => Progress::Failed(self.spec.failure(step, errno, self.path.as_deref())),
        };
        self.end.get_or_init(|| progress).clone()
    }
}

impl AsFd for Launched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}
