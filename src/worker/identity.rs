//! The user and groups that workers run as, looked up once, before anything is opened.

use std::ffi::OsString;

use crate::error::Error;
use crate::sys::user::{self, IdentityChange, OwnCredentials, User};
use crate::types::account::{NameOrId, UserSpec};
use crate::types::one_line::OneLine;

/// The variables that describe a user. A worker never has the master's.
pub const VARIABLES: [&str; 4] = ["HOME", "USER", "LOGNAME", "SHELL"];

/// A user, and the changes of ids and groups that make a process run as this user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The ids and groups that differ from the master's own.
    pub change: IdentityChange,
    /// HOME, USER, LOGNAME and SHELL; for a uid that passwd does not know HOME alone.
    pub environment: Vec<(OsString, OsString)>,
}

impl Identity {
    /// Fails where a name is unknown or its entry unsound, and where this process may not become another.
    pub fn look_up(spec: &UserSpec) -> Result<Identity, Error> {
        let user = user::user(&spec.user)?;
        let given = spec.group.as_ref().map(user::group_id).transpose()?;
        let now = OwnCredentials::current();
        let uid = match (&user, &spec.user) {
            (Some(user), _) => user.uid,
            (None, user) => user::user_id(user)?,
        };
        let gid = match (given, &user) {
            (Some(gid), _) => gid,
            (None, Some(user)) => user.gid,
            // The uid has no passwd entry, and no group is given. A master that already runs as this user keeps its group.
            (None, None) if now.is_user(uid) => now.gid(),
            // The uid's own number, as Debian's user groups have it; never root's group by accident.
            (None, None) => uid,
        };
        let change = match &user {
            // Nor are any supplementary groups given.
            None if given.is_none() && now.is_user(uid) => IdentityChange::default(),
            None => now.change_to(uid, gid, &[gid]),
            Some(user) => now.change_to(uid, gid, &user::groups_of(user, gid)?),
        };
        if !change.is_nothing() && !now.may_change() {
            let only_groups = IdentityChange { groups: None, ..change } == IdentityChange::default();
            let cause = if only_groups { "only root may change its groups" } else { "only root may become another user" };
            return Err(Error::cannot("run workers as", shown(spec), cause).hint("start as root, or omit -user"));
        }
        Ok(Identity { uid, gid, change, environment: environment(user) })
    }
}

fn environment(user: Option<User>) -> Vec<(OsString, OsString)> {
    match user {
        Some(user) => vec![
            ("HOME".into(), user.home),
            ("USER".into(), user.name.clone()),
            ("LOGNAME".into(), user.name),
            ("SHELL".into(), user.shell),
        ],
        None => vec![("HOME".into(), "/".into())],
    }
}

fn shown(spec: &UserSpec) -> String {
    let part = |part: &NameOrId| match part {
        NameOrId::Name(name) => OneLine::from(name.as_str()).to_string(),
        NameOrId::Id(id) => id.to_string(),
    };
    match &spec.group {
        Some(group) => format!("{}:{}", part(&spec.user), part(group)),
        None => part(&spec.user),
    }
}
