//! Where a program is found, as execvp(3) looks for it, and what can be known of it without executing it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::Error;

/// What a shell reports for a program that is not there, and for one that cannot be executed.
pub const NOT_FOUND: u8 = 127;
pub const NOT_EXECUTABLE: u8 = 126;

/// Where execvp(3) of this libc looks when there is no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/bin:/usr/bin";

/// The paths to try in turn: the command itself if it names a directory, else every entry of PATH.
pub fn candidates(command: &OsStr, path: Option<&OsStr>) -> Vec<OsString> {
    if command.as_bytes().contains(&b'/') {
        return vec![command.to_owned()];
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes();
    path.split(|byte| *byte == b':')
        .map(|directory| match directory {
            // An empty entry is the current directory, POSIX.
            b"" => command.to_owned(),
            _ => OsString::from_vec([directory, b"/", command.as_bytes()].concat()),
        })
        .collect()
}

/// Whether a start would fail for a reason that can be seen from outside: nothing there, a directory, not executable.
/// To be asked before anything is opened. `directory` is where relative paths begin.
pub fn check(command: &OsStr, path: Option<&OsStr>, directory: Option<&Path>) -> Result<(), Error> {
    let mut verdict = Errno::ENOENT;
    for candidate in candidates(command, path) {
        match fs::metadata(directory.map_or_else(|| PathBuf::from(&candidate), |directory| directory.join(&candidate))) {
            Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => return Ok(()),
            Ok(_) => verdict = Errno::EACCES,
            // Out of our sight is not out of the worker's: it may be another user. The start itself will tell.
            Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => return Ok(()),
            Err(_) => {}
        }
    }
    Err(Error::Program { status: status(verdict), program: command.display().to_string(), cause: cause(verdict, command, path, directory) })
}

/// The exit status for a failed execve(2).
pub fn status(errno: Errno) -> u8 {
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Why an execve(2) of this command failed, with the cure where it can be seen.
pub fn cause(errno: Errno, command: &OsStr, path: Option<&OsStr>, directory: Option<&Path>) -> String {
    let found = || {
        let all = candidates(command, path).into_iter();
        all.map(|candidate| directory.map_or_else(|| PathBuf::from(&candidate), |directory| directory.join(&candidate)))
            .find(|path| path.exists())
    };
    let hint = match (errno, found()) {
        (Errno::ENOENT, Some(_)) => "it is there, but the interpreter named in its first line, or its loader, is not".to_owned(),
        (Errno::ENOENT, None) if command.as_bytes().contains(&b'/') => "there is no such file".to_owned(),
        (Errno::ENOENT, None) => "it is in no directory of PATH".to_owned(),
        (Errno::EACCES, Some(path)) if path.is_dir() => format!("{} is a directory", path.display()),
        (Errno::EACCES, Some(path)) if path.is_file() => format!("{} may not be executed: see its mode and its mount", path.display()),
        (Errno::ENOEXEC, _) => "it is no program for this machine, nor a script whose first line begins with #!".to_owned(),
        _ => return errno.desc().to_owned(),
    };
    format!("{}; {hint}", errno.desc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_a_slash_is_taken_as_it_is_and_any_other_is_looked_up() {
        assert_eq!(candidates(OsStr::new("./app"), Some(OsStr::new("/bin"))), ["./app"]);
        assert_eq!(candidates(OsStr::new("app"), Some(OsStr::new("/a:/b/"))), ["/a/app", "/b//app"]);
        assert_eq!(candidates(OsStr::new("app"), Some(OsStr::new(":/b"))), ["app", "/b/app"]);
        assert_eq!(candidates(OsStr::new("app"), None)[0], "/usr/local/bin/app");
    }

    #[test]
    fn what_can_be_seen_to_fail_is_refused_with_its_status() {
        let status =
            |command: &str| check(OsStr::new(command), Some(OsStr::new("/bin:/usr/bin")), None).map_err(|error| error.exit_status());
        assert_eq!(status("sh"), Ok(()));
        assert_eq!(status("/bin/sh"), Ok(()));
        assert_eq!(status("/"), Err(NOT_EXECUTABLE));
        assert_eq!(status("/etc/passwd"), Err(NOT_EXECUTABLE));
        assert_eq!(status("/nonexistent/app"), Err(NOT_FOUND));
        assert_eq!(status("no-such-program"), Err(NOT_FOUND));
    }
}
