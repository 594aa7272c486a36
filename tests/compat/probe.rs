//! What works behind one web server.

use crate::Front;
use crate::harness::{Answer, Body, Events, group_members, masked, read_head, wait_for};
use crate::http::{answer, ask};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What has not come by then is held back.
const HELD_BACK: Duration = Duration::from_secs(10);
/// A browser that has gone is noticed at once by web servers that look; by others at the third
/// comment, of which each `--ping` has three: one is sent into the void, one fails, one finds
/// their end of the pipe closed. A ping is a second; the rest is for a busy machine.
const GONE: Duration = Duration::from_secs(10);

/// What is there for that long stays. Less than a poll waits.
const SETTLED: Duration = Duration::from_secs(1);

/// The columns of its row.
pub fn columns(front: &mut Front) -> [String; 6] {
    let websocket = websocket(front);
    let (stream, holds) = stream(front);
    let (poll, poll_holds) = poll(front);
    let columns = [
        yes(websocket),
        yes(stream),
        yes(poll),
        yes(old_page(front)),
        yes(post(front)),
        // Where there is no stream, a poll tells.
        holds.or(poll_holds).unwrap_or("–").to_owned(),
    ];
    // A web server that can't hand over a WebSocket is named in the log.
    front.daemon.quiet();
    columns
}

fn yes(works: bool) -> String {
    if works { "yes" } else { "no" }.to_owned()
}

/// An echo.
fn websocket(front: &Front) -> bool {
    let mut stream = front.site().upgrade(front.down, &[("Origin", "")]);
    stream.set_read_timeout(Some(HELD_BACK)).expect("timeout");
    let frame = masked(0x81, b"head X: y;out hello");
    let mut echo = [0; 7];
    let accepted = read_head(&mut stream).is_ok_and(|answer| answer.status == 101);
    accepted
        && stream.write_all(&frame).is_ok()
        && stream.read_exact(&mut echo).is_ok()
        && &echo == b"\x81\x05hello"
}

/// Fields that must have come through whatever the server makes of a head.
fn passed_on(answer: &Answer, also: &[&str]) {
    assert_eq!(
        answer.field("cache-control"),
        Some("no-store"),
        "{answer:?}"
    );
    for name in also {
        assert!(answer.field(name).is_some(), "{name}: {answer:?}");
    }
}

// ---- Down

/// A stream that has begun. None: its first event is held back.
fn open(front: &Front, version: &str) -> Option<(Events, TcpStream)> {
    let path = format!("{}?via=sse", front.down);
    let mut stream = ask(&front.site(), ("GET", version), &path, &[], b"");
    stream.set_read_timeout(Some(HELD_BACK)).expect("timeout");
    let answer = read_head(&mut stream).ok()?;
    passed_on(&answer, &[]);
    let copy = stream.try_clone().expect("a copy");
    let body = Body::of(&answer, stream);
    Some((Events::after(answer, body), copy))
}

/// Whether events come as they happen, and what is held meanwhile.
fn stream(front: &Front) -> (bool, Option<&'static str>) {
    let daemon = &front.daemon;
    for version in ["1.0", "1.1"] {
        let before = members(front);
        let Some((mut events, stream)) = open(front, version) else {
            return (false, None);
        };
        // One by one: nothing pushes another out.
        for n in 0..5 {
            daemon.outbox(format!("text @all {n}"));
            assert_eq!(events.text(), n.to_string());
        }
        daemon.outbox("binary @all AP8=");
        let binary = events.next().expect("an event");
        assert_eq!((&*binary.name, &*binary.data), ("binary", "AP8="));
        // So do comments; and it lasts.
        let comments = events.comments;
        while events.comments < comments + 2 {
            events.line().expect("a comment");
        }
        let holds = holder(front, &stream, &before);
        let (id, start) = (events.id.clone(), Instant::now());
        drop((events, stream));
        daemon.event(&format!("close {id} 0 1006 client"));
        assert!(start.elapsed() < GONE, "{:?}", start.elapsed());
        if version == "1.1" {
            return (true, Some(holds));
        }
    }
    unreachable!("there are two versions");
}

fn poll(front: &Front) -> (bool, Option<&'static str>) {
    let daemon = &front.daemon;
    let site = front.site();
    let mut holds = None;
    for version in ["1.0", "1.1"] {
        let get = |query: &str| {
            let path = format!("{}?via=poll{query}", front.down);
            ask(&site, ("GET", version), &path, &[], b"")
        };
        let Some((first, _)) = answer(get("&wait=0")) else {
            return (false, None);
        };
        assert_eq!(first.status, 204, "{first:?}");
        passed_on(&first, &["ws-id", "ws-key"]);
        let field = |name| first.field(name).expect("a field");
        let chain = format!("&id={}&key={}", field("ws-id"), field("ws-key"));
        // Between two polls; then while one waits.
        daemon.outbox("text @all between\nbinary @all AP8=");
        let next = || answer(get(&chain)).expect("an answer");
        assert_eq!(next().1, b"between");
        let (binary, bytes) = next();
        assert_eq!(
            binary.field("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(bytes, b"\0\xff");
        passed_on(&binary, &[]);
        let before = (members(front), descriptors(front));
        let waiting = get(&chain);
        wait_for("the daemon to have it", || {
            (!descriptors(front).is_subset(&before.1)).then_some(())
        });
        holds = Some(holder(front, &waiting, &before.0));
        daemon.outbox("text @all while it waits");
        assert_eq!(answer(waiting).expect("an answer").1, b"while it waits");
        let nothing = answer(get(&format!("{chain}&wait=0"))).expect("an answer");
        assert_eq!(nothing.0.status, 204);
        assert_eq!(
            answer(get(&format!("{chain}&close=1")))
                .expect("one")
                .0
                .status,
            204
        );
        daemon.event(&format!("close {} 0 1000 client", field("ws-id")));
    }
    (true, holds)
}

/// A page that knows nothing of us, at the URL of an ordinary program.
fn old_page(front: &Front) -> bool {
    let daemon = &front.daemon;
    let get = |fields: &[(&str, &str)]| ask(&front.site(), ("GET", "1.1"), front.old, fields, b"");
    let before = daemon.number("/accepted");
    let first = get(&[]);
    wait_for("it to be let in", || {
        (daemon.number("/accepted") > before).then_some(())
    });
    daemon.outbox("text @all while it waits\ntext @all between");
    let (first, body) = answer(first).expect("an answer");
    assert_eq!(body, b"while it waits", "{first:?}");
    let cookie = first.field("set-cookie").expect("a cookie");
    let (cookie, path) = cookie.split_once("; Path=").expect("its path");
    assert!(path.starts_with(&format!("{};", front.old)), "{path}");
    let (next, body) = answer(get(&[("Cookie", cookie)])).expect("an answer");
    passed_on(&next, &[]);
    body == b"between"
}

// ---- Up

fn post(front: &Front) -> bool {
    let daemon = &front.daemon;
    let site = front.site();
    let post = |query: &str, kind: &str, body: &[u8]| {
        let path = format!("{}{query}", front.up);
        let fields = [("Content-Type", kind)];
        answer(ask(&site, ("POST", "1.1"), &path, &fields, body))
    };
    // On its own.
    let made = b"out Status: 201 Made\\nX-A: b\\n\\nmade";
    let Some((alone, body)) = post("", "text/plain", made) else {
        return false;
    };
    assert_eq!((alone.status, &body[..]), (201, &b"made"[..]), "{alone:?}");
    passed_on(&alone, &["x-a"]);
    // Of a connection.
    let path = format!("{}?via=poll&wait=0", front.down);
    let (first, _) = answer(ask(&site, ("GET", "1.1"), &path, &[], b"")).expect("a poll");
    let field = |name| first.field(name).expect("a field");
    let of = format!("?id={}&key={}", field("ws-id"), field("ws-key"));
    let bytes = b"echo;\0\xff\r\n";
    let (echo, body) = post(&of, "application/octet-stream", bytes).expect("an answer");
    assert_eq!((echo.status, &body[..]), (200, &bytes[..]), "{echo:?}");
    assert_eq!(echo.field("content-type"), Some("application/octet-stream"));
    let silent = post(&of, "text/plain", b";").expect("an answer");
    assert_eq!(silent.0.status, 204, "{silent:?}");
    // More than a pipe or a buffer holds.
    let long = [
        b"head Content-Type: text/plain;out long;",
        &[b' '; 60_000][..],
    ]
    .concat();
    assert_eq!(
        post(&of, "text/plain", &long).expect("an answer").1,
        b"long"
    );
    let forged = post(&format!("?id={}&key=x", field("ws-id")), "text/plain", b"x");
    assert_eq!(forged.expect("an answer").0.status, 410);
    daemon.event(&format!("message {} 9 - - -", field("ws-id")));
    true
}

// ---- What is held meanwhile

fn members(front: &Front) -> BTreeSet<u32> {
    let group = front
        .server
        .as_ref()
        .map(|server| group_members(server.pid()));
    group.into_iter().flatten().collect()
}

/// The daemon's. Each has a number of its own.
fn descriptors(front: &Front) -> BTreeSet<String> {
    front.daemon.descriptors().into_iter().collect()
}

/// What the web server has of a browser that waits: a process that was not there `before`, the
/// browser's socket, or nothing.
fn holder(front: &Front, stream: &TcpStream, before: &BTreeSet<u32>) -> &'static str {
    let socket = socket(stream);
    let has = |pid: &u32| {
        let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
        let links = folder.flatten().flatten().map(|entry| entry.path());
        let mut links = links.filter_map(|path| std::fs::read_link(path).ok());
        links.any(|link| link.as_os_str() == socket.as_str())
    };
    // Whoever is on the way out is given the time: the hand-off is.
    let start = Instant::now();
    loop {
        let now = members(front);
        let holders: Vec<_> = now.iter().filter(|pid| has(pid)).collect();
        if holders.is_empty() && now.is_subset(before) {
            return "nothing";
        }
        if start.elapsed() > SETTLED {
            let new = now.difference(before).count() > 0;
            return if new { "a process" } else { "a connection" };
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `socket:[NUMBER]` of the other end of a loopback connection.
fn socket(stream: &TcpStream) -> String {
    let port = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let theirs = port(stream.peer_addr().expect("an address"));
    let ours = port(stream.local_addr().expect("an address"));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let mut rows = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1] == theirs && row[2] == ours);
    format!("socket:[{}]", row.expect("the connection")[9])
}
