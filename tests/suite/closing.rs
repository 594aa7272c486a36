//! How connections end: the closing handshake (RFC 6455 §7), and its absence.

use crate::harness::{CLOSE, Daemon, FIN, PING, TEXT, close_payload, frames, masked, plain};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::net::Shutdown;

#[test]
fn a_close_without_a_code_is_1005_and_answered_without_one() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_raw(&masked(FIN | CLOSE, b""));
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
    ws.send_raw(&masked(FIN | CLOSE, &close_payload(4001, "theirs")));
    daemon.outbox(format!("close {id} 4002 ours"));
    ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4002, "ours")));
    daemon.let_go("go");
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4002 server ours"));
}

#[test]
fn a_close_that_comes_while_an_event_runs_waits_for_its_reply() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("until go;head X-A: b;out reply");
    daemon.event(&format!("message {id} 30 "));
    ws.send_raw(&masked(FIN | CLOSE, &close_payload(4001, "theirs")));
    daemon.let_go("go");
    ws.hears_raw(&plain(FIN | TEXT, b"reply"));
    ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4001, "theirs")));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4001 client theirs"));
}

#[test]
fn a_reply_that_closes_and_a_close_on_its_way_are_one_end() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // Both in one segment: the client's close is there before its message is run.
    let message = masked(FIN | TEXT, b"head WS-Close: 4002 ours");
    let close = masked(FIN | CLOSE, &close_payload(4001, "theirs"));
    ws.send_raw(&[message, close].concat());
    ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4002, "ours")));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4002 server ours"));
    daemon.until_empty();
    daemon.status_until("/events/close/done", 1);
}

#[test]
fn what_comes_behind_a_clients_close_is_nothing() {
    let daemon = Daemon::start();
    for behind in [
        frames(&[(FIN | TEXT, b"out never"), (FIN | PING, b"")]),
        masked(FIN | CLOSE, &close_payload(4002, "once more")),
        b"\x81\x01x nonsense".to_vec(),
        vec![0xff; 9000],
    ] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        let close = masked(FIN | CLOSE, &close_payload(4001, "end"));
        ws.send_raw(&[close, behind].concat());
        ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4001, "end")));
        assert_eq!(ws.rest(), b"");
        daemon.event(&format!("close {id} 0 4001 client end"));
        daemon.until_gone(&id);
    }
    daemon.status_until("/events/message/done", 4);
    daemon.status_until("/events/message/failed", 0);
}

#[test]
fn a_close_between_fragments_ends_the_message_too() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let close = close_payload(4001, "enough");
    ws.send_raw(&frames(&[
        (TEXT, b"out "),
        (FIN | CLOSE, &close),
        (FIN, b"never"),
    ]));
    ws.hears_raw(&plain(FIN | CLOSE, &close));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 4001 client enough"));
    daemon.status_until("/events/message/done", 1);
}

#[test]
fn what_comes_behind_our_close_is_discarded() {
    let daemon = Daemon::start();
    let messages = [masked(FIN | TEXT, b"out x"), masked(0x82, b"\xff")].concat();
    let answer = masked(FIN | CLOSE, b"\x03\xe8");
    // Messages before the answer, or nonsense instead of it.
    for behind in [[messages, answer].concat(), b"\x81\x01x nonsense".to_vec()] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        daemon.outbox(format!("close {id} 4000 ours"));
        ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4000, "ours")));
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
fn what_comes_behind_our_close_takes_no_memory() {
    let daemon = Daemon::start();
    let mut all: Vec<_> = (0..20).map(|_| daemon.connect("/act")).collect();
    let large = masked(0x82, &[0xff; 65_000]);
    let before = daemon.anonymous();
    // They are there for 5 seconds more, as none of them answers.
    daemon.outbox("close @all");
    for (i, ws) in all.iter_mut().enumerate() {
        ws.send_raw(&large);
        daemon.status_until("/messages/discarded", i + 1);
    }
    let kept = daemon.anonymous().saturating_sub(before);
    // What an allocator has at hand.
    assert!(kept < 300, "{kept} KB of what was discarded");
}

#[test]
fn messages_that_a_program_closes_over_are_counted() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // One segment: all of it is read before the first is run.
    let texts: [&[u8]; 4] = [b"out \\n", b"head WS-Close: 4000 enough", b"three", b"four"];
    ws.send_raw(&texts.map(|text| masked(FIN | TEXT, text)).concat());
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
    ws.hears_raw(&plain(FIN | CLOSE, &close_payload(4000, "ours")));
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
    ws.send_raw(&[masked(FIN | TEXT, b"echo"), masked(FIN | TEXT, b"echo;")].concat());
    ws.stream().shutdown(Shutdown::Write).expect("FIN");
    ws.hears_raw(&plain(FIN | TEXT, b"echo"));
    ws.hears_raw(&plain(FIN | TEXT, b"echo;"));
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
        ws.send_raw(&masked(FIN | TEXT, b"out never")[..sent]);
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
