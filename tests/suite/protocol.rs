//! RFC 6455 by raw bytes: frames, and what is wrong with them.

use crate::harness::{
    BINARY, CLOSE, Daemon, FIN, PING, PONG, TEXT, frames, masked, masked_by, plain,
};
use tungstenite::Message;

#[test]
fn a_broken_protocol_is_closed_with_1002_and_its_reason() {
    let mut daemon = Daemon::start();
    let mut other = daemon.connect("/act");
    let start = masked(TEXT, b"x");
    let inside = |frame: Vec<u8>| [start.clone(), frame].concat();
    let unmasked = "Received an unmasked frame from client";
    let reserved = "Reserved bits are non-zero";
    let fragmented = "Fragmented control frame";
    let too_big = "Control frame too big (payload must be 125 bytes or less)";
    let nothing = "Continue frame but nothing to continue";
    let mut cases = vec![
        (b"\x81\x01x".to_vec(), unmasked.to_owned()),
        (b"\x82\x00".to_vec(), unmasked.to_owned()),
        (b"\x88\x00".to_vec(), unmasked.to_owned()),
        (b"\x8a\x00".to_vec(), unmasked.to_owned()),
        (inside(b"\x80\x01x".to_vec()), unmasked.to_owned()),
        (masked(FIN, b"x"), nothing.to_owned()),
        (masked(0, b"x"), nothing.to_owned()),
        (frames(&[(FIN | PONG, b""), (0, b"")]), nothing.to_owned()),
        (
            masked(FIN | CLOSE, b"x"),
            "Invalid close sequence".to_owned(),
        ),
    ];
    for bits in [0x40, 0x20, 0x10, 0x70] {
        for first in [FIN | TEXT, BINARY, FIN | PING, FIN | CLOSE] {
            cases.push((masked(bits | first, b""), reserved.to_owned()));
        }
        cases.push((inside(masked(bits | FIN, b"x")), reserved.to_owned()));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let reason = format!("Encountered invalid opcode: {opcode}");
        cases.push((masked(FIN | opcode, b"x"), reason.clone()));
        cases.push((inside(masked(opcode, b"")), reason));
    }
    for opcode in [CLOSE, PING, PONG] {
        cases.push((masked(opcode, b"\x03\xe8"), fragmented.to_owned()));
        cases.push((inside(masked(opcode, b"")), fragmented.to_owned()));
        for len in [126, 127, 65535, 65536] {
            cases.push((masked(FIN | opcode, &vec![3; len]), too_big.to_owned()));
        }
    }
    for (opcode, name) in [(TEXT, "TEXT"), (BINARY, "BINARY")] {
        let reason = format!("While waiting for more fragments received: {name}");
        cases.push((inside(masked(FIN | opcode, b"x")), reason.clone()));
        cases.push((inside(masked(opcode, b"x")), reason.clone()));
        cases.push((
            inside(frames(&[(0, b""), (FIN | PONG, b""), (opcode, b"")])),
            reason,
        ));
    }
    for (bytes, reason) in &cases {
        daemon.refuses(bytes, 1002, reason);
    }
    daemon.status_until("/closes/1002", cases.len());
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
        // The highest bit must be 0, says RFC 6455 §5.2; too big it is all the same.
        claim(1 << 63),
        claim(u64::MAX),
    ] {
        daemon.refuses(&bytes, 1009, "message too big");
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
    daemon.refuses(&masked(FIN | TEXT, &[b'x'; 101]), 1009, "message too big");
}

/// A client's frame whose length takes more bytes than it need.
fn long_form(first: u8, payload: &[u8], long: bool) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | if long { 127 } else { 126 }];
    let len = (payload.len() as u64).to_be_bytes();
    frame.extend(if long { &len[..] } else { &len[6..] });
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn a_length_in_a_longer_form_than_it_need_is_what_it_says() {
    // RFC 6455 §5.2 forbids it to senders, and asks no receiver to mind.
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for len in [5, 125, 126, 600] {
        let script = [b"echo;".to_vec(), vec![b' '; len - 5]].concat();
        for long in [false, true] {
            ws.send_raw(&long_form(FIN | TEXT, &script, long));
            ws.hears_raw(&plain(FIN | TEXT, &script));
        }
    }
    for long in [false, true] {
        ws.send_raw(&long_form(FIN | PING, b"p", long));
        ws.hears_raw(b"\x8a\x01p");
        let too_big = "Control frame too big (payload must be 125 bytes or less)";
        daemon.refuses(&long_form(FIN | PING, &[0; 126], long), 1002, too_big);
    }
    ws.send_raw(&long_form(FIN | CLOSE, b"\x0f\xa0bye", true));
    ws.hears_raw(b"\x88\x05\x0f\xa0bye");
}

#[test]
fn each_frame_has_a_mask_of_its_own() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.stream().set_nodelay(true).expect("TCP_NODELAY");
    let script = b"echo;exit 0;\xff\0\x81";
    for (i, mask) in [[0; 4], [0xff; 4], [0, 0, 0, 1], [0x81, 0x82, 0x88, 0x8a]]
        .into_iter()
        .enumerate()
    {
        // Cut where the mask does not begin anew with the fragment's bytes.
        let (start, end) = script.split_at(i + 1);
        let both = [
            masked_by(mask, BINARY, start),
            masked_by([7, 0, 7, 0], FIN, end),
        ]
        .concat();
        // And read in pieces that the mask does not begin anew with either.
        for piece in both.chunks(3) {
            ws.send_raw(piece);
        }
        ws.hears_raw(&plain(FIN | BINARY, script));
    }
}

#[test]
fn lengths_at_each_boundary_are_right_in_both_directions() {
    let daemon = Daemon::with("--max-message 66000 --max-reply 66000 --queue 99000");
    let mut ws = daemon.connect("/act");
    for len in [
        5, 124, 125, 126, 127, 511, 512, 513, 4095, 4096, 65534, 65535, 65536, 66000,
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
    ws.works();
}

#[test]
fn a_message_may_come_in_hundreds_of_fragments_with_control_frames_between_all() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let script = [b"echo;".to_vec(), vec![b' '; 400]].concat();
    let mut stream = masked(TEXT, b"");
    for byte in &script {
        stream.extend(frames(&[(FIN | PONG, b"unasked"), (0, &[*byte]), (0, b"")]));
    }
    stream.extend(frames(&[(FIN | PING, b"last"), (FIN, b"")]));
    ws.send_raw(&stream);
    ws.hears_raw(b"\x8a\x04last");
    ws.hears_raw(&plain(FIN | TEXT, &script));
}

#[test]
fn a_pong_that_nobody_asked_for_is_no_message() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        ws.send_raw(&masked(FIN | PONG, payload));
    }
    ws.works();
    daemon.status_until("/events/message/done", 1);
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for payload in [&b""[..], b"\0\xff\n", &[b'p'; 124], &[b'p'; 125]] {
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
