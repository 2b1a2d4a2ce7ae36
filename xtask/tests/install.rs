//! `make install` and `make uninstall`, into a directory of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::basics::{free_dir, skip};

/// Where the directories are that nothing says otherwise about.
const USUAL: &[(&str, u32)] = &[
    ("usr/local/bin/socketmaster", 0o755),
    ("usr/local/lib/systemd/system/socketmaster@.service", 0o644),
    ("usr/local/share/bash-completion/completions/socketmaster", 0o644),
    ("usr/local/share/fish/vendor_completions.d/socketmaster.fish", 0o644),
    ("usr/local/share/man/man1/socketmaster.1", 0o644),
    ("usr/local/share/zsh/site-functions/_socketmaster", 0o644),
];

/// Regular files below a directory, relative to it, with their modes, in order.
fn files(root: &Path) -> Vec<(String, u32)> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let mut paths = Vec::new();
    collect(root, &mut paths);
    paths.sort();
    let described = paths.iter().map(|path| {
        let mode = fs::metadata(path).expect("it was just seen").permissions().mode() & 0o777;
        (path.strip_prefix(root).expect("below it").display().to_string(), mode)
    });
    described.collect()
}

/// make(1) in the repository, as from a shell of its own: this test may run below a make.
fn make(words: &[String]) -> Option<()> {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut command = Command::new("make");
    command.args(["-C", repository, "-s"]).args(words).env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    for name in ["PREFIX", "DESTDIR", "UNITDIR"] {
        command.env_remove(name);
    }
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "make {words:?}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        }
        Err(error) => {
            skip(&format!("no make: {error}"));
            None
        }
    }
}

#[test]
fn uninstall_removes_every_file_that_install_creates() {
    let dir = free_dir();
    let built = dir.join("built");
    fs::write(&built, "the binary").expect("a free directory");
    for (prefix, unit) in [(None, "/usr/local/lib/systemd/system"), (Some("/usr"), "/lib/systemd/system")] {
        let root = dir.join("root");
        fs::create_dir(&root).expect("a free directory");
        let mut words = vec![format!("BINARY={}", built.display()), format!("DESTDIR={}", root.display()), format!("UNITDIR={unit}")];
        words.extend(prefix.map(|prefix| format!("PREFIX={prefix}")));
        let with = |verb: &str| [vec![verb.to_owned()], words.clone()].concat();
        if make(&with("install")).is_none() {
            return;
        }
        let mut expected: Vec<(String, u32)> = USUAL
            .iter()
            .map(|(path, mode)| match prefix {
                None => ((*path).to_owned(), *mode),
                Some(_) => (path.replace("usr/local/lib/systemd", "lib/systemd").replace("usr/local", "usr"), *mode),
            })
            .collect();
        expected.sort();
        assert_eq!(files(&root), expected);
        let read = |path: &str| fs::read_to_string(root.join(path)).expect("it was just seen");
        let binary = prefix.unwrap_or("/usr/local").to_owned() + "/bin/socketmaster";
        assert_eq!(read(binary.trim_start_matches('/')), "the binary");
        let unit = read(&format!("{}/socketmaster@.service", unit.trim_start_matches('/')));
        assert!(
            unit.contains(&format!("\nExecStart={binary}\n")) && unit.contains(&format!("\nExecReload={binary} -s=reload\n")),
            "{unit}"
        );

        fs::write(root.join("usr/somebody-else's"), "stays").expect("the directory is there");
        make(&with("uninstall"));
        assert_eq!(files(&root), [("usr/somebody-else's".to_owned(), 0o644)]);
        fs::remove_dir_all(&root).expect("it is ours");
    }
}
