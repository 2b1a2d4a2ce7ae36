//! The service manager's descriptor store, FDSTORE of sd_notify(3): the master's own listeners are put there, and found
//! there again after a crash or a restart of the service, so that clients wait and are not refused.

use std::ffi::OsString;
use std::io;

use crate::activation::{self, Offered};
use crate::endpoint::Endpoint;
use crate::handoff;
use crate::notify::Manager;
use crate::sys::sockets::{self, HeldSocket, Resolved};

/// How many descriptors the store takes, which systemd tells by FDSTORE; 0 where there is none.
pub fn room(environment: &[(OsString, OsString)]) -> usize {
    handoff::variable(environment, "FDSTORE").and_then(|most| most.to_str()?.parse().ok()).unwrap_or(0)
}

/// What an earlier life of this master has left for each listener.
pub fn take(resolved: &[Resolved], offered: &[Offered]) -> Vec<Option<i32>> {
    let found = activation::kept(resolved.iter().map(Resolved::address), offered);
    found.into_iter().zip(resolved).map(|(kept, resolved)| kept.filter(|fd| sockets::serves(resolved, *fd))).collect()
}

/// Removes what was left and not taken, and returns when it is closed: it might be in the way of what is to be opened.
pub fn tidy(offered: &[Offered], taken: &[Option<i32>], environment: &[(OsString, OsString)]) -> io::Result<()> {
    let names = activation::left_over(offered, taken);
    if names.is_empty() {
        return Ok(());
    }
    Manager::find(environment).map_or(Ok(()), |manager| manager?.forget(&names))
}

/// Puts the master's own listeners into the store. Whoever keeps a socket needs its path, too. The error says what could
/// not be kept. What there is no `room` for is not tried: systemd would refuse it without a word.
pub fn keep(held: &mut [HeldSocket], listen: &[Endpoint], manager: &Manager, room: usize) -> Result<(), String> {
    for (socket, endpoint) in held.iter_mut().zip(listen).take(room) {
        let (Some(name), Some(fd)) = (activation::store_name(&endpoint.address), socket.held()) else { continue };
        // No second try: a manager that does not listen would hold up the start once for each listener.
        manager.keep(&name, fd).map_err(|error| {
            let cause = sockets::reason(&error);
            format!("cannot keep {} and what follows it in the descriptor store: {cause}", endpoint.address)
        })?;
        socket.leave_path();
    }
    Ok(())
}
