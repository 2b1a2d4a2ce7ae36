//! The listening sockets.

pub mod inherit;
pub mod open;
pub mod resolve;
pub mod set;
pub mod unix_path;
