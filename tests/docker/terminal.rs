//! `docker run --interactive --tty`, with the test at the keyboard.

use crate::engine::{Container, programs, words};
use crate::harness::pty::Pty;
use crate::harness::{SOON, Setup, children_of, descendants, eventually, exited, phrase, state_of};

const CTRL_C: &[u8] = b"\x03";
const CTRL_BACKSLASH: &[u8] = b"\x1c";
const CTRL_Z: &[u8] = b"\x1a";

fn on_a_terminal(arguments: &str) -> Option<(Container, Pty)> {
    let image = programs()?;
    let (pty, tty) = Pty::open();
    let setup = Setup::new().tune(move |command| {
        command.stdin(tty);
    });
    Some((image.start(setup, "--interactive --tty", &words(arguments)), pty))
}

/// Lines begin with the echo of what was typed, and end with a carriage return as well.
fn count(container: &Container, end: &str) -> usize {
    container.lines().iter().filter(|line| line.text().trim_end().ends_with(end)).count()
}

#[test]
fn what_is_typed_reaches_the_program_once() {
    let Some((mut container, mut pty)) = on_a_terminal("-listen=none -- /worker signals") else { return };
    container.wait_output("ready", SOON);
    pty.press(CTRL_C);
    container.wait_output("signal 2", SOON);
    pty.press(CTRL_BACKSLASH);
    container.wait_output("signal 3", SOON);
    pty.press(CTRL_Z);
    container.wait_output("signal 20", SOON);
    pty.resize(33, 77);
    container.signal("TERM");
    assert_eq!(container.wait_exit(SOON), exited(0));
    assert_eq!(["signal 2", "signal 3", "signal 20"].map(|line| count(&container, line)), [1; 3]);
}

#[test]
fn after_a_reload_what_is_typed_reaches_the_new_generation() {
    let Some((mut container, mut pty)) = on_a_terminal("-start=0 -- /worker signals exit 5") else { return };
    container.wait_output("ready", SOON);
    container.signal("HUP");
    container.wait_output(phrase::STOP_SENT, SOON);
    container.wait_outputs("ready", 2, SOON);
    container.wait_output(&phrase::exited_with(5), SOON);
    pty.press(CTRL_C);
    container.wait_output("signal 2", SOON);
    assert_eq!(container.stop(20), exited(5));
}

#[test]
fn a_program_suspended_by_ctrl_z_is_continued() {
    let Some((mut container, mut pty)) = on_a_terminal("-listen=none -- /worker sleep") else { return };
    container.wait_output("ready", SOON);
    let worker = descendants(container.pid())[0];
    pty.press(CTRL_Z);
    container.wait_output(phrase::CONTINUED, SOON);
    eventually("it goes on", SOON, || state_of(worker) == Some('S'));
    pty.press(CTRL_C);
    assert_eq!(container.wait_exit(SOON), exited(130));
}

#[test]
fn a_shell_has_job_control() {
    let Some((mut container, mut pty)) = on_a_terminal("-listen=none -- /busybox sh -i") else { return };
    let only_below = |pid: u32| eventually("a child", SOON, || children_of(pid).first().copied());
    let shell = only_below(container.pid());
    pty.press(b"/worker sleep\n");
    container.wait_output("ready", SOON);
    let job = only_below(shell);
    pty.press(CTRL_Z);
    eventually("the job is the shell's to continue", SOON, || state_of(job) == Some('T'));
    pty.press(b"fg\n");
    eventually("it has continued it", SOON, || state_of(job) == Some('S'));
    pty.press(CTRL_C);
    eventually("the job is gone", SOON, || state_of(job).is_none());
    pty.press(b"exit 7\n");
    assert_eq!(container.wait_exit(SOON), exited(7));
    let lines = container.lines();
    assert!(!lines.iter().any(|line| line.text().contains("job control turned off")), "{lines:#?}");
}
