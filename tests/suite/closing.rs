//! How connections end: the closing handshake (RFC 6455 §7), and its absence.

use crate::harness::{Daemon, masked, plain};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::net::Shutdown;

const CLOSE: u8 = 0x88;
const TEXT: u8 = 0x81;

/// A close frame's payload.
fn payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[test]
fn a_clients_close_is_answered_with_its_code() {
    let daemon = Daemon::start();
    for (code, reason) in [
        (1000, ""),
        (1001, "going"),
        (1003, ""),
        (1011, ""),
        (3000, "grün"),
        (3999, ""),
        (4000, ""),
        (4999, &"x".repeat(123)),
    ] {
        let mut ws = daemon.connect("/act");
        daemon.event("done open ");
        ws.send_raw(&masked(CLOSE, &payload(code, reason)));
        ws.hears_raw(&plain(CLOSE, &payload(code, reason)));
        assert_eq!(ws.rest(), b"", "behind the close");
        daemon.until_empty();
        let events = daemon.events();
        let told = format!(" 0 {code} client {reason}");
        assert!(events[events.len() - 2].ends_with(&told), "{events:?}");
    }
    daemon.status_until("/closes/1000", 1);
    daemon.status_until("/closes/4999", 1);
}

#[test]
fn a_close_without_a_code_is_1005_and_answered_without_one() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_raw(&masked(CLOSE, b""));
    ws.hears_raw(b"\x88\x00");
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 1005 client "));
}

#[test]
fn when_both_close_at_once_ours_counts_and_one_frame_is_sent() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // While its program runs nothing is read: the client's close waits in the socket.
    ws.send("until go;head X-A: b;out reply");
    daemon.event(&format!("message {id} 30 "));
    ws.send_raw(&masked(CLOSE, &payload(4001, "theirs")));
    daemon.outbox(format!("close {id} 4002 ours"));
    ws.hears_raw(&plain(CLOSE, &payload(4002, "ours")));
    daemon.let_go("go");
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4002 server ours"));
}

#[test]
fn what_comes_behind_our_close_is_discarded() {
    let daemon = Daemon::start();
    let messages = [masked(TEXT, b"out x"), masked(0x82, b"\xff")].concat();
    let answer = masked(CLOSE, b"\x03\xe8");
    // Messages before the answer, or nonsense instead of it.
    for behind in [[messages, answer].concat(), b"\x81\x01x nonsense".to_vec()] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        daemon.outbox(format!("close {id} 4000 ours"));
        ws.hears_raw(&plain(CLOSE, &payload(4000, "ours")));
        ws.send_raw(&behind);
        assert_eq!(ws.rest(), b"");
        daemon.event(&format!("close {id} 0 4000 server ours"));
        let events = daemon.events();
        let of_it = format!("message {id}");
        let messages = events.iter().filter(|event| event.starts_with(&of_it));
        assert_eq!(messages.count(), 1, "that of id()");
    }
    daemon.status_until("/closes/4000", 2);
    daemon.status_until("/messages/discarded", 2);
}

#[test]
fn messages_that_a_program_closes_over_are_counted() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // One segment: all of it is read before the first is run.
    let texts: [&[u8]; 4] = [b"out \\n", b"head WS-Close: 4000 enough", b"three", b"four"];
    ws.send_raw(&texts.map(|text| masked(TEXT, text)).concat());
    assert_eq!(ws.closed(), (4000, "enough".to_owned()));
    daemon.event(&format!("done close {id}"));
    daemon.status_until("/messages/discarded", 2);
    daemon.status_until("/events/message/done", 3);
}

#[test]
fn a_peer_that_ignores_our_close_is_shut() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    daemon.outbox(format!("close {id} 4000 ours"));
    ws.hears_raw(&plain(CLOSE, &payload(4000, "ours")));
    // A ping does not keep it.
    ws.send_raw(&masked(0x89, b"alive"));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4000 server ours"));
    daemon.until_empty();
}

#[test]
fn half_a_close_still_gets_the_replies() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_raw(&[masked(TEXT, b"echo"), masked(TEXT, b"echo;")].concat());
    ws.stream().shutdown(Shutdown::Write).expect("FIN");
    ws.hears_raw(&plain(TEXT, b"echo"));
    ws.hears_raw(&plain(TEXT, b"echo;"));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 1006 client "));
}

#[test]
fn whoever_vanishes_is_1006() {
    let daemon = Daemon::start();
    let mut other = daemon.connect("/act");
    // FIN and RST, between frames and within one.
    for (sent, reset) in [(0, false), (9, false), (0, true), (9, true)] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send_raw(&masked(TEXT, b"out never")[..sent]);
        if reset {
            let now = linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(ws.stream(), Linger, &now).expect("SO_LINGER");
        }
        drop(ws);
        daemon.event(&format!("close {id} 0 1006 client "));
    }
    daemon.status_until("/closes/1006", 4);
    other.works();
}
