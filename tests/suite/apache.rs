//! apache. What else works behind it `make compat` shows.

use crate::harness::{Daemon, Events, Server, Start, read_answer, read_head};
use std::time::Duration;

const SSE: &str = "/cgi-bin/nph-ws/act?via=sse";

/// Whether a page comes at once.
fn answers(apache: &Server) -> bool {
    let mut page = apache.upgrade("/", &[("Connection", "close"), ("Upgrade", "")]);
    let at_once = Duration::from_secs(1);
    page.set_read_timeout(Some(at_once)).expect("timeout");
    read_head(&mut page).is_ok_and(|answer| answer.status == 200)
}

#[test]
fn each_that_waits_holds_one_of_its_workers() {
    let daemon = Start::for_www_data().args("--ping 1").ready();
    let two = [
        ("MaxRequestWorkers 150", "MaxRequestWorkers 2"),
        ("Listen ", "ServerLimit 1\nThreadsPerChild 2\nListen "),
    ];
    let apache = Server::apache(&daemon, &two);
    let open = |daemon: &Daemon| {
        let stream = apache.upgrade(SSE, &[("Upgrade", ""), ("Sec-WebSocket-Key", "")]);
        let events = Events::parsed(stream);
        daemon.event(&format!("done open {}", events.id));
        events
    };
    let (first, second) = (open(&daemon), open(&daemon));
    assert!(!answers(&apache), "there is a third worker");
    // That one waits, in apache. The place of a browser that goes is free again.
    let id = first.id.clone();
    drop(first);
    daemon.event(&format!("close {id} 0 1006 client"));
    assert!(answers(&apache));
    drop(second);
}

#[test]
fn without_a_daemon_it_answers_503() {
    let mut daemon = Start::for_www_data().ready();
    let apache = Server::apache(&daemon, &[]);
    daemon.stop();
    for path in [SSE, "/cgi-bin/ws-post/act?via=sse"] {
        let no_upgrade = [("Upgrade", ""), ("Sec-WebSocket-Key", "")];
        let close = [("Connection", "close"), no_upgrade[0], no_upgrade[1]];
        let answer = read_answer(&mut apache.upgrade(path, &close));
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(answer.field("retry-after").is_some(), "{path}: {answer:?}");
        assert!(answer.body.contains("ws2cgi is not running"), "{answer:?}");
    }
}
