//! From `apt install` to `apt purge`.

use std::process::Output;

use crate::engine::docker;
use crate::harness::{SOON, eventually};
use crate::machine::{APP, Machine, Release, With, bare, own_architecture, package_for};

const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get install --yes /socketmaster.deb";

/// Words that bash offers behind `socketmaster -lis`, one a line. The function that completes unknown commands loads ours.
const COMPLETE: &str = r#"
. /usr/share/bash-completion/bash_completion
loader=$(complete -p -D | sed 's/.*-F \([^ ]*\).*/\1/')
"$loader" socketmaster
# Without one of ours it is that for whatever has none.
ours=$(complete -p socketmaster | sed -n 's/.*-F \([^ ]*\) .*/\1/p')
COMP_WORDS=(socketmaster -lis) COMP_CWORD=1 COMP_LINE='socketmaster -lis' COMP_POINT=17
"$ours" socketmaster -lis socketmaster
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn packages(machine: &Machine) -> String {
    machine.ok("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'")
}

#[test]
fn apt_installs_it_without_network_and_starts_nothing() {
    for release in Release::ALL {
        let Some(machine) = Machine::boot(release, With::Nothing) else { return };
        let offers = || machine.ok(COMPLETE).lines().any(|word| word.starts_with("-listen"));
        assert!(!machine.succeeds("man -w socketmaster") && !offers(), "the negative control");
        let before = packages(&machine);
        machine.ok(INSTALL);
        let after = packages(&machine);
        let new: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
        assert_eq!(new, ["socketmaster installed"]);

        assert_eq!(machine.ok("systemctl list-units --all --plain --no-legend 'socketmaster@*'"), "");
        assert!(!machine.succeeds("pgrep socketmaster"));
        assert!(!machine.succeeds("ls /etc/systemd/system/*.wants/socketmaster*"), "nothing is enabled either");
        assert!(machine.ok("systemctl cat socketmaster@.service").contains("ExecStart=/usr/bin/socketmaster"));
        assert_eq!(machine.ok("systemctl is-system-running"), "running");

        assert_eq!(machine.ok("man -w socketmaster"), "/usr/share/man/man1/socketmaster.1.gz");
        let page = machine.ok("MANPAGER=cat MANWIDTH=100 man socketmaster 2>&1");
        assert!(page.contains("NAME") && page.contains("-listen"), "{page}");
        assert_eq!(machine.ok("MANPAGER=cat man --warnings socketmaster 2>&1 >/dev/null"), "");
        assert!(offers());
        assert_eq!(machine.ok("dpkg --audit; dpkg --verify socketmaster"), "");

        // The five commands of README.Debian run as they stand; the editor has nothing to change.
        machine.ok("install -D --mode=755 /hello /srv/app/current/app");
        let page = machine.ok("cat /usr/share/doc/socketmaster/README.Debian");
        let (_, first) = page.split_once("    install ").expect("the first command");
        let (commands, _) = first.split_once("\n\n").expect("the last command");
        let commands = format!("install {commands}");
        assert_eq!(commands.lines().count(), 5, "{commands}");
        machine.ok(&format!("editor() {{ :; }}\nset -e\n{commands}"));
        assert!(machine.answers());
    }
}

#[test]
fn an_upgrade_leaves_instances_running() {
    for machine in Machine::each() {
        machine.start_app("");
        let before = (machine.main_pid("app"), machine.workers("app"));
        let load = machine.load();
        machine.ok("dpkg-deb --raw-extract /socketmaster.deb /tmp/newer && sed -i 's/^Version: .*/&+newer/' /tmp/newer/DEBIAN/control && \
             dpkg-deb --build /tmp/newer /tmp/newer.deb");
        // Another file, as a new version is.
        let said = machine.ok("apt-get install --yes /tmp/newer.deb");
        assert!(said.lines().any(|line| line == "    systemctl restart socketmaster@app"), "{said}");
        assert!(machine.ok("dpkg-query --show --showformat='${Version}' socketmaster").ends_with("+newer"));
        assert_eq!((machine.main_pid("app"), machine.workers("app")), before);
        assert!(machine.ok(&format!("readlink /proc/{}/exe", before.0)).contains("(deleted)"), "the file is another one now");
        machine.ok("systemctl reload socketmaster@app");
        load.assert_no_failure();
        assert_eq!(machine.main_pid("app"), before.0);
        assert_eq!(machine.show("app", "NeedDaemonReload"), "no");

        machine.ok("systemctl restart socketmaster@app");
        let said = machine.ok("apt-get install --yes --reinstall /tmp/newer.deb && systemctl restart socketmaster@app && \
             /var/lib/dpkg/info/socketmaster.postinst configure | sed 's/^/again: /'");
        assert!(!said.contains("again: "), "the negative control: {said}");
    }
}

#[test]
fn remove_stops_instances_and_keeps_their_files_and_purge_takes_them() {
    for machine in Machine::each() {
        machine.start_app("");
        machine.configure("sleeper", "SOCKETMASTER_LISTEN=none\nSOCKETMASTER_COMMAND=/worker\nSOCKETMASTER_ARGS=sleep\n");
        machine.ok("systemctl enable --now socketmaster@sleeper socketmaster@app");
        machine.write("/etc/systemd/system/multi-user.target.wants/socketmaster@own.service", "[Service]\nExecStart=/bin/true\n");
        let masters = ["app", "sleeper"].map(|instance| machine.main_pid(instance));
        assert!(masters.iter().all(|pid| *pid > 0));

        machine.ok("apt-get remove --yes socketmaster");
        for pid in masters {
            assert!(!machine.succeeds(&format!("kill -0 {pid}")), "{pid} is still there");
        }
        assert!(!machine.succeeds("pgrep socketmaster || pgrep app"), "no worker is left");
        assert_eq!(machine.ok("cat /etc/socketmaster/app.conf"), APP.trim_end());
        assert!(machine.succeeds("test -e /etc/socketmaster/README"));

        // Installed again all is as it was.
        machine.ok(INSTALL);
        machine.ok("systemctl start socketmaster@app");
        assert!(machine.answers());

        machine.ok("apt-get purge --yes socketmaster");
        assert!(!machine.succeeds("test -e /etc/socketmaster") && !machine.succeeds("pgrep socketmaster"));
        let enabled = machine.ok("cd /etc/systemd/system && find -L . -name 'socketmaster@*'; find . -name 'socketmaster@*' -type l");
        assert_eq!(enabled, "./multi-user.target.wants/socketmaster@own.service", "what is not ours stays");
        assert_eq!(machine.ok("systemctl is-system-running"), "running");
    }
}

/// In a chroot or while an image is made.
#[test]
fn without_systemd_it_installs_upgrades_and_goes_away() {
    let Some(package) = package_for(own_architecture()) else { return };
    for release in Release::ALL {
        let Some(image) = bare(release) else { return };
        let volume = format!("--volume={}:/socketmaster.deb:ro", package.display());
        let script = "set -e; dpkg --install /socketmaster.deb; dpkg --install /socketmaster.deb; socketmaster -version; \
                      /var/lib/dpkg/info/socketmaster.postinst configure; /var/lib/dpkg/info/socketmaster.prerm remove; \
                      touch /etc/socketmaster/app.conf; dpkg --remove socketmaster; test -e /etc/socketmaster/app.conf; \
                      /var/lib/dpkg/info/socketmaster.postrm purge; dpkg --purge socketmaster; test ! -e /etc/socketmaster; dpkg --audit";
        let said = docker(["run", "--rm", "--network=none", &volume, image, "sh", "-c", script]);
        assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    }
}

/// prerm itself, and no stop that systemd does anyway, ends them.
#[test]
fn a_removal_waits_for_requests_under_way() {
    for machine in Machine::each() {
        machine.start_app("");
        let request = machine.slow_request(1500);
        machine.ok("apt-get remove --yes socketmaster");
        let Output { stdout, .. } = request.wait_with_output().expect("docker");
        assert!(String::from_utf8_lossy(&stdout).contains(" 200 OK"));
        eventually("nobody listens", SOON, || !machine.answers());
    }
}
