//! Browsers by way of a web server's two pipes, as lighttpd hands them over, and what others who
//! have the pipes too may do with them.

use crate::harness::{Daemon, Server, Start, as_root, masked, preload, read_answer};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const ACT: [(&str, &str); 1] = [("PATH_INFO", "/act")];

/// The two pipes of lighttpd's cgi.upgrade: to the hand-off program, from it; and the ends
/// that the daemon has, as whoever handed them over still has them.
fn shared_pipes(daemon: &Daemon) -> (File, File, [OwnedFd; 2]) {
    let ((stdin, to), (from, stdout)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    let kept = [&stdin, &stdout].map(|fd| fd.try_clone().expect("dup"));
    hand_over_pipes(daemon, stdin, stdout);
    (to.into(), from.into(), kept)
}

fn hand_over_pipes(daemon: &Daemon, stdin: OwnedFd, stdout: OwnedFd) {
    let mut nph = daemon.nph("nph-ws", &ACT);
    nph.stdin(stdin).stdout(Stdio::from(stdout));
    assert!(nph.status().expect("run").success());
}

fn pipes(daemon: &Daemon) -> (File, File) {
    let (to, from, _) = shared_pipes(daemon);
    (to, from)
}

/// Reads a short unmasked text frame.
fn frame(from: &mut File) -> String {
    let mut head = [0; 2];
    from.read_exact(&mut head).expect("a frame");
    assert_eq!(head[0], 0x81);
    let mut text = vec![0; head[1].into()];
    from.read_exact(&mut text).expect("its payload");
    String::from_utf8(text).expect("text")
}

#[test]
fn two_pipes_carry_both_ways() {
    let daemon = Daemon::start();
    let (mut to, mut from) = pipes(&daemon);
    assert_eq!(read_answer(&mut from).status, 101);
    for text in ["one", "two"] {
        let message = format!("out \\n{text}");
        to.write_all(&masked(0x81, message.as_bytes()))
            .expect("write");
        assert_eq!(frame(&mut from), text);
    }
    to.write_all(&masked(0x88, &1000u16.to_be_bytes()))
        .expect("write");
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8]);
    daemon.event("close ");
    daemon.until_empty();
    assert!(
        daemon
            .events()
            .iter()
            .any(|line| line.ends_with(" 0 1000 client "))
    );
}

/// Whoever handed pipes over still has them, and can make them blocking.
#[test]
fn pipes_that_are_made_blocking_stop_nobody() {
    let root = as_root("pipes_that_are_made_blocking_stop_nobody, as another user");
    for user in ["", "--user nobody"].iter().take(1 + usize::from(root)) {
        let args = format!("--slow-timeout 1 --queue 4096 {user}");
        let start = Start::default().again_in(Start::folder_for_anyone());
        let mut daemon = start.args(&args).ready();
        let mut bystander = daemon.connect("/act2");
        let (mut to, mut from, ours) = shared_pipes(&daemon);
        assert_eq!(read_answer(&mut from).status, 101);
        for fd in ours {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::empty())).expect("F_SETFL");
        }
        // Reading: after a message the daemon looks for more.
        to.write_all(&masked(0x81, b"out \\none")).expect("write");
        assert_eq!(frame(&mut from), "one");
        bystander.works();
        // Writing: more than the pipe holds.
        for _ in 0..40 {
            daemon.outbox(format!("text /act {}", "x".repeat(4000)));
        }
        daemon.expect("too slow a reader, closed with 1013");
        bystander.works();
    }
}

/// And can fill one between a look of the daemon's and its write.
#[test]
fn a_pipe_that_is_filled_at_any_moment_stops_nobody() {
    let root = as_root("a_pipe_that_is_filled_at_any_moment_stops_nobody, as another user");
    let user = if root { "--user nobody" } else { "" };
    let args = format!("--slow-timeout 20 --event-timeout 21 --queue 1000000 {user}");
    let start = Start::default().again_in(Start::folder_for_anyone());
    // Were there a look, it would be long past when the write comes.
    let library = preload("tests/programs/pause.c");
    let start = start.shell(&format!("export LD_PRELOAD={}", library.display()));
    let mut daemon = start.args(&args).log("warn").ready();
    let mut bystander = daemon.connect("/act2");
    let (_to, mut from, [_, ours]) = shared_pipes(&daemon);
    assert_eq!(read_answer(&mut from).status, 101);
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::empty())).expect("F_SETFL");
    // The same pipe, but these calls do not block.
    let anew = |fd: &dyn AsFd, options: &mut OpenOptions| {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let options = options.custom_flags(nix::libc::O_NONBLOCK);
        options.open(path).expect("open anew")
    };
    let mut fill = anew(&ours, OpenOptions::new().write(true));
    let mut drain = anew(&from, OpenOptions::new().read(true));
    let (over, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    let sleeps_in = format!("/proc/{}/wchan", daemon.pid());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sink = [0; 65536];
            let mut round = 0;
            while !over.load(Relaxed) {
                while drain.read(&mut sink).is_ok_and(|count| count > 0) {}
                round += 1;
                (0..round % 500).for_each(|_| std::hint::spin_loop());
                while fill.write(&[b'z'; 4096]).is_ok() {}
                std::thread::sleep(std::time::Duration::from_micros(200));
                let place = std::fs::read_to_string(&sleeps_in).unwrap_or_default();
                stopped.fetch_or(place.contains("pipe_w"), Relaxed);
            }
        });
        // Whatever the daemon does meanwhile, it answers.
        let line = format!("text /act {}\n", "x".repeat(2000));
        let mut writer = daemon.writer();
        for _ in 0..20 {
            (0..20).for_each(|_| writer.write_all(line.as_bytes()).expect("write"));
            bystander.works();
        }
        over.store(true, Relaxed);
    });
    assert!(!stopped.into_inner(), "it waited in a write to the pipe");
    // Full, and nobody reads it any more.
    bystander.works();
    daemon.quiet();
}

#[test]
fn a_server_that_ends_stdin_at_once_is_named_in_the_log() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let ((stdin, to), (from, stdout)) = (pipe().expect("a pipe"), pipe().expect("a pipe"));
    drop(to);
    hand_over_pipes(&daemon, stdin, stdout);
    let mut from = File::from(from);
    assert_eq!(read_answer(&mut from).status, 101);
    daemon.expect("the web server ended its program's stdin at once: it (busybox httpd, apache)");
    daemon.status_until("/closes/1006", 1);
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
    bystander.works();
}

#[test]
fn busybox_httpd_is_such_a_server() {
    let mut daemon = Daemon::with("--origin any");
    let busybox = Server::busybox(&daemon);
    let mut stream = busybox.upgrade("/cgi-bin/nph-ws/act", &[]);
    assert_eq!(read_answer(&mut stream).status, 101);
    daemon.expect("the web server ended its program's stdin at once: it (busybox httpd, apache)");
    daemon.status_until("/closes/1006", 1);
    // It still serves pages.
    assert_eq!(busybox.get("/").status, 200);
}

#[test]
fn pipes_that_spoke_before_they_ended_are_a_client_that_left() {
    let daemon = Daemon::start();
    let (mut to, mut from) = pipes(&daemon);
    assert_eq!(read_answer(&mut from).status, 101);
    to.write_all(&masked(0x81, b"out \\nhello")).expect("write");
    assert_eq!(frame(&mut from), "hello");
    drop(to);
    // No warning: the daemon's end checks its log.
    daemon.status_until("/closes/1006", 1);
}
