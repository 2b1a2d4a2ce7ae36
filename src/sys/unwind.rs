//! Empty entry points of the unwinder. A panic aborts, and a stripped program has no names for a backtrace. std refers to
//! them all the same. Without these, libunwind and std's reader of debug information would be linked in: two fifths of the
//! program.
//!
//! The names are those of the Itanium C++ ABI's exception handling.

use std::ffi::{c_int, c_void};

/// The result code that ends a walk over the stack before its first frame.
const END_OF_STACK: c_int = 5;

/// The only one of these that is ever called: by a panic, if RUST_BACKTRACE is set.
// SAFETY: no other object of the program defines the name, and nothing is read through the pointers.
#[unsafe(no_mangle)]
pub extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// The others would be called with a frame or an exception, and there are none.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            // SAFETY: no other object of the program defines the name.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> usize {
                0
            }
        )*
    };
}

never_called! {
    _Unwind_DeleteException
    _Unwind_FindEnclosingFunction
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}

/// Further entry points of the ABI for 32-bit ARM.
#[cfg(target_arch = "arm")]
mod ehabi {
    never_called! {
        _Unwind_VRS_Get
        _Unwind_VRS_Set
        __aeabi_unwind_cpp_pr0
        __aeabi_unwind_cpp_pr1
        __gnu_unwind_frame
    }
}
