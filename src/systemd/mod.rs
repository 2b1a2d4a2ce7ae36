//! The service manager: sd_notify(3) and its descriptor store.

pub mod fdstore;
pub mod notify;
pub mod watchdog;
