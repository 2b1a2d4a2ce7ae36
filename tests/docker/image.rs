//! What is in the image, and the images of docs/containers.md that are made with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::engine::{Container, Image, busybox, docker, image_under_test, programs};
use crate::harness::{SOON, eventually, exited, fixture, free_dir, make_program, skip};

/// As the documentation runs an image.
const HARDENED: &str = "--read-only --cap-drop ALL --security-opt no-new-privileges";
/// So that a check comes soon, and one that gets no answer fails soon.
const CHECKED_OFTEN: &str = "--health-interval=100ms --health-timeout=2s --health-retries=1";
/// Mode, owner and path of every entry in the layers of an image.
fn contents(image: &str) -> Vec<[String; 3]> {
    let dir = free_dir();
    let tar = dir.join("image.tar");
    docker(["save", "--output", &tar.display().to_string(), image]);
    let run_tar = |options: &str, archive: &Path| {
        let output =
            Command::new("tar").args(["--numeric-owner", "--directory", &dir.display().to_string(), options]).arg(archive).output();
        let output = output.expect("tar");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run_tar("-xf", &tar);
    let manifest = fs::read_to_string(dir.join("manifest.json")).expect("docker save writes one");
    let layers = manifest.split_once("\"Layers\":[").and_then(|(_, rest)| rest.split_once(']')).expect("layers").0;
    let entries = layers.split(',').flat_map(|layer| {
        let list = run_tar("-tvf", &dir.join(layer.trim().trim_matches('"')));
        let line = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [words[0], words[1], words[words.len() - 1]].map(String::from)
        };
        list.lines().map(line).collect::<Vec<_>>()
    });
    entries.collect()
}

#[test]
fn the_image_holds_one_file_and_nothing_else() {
    let Some(image) = image_under_test() else { return };
    assert_eq!(contents(&image), [["-rwxr-xr-x", "0/0", "socketmaster"]]);
    let Some(image) = programs() else { return };
    assert_eq!(contents(image.tag()).len(), 5, "the same look at an image with five");
}

#[test]
fn the_labels_describe_the_image_and_only_the_entry_point_is_set() {
    let Some(image) = image_under_test() else { return };
    let inspect = |template: &str| docker(["image", "inspect", "--format", template, &image]);
    let label = |name: &str| inspect(&format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}"));
    assert_eq!(label("title"), "socketmaster");
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "MIT");
    assert_eq!(label("revision").len(), 40);
    assert!(label("created").ends_with('Z'), "{}", label("created"));
    assert_eq!(inspect("{{json .Config.Entrypoint}}"), r#"["/socketmaster"]"#);
    assert_eq!(inspect("{{len .Config.Cmd}} {{.Config.User}}.{{.Config.StopSignal}}"), "0 .");
}

/// The Dockerfiles of the documentation, in its order.
fn dockerfiles() -> Vec<&'static str> {
    let page = include_str!("../../docs/containers.md");
    let command = HARDENED.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&command), "the tests run what the documentation runs");
    let blocks = page.split("```dockerfile").skip(1);
    let texts = blocks.map(|block| block.split_once('\n').expect("its text").1.split_once("```").expect("its end").0);
    // The others show one line.
    texts.filter(|text| text.starts_with("FROM ")).collect()
}

#[test]
fn the_documentation_has_a_dockerfile_for_each_kind_of_image() {
    let bases: Vec<&str> = dockerfiles().iter().map(|text| text.split_whitespace().nth(1).expect("FROM BASE")).collect();
    assert_eq!(bases, ["debian:trixie-slim", "alpine", "scratch"]);
}

#[test]
fn the_documented_image_from_debian_does_what_it_promises() {
    let Some(distribution) = distribution() else { return };
    serves_and_tells_its_health(&dockerfiles()[0].replacen("debian:trixie-slim", distribution.tag(), 1));
}

#[test]
fn the_documented_image_from_alpine_does_what_it_promises() {
    let Some(distribution) = distribution() else { return };
    serves_and_tells_its_health(&dockerfiles()[1].replacen("alpine", distribution.tag(), 1));
}

#[test]
fn the_documented_image_from_scratch_does_what_it_promises_and_holds_two_files() {
    let Some(image) = serves_and_tells_its_health(dockerfiles()[2]) else { return };
    let paths: Vec<String> = contents(image.tag()).into_iter().map(|[_, _, path]| path).collect();
    assert_eq!(paths, ["socketmaster", "app"]);
}

/// As much of Debian and Alpine as their Dockerfiles use, since no registry is asked: a shell, wget and the usual users.
fn distribution() -> Option<Image> {
    image_under_test()?;
    let Some(busybox) = busybox() else {
        skip("there is no static busybox");
        return None;
    };
    let root = free_dir();
    let users = "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n";
    for directory in ["bin", "etc", "usr/local/bin"] {
        fs::create_dir_all(root.join(directory)).expect("a directory in one of our own");
    }
    fs::write(root.join("etc/passwd"), users).expect("a file");
    make_program(&root.join("bin/busybox"), fs::read(busybox).expect("it is there"));
    for applet in ["sh", "wget"] {
        symlink("busybox", root.join("bin").join(applet)).expect("a symlink");
    }
    Some(Image::import(&root))
}

/// Builds it with hello as the application.
#[track_caller]
fn serves_and_tells_its_health(dockerfile: &str) -> Option<Arc<Image>> {
    let under_test = image_under_test()?;
    let dockerfile = dockerfile.replace("--from=socketmaster ", &format!("--from={under_test} "));
    let image = Arc::new(Image::build(&dockerfile, &[("app", &fixture("hello"))]));
    let mut container = image.run(&format!("{HARDENED} {CHECKED_OFTEN}"), "");
    container.wait_current(1);
    let health = |container: &Container| container.inspect("{{if .State.Health}}{{.State.Health.Status}}{{end}}");
    let is = |container: &Container, wanted: &str| if health(container) == wanted { Ok(()) } else { Err(health(container)) };
    eventually("a healthy container", SOON, || is(&container, "healthy"));
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("it runs");
    assert!(!status.contains("Uid:\t0\t"), "{status}");
    container.signal("HUP");
    container.started_pid(2);
    assert_eq!(container.stop(20), exited(0));

    // The socket is open, but no process accepts.
    let hanging = image.run(&format!("{HARDENED} {CHECKED_OFTEN} --env=HELLO_DELAY_MS=600000"), "");
    eventually("an unhealthy container", SOON, || is(&hanging, "unhealthy"));
    Some(image)
}
