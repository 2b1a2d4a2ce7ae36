//! Values that every layer may use. Only std.

pub mod account;
pub mod environment;
pub mod fd_map;
pub mod level;
pub mod listener;
pub mod one_line;
pub mod process;
pub mod request;
pub mod settings;
pub mod signal;
pub mod socket_name;
pub mod time;
