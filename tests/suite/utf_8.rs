//! Text messages and close reasons are UTF-8 (RFC 6455 §8.1), however they are cut.

use crate::harness::{CLOSE, Daemon, FIN, PING, TEXT, frames, masked, plain};

/// The first and last of each length, and the neighbours of the surrogates.
const CHARACTERS: &str = "\u{1}\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffd}\u{ffff}\
    \u{10000}\u{10ffff}";

/// No characters: lone and missing continuations, too long forms, surrogates, beyond the last.
const NONE: [&[u8]; 16] = [
    b"\x80",
    b"\xbf",
    b"\xc3",
    b"\xc3\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xfe",
    b"\xff",
];

const WHY: &str = "text is not UTF-8";

#[test]
fn text_may_be_cut_within_any_character() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.stream().set_nodelay(true).expect("TCP_NODELAY");
    let text = format!("echo;exit 0;{CHARACTERS}").into_bytes();
    for cut in 12..text.len() {
        let (start, end) = text.split_at(cut);
        // By frames, with a ping between; and by reads.
        let fragments = frames(&[(TEXT, start), (FIN | PING, b"\xff"), (FIN, end)]);
        ws.send_raw(&fragments);
        ws.hears_raw(b"\x8a\x01\xff");
        ws.hears_raw(&plain(FIN | TEXT, &text));
        let whole = masked(FIN | TEXT, &text);
        let (start, end) = whole.split_at(6 + cut);
        ws.send_raw(start);
        ws.send_raw(end);
        ws.hears_raw(&plain(FIN | TEXT, &text));
    }
    let each: Vec<_> = text.iter().map(|byte| [*byte]).collect();
    let mut single: Vec<(u8, &[u8])> = each.iter().map(|byte| (0, &byte[..])).collect();
    single[0].0 = TEXT;
    single.push((FIN, b""));
    ws.send_raw(&frames(&single));
    ws.hears_raw(&plain(FIN | TEXT, &text));
}

#[test]
fn what_is_no_text_is_closed_with_1007() {
    let mut daemon = Daemon::start();
    let mut other = daemon.connect("/act");
    for bytes in NONE {
        let inside = [b"gr\xc3\xbcn ", bytes, b"x"].concat();
        daemon.refuses(&masked(FIN | TEXT, bytes), 1007, WHY);
        daemon.refuses(&masked(FIN | TEXT, &inside), 1007, WHY);
        let reason = [b"\x03\xe8", bytes].concat();
        daemon.refuses(&masked(FIN | CLOSE, &reason), 1007, WHY);
    }
    daemon.status_until("/events/message/failed", 0);
    daemon.status_until("/closes/1007", 3 * NONE.len());
    other.works();
}

#[test]
fn it_is_closed_with_the_fragment_that_makes_it_no_text() {
    let mut daemon = Daemon::start();
    // The message never ends, or only after it has gone wrong.
    for fragments in [
        &[(TEXT, &b"\xff"[..])][..],
        &[(TEXT, b"gr\xc3"), (0, b"x")],
        &[(TEXT, b"gr\xc3"), (0, b""), (0, b"\xc3")],
        &[(TEXT, b"gr"), (0, b"\xf4"), (FIN | PING, b""), (0, b"\x90")],
        &[(TEXT, b"gr\xed"), (0, b"\xa0")],
    ] {
        let pings = fragments.iter().filter(|f| f.0 == FIN | PING).count();
        if pings == 0 {
            daemon.refuses(&frames(fragments), 1007, WHY);
        } else {
            let mut ws = daemon.connect("/act");
            ws.send_raw(&frames(fragments));
            ws.hears_raw(b"\x8a\x00");
            assert_eq!(ws.closed(), (1007, WHY.to_owned()));
        }
    }
    // A character that is cut off is wrong with the last fragment, and not before.
    for fragments in [
        &[(TEXT, &b"gr\xc3"[..]), (FIN, b"")][..],
        &[(TEXT, b"gr\xc3"), (0, b""), (FIN, b"")],
        &[(TEXT, b"\xf0\x9f"), (FIN, b"\x98")],
    ] {
        daemon.refuses(&frames(fragments), 1007, WHY);
        let before = &fragments[..fragments.len() - 1];
        let mut ws = daemon.connect("/act");
        ws.send_raw(&[frames(before), masked(FIN | PING, b"")].concat());
        ws.hears_raw(b"\x8a\x00");
    }
}

#[test]
fn a_binary_message_may_hold_what_is_no_text() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let bytes = [b"echo;exit 0;", &NONE.concat()[..]].concat();
    ws.send_binary(&bytes);
    assert_eq!(ws.binary(), bytes);
}
