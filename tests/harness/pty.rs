//! A terminal as a program sees it, with the test at its keyboard.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::unistd::tcgetpgrp;

/// Dropping it is the terminal going away, as when its window is closed.
pub struct Pty(PtyMaster);

impl Pty {
    /// The keyboard's side, and what becomes the standard input of a program. Neither reaches a program that a test
    /// beside this one starts: somebody's copy would keep the terminal alive.
    pub fn open() -> (Pty, OwnedFd) {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let keyboard = posix_openpt(flags).expect("a terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("a terminal of ours");
        let name = ptsname_r(&keyboard).expect("its name");
        (Pty(keyboard), open(name.as_str(), flags, Mode::empty()).expect("its other side"))
    }

    /// Control characters are keys too: `\x03` is Ctrl-C.
    #[track_caller]
    pub fn press(&mut self, keys: &[u8]) {
        self.0.write_all(keys).expect("somebody has the terminal open");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel reads one structure, which lives during the call.
        assert_eq!(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) }, 0);
    }

    /// The process group that gets what is typed.
    pub fn foreground(&self) -> Option<u32> {
        u32::try_from(tcgetpgrp(self.0.as_fd()).ok()?.as_raw()).ok()
    }

    /// To be read: what a program has written there, and the echo.
    pub fn screen(&self) -> File {
        self.0.as_fd().try_clone_to_owned().expect("a copy").into()
    }
}
