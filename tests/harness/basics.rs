//! Helpers for tests of every package: reported skips, temporary directories, programs.

use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, thread};

/// Says that the running test is skipped and why, uncaptured. Where nothing may be skipped it fails instead.
#[track_caller]
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("?").to_owned();
    let allowed = env::var_os("CI").is_none() && env::var_os("SOCKETMASTER_NO_SKIP").is_none();
    assert!(allowed, "{test} may not be skipped here, but {reason}");
    let _ = writeln!(io::stderr(), "SKIPPED: {test}: {reason}");
}

/// A new empty directory; it goes away with this.
pub fn free_dir() -> FreeDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!("socketmaster-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        match fs::create_dir(&path) {
            Ok(()) => return FreeDir(path),
            // Left over from an earlier process of this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("cannot make {}: {error}", path.display()),
        }
    }
}

pub struct FreeDir(PathBuf);

impl Deref for FreeDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FreeDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for FreeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes a program of these bytes, at once and whole. Another process writes it: were it open for writing in this one, a
/// child that a test beside forks just then would hold it open too, and execve(2) would answer ETXTBSY.
#[track_caller]
pub fn make_program(path: &Path, contents: impl AsRef<[u8]>) {
    let script = r#"cat > "$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1""#;
    let mut writer = Command::new("sh").args(["-c", script, "sh"]).arg(path).stdin(Stdio::piped()).spawn().expect("a shell");
    writer.stdin.take().expect("a pipe").write_all(contents.as_ref()).expect("the shell reads");
    assert!(writer.wait().expect("it is our child").success(), "cannot write {}", path.display());
}
