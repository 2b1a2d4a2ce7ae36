//! Looks up a program as execvp(3) does, and finds out without executing it why it could not be executed.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::config;
use crate::error::Error;
use crate::sys::{errno, fd as descriptors, rlimit};
use crate::types::one_line::OneLine;

/// The exit statuses of a shell for a program that does not exist, and for one that cannot be executed.
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

/// Where relative paths begin: `directory`, itself relative to `base`. Without a base that is the current directory.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub base: Option<BorrowedFd<'a>>,
    pub directory: Option<&'a Path>,
}

impl Place<'_> {
    fn path_of(&self, candidate: &OsStr) -> PathBuf {
        self.directory.map_or_else(|| PathBuf::from(candidate), |directory| directory.join(candidate))
    }

    /// The type and the mode of this file, or the errno.
    fn look(&self, candidate: &OsStr) -> Result<FileKind, i32> {
        let mode = descriptors::mode_at(self.base, &self.path_of(candidate));
        mode.map(FileKind::of).map_err(|error| error.raw_os_error().unwrap_or(errno::ENOENT))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileKind {
    Executable,
    Plain,
    Directory,
    Other,
}

impl FileKind {
    fn of(mode: u32) -> FileKind {
        const TYPE: u32 = 0o170_000;
        const DIRECTORY: u32 = 0o040_000;
        const PLAIN: u32 = 0o100_000;
        match mode & TYPE {
            DIRECTORY => FileKind::Directory,
            PLAIN if mode & 0o111 != 0 => FileKind::Executable,
            PLAIN => FileKind::Plain,
            _ => FileKind::Other,
        }
    }
}

/// Fails if a start would fail because the program does not exist, is a directory, or is not executable. For use before
/// anything is opened.
pub fn check(command: &OsStr, path: Option<&OsStr>, place: Place) -> Result<(), Error> {
    let mut verdict = errno::ENOENT;
    for candidate in candidates(command, path) {
        match place.look(&candidate) {
            Ok(FileKind::Executable) => return Ok(()),
            Ok(_) => verdict = errno::EACCES,
            // The worker may run as another user, who has access to what the master cannot see. The start itself finds out.
            Err(errno::EACCES) => return Ok(()),
            Err(_) => {}
        }
    }
    Err(Error::Program {
        status: status(verdict),
        program: OneLine::from(command).to_string(),
        cause: cause(verdict, command, path, place),
    })
}

/// The exit status for a failed execve(2).
pub fn status(errno: i32) -> u8 {
    match errno {
        errno::ENOENT | errno::ENOTDIR => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Why an execve(2) of this command failed, with the cure where it can be seen.
pub fn cause(errno: i32, command: &OsStr, path: Option<&OsStr>, place: Place) -> String {
    if let Some(shortage) = rlimit::process_shortage(errno) {
        return shortage;
    }
    let description = errno::description(errno);
    // Look only where it makes a difference: the program may be on a file system that does not answer.
    let found = match errno {
        errno::ENOENT | errno::EACCES => {
            candidates(command, path).into_iter().find_map(|candidate| Some((place.look(&candidate).ok()?, place.path_of(&candidate))))
        }
        _ => None,
    };
    let shown = |path: &Path| OneLine::from(path);
    let hint = match (errno, found) {
        (errno::ENOENT, None) if config::is_misplaced_option(command) => config::OPTIONS_COME_FIRST.to_owned(),
        (errno::ENOENT, None) if command.as_bytes().contains(&b' ') => {
            "the name contains a blank; write arguments after --, or in SOCKETMASTER_ARGS".to_owned()
        }
        (errno::ENOENT, Some(_)) => "the file exists, but its interpreter does not".to_owned(),
        (errno::ENOENT, None) if !command.as_bytes().contains(&b'/') => format!("no directory in PATH contains it{}", cure(command, place)),
        (errno::EACCES, Some((FileKind::Directory, path))) => format!("{} is a directory", shown(&path)),
        (errno::EACCES, Some((FileKind::Executable | FileKind::Plain, path))) => {
            format!("{} is not executable: check its mode and the options of its mount", shown(&path))
        }
        (errno::ENOEXEC, _) => "the file is neither a program for this machine nor a script whose first line begins with #!".to_owned(),
        _ => return description.to_owned(),
    };
    format!("{description}; {hint}")
}

/// What the operator may have meant by a program that PATH does not have.
fn cure(command: &OsStr, place: Place) -> String {
    if let Some(option) = config::option_meant_by(command) {
        return format!("; did you mean {option}?");
    }
    let local = OsString::from_vec([b"./", command.as_bytes()].concat());
    match place.look(&local) {
        Ok(FileKind::Executable | FileKind::Plain) => format!("; did you mean {}?", OneLine::from(local.as_os_str())),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place { base: None, directory: None };

    #[test]
    fn a_command_with_a_slash_is_taken_as_it_is_and_any_other_is_looked_up() {
        assert_eq!(candidates(OsStr::new("./app"), Some(OsStr::new("/bin"))), ["./app"]);
        assert_eq!(candidates(OsStr::new("app"), Some(OsStr::new("/a:/b/"))), ["/a/app", "/b//app"]);
        assert_eq!(candidates(OsStr::new("app"), Some(OsStr::new(":/b"))), ["app", "/b/app"]);
        assert_eq!(candidates(OsStr::new("app"), None)[0], "/usr/local/bin/app");
    }

    #[test]
    fn a_program_that_visibly_cannot_run_is_refused_with_its_status() {
        let status =
            |command: &str| check(OsStr::new(command), Some(OsStr::new("/bin:/usr/bin")), HERE).map_err(|error| error.exit_status());
        assert_eq!(status("sh"), Ok(()));
        assert_eq!(status("/bin/sh"), Ok(()));
        assert_eq!(status("/"), Err(NOT_EXECUTABLE));
        assert_eq!(status("/etc/passwd"), Err(NOT_EXECUTABLE));
        assert_eq!(status("/nonexistent/app"), Err(NOT_FOUND));
        assert_eq!(status("no-such-program"), Err(NOT_FOUND));
    }
}
