//! `-pid-file`: the master's pid in a file, for as long as it serves.
//!
//! The file appears whole, by rename(2), and replaces what an earlier master has left. It is removed at the end only if it
//! still holds this pid: by then another master may have written its own.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sys::errno::reason;
use crate::sys::file;
use crate::types::one_line::OneLine;

/// The file is readable for all users, whatever the umask is.
const MODE: u32 = 0o644;

/// The file, until it is removed by the drop of this.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

/// Checks that the file can be written later: its directory must accept a new file, and only a regular file may be in its
/// place. Returns an absolute path, since the master leaves the directory that it was started in.
pub fn check(path: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(path).map_err(|error| cannot(path, &error))?;
    if fs::symlink_metadata(&absolute).is_ok_and(|found| found.is_dir()) {
        return Err(cannot(path, &io::ErrorKind::IsADirectory.into()));
    }
    let (temporary, _) = create_beside(&absolute).map_err(|error| cannot(path, &error))?;
    fs::remove_file(temporary).map_err(|error| cannot(path, &error))?;
    Ok(absolute)
}

impl PidFile {
    /// Writes this process's pid to the path that [`check`] has returned.
    pub fn write(path: &Path) -> Result<PidFile, Error> {
        let (temporary, mut file) = create_beside(path).map_err(|error| cannot(path, &error))?;
        let written = file
            .set_permissions(Permissions::from_mode(MODE))
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .and_then(|()| fs::rename(&temporary, path));
        match written {
            Ok(()) => Ok(PidFile { path: path.to_owned() }),
            Err(error) => {
                // If even the removal fails nothing more can be done. The error holds the cause.
                let _ = fs::remove_file(&temporary);
                Err(cannot(path, &error))
            }
        }
    }

    fn holds_own_pid(&self) -> io::Result<bool> {
        let file = file::open_to_read(&self.path)?;
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        let mut text = String::new();
        // No pid is as long, so there is no need to read the rest of another file.
        file.take(32).read_to_string(&mut text)?;
        Ok(text.trim_end().parse() == Ok(std::process::id()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.holds_own_pid().unwrap_or(false) {
            // The master is exiting. A file that cannot be removed is left with a pid that no longer exists.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> Error {
    Error::cannot("write the pid file", OneLine::from(path).to_string(), reason(error))
}

/// A new file in the same directory, which rename(2) can put in the other's place.
fn create_beside(path: &Path) -> io::Result<(PathBuf, fs::File)> {
    let Some(name) = path.file_name() else { return Err(io::ErrorKind::IsADirectory.into()) };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(temporary);
    match file::create_new(&temporary) {
        // A master of the same pid was killed in between: in a container each has pid 1.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&temporary)?;
            file::create_new(&temporary)
        }
        created => created,
    }
    .map(|file| (temporary, file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// A new directory; it goes away with this.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("socketmaster-pid-file-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> =
                fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn own_pid() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn it_holds_the_pid_for_everybody_to_read_and_goes_away_with_its_owner() {
        let directory = Directory::new("life");
        let path = check(&directory.0.join("pid")).unwrap();
        assert_eq!(directory.names(), [""; 0], "the look leaves nothing");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own_pid());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert_eq!(directory.names(), ["pid"]);
        drop(file);
        assert_eq!(directory.names(), [""; 0]);
    }

    #[test]
    fn a_file_with_another_pid_or_of_another_kind_stays() {
        let directory = Directory::new("other");
        let path = directory.0.join("pid");
        for text in ["1\n", "", "not a pid\n", &format!("{}{}", " ".repeat(100), own_pid())] {
            let file = PidFile::write(&path).unwrap();
            fs::write(&path, text).unwrap();
            drop(file);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let file = PidFile::write(&path).unwrap();
        fs::rename(&path, directory.0.join("real")).unwrap();
        symlink("real", &path).unwrap();
        drop(file);
        assert_eq!(directory.names(), ["pid", "real"], "a symlink is not followed, and not ours");
    }

    #[test]
    fn a_leftover_file_is_replaced_and_a_symlink_is_not_followed() {
        let directory = Directory::new("left");
        let path = directory.0.join("pid");
        fs::write(directory.0.join("precious"), "stays").unwrap();
        symlink("precious", &path).unwrap();
        fs::write(directory.0.join(format!(".pid.{}", std::process::id())), "left by a crash").unwrap();
        let file = PidFile::write(&check(&path).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), own_pid());
        assert_eq!(fs::read_to_string(directory.0.join("precious")).unwrap(), "stays");
        assert_eq!(directory.names(), ["pid", "precious"]);
        drop(file);
        assert_eq!(directory.names(), ["precious"]);
    }

    #[test]
    fn a_directory_that_takes_no_file_is_told() {
        let directory = Directory::new("missing");
        for (path, cause) in [
            (directory.0.join("no/pid"), "No such file or directory"),
            (directory.0.clone(), "is a directory"),
            (PathBuf::from("/proc/pid"), ""),
            (PathBuf::from("/"), "is a directory"),
        ] {
            let error = check(&path).unwrap_err();
            assert_eq!(error.exit_status(), 1);
            let text = error.to_string();
            assert!(text.starts_with(&format!("cannot write the pid file {}: {cause}", path.display())), "{text}");
        }
        let path = directory.0.join("pid");
        fs::create_dir(&path).unwrap();
        assert!(PidFile::write(&path).is_err());
        assert_eq!(directory.names(), ["pid"], "no temporary file is left");
    }
}
