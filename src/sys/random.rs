//! getrandom(2).

use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;

/// How often the kernel had no random number.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// A number that nobody can guess. Where the kernel has none yet, as early after a boot, it is at least another one each time.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the pointer and the length are those of one array, which outlives the call.
    let count = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK) };
    if count == 8 { u64::from_ne_bytes(bytes) } else { FAILURES.fetch_add(1, Ordering::Relaxed) }
}
