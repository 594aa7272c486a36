//! Close codes and reasons (RFC 6455 §7.4), each class by its ends: from clients, from programs,
//! from the outbox.

use crate::harness::{CLOSE, Daemon, FIN, close_payload, masked, plain};

/// What may stand in a close frame: the registered codes, and those of frameworks and programs.
const GOOD: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];

/// What may not: not used, reserved for what was never sent, not registered.
const BAD: [u16; 13] = [
    0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535,
];

#[test]
fn a_clients_code_is_answered_with_the_same() {
    let daemon = Daemon::start();
    for code in GOOD {
        let reason = match code % 3 {
            0 => "",
            1 => "grün",
            _ => &"x".repeat(123),
        };
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send_raw(&masked(FIN | CLOSE, &close_payload(code, reason)));
        ws.hears_raw(&plain(FIN | CLOSE, &close_payload(code, reason)));
        assert_eq!(ws.rest(), b"", "behind the close");
        daemon.event(&format!("close {id} 0 {code} client {reason}"));
        daemon.status_until(&format!("/closes/{code}"), 1);
    }
}

#[test]
fn a_clients_word_of_a_broken_protocol_is_its_own() {
    // What tungstenite makes of a bad code, said by the client itself.
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let close = close_payload(1002, "Protocol violation");
    ws.send_raw(&masked(FIN | CLOSE, &close));
    ws.hears_raw(&plain(FIN | CLOSE, &close));
    assert_eq!(ws.rest(), b"");
    daemon.event(&format!("close {id} 0 1002 client Protocol violation"));
}

#[test]
fn a_clients_code_that_may_not_be_sent_is_closed_with_1002() {
    let mut daemon = Daemon::start();
    for code in BAD {
        let frame = masked(FIN | CLOSE, &close_payload(code, "bye"));
        daemon.refuses(&frame, 1002, "a close code that may not be sent");
    }
}

#[test]
fn a_close_may_come_byte_by_byte() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.stream().set_nodelay(true).expect("TCP_NODELAY");
    let close = close_payload(1014, "grün");
    for byte in masked(FIN | CLOSE, &close) {
        ws.send_raw(&[byte]);
    }
    ws.hears_raw(&plain(FIN | CLOSE, &close));
}

#[test]
fn programs_and_the_outbox_may_send_the_same_codes_and_no_others() {
    let mut daemon = Daemon::start();
    for code in GOOD {
        let mut by_reply = daemon.connect("/act");
        by_reply.send(&format!("head WS-Close: {code} bye"));
        by_reply.hears_raw(&plain(FIN | CLOSE, &close_payload(code, "bye")));
        let mut by_line = daemon.connect("/act");
        let id = by_line.id();
        daemon.outbox(format!("close {id} {code} bye"));
        by_line.hears_raw(&plain(FIN | CLOSE, &close_payload(code, "bye")));
    }
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let words = ["bye", "-1", "70000", "1000.0"].map(str::to_owned);
    let codes = BAD.iter().map(u16::to_string).chain(words);
    for (count, code) in codes.enumerate() {
        let why = format!("no close code that may be sent: '{code}'");
        ws.send(&format!("head WS-Close: {code} bye"));
        daemon.expect(&format!(
            "message event failed: printed no CGI reply: {why}"
        ));
        daemon.outbox(format!("close {id} {code} bye"));
        daemon.expect(&format!("outbox: line not carried out: {why}"));
        daemon.status_until("/outbox/bad", count + 1);
    }
    ws.works();
}
