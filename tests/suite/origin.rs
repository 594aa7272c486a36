//! Which pages may connect (RFC 6455 §10.2): a page of anybody's may open a WebSocket to
//! anywhere, with the visitor's cookies.

use crate::harness::{Daemon, read_answer, record, tcp_pair};

/// Host, Origin, whether they may connect.
type Pages = &'static [(&'static str, &'static str, bool)];

#[test]
fn pages_of_other_origins_are_refused() {
    let by_default: Pages = &[
        // No browser.
        ("board.test", "", true),
        ("", "", true),
        // The same, however it is written; the scheme is not compared.
        ("board.test", "http://board.test", true),
        ("board.test", "https://board.test", true),
        ("Board.Test", "http://bOARD.tEST", true),
        ("board.test:80", "http://board.test", true),
        ("board.test", "http://board.test:80", true),
        ("board.test:443", "https://board.test", true),
        ("board.test", "https://board.test:443", true),
        ("board.test:443", "http://board.test:443", true),
        ("board.test:8080", "https://board.test:8080", true),
        ("board.test", "HTTP://board.test", true),
        ("10.0.0.1", "http://10.0.0.1", true),
        ("[::1]", "http://[::1]", true),
        ("[::1]:80", "http://[::1]", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("[FE80::1]", "https://[fe80::1]:443", true),
        // Another port; the default is that of the page's scheme.
        ("board.test", "http://board.test:8080", false),
        ("board.test:8080", "http://board.test", false),
        ("board.test:8080", "http://board.test:8081", false),
        ("board.test", "https://board.test:80", false),
        ("board.test:80", "https://board.test", false),
        ("board.test:443", "http://board.test", false),
        ("[::1]", "http://[::1]:8080", false),
        ("[::1]", "http://[::2]", false),
        // Another host, with ours before it, behind it or within.
        ("board.test", "http://evil.test", false),
        ("board.test", "http://board.test.evil.test", false),
        ("board.test", "http://evil-board.test", false),
        ("board.test", "http://evilboard.test", false),
        ("board.test", "http://sub.board.test", false),
        ("board.test", "http://board.test.", false),
        ("board.test", "http://board", false),
        ("board.test", "http://test", false),
        ("board.test", "http://b\u{43e}ard.test", false),
        // What only looks like a host.
        ("board.test", "http://evil.test/board.test", false),
        ("board.test", "http://board.test/", false),
        ("board.test", "http://board.test@evil.test", false),
        ("board.test", "http://evil.test@board.test", false),
        ("board.test", "http://board.test:80@evil.test", false),
        ("board.test", "http://evil.test?board.test", false),
        ("board.test", "http://evil.test#board.test", false),
        ("board.test", "http://board.test\\.evil.test", false),
        ("board.test", "http://board%2etest", false),
        ("board.test", "http://board.test:", false),
        ("board.test", "http://board.test:080", false),
        ("board.test", "http://board.test:80:80", false),
        ("[::1]", "http://::1", false),
        // No origin at all.
        ("board.test", "board.test", false),
        ("board.test", "//board.test", false),
        ("board.test", "://board.test", false),
        ("board.test", "http:board.test", false),
        ("board.test", "http://", false),
        ("board.test", "file://", false),
        ("board.test", "http://board.test http://evil.test", false),
        ("board.test", "http://board.test, http://evil.test", false),
        ("board.test", "http://board.test\tx", false),
        // Nobody in particular.
        ("board.test", "null", false),
        ("board.test", "NULL", false),
        ("board.test", "null, null", false),
        ("null", "null", false),
    ];
    let listed: Pages = &[
        ("board.test", "https://shop.test", true),
        ("board.test", "https://SHOP.test:443", true),
        ("board.test", "http://cam.test:8080", true),
        ("board.test", "http://board.test", true),
        ("", "https://shop.test", true),
        ("[::1]", "http://[::1]:3000", true),
        ("board.test", "https://shop.test.evil.test", false),
        ("board.test", "https://evil-shop.test", false),
        ("board.test", "https://shop.test:444", false),
        ("board.test", "wss://shop.test", false),
        ("shop.test:443", "http://shop.test", false),
        ("board.test", "http://shop.test", false),
        ("board.test", "http://cam.test", false),
        ("board.test", "null", false),
    ];
    let null: Pages = &[
        ("board.test", "null", true),
        ("board.test", "http://board.test", true),
        ("board.test", "http://evil.test", false),
    ];
    let any: Pages = &[
        ("board.test", "http://evil.test", true),
        ("board.test", "null", true),
        ("board.test", "what is this", true),
        ("", "http://evil.test", true),
    ];
    for (args, pages) in [
        ("", by_default),
        (
            "--origin https://shop.test --origin HTTP://Cam.test:8080 --origin http://[::1]:3000",
            listed,
        ),
        ("--origin null", null),
        ("--origin http://cam.test --origin null", null),
        ("--origin any", any),
    ] {
        let mut daemon = Daemon::with(args);
        let mut bystander = daemon.connect("/act");
        let mut refused = 0;
        for &(host, origin, allowed) in pages {
            let more = [("HTTP_HOST", host), ("HTTP_ORIGIN", origin)];
            let answer = read_answer(&mut daemon.raw("/act", &more));
            let status = if allowed { 101 } else { 403 };
            assert_eq!(answer.status, status, "{args} {more:?}: {answer:?}");
            if !allowed {
                refused += 1;
                daemon.expect(&format!("127.0.0.1: {}", answer.body.trim_end()));
                daemon.status_until("/refusals/origin", refused);
            }
        }
        // Any page could fill the log.
        assert_eq!(daemon.logged(&["WARN"]), refused.min(1));
        bystander.works();
    }
}

#[test]
fn without_a_host_the_answer_and_the_log_name_the_cure() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let more = [("HTTP_HOST", ""), ("HTTP_ORIGIN", "http://old.test")];
    let answer = read_answer(&mut daemon.raw("/act", &more));
    assert_eq!(answer.status, 403);
    let cure = "start ws2cgi with --origin http://old.test";
    assert!(answer.body.trim_end().ends_with(cure), "{answer:?}");
    daemon.expect("WARN 127.0.0.1: 403: no Host to compare Origin http://old.test with");
    daemon.expect(cure);
    daemon.status_until("/refusals/host", 1);
    bystander.works();
}

#[test]
fn of_two_hosts_or_origins_that_a_web_server_passes_the_first_counts() {
    let mut daemon = Daemon::start();
    let (board, evil) = ("board.test", "evil.test");
    let (at_board, at_evil) = ("http://board.test", "http://evil.test");
    for (hosts, origins, status) in [
        ([board, evil], [at_board, at_evil], 101),
        ([board, evil], [at_evil, at_board], 403),
        ([board, evil], [at_evil, at_evil], 403),
        ([board, board], [at_evil, at_board], 403),
    ] {
        let mut more = vec![("PATH_INFO", "/act")];
        more.extend(hosts.map(|host| ("HTTP_HOST", host)));
        more.extend(origins.map(|origin| ("HTTP_ORIGIN", origin)));
        let (mut client, server) = tcp_pair();
        daemon.hand_in(&record(&more), &[&server]);
        drop(server);
        assert_eq!(read_answer(&mut client).status, status, "{more:?}");
    }
    daemon.expect("a page of http://evil.test may not connect to board.test");
    daemon.status_until("/refusals/origin", 3);
}
