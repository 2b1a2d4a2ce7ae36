//! The packages themselves, of all architectures: what is in them, and lintian's opinion.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::engine::docker;
use crate::harness::{FreeDir, free_dir};
use crate::machine::{package_for, packages, source};

/// Debian's name, the target in the name of the binary in dist/, and e_machine of elf(5).
const ARCHITECTURES: [(&str, &str, u16); 3] = [
    ("amd64", "x86_64-unknown-linux-musl", 62),
    ("arm64", "aarch64-unknown-linux-musl", 183),
    ("armhf", "arm-unknown-linux-musleabihf", 40),
];

/// Beside the pages below `docs/`, which come as they are in the source.
const FILES: [&str; 20] = [
    "/etc/socketmaster/README",
    "/usr/bin/socketmaster",
    "/usr/lib/systemd/system/socketmaster@.service",
    "/usr/share/bash-completion/completions/socketmaster",
    "/usr/share/doc/socketmaster/CHANGELOG.md",
    "/usr/share/doc/socketmaster/README.Debian",
    "/usr/share/doc/socketmaster/README.md",
    "/usr/share/doc/socketmaster/SECURITY.md",
    "/usr/share/doc/socketmaster/changelog.gz",
    "/usr/share/doc/socketmaster/copyright",
    "/usr/share/doc/socketmaster/examples/example.conf",
    "/usr/share/doc/socketmaster/examples/notify-reload.conf",
    "/usr/share/doc/socketmaster/examples/socket-activation/socketmaster@app.service.d/sockets.conf",
    "/usr/share/doc/socketmaster/examples/socket-activation/socketmaster@app.socket",
    "/usr/share/doc/socketmaster/examples/strict.conf",
    "/usr/share/fish/vendor_completions.d/socketmaster.fish",
    "/usr/share/lintian/overrides/socketmaster",
    "/usr/share/man/man1/socketmaster.1.gz",
    "/usr/share/zsh/vendor-completions/_socketmaster",
    // Written by dpkg-deb's caller and not installed as a file.
    "/DEBIAN/md5sums",
];

fn succeed(program: &str, words: &[&OsStr]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(words).output().expect(program);
    assert!(status.success(), "{program} {words:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

/// The files of a package, and those of control below `DEBIAN`.
fn unpacked(package: &Path) -> FreeDir {
    let tree = free_dir();
    succeed("dpkg-deb", &["--raw-extract".as_ref(), package.as_ref(), tree.as_os_str()]);
    tree
}

fn files_below(root: &Path) -> BTreeSet<String> {
    let list = succeed("find", &[root.as_os_str(), "-type".as_ref(), "f".as_ref(), "-printf".as_ref(), "/%P\\n".as_ref()]);
    list.lines().map(str::to_owned).collect()
}

/// Where the pages of the documentation are installed.
fn pages() -> impl Iterator<Item = String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let pages = files_below(&docs).into_iter().filter(|name| name.ends_with(".md"));
    pages.map(|name| format!("/usr/share/doc/socketmaster/docs{name}"))
}

#[test]
fn each_holds_all_that_is_promised_and_depends_on_nothing() {
    for (architecture, target, machine) in ARCHITECTURES {
        let Some(package) = package_for(architecture) else { return };
        let tree = unpacked(&package);
        let files = files_below(&tree);
        for wanted in FILES {
            assert!(files.contains(wanted), "{architecture}: no {wanted} in {files:#?}");
        }
        let scripts = ["/DEBIAN/control", "/DEBIAN/conffiles", "/DEBIAN/postinst", "/DEBIAN/prerm", "/DEBIAN/postrm"];
        let known: BTreeSet<String> = FILES.into_iter().chain(scripts).map(str::to_owned).chain(pages()).collect();
        assert_eq!(files, known, "{architecture}");

        let field = |name: &str| succeed("dpkg-deb", &["--field".as_ref(), package.as_ref(), name.as_ref()]);
        assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(field("Architecture"), architecture);
        assert_eq!([field("Multi-Arch"), field("Section"), field("Priority")], ["foreign", "admin", "optional"]);
        // There is no public address yet, and that of the Go original is not this project's.
        for name in ["Homepage", "Depends", "Pre-Depends", "Recommends", "Suggests"] {
            assert_eq!(field(name), "", "{architecture}: {name}");
        }
        assert!(!fs::read_to_string(tree.join("DEBIAN/control")).expect("it is there").contains("Depends"));
        assert_eq!(fs::read_to_string(tree.join("DEBIAN/conffiles")).expect("it is there"), "/etc/socketmaster/README\n");

        let binary = fs::read(tree.join("usr/bin/socketmaster")).expect("it is there");
        assert_eq!(u16::from_le_bytes([binary[18], binary[19]]), machine, "{architecture}");
        let released = packages().expect("they were there").join(format!("socketmaster-{}-{target}", env!("CARGO_PKG_VERSION")));
        assert!(binary == fs::read(&released).expect("dist has it"), "{architecture} is not the one of {}", released.display());

        for (packed, page) in [("man/man1/socketmaster.1.gz", "docs/socketmaster.1"), ("doc/socketmaster/changelog.gz", "debian/changelog")]
        {
            let path = tree.join("usr/share").join(packed);
            let header = fs::read(&path).expect("it is there");
            // Best compression, no name, no time, as `gzip -9n` writes it: flags, time, and what speaks of the effort.
            assert_eq!(header[3..9], [0, 0, 0, 0, 0, 2], "{packed}");
            assert_eq!(succeed("zcat", &[path.as_os_str()]), source(page).trim_end(), "{packed}");
        }
    }
}

fn lintian(package: &Path) -> Output {
    let words = ["--allow-root", "--fail-on=error,warning", "--no-cfg"];
    Command::new("lintian").args(words).arg(package).output().expect("lintian")
}

#[test]
fn lintian_finds_no_error_and_gives_no_warning() {
    for (architecture, ..) in ARCHITECTURES {
        let Some(package) = package_for(architecture) else { return };
        let Output { status, stdout, .. } = lintian(&package);
        assert!(status.success() && stdout.is_empty(), "{architecture}: {status}\n{}", String::from_utf8_lossy(&stdout));

        // The negative control, and a proof that each override is needed.
        let tree = unpacked(&package);
        fs::remove_file(tree.join("usr/share/lintian/overrides/socketmaster")).expect("it is there");
        let changed = free_dir();
        let without = changed.join("without-overrides.deb");
        succeed("dpkg-deb", &["--build".as_ref(), "--root-owner-group".as_ref(), tree.as_os_str(), without.as_os_str()]);
        let said = String::from_utf8_lossy(&lintian(&without).stdout).into_owned();
        let overridden = source("debian/lintian-overrides");
        for line in overridden.lines().filter(|line| !line.starts_with('#')) {
            assert!(said.contains(line), "{architecture}: {line} is not in {said}");
        }
    }
}

#[test]
fn packed_again_it_has_the_same_bytes() {
    let Some(dist) = packages() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/deb");
    let pack = |variables: &[(&str, &str)]| {
        let output = free_dir();
        let words = [ARCHITECTURES[0].1, ARCHITECTURES[1].1];
        let mut command = Command::new(script);
        let Output { status, stderr, .. } =
            command.args(words).env("OUTPUT", &*output).envs(variables.iter().copied()).output().expect("bash");
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let name = package_for("amd64").expect("it was there").file_name().expect("a name").to_owned();
        fs::read(output.join(name)).expect("it was made")
    };
    let name = format!("socketmaster_{}_amd64.deb", env!("CARGO_PKG_VERSION"));
    assert!(fs::read(dist.join(name)).expect("it is there") == pack(&[]));
    assert!(pack(&[("SOURCE_DATE_EPOCH", "1")]) != pack(&[]), "the negative control: another time makes other bytes");
}

/// dpkg's part: without a processor of that kind nothing runs. `make test-arm` runs the binaries.
#[test]
fn those_for_arm_install_beside_another_architecture() {
    for (architecture, ..) in ARCHITECTURES {
        if architecture == crate::machine::own_architecture() {
            continue;
        }
        let Some(package) = package_for(architecture) else { return };
        let Some(installed) = crate::machine::bare(crate::machine::Release::Bookworm) else { return };
        let volume = format!("--volume={}:/package.deb:ro", package.display());
        let script = format!(
            "set -e; dpkg --add-architecture {architecture}; dpkg --install /package.deb; dpkg --audit; dpkg --verify socketmaster; \
             dpkg-query --show --showformat='${{Architecture}} ${{db:Status-Status}}\\n' socketmaster; dpkg --purge socketmaster; test ! -e /etc/socketmaster"
        );
        let said = docker(["run", "--rm", "--network=none", &volume, installed, "sh", "-c", &script]);
        assert!(said.contains(&format!("{architecture} installed")), "{said}");
    }
}
