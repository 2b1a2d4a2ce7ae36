//! The main job in a container: `docker kill -s HUP` under load, and no request fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Container, Image, docker, programs};
use crate::harness::load::{Load, Target};
use crate::harness::{SOON, eventually, exited, free_dir, make_program, phrase};

const ROLLOVERS: u32 = 20;

fn serving(image: &Arc<Image>, options: &str) -> Container {
    let container = image.run(options, "-start=20 -- /hello");
    container.wait_current(1);
    container
}

/// Each to its end: the old generation is gone before the next begins.
fn roll_over(container: &Container) {
    for generation in 2..=ROLLOVERS + 1 {
        container.signal("HUP");
        container.wait_current(generation);
        container.wait_exited(generation - 1);
    }
}

/// Where the engine has published port 8080 of the container: on loopback.
fn published(container: &Container) -> Target {
    let address = docker(["port", container.name(), "8080"]);
    Target::from_uri(&format!("tcp://{address}")).expect("a loopback address")
}

fn load(target: Target) -> Load {
    Load { rate: Some(400.0), time: Some(Duration::from_secs(120)), ..Load::new(target) }
}

#[test]
fn docker_kill_hup_under_load_from_inside_fails_no_request() {
    let Some(image) = programs() else { return };
    let mut container = serving(&image, "");
    let load = container.load("tcp://127.0.0.1:8080");
    roll_over(&container);
    let answers = load.assert_no_failure();
    assert!(answers > ROLLOVERS as usize / 2, "the load has met {answers} generations only");
    assert_eq!(container.stop(20), exited(0));
}

#[test]
fn docker_kill_hup_under_load_from_outside_fails_no_request() {
    let Some(image) = programs() else { return };
    let mut container = serving(&image, "--publish=127.0.0.1:0:8080");
    let load = load(published(&container)).start();
    eventually("answers", SOON, || load.so_far().ok() > 10);
    roll_over(&container);
    let report = load.stop();
    println!("from outside: {report}");
    report.assert_no_failure();
    assert!(report.bodies.len() > ROLLOVERS as usize / 2, "the load has met {} generations only", report.bodies.len());
    assert_eq!(container.stop(20), exited(0));
}

#[test]
fn a_reload_finds_the_new_release_below_a_mounted_directory() {
    let Some(image) = programs() else { return };
    let dir = free_dir();
    for release in ["1", "2"] {
        fs::create_dir(dir.join(release)).expect("a directory in one of our own");
        make_program(&dir.join(release).join("app"), format!("#!/busybox sh\necho release {release}\nexec /worker sleep\n"));
    }
    symlink("1", dir.join("current")).expect("a symlink");
    let options = format!("--volume={}:/srv/app:ro", dir.display());
    let container = image.run(&options, "-start=0 -command=/srv/app/current/app");
    container.wait_output("release 1", SOON);
    symlink("2", dir.join("next")).and_then(|()| fs::rename(dir.join("next"), dir.join("current"))).expect("the next release");
    container.signal("HUP");
    container.wait_output("release 2", SOON);
}

#[test]
fn docker_exec_requests_a_reload_and_gets_the_result() {
    let Some(image) = programs() else { return };
    let container = image.run("--read-only --cap-drop=ALL --user=65534:65534", "-control=@app -start=20 -- /hello");
    container.wait_current(1);
    let reload = container.exec("/socketmaster -control=@app -s reload");
    assert!(phrase::matches(&String::from_utf8_lossy(&reload.stdout), &phrase::reloaded(2)), "{reload:?}");
    assert_eq!(reload.status, exited(0));
    let nobody = container.exec("/socketmaster -control=@other -s reload");
    assert_eq!(nobody.status, exited(1));
}

/// The negative controls: what a deploy without HUP is.
#[test]
fn the_load_from_outside_sees_a_container_that_stops() {
    let Some(image) = programs() else { return };
    let mut container = serving(&image, "--publish=127.0.0.1:0:8080");
    let load = load(published(&container)).start();
    eventually("answers", SOON, || load.so_far().ok() > 10);
    assert_eq!(container.stop(20), exited(0));
    eventually("failures", SOON, || load.so_far().failed() > 0);
}

#[test]
fn the_load_from_inside_sees_a_service_that_stops() {
    let Some(image) = programs() else { return };
    // The container stays, for the load's sake.
    let container = image.run("", "-listen=none -- /worker sleep");
    container.wait_output("ready", SOON);
    docker(["exec", "--detach", container.name(), "/socketmaster", "-start=0", "--", "/hello"]);
    eventually("a service", SOON, || container.exec("/client tcp://127.0.0.1:8080 --once").status.success());
    let load = container.load("tcp://127.0.0.1:8080");
    assert_eq!(container.exec("/busybox killall hello").status, exited(0));
    eventually("it is gone", SOON, || !container.exec("/client tcp://127.0.0.1:8080 --once").status.success());
    let (well, report) = load.finish();
    assert!(!well && report.contains(" refused"), "{report}");
}
