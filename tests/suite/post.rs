//! Messages that come up by POST.

use crate::harness::{Daemon, Events, Poller, read_answer, wait_for};
use crate::memory::least_memory;
use std::io::Write;
use std::net::Shutdown;

#[test]
fn a_connections_message_is_answered_with_its_reply() {
    let daemon = Daemon::start();
    let mut events = Events::open(daemon.get("/act?via=sse&open=head WS-Join: @a", &[]));
    let url = format!("/act?{}", events.query());
    let answer = daemon.post(&url, "head Content-Type: text/x;out hello");
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    assert_eq!(answer.field("content-type"), Some("text/x"));
    // None: 204. To a room: that is where it goes.
    assert_eq!(daemon.post(&url, "").status, 204);
    let answer = daemon.post(&url, "head WS-To: @a;out to all");
    assert_eq!((answer.status, events.text().as_str()), (204, "to all"));
    let env = daemon.post(&url, "env").body;
    for line in [
        "WS_EVENT=message",
        "WS_TRANSPORT=sse",
        "WS_ROOMS=@a",
        &format!("WS_ID={}", events.id),
        "REQUEST_METHOD=POST",
        "CONTENT_LENGTH=3",
    ] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    // State and rooms are the connection's.
    daemon.post(&url, "head WS-State: s;out x");
    assert!(daemon.post(&url, "env").body.contains("WS_STATE=s\n"));
    let events = daemon.events();
    let opens = events.iter().filter(|line| line.starts_with("open"));
    assert_eq!(opens.count(), 1);
}

#[test]
fn one_that_its_browser_repeats_is_run_once() {
    let daemon = Daemon::start();
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let url = |n: u32| format!("/act?{}&n={n}", events.query());
    let post = |n| daemon.post(&url(n), "head X: y;out run").status;
    assert_eq!(
        [post(1), post(1), post(3), post(2), post(4)],
        [200, 409, 200, 409, 200]
    );
    let messages = daemon.events();
    let messages = messages.iter().filter(|line| line.starts_with("message"));
    assert_eq!(messages.count(), 3);
    // One that did not come in whole has not come.
    let short = daemon.post_by("ws-post", &url(5), &[("CONTENT_LENGTH", "99")], b"short");
    assert_eq!((short.status, post(5)), (400, 200));
}

#[test]
fn a_body_that_is_cut_off_is_no_event() {
    let daemon = Daemon::with("--listen unix:{}/ws.sock");
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let url = format!("/act?{}&n=1", events.query());
    daemon.post("/act", "");
    // The turn in which it was answered is over.
    daemon.status();
    let before = daemon.descriptors().len();
    let begun = |url: &str| {
        let mut stream = daemon.unix("ws.sock");
        let head =
            format!("POST {url} HTTP/1.1\r\nHost: board.test\r\nContent-Length: 9\r\n\r\nnote");
        stream.write_all(head.as_bytes()).expect("write");
        stream
    };
    for url in [url.as_str(), "/act"] {
        // Half gone, whoever sent it still hears what it comes to.
        let mut half = begun(url);
        half.shutdown(Shutdown::Write).expect("shutdown");
        let answer = read_answer(&mut half);
        let why = "400: the body ended before its Content-Length\n";
        assert_eq!((answer.status, answer.body.as_str()), (400, why));
        drop(begun(url));
        let length = [("CONTENT_LENGTH", "9")];
        let cut = daemon.post_by("ws-post", url, &length, b"note");
        assert_eq!((cut.status, cut.body.as_str()), (400, why));
        // By a web server that is gone itself.
        let (mut body, answer) = daemon.post_begun("ws-post", url, &length);
        body.write_all(b"note").expect("write");
        drop((body, answer));
    }
    daemon.status_until("/refusals/body", 8);
    wait_for("their descriptors to go", || {
        (daemon.descriptors().len() == before).then_some(())
    });
    // Its number was not used.
    assert_eq!(daemon.post(&url, "head X: y;out 1").body, "1");
    let lines = daemon.events();
    let messages = lines.iter().filter(|line| line.starts_with("message"));
    assert_eq!(messages.count(), 2);
}

#[test]
fn they_are_in_order_with_one_another() {
    let daemon = Daemon::start();
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    let url = format!("/act?id={}&key={}", page.id, page.key);
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (daemon, url) = (&daemon, &url);
            scope.spawn(move || {
                let answer = daemon.post(url, &format!("sleep 10;head X: y;out reply {i}"));
                // Each gets its own.
                assert_eq!((answer.status, answer.body), (200, format!("reply {i}")));
            });
        }
    });
    // One at a time: no event begins before the one before it is done.
    let lines = daemon.events();
    let messages: Vec<_> = lines.iter().filter(|l| l.contains("message")).collect();
    assert_eq!(messages.len(), 16);
    for pair in messages.chunks(2) {
        assert!(pair[0].starts_with("message") && pair[1].starts_with("done message"));
    }
}

#[test]
fn one_on_its_own_is_an_event_whose_reply_is_the_answer() {
    let daemon = Daemon::start();
    let answer = daemon.post(
        "/act/rest?x=1",
        "out Status: 201 Made\\nX-A: b\\nContent-Type: text/html\\n\\nmade",
    );
    assert_eq!((answer.status, answer.body.as_str()), (201, "made"));
    assert_eq!(answer.field("x-a"), Some("b"));
    assert_eq!(answer.field("content-type"), Some("text/html"));
    let env = daemon.post("/act/rest?x=1", "env").body;
    for line in [
        "WS_EVENT=message",
        "WS_TRANSPORT=post",
        "WS_ROUTE=/act/rest",
        "PATH_INFO=/rest",
        "QUERY_STRING=x=1",
        "SCRIPT_NAME=/cgi-bin/ws-post/act",
    ] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
    assert!(
        daemon
            .events()
            .iter()
            .all(|l| !l.starts_with("open") && !l.starts_with("close"))
    );
    daemon.until_empty();
}

#[test]
fn a_program_that_fails_is_502_and_one_that_hangs_504() {
    let mut daemon = Daemon::with("--event-timeout 2 --slow-timeout 1");
    assert_eq!(daemon.post("/act", "exit 3").status, 502);
    assert_eq!(daemon.post("/act", "hang").status, 504);
    daemon.expect("message event failed");
}

#[test]
fn what_is_wrong_has_its_status() {
    let daemon = Daemon::with("--max-message 100");
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let post = |url: &str, more: &[(&str, &str)], body: &[u8]| {
        daemon.post_by("ws-post", url, more, body).status
    };
    let chunked = [
        ("CONTENT_LENGTH", ""),
        ("HTTP_TRANSFER_ENCODING", "chunked"),
    ];
    assert_eq!(post("/act", &chunked, b""), 411);
    assert_eq!(post("/act", &[], &[b'x'; 101]), 413);
    assert_eq!(post("/act", &[("CONTENT_LENGTH", "9")], b"short"), 400);
    assert_eq!(post("/act", &[], b"\xff"), 400);
    assert_eq!(post("/none", &[], b"x"), 404);
    assert_eq!(
        post(&format!("/act?id={}&key=no", events.id), &[], b"x"),
        410
    );
    assert_eq!(post(&format!("/act?id={}", events.id), &[], b"x"), 400);
    let binary = [("CONTENT_TYPE", "application/octet-stream")];
    let answer = daemon.post_by("ws-post", "/act", &binary, b"head X: y;out \xff");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_name_of_its_own_reaches_that_route_alone() {
    let daemon = Daemon::start();
    let answer = daemon.post_by("post-act", "/room", &[], b"env");
    assert!(answer.body.contains("WS_ROUTE=/act/room\n"), "{answer:?}");
    assert!(answer.body.contains("SCRIPT_NAME=/cgi-bin/post-act\n"));
    assert_eq!(
        daemon.post_by("post-act", "/../act2", &[], b"env").status,
        404
    );
}

#[test]
fn a_body_in_a_file_is_read() {
    let daemon = Daemon::start();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"env").expect("write");
    use std::io::Seek;
    file.rewind().expect("rewind");
    let variables = [
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", "/act"),
        ("CONTENT_LENGTH", "3"),
        ("HTTP_UPGRADE", ""),
        ("HTTP_SEC_WEBSOCKET_KEY", ""),
    ];
    let output = daemon
        .nph("ws-post", &variables)
        .stdin(file)
        .output()
        .expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.starts_with("Status: 200 OK\r\n") && text.contains("WS_TRANSPORT=post\n"),
        "{text}"
    );
}

#[test]
fn a_page_of_another_origin_is_told_before() {
    let daemon = Daemon::with("--origin http://friend.test");
    let asks = [
        ("REQUEST_METHOD", "OPTIONS"),
        ("HTTP_ORIGIN", "http://friend.test"),
    ];
    let answer = daemon.post_by("ws-post", "/act", &asks, b"");
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.field("access-control-allow-methods"),
        Some("GET, POST")
    );
    assert_eq!(
        answer.field("access-control-allow-origin"),
        Some("http://friend.test")
    );
}

#[test]
fn a_post_that_came_before_the_end_is_run_before_the_close() {
    let daemon = Daemon::start();
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let url = format!("/act?{}", events.query());
    let id = events.id.clone();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| daemon.post(&url, "until go;head X: y;out first"));
        daemon.event(&format!("message {id}"));
        let before = daemon.descriptors().len();
        let second = scope.spawn(|| daemon.post(&url, "head X: y;out second"));
        // Of one that has come in whole the way back is held.
        wait_for("the second POST", || {
            (daemon.descriptors().len() == before + 1).then_some(())
        });
        drop(events);
        std::fs::write(daemon.path("handlers/go"), "").expect("write");
        let bodies = [first, second].map(|post| post.join().expect("an answer").body);
        assert_eq!(bodies, ["first", "second"]);
    });
    daemon.until_gone(&id);
    let last = daemon.events().pop().expect("events");
    assert_eq!(last, format!("done close {id}"));
    assert_eq!(daemon.post(&url, "x").status, 410);
}

#[test]
fn those_who_are_connected_can_send_where_nobody_else_may_come() {
    let daemon = Daemon::with("--max-connections 2");
    let first = Events::open(daemon.get("/act?via=sse", &[]));
    let mut second = Poller::new("/act?via=poll");
    second.poll(&daemon, "&wait=0");
    second.poll(&daemon, "&wait=0");
    let refused = crate::harness::read_answer(&mut daemon.get("/act?via=sse", &[]));
    assert_eq!(refused.status, 503);
    assert_eq!(daemon.post("/act", "head X: y;out x").status, 503);
    let second = format!("id={}&key={}", second.id, second.key);
    for query in [first.query(), second] {
        let answer = daemon.post(&format!("/act?{query}"), "head X: y;out through");
        assert_eq!(answer.body, "through");
    }
}

#[test]
fn a_connections_posts_come_by_its_route_alone() {
    let daemon = Daemon::start();
    let events = Events::open(daemon.get("/act/room?via=sse", &[]));
    let query = events.query();
    let post = |program: &str, path: &str| {
        let url = format!("{path}?{query}");
        daemon
            .post_by(program, &url, &[], b"head X: y;out x")
            .status
    };
    // Whoever may not reach /act by the web server's rules does not by another name.
    assert_eq!(post("ws-post", "/act2"), 410);
    assert_eq!(post("ws-post", "/act"), 410);
    assert_eq!(post("post-act", "/elsewhere"), 410);
    assert_eq!(post("ws-post", "/act/room"), 200);
    assert_eq!(post("post-act", "/room"), 200);
}

#[test]
fn who_never_finishes_a_body_shuts_nobody_out() {
    let daemon = Daemon::with(&least_memory("--max-message 60000 --jobs 1"));
    let mut bystander = daemon.connect("/act2");
    let unused = daemon.number("/memory/used");
    let variables = [
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", "/act"),
        ("HTTP_UPGRADE", ""),
        ("HTTP_SEC_WEBSOCKET_KEY", ""),
    ];
    let (mut unfinished, mut claimed) = (Vec::new(), 0);
    for length in [60_000, 60_000, 40_000] {
        let claim = [("CONTENT_LENGTH", &*format!("{length}"))];
        unfinished.push(daemon.hand_off("ws-post", &[&variables[..], &claim].concat()));
        claimed += length;
        wait_for("the claim", || {
            (daemon.number("/memory/used") > unused + claimed).then_some(())
        });
    }
    // Longer than a moment.
    assert_eq!(bystander.ask("sleep 1500;head X: y;out slept"), "slept");
    let message = format!("head X: y;out here;{}", " ".repeat(50_000));
    assert_eq!(bystander.ask(&message), "here");
    assert_eq!(read_answer(&mut unfinished[0]).status, 503);
}

#[test]
fn one_connections_posts_leave_room_for_others() {
    let daemon = Daemon::with("--max-connections 2 --event-timeout 60");
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let url = format!("/act?{}", events.query());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| daemon.post(&url, "until go;head X: y;out first"));
        daemon.event(&format!("message {}", events.id));
        let more: Vec<_> = (0..9)
            .map(|_| scope.spawn(|| daemon.post(&url, "head X: y;out more")))
            .collect();
        daemon.status_until("/refusals/posts", 1);
        daemon.connect("/act").works();
        daemon.let_go("go");
        assert_eq!(first.join().expect("first").body, "first");
        let more = more.into_iter().map(|post| post.join().expect("a POST"));
        let (taken, refused): (Vec<_>, Vec<_>) = more.partition(|answer| answer.status == 200);
        assert_eq!((taken.len(), refused.len()), (8, 1));
        assert_eq!(refused[0].field("retry-after"), Some("1"));
        assert_eq!(refused[0].field("ws-retry"), Some("1"));
    });
    assert_eq!(daemon.post(&url, "head X: y;out again").body, "again");
}

#[test]
fn a_503_that_a_program_prints_does_not_say_that_it_has_not_run() {
    let mut daemon = Daemon::start();
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    for url in ["/act", &format!("/act?{}", events.query())] {
        let busy = "out Status: 503 Busy\\nRetry-After: 7\\nWS-Retry: 1\\n\\nbusy";
        let answer = daemon.post(url, busy);
        assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
        assert_eq!(answer.field("retry-after"), Some("7"));
        assert_eq!(answer.field("ws-retry"), None);
        daemon.expect("unknown field WS-Retry");
        daemon.expect("message event failed: Status 503 Busy");
    }
}

#[test]
fn answers_that_find_no_memory_wait_for_it() {
    const POSTS: usize = 3;
    let daemon = Daemon::with(&least_memory(
        "--max-connections 8 --max-message 1000 --max-reply 60100 --jobs 8 --queue 1000",
    ));
    let unused = daemon.number("/memory/used");
    std::thread::scope(|scope| {
        let post = || daemon.post("/act", "until go;head X: y;flood 60000");
        let posts: Vec<_> = (0..POSTS).map(|_| scope.spawn(post)).collect();
        let events = |begins| {
            let events = daemon.events();
            events
                .iter()
                .filter(|line| line.starts_with(begins))
                .count()
        };
        let until = |begins| wait_for(begins, || (events(begins) == POSTS).then_some(()));
        until("message");
        // They end in one turn.
        daemon.signal("STOP");
        daemon.let_go("go");
        until("done message");
        daemon.signal("CONT");
        for post in posts {
            let answer = post.join().expect("an answer");
            assert_eq!((answer.status, answer.body.len()), (200, 60_000));
        }
        assert_eq!(events("message"), POSTS);
    });
    daemon.status_until("/memory/used", unused);
}
