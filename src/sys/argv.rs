//! The arguments that execve(2) passed. std does not provide them to a program with its own C `main`.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// All arguments, the program's own name first.
///
/// # Safety
/// `argc` and `argv` must be those that the C runtime called `main` with.
pub unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    (0..usize::try_from(argc).unwrap_or(0))
        .map(|index| {
            // SAFETY: the C runtime passes `argc` pointers to NUL-terminated strings that live as long as the process.
            let text = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(text.to_bytes()).to_owned()
        })
        .collect()
}
