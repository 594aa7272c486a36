//! RFC 6455 by raw bytes: frames, and what is wrong with them.

use crate::harness::{Daemon, masked, plain};
use tungstenite::Message;

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The bytes of several frames.
fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|(first, payload)| masked(*first, payload))
        .collect()
}

/// Sends bytes that break the protocol or a bound: the close frame on the wire, the close
/// event, the log and another connection tell of it.
fn refuses(daemon: &mut Daemon, bytes: &[u8], code: u16, reason: &str) {
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_raw(bytes);
    let frame = [&code.to_be_bytes(), reason.as_bytes()].concat();
    let expected = [&[FIN | CLOSE, frame.len() as u8][..], &frame].concat();
    let rest = ws.rest();
    assert_eq!(
        rest.escape_ascii().to_string(),
        expected.escape_ascii().to_string(),
        "after {:?}",
        bytes[..bytes.len().min(20)].escape_ascii().to_string()
    );
    daemon.expect(&format!("INFO {id}: closed with {code}: {reason}"));
    daemon.event(&format!("close {id} 0 {code} error {reason}"));
}

#[test]
fn a_broken_protocol_is_closed_with_1002_and_its_reason() {
    let mut daemon = Daemon::start();
    let mut other = daemon.connect("/act");
    let start = masked(TEXT, b"x");
    let inside = |frame: Vec<u8>| [start.clone(), frame].concat();
    for (bytes, reason) in [
        (
            b"\x81\x01x".to_vec(),
            "Received an unmasked frame from client",
        ),
        (
            b"\x88\x00".to_vec(),
            "Received an unmasked frame from client",
        ),
        (masked(0xc1, b"x"), "Reserved bits are non-zero"),
        (masked(0xa1, b"x"), "Reserved bits are non-zero"),
        (masked(0x91, b"x"), "Reserved bits are non-zero"),
        (masked(0xc9, b"x"), "Reserved bits are non-zero"),
        (masked(FIN | 3, b"x"), "Encountered invalid opcode: 3"),
        (masked(FIN | 7, b"x"), "Encountered invalid opcode: 7"),
        (masked(FIN | 11, b""), "Encountered invalid opcode: 11"),
        (masked(FIN | 15, b""), "Encountered invalid opcode: 15"),
        (masked(PING, b"x"), "Fragmented control frame"),
        (masked(CLOSE, b"\x03\xe8"), "Fragmented control frame"),
        (
            masked(FIN | PING, &[0; 126]),
            "Control frame too big (payload must be 125 bytes or less)",
        ),
        (
            masked(FIN | CLOSE, &[3; 126]),
            "Control frame too big (payload must be 125 bytes or less)",
        ),
        (masked(FIN, b"x"), "Continue frame but nothing to continue"),
        (masked(0, b"x"), "Continue frame but nothing to continue"),
        (
            inside(masked(FIN | TEXT, b"x")),
            "While waiting for more fragments received: TEXT",
        ),
        (
            inside(masked(BINARY, b"x")),
            "While waiting for more fragments received: BINARY",
        ),
        (masked(FIN | CLOSE, b"x"), "Invalid close sequence"),
    ] {
        refuses(&mut daemon, &bytes, 1002, reason);
    }
    daemon.status_until("/closes/1002", 19);
    other.works();
}

#[test]
fn a_close_code_that_may_not_be_sent_is_closed_with_1002() {
    let mut daemon = Daemon::start();
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let payload = [&code.to_be_bytes(), &b"bye"[..]].concat();
        let frame = masked(FIN | CLOSE, &payload);
        refuses(&mut daemon, &frame, 1002, "Protocol violation");
    }
}

#[test]
fn text_that_is_not_utf_8_is_closed_with_1007() {
    let mut daemon = Daemon::start();
    let mut other = daemon.connect("/act");
    for bytes in [
        masked(FIN | TEXT, b"\xff"),
        masked(FIN | TEXT, b"gr\xc3"),
        masked(FIN | TEXT, b"\xed\xa0\x80"),
        masked(FIN | TEXT, b"\xc0\xaf"),
        frames(&[(TEXT, b"gr\xc3"), (FIN, b"x")]),
        frames(&[(TEXT, b"gr\xc3"), (0, b""), (FIN, b"")]),
        masked(FIN | CLOSE, b"\x03\xe8\xff"),
    ] {
        refuses(&mut daemon, &bytes, 1007, "text is not UTF-8");
    }
    daemon.status_until("/events/message/failed", 0);
    other.works();
}

#[test]
fn a_message_that_is_too_big_is_closed_with_1009() {
    let mut daemon = Daemon::with("--max-message 1000");
    let mut other = daemon.connect("/act");
    let claim = |len: u64| [&[0x82, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4, 5]].concat();
    for bytes in [
        masked(FIN | BINARY, &[0; 1001]),
        masked(FIN | TEXT, &[b'x'; 1001]),
        masked(BINARY, &[0; 1001]),
        frames(&[(BINARY, &[0; 600]), (FIN, &[0; 401])]),
        frames(&[(BINARY, &[0; 1000]), (0, &[]), (FIN, &[0; 1])]),
        claim(1001),
        claim(1 << 32),
        claim((1 << 63) - 1),
        claim(u64::MAX),
    ] {
        refuses(&mut daemon, &bytes, 1009, "message too big");
    }
    other.works();
}

#[test]
fn a_message_that_just_fits_is_run_and_control_frames_always_fit() {
    let mut daemon = Daemon::with("--max-message 100");
    let mut ws = daemon.connect("/act");
    let script = [b"echo;".to_vec(), vec![b' '; 95]].concat();
    ws.send_raw(&masked(FIN | BINARY, &script));
    assert_eq!(ws.binary(), script);
    ws.send_raw(&frames(&[
        (TEXT, &script[..50]),
        (0, &script[50..]),
        (FIN, b""),
    ]));
    assert_eq!(ws.text().as_bytes(), script);
    let ping = [b'p'; 125];
    ws.send_raw(&masked(FIN | PING, &ping));
    assert_eq!(ws.any(), Message::Pong(ping.to_vec().into()));
    refuses(
        &mut daemon,
        &masked(FIN | TEXT, &[b'x'; 101]),
        1009,
        "message too big",
    );
}

#[test]
fn lengths_at_each_boundary_are_right_in_both_directions() {
    let daemon = Daemon::with("--max-message 66000 --max-reply 66000 --queue 99000");
    let mut ws = daemon.connect("/act");
    for len in [
        5, 125, 126, 127, 511, 512, 513, 4095, 4096, 65535, 65536, 66000,
    ] {
        let script = [b"echo;".to_vec(), vec![b' '; len - 5]].concat();
        ws.send_raw(&masked(FIN | BINARY, &script));
        ws.hears_raw(&plain(FIN | BINARY, &script));
    }
    ws.send_raw(&masked(FIN | TEXT, b"head Content-Length: 0"));
    ws.hears_raw(b"\x81\x00");
    let id = ws.id();
    for (first, len) in [(BINARY, 0), (TEXT, 1)] {
        // No script, or a blank one.
        ws.send_raw(&masked(FIN | first, &vec![b' '; len]));
        daemon.event(&format!("message {id} {len} "));
    }
}

#[test]
fn frames_may_come_byte_by_byte() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.stream().set_nodelay(true).expect("TCP_NODELAY");
    let script = [b"echo;".to_vec(), vec![b' '; 200]].concat();
    for byte in frames(&[(BINARY, &script), (FIN | PING, b"p"), (FIN, b"")]) {
        ws.send_raw(&[byte]);
    }
    ws.hears_raw(b"\x8a\x01p");
    ws.hears_raw(&plain(FIN | BINARY, &script));
}

#[test]
fn a_message_may_come_in_fragments_with_pings_between() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.send_raw(&frames(&[
        (TEXT, b"h"),
        (FIN | PING, b"one"),
        (0, b""),
        (0, b"ea"),
    ]));
    ws.hears_raw(b"\x8a\x03one");
    // Cut within a character.
    ws.send_raw(&frames(&[(0, b"d X-A: b;out gr\xc3"), (FIN | PING, b"")]));
    ws.hears_raw(b"\x8a\x00");
    ws.send_raw(&frames(&[(FIN, b"\xbcn")]));
    ws.hears_raw(&plain(FIN | TEXT, "grün".as_bytes()));
    // Nobody asked for this pong.
    ws.send_raw(&masked(FIN | PONG, b"x"));
    ws.works();
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for payload in [&b""[..], b"\0\xff\n", &[b'p'; 125]] {
        ws.send_raw(&masked(FIN | PING, payload));
        ws.hears_raw(&plain(FIN | PONG, payload));
    }
}

#[test]
fn of_many_pings_behind_a_blocked_socket_the_newest_is_answered() {
    let daemon = Daemon::with("--queue 2000000 --memory 20000000");
    let mut ws = daemon.narrow("/act?open=head WS-Join: @a");
    let mut other = daemon.connect("/act?open=head WS-Join: @b");
    let text = "x".repeat(10_000);
    for _ in 0..20 {
        daemon.outbox(format!("text @a {text}"));
    }
    daemon.status_until("/messages/queued", 20);
    for i in 0..50 {
        ws.send_raw(&masked(FIN | PING, format!("ping {i}").as_bytes()));
    }
    // Behind them, so they have been read.
    ws.send_raw(&masked(FIN | TEXT, b"box text @b read"));
    assert_eq!(other.text(), "read");
    ws.widen();
    for _ in 0..20 {
        assert_eq!(ws.any(), Message::text(text.as_str()));
    }
    assert_eq!(ws.any(), Message::Pong("ping 49".into()));
    daemon.outbox("text @a end");
    assert_eq!(ws.any(), Message::text("end"));
}
