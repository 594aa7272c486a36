//! `make bench`: what ws2cgi costs, as ratios against a floor or a peer measured in the
//! same run, as machines differ and are shared.

// The ban is on the daemon's floors.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

// It needs a part of it only.
#[allow(dead_code, unused_imports)]
#[path = "../suite/harness/mod.rs"]
mod harness;

#[allow(dead_code)]
mod cost;

use cost::pss;
use harness::{Daemon, Start, Ws, command, compile};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

const EVENTS: usize = 2000;
const LINES: usize = 2000;
const BROWSERS: usize = 40;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return; // `cargo test` builds it, and runs nothing
    }
    println!("{:<36}{:>8}  {:<34}{:>6}", "", "ws2cgi", "against", "ratio");
    let native = Start::default;
    let (ours, theirs) = (one_event(native()), one_program());
    row(
        "a message through echo.c, µs",
        ours,
        "starting echo.c, no more",
        theirs,
    );
    let (ours, theirs) = (fan_out(native()), bare_fan_out());
    row(
        "an outbox line to 40 browsers, µs",
        ours,
        "40 write(2) of the same",
        theirs,
    );
    let (connection, process) = memory();
    row(
        "memory of a waiting browser, KB",
        connection,
        "a waiting CGI process",
        process,
    );
    if let Some(peer) = std::env::var_os("WS2CGI_PEER") {
        // make bench-cross: the C that comes of WebAssembly, and std built for size.
        let peer = || Start::default().program(peer.clone().into());
        let (event, lines) = (one_event(peer()), fan_out(peer()));
        row(
            "a message, by way of C, µs",
            event,
            "native",
            one_event(native()),
        );
        row(
            "an outbox line to 40, by way of C, µs",
            lines,
            "native",
            fan_out(native()),
        );
    }
}

fn row(what: &str, ours: f64, peer: &str, theirs: f64) {
    println!(
        "{what:<36}{ours:>8.1}  {peer:<25}{theirs:>9.1}{:>6.2}",
        ours / theirs
    );
}

fn micros(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

fn one_event(start: Start) -> f64 {
    let daemon = start.ready();
    std::fs::copy(compile("cgi-bin/echo.c"), daemon.path("handlers/echo")).expect("copy");
    let mut ws = daemon.connect("/echo");
    ws.ask("warm");
    let start = Instant::now();
    for _ in 0..EVENTS {
        ws.ask("0123456789012345678901234567890123456789012345678901234567890123");
    }
    micros(start.elapsed(), EVENTS)
}

/// The same program with the same work, started by this process, which does nothing else.
fn one_program() -> f64 {
    let echo = compile("cgi-bin/echo.c");
    let start = Instant::now();
    for _ in 0..EVENTS {
        let mut echo = command(&echo);
        echo.env("WS_EVENT", "message")
            .env("REQUEST_METHOD", "POST")
            .env("CONTENT_LENGTH", "64");
        echo.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = echo.spawn().expect("spawn");
        child
            .stdin
            .take()
            .expect("stdin")
            .write_all(&[b'x'; 64])
            .expect("write");
        assert!(
            child
                .wait_with_output()
                .expect("wait")
                .stdout
                .ends_with(b"x")
        );
    }
    micros(start.elapsed(), EVENTS)
}

const PAYLOAD: &str = "{\"load\":0.42,\"memory\":61.8,\"temperature\":48.3,\"uptime\":123456}";

fn fan_out(start: Start) -> f64 {
    let daemon = start.ready();
    let browsers: Vec<Ws> = (0..BROWSERS)
        .map(|_| daemon.connect("/act?open=head%20WS-Join:%20@room"))
        .collect();
    daemon.status_until("/events/open/done", BROWSERS);
    let line = format!("text @room {PAYLOAD}\n");
    let mut fifo = std::fs::OpenOptions::new()
        .write(true)
        .open(daemon.path("run/outbox"));
    let fifo = fifo.as_mut().expect("the outbox");
    let start = Instant::now();
    let readers: Vec<_> = browsers
        .into_iter()
        .map(|mut ws| std::thread::spawn(move || (0..LINES).for_each(|_| drop(ws.text()))))
        .collect();
    for _ in 0..LINES {
        fifo.write_all(line.as_bytes()).expect("write");
    }
    readers
        .into_iter()
        .for_each(|reader| reader.join().expect("a reader"));
    micros(start.elapsed(), LINES)
}

/// The same bytes, written by one loop to as many sockets with as many readers.
fn bare_fan_out() -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let frame = [&[0x81, PAYLOAD.len() as u8], PAYLOAD.as_bytes()].concat();
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..BROWSERS {
        let mut reader = TcpStream::connect(address).expect("connect");
        writers.push(listener.accept().expect("accept").0);
        let len = frame.len();
        readers.push(std::thread::spawn(move || {
            let mut frame = vec![0; len];
            (0..LINES).for_each(|_| reader.read_exact(&mut frame).expect("read"));
        }));
    }
    let start = Instant::now();
    for _ in 0..LINES {
        for writer in &mut writers {
            writer.write_all(&frame).expect("write");
        }
    }
    readers
        .into_iter()
        .for_each(|reader| reader.join().expect("a reader"));
    micros(start.elapsed(), LINES)
}

/// KB of proportional set size: of the daemon for each idle connection, and of one waiting
/// CGI process, which is what a long poll costs.
fn memory() -> (f64, f64) {
    let daemon = Daemon::start();
    let mut first = daemon.connect("/act");
    first.ask("out \\n\\nwarm");
    let before = pss(daemon.pid());
    let idle: Vec<Ws> = (0..60).map(|_| daemon.connect("/act")).collect();
    daemon.status_until("/events/open/done", 61);
    let connection = (pss(daemon.pid()) - before) / idle.len() as f64;
    let mut waiting = command(&compile("tests/programs/act.c"));
    waiting
        .env("WS_EVENT", "open")
        .env("QUERY_STRING", "open=hang");
    let mut waiting = waiting
        .current_dir(daemon.path("handlers"))
        .spawn()
        .expect("spawn");
    daemon.event("open - 0");
    let process = pss(waiting.id());
    waiting.kill().expect("kill");
    waiting.wait().expect("wait");
    (connection, process)
}
