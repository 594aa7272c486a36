//! A client nobody here wrote, Python's `websockets`, with each way to the daemon.

use crate::harness::{Daemon, Server, compile, peer};
use std::os::unix::fs::symlink;

/// A case of tests/peers/peer.py, by boa, by lighttpd and by `--listen`.
fn every_way(case: &str, program: &str) -> Daemon {
    let args = "--listen 127.0.0.1:0 --max-message 70000 --max-reply 70000";
    let daemon = Daemon::with(args);
    symlink(compile("cgi-bin/echo.c"), daemon.path("handlers/echo")).expect("echo");
    let (boa, lighttpd) = (Server::boa("rc21", &daemon), Server::lighttpd(&daemon));
    for url in [
        format!("ws://127.0.0.1:{}/cgi-bin/nph-ws/{program}", boa.port),
        format!("ws://127.0.0.1:{}/cgi-bin/nph-ws/{program}", lighttpd.port),
        format!("ws://127.0.0.1:{}/{program}", daemon.port("tcp")),
    ] {
        peer(case, &url, None);
        daemon.until_empty();
    }
    daemon
}

#[test]
fn text_is_echoed_as_text() {
    every_way("text", "echo");
}

#[test]
fn binary_is_echoed_as_binary() {
    every_way("binary", "echo");
}

#[test]
fn big_messages_arrive_whole() {
    every_way("big", "echo");
}

#[test]
fn fragments_make_one_message() {
    every_way("fragments", "echo");
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    every_way("ping", "echo");
}

#[test]
fn a_close_is_answered_with_its_code() {
    every_way("close", "echo");
}

#[test]
fn a_program_closes_with_a_code_of_its_own() {
    every_way("server_close", "act");
}

#[test]
fn a_subprotocol_is_agreed_on() {
    every_way("protocol", "act");
}

#[test]
fn a_foreign_page_is_refused() {
    let mut daemon = every_way("foreign", "echo");
    daemon.expect("WARN 127.0.0.1: 403: a page of ");
}

#[test]
fn sixty_four_connections_at_once() {
    every_way("parallel", "echo");
}
