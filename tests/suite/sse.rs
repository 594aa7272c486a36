//! Server-sent events.

use crate::harness::{Daemon, Events, Start, read_answer, wait_for};
use std::io::Read;
use std::time::{Duration, Instant};

const SSE: &str = "/act?via=sse";

#[test]
fn a_stream_begins_with_its_id_and_key() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get("/act?via=sse&open=head WS-Join: @a;env", &[]));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("connection", "close"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(events.answer.field(name), Some(value));
    }
    assert_eq!(events.answer.field("content-length"), None);
    assert_eq!(daemon.event("open"), format!("open {} 0 - - -", events.id));
    daemon.outbox("text @a hello\ntext @all there");
    assert_eq!(
        (events.text(), events.text()),
        ("hello".to_owned(), "there".to_owned())
    );
    daemon.outbox(format!("text {} you\ntext /act route", events.id));
    assert_eq!(
        (events.text(), events.text()),
        ("you".to_owned(), "route".to_owned())
    );
}

#[test]
fn the_accept_field_asks_for_it_too() {
    let daemon = Daemon::start();
    Events::open(daemon.get("/act", &[("HTTP_ACCEPT", "text/event-stream")]));
}

#[test]
fn any_text_and_any_bytes_arrive() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get(SSE, &[]));
    let mut said = |line: &str| {
        daemon.outbox(line);
        let event = events.next().expect("an event");
        (event.name, event.data)
    };
    let text = |data: &str| (String::new(), data.to_owned());
    assert_eq!(said("text64 @all YQoKYg=="), text("a\n\nb"));
    assert_eq!(said("text64 @all Cg=="), text("\n"));
    assert_eq!(said("text @all "), text(""));
    assert_eq!(said("text @all  data: x"), text(" data: x"));
    // A CR would end a line.
    assert_eq!(
        said("text64 @all YQ1i"),
        ("text64".to_owned(), "YQ1i".to_owned())
    );
    assert_eq!(
        said("binary @all AAEC/w=="),
        ("binary".to_owned(), "AAEC/w==".to_owned())
    );
}

#[test]
fn its_program_may_refuse() {
    let daemon = Daemon::start();
    let refuse = "/act?via=sse&open=out Status: 403\\nX-Why: no\\n\\nnot you";
    let answer = read_answer(&mut daemon.get(refuse, &[]));
    assert_eq!((answer.status, answer.body.as_str()), (403, "not you"));
    assert_eq!(answer.field("x-why"), Some("no"));
    let none = read_answer(&mut daemon.get("/none?via=sse", &[]));
    assert_eq!(none.status, 404);
    let bad = read_answer(&mut daemon.get("/act?via=carrier-pigeon", &[]));
    assert_eq!(bad.body, "400: via is sse or poll\n");
}

#[test]
fn fields_of_its_program_stand_in_the_head() {
    let daemon = Daemon::start();
    let url = "/act?via=sse&open=head Set-Cookie: a=1";
    let events = Events::open(daemon.get(url, &[]));
    assert_eq!(events.answer.field("set-cookie"), Some("a=1"));
}

#[test]
fn a_close_is_told_and_ends_the_stream() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get(SSE, &[]));
    daemon.outbox(format!("text {0} last\nclose {0} 4000 so long", events.id));
    assert_eq!(events.text(), "last");
    let close = events.next().expect("an event");
    assert_eq!(
        (close.name.as_str(), close.data.as_str()),
        ("close", "4000 so long")
    );
    assert_eq!(events.next(), None);
    let line = daemon.event("close");
    assert_eq!(line, format!("close {} 0 4000 server so long", events.id));
}

#[test]
fn a_browser_that_goes_is_noticed() {
    let daemon = Daemon::with("--ping 1");
    let by_socket = Events::open(daemon.get(SSE, &[]));
    let by_pipe = Events::open(daemon.get_by_pipe(SSE, &[]));
    for events in [by_socket, by_pipe] {
        let id = events.id.clone();
        drop(events);
        daemon.event(&format!("close {id} 0 1006 client"));
        daemon.until_gone(&id);
    }
}

#[test]
fn comments_keep_it_alive() {
    let daemon = Daemon::with("--ping 1");
    let mut events = Events::open(daemon.get(SSE, &[]));
    let begun = Instant::now();
    while events.comments < 3 {
        events.line().expect("a comment");
    }
    // One a second, and none sooner.
    assert!(begun.elapsed() > Duration::from_millis(2500));
    daemon.outbox("text @all after");
    assert_eq!(events.text(), "after");
}

#[test]
fn by_way_of_a_web_server_comments_come_three_times_as_often() {
    let daemon = Daemon::with("--ping 2");
    let mut by_socket = Events::open(daemon.get(SSE, &[]));
    let mut by_pipe = Events::open(daemon.get_by_pipe(SSE, &[]));
    while by_pipe.comments < 6 {
        by_pipe.line().expect("a comment");
    }
    daemon.outbox("text @all now");
    assert_eq!(
        (by_socket.text(), by_pipe.text()),
        ("now".into(), "now".into())
    );
    assert!(by_socket.comments > 0);
    assert!(2 * by_socket.comments <= by_pipe.comments);
}

#[test]
fn over_a_pipe_the_program_exits_and_no_process_waits() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get_by_pipe(SSE, &[]));
    assert!(crate::harness::children(daemon.pid()).is_empty());
    daemon.outbox("text @all hello");
    assert_eq!(events.text(), "hello");
    let status = daemon.status();
    assert_eq!(status["connections"][0]["transport"], "sse");
}

#[test]
fn to_a_server_that_parses_the_head_it_is_a_cgi_head() {
    let daemon = Daemon::start();
    let mut pipe = daemon.get_by_pipe(SSE, &[("SERVER_SOFTWARE", "Boa/0.93.15")]);
    let mut head = [0; 16];
    pipe.read_exact(&mut head).expect("read");
    assert_eq!(&head, b"Status: 200 OK\r\n");
}

#[test]
fn a_slow_reader_is_closed_and_others_go_on() {
    let mut daemon = Start::default()
        .args("--queue 4096 --slow-timeout 1 --ping 0")
        .ready();
    let slow = Events::open(daemon.get_by_pipe(SSE, &[]));
    let mut ws = daemon.connect("/act?open=head WS-Join: @fast");
    let line = format!("text {} {}\n", slow.id, "x".repeat(3000));
    daemon.outbox(line.repeat(40).trim_end());
    daemon.outbox("text @fast through");
    assert_eq!(ws.text(), "through");
    daemon.expect("too slow a reader, closed with 1013");
    daemon.event(&format!("close {} 0 1013 timeout", slow.id));
}

#[test]
fn a_page_of_another_origin_may_read_only_if_it_is_named() {
    let daemon = Daemon::with("--origin http://friend.test");
    let from = |origin: &str| {
        read_answer(&mut daemon.get("/act?via=poll&wait=0", &[("HTTP_ORIGIN", origin)]))
    };
    let friend = from("http://friend.test");
    assert_eq!(friend.status, 204);
    let allowed = friend.field("access-control-allow-origin");
    assert_eq!(allowed, Some("http://friend.test"));
    let own = from("http://board.test");
    assert_eq!(
        (own.status, own.field("access-control-allow-origin")),
        (204, None)
    );
    let mut daemon = daemon;
    let evil = read_answer(&mut daemon.get("/act?via=sse", &[("HTTP_ORIGIN", "http://evil.test")]));
    assert_eq!(
        (evil.status, evil.field("access-control-allow-origin")),
        (403, None)
    );
    daemon.expect("a page of http://evil.test may not connect");
    let embedded = [("HTTP_SEC_FETCH_SITE", "cross-site")];
    assert_eq!(read_answer(&mut daemon.get("/act", &embedded)).status, 403);
}

#[test]
fn shutdown_tells_and_ends_streams() {
    let mut daemon = Daemon::start();
    let mut events = Events::open(daemon.get(SSE, &[]));
    daemon.signal("TERM");
    let close = events.next().expect("an event");
    assert_eq!(
        (close.name.as_str(), close.data.as_str()),
        ("close", "1001 going away")
    );
    assert_eq!(events.next(), None);
    assert_eq!(daemon.wait().code(), Some(0));
    wait_for("its close event", || {
        let events = daemon.events();
        events
            .iter()
            .any(|line| line.starts_with("done close"))
            .then_some(())
    });
}
