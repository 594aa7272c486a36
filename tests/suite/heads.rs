//! Request heads on `--listen` that are never finished: what they cost, and whom.

use crate::harness::{Daemon, Ws, masked, read_answer, request, wait_for};
use crate::places::assert_full;
use std::io::Write;
use std::net::TcpStream;

/// Connections to `--listen` that are taken, each with so many bytes of a head.
fn unfinished_heads(daemon: &Daemon, count: usize, bytes: usize) -> Vec<TcpStream> {
    let before = daemon.descriptors().len();
    let head = format!("GET /act HTTP/1.1\r\nX: {}", "x".repeat(bytes));
    let heads = (0..count).map(|_| {
        let mut stream = daemon.unix("ws.sock");
        stream.write_all(&head.as_bytes()[..bytes]).expect("write");
        stream
    });
    let heads = heads.collect();
    wait_for("them to be taken", || {
        (daemon.descriptors().len() >= before + count).then_some(())
    });
    heads
}

const LISTEN: &str = "--listen unix:{}/ws.sock";

#[test]
fn a_connection_without_its_head_takes_nobodys_place() {
    let daemon = Daemon::with(&format!("--max-connections 1 {LISTEN}"));
    let mut halves = unfinished_heads(&daemon, 2, 5);
    let rest = &request("/act", "")[5..];
    let mut finish = || {
        let mut half = halves.pop().expect("one");
        half.write_all(rest.as_bytes()).expect("write");
        half
    };
    let mut ws = daemon.connect("/act");
    ws.works();
    assert_full(&read_answer(&mut finish()));
    ws.close(1000, "");
    daemon.until_empty();
    Ws::accepted(finish()).works();
}

#[test]
fn heads_that_are_never_finished_cost_those_who_are_in_nothing() {
    let daemon = Daemon::with(LISTEN);
    let mut all: Vec<_> = (0..5).map(|_| daemon.connect("/act")).collect();
    let before = daemon.number("/memory/used");
    let _heads = unfinished_heads(&daemon, 70, 1);
    let used = daemon.number("/memory/used") - before;
    assert!(used < 10_000, "{used} bytes");
    let message = format!("out \\nlarge;{}", " ".repeat(60_000));
    let (begin, end) = message.as_bytes().split_at(30_000);
    let fragments = [masked(0x01, begin), masked(0x80, end)].concat();
    for ws in &mut all {
        ws.send_raw(&fragments);
    }
    for ws in &mut all {
        assert_eq!(ws.text(), "large");
    }
    daemon.status_until("/closes", serde_json::json!({}));
}

#[test]
fn heads_that_are_never_finished_give_their_memory_up_to_others() {
    let daemon = Daemon::with(&format!(
        "--max-connections 16 --jobs 2 --max-message 4096 --max-reply 4096 --queue 8192 {LISTEN}"
    ));
    let mut bystander = daemon.connect("/act");
    // As many as find room in the memory, and more.
    let mut heads = unfinished_heads(&daemon, 22, 8000);
    let message = format!("out \\nlarge;{}", " ".repeat(4000));
    let (begin, end) = message.as_bytes().split_at(2000);
    bystander.send_raw(&[masked(0x01, begin), masked(0x80, end)].concat());
    assert_eq!(bystander.text(), "large");
    let mut all: Vec<_> = (0..14).map(|_| daemon.connect("/act")).collect();
    let mut last = daemon.unix("ws.sock");
    last.write_all(request("/act", "").as_bytes())
        .expect("write");
    all.push(Ws::accepted(last));
    all.iter_mut().for_each(Ws::works);
    daemon.status_until("/closes", serde_json::json!({}));
    // Each is told: some that their memory is wanted, some, where a daemon is slow, that their time
    // is over.
    for head in &mut heads {
        let answer = read_answer(head);
        assert!([408, 503].contains(&answer.status), "{answer:?}");
    }
}
