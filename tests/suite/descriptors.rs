//! The descriptor limit: budgeted at the start, and survived when it is met all the same.

use crate::harness::{
    Answer, Daemon, Events, Poller, Start, Ws, read_answer, read_head, request, run_ok, wait_for,
};
use std::io::{Read, Write};
use std::process::Command;

#[test]
fn a_low_limit_lowers_the_number_of_connections() {
    let start = Start::default().shell("ulimit -n 64");
    let mut daemon = start.ready();
    daemon.expect("WARN --max-connections lowered to 8: the limit is 64 descriptors (ulimit -n)");
    let mut all: Vec<_> = (0..8).map(|_| daemon.connect("/act")).collect();
    let refused = read_answer(&mut daemon.raw("/act", &[]));
    assert_eq!(
        (refused.status, &*refused.body),
        (503, "503: all connections are taken\n")
    );
    // All at once, with as many jobs as there may be.
    all.iter_mut().for_each(|ws| ws.send("out \\ndone"));
    all.iter_mut().for_each(|ws| assert_eq!(ws.text(), "done"));
}

#[test]
fn a_limit_far_too_low_ends_the_start() {
    for (shell, args, needed) in [
        ("ulimit -n 49", "", 48),
        ("ulimit -n 20", "", 48),
        ("ulimit -n 37", "--jobs 1", 36),
        ("ulimit -n 38", "--jobs 1 --listen 127.0.0.1:0", 37),
    ] {
        let (code, said) = Start::default().shell(shell).args(args).fails();
        let limit = shell.rsplit(' ').next().expect("a limit");
        let why = format!(
            "a limit of {limit} descriptors is too low: {needed} are needed beside those of connections \
             (raise ulimit -n, or lower --jobs)"
        );
        assert_eq!((code, said), (111, format!("ws2cgi: {why}\n")));
    }
}

#[test]
fn under_a_tight_limit_nobody_is_left_without_an_answer() {
    let start = Start::default()
        .shell("ulimit -n 54")
        .args("--listen unix:{}/ws.sock");
    let mut daemon = start.ready();
    daemon.expect("--max-connections lowered to 2");
    let by_hand_off = |_| read_answer(&mut daemon.raw("/act", &[])).status;
    let by_socket = |_| {
        let mut stream = daemon.unix("ws.sock");
        stream
            .write_all(request("/act", "").as_bytes())
            .expect("write");
        read_answer(&mut stream).status
    };
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || match n % 2 {
                    0 => (0..20).map(by_hand_off).collect::<Vec<_>>(),
                    _ => (0..20).map(by_socket).collect(),
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("a thread"))
            .collect()
    });
    assert_eq!(statuses.len(), 160);
    assert!(
        statuses.iter().all(|status| [101, 503].contains(status)),
        "{statuses:?}"
    );
    daemon.until_empty();
    daemon.connect("/act").works();
}

/// Asks for an event stream, an answer to a poll or to a POST, by sockets and by pipes: a whole
/// answer, or the begin of a stream.
fn ask(daemon: &Daemon, n: usize) -> Answer {
    let direct = |head: &str| {
        let mut stream = daemon.unix("ws.sock");
        let head = format!("{head} HTTP/1.1\r\nHost: board.test\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("write");
        stream
    };
    let stream = |mut from: Box<dyn Read>| {
        let mut answer = read_head(&mut from).expect("a head");
        if answer.status != 200 {
            from.read_to_string(&mut answer.body).expect("a body");
        }
        answer
    };
    let (sse, poll) = ("/act?via=sse", "/act?via=poll&wait=0");
    match n % 7 {
        0 => stream(Box::new(daemon.get(sse, &[]))),
        1 => stream(Box::new(daemon.get_by_pipe(sse, &[]))),
        2 => stream(Box::new(direct(&format!("GET {sse}")))),
        3 => read_answer(&mut daemon.get_by_pipe(poll, &[])),
        4 => read_answer(&mut direct(&format!("GET {poll}"))),
        5 => read_answer(&mut direct("POST /act")),
        _ => daemon.post("/act", "head X: y;out posted"),
    }
}

#[test]
fn under_a_tight_limit_each_stream_poll_and_post_has_a_whole_answer() {
    let start = Start::default().shell("ulimit -n 54");
    let start = start.args("--listen unix:{}/ws.sock --poll-wait 1");
    let mut daemon = start.ready();
    daemon.expect("--max-connections lowered to 2");
    std::thread::scope(|scope| {
        for n in 0..7 {
            let daemon = &daemon;
            scope.spawn(move || {
                for i in 0..8 {
                    let answer = ask(daemon, n + i);
                    let whole = match answer.status {
                        200 => return,
                        204 => 0,
                        503 => answer.body.len(),
                        _ => panic!("{answer:?}"),
                    };
                    let length = answer.field("content-length").unwrap_or("0");
                    assert_eq!(length, whole.to_string(), "{answer:?}");
                }
            });
        }
    });
    // Chains that nobody goes on with end, too.
    daemon.until_empty();
    assert_eq!(daemon.post("/act", "head X: y;out again").body, "again");
}

/// Sets the limit of the running daemon.
fn limit(daemon: &Daemon, most: usize) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([
        "--pid",
        &daemon.pid().to_string(),
        &format!("--nofile={most}:1024"),
    ]);
    run_ok(&mut prlimit);
}

#[test]
fn with_no_descriptor_left_newcomers_wait_and_nothing_spins() {
    let mut daemon = Daemon::with("--ping 3 --listen unix:{}/ws.sock");
    let mut bystander = daemon.connect("/act");
    bystander.works();
    let before = daemon.descriptors().len();
    // Whoever is in is served on, a poll that waits among them.
    let mut stream = Events::open(daemon.get("/act?via=sse&open=head WS-Join: @a", &[]));
    let mut page = Poller::new("/act?via=poll&open=head WS-Join: @a");
    page.poll(&daemon, "&wait=0");
    // The lowest one free is taken; so is one more, as a pair is asked for.
    for free in [0, 1] {
        let mut poll = page.ask(&daemon, "");
        wait_for("the poll to wait, and nothing else to end", || {
            (daemon.descriptors().len() == before + 2).then_some(())
        });
        // It answers its pings.
        bystander.works();
        limit(&daemon, daemon.lowest_free_descriptor() + free);
        let mut waiting: Vec<_> = (0..3).map(|_| daemon.raw("/act", &[])).collect();
        let mut direct = daemon.unix("ws.sock");
        direct
            .write_all(request("/act", "").as_bytes())
            .expect("write");
        daemon.expect("WARN newcomers wait: no descriptors are left");
        // From one ping to the next are three seconds of the daemon's own clock.
        bystander.pinged();
        let before = daemon.ticks();
        bystander.pinged();
        let spent = daemon.ticks() - before;
        assert!(spent < 50, "{spent} of some 300 ticks");
        daemon.outbox("text @a served");
        assert_eq!(stream.text(), "served");
        let answer = read_answer(&mut poll);
        assert_eq!((answer.status, answer.body.as_str()), (200, "served"));
        page.note(&answer);
        limit(&daemon, 1024);
        waiting.push(direct);
        for client in waiting {
            Ws::accepted(client).works();
            // Which answers its pings, however long this takes.
            bystander.works();
        }
        wait_for("them to be gone", || {
            (daemon.status()["connections"].as_array()?.len() == 3).then_some(())
        });
    }
    daemon.status_until("/refusals", serde_json::json!({}));
    bystander.works();
}
