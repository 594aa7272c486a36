//! Those who give, or take, their bytes slowly, or never: bodies, answers, event streams.

use crate::harness::{Daemon, Events, Start, cgi_answer, preload, read_answer, wait_for};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A daemon for which time goes so many times as fast.
fn in_haste(haste: u32, args: &str) -> Daemon {
    let library = preload("tests/programs/haste.c");
    let shell = format!("export HASTE={haste} LD_PRELOAD={}", library.display());
    let start = Start::default().shell(&shell).log("warn");
    start.args("--event-timeout 3000").args(args).ready()
}

/// What it holds: bytes of memory and, once that turn is over, descriptors.
fn held(daemon: &Daemon) -> (u64, usize) {
    (daemon.number("/memory/used"), daemon.descriptors().len())
}

fn until_held(daemon: &Daemon, before: (u64, usize)) {
    let what = format!("{before:?} bytes and descriptors, not {:?}", held(daemon));
    wait_for(&what, || (held(daemon) == before).then_some(()));
}

/// Writes a byte now and then, until nobody takes it any more.
fn dawdle(mut to: impl Write) {
    while to.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Takes some bytes now and then, to the end: how many there were.
fn sip(mut from: impl Read) -> usize {
    let (mut piece, mut total) = ([0; 512], 0);
    loop {
        match from.read(&mut piece) {
            Ok(count @ 1..) => total += count,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(0) => return total,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::ConnectionReset);
                return total;
            }
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn a_body_that_comes_byte_by_byte_is_408_after_ten_seconds_and_no_event() {
    let daemon = in_haste(20, "--ping 0 --listen unix:{}/ws.sock");
    let mut bystander = daemon.connect("/act2");
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    // With the pipe of its own that it has once it has been handed one.
    daemon.post("/act2", "");
    let before = held(&daemon);
    let length = [("CONTENT_LENGTH", "50000")];
    let of_it = format!("/act?{}&n=1", events.query());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for url in [of_it.as_str(), "/act"] {
                let (body, mut answer) = daemon.post_begun("ws-post", url, &length);
                scope.spawn(|| dawdle(body));
                scope.spawn(move || assert_eq!(cgi_answer(&mut answer).status, 408));
            }
            let mut stream = daemon.unix("ws.sock");
            let head = "POST /act HTTP/1.1\r\nHost: board.test\r\nContent-Length: 50000\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("write");
            let body = stream.try_clone().expect("dup");
            scope.spawn(|| dawdle(body));
            scope.spawn(move || assert_eq!(read_answer(&mut stream).status, 408));
        }
        bystander.works();
    });
    daemon.status_until("/refusals", serde_json::json!({"slow": 9}));
    until_held(&daemon, before);
    let lines = daemon.events();
    let of_act = lines.iter().filter(|line| line.starts_with("message"));
    // The bystander's, and the first POST.
    assert_eq!(of_act.count(), 2);
    // What has not come may come yet.
    assert_eq!(daemon.post(&of_it, "head X: y;out here").body, "here");
    bystander.works();
}

#[test]
fn an_answer_that_is_taken_byte_by_byte_ends_after_a_minute() {
    const LONG: usize = 1_000_000;
    let daemon = in_haste(30, "--ping 0 --max-reply 1000000 --memory 20000000");
    let mut bystander = daemon.connect("/act2");
    daemon.post("/act2", "");
    let before = held(&daemon);
    let refusal = format!("/act?open=out Status: 403\\n\\n;flood {LONG}");
    let ask = |more: &str| format!("{refusal}&via={more}");
    let reply = format!("head X: y;flood {LONG}");
    let length = reply.len().to_string();
    let length = [("CONTENT_LENGTH", length.as_str())];
    let mut answers: Vec<Box<dyn Read + Send>> = Vec::new();
    for _ in 0..2 {
        let (mut body, answer) = daemon.post_begun("ws-post", "/act", &length);
        body.write_all(reply.as_bytes()).expect("write");
        answers.push(Box::new(answer));
        answers.push(Box::new(daemon.get_narrow(&ask("poll"))));
        answers.push(Box::new(daemon.get_narrow(&ask("sse"))));
    }
    // Half of them take nothing at all.
    let never = answers.split_off(3);
    std::thread::scope(|scope| {
        let sips = answers.drain(..).map(|answer| scope.spawn(|| sip(answer)));
        let sips: Vec<_> = sips.collect();
        bystander.works();
        for taken in sips {
            let taken = taken.join().expect("a reader");
            assert!(taken < LONG, "all of it");
        }
    });
    until_held(&daemon, before);
    bystander.works();
    drop(never);
}

/// Streams that nobody reads: by a socket, by a pipe, by a socket of the daemon's own.
fn never_read(daemon: &Daemon, url: &str) -> (Vec<String>, Vec<TcpStream>, impl Read + use<>) {
    let by_pipe = daemon.get_by_pipe(url, &[]);
    let mut direct = daemon.unix("ws.sock");
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: board.test\r\n\r\n",
        url.replace(' ', "%20")
    );
    direct.write_all(head.as_bytes()).expect("write");
    let sockets = vec![daemon.get_narrow(url), direct];
    let connections = || daemon.status()["connections"].as_array().cloned();
    let connections = wait_for("three streams that are open", || {
        let connections = connections()?;
        let open = connections.iter().filter(|c| c["rooms"][0] == "a");
        (open.count() == 3).then_some(connections)
    });
    let ids = connections.iter().filter(|c| c["rooms"][0] == "a");
    let ids = ids.map(|c| c["id"].as_str().expect("text").to_owned());
    (ids.collect(), sockets, by_pipe)
}

const URL: &str = "/act?via=sse&open=head WS-Join: @a";
/// More than any of those three ways holds by itself.
const LINES: usize = 500;

fn line(n: usize) -> String {
    format!("{n} {}", "x".repeat(2000))
}

#[test]
fn a_stream_that_nobody_reads_is_closed_by_slow_timeout() {
    let args = "--queue 4096 --slow-timeout 1 --ping 0 --listen unix:{}/ws.sock";
    let mut daemon = Start::default().args(args).log("warn").ready();
    let (ids, sockets, by_pipe) = never_read(&daemon, URL);
    let mut reader = Events::open(daemon.get("/act2?via=sse&open=head WS-Join: @b @a", &[]));
    let used = daemon.number("/memory/used");
    let looking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let daemon = &daemon;
        scope.spawn(|| {
            let mut writer = daemon.writer();
            for n in 0..LINES {
                let text = format!("text @a {}\n", line(n));
                writer.write_all(text.as_bytes()).expect("write");
            }
        });
        scope.spawn(|| {
            while looking.load(Relaxed) {
                let status = daemon.status();
                for connection in status["connections"].as_array().expect("a list") {
                    let queue = connection["queue"].as_u64().expect("a number");
                    assert!(queue <= 4096 + 3000, "{queue}");
                }
                let now = status["memory"]["used"].as_u64().expect("a number");
                assert!(now <= used + 40_000, "{now} of {used}");
            }
        });
        for n in 0..LINES {
            assert_eq!(reader.text(), line(n));
        }
        looking.store(false, Relaxed);
    });
    daemon.status_until("/closes/1013", 3);
    for id in &ids {
        daemon.event(&format!("close {id} 0 1013 timeout too slow"));
    }
    assert!(daemon.number("/messages/dropped") >= 3);
    daemon.expect("too slow a reader, closed with 1013");
    drop((sockets, by_pipe));
}

#[test]
fn with_a_history_it_holds_nobody_up_and_is_closed_as_it_answers_no_ping() {
    let args = "--queue 4096 --history 300000 --slow-timeout 3 --ping 10 --listen unix:{}/ws.sock";
    let mut daemon = in_haste(10, args);
    let (ids, sockets, by_pipe) = never_read(&daemon, URL);
    let mut reader = Events::open(daemon.get("/act2?via=sse&open=head WS-Join: @b @a", &[]));
    let used = daemon.number("/memory/used");
    for n in 0..LINES {
        daemon.outbox(format!("text @a {}", line(n)));
        assert_eq!(reader.text(), line(n));
    }
    let status = daemon.status();
    for connection in status["connections"].as_array().expect("a list") {
        let queue = connection["queue"].as_u64().expect("a number");
        assert!(queue <= 4096 + 3000, "{connection}");
    }
    let now = status["memory"]["used"].as_u64().expect("a number");
    assert!(now <= used + 40_000, "{now} of {used}");
    for id in &ids {
        daemon.event(&format!("close {id} 0 1006 timeout"));
    }
    // What is for one alone can't wait in the history: whoever sends it waits for its time.
    let one = Events::open(daemon.get_by_pipe(URL, &[]));
    for n in 0..50 {
        daemon.outbox(format!("text @a {}", line(n)));
        assert_eq!(reader.text(), line(n));
    }
    daemon.outbox(format!("text {} you\ntext @b behind", one.id));
    assert_eq!(reader.text(), "behind");
    daemon.event(&format!("close {} 0 1013 timeout too slow", one.id));
    daemon.expect(&format!("{}: too slow a reader, closed with 1013", one.id));
    drop((sockets, by_pipe));
}
