//! `-probe`: which servers are healthy, and what else the health check refuses to do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt};

use crate::harness::{SOON, Setup, binary, eventually, exited, fixture, free_dir, killed, only_child, send, skip, state_of};

/// So short that a test that waits for the end of it is quick, and so long that a server on a busy machine answers.
const SHORT: &str = "-start=300";
const LONG: &str = "-start=60000";

fn begun(words: &[&str], variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(binary());
    command.args(words).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
}

#[track_caller]
fn ended(mut probe: Child) -> Output {
    eventually("the probe has ended", SOON, || probe.try_wait().expect("a child of ours"));
    probe.wait_with_output().expect("it has ended")
}

/// The one line of a probe that has ended with this status, on the stream that goes with it.
#[track_caller]
fn line(output: &Output, status: u8) -> String {
    assert_eq!(output.status, exited(status), "{output:?}");
    let (said, silent) = if status == 0 { (&output.stdout, &output.stderr) } else { (&output.stderr, &output.stdout) };
    let said = String::from_utf8(said.clone()).expect("text");
    assert!(silent.is_empty() && said.matches('\n').count() == 1 && said.ends_with('\n'), "{output:?}");
    let line = said.trim_end_matches('\n');
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

#[track_caller]
fn healthy(words: &[&str]) -> String {
    let line = line(&ended(begun(words, &[])), 0);
    line.strip_prefix("healthy: ").expect("it says so").to_owned()
}

#[track_caller]
fn unhealthy(words: &[&str]) -> String {
    let line = line(&ended(begun(words, &[])), 1);
    line.strip_prefix("socketmaster: unhealthy: ").expect("it says so").to_owned()
}

/// A server for one connection, with which `serve` does what it wants once the request has come. Gives its address, and the
/// request when it is over.
fn server(serve: impl FnOnce(&TcpStream) + Send + 'static) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
            request.extend(byte);
        }
        serve(&stream);
        let _ = sender.send(String::from_utf8(request).expect("text"));
    });
    (address, receiver)
}

/// One that answers these bytes and closes the connection.
fn answers(text: &str) -> String {
    let text = text.to_owned();
    let (address, _) = server(move |mut stream| {
        let _ = stream.write_all(text.as_bytes());
    });
    format!("-probe=http://{address}/")
}

#[test]
fn a_status_from_200_to_399_is_healthy_and_no_other() {
    for (status, is_healthy) in
        [("200 OK", true), ("204 No Content", true), ("301 Moved Permanently", true), ("302 Found", true), ("399 Last", true)]
            .into_iter()
            .chain([("400 Bad Request", false), ("404 Not Found", false), ("500 Oops", false), ("503 Busy", false), ("599", false)])
    {
        let url = answers(&format!("HTTP/1.1 {status}\r\nLocation: http://192.0.2.1/\r\nContent-Length: 4\r\n\r\nbody"));
        let said = if is_healthy { healthy(&[LONG, &url]) } else { unhealthy(&[LONG, &url]) };
        let url = url.trim_start_matches("-probe=");
        assert_eq!(said, if is_healthy { format!("{url}: {status}") } else { format!("{url}: it answered {status}") });
    }
}

#[test]
fn the_request_is_complete_and_asks_for_the_end_of_the_connection() {
    let (address, request) = server(|mut stream| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("it listens"));
    healthy(&[LONG, "-probe", &format!("http://{address}/a/b?c=%20d")]);
    assert_eq!(
        request.recv_timeout(SOON).expect("a request"),
        format!(
            "GET /a/b?c=%20d HTTP/1.1\r\nHost: {address}\r\nUser-Agent: socketmaster/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn an_answer_may_come_in_any_form_and_in_any_pieces() {
    for text in ["HTTP/1.0 200\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"] {
        let (address, _) = server(move |mut stream| {
            stream.set_nodelay(true).expect("a socket");
            for byte in text.bytes() {
                // A probe that has seen enough has gone.
                let _ = stream.write_all(&[byte]);
                thread::yield_now();
            }
        });
        healthy(&[LONG, &format!("-probe=http://{address}")]);
    }
}

#[test]
fn the_rest_of_an_answer_is_taken_and_never_shown() {
    let (sender, written) = mpsc::channel();
    let (address, _) = server(move |mut stream| {
        let head = stream.write_all(b"HTTP/1.1 200 O\x1b[31mK\r\nSecret: head\r\n\r\n");
        let bodies = (0..32).map(|_| stream.write_all(&[b'x'; 1024]));
        let all: Result<Vec<()>, _> = [head].into_iter().chain(bodies).collect();
        let _ = stream.shutdown(Shutdown::Write);
        // A probe that had closed its end would have answered with a reset by now.
        let end = stream.read(&mut [0]);
        sender.send((all.map(drop), end)).expect("it is waited for");
    });
    let said = healthy(&[LONG, &format!("-probe=http://{address}/")]);
    assert_eq!(said, format!("http://{address}/: 200 O\\u{{1b}}[31mK"));
    let (written, end) = written.recv_timeout(SOON).expect("the server has ended");
    assert!(written.is_ok() && end.is_ok_and(|count| count == 0), "the server was cut off");
}

#[test]
fn a_server_that_gives_no_answer_of_http_is_not_healthy() {
    for (text, cause) in [
        ("", "it closed the connection without an answer"),
        ("HTTP/1.1 200", "it closed the connection in the middle of its answer"),
        ("SSH-2.0-OpenSSH_9\r\n", "the answer is not HTTP"),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}", "the answer is not HTTP"),
        ("secret\r\n", "the answer is not HTTP"),
        (&format!("HTTP/1.1 200 {}", "x".repeat(100_000)), "the answer is too long"),
        (&format!("HTTP/1.1 100 Continue\r\n{}", "A: b\r\n".repeat(20_000)), "the answer is too long"),
    ] {
        let said = unhealthy(&[LONG, &answers(text)]);
        assert!(said.ends_with(&format!("/: {cause}")), "{said}");
    }
    let (address, _) = server(|stream| {
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(stream, sockopt::Linger, &linger).expect("a socket");
    });
    let said = unhealthy(&[LONG, &format!("-probe=http://{address}/")]);
    assert!(said.ends_with("connected, but no answer: Connection reset by peer"), "{said}");
}

#[test]
fn the_time_limit_is_for_all_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    assert_eq!(unhealthy(&[SHORT, "-probe", &url]), format!("{url}: connected, but no answer within 300 ms"), "nobody accepts");

    // A limit for each read would never be reached.
    let (address, _) = server(|mut stream| {
        let bytes = std::iter::once(&b"HTTP/1.1 200 "[..]).chain(std::iter::repeat(&b"x"[..]));
        for bytes in bytes {
            if stream.write_all(bytes).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let said = unhealthy(&[SHORT, &format!("-probe=http://{address}/")]);
    assert!(said.ends_with("only a part of an answer within 300 ms"), "{said}");

    // The answer is known, so its rest does not matter.
    let (address, _) = server(|mut stream| {
        let mut bytes = std::iter::once(&b"HTTP/1.1 200 OK\r\n\r\n"[..]).chain(std::iter::repeat(&b"x"[..]));
        while bytes.next().is_some_and(|bytes| stream.write_all(bytes).is_ok()) {}
    });
    healthy(&[LONG, &format!("-probe=http://{address}/")]);
}

/// A listener whose queue has room for one, and as many connections as fill it.
fn full_queue() -> (SocketAddr, OwnedFd, Vec<TcpStream>) {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).expect("a free port");
    listen(&fd, Backlog::new(0).expect("a length")).expect("a bound socket");
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().expect("bound");
    let queue = (0..8).map_while(|_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()).collect();
    (address, listener.into(), queue)
}

#[test]
fn a_full_queue_is_not_healthy() {
    let (address, _listener, queue) = full_queue();
    assert!((1..8).contains(&queue.len()), "{queue:?}");
    for url in [format!("tcp://{address}"), format!("http://{address}/")] {
        assert_eq!(unhealthy(&[SHORT, "-probe", &url]), format!("{url}: no connection within 300 ms"));
    }
    let dir = free_dir();
    let path = dir.join("socket");
    let listener = UnixListener::bind(&path).expect("a free path");
    listen(&listener, Backlog::new(0).expect("a length")).expect("a bound socket");
    let url = format!("unix://{}", path.display());
    assert_eq!(healthy(&[LONG, "-probe", &url]), format!("{url}: connected"));
    // What that probe has connected waits in the queue, although it has gone.
    assert_eq!(unhealthy(&[SHORT, "-probe", &url]), format!("{url}: no connection within 300 ms"));
}

#[test]
fn a_connection_is_enough_where_no_request_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    assert_eq!(healthy(&[LONG, "-probe", &url]), format!("{url}: connected"));
    drop(listener);
    assert_eq!(unhealthy(&[LONG, "-probe", &url]), format!("{url}: cannot connect: Connection refused"));

    let dir = free_dir();
    let path = dir.join("socket");
    let url = format!("unix://{}", path.display());
    assert_eq!(unhealthy(&[LONG, "-probe", &url]), format!("{url}: cannot connect: No such file or directory"));
    let listener = UnixListener::bind(&path).expect("a free path");
    assert_eq!(healthy(&[LONG, "-probe", &url]), format!("{url}: connected"));
    drop(listener);
    assert_eq!(unhealthy(&[LONG, "-probe", &url]), format!("{url}: cannot connect: Connection refused"));
    std::fs::remove_file(&path).expect("it is there");
    let _datagrams = UnixDatagram::bind(&path).expect("a free path");
    assert!(unhealthy(&[LONG, "-probe", &url]).starts_with(&format!("{url}: cannot connect: ")));
}

/// An address of this host that is not the loopback interface's. Nothing is sent.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.254:9").ok()?;
    socket.local_addr().ok().filter(|address| !address.ip().is_loopback())
}

#[test]
fn it_connects_to_this_host_only() {
    for (host, port) in [("198.51.100.1", 80), ("[2001:db8::1]", 80), ("[::ffff:198.51.100.1]", 443)] {
        for url in [format!("http://{host}:{port}/"), format!("tcp://{host}:{port}")] {
            let said = unhealthy(&[LONG, "-probe", &url]);
            let host = host.trim_matches(['[', ']']);
            assert_eq!(said, format!("{url}: {host} is not an address of this host, and a probe connects to no other"));
        }
    }
    // Groups and broadcasts can be bound to, but lead nowhere.
    for host in ["224.0.0.1", "255.255.255.255", "[ff02::1]"] {
        let said = unhealthy(&[LONG, &format!("-probe=tcp://{host}:80")]);
        assert!(said.contains(": cannot connect: "), "{said}");
    }
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for host in ["127.0.0.1", "127.1.2.3", "0.0.0.0", "localhost", "[::ffff:127.0.0.1]"] {
        healthy(&[LONG, &format!("-probe=tcp://{host}:{port}")]);
    }
    match own_address() {
        Some(own) => drop(healthy(&[LONG, &format!("-probe=tcp://{}:{port}", own.ip())])),
        None => skip("this host has no address but those of loopback"),
    }
}

#[test]
fn ipv6_is_probed_and_localhost_is_either() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return skip("there is no IPv6") };
    let port = listener.local_addr().expect("bound").port();
    healthy(&[LONG, &format!("-probe=tcp://[::1]:{port}")]);
    // Nobody else may listen there meanwhile.
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    if bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).is_ok() {
        unhealthy(&[LONG, &format!("-probe=tcp://127.0.0.1:{port}")]);
    }
    healthy(&[LONG, &format!("-probe=tcp://localhost:{port}")]);
}

/// TCP connects a socket to itself if it is given the port that it connects to, which happens in the range of such ports.
#[test]
fn a_connection_to_itself_is_none() {
    let script = "ip link set lo up && echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let inside = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]).args(words).output()
    };
    if !inside(&["true"]).is_ok_and(|output| output.status.success()) {
        return skip("there are no network namespaces here");
    }
    let binary = binary();
    let binary = binary.to_str().expect("a path");
    let output = inside(&[binary, LONG, "-probe=tcp://127.0.0.1:40000"]).expect("unshare");
    assert!(line(&output, 1).ends_with("cannot connect: Connection refused"), "{output:?}");
}

#[test]
fn a_program_that_hangs_is_found_out_by_a_request_and_not_by_a_connection() {
    let mut master = Setup::new().arg("-start=0").program(fixture("hello"), [""; 0]).spawn();
    master.wait_current(1);
    let address = master.uri().trim_start_matches("tcp://").to_owned();
    let (http, tcp) = (format!("-probe=http://{address}/"), format!("-probe=tcp://{address}"));
    healthy(&[LONG, &http]);
    let program = only_child(master.pid());
    send(program, Signal::SIGSTOP);
    eventually("it hangs", SOON, || state_of(program) == Some('T'));
    let said = unhealthy(&[SHORT, &http]);
    assert!(said.ends_with("connected, but no answer within 300 ms"), "{said}");
    healthy(&[LONG, &tcp]);
    send(program, Signal::SIGCONT);
    healthy(&[LONG, &http]);
    master.stop(Signal::SIGTERM);
    unhealthy(&[LONG, &tcp]);
}

#[test]
fn the_variables_of_the_container_do_not_disturb() {
    let url = answers("HTTP/1.1 200 OK\r\n\r\n");
    let variables = [
        ("SOCKETMASTER_COMMAND", "/nowhere"),
        ("SOCKETMASTER_ARGS", "'"),
        ("SOCKETMASTER_START", "0"),
        ("SOCKETMASTER_CONTROL", "wrong"),
        ("SOCKETMASTER_LISTEN", "wrong"),
        ("SOCKETMASTER_STRAT", "1"),
    ];
    line(&ended(begun(&[&url], &variables)), 0);
    let output = ended(begun(&["-probe=tcp://127.0.0.1:1", "-listen=none"], &variables));
    assert_eq!(line(&output, 2), "socketmaster: -listen: no option goes with -probe but -start");
    let output = ended(begun(&["-probe=http://db/"], &variables));
    let expected = "socketmaster: -probe=http://db/: db: names are not looked up; write localhost, or an address of this host";
    assert_eq!(line(&output, 2), expected);
}

#[test]
fn the_status_is_told_even_if_nobody_reads_the_line() {
    let mut command = Command::new(binary());
    command.arg(answers("HTTP/1.1 200 OK\r\n\r\n")).stdout(std::fs::File::options().write(true).open("/dev/full").expect("a device"));
    assert_eq!(command.status().expect("the binary"), exited(0));
}

#[test]
fn ctrl_c_ends_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut probe = begun(&[LONG, &format!("-probe=http://{}/", listener.local_addr().expect("bound"))], &[]);
    let (_stream, _) = listener.accept().expect("the probe connects");
    send(probe.id(), Signal::SIGINT);
    assert_eq!(eventually("it has ended", SOON, || probe.try_wait().expect("a child of ours")), killed(Signal::SIGINT));
}
