//! The outbox's writers: many at once, slow ones, those that wait, and readers too slow for
//! them.

use crate::harness::{Daemon, Start, Ws, wait_for};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use tungstenite::Message;

/// Joined to `@a` by its open program.
const IN_A: &str = "/act?open=head WS-Join: @a";
/// Time enough for every test.
const PATIENT: &str = "--event-timeout 100 --slow-timeout 99";
/// Lines of 1000 bytes, far more than pipe, narrow sockets and queues hold together.
const FLOOD: usize = 500;

fn flood_line(i: usize) -> String {
    format!("{i} {}", "x".repeat(980))
}

/// Writes the flood to `@a`, and counts what is written.
fn flood<'s>(
    scope: &'s Scope<'s, '_>,
    daemon: &Daemon,
    written: &'s AtomicUsize,
) -> ScopedJoinHandle<'s, ()> {
    let mut fifo = daemon.writer();
    scope.spawn(move || {
        for i in 0..FLOOD {
            let line = format!("text @a {}\n", flood_line(i));
            fifo.write_all(line.as_bytes()).expect("write");
            written.store(i + 1, Ordering::Relaxed);
        }
    })
}

/// Reads the whole flood.
fn drink(mut ws: Ws) -> Ws {
    ws.widen();
    for i in 0..FLOOD {
        assert_eq!(ws.text(), flood_line(i));
    }
    ws
}

fn shell(script: &str, fifo: &Path, argument: &str) -> Child {
    let mut sh = Command::new("/bin/sh");
    sh.args(["-c", script, argument]).arg(fifo);
    sh.spawn().expect("a shell")
}

#[test]
fn lines_of_eight_shells_at_once_arrive_whole_and_complete() {
    let daemon = Daemon::with(PATIENT);
    let mut ws = daemon.connect(IN_A);
    // Half of them open the FIFO for each line, half keep it open.
    let each = "i=0; while [ $i -lt 1000 ]; do \
                echo \"text @a $0 $i some text that makes the line longer\" >\"$1\"; \
                i=$((i+1)); done";
    let kept = format!("exec >\"$1\"; {}", each.replace(" >\"$1\"", ""));
    let fifo = daemon.path("run/outbox");
    let mut shells: Vec<_> = (0..8)
        .map(|n| shell(if n % 2 == 0 { each } else { &kept }, &fifo, &n.to_string()))
        .collect();
    let mut next = BTreeMap::new();
    for _ in 0..8000 {
        let text = ws.text();
        let (shell, rest) = text.split_once(' ').expect("the shell's number");
        let i = next.entry(shell.to_owned()).or_insert(0);
        assert_eq!(rest, format!("{i} some text that makes the line longer"));
        *i += 1;
    }
    assert_eq!(next.len(), 8);
    assert!(next.values().all(|&count| count == 1000));
    for shell in &mut shells {
        assert!(shell.wait().expect("wait").success());
    }
    ws.works();
    daemon.status_until("/outbox/lines", 8000);
    daemon.status_until("/outbox/bad", 0);
}

#[test]
fn a_line_may_come_in_pieces() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let mut fifo = daemon.writer();
    for piece in ["te", "xt @", "a he", "", "l", "lo\ntext @a", " two", "\n"] {
        fifo.write_all(piece.as_bytes()).expect("write");
        daemon.status();
    }
    assert_eq!([ws.text(), ws.text()], ["hello", "two"]);
    // The unfinished line of a writer that has gone is finished by the next one's.
    fifo.write_all(b"text @a thr").expect("write");
    drop(fifo);
    daemon.outbox("ee");
    assert_eq!(ws.text(), "three");
}

#[test]
fn writers_come_and_go_and_the_daemon_does_not_spin() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    drop(daemon.writer());
    for i in 0..10 {
        daemon.outbox(format!("text @a {i}"));
        assert_eq!(ws.text(), i.to_string());
        drop(daemon.writer());
    }
    let before = daemon.ticks();
    // A second without any writer, by another process's clock.
    assert_eq!(ws.ask("sleep 1000;head X-A: b;out slept"), "slept");
    let used = daemon.ticks() - before;
    assert!(used < 10, "{used} ticks of the processor in an idle second");
}

#[test]
fn writers_that_wait_go_on_with_the_next_daemon() {
    let daemon = Daemon::start();
    let inode = |daemon: &Daemon| {
        std::fs::metadata(daemon.path("run/outbox"))
            .expect("FIFO")
            .ino()
    };
    let (first, mut kept) = (inode(&daemon), daemon.writer());
    let outbox = daemon.path("run/outbox");
    let started = daemon.path("started");
    let folder = daemon.end();
    // Nobody reads: opening waits, and a writer that has it open is told.
    let mut waiting = shell(
        "echo >\"${1%/run/outbox}/started\"; echo text @all x >\"$1\"",
        &outbox,
        "",
    );
    wait_for("the shell", || started.exists().then_some(()));
    let error = kept.write_all(b"text @all x\n").expect_err("nobody reads");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);

    let daemon = Start::default().again_in(folder).ready();
    assert_eq!(inode(&daemon), first);
    assert!(waiting.wait().expect("wait").success());
    daemon.status_until("/outbox/lines", 1);
    kept.write_all(b"text @all x\n").expect("write");
    daemon.status_until("/outbox/lines", 2);
    daemon.status_until("/messages/nobody", 2);
}

#[test]
fn a_full_target_makes_writers_wait_and_nothing_is_lost() {
    let daemon = Daemon::with(&format!("{PATIENT} --queue 4096"));
    let ws = daemon.narrow(IN_A);
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let writer = flood(scope, &daemon, &written);
        wait_for("a full queue", || {
            let queue = daemon.status()["connections"][0]["queue"].as_u64();
            (queue >= Some(4096)).then_some(())
        });
        // Its bound: --queue and one frame.
        let queue = daemon.status()["connections"][0]["queue"].as_u64();
        assert!(queue < Some(4096 + 1100), "{queue:?}");
        assert!(!writer.is_finished() && written.load(Ordering::Relaxed) < FLOOD);
        drink(ws).works();
        writer.join().expect("the writer");
    });
    daemon.status_until("/messages/queued", FLOOD + 1);
    daemon.status_until("/messages/dropped", 0);
}

#[test]
fn a_queue_that_fills_and_empties_in_one_turn_is_not_slow() {
    for timeout in ["--slow-timeout 1", "--slow-timeout 0"] {
        let daemon = Daemon::with(&format!("--queue 1 {timeout}"));
        let mut ws = daemon.connect(IN_A);
        for i in 0..100 {
            daemon.outbox(format!(
                "text @a {i}\ntext @a and\nbinary @a AAE=\ntext @a last"
            ));
            assert_eq!([ws.text(), ws.text()], [i.to_string().as_str(), "and"]);
            assert_eq!((ws.binary(), ws.text()), (vec![0, 1], "last".to_owned()));
        }
    }
}

/// Reads what a slow client was sent before its close: how many whole lines of the flood.
fn sip(mut ws: Ws) -> (usize, u16) {
    let mut count = 0;
    ws.widen();
    loop {
        match ws.next() {
            Message::Text(text) => assert_eq!(text.as_str(), flood_line(count)),
            Message::Close(close) => return (count, close.map_or(1005, |c| c.code.into())),
            other => panic!("{other:?}"),
        }
        count += 1;
    }
}

#[test]
fn a_slow_client_is_closed_with_1013_and_the_others_get_every_line() {
    for (timeout, not_queued) in [(1, 0), (0, 1)] {
        let mut daemon = Daemon::with(&format!("--queue 4096 --slow-timeout {timeout}"));
        let mut slow = daemon.narrow(IN_A);
        let id = slow.id();
        let (mut a, mut b) = (daemon.connect(IN_A), daemon.connect(IN_A));
        let mut slow = Some(slow);
        let (mut lines, mut received) = (0, 0);
        // On until it is closed, and a little further.
        while slow.is_some() || lines % 10 != 0 {
            let text = flood_line(lines);
            daemon.outbox(format!("text @a {text}"));
            assert_eq!([a.text(), b.text()], [text.as_str(), &text]);
            lines += 1;
            assert!(lines < FLOOD, "it is never closed");
            if daemon.log().contains("too slow a reader, closed with 1013") {
                if let Some(slow) = slow.take() {
                    let (count, code) = sip(slow);
                    assert_eq!(code, 1013);
                    received = count;
                }
            }
        }
        daemon.expect(&format!("WARN {id}: too slow a reader, closed with 1013"));
        daemon.event(&format!("close {id} 0 1013 timeout too slow"));
        daemon.status_until("/closes/1013", 1);
        // Every message is accounted for: what the slow one did not get was dropped.
        let queued = daemon.number("/messages/queued") as usize;
        let dropped = daemon.number("/messages/dropped") as usize;
        let env_reply = 1;
        assert_eq!(
            queued - 2 * lines - env_reply,
            received + dropped - not_queued
        );
        assert!(dropped > 0 && received < lines);
        a.works();
        b.works();
    }
}

#[test]
fn one_line_reaches_forty_clients() {
    let daemon = Daemon::start();
    let mut clients: Vec<_> = (0..40).map(|_| daemon.connect(IN_A)).collect();
    daemon.outbox("text @a for all\nbinary @a AAE=");
    for ws in &mut clients {
        assert_eq!(ws.text(), "for all");
        assert_eq!(ws.binary(), [0, 1]);
    }
    daemon.status_until("/messages/queued", 80);
    daemon.status_until("/outbox/lines", 2);
}
