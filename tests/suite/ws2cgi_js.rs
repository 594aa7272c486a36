//! `board/www/ws2cgi.js` in headless Chromium, behind real web servers.

use crate::harness::{Browser, Daemon, Page, Relay, Server, Start, project, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const TRANSPORTS: [&str; 3] = ["websocket", "sse", "poll"];
/// A member of the room @a.
const URL: &str = "/cgi-bin/nph-ws/act?open=head%20WS-Join:%20@a";
const KEPT: &str = "--history 1000000 --ping 1 --poll-wait 4";

fn open(browser: &mut Browser, origin: &str) -> Page {
    browser.open(&format!("{origin}/line.html"))
}

/// A line of one transport, named like it.
fn begin(browser: &mut Browser, page: &Page, transport: &str) {
    browser.eval(
        page,
        &format!("begin('{transport}', '{URL}', {{ transports: ['{transport}'] }})"),
    );
    until_open(browser, page, transport);
}

fn until_open(browser: &mut Browser, page: &Page, name: &str) {
    browser.until(
        page,
        &format!("lines.{name}.readyState === lines.{name}.OPEN"),
    );
}

/// The texts of a list.
fn texts(browser: &mut Browser, page: &Page, list: &str) -> Vec<String> {
    let texts = browser.eval(page, list);
    serde_json::from_value(texts).expect("texts")
}

fn numbers(texts: &[String]) -> Vec<usize> {
    let number = |text: &String| text.parse().unwrap_or_else(|_| panic!("{text}"));
    texts.iter().map(number).collect()
}

#[test]
fn every_transport_carries_text_and_bytes_both_ways_and_in_order() {
    let daemon = Daemon::with(KEPT);
    let mut browser = Browser::start();
    for (server, transports) in [
        (Server::lighttpd(&daemon), &TRANSPORTS[..]),
        (Server::boa("rc21", &daemon), &TRANSPORTS),
        (Server::busybox(&daemon), &TRANSPORTS[1..]),
        (Server::boa("piped", &daemon), &TRANSPORTS[2..]),
    ] {
        let page = open(&mut browser, &server.origin());
        for transport in transports {
            begin(&mut browser, &page, transport);
            let send = format!(
                "(line => {{ \
                   line.send('head X: y;out hällo'); \
                   line.send(new TextEncoder().encode('echo;\\0ä')); \
                   line.send(new TextEncoder().encode('echo;\\0ä').buffer); \
                   line.send(new Blob(['head Content-Type: a/b;out x'])); \
                   line.send('head Content-Length: 0;out \\\\n'); \
                   for (let i = 0; i < 20; i++) line.send('head X: y;out ' + i); \
                 }})(lines.{transport})"
            );
            browser.eval(&page, &send);
            let heard = format!("heard.{transport}");
            browser.until(&page, &format!("{heard}.length >= 25"));
            let echo = "binary 101,99,104,111,59,0,195,164".to_owned();
            let replies = [
                "hällo".to_owned(),
                echo.clone(),
                echo,
                "binary 120".to_owned(),
            ];
            let all = texts(&mut browser, &page, &heard);
            assert_eq!(all[..4], replies, "{}, {transport}", server.name);
            assert_eq!(numbers(&all[5..]), Vec::from_iter(0..20));
            daemon.outbox("text @a to the room\nbinary @a AP8=\ntext64 @a YQ1iCmM=\ntext @a ");
            browser.until(&page, &format!("{heard}.length === 29"));
            assert_eq!(
                texts(&mut browser, &page, &format!("{heard}.slice(25)")),
                ["to the room", "binary 0,255", "a\rb\nc", ""]
            );
            let close = format!("lines.{transport}.send('head WS-Close: 4321 that is all')");
            browser.eval(&page, &close);
            let log = format!("log.{transport}");
            browser.until(&page, &format!("lines.{transport}.readyState === 3"));
            assert_eq!(
                texts(&mut browser, &page, &log),
                [
                    format!("open {transport}"),
                    "close 4321 that is all".to_owned()
                ]
            );
            daemon.until_empty();
        }
        // A program by its own name, and another place for POSTs.
        for (name, options) in [
            ("own", "{ transports: ['poll'] }"),
            (
                "other",
                "{ transports: ['poll'], post: '/cgi-bin/ws-post/act' }",
            ),
        ] {
            let begin = format!("begin('{name}', '/cgi-bin/nph-act', {options})");
            browser.eval(&page, &begin);
            browser.eval(&page, &format!("lines.{name}.send('env')"));
            browser.until(&page, &format!("heard.{name}.length === 1"));
            let env = &texts(&mut browser, &page, &format!("heard.{name}"))[0];
            assert!(env.contains("WS_ROUTE=/act\n"), "{env}");
            browser.eval(&page, &format!("lines.{name}.close()"));
        }
        browser.close(page);
    }
}

#[test]
fn what_works_is_found_and_remembered() {
    let mut daemon = Daemon::with(KEPT);
    let mut browser = Browser::start();
    for (server, transport) in [
        (Server::lighttpd(&daemon), "websocket"),
        (Server::busybox(&daemon), "sse"),
        // It keeps the events of a stream back.
        (Server::boa("piped", &daemon), "poll"),
    ] {
        let page = open(&mut browser, &server.origin());
        let begin = format!("begin('line', '{URL}', {{ patience: 1000 }})");
        // One that ended before it had a mark is followed by a gap.
        let opened = |transport: &str| {
            format!("log.line.filter(entry => entry !== 'gap').pop() === 'open {transport}'")
        };
        // busybox httpd lets a WebSocket open, and ends it.
        let settled = format!("{} && lines.line.readyState === 1", opened(transport));
        let opens = |daemon: &Daemon| {
            let events = daemon.events();
            events
                .iter()
                .filter(|line| line.starts_with("open"))
                .count()
        };
        for known in [false, true] {
            let before = opens(&daemon);
            browser.eval(&page, &begin);
            browser.until(&page, &settled);
            let tried = opens(&daemon) - before;
            let first = transport == "websocket" || known;
            assert_eq!(tried, if first { 1 } else { 2 }, "{}", server.name);
            browser.eval(&page, "lines.line.close()");
        }
        // After its time is over, or when it is told to, it tries the best again.
        browser.eval(
            &page,
            "for (const item in localStorage) localStorage[item] = 'poll 1'",
        );
        browser.eval(&page, &begin);
        browser.until(&page, &settled);
        browser.eval(
            &page,
            "lines.line.transports = ['poll'], lines.line.restart()",
        );
        browser.until(&page, &opened("poll"));
        let before = texts(&mut browser, &page, "log.line").len();
        browser.eval(
            &page,
            "lines.line.transports = ['websocket', 'sse', 'poll'], lines.line.restart()",
        );
        browser.until(
            &page,
            &format!("log.line.length > {before} && {}", opened(transport)),
        );
        browser.close(page);
    }
    // busybox httpd's WebSockets.
    daemon.quiet();
}

#[test]
fn a_server_and_a_daemon_that_were_killed_are_met_again_and_nothing_is_missed() {
    let mut browser = Browser::start();
    killed_and_restarted(&mut browser, Server::lighttpd, &TRANSPORTS, true);
    // A socket that boa has handed over outlives it.
    let rc21 = |daemon: &Daemon| Server::boa("rc21", daemon);
    killed_and_restarted(&mut browser, rc21, &["websocket"], false);
    let piped = |daemon: &Daemon| Server::boa("piped", daemon);
    killed_and_restarted(&mut browser, piped, &["poll"], true);
}

/// `cut`: the server's end is the end of its connections.
fn killed_and_restarted(
    browser: &mut Browser,
    server: impl Fn(&Daemon) -> Server,
    transports: &[&str],
    cut: bool,
) {
    let daemon = Daemon::with(&format!("{KEPT} --ping 0"));
    let mut server = server(&daemon);
    let mut up = daemon.connect("/act?open=head WS-Join: @up");
    let page = open(browser, &server.origin());
    for transport in transports {
        begin(browser, &page, transport);
    }
    let numbered = |from: usize, to: usize| {
        let lines = (from..=to).map(|i| format!("text @a {i}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let until = |browser: &mut Browser, count: usize| {
        for transport in transports {
            let heard = format!("heard.{transport}");
            browser.until(&page, &format!("{heard}.length >= {count}"));
            let heard = texts(browser, &page, &heard);
            assert_eq!(numbers(&heard), Vec::from_iter(1..=count), "{transport}");
        }
    };
    daemon.outbox(numbered(1, 5));
    until(browser, 5);
    server.kill();
    for transport in transports {
        if cut {
            browser.until(&page, &format!("lines.{transport}.readyState === 0"));
        }
        let send = format!("lines.{transport}.send('head WS-To: @up;out {transport}')");
        browser.eval(&page, &send);
    }
    daemon.outbox(numbered(6, 10));
    server.start_again();
    until(browser, 10);
    // What was sent meanwhile has waited.
    let sent: BTreeSet<_> = transports.iter().map(|_| up.text()).collect();
    assert_eq!(sent, transports.iter().map(|&t| t.to_owned()).collect());
    for transport in transports {
        let log = texts(browser, &page, &format!("log.{transport}"));
        let wrong = log
            .iter()
            .find(|line| line.starts_with("gap") || line.starts_with("lost"));
        assert_eq!(wrong, None, "{transport}");
    }
    // A daemon that was killed has forgotten all, so it is told.
    let daemon = Start::default().args(KEPT).again_in(daemon.kill()).ready();
    for transport in transports {
        browser.until(&page, &format!("count('{transport}', 'gap') === 1"));
        until_open(browser, &page, transport);
    }
    daemon.outbox(numbered(11, 15));
    until(browser, 15);
    // One that ends properly says so; and it has no history to come back to.
    let folder = daemon.end();
    for transport in transports {
        let told = match *transport {
            // Between two of them there is nobody to tell.
            "poll" => "log.poll[log.poll.length - 1].startsWith('error')".to_owned(),
            _ => format!("count('{transport}', 'error 1001') === 1"),
        };
        browser.until(&page, &told);
    }
    let daemon = Start::default().again_in(folder).ready();
    for (gaps, number) in [(2, 16), (3, 17)] {
        for transport in transports {
            browser.until(&page, &format!("count('{transport}', 'gap') >= {gaps}"));
            until_open(browser, &page, transport);
        }
        daemon.outbox(numbered(number, number));
        until(browser, number);
        // Without a history a connection that is cut has a gap.
        browser.eval(&page, "dispatchEvent(new Event('online'))");
    }
    browser.close(page);
}

/// Numbers that look like chance, and are the same every time.
fn chance(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

#[test]
fn cut_at_random_every_few_messages_nothing_is_missed_doubled_or_overtaken() {
    const MESSAGES: usize = 400;
    let daemon = Daemon::with(&format!("{KEPT} --max-connections 200 --ping 0"));
    let server = Server::lighttpd(&daemon);
    let relay = Relay::to(server.port);
    let mut up = daemon.connect("/act?open=head WS-Join: @up");
    let mut browser = Browser::start();
    let page = open(&mut browser, &relay.origin());
    for transport in TRANSPORTS {
        begin(&mut browser, &page, transport);
        // A short pause; and messages on their way up all the time.
        let talk = format!(
            "(line => {{ line.least = 1; line.most = 20; let i = 0; \
               line.talk = setInterval(() => line.send('head WS-To: @up;out {transport} ' + ++i), 15); \
             }})(lines.{transport})"
        );
        browser.eval(&page, &talk);
    }
    let mut state = 7;
    for i in 1..=MESSAGES {
        daemon.outbox(format!("text @a {i}"));
        if chance(&mut state) % 8 == 0 {
            // Now and then before it is there again.
            let pause = chance(&mut state) % 60;
            std::thread::sleep(std::time::Duration::from_millis(pause.into()));
            relay.cut();
        }
    }
    for transport in TRANSPORTS {
        // The last cut may be news to it still.
        let end = format!(
            "(line => {{ \
               clearInterval(line.talk); \
               const end = 'head WS-To: @up;out {transport} end'; \
               line.onlost = ({{ data }}) => data === end && line.send(end); \
               line.send(end); \
             }})(lines.{transport})"
        );
        browser.eval(&page, &end);
        browser.until(&page, &format!("heard.{transport}.length >= {MESSAGES}"));
    }
    let mut arrived = BTreeMap::<String, Vec<String>>::new();
    let mut ends = BTreeSet::new();
    while ends.len() < TRANSPORTS.len() {
        let said = up.text();
        let (transport, word) = said.split_once(' ').expect("two words");
        if word == "end" {
            ends.insert(transport.to_owned());
        } else {
            let words = arrived.entry(transport.to_owned()).or_default();
            words.push(word.to_owned());
        }
    }
    for transport in TRANSPORTS {
        let heard = texts(&mut browser, &page, &format!("heard.{transport}"));
        assert_eq!(numbers(&heard), Vec::from_iter(1..=MESSAGES), "{transport}");
        let log = texts(&mut browser, &page, &format!("log.{transport}"));
        let count = |word: &str| log.iter().filter(|line| line.starts_with(word)).count();
        assert_eq!(count("gap"), 0, "{transport}");
        assert!(count("error 1006") >= 15, "{transport}: {log:?}");
        // Up: once each; what is missing was reported, and what was not is in order.
        let all = numbers(&arrived[transport]);
        let lost = |i: usize| {
            let end = format!(" head WS-To: @up;out {transport} {i}");
            log.iter()
                .any(|line| line.starts_with("lost") && line.ends_with(&end))
        };
        let sure: Vec<_> = all.iter().filter(|&&i| !lost(i)).collect();
        assert!(sure.is_sorted_by(|a, b| a < b), "{transport}: {sure:?}");
        assert!(sure.len() >= 5, "{transport}: {}", sure.len());
        let once: BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "{transport}: {all:?}");
        for i in 1..*sure[sure.len() - 1] {
            assert!(
                once.contains(&i) || lost(i),
                "{transport}: {i} is missing: {log:?}"
            );
        }
    }
}

#[test]
fn a_page_that_goes_and_a_page_that_closes_leave_nothing() {
    // An early close may leave a chain that has heard of no page: it ends soon.
    let daemon = Daemon::with("--poll-wait 4 --ping 1");
    let server = Server::lighttpd(&daemon);
    let mut browser = Browser::start();
    let page = open(&mut browser, &server.origin());
    let last = |count: usize| {
        daemon.until_empty();
        let events = daemon.events();
        events[events.len() - count..].join("\n")
    };
    for (transport, how) in [
        ("websocket", "4002 client enough"),
        ("sse", "1006 client "),
        ("poll", "1000 client "),
    ] {
        begin(&mut browser, &page, transport);
        // What was sent before goes before.
        let close = format!(
            "(line => {{ line.send('sleep 1'); line.send('sleep 10'); line.close(4002, 'enough'); }})\
             (lines.{transport})"
        );
        browser.eval(&page, &close);
        browser.until(
            &page,
            &format!("log.{transport}[1] === 'close 4002 enough'"),
        );
        let events = last(6);
        let id = events.rsplit(' ').next().expect("an id");
        let message = |length| format!("message {id} {length} - - -\ndone message {id}\n");
        let close = format!("close {id} 0 {how}\ndone close {id}");
        assert_eq!(events, message(7) + &message(8) + &close);
        let send = format!("try {{ lines.{transport}.send('x') }} catch (e) {{ e.message }}");
        assert_eq!(browser.text(&page, &send), "closed");
        // Before there is a connection.
        let early = format!("begin('early', '{URL}', {{ transports: ['{transport}'] }})");
        browser.eval(&page, &early);
        browser.eval(&page, "lines.early.send('never'), lines.early.close()");
        browser.until(&page, "log.early.join() === 'lost 0 never,close 1000'");
        daemon.until_empty();
    }
    // A visitor goes to another page: nobody waits for the next poll. Of an early close's chain the
    // daemon may hear only now; nobody closes that.
    let closes = || {
        let mut events = daemon.events();
        events.retain(|event| event.starts_with("close ") && event.contains(" client"));
        events
    };
    for (transport, code) in [("websocket", 1000), ("sse", 1006), ("poll", 1000)] {
        let page = open(&mut browser, &server.origin());
        begin(&mut browser, &page, transport);
        let before = closes().len();
        browser.eval(&page, "void setTimeout(() => location = '/')");
        let event = wait_for("its close", || closes().get(before).cloned());
        assert!(event.contains(&format!(" 0 {code} client")), "{event}");
        browser.close(page);
    }
}

#[test]
fn what_has_been_run_is_not_sent_again_and_what_has_not_is() {
    let mut daemon = Daemon::with("--ping 1");
    let server = Server::lighttpd(&daemon);
    let mut browser = Browser::start();
    let page = open(&mut browser, &server.origin());
    let messages = || {
        let events = daemon.events();
        let messages = events.iter().filter(|line| line.starts_with("message"));
        messages.count()
    };
    let (socket, aside) = (
        daemon.path("run/handoff.sock"),
        daemon.path("run/aside.sock"),
    );
    for transport in ["sse", "poll"] {
        begin(&mut browser, &page, transport);
        let send = |browser: &mut Browser, text: &str| {
            browser.eval(&page, &format!("lines.{transport}.send('{text}')"));
        };
        let before = messages();
        send(&mut browser, r"out Status: 503 Busy\\nRetry-After: 1\\n\\n");
        send(&mut browser, "head X: y;out 1");
        browser.until(&page, &format!("heard.{transport}.length === 1"));
        assert_eq!(messages(), before + 2);
        // Until there is room for it; in order; and its connection stays.
        let posts = |browser: &mut Browser| {
            let posts = "performance.getEntriesByType('resource')\
                         .filter(({ name }) => name.includes('/ws-post/')).length";
            browser.eval(&page, posts).as_u64().expect("a number")
        };
        let posted = posts(&mut browser);
        std::fs::rename(&socket, &aside).expect("rename");
        send(&mut browser, "head X: y;out 2");
        send(&mut browser, "head X: y;out 3");
        wait_for("two tries", || {
            (posts(&mut browser) >= posted + 2).then_some(())
        });
        std::fs::rename(&aside, &socket).expect("rename");
        browser.until(&page, &format!("heard.{transport}.length === 3"));
        let heard = texts(&mut browser, &page, &format!("heard.{transport}"));
        assert_eq!(numbers(&heard), [1, 2, 3]);
        assert_eq!(messages(), before + 4);
        let log = texts(&mut browser, &page, &format!("log.{transport}"));
        let lost = r"lost 503 out Status: 503 Busy\nRetry-After: 1\n\n";
        assert_eq!(log, [&format!("open {transport}"), lost]);
        browser.eval(&page, &format!("lines.{transport}.close()"));
        daemon.until_empty();
    }
    daemon.quiet();
}

#[test]
fn a_close_that_a_websocket_would_not_take_changes_nothing() {
    let daemon = Daemon::with("--ping 1");
    let server = Server::lighttpd(&daemon);
    let mut browser = Browser::start();
    let page = open(&mut browser, &server.origin());
    for transport in TRANSPORTS {
        begin(&mut browser, &page, transport);
        for (wrong, error) in [
            ("1001", "InvalidAccessError"),
            ("2999, 'x'", "InvalidAccessError"),
            ("5000", "InvalidAccessError"),
            ("NaN", "InvalidAccessError"),
            ("1000, 'ä'.repeat(62)", "SyntaxError"),
        ] {
            let close = format!(
                "(() => {{ try {{ lines.{transport}.close({wrong}) }} \
                 catch ({{ name }}) {{ return name }} }})()"
            );
            assert_eq!(browser.eval(&page, &close), error, "{transport}: {wrong}");
        }
        browser.eval(
            &page,
            &format!("lines.{transport}.send('head X: y;out here')"),
        );
        browser.until(&page, &format!("heard.{transport}.length === 1"));
        let close = format!("lines.{transport}.close(4999, 'ä'.repeat(61) + 'x')");
        browser.eval(&page, &close);
        browser.until(&page, &format!("lines.{transport}.readyState === 3"));
        let last = browser.text(&page, &format!("log.{transport}.pop()"));
        assert_eq!(last, format!("close 4999 {}x", "ä".repeat(61)));
        daemon.until_empty();
    }
}

#[test]
fn a_refusal_is_final_where_a_poll_can_tell() {
    let daemon = Daemon::with("--ping 1");
    let server = Server::lighttpd(&daemon);
    let mut browser = Browser::start();
    let page = open(&mut browser, &server.origin());
    for (url, close) in [
        (
            "act?open=out%20Status:%20403%20No%5cn%5cnnot%20you",
            "close 4403 not you",
        ),
        ("none", "close 4404 404: no event program there"),
    ] {
        browser.eval(&page, &format!("begin('line', '/cgi-bin/nph-ws/{url}')"));
        browser.until(&page, "lines.line.readyState === 3");
        assert_eq!(texts(&mut browser, &page, "log.line"), [close]);
    }
}

#[test]
fn it_is_at_most_4_kb_minified() {
    let mut esbuild = Command::new("esbuild");
    esbuild.args(["--minify", "--target=es2015"]);
    let output = crate::harness::run_ok(esbuild.arg(project("board/www/ws2cgi.js")));
    let size = output.stdout.len();
    assert!(size <= 4096, "{size} bytes");
}
