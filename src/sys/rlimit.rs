//! getrlimit(2): what there is no more of, and how many there may be.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// Where the control group file system is mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Words the shortage that this error number means, with its limit. `None` if the error means no shortage.
pub fn shortage(errno: i32) -> Option<String> {
    match Errno::from_raw(errno) {
        Errno::EMFILE => Some(match soft_limit(Resource::RLIMIT_NOFILE) {
            Some(limit) => format!("no more descriptors: the limit is {limit} (RLIMIT_NOFILE)"),
            None => "no more descriptors".to_owned(),
        }),
        Errno::ENFILE => Some(match number_in(Path::new("/proc/sys/fs/file-max")) {
            Some(limit) => format!("no more descriptors: the limit of the system is {limit} (fs.file-max)"),
            None => "no more descriptors: the limit of the system is reached".to_owned(),
        }),
        Errno::ENOMEM | Errno::ENOBUFS => Some("no more memory".to_owned()),
        _ => None,
    }
}

/// [`shortage`] for a call that makes a process: there EAGAIN means that there are too many.
pub fn process_shortage(errno: i32) -> Option<String> {
    if Errno::from_raw(errno) != Errno::EAGAIN {
        return shortage(errno);
    }
    let limit = match (full_control_group(), soft_limit(Resource::RLIMIT_NPROC)) {
        (Some(limit), _) => format!("the limit of the control group is {limit} (pids.max)"),
        (None, Some(limit)) => format!("the limit is {limit} (RLIMIT_NPROC)"),
        (None, None) => "the limit of the control group or of the system is reached".to_owned(),
    };
    Some(format!("no more processes: {limit}"))
}

/// `None` where there is no limit.
fn soft_limit(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    #[allow(clippy::useless_conversion, reason = "the width of the number depends on the libc")]
    (soft != RLIM_INFINITY).then(|| u64::from(soft))
}

/// The limit of the control group that this process is in, or of one above it, if it is used up.
fn full_control_group() -> Option<u64> {
    full_group_of(&fs::read_to_string("/proc/self/cgroup").ok()?, Path::new(CONTROL_GROUPS))
}

/// `groups` is the text of /proc/self/cgroup.
fn full_group_of(groups: &str, mount: &Path) -> Option<u64> {
    // The line of version 2.
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = mount.join(path);
    group.ancestors().take_while(|above| above.starts_with(mount)).find_map(|group| {
        let limit = number_in(&group.join("pids.max"))?;
        (number_in(&group.join("pids.current"))? >= limit).then_some(limit)
    })
}

fn number_in(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_full_control_group_is_found_in_it_or_above_it() {
        let mount = std::env::temp_dir().join(format!("socketmaster-cgroup-{}", std::process::id()));
        let make = |group: &str, limit: &str, current: &str| {
            let group = mount.join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join("pids.max"), format!("{limit}\n")).unwrap();
            fs::write(group.join("pids.current"), format!("{current}\n")).unwrap();
        };
        make("full", "64", "64");
        make("full/below", "max", "3");
        make("roomy", "64", "63");
        let found = |text: &str| full_group_of(text, &mount);
        let results = [
            ("0::/full\n", Some(64)),
            ("0::/full/below\n", Some(64)),
            ("0::/roomy\n", None),
            ("0::/nosuch\n", None),
            ("0::/../full\n", None),
            ("3:memory:/roomy\n0::/full\n", Some(64)),
            ("3:memory:/full\n", None),
            ("", None),
        ]
        .map(|(text, limit)| (text, found(text), limit));
        fs::remove_dir_all(&mount).unwrap();
        for (text, found, limit) in results {
            assert_eq!(found, limit, "{text:?}");
        }
    }

    #[test]
    fn a_shortage_names_its_limit_and_no_other_error_is_one() {
        let descriptors = shortage(Errno::EMFILE as i32).unwrap_or_default();
        assert!(descriptors.starts_with("no more descriptors"), "{descriptors}");
        assert_eq!(shortage(Errno::ENOMEM as i32).as_deref(), Some("no more memory"));
        assert!(process_shortage(Errno::EAGAIN as i32).unwrap_or_default().starts_with("no more processes: the limit"));
        for errno in [Errno::ENOENT, Errno::EPERM] {
            assert_eq!(shortage(errno as i32), None);
            assert_eq!(process_shortage(errno as i32), None);
        }
        // Of any other call EAGAIN only means "not now".
        assert_eq!(shortage(Errno::EAGAIN as i32), None);
    }
}
