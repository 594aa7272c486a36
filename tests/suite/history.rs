//! What a browser missed while it was away.

use crate::harness::{Daemon, Events, Poller, Ws, read_answer};

const KEPT: &str = "--history 100000";

fn boot(daemon: &Daemon) -> String {
    daemon.status()["boot"].as_str().expect("text").to_owned()
}

/// A WebSocket that speaks ws2cgi1, after the word where it is.
fn marked(daemon: &Daemon, url: &str) -> (Ws, String) {
    let protocol = [("HTTP_SEC_WEBSOCKET_PROTOCOL", "ws2cgi1")];
    let mut ws = daemon.connect_with(url, &protocol);
    assert_eq!(ws.answer.field("sec-websocket-protocol"), Some("ws2cgi1"));
    let at = ws.text();
    let mark = at.strip_prefix("at ").unwrap_or_else(|| panic!("{at}"));
    (ws, mark.to_owned())
}

#[test]
fn a_stream_goes_on_where_it_was() {
    let daemon = Daemon::with(KEPT);
    let url = "/act?via=sse&open=head WS-Join: @a";
    let mut events = Events::open(daemon.get(url, &[]));
    daemon.outbox("text @a 1\ntext @b not for it\ntext @a 2");
    assert_eq!(events.text(), "1");
    let last = events.last.clone();
    drop(events);
    daemon.outbox("text @a 3\ntext /act 4");
    daemon.status_until("/outbox/lines", 5);
    let mut events = Events::open(daemon.get(url, &[("HTTP_LAST_EVENT_ID", &last)]));
    daemon.outbox("text @a 5");
    for text in ["2", "3", "4", "5"] {
        assert_eq!(events.text(), text);
    }
    assert_eq!(events.last, format!("{}-6", boot(&daemon)));
}

#[test]
fn cut_before_the_first_message_it_knows_where_it_was() {
    let daemon = Daemon::with(KEPT);
    daemon.outbox("text @a before");
    daemon.status_until("/outbox/lines", 1);
    let url = "/act?via=sse&open=head WS-Join: @a";
    let events = Events::open(daemon.get(url, &[]));
    let last = events.last.clone();
    assert_eq!(last, format!("{}-1", boot(&daemon)));
    drop(events);
    daemon.outbox("text @a missed");
    daemon.status_until("/outbox/lines", 2);
    let mut events = Events::open(daemon.get(&format!("{url}&since={last}"), &[]));
    assert_eq!(events.text(), "missed");
}

#[test]
fn a_poll_whose_answer_was_lost_gets_it_again() {
    let daemon = Daemon::with(KEPT);
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    daemon.outbox("text @a 1\ntext @a 2");
    let before = page.clone();
    assert_eq!(page.text(&daemon), "1");
    page = before;
    for text in ["1", "2"] {
        assert_eq!(page.text(&daemon), text);
    }
    daemon.outbox("text @a 3");
    assert_eq!(page.text(&daemon), "3");
    assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
}

#[test]
fn a_websocket_has_marks_by_its_subprotocol() {
    let daemon = Daemon::with(KEPT);
    let boot = boot(&daemon);
    let url = "/act?open=head WS-Join: @a";
    let (mut ws, mark) = marked(&daemon, url);
    assert_eq!(mark, format!("{boot}-0"));
    daemon.outbox("text @a 1");
    assert_eq!(ws.text(), format!("{boot}-1\n1"));
    // What is for it alone has no mark.
    assert_eq!(ws.ask("head X: y;out you"), "\nyou");
    drop(ws);
    daemon.outbox("text @a 2\nbinary @a AAE=");
    daemon.status_until("/outbox/lines", 3);
    let (mut ws, mark) = marked(&daemon, &format!("{url}&since={boot}-1"));
    assert_eq!(mark, format!("{boot}-1"));
    assert_eq!(ws.text(), format!("{boot}-2\n2"));
    assert_eq!(
        ws.binary(),
        [format!("{boot}-3\n").as_bytes(), &[0, 1]].concat()
    );
}

#[test]
fn a_websocket_learns_by_its_subprotocol_which_of_its_messages_are_done() {
    let daemon = Daemon::start();
    let protocol = [("HTTP_SEC_WEBSOCKET_PROTOCOL", "ws2cgi1")];
    let mut ws = daemon.connect_with("/act", &protocol);
    assert_eq!(ws.ask("head X: y;out reply"), "\nreply");
    assert_eq!(ws.text(), "ok 1");
    // A program that fails is done, too.
    ws.send("until go");
    ws.send("exit 3");
    daemon.event("message ");
    ws.send("");
    std::fs::write(daemon.path("handlers/go"), "").expect("write");
    let mut done = 0;
    while done < 3 {
        let said = ws.text();
        let more = said.strip_prefix("ok ").unwrap_or_else(|| panic!("{said}"));
        done += more.parse::<u32>().expect("a number");
    }
    assert_eq!(done, 3);
    // What has been read is run, so it is told before a close.
    ws.send("head WS-Close: 4000 enough");
    assert_eq!((ws.text().as_str(), ws.closed().0), ("ok 1", 4000));
    let mut daemon = daemon;
    daemon.expect("message event failed");
    // Nobody else is told.
    let mut plain = daemon.connect("/act");
    plain.send("");
    assert_eq!(plain.ask("head X: y;out reply"), "reply");
}

#[test]
fn whoever_asks_for_what_is_gone_is_told() {
    let daemon = Daemon::with("--history 2000");
    let boot = boot(&daemon);
    daemon.outbox(
        (1..=50)
            .map(|i| format!("text /act {i}"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    daemon.status_until("/history/next", 51);
    let foreign = "aaaaaaaaaaaaa-7";
    for since in [
        &format!("{boot}-3"),
        foreign,
        "rubbish",
        &format!("{boot}-99"),
    ] {
        let mut events = Events::open(daemon.get(&format!("/act?via=sse&since={since}"), &[]));
        // Cut off before it is told of the gap, it says its old mark again.
        assert!(["", since].contains(&events.last.as_str()));
        let gap = events.next().expect("an event");
        assert_eq!(gap.name, "gap");
        let first: u32 = events.text().parse().expect("a number");
        assert!(first > 3 && first < 50, "{first}");
        for i in first + 1..=50 {
            assert_eq!(events.text(), i.to_string());
        }
        let mut page = Poller::new(&format!("/act?via=poll&since={since}"));
        let answer = page.poll(&daemon, "");
        assert_eq!(answer.field("ws-gap"), Some("1"), "{answer:?}");
        let protocol = [("HTTP_SEC_WEBSOCKET_PROTOCOL", "ws2cgi1")];
        let mut ws = daemon.connect_with(&format!("/act?since={since}"), &protocol);
        let words = [ws.text(), ws.text()];
        match words[0] == "gap" {
            true => assert!(words[1].starts_with(&format!("at {boot}-"))),
            false => assert_eq!(words, [format!("at {since}"), "gap".to_owned()]),
        }
        assert!(ws.text().ends_with(&format!("\n{first}")));
    }
}

#[test]
fn without_a_history_what_is_missed_is_told_too() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get("/act?via=sse&since=aaaaaaaaaaaaa-7", &[]));
    assert_eq!(events.next().expect("an event").name, "gap");
    let answer = read_answer(&mut daemon.get("/act?via=poll&since=aaaaaaaaaaaaa-7", &[]));
    assert_eq!((answer.status, answer.field("ws-gap")), (204, Some("1")));
    assert_eq!(answer.field("ws-since"), None);
}

#[test]
fn a_slow_stream_reads_on_later_and_nobody_waits_for_it() {
    let daemon = Daemon::with("--history 1000000 --queue 2000 --slow-timeout 1 --ping 0");
    let mut slow = Events::open(daemon.get_by_pipe("/act?via=sse&open=head WS-Join: @a", &[]));
    let mut fast = daemon.connect("/act?open=head WS-Join: @a");
    let text = "x".repeat(1000);
    for i in 0..300 {
        daemon.outbox(format!("text @a {i} {text}"));
        assert_eq!(fast.text(), format!("{i} {text}"));
    }
    for i in 0..300 {
        assert_eq!(slow.text(), format!("{i} {text}"));
    }
    daemon.outbox("text @a live again");
    assert_eq!(slow.text(), "live again");
}

#[test]
fn numbers_go_on_whoever_is_there() {
    let daemon = Daemon::with(KEPT);
    daemon.outbox("text @nobody 1\ntext @all 2\nclose @all\njoin @all @x");
    daemon.status_until("/history/next", 3);
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @nobody");
    page.since = format!("{}-0", boot(&daemon));
    assert_eq!(
        (page.text(&daemon), page.text(&daemon)),
        ("1".to_owned(), "2".to_owned())
    );
}

#[test]
fn what_came_before_it_left_or_was_closed_comes_too() {
    let daemon = Daemon::with(KEPT);
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    let mut waiting = page.ask(&daemon, "");
    let post = format!("/act?id={}&key={}", page.id, page.key);
    daemon.post(&post, "head WS-To: @a\\nWS-Leave: @a;out bye");
    let answer = read_answer(&mut waiting);
    assert_eq!((answer.status, answer.body.as_str()), (200, "bye"));
    page.note(&answer);
    daemon.outbox(format!("join {} @a", page.id));
    let mut waiting = page.ask(&daemon, "");
    daemon.status_until("/connections/0/rooms/0", "a");
    daemon.outbox("text @a last\nleave @a @a");
    let answer = read_answer(&mut waiting);
    assert_eq!((answer.status, answer.body.as_str()), (200, "last"));
    page.note(&answer);
    let mut waiting = page.ask(&daemon, "");
    daemon.status_until("/connections/0/queue", 0);
    daemon.outbox("text /act closing\nclose /act 4000");
    let answer = read_answer(&mut waiting);
    assert_eq!(answer.body, "closing");
    page.note(&answer);
    assert_eq!(page.poll(&daemon, "").field("ws-close"), Some("4000"));
}

#[test]
fn what_came_before_a_close_comes_once_and_again_if_its_answer_was_lost() {
    let daemon = Daemon::with(KEPT);
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    daemon.outbox("text @a 1\ntext @a 2\ntext @a 3\nclose @a 4000\ntext @a 4");
    daemon.event(&format!("close {} 0 4000", page.id));
    daemon.status_until("/history/next", 5);
    assert_eq!(page.text(&daemon), "1");
    let before = page.clone();
    assert_eq!(page.text(&daemon), "2");
    page = before;
    for text in ["2", "3"] {
        assert_eq!(page.text(&daemon), text);
    }
    assert_eq!(page.poll(&daemon, "").field("ws-close"), Some("4000"));
    // The next connection goes on behind them.
    (page.id, page.key) = Default::default();
    assert_eq!(page.text(&daemon), "4");
}

#[test]
fn who_reads_what_it_missed_is_sent_to_meanwhile() {
    let args = "--history 2000000 --queue 2000 --slow-timeout 2 --ping 1";
    let mut daemon = Daemon::with(args);
    let text = "x".repeat(1000);
    for begin in (0..1000).step_by(50) {
        let lines: Vec<_> = (begin..begin + 50)
            .map(|i| format!("text /act {i} {text}"))
            .collect();
        daemon.outbox(lines.join("\n"));
    }
    daemon.status_until("/history/next", 1001);
    let url = format!("/act?via=sse&since={}-0", boot(&daemon));
    let mut events = Events::open(daemon.get_by_pipe(&url, &[]));
    daemon.outbox(format!("text {} you", events.id));
    let mut told = None;
    for i in 0..1000 {
        let mut event = events.text();
        if event == "you" {
            told = Some(i);
            event = events.text();
        }
        assert_eq!(event, format!("{i} {text}"));
        // Slower than --slow-timeout and --ping: but it reads.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(told.is_some_and(|i| i < 900), "{told:?}");
    daemon.quiet();
}
