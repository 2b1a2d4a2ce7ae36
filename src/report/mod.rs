//! What workers report about themselves: that they are ready, by sd_notify(3) or by einhorn's protocol.

pub mod ack;
pub mod einhorn;
pub mod message;
pub mod notify;
pub mod sender;
