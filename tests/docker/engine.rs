//! Images and containers of a test's own, through docker(1).

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::harness::{Master, SOON, Setup, eventually, fixture, free_dir, make_program, skip};

/// The image under test, where there is one and an engine that runs it; otherwise the calling test is skipped.
#[track_caller]
pub fn image_under_test() -> Option<String> {
    static ANSWER: OnceLock<Result<String, String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| {
        let image = std::env::var("SOCKETMASTER_IMAGE").map_err(|_| "SOCKETMASTER_IMAGE names no image: `make test-docker` does")?;
        if !cfg!(target_env = "musl") {
            return Err("only static programs run in an empty image, and these are not".into());
        }
        match Command::new("docker").args(["image", "inspect", &image]).output() {
            Ok(output) if output.status.success() => Ok(image),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("there is no docker: {error}")),
        }
    });
    answer.clone().map_err(|why| skip(&why)).ok()
}

/// Runs docker(1) and returns its standard output; that it succeeds is part of the test.
#[track_caller]
pub fn docker(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let mut command = Command::new("docker");
    command.args(words);
    let Output { status, stdout, stderr } = command.output().expect("docker");
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

/// Names are the machine's, and so are those of another run beside this one.
pub fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("socketmaster-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An image of a test's own; it goes away with this.
pub struct Image {
    tag: String,
}

impl Image {
    /// From a Dockerfile and the programs beside it.
    #[track_caller]
    pub fn build(dockerfile: &str, programs: &[(&str, &Path)]) -> Image {
        let context = free_dir();
        fs::write(context.join("Dockerfile"), dockerfile).expect("a file in a directory of our own");
        for (name, program) in programs {
            make_program(&context.join(name), fs::read(program).expect("it is built"));
        }
        let image = Image { tag: new_name() };
        // A cached step would be another test's, and go away with its image.
        let options = ["build", "--quiet", "--no-cache", "--tag", &image.tag].map(OsStr::new);
        docker(options.into_iter().chain([context.as_os_str()]));
        image
    }

    /// From a directory that is to be its root.
    #[track_caller]
    pub fn import(root: &Path) -> Image {
        let image = Image { tag: new_name() };
        let archive = free_dir();
        let archive = archive.join("root.tar");
        let tar = Command::new("tar").arg("--create").arg("--file").arg(&archive).arg("--directory").arg(root).arg(".").status();
        assert!(tar.expect("tar").success());
        docker([OsStr::new("import"), archive.as_os_str(), image.tag.as_ref()]);
        image
    }

    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.tag]).output();
    }
}

/// socketmaster from the image under test with `/worker`, `/hello`, `/client` and a shell: `/busybox`. Made once for all
/// tests that run at the time.
#[track_caller]
pub fn programs() -> Option<Arc<Image>> {
    static SHARED: Mutex<Weak<Image>> = Mutex::new(Weak::new());
    let under_test = image_under_test()?;
    let Some(busybox) = busybox() else {
        skip("there is no static busybox");
        return None;
    };
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let image = shared.upgrade().unwrap_or_else(|| {
        let dockerfile = format!(
            "FROM scratch\nCOPY --from={under_test} /socketmaster /socketmaster\nCOPY worker hello client busybox /\n\
             ENTRYPOINT [\"/socketmaster\"]\n"
        );
        let [worker, hello, client] = ["worker", "hello", "client"].map(fixture);
        Arc::new(Image::build(&dockerfile, &[("worker", &worker), ("hello", &hello), ("client", &client), ("busybox", busybox)]))
    });
    *shared = Arc::downgrade(&image);
    Some(image)
}

pub fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Debian's busybox-static.
pub fn busybox() -> Option<&'static Path> {
    ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.exists())
}

impl Image {
    /// Runs a container with these options of `docker run`, words separated by blanks, and these arguments to the image's
    /// entry point. It has no network unless the options say so.
    #[track_caller]
    pub fn run(self: &Arc<Self>, options: &str, arguments: &str) -> Container {
        self.start(Setup::new(), options, &words(arguments))
    }

    /// Has PID 1 begin as a shell with this script, whose `exec "$@"` makes it socketmaster with these arguments.
    #[track_caller]
    pub fn run_after(self: &Arc<Self>, script: &str, options: &str, arguments: &str) -> Container {
        let shell = ["sh", "-c", script, "sh", "/socketmaster"];
        self.start(Setup::new(), &format!("{options} --entrypoint=/busybox"), &[&shell[..], &words(arguments)].concat())
    }

    /// The setup is that of docker(1) itself, which stays attached to the container: with a terminal, say.
    #[track_caller]
    pub fn start(self: &Arc<Self>, attached: Setup, options: &str, arguments: &[&str]) -> Container {
        let name = new_name();
        let mut create = vec!["create", "--name", &name];
        create.extend((!["--publish", "--network"].iter().any(|option| options.contains(option))).then_some("--network=none"));
        create.extend(words(options));
        create.push(self.tag());
        create.extend(arguments);
        docker(create);
        let start = ["docker", "start", "--attach"].into_iter().chain(options.contains("--interactive").then_some("--interactive"));
        // The variable keeps the harness from adding a listener to docker's command line.
        let attached = attached.through(start).binary(&name).env("SOCKETMASTER_LISTEN", "").spawn();
        Container { name, attached, _image: self.clone() }
    }
}

/// A container; it goes away with this, whatever its state. What it says is read through [`Master`], whose end and status
/// are the container's.
pub struct Container {
    name: String,
    attached: Master,
    _image: Arc<Image>,
}

impl Container {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// PID 1 of the container, as seen from here.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        eventually("a running container", SOON, || self.inspect("{{.State.Pid}}").parse().ok().filter(|pid| *pid > 0))
    }

    /// `docker kill -s`: sends a signal, by name or number, to PID 1.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        docker(["kill", "--signal", signal, &self.name]);
    }

    /// `docker stop`, with so many seconds before KILL; the status it ended with.
    #[track_caller]
    pub fn stop(&mut self, seconds: u32) -> ExitStatus {
        docker(["stop", "-t", &seconds.to_string(), &self.name]);
        self.attached.wait_exit(SOON)
    }

    /// With a template as `docker inspect --format` takes it.
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        docker(["inspect", "--format", template, &self.name])
    }

    /// Runs a program in it to its end.
    #[track_caller]
    pub fn exec(&self, words: &str) -> Output {
        Command::new("docker").args(["exec", &self.name]).args(words.split_whitespace()).output().expect("docker")
    }

    /// Puts it under load from inside, and returns when the first answers have come.
    #[track_caller]
    pub fn load(&self, uri: &str) -> LoadInside {
        LoadInside::begin(&self.name, uri)
    }
}

impl Deref for Container {
    type Target = Master;
    fn deref(&self) -> &Master {
        &self.attached
    }
}

impl DerefMut for Container {
    fn deref_mut(&mut self) -> &mut Master {
        &mut self.attached
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// A client in a container: see `tests/fixture/client.rs`.
pub struct LoadInside {
    client: Child,
    /// It asks until this is closed.
    stop: Option<ChildStdin>,
}

impl LoadInside {
    /// Asks the server at `uri` by the container's `/client`, and returns when the first answers have come.
    #[track_caller]
    pub fn begin(container: &str, uri: &str) -> LoadInside {
        let mut command = Command::new("docker");
        command.args(["exec", "--interactive", container, "/client", uri]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = command.spawn().expect("docker");
        let stop = client.stdin.take();
        let mut load = LoadInside { client, stop };
        load.wait_until_under_way();
        load
    }

    /// Ends it; that no request has failed is part of the test. How many different answers there were.
    #[track_caller]
    pub fn assert_no_failure(self) -> usize {
        let (well, report) = self.finish();
        println!("from inside: {report}");
        assert!(well, "{report}");
        report.split(' ').next().and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Ends it: whether all went well, and its report.
    pub fn finish(mut self) -> (bool, String) {
        drop(self.stop.take());
        let mut report = String::new();
        self.stdout().read_to_string(&mut report).expect("it is text");
        (self.client.wait().expect("it is our child").success(), report.trim_end().to_owned())
    }

    fn stdout(&mut self) -> &mut ChildStdout {
        self.client.stdout.as_mut().expect("it is a pipe")
    }

    fn wait_until_under_way(&mut self) {
        let mut said = Vec::new();
        while !said.ends_with(b"\n") {
            let mut byte = [0];
            self.stdout().read_exact(&mut byte).expect("docker exec runs the client");
            said.extend(byte);
        }
        assert_eq!(said, b"under way\n");
    }
}
