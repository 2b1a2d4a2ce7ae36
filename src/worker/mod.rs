//! What a worker is started from, and how it is started.

pub mod accept;
pub mod environment;
pub mod handoff;
pub mod identity;
pub mod launch;
pub mod program;
