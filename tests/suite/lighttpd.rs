//! lighttpd: the hand-off of two pipes, plain and under TLS.

use crate::harness::{
    Answer, Body, Daemon, Events, Poller, Server, children, compile, peer, project, read_answer,
    read_head, send_head, wait_for,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;

const WS: &str = "/cgi-bin/nph-ws/act";

#[test]
fn a_page_an_upgrade_an_echo_and_a_line_of_the_outbox() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let page = lighttpd.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("ws2cgi: a page for the tests"));
    let mut ws = lighttpd.ws(&format!("{WS}/room?x=1"));
    assert_eq!(ws.ask("head X: y;out hello"), "hello");
    let env = ws.ask("env");
    for line in [
        "SERVER_SOFTWARE=lighttpd/1.4",
        "SCRIPT_NAME=/cgi-bin/nph-ws/act\n",
        "PATH_INFO=/room\n",
        "QUERY_STRING=x=1\n",
        "WS_ROUTE=/act/room\n",
        "REMOTE_ADDR=127.0.0.1\n",
        "HTTP_ORIGIN=http://127.0.0.1:",
    ] {
        assert!(env.contains(line), "{line}: {env}");
    }
    daemon.outbox("text /act/room from the board");
    assert_eq!(ws.text(), "from the board");
    ws.close(1000, "");
    daemon.until_empty();
}

#[test]
fn an_open_websocket_costs_no_process() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let mut sockets: Vec<_> = (0..20).map(|_| lighttpd.ws(WS)).collect();
    wait_for("the hand-off programs to be gone", || {
        children(lighttpd.pid()).is_empty().then_some(())
    });
    for ws in &mut sockets {
        assert_eq!(ws.ask("head X: y;out hello"), "hello");
    }
    assert!(children(lighttpd.pid()).is_empty());
    assert!(children(daemon.pid()).is_empty());
}

#[test]
fn rooms_reach_others_but_not_the_sender() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let url = format!("{WS}?open=head%20WS-Join:%20@a");
    let (mut anna, mut bert) = (lighttpd.ws(&url), lighttpd.ws(&url));
    let id = anna.id();
    anna.send(&format!("head WS-To: @a~{id};out hello"));
    assert_eq!(bert.text(), "hello");
    anna.works();
}

#[test]
fn close_codes_travel_both_ways() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let mut ws = lighttpd.ws(WS);
    let id = ws.id();
    assert_eq!(ws.close(4000, "bye"), 4000);
    daemon.event(&format!("close {id} 0 4000 client bye"));
    let mut ws = lighttpd.ws(WS);
    let id = ws.id();
    ws.send("head WS-Close: 4001 go");
    assert_eq!(ws.closed(), (4001, "go".to_owned()));
    daemon.event(&format!("close {id} 0 4001 server go"));
    let mut ws = lighttpd.ws(WS);
    let id = ws.id();
    drop(ws);
    daemon.event(&format!("close {id} 0 1006 client"));
    // One that only listens, and goes without a word.
    drop(lighttpd.ws(WS));
    daemon.until_empty();
}

#[test]
fn big_messages_arrive_whole() {
    let daemon =
        Daemon::with("--max-message 300000 --max-reply 300000 --queue 300000 --memory 8000000");
    let lighttpd = Server::lighttpd(&daemon);
    let mut ws = lighttpd.ws(WS);
    let mut payload: Vec<u8> = (0..250_000).map(|n| (n * 7 % 251) as u8).collect();
    payload[..6].copy_from_slice(b"echo;\0");
    for _ in 0..3 {
        ws.send_binary(&payload);
        assert!(ws.binary() == payload);
    }
}

#[test]
fn a_refusal_is_the_answer_that_the_browser_gets() {
    let mut daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let full = "?open=head%20Status:%20401%20No;out%20log%20in";
    for (path, changes, status, body) in [
        (WS, &[("Origin", "http://evil")][..], 403, "--origin"),
        (WS, &[("Sec-WebSocket-Version", "8")], 426, "13"),
        (WS, &[("Sec-WebSocket-Key", "short")], 400, "16 bytes"),
        ("/cgi-bin/nph-ws/none", &[], 404, "no event program"),
        (&format!("{WS}{full}"), &[], 401, "log in"),
    ] {
        let changes = [&[("Connection", "close, Upgrade")], changes].concat();
        let answer = read_answer(&mut lighttpd.upgrade(path, &changes));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.body.contains(body), "{path}: {answer:?}");
    }
    daemon.expect("a page of http://evil may not connect");
}

#[test]
fn a_post_is_told_that_an_upgrade_is_a_get() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let mut ws = lighttpd.ws(WS);
    let fields = [("Connection", "close"), ("Content-Length", "4")];
    let answer = lighttpd.request("POST", WS, &fields, "body");
    assert_eq!(
        (answer.status, answer.field("allow")),
        (405, Some("GET")),
        "{answer:?}"
    );
    assert_eq!(ws.ask("head X: y;out still here"), "still here");
}

#[test]
fn without_cgi_upgrade_the_cure_is_named() {
    let daemon = Daemon::start();
    let config = daemon.path("lighttpd.conf");
    let text = std::fs::read_to_string(project("board/lighttpd.conf")).expect("lighttpd.conf");
    let without = text.replace("cgi.upgrade = \"enable\"", "cgi.upgrade = \"disable\"");
    assert_ne!(text, without);
    std::fs::write(&config, without).expect("write it");
    let lighttpd = Server::lighttpd_with(&daemon, &config);
    let close = [("Connection", "close, Upgrade")];
    let answer = read_answer(&mut lighttpd.upgrade(WS, &close));
    assert_eq!(answer.status, 500);
    let cure = "lighttpd needs cgi.upgrade = \"enable\"";
    assert!(answer.body.contains(cure), "{answer:?}");
}

#[test]
fn pings_keep_a_connection_that_lighttpd_would_drop() {
    for (ping, kept) in [("--ping 1", true), ("--ping 0", false)] {
        let daemon = Daemon::with(ping);
        let text = std::fs::read_to_string(project("board/lighttpd.conf")).expect("lighttpd.conf");
        let (long, short) = ("server.max-read-idle = 60", "server.max-read-idle = 2");
        assert!(text.contains(long));
        let config = daemon.path("lighttpd.conf");
        std::fs::write(&config, text.replace(long, short)).expect("write it");
        let lighttpd = Server::lighttpd_with(&daemon, &config);
        let mut ws = lighttpd.ws(WS);
        if kept {
            // Five seconds in which it answers pings, and says nothing of its own.
            (0..5).for_each(|_| ws.pinged());
            ws.works();
        } else {
            daemon.event("close ");
            assert_eq!(daemon.number("/closes/1006"), 1);
        }
    }
}

#[test]
fn a_restart_of_lighttpd_closes_its_websockets_and_takes_new_ones() {
    let daemon = Daemon::start();
    let mut lighttpd = Server::lighttpd(&daemon);
    let mut ws = lighttpd.ws(WS);
    let id = ws.id();
    lighttpd.kill();
    daemon.event(&format!("close {id} 0 1006 client"));
    lighttpd.start_again();
    assert_eq!(lighttpd.ws(WS).ask("head X: y;out again"), "again");
}

/// A request that is to be answered, and the connection behind it.
fn ask(lighttpd: &Server, method: &str, url: &str, length: usize) -> TcpStream {
    let mut stream = lighttpd.connect();
    let length = length.to_string();
    let fields = [
        ("Host", "board.test"),
        ("Connection", "close"),
        ("Content-Length", &length),
    ];
    let fields = &fields[..if method == "GET" { 2 } else { 3 }];
    send_head(&mut stream, method, &url.replace(' ', "%20"), fields);
    stream
}

fn answer(mut stream: TcpStream) -> Answer {
    let mut answer = read_head(&mut stream).expect("a head");
    let mut body = String::new();
    Body::of(&answer, stream)
        .read_to_string(&mut body)
        .expect("a body");
    answer.body = body;
    answer
}

#[test]
fn all_who_wait_behind_a_lighttpd_that_is_killed_are_noticed_at_once() {
    // No pings: nothing but its end tells.
    let daemon = Daemon::with("--ping 0");
    let mut lighttpd = Server::lighttpd(&daemon);
    let posted = ask(&lighttpd, "POST", "/cgi-bin/ws-post/act", 0);
    assert_eq!(answer(posted).status, 204);
    // The turn in which it was answered is over.
    daemon.status();
    let before = daemon.descriptors().len();
    let room = "open=head WS-Join: @a";
    let mut stream = ask(&lighttpd, "GET", &format!("{WS}?via=sse&{room}"), 0);
    let head = read_head(&mut stream).expect("a head");
    let body = Body::of(&head, stream);
    let mut events = Events::after(head, body);
    let mut page = Poller::new(&format!("{WS}?via=poll&{room}"));
    let first = ask(&lighttpd, "GET", &format!("{}&wait=0", page.next_url()), 0);
    page.note(&answer(first));
    let _waits = ask(&lighttpd, "GET", &page.next_url(), 0);
    // One whose event runs, and one whose body has not come.
    let url = format!("/cgi-bin/ws-post/act?{}", events.query());
    let script = "until go;note run";
    let mut runs = ask(&lighttpd, "POST", &url, script.len());
    runs.write_all(script.as_bytes()).expect("write");
    daemon.event(&format!("message {}", events.id));
    let _unfinished = ask(&lighttpd, "POST", &url, 10);
    // A pipe each for the stream, the poll and the answer, two for the body that comes; and those
    // of the program that runs.
    wait_for("all of them to be there", || {
        (daemon.descriptors().len() > before + 5).then_some(())
    });
    daemon.outbox(format!("text {} before", events.id));
    assert_eq!(events.text(), "before");
    lighttpd.kill();
    daemon.outbox("text @a meanwhile");
    daemon.let_go("go");
    daemon.event("note run");
    daemon.event(&format!("close {} 0 1006 client", events.id));
    wait_for("their descriptors to go", || {
        (daemon.descriptors().len() == before).then_some(())
    });
    // The page that polls goes on where it was.
    lighttpd.start_again();
    let poll = answer(ask(&lighttpd, "GET", &page.next_url(), 0));
    assert_eq!((poll.status, poll.body.as_str()), (200, "meanwhile"));
    let messages = daemon.events();
    let messages = messages.iter().filter(|line| line.starts_with("message"));
    assert_eq!(messages.count(), 2);
}

#[test]
fn sixty_four_browsers_that_come_back_at_once_all_get_in() {
    let daemon = Daemon::with("--max-connections 64");
    let lighttpd = Server::lighttpd(&daemon);
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| lighttpd.ws(WS).id()))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 64);
    daemon.until_empty();
    assert_eq!(daemon.status()["accepted"], 64);
}

#[test]
fn under_tls_the_daemon_hears_plain_text() {
    let daemon = Daemon::start();
    symlink(compile("cgi-bin/echo.c"), daemon.path("handlers/echo")).expect("echo");
    let (lighttpd, pem) = (Server::lighttpd_tls(&daemon), daemon.path("pem"));
    for case in ["text", "binary", "fragments", "ping", "big", "close"] {
        let url = format!("wss://127.0.0.1:{}/cgi-bin/nph-ws/echo", lighttpd.port);
        peer(case, &url, Some(&pem));
    }
    let act = format!("wss://127.0.0.1:{}{WS}", lighttpd.port);
    peer("server_close", &act, Some(&pem));
    peer("secure", &act, Some(&pem));
}
