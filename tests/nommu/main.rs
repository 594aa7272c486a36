//! The native daemon on a board without an MMU: a real Linux in QEMU, with 16 MB and with 8,
//! busybox, the stand-in for boa in two of its modes, and event programs in C.
//!
//! Each test boots a board of its own: that takes half a second, and nothing of another test
//! is left in its memory. `make test-nommu` builds what they boot, and runs them.

// The ban is on the daemon's floors; the tests stand outside.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod board;
// Not all of what the suite's tests need is needed here.
#[allow(dead_code)]
#[path = "../suite/harness/http.rs"]
mod http;
#[path = "../suite/harness/site.rs"]
mod site;
#[allow(dead_code)]
#[path = "../suite/harness/stream.rs"]
mod stream;
#[path = "../suite/harness/waiting.rs"]
mod waiting;
#[allow(dead_code)]
#[path = "../suite/harness/ws.rs"]
mod ws;

use board::Board;
use http::{Answer, read_answer, read_head};
use site::{Site, free_port, send_head};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use stream::Events;
use waiting::wait_for;
use ws::{KEY, Ws};

/// Nothing takes longer than this, not even on an emulator that has a tenth of a processor.
const PATIENCE: Duration = Duration::from_secs(60);

/// What free memory may differ by, in KB, once all is as it was: the kernel keeps some pages in
/// lists of its own. The smallest loss worth the name, a page for each of 2000 events, is 8000.
const SLACK: i64 = 64;

/// The daemon's stack in bytes, from gcc.specs.
const STACK: usize = 65536;

/// A page of boa's asks for a WebSocket, and tells no more than such a boa passes on.
fn from_uclinux(board: &Board, path: &str) -> Ws {
    Ws::accepted(board.uclinux.upgrade(path, &[("Origin", "http://board")]))
}

fn echoes(ws: &mut Ws, text: &str) {
    assert_eq!(ws.ask(text), text);
}

/// Whatever `upgrade` asked for was refused; returns the status.
fn refused(mut stream: TcpStream) -> u16 {
    read_answer(&mut stream).status
}

// ---- It starts, and serves

fn starts_and_serves(megabytes: u32) {
    let board = Board::boot(megabytes, "");
    let page = include_str!("../peers/page.html");
    assert_eq!(board.pages.get("/index.html").body, page);
    assert_eq!(board.uclinux.get("/").body, page);
    assert_eq!(board.rc21.get("/").body, page);
    assert!(board.run("uname -a").contains("riscv64"));
    println!(
        "{megabytes} MB: {} ms to a daemon that is ready; {} KB free, {} KB are the daemon's",
        board.boot.as_millis(),
        board.free(),
        board.daemons(),
    );
}

#[test]
fn it_starts_and_pages_are_served() {
    starts_and_serves(16);
}

#[test]
fn no_program_can_fork_and_none_tries() {
    let mut board = Board::boot(16, "");
    // What does try is seen: the board's end fails the test for any other line of the kernel's.
    assert_eq!(board.run("fork"), "fork: Invalid argument\n");
    board.expect("] fork tried to fork");
    let mut ws = board.rc21.ws("/cgi-bin/nph-ws/act");
    assert_eq!(ws.ask("child sleep 1;out \nchild"), "child");
    ws.close(1000, "");
    board.until_empty();
}

// ---- The hand-off

#[test]
fn boa_of_uclinux_hands_over() {
    let mut board = Board::boot(16, "");
    let mut act = from_uclinux(&board, "/cgi-bin/nph-act?open=out%20WS-State:%20me%5Cn%5Cn");
    let env = act.ask("env");
    for line in [
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/cgi-bin/nph-act",
        "WS_EVENT=message",
        "WS_ROUTE=/act",
        "WS_STATE=me",
        "HTTP_ORIGIN=http://board",
        "SERVER_SOFTWARE=Boa/0.93.15",
    ] {
        assert!(env.lines().any(|l| l == line), "no {line} in {env}");
    }
    echoes(&mut act, "echo");
    assert_eq!(act.close(1000, ""), 1000);
    // It passes no Host on, so any other page is a stranger.
    assert_eq!(refused(board.uclinux.upgrade("/cgi-bin/nph-act", &[])), 403);
    board.expect("no Host to compare");
}

#[test]
fn boa_0_94_14_hands_over_and_may_be_restarted() {
    let mut board = Board::boot(16, "");
    let mut chat = board.rc21.ws("/cgi-bin/nph-ws/echo");
    echoes(&mut chat, "before");
    // A web server that begins anew takes nothing along that it has handed over.
    board.run("kill -KILL $(pidof boa)");
    board.allow("(pid ");
    board.until_said("\n8082\n", 2);
    echoes(&mut chat, "between");
    echoes(&mut board.rc21.ws("/cgi-bin/nph-ws/echo"), "after");
    assert_eq!(
        refused(board.rc21.upgrade("/cgi-bin/nph-ws/none", &[])),
        404
    );
}

// ---- Events, rooms, the outbox

#[test]
fn open_message_and_close_are_one_program_each() {
    let mut board = Board::boot(16, "");
    let mut ws = board
        .direct
        .ws("/act?open=head%20Set-Cookie:%20a=b&close=err%20bye");
    assert_eq!(ws.answer.field("set-cookie"), Some("a=b"));
    let id = ws.id();
    ws.send("head Content-Type: application/octet-stream;out \\x00\\xff");
    assert_eq!(ws.binary(), b"\0\xff");
    assert_eq!(ws.close(4001, "done"), 4001);
    board.expect("bye");
    let done = board.run_until("cat /usr/lib/ws-bin/events", |said| {
        said.contains("done close")
    });
    let begun: Vec<_> = done.lines().filter(|l| !l.starts_with("done")).collect();
    assert_eq!(begun[0], format!("open {id} 0 - - -"));
    assert_eq!(begun[1], format!("message {id} 3 - - -"));
    assert_eq!(begun[3], format!("close {id} 0 4001 client done"));
    let answer = read_answer(&mut board.direct.upgrade("/act?open=head%20Status:%20403", &[]));
    assert_eq!(answer.status, 403);
}

#[test]
fn rooms_and_the_outbox_reach_everyone() {
    let board = Board::boot(16, "");
    let join = "/cgi-bin/nph-ws/act?open=head%20WS-Join:%20@a";
    let mut all = [
        board.rc21.ws(join),
        board.direct.ws("/act?open=head%20WS-Join:%20@a%20@b"),
        from_uclinux(&board, "/cgi-bin/nph-act?open=head%20WS-Join:%20@a"),
    ];
    let id = all[1].id();
    all[0].send("head WS-To: @a;out from one of them");
    for ws in &mut all {
        assert_eq!(ws.text(), "from one of them");
    }
    // A shell, the command line, an event program.
    board.outbox("text @a 21.5 degrees");
    board.run("ws-send @a two words; echo lines | ws-send --binary @a");
    all[0].send("box text @a from an event;box text @b only one");
    for ws in &mut all {
        assert_eq!(ws.text(), "21.5 degrees");
        assert_eq!(ws.text(), "two words");
        assert_eq!(ws.binary(), b"lines\n");
        assert_eq!(ws.text(), "from an event");
    }
    assert_eq!(all[1].text(), "only one");
    board.outbox(&format!("close {id} 4002 enough"));
    assert_eq!(all[1].closed(), (4002, "enough".to_owned()));
    // Longer than what a pipe takes whole: through the spool.
    board.run("yes | head -n 3000 | ws-send @a");
    assert_eq!(all[0].text().len(), 5999);
}

// ---- Without a WebSocket

/// A GET without an upgrade, sent.
fn ask(site: &Site, path: &str) -> TcpStream {
    let mut stream = site.connect();
    let fields = [("Host", "board"), ("Connection", "close")];
    send_head(&mut stream, "GET", path, &fields);
    stream
}

#[test]
fn event_streams_and_polls_come_by_every_way_and_no_process_waits() {
    let board = Board::boot(16, "--history 8192");
    let processes = || board.run("ps").lines().count();
    let idle = processes();
    let sites = [
        (&board.rc21, "/cgi-bin/nph-ws/act", "/cgi-bin/ws-post/act"),
        // busybox httpd has nothing to give but the pipe from its program.
        (&board.pages, "/cgi-bin/nph-ws/act", "/cgi-bin/ws-post/act"),
        (&board.direct, "/act", "/act"),
    ];
    let join = "open=head%20WS-Join:%20@a";
    let mut streams =
        sites.map(|(site, path, _)| Events::open(ask(site, &format!("{path}?via=sse&{join}"))));
    let mut polls = sites.map(|(site, path, _)| ask(site, &format!("{path}?via=poll&{join}")));
    wait_for("six connections", || {
        let list = board.status()["connections"].as_array().map(Vec::len);
        (list == Some(6)).then_some(())
    });
    // Those of busybox httpd itself, one for each of its connections.
    assert!(
        processes() <= idle + 2,
        "{} before, {}",
        idle,
        board.run("ps")
    );
    board.outbox("text @a 21.5");
    for stream in &mut streams {
        assert_eq!(stream.text(), "21.5");
    }
    for poll in &mut polls {
        let answer = read_answer(poll);
        assert_eq!((answer.status, answer.body.as_str()), (200, "21.5"));
    }
    for (stream, (site, _, post)) in streams.iter().zip(&sites) {
        let path = format!("{post}?{}", stream.query());
        let script = "head WS-To: @nobody;out x";
        let length = script.len().to_string();
        let fields = [
            ("Content-Length", length.as_str()),
            ("Content-Type", "text/plain"),
        ];
        assert_eq!(site.request("POST", &path, &fields, script).status, 204);
        let fields = [("Content-Length", "3"), ("Content-Type", "text/plain")];
        let answer = site.request("POST", &path, &fields, "env");
        assert!(answer.body.contains("WS_TRANSPORT=sse\n"), "{answer:?}");
    }
    let last = streams[0].last.clone();
    drop(streams);
    board.outbox("text @a missed");
    let back = format!("/act?via=sse&{join}&since={last}");
    assert_eq!(Events::open(ask(&board.direct, &back)).text(), "missed");
}

// ---- Many

/// Clients that echo all at once; what each takes of the board's memory, in KB.
fn many(board: &Board, clients: usize, messages: usize) -> i64 {
    let before = board.free();
    let open = |n: usize| match n % 2 {
        0 => board.direct.ws("/echo"),
        _ => board.rc21.ws("/cgi-bin/nph-ws/echo"),
    };
    let mut all: Vec<_> = (0..clients).map(open).collect();
    let each = (before - board.free()) / clients as i64;
    std::thread::scope(|threads| {
        for (n, ws) in all.iter_mut().enumerate() {
            threads.spawn(move || {
                for message in 0..messages {
                    echoes(ws, &format!("client {n}, message {message}"));
                }
            });
        }
    });
    let status = board.status();
    assert_eq!(
        status["connections"].as_array().map(Vec::len),
        Some(clients)
    );
    for ws in &mut all {
        assert_eq!(ws.close(1000, ""), 1000);
    }
    board.until_empty();
    each
}

#[test]
fn thirty_two_clients_at_once() {
    let board = Board::boot(16, "");
    // What is allocated once is allocated now.
    many(&board, 32, 1);
    let before = board.free();
    let each = many(&board, 32, 10);
    let (lost, stack) = (board.lost(before, SLACK), board.stack());
    println!(
        "16 MB: {each} KB for each of 32 clients; {lost} KB less are free when they have gone; \
         {stack} bytes of stack"
    );
    assert!(lost <= SLACK, "{lost} KB");
    // Nothing stops a stack at its end, so half of it must be enough.
    assert!(stack <= STACK / 2);
}

/// Echoes one by one over both ways in, from a board that has warmed up.
fn leaves_no_trace(megabytes: u32, events: usize) {
    let board = Board::boot(megabytes, "");
    let mut two = [
        board.direct.ws("/echo"),
        board.rc21.ws("/cgi-bin/nph-ws/echo"),
    ];
    let mut echo = |n: usize| {
        let length = 1 + n % 1000;
        echoes(&mut two[n % 2], &"0123456789".repeat(100)[..length]);
    };
    (0..200).for_each(&mut echo);
    let (before, start) = (board.free(), Instant::now());
    (0..events).for_each(&mut echo);
    let time = start.elapsed().as_secs_f64() * 1000.0 / events as f64;
    let lost = board.lost(before, SLACK);
    println!("{megabytes} MB: {time:.1} ms an event; {lost} KB less are free after {events}");
    assert!(lost <= SLACK, "{lost} KB");
    let status = board.status();
    assert_eq!(status["events"]["message"]["failed"], 0);
}

#[test]
fn two_thousand_events_leave_no_trace() {
    leaves_no_trace(16, 2000);
}

// ---- Limits

/// Clients come until they are refused by both ways in, and 50 more are; those that are there
/// notice nothing, and where one goes another one may come. Returns how many there were.
fn crowd(board: &Board) -> usize {
    let knock = |n: usize| {
        let mut stream = match n % 2 {
            0 => board.direct.upgrade("/echo", &[]),
            _ => board.rc21.upgrade("/cgi-bin/nph-ws/echo", &[]),
        };
        let answer = read_answer(&mut stream);
        match answer.status {
            101 => Some(Ws::open(stream, answer)),
            status => {
                assert_eq!(status, 503);
                None
            }
        }
    };
    // The daemon's own door takes more memory, for the request's head.
    let both = || knock(0).or_else(|| knock(1));
    let mut all = Vec::new();
    while let Some(ws) = both() {
        all.push(ws);
    }
    let count = all.len();
    assert!((4..64).contains(&count), "{count}");
    assert!((0..50).all(|n| knock(n).is_none()));
    all.iter_mut().for_each(|ws| echoes(ws, "still here"));
    assert_eq!(all.remove(0).close(1000, ""), 1000);
    all.push(wait_for("room for one more", both));
    for ws in &mut all {
        echoes(ws, "still here");
        assert_eq!(ws.close(1000, ""), 1000);
    }
    board.until_empty();
    count
}

#[test]
fn a_client_beyond_the_memory_is_refused_and_costs_nobody_else() {
    let bounds = "--memory 200000 --max-connections 64 --max-reply 4096 --queue 4096";
    let mut board = Board::boot(16, bounds);
    board.allow("--memory");
    // What is allocated once is allocated now.
    crowd(&board);
    let before = board.free();
    let count = crowd(&board);
    let lost = board.lost(before, SLACK);
    println!("16 MB: --memory 200000 holds {count} clients; {lost} KB less are free afterwards");
    assert!(lost <= SLACK, "{lost} KB");
}

#[test]
fn one_connection_too_many_is_refused() {
    let mut board = Board::boot(16, "--max-connections 4");
    let mut all: Vec<_> = (0..4).map(|_| board.direct.ws("/echo")).collect();
    assert_eq!(refused(board.direct.upgrade("/echo", &[])), 503);
    assert_eq!(
        refused(board.rc21.upgrade("/cgi-bin/nph-ws/echo", &[])),
        503
    );
    all.iter_mut().for_each(|ws| echoes(ws, "still here"));
    board.allow("connections");
}

#[test]
fn a_hung_program_ends_by_its_deadline_and_stops_nobody() {
    let mut board = Board::boot(16, "--event-timeout 2 --slow-timeout 1");
    let mut hung = board.direct.ws("/act");
    let mut other = board.direct.ws("/echo");
    for script in ["pid hung;hang", "deaf;pid hung;hang"] {
        hung.send(script);
        let pid = board.run_until("cd /usr/lib/ws-bin; [ ! -e hung ] || cat hung", |said| {
            said.parse::<u32>().is_ok()
        });
        echoes(&mut other, "meanwhile");
        // Its end is not enough: it must be reaped, too.
        board.run_until(&format!("[ -e /proc/{pid} ] || echo gone"), |said| {
            said == "gone\n"
        });
        board.run("rm /usr/lib/ws-bin/hung");
        assert_eq!(hung.ask("echo"), "echo");
    }
    board.expect("not done within --event-timeout");
    assert_eq!(board.status()["events"]["message"]["failed"], 2);
}

#[test]
fn a_message_too_large_closes_with_1009() {
    let board = Board::boot(16, "--max-message 1000");
    let mut ws = board.direct.ws("/echo");
    echoes(&mut ws, &"x".repeat(1000));
    ws.send(&"x".repeat(1001));
    assert_eq!(ws.closed().0, 1009);
}

/// The largest of the pieces of memory, in KB, that `BINARY ws-send` is in while it waits for its
/// input.
fn largest_piece(board: &Board, binary: &str) -> usize {
    let start = "sleep 600 2>&1 >/dev/null | ";
    let start = format!("{start}{binary} ws-send @all >/dev/null 2>&1 & echo $!");
    let pid = board.run(&start);
    // Before exec it is the shell.
    let maps = format!(
        "cd /proc/{}; read name < comm; [ $name != {binary} ] || cat maps",
        pid.trim()
    );
    let maps = board.run_until(&maps, |said| !said.is_empty());
    board.run("kill $(pidof sleep)");
    let sizes = maps.lines().map(|line| {
        let (from, rest) = line.split_once('-').expect("a mapping");
        let to = rest.split(' ').next().expect("its end");
        let [from, to] = [from, to].map(|hex| usize::from_str_radix(hex, 16).expect("hex"));
        to - from
    });
    sizes.max().expect("some") / 1024
}

#[test]
fn a_small_program_needs_less_memory_in_one_piece() {
    let board = Board::boot(16, "");
    let [whole, small] = ["ws2cgi", "ws2cgi-small"].map(|binary| largest_piece(&board, binary));
    println!("16 MB: the largest piece of ws2cgi is {whole} KB, of ws2cgi-small {small} KB");
    // The kernel looks for the next power of two.
    assert!(small <= 128 && 256 < whole, "{small} KB, {whole} KB");
}

#[test]
fn a_program_too_large_for_the_board_fails_alone() {
    let mut board = Board::boot(16, "");
    let mut other = board.direct.ws("/echo");
    assert_eq!(refused(board.direct.upgrade("/large", &[])), 502);
    echoes(&mut other, "still here");
    // The kernel tells at length what it could not find.
    board.allow("[");
    board.allow("large");
}

// ---- The end, and a new start

#[test]
fn a_shutdown_tells_everyone_and_a_new_start_finds_all_in_order() {
    let mut board = Board::boot(16, "");
    board.allow("(pid ");
    let boot = board.status()["boot"].clone();
    for (n, signal) in ["TERM", "KILL"].into_iter().enumerate() {
        // What a daemon allocates once is allocated now.
        echoes(&mut board.rc21.ws("/cgi-bin/nph-ws/echo"), "first");
        board.until_empty();
        let before = board.free();
        let mut ws = board.direct.ws("/act?close=err%20bye");
        let id = ws.id();
        board.run(&format!("kill -{signal} $(cat /var/run/ws2cgi/pid)"));
        if signal == "TERM" {
            assert_eq!(ws.closed().0, 1001);
            board.expect("bye");
            let last = board.events().pop().expect("events");
            assert_eq!(last, format!("done close {id}"));
        }
        board.until_said(" ready in ", n + 2);
        assert_ne!(board.status()["boot"], boot);
        echoes(&mut board.rc21.ws("/cgi-bin/nph-ws/echo"), "again");
        board.until_empty();
        let lost = board.lost(before, SLACK);
        assert!(lost <= SLACK, "{signal}: {lost} KB");
    }
}

#[test]
fn a_board_that_is_switched_off_says_goodbye() {
    let mut board = Board::boot(16, "");
    let mut ws = board.rc21.ws("/cgi-bin/nph-ws/echo");
    board.allow("(pid ");
    board.allow("reboot: Power down");
    let _poweroff = board.switch_off();
    assert_eq!(ws.closed().0, 1001);
    board.until_off();
}

// ---- With 8 MB

#[test]
fn it_starts_and_pages_are_served_with_8_mb() {
    starts_and_serves(8);
}

#[test]
fn sixteen_clients_at_once_with_8_mb() {
    let board = Board::boot(8, "");
    many(&board, 16, 1);
    let before = board.free();
    let each = many(&board, 16, 10);
    let lost = board.lost(before, SLACK);
    println!("8 MB: {each} KB for each of 16 clients; {lost} KB less are free when they have gone");
    assert!(lost <= SLACK, "{lost} KB");
}

#[test]
fn five_hundred_events_leave_no_trace_with_8_mb() {
    leaves_no_trace(8, 500);
}
