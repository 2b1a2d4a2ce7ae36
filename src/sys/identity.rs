//! passwd(5), group(5), initgroups(3): whom the workers run as, looked up once, before anything is opened.

use std::ffi::{CString, OsString};

use nix::unistd::{Gid, geteuid, getgrouplist};
use users::os::unix::UserExt;

use crate::config::{NameOrId, UserSpec};
use crate::error::Error;

/// A user as setresuid(2), setresgid(2) and setgroups(2) take it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// HOME, USER, LOGNAME and SHELL; empty for a uid that passwd does not know.
    pub environment: Vec<(OsString, OsString)>,
}

impl Identity {
    /// Fails where a name is unknown, and where this process may not become another.
    pub fn look_up(spec: &UserSpec) -> Result<Identity, Error> {
        let entry = match &spec.user {
            NameOrId::Name(name) => Some(users::get_user_by_name(name).ok_or_else(|| unknown("user", name))?),
            NameOrId::Id(uid) => users::get_user_by_uid(*uid),
        };
        let uid = match (&entry, &spec.user) {
            (Some(entry), _) => entry.uid(),
            (None, NameOrId::Id(uid)) => *uid,
            (None, NameOrId::Name(name)) => return Err(unknown("user", name)),
        };
        if !geteuid().is_root() {
            return Err(Error::cannot("run workers as", shown(spec), "only root may become another user")
                .hint("start as root, or leave -user away"));
        }
        let gid = match &spec.group {
            Some(group) => group_id(group)?,
            // Without an entry the uid's own number, as Debian's user groups have it; never root's group by accident.
            None => entry.as_ref().map_or(uid, users::User::primary_group_id),
        };
        let login = entry.as_ref().and_then(|entry| CString::new(entry.name().as_encoded_bytes()).ok());
        let groups = match login {
            Some(login) => getgrouplist(&login, Gid::from_raw(gid))
                .map_err(|errno| Error::cannot("look up", format!("the groups of {}", shown(spec)), errno.desc()))?
                .into_iter()
                .map(Gid::as_raw)
                .collect(),
            None => vec![gid],
        };
        let environment = entry.map_or_else(Vec::new, |entry| {
            vec![
                ("HOME".into(), entry.home_dir().into()),
                ("USER".into(), entry.name().into()),
                ("LOGNAME".into(), entry.name().into()),
                ("SHELL".into(), entry.shell().into()),
            ]
        });
        Ok(Identity { uid, gid, groups, environment })
    }
}

/// The uid of a login or a number.
pub fn user_id(user: &NameOrId) -> Result<u32, Error> {
    match user {
        NameOrId::Id(uid) => Ok(*uid),
        NameOrId::Name(name) => users::get_user_by_name(name).map(|entry| entry.uid()).ok_or_else(|| unknown("user", name)),
    }
}

/// The gid of a group's name or a number.
pub fn group_id(group: &NameOrId) -> Result<u32, Error> {
    match group {
        NameOrId::Id(gid) => Ok(*gid),
        NameOrId::Name(name) => users::get_group_by_name(name).map(|entry| entry.gid()).ok_or_else(|| unknown("group", name)),
    }
}

fn unknown(kind: &'static str, name: &str) -> Error {
    Error::cannot("find", format!("{kind} '{name}'"), format!("no such {kind}"))
        .hint("names come from /etc/passwd and /etc/group; numbers need no entry there")
}

fn shown(spec: &UserSpec) -> String {
    let part = |part: &NameOrId| match part {
        NameOrId::Name(name) => name.clone(),
        NameOrId::Id(id) => id.to_string(),
    };
    match &spec.group {
        Some(group) => format!("{}:{}", part(&spec.user), part(group)),
        None => part(&spec.user),
    }
}
