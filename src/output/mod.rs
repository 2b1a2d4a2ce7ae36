//! Log lines and the workers' output. `relay` reads from the workers, `lines` splits the bytes into lines, `log` writes them
//! to standard error or through `syslog`.

pub mod lines;
pub mod log;
pub mod relay;
mod syslog;
