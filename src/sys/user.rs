//! passwd(5), group(5), credentials(7): looks up users and groups, and compares them with the ids of this process.
//!
//! The files are read here and not by the libc alone: musl takes an empty number for 0, which is root's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::{fs, io};

use nix::unistd::{geteuid, getgroups, getresgid, getresuid};
use users::os::unix::UserExt;

use super::errno;
use crate::error::Error;
use crate::types::account::NameOrId;
use crate::types::one_line::OneLine;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// setgroups(2) takes no more, NGROUPS_MAX.
const MOST_GROUPS: usize = 65_536;

/// The entry of a user in the passwd file, or from the libc's directory service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub name: OsString,
    pub uid: u32,
    pub gid: u32,
    pub home: OsString,
    pub shell: OsString,
    /// Whether the entry comes from the directory service and not from the file.
    elsewhere: bool,
}

/// The user of this name or number. `None` where a number has no entry. Fails where a name has none, and where the entry has
/// no sound uid and gid.
pub fn user(wanted: &NameOrId) -> Result<Option<User>, Error> {
    let text = match (fs::read(PASSWD), wanted) {
        (Ok(text), _) => text,
        (Err(error), NameOrId::Name(_)) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(PASSWD, &error)),
        (Err(_), _) => Vec::new(),
    };
    if let Some(user) = user_in(&text, wanted)? {
        return Ok(Some(user));
    }
    // A directory service that the libc can ask: nscd's with musl. It reads the file as well, so a name that is in the file
    // is not taken from there.
    let elsewhere = match wanted {
        NameOrId::Name(name) if is_compat(name.as_bytes()) => None,
        NameOrId::Name(name) => users::get_user_by_name(name),
        NameOrId::Id(uid) => users::get_user_by_uid(*uid),
    };
    let elsewhere = elsewhere.filter(|user| !lines(&text).any(|line| line.name() == user.name().as_bytes()));
    match (elsewhere, wanted) {
        (Some(user), _) => Ok(Some(User {
            name: user.name().to_owned(),
            uid: user.uid(),
            gid: user.primary_group_id(),
            home: user.home_dir().into(),
            shell: user.shell().into(),
            elsewhere: true,
        })),
        (None, NameOrId::Name(name)) => Err(unknown("user", name)),
        (None, NameOrId::Id(_)) => Ok(None),
    }
}

/// The uid of a login or a number.
pub fn user_id(wanted: &NameOrId) -> Result<u32, Error> {
    match wanted {
        NameOrId::Id(uid) => Ok(*uid),
        NameOrId::Name(name) => user(wanted)?.map(|user| user.uid).ok_or_else(|| unknown("user", name)),
    }
}

/// The gid of a group's name or a number.
pub fn group_id(wanted: &NameOrId) -> Result<u32, Error> {
    let name = match wanted {
        NameOrId::Id(gid) => return Ok(*gid),
        NameOrId::Name(name) => name,
    };
    match group_in(&group_file()?, name)? {
        Some(gid) => Ok(gid),
        None if is_compat(name.as_bytes()) => Err(unknown("group", name)),
        None => users::get_group_by_name(name).map(|group| group.gid()).ok_or_else(|| unknown("group", name)),
    }
}

/// The groups of a user whose group is `gid`, that one among them.
pub fn groups_of(user: &User, gid: u32) -> Result<Vec<u32>, Error> {
    let mut groups = memberships_in(&group_file()?, &user.name)?;
    if user.elsewhere {
        groups.extend(users::get_user_groups(&user.name, gid).unwrap_or_default().iter().map(users::Group::gid));
    }
    let groups = sorted_with(groups, gid);
    if groups.len() > MOST_GROUPS {
        return Err(Error::cannot(
            "use",
            format!("user '{}'", OneLine::from(user.name.as_os_str())),
            format!("{} groups are too many: the limit is {MOST_GROUPS}", groups.len()),
        ));
    }
    Ok(groups)
}

fn sorted_with(mut groups: Vec<u32>, gid: u32) -> Vec<u32> {
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// The arguments of setgroups(2), setresgid(2) and setresuid(2). `None` where nothing changes; that call then needs no
/// privilege.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IdentityChange {
    pub groups: Option<Vec<u32>>,
    pub gid: Option<u32>,
    pub uid: Option<u32>,
}

impl IdentityChange {
    pub fn is_nothing(&self) -> bool {
        *self == IdentityChange::default()
    }
}

/// The effective uid of this process: its files and its connections are that user's.
pub fn own_uid() -> u32 {
    geteuid().as_raw()
}

/// The ids and groups of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnCredentials {
    /// Real, effective and saved.
    uids: [u32; 3],
    gids: [u32; 3],
    /// `None` where they cannot be known, and so may be any.
    groups: Option<Vec<u32>>,
    /// The user namespace does not let anybody change groups, user_namespaces(7).
    groups_are_fixed: bool,
}

impl OwnCredentials {
    pub fn current() -> OwnCredentials {
        let euid = own_uid();
        let uids = getresuid().map_or([euid; 3], |ids| [ids.real.as_raw(), ids.effective.as_raw(), ids.saved.as_raw()]);
        let egid = nix::unistd::getegid().as_raw();
        let gids = getresgid().map_or([egid; 3], |ids| [ids.real.as_raw(), ids.effective.as_raw(), ids.saved.as_raw()]);
        let groups = getgroups().ok().map(|groups| groups.into_iter().map(|gid| gid.as_raw()).collect());
        let groups_are_fixed = fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"));
        OwnCredentials { uids, gids, groups, groups_are_fixed }
    }

    /// Whether the real, effective and saved uid of this process are all this one.
    pub fn is_user(&self, uid: u32) -> bool {
        self.uids == [uid; 3]
    }

    pub fn gid(&self) -> u32 {
        let [_, effective, _] = self.gids;
        effective
    }

    /// The changes that turn this process into this user with these groups.
    pub fn change_to(&self, uid: u32, gid: u32, groups: &[u32]) -> IdentityChange {
        // A process is in its own group whether the list says so or not.
        let now = self.groups.as_ref().map(|now| sorted_with(now.clone(), self.gid()));
        let same_groups = now.is_some_and(|now| now == sorted_with(groups.to_vec(), gid));
        IdentityChange {
            groups: (!same_groups && !self.groups_are_fixed).then(|| groups.to_vec()),
            gid: (self.gids != [gid; 3]).then_some(gid),
            uid: (!self.is_user(uid)).then_some(uid),
        }
    }

    pub fn may_change(&self) -> bool {
        let [_, effective, _] = self.uids;
        effective == 0
    }
}

/// A line of either file.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn field(&self, index: usize) -> Option<&'a [u8]> {
        self.text.split(|byte| *byte == b':').nth(index)
    }

    fn name(&self) -> &'a [u8] {
        self.field(0).unwrap_or_default()
    }

    /// Empty where the line has no such field.
    fn owned(&self, index: usize) -> OsString {
        OsString::from_vec(self.field(index).unwrap_or_default().to_vec())
    }

    fn id(&self, index: usize) -> Result<u32, &'static str> {
        self.field(index).map_or(Err("missing"), id)
    }
}

/// The lines of users or groups, without those of NIS, which begin with + or -.
fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = text.split(|byte| *byte == b'\n').zip(1..).map(|(text, number)| Line { number, text });
    lines.filter(|line| !line.name().is_empty() && !is_compat(line.name()))
}

fn is_compat(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'+' | b'-'))
}

/// Digits and nothing else. The highest number is no id: to setresuid(2) it means "leave it as it is".
fn id(field: &[u8]) -> Result<u32, &'static str> {
    if field.is_empty() {
        return Err("empty");
    }
    if !field.iter().all(u8::is_ascii_digit) {
        return Err("not a number");
    }
    match std::str::from_utf8(field).ok().and_then(|digits| digits.parse().ok()) {
        Some(id) if id < u32::MAX => Ok(id),
        _ => Err("too large"),
    }
}

/// The first line with that name or uid, as the libc looks for it.
pub fn user_in(text: &[u8], wanted: &NameOrId) -> Result<Option<User>, Error> {
    let Some(line) = lines(text).find(|line| match wanted {
        NameOrId::Name(name) => line.name() == name.as_bytes(),
        NameOrId::Id(uid) => line.id(2) == Ok(*uid),
    }) else {
        return Ok(None);
    };
    let number = |index, what| line.id(index).map_err(|wrong| unsound("user", &line, PASSWD, what, wrong));
    Ok(Some(User {
        name: line.owned(0),
        uid: number(2, "uid")?,
        gid: number(3, "gid")?,
        home: line.owned(5),
        shell: line.owned(6),
        elsewhere: false,
    }))
}

/// The gid in the first line with that name.
pub fn group_in(text: &[u8], name: &str) -> Result<Option<u32>, Error> {
    lines(text).find(|line| line.name() == name.as_bytes()).map(|line| group_number(&line)).transpose()
}

/// The gids of all lines that list this user as a member.
pub fn memberships_in(text: &[u8], user: &OsStr) -> Result<Vec<u32>, Error> {
    let mut groups = Vec::new();
    for line in lines(text) {
        let members = line.field(3).unwrap_or_default();
        if members.split(|byte| *byte == b',').any(|member| member == user.as_bytes()) {
            groups.push(group_number(&line)?);
        }
    }
    Ok(groups)
}

fn group_number(line: &Line) -> Result<u32, Error> {
    line.id(2).map_err(|wrong| unsound("group", line, GROUP, "gid", wrong))
}

/// No group file is an empty one. One that cannot be read is not: the worker would miss groups.
fn group_file() -> Result<Vec<u8>, Error> {
    match fs::read(GROUP) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| unreadable(GROUP, &error)),
    }
}

fn unreadable(file: &str, error: &io::Error) -> Error {
    Error::cannot("read", file, errno::reason(error))
}

fn unsound(kind: &str, line: &Line, file: &str, what: &str, wrong: &str) -> Error {
    let name = OneLine::from_bytes(line.name());
    Error::cannot("use", format!("{kind} '{name}'"), format!("the {what} in line {} of {file} is {wrong}", line.number))
        .hint("write a number from 0 to 4294967294 there")
}

fn unknown(kind: &'static str, name: &str) -> Error {
    Error::cannot("find", format!("{kind} '{}'", OneLine::from(name)), format!("no such {kind}"))
        .hint("names come from /etc/passwd and /etc/group; numbers need no entry there")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        app:x:1000:1001:An App:/srv/app:/bin/false\n\
        app:x:0:0::/root:/bin/sh\n\
        bare:x:5:6\n";

    fn by_name(text: &[u8], name: &str) -> Result<Option<(u32, u32)>, String> {
        let found = user_in(text, &NameOrId::Name(name.to_owned())).map_err(|error| error.to_string())?;
        Ok(found.map(|user| (user.uid, user.gid)))
    }

    fn by_id(text: &[u8], uid: u32) -> Result<Option<(OsString, u32)>, String> {
        let found = user_in(text, &NameOrId::Id(uid)).map_err(|error| error.to_string())?;
        Ok(found.map(|user| (user.name, user.gid)))
    }

    #[test]
    fn the_first_line_of_a_name_or_a_number_is_its_own() {
        assert_eq!(by_name(FILE, "app"), Ok(Some((1000, 1001))));
        assert_eq!(by_id(FILE, 0), Ok(Some(("root".into(), 0))));
        assert_eq!(by_id(FILE, 1000), Ok(Some(("app".into(), 1001))));
        assert_eq!(by_name(FILE, "bare"), Ok(Some((5, 6))));
        for name in ["ap", "apps", "x", "", "An App"] {
            assert_eq!(by_name(FILE, name), Ok(None), "{name:?}");
        }
        let user = user_in(FILE, &NameOrId::Id(1000)).unwrap().unwrap();
        assert_eq!((user.home, user.shell), ("/srv/app".into(), "/bin/false".into()));
    }

    #[test]
    fn a_number_that_is_none_is_an_error_and_never_0() {
        for (uid, wrong) in [
            ("", "empty"),
            ("4294967295", "too large"),
            ("4294967296", "too large"),
            ("99999999999999999999999999", "too large"),
            ("-1", "not a number"),
            ("+1", "not a number"),
            (" 1", "not a number"),
            ("1 ", "not a number"),
            ("0x0", "not a number"),
            ("app", "not a number"),
            ("\u{660}", "not a number"),
        ] {
            for (line, what) in [(format!("app:x:{uid}:5::/:/bin/sh"), "uid"), (format!("app:x:5:{uid}::/:/bin/sh"), "gid")] {
                let expected = format!(
                    "cannot use user 'app': the {what} in line 1 of /etc/passwd is {wrong}; write a number from 0 to 4294967294 there"
                );
                assert_eq!(by_name(line.as_bytes(), "app"), Err(expected), "{line:?}");
            }
            let error = group_in(format!("adm:x:{uid}:app").as_bytes(), "adm").unwrap_err().to_string();
            assert!(error.contains(&format!("group 'adm': the gid in line 1 of /etc/group is {wrong}")), "{error}");
            assert!(memberships_in(format!("adm:x:{uid}:app").as_bytes(), OsStr::new("app")).is_err(), "{uid:?}");
        }
        for line in ["app", "app:x", "app:x:5"] {
            assert!(by_name(line.as_bytes(), "app").unwrap_err().contains("is missing"), "{line:?}");
        }
    }

    #[test]
    fn a_broken_line_never_reads_as_another_number_and_affects_no_other_user() {
        let text = b"app:x::::/app:/bin/sh\nzero:x:4294967296:0::/:\nroot:x:0:0::/root:/bin/sh\nhalf:x:7:::/:\n";
        assert_eq!(by_id(text, 0), Ok(Some(("root".into(), 0))));
        assert_eq!(by_name(text, "root"), Ok(Some((0, 0))));
        assert_eq!(by_id(text, 8), Ok(None));
        assert!(by_id(text, 7).unwrap_err().contains("the gid in line 4"));
        assert_eq!(memberships_in(b"a:x::root\nb:x:7:app\n", OsStr::new("app")).unwrap(), [7]);
    }

    #[test]
    fn lines_of_nis_name_nobody() {
        let text = b"+app:x:0:0::/:\n-app:x:0:0::/:\n+::::::\n";
        for name in ["+app", "-app", "+", "app"] {
            assert_eq!(by_name(text, name), Ok(None), "{name}");
        }
        assert_eq!(by_id(text, 0), Ok(None));
    }

    #[test]
    fn a_user_has_all_groups_that_name_it_and_no_other() {
        let mut text: Vec<u8> = (0..40).flat_map(|n| format!("g{n}:x:{}:x,app,y\n", 5000 + n).into_bytes()).collect();
        text.extend(b"other:x:1:apps,ap\nnone:x:2:\nshort:x:3\n+nis:x:4:app\n");
        assert_eq!(memberships_in(&text, OsStr::new("app")).unwrap(), (5000..5040).collect::<Vec<u32>>());
        assert_eq!(group_in(&text, "g3").unwrap(), Some(5003));
        assert_eq!(group_in(&text, "short").unwrap(), Some(3));
        assert_eq!(group_in(&text, "nosuch").unwrap(), None);
    }

    #[test]
    fn only_what_differs_changes() {
        let now = |ids: [u32; 3], groups: &[u32], groups_are_fixed| OwnCredentials {
            uids: ids,
            gids: ids,
            groups: Some(groups.to_vec()),
            groups_are_fixed,
        };
        assert!(now([5; 3], &[], false).change_to(5, 5, &[5]).is_nothing());
        assert!(now([5; 3], &[5, 7], false).change_to(5, 5, &[5, 7]).is_nothing());
        assert!(now([5; 3], &[7], true).change_to(5, 5, &[5]).is_nothing());
        let to = |groups: Option<&[u32]>, gid, uid| IdentityChange { groups: groups.map(<[u32]>::to_vec), gid, uid };
        assert_eq!(now([5; 3], &[7], false).change_to(5, 5, &[5]), to(Some(&[5]), None, None));
        assert_eq!(now([0; 3], &[0], false).change_to(5, 0, &[0, 9]), to(Some(&[0, 9]), None, Some(5)));
        assert_eq!(now([0; 3], &[], false).change_to(0, 6, &[6]), to(Some(&[6]), Some(6), None));
        // Of the real, the effective and the saved id each must be right.
        for ids in [[0, 5, 5], [5, 0, 5], [5, 5, 0]] {
            assert_eq!(now(ids, &[5], false).change_to(5, 5, &[5]).uid, Some(5), "{ids:?}");
        }
    }
}
