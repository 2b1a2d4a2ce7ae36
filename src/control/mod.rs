//! The control socket, at which a running master accepts requests to reload, to stop and to report its status. `protocol` defines
//! the lines that both ends send. `server` is the master's end, `client` is the end of `-s`. `trust` decides whether one end
//! may believe the other. `status` describes the state of a master.

pub mod client;
pub mod protocol;
pub mod server;
pub mod status;
mod trust;
