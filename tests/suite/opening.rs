//! The outbox and connections whose open program still runs, or whose 101 is not out yet.

use crate::harness::{Daemon, Ws, read_answer};
use crate::memory::least_memory;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The id of a connection whose open program is waiting.
fn opening(daemon: &Daemon) -> String {
    let line = daemon.event("open ");
    line.split(' ').nth(1).expect("an id").to_owned()
}

#[test]
fn frames_for_an_id_wait_behind_the_101() {
    let daemon = Daemon::start();
    let raw = daemon.raw("/act?open=until go;head WS-Join: @late", &[]);
    let id = opening(&daemon);
    daemon.outbox(format!(
        "text {id} one\njoin {id} @r\ntext @r two\ntext /act no"
    ));
    daemon.outbox(format!(
        "text @late no\ntext @all no\nbinary @all~{id} AA=="
    ));
    daemon.status_until("/messages/nobody", 4);
    daemon.status_until("/messages/queued", 2);
    daemon.let_go("go");
    let mut ws = Ws::accepted(raw);
    assert_eq!([ws.text(), ws.text()], ["one", "two"]);
    daemon.outbox("text /act three\ntext @all four\ntext @late five\ntext @r six");
    assert_eq!(until_count(&mut ws, 4), ["three", "four", "five", "six"]);
    ws.works();
}

fn until_count(ws: &mut Ws, count: usize) -> Vec<String> {
    std::iter::repeat_with(|| ws.text()).take(count).collect()
}

#[test]
fn frames_for_an_id_that_is_then_refused_are_dropped_and_counted() {
    let mut daemon = Daemon::start();
    let mut raw = daemon.raw("/act?open=until go;head Status: 403 No;out go away", &[]);
    let id = opening(&daemon);
    daemon.outbox(format!(
        "text {id} one\nbinary {id} AA==\njoin {id} @r\ntext @r three"
    ));
    daemon.status_until("/messages/queued", 3);
    daemon.let_go("go");
    let answer = read_answer(&mut raw);
    assert_eq!((answer.status, answer.body.as_str()), (403, "go away"));
    daemon.status_until("/messages/dropped", 3);
    daemon.expect(&format!("{id}: 3 messages dropped from its queue"));
    daemon.until_empty();
    assert_eq!(
        daemon.events(),
        [format!("open {id} 0 - - -"), format!("done open {id}")]
    );
}

#[test]
fn a_close_before_the_verdict_comes_behind_the_101_and_what_was_sent() {
    // --upgrade-delay: also between the verdict and the 101.
    for option in ["--upgrade-delay 0", "--upgrade-delay 1"] {
        let daemon = Daemon::with(option);
        let raw = daemon.raw("/act?open=until go;head WS-State: x", &[]);
        let id = opening(&daemon);
        daemon.outbox(format!(
            "text {id} one\nclose {id} 4002 early\ntext {id} late"
        ));
        daemon.status_until("/messages/nobody", 1);
        daemon.let_go("go");
        let mut ws = Ws::accepted(raw);
        assert_eq!(ws.text(), "one");
        assert_eq!(ws.closed(), (4002, "early".to_owned()));
        daemon.event(&format!("close {id} 0 4002 server early"));
        daemon.status_until("/messages/dropped", 0);
    }
}

#[test]
fn the_101_is_not_there_before_the_delay_is_over() {
    let daemon = Daemon::with("--upgrade-delay 300");
    let begin = Instant::now();
    let mut raw = daemon.raw("/act", &[]);
    raw.read_exact(&mut [0]).expect("a first byte");
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_reply_that_sends_and_closes_loses_nothing_to_a_delayed_101() {
    let daemon = Daemon::with("--upgrade-delay 200");
    let url = "/act?open=head WS-Join: @b\\nWS-To: @b\\nWS-Close: 4003 no more;out hello";
    let mut ws = daemon.connect(url);
    assert_eq!(ws.text(), "hello");
    assert_eq!(ws.closed(), (4003, "no more".to_owned()));
}

#[test]
fn a_close_before_a_refusal_is_forgotten() {
    let daemon = Daemon::start();
    let mut raw = daemon.raw("/act?open=until go;head Status: 401", &[]);
    let id = opening(&daemon);
    daemon.outbox(format!("close {id} 4002\ntext @nobody x"));
    daemon.status_until("/messages/nobody", 1);
    daemon.let_go("go");
    assert_eq!(read_answer(&mut raw).status, 401);
    daemon.until_empty();
    assert!(
        daemon
            .events()
            .iter()
            .all(|event| !event.starts_with("close"))
    );
    let closes = &daemon.status()["closes"];
    assert!(
        closes.as_object().expect("an object").is_empty(),
        "{closes}"
    );
}

/// A client whose open program waits, then says this with 50,000 bytes, for which what was sent to
/// it meanwhile has left no memory; and how many messages that were.
fn opening_in_little_memory(verdict: &str) -> (Daemon, TcpStream, usize) {
    let usual = "--jobs 1 --max-message 1000 --max-reply 60000 --queue 1000000";
    let patient = "--slow-timeout 100 --event-timeout 101";
    let daemon = Daemon::with(&format!("{} {patient}", least_memory(usual)));
    let raw = daemon.raw(&format!("/act?open=until go;{verdict};flood 50000"), &[]);
    let id = opening(&daemon);
    let left = || daemon.number("/memory/bound") - daemon.number("/memory/used");
    let line = "x".repeat(3000);
    let mut lines = 0;
    while left() > 40_000 {
        daemon.outbox(format!("text {id} {line}"));
        lines += 1;
        daemon.status_until("/messages/queued", lines);
    }
    daemon.let_go("go");
    (daemon, raw, lines)
}

#[test]
fn what_was_sent_to_it_meanwhile_leaves_room_for_its_refusal() {
    let (mut daemon, mut raw, lines) = opening_in_little_memory("head Status: 403 No");
    let answer = read_answer(&mut raw);
    assert_eq!((answer.status, answer.body.len()), (403, 50_000));
    daemon.expect(&format!(": {lines} messages dropped from its queue"));
}

#[test]
fn what_was_sent_to_it_meanwhile_goes_out_before_its_programs_message() {
    let (daemon, raw, lines) = opening_in_little_memory("head WS-To: @all");
    let mut ws = Ws::accepted(raw);
    for _ in 0..lines {
        assert_eq!(ws.text().len(), 3000);
    }
    assert_eq!(ws.text().len(), 50_000);
    daemon.status_until("/messages/dropped", 0);
}
