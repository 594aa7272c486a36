//! Long polls.

use crate::harness::{Daemon, Events, Poller, read_answer, wait_for};
use crate::memory::least_memory;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use ws2cgi::limits::UNFINISHED;

const POLL: &str = "/act?via=poll";

#[test]
fn a_chain_of_polls_is_one_connection() {
    let daemon = Daemon::start();
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
    daemon.outbox("text @a one\ntext @a two\nbinary @a AP8=");
    for text in ["one", "two"] {
        let answer = page.poll(&daemon, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, text));
        assert_eq!(
            answer.field("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let bytes = page.poll(&daemon, "");
    assert_eq!(
        bytes.field("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(bytes.field("content-length"), Some("2"));
    // One that waits is answered as soon as there is something.
    let mut waiting = page.ask(&daemon, "");
    daemon.outbox(format!("text {} three", page.id));
    assert_eq!(read_answer(&mut waiting).body, "three");
    let opened = daemon.events();
    assert_eq!(
        opened
            .iter()
            .filter(|line| line.starts_with("open"))
            .count(),
        1
    );
}

#[test]
fn all_that_waits_comes_as_one_array() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    daemon.outbox("text @all a\"b\nbinary @all AP8=\ntext64 @all AQo=");
    daemon.status_until("/outbox/lines", 3);
    let answer = page.poll(&daemon, "&batch=1");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.body, r#"["a\"b",{"binary":"AP8="},"\u0001\u000a"]"#);
}

#[test]
fn an_old_page_keeps_its_connection_by_a_cookie() {
    let daemon = Daemon::with("--poll-wait 1");
    let poll = |cookie: &str| read_answer(&mut daemon.get("/act", &[("HTTP_COOKIE", cookie)]));
    let first = poll("");
    assert_eq!(first.status, 204);
    let set = first.field("set-cookie").expect("a cookie").to_owned();
    assert!(
        set.ends_with("; Path=/cgi-bin/nph-ws/act; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    let cookie = set.split(';').next().expect("a value").to_owned();
    daemon.outbox("text @all while away");
    let second = poll(&format!("theirs=1; {cookie}"));
    assert_eq!((second.status, second.body.as_str()), (200, "while away"));
    assert_eq!(second.field("set-cookie"), None);
    // Another window of the browser, while this one waits: a connection of its own, which ends
    // with its answer.
    let mut waiting = daemon.get("/act", &[("HTTP_COOKIE", &cookie)]);
    let other = poll(&cookie);
    assert_eq!((other.status, other.field("set-cookie")), (204, None));
    daemon.event(&format!(
        "close {} 0 1000 client",
        other.field("ws-id").expect("an id")
    ));
    assert_eq!(read_answer(&mut waiting).status, 204);
    let opens = daemon.events();
    assert_eq!(
        opens.iter().filter(|line| line.starts_with("open")).count(),
        2
    );
    // One that is no key of ours begins anew.
    let forged = format!("{}x", cookie);
    assert!(poll(&forged).field("set-cookie").is_some());
}

#[test]
fn it_ends_when_no_poll_comes() {
    let daemon = Daemon::with("--poll-wait 1");
    let mut page = Poller::new(POLL);
    assert_eq!(page.poll(&daemon, "").status, 204);
    daemon.event(&format!("close {} 0 1006 timeout", page.id));
    daemon.until_gone(&page.id);
    let gone = page.poll(&daemon, "");
    assert_eq!(
        (gone.status, gone.body.as_str()),
        (410, "410: no such connection (any more)\n")
    );
}

#[test]
fn only_its_key_opens_it() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    let with = |id: &str, key: &str| {
        let url = format!("{POLL}&id={id}&key={key}");
        read_answer(&mut daemon.get(&url, &[])).status
    };
    assert_eq!(with(&page.id, "wrong"), 410);
    assert_eq!(with(&page.id, ""), 410);
    assert_eq!(with("nobody", &page.key), 400);
    let elsewhere = format!("/act2?via=poll&id={}&key={}", page.id, page.key);
    assert_eq!(read_answer(&mut daemon.get(&elsewhere, &[])).status, 410);
    // A WebSocket's is told to nobody.
    let id = daemon.connect("/act").id();
    assert_eq!(with(&id, &page.key), 410);
}

#[test]
fn a_close_is_told_to_the_poll_that_waits() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    let mut waiting = page.ask(&daemon, "");
    daemon.status_until("/connections/0/queue", 0);
    daemon.outbox(format!("close {} 4001 enough", page.id));
    let answer = read_answer(&mut waiting);
    assert_eq!(
        (answer.status, answer.field("ws-close")),
        (410, Some("4001 enough"))
    );
    daemon.event(&format!("close {} 0 4001 server enough", page.id));
}

#[test]
fn a_page_can_say_goodbye() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    assert_eq!(page.poll(&daemon, "&close=1").status, 204);
    daemon.event(&format!("close {} 0 1000 client", page.id));
}

#[test]
fn a_second_poll_answers_the_first() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    let mut first = page.ask(&daemon, "");
    daemon.status_until("/connections/0/queue", 0);
    let mut second = page.ask(&daemon, "");
    assert_eq!(read_answer(&mut first).status, 204);
    daemon.outbox("text @all to the second");
    assert_eq!(read_answer(&mut second).body, "to the second");
}

#[test]
fn a_browser_that_goes_from_a_poll_finds_its_messages_at_the_next() {
    let daemon = Daemon::start();
    let sockets = || {
        let all = daemon.descriptors();
        all.iter()
            .filter(|name| name.starts_with("socket:"))
            .count()
    };
    let before = sockets();
    let held = |more: usize| {
        wait_for("its socket", || (sockets() == before + more).then_some(()));
    };
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    held(0);
    let waiting = page.ask(&daemon, "");
    held(1);
    drop(waiting);
    held(0);
    daemon.outbox("text @all meanwhile");
    assert_eq!(page.text(&daemon), "meanwhile");
}

#[test]
fn over_a_pipe_it_ends_with_its_answer() {
    let daemon = Daemon::start();
    let join = "/act?via=poll&open=head WS-Join: @a";
    let mut waiting = daemon.get_by_pipe(join, &[]);
    daemon.status_until("/connections/0/rooms/0", "a");
    daemon.outbox("text @a through a pipe");
    let answer = read_answer(&mut waiting);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "through a pipe")
    );
}

#[test]
fn a_refusal_is_the_answer() {
    let daemon = Daemon::start();
    let answer = read_answer(&mut daemon.get("/act?open=out Status: 401\\n\\nlog in", &[]));
    assert_eq!((answer.status, answer.body.as_str()), (401, "log in"));
}

#[test]
fn shutdown_answers_those_who_wait() {
    let mut daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    let mut waiting = page.ask(&daemon, "");
    daemon.status_until("/connections/0/queue", 0);
    daemon.signal("TERM");
    let answer = read_answer(&mut waiting);
    assert_eq!(
        (answer.status, answer.field("ws-close")),
        (410, Some("1001 going away"))
    );
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn what_was_sent_before_a_close_comes_before_it() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    let mut waiting = page.ask(&daemon, "");
    daemon.status_until("/connections/0/queue", 0);
    daemon.outbox(format!(
        "text {0} 1\ntext {0} 2\nclose {0} 4000 so long",
        page.id
    ));
    assert_eq!(read_answer(&mut waiting).body, "1");
    // It is closed already, whatever it still gets.
    daemon.event(&format!("close {} 0 4000 server so long", page.id));
    assert_eq!(page.poll(&daemon, "").body, "2");
    let end = page.poll(&daemon, "");
    assert_eq!(
        (end.status, end.field("ws-close")),
        (410, Some("4000 so long"))
    );
    let gone = page.poll(&daemon, "");
    assert_eq!((gone.status, gone.field("ws-close")), (410, None));
    daemon.until_empty();
}

#[test]
fn a_close_between_two_polls_is_told_to_the_next() {
    let daemon = Daemon::start();
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    daemon.outbox(format!("close {} 4001 enough", page.id));
    daemon.event(&format!("close {} 0 4001 server enough", page.id));
    let end = page.poll(&daemon, "");
    assert_eq!(
        (end.status, end.field("ws-close")),
        (410, Some("4001 enough"))
    );
    // Whoever does not come is not waited for for ever.
    let mut lost = Poller::new(POLL);
    lost.poll(&daemon, "&wait=0");
    daemon.outbox(format!("text {0} never read\nclose {0}", lost.id));
    daemon.until_gone(&lost.id);
    daemon.status_until("/messages/dropped", 1);
}

#[test]
fn who_is_too_slow_between_two_polls_is_told_by_the_next() {
    let mut daemon = Daemon::with("--queue 1000 --slow-timeout 1");
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    // One that fills its queue, and one that finds it full.
    let full = "x".repeat(1000);
    daemon.outbox(format!("text {0} {full}\ntext {0} more", page.id));
    daemon.expect(&format!(
        "WARN {}: too slow a reader, closed with 1013",
        page.id
    ));
    daemon.event(&format!("close {} 0 1013 timeout too slow", page.id));
    let end = page.poll(&daemon, "");
    assert_eq!(
        (end.status, end.field("ws-close")),
        (410, Some("1013 too slow"))
    );
    daemon.until_empty();
    daemon.status_until("/messages/dropped", 1);
    daemon.status_until("/messages/nobody", 1);
}

#[test]
fn a_refusal_is_for_its_page_as_any_answer_is() {
    let mut daemon = Daemon::with("--origin http://friend.test");
    for open in ["out Status: 403\\n\\nnot you", "exit 3"] {
        let url = format!("{POLL}&open={open}");
        let answer = read_answer(&mut daemon.get(&url, &[("HTTP_ORIGIN", "http://friend.test")]));
        assert!([403, 502].contains(&answer.status));
        for (name, value) in [
            ("access-control-allow-origin", "http://friend.test"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{answer:?}");
        }
    }
    daemon.expect("open event failed");
}

#[test]
fn a_program_that_says_who_may_read_it_is_not_contradicted() {
    let daemon = Daemon::with("--origin http://friend.test");
    let open = "head access-control-allow-origin: *\\nCache-Control: no-cache";
    let url = format!("{POLL}&wait=0&open={open}");
    let answer = read_answer(&mut daemon.get(&url, &[("HTTP_ORIGIN", "http://friend.test")]));
    for name in ["access-control-allow-origin", "cache-control"] {
        let values = answer.fields.iter().filter(|(n, _)| n == name);
        assert_eq!(values.count(), 1, "{answer:?}");
    }
    assert_eq!(answer.field("cache-control"), Some("no-cache"));
}

#[test]
fn an_array_takes_no_more_memory_than_there_is() {
    let daemon = Daemon::with(&least_memory(
        "--jobs 1 --max-message 1000 --max-reply 200000 --queue 1000000",
    ));
    let mut page = Poller::new("/act?via=poll&batch=1&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    let mut sender = daemon.connect("/act");
    sender.send("head WS-To: @a;flood 190000");
    let answer = page.poll(&daemon, "");
    let texts: Vec<String> = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((texts.len(), texts[0].len()), (1, 190_000));
}

#[test]
fn a_long_answer_may_take_its_time() {
    let daemon = Daemon::with("--max-reply 3000000");
    let mut waiting = daemon.get_by_pipe("/act?via=poll&open=head WS-Join: @a", &[]);
    let mut sender = daemon.connect("/act");
    daemon.status_until("/connections/0/rooms/0", "a");
    sender.send("head WS-To: @a;flood 2000000");
    let mut answer = Vec::new();
    // Whole pieces: a slow daemon writes small ones.
    let mut piece = || {
        let mut piece = waiting.by_ref().take(32 * 1024);
        piece.read_to_end(&mut answer).expect("read")
    };
    while piece() > 0 {
        // As a slow line would: it takes longer than any one step may.
        std::thread::sleep(Duration::from_millis(120));
    }
    assert!(answer.len() > 2_000_000, "{}", answer.len());
}

#[test]
fn over_tls_its_cookie_is_for_tls_alone() {
    let daemon = Daemon::start();
    let answer = read_answer(&mut daemon.get("/act?wait=0", &[("HTTPS", "on")]));
    let set = answer.field("set-cookie").expect("a cookie");
    assert!(set.ends_with("; SameSite=Strict; Secure"), "{set}");
}

#[test]
fn nobody_takes_his_time_where_others_wait() {
    let daemon = Daemon::with("--max-connections 1 --max-reply 400000 --memory 20000000");
    let url = "/act?via=poll&open=out Status: 403\\n\\n;flood 400000";
    // So many that they have all descriptors.
    let mut slow = Vec::new();
    for i in 1..=17 {
        slow.push(daemon.get_by_pipe(url, &[]));
        daemon.status_until("/refusals/program", i);
    }
    let connected = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = vec![0; 4096];
            while !connected.load(Relaxed) {
                for answer in &mut slow {
                    let _ = answer.read(&mut piece).expect("read");
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let begun = Instant::now();
        daemon.connect("/act").works();
        connected.store(true, Relaxed);
        assert!(begun.elapsed() < Duration::from_secs(40));
    });
}

#[test]
fn who_never_comes_back_shuts_nobody_out() {
    let daemon = Daemon::with("--max-connections 2");
    let lost = read_answer(&mut daemon.get("/act?wait=0", &[]));
    let mut page = Poller::new(POLL);
    page.poll(&daemon, "&wait=0");
    page.poll(&daemon, "&wait=0");
    // As long as it may yet come back, there is no room.
    wait_for("a place", || {
        let answer = read_answer(&mut daemon.raw("/act", &[]));
        (answer.status == 101).then_some(())
    });
    let id = lost.field("ws-id").expect("an id");
    daemon.event(&format!("close {id} 0 1006 timeout"));
    assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
}

/// A page that has polled once, so long ago that it may have to make place.
fn polled_once(daemon: &Daemon) -> Poller {
    let mut page = Poller::new(POLL);
    page.poll(daemon, "&wait=0");
    std::thread::sleep(UNFINISHED + Duration::from_millis(100));
    page
}

#[test]
fn nobody_makes_place_for_a_request_for_nothing() {
    let daemon = Daemon::with("--max-connections 1");
    let mut page = polled_once(&daemon);
    for url in ["/nope?via=poll&wait=0", "/nope?via=sse"] {
        assert_eq!(read_answer(&mut daemon.get(url, &[])).status, 404);
    }
    assert_eq!(daemon.post("/nope", "x").status, 404);
    assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
}

#[test]
fn nobody_makes_place_for_one_whom_there_is_no_memory_for() {
    let args = "--max-connections 2 --jobs 2 --max-message 20000 --event-timeout 60";
    let daemon = Daemon::with(&least_memory(args));
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let url = format!("/act?{}", events.query());
    let mut page = polled_once(&daemon);
    std::thread::scope(|scope| {
        scope.spawn(|| daemon.post(&url, "until go"));
        daemon.event(&format!("message {}", events.id));
        let used = daemon.number("/memory/used");
        for length in [20_000, 20_000, 20_000, 5000] {
            let (daemon, url) = (&daemon, &url);
            scope.spawn(move || daemon.post(url, &" ".repeat(length)));
        }
        daemon.status_until("/memory/used", used + 65_000);
        for answer in [
            read_answer(&mut daemon.get("/act?via=poll&wait=0", &[])),
            daemon.post("/act", &" ".repeat(3000)),
        ] {
            assert_eq!(
                (answer.status, &*answer.body),
                (503, "503: --memory is used up\n")
            );
        }
        assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
        daemon.let_go("go");
    });
}
