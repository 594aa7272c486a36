//! SIGTERM and SIGINT: everyone is told, every close event is run, nothing is left.

use crate::harness::{
    Daemon, Events, FIN, Poller, Start, TEXT, Ws, cgi_answer, masked, read_answer, request,
};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use ws2cgi::limits::BACKLOG;

/// What the last status.json says, written at the end.
fn last_status(daemon: &Daemon) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(daemon.path("run/status.json")).unwrap()).unwrap()
}

fn count(daemon: &Daemon, begins: &str) -> usize {
    daemon
        .events()
        .iter()
        .filter(|line| line.starts_with(begins))
        .count()
}

/// Waits until the daemon has begun to shut down.
fn shutting_down(daemon: &mut Daemon, signal: &str) {
    daemon.signal(signal);
    daemon.expect("INFO shutting down");
}

#[test]
fn everyone_is_told_1001_and_every_close_event_is_run_once() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut daemon = Daemon::start();
        let mut all: Vec<Ws> = ["/act", "/act2", "/deep/act"]
            .map(|r| daemon.connect(r))
            .into();
        let ids: Vec<_> = all.iter_mut().map(Ws::id).collect();
        daemon.signal(signal);
        for ws in &mut all {
            assert_eq!(ws.closed(), (1001, "going away".to_owned()));
        }
        assert_eq!(daemon.wait().code(), Some(0));
        let folder = daemon.path("handlers");
        let deep = std::fs::read_to_string(folder.join("deep/events")).unwrap();
        let events = daemon.events().join("\n") + "\n" + &deep;
        for id in ids {
            assert_eq!(
                events
                    .matches(&format!("close {id} 0 1001 server going away\n"))
                    .count(),
                1
            );
            assert_eq!(events.matches(&format!("done close {id}")).count(), 1);
        }
        let status = last_status(&daemon);
        assert_eq!(status["closes"]["1001"], 3);
        assert_eq!(status["events"]["close"]["done"], 3);
        assert_eq!(status["closes_not_run"], 0);
        assert_eq!(status["connections"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn whoever_waits_is_told_whichever_way_he_came() {
    let mut daemon = Daemon::with("--jobs 3");
    let sse = "/act?via=sse";
    let mut streams = [
        Events::open(daemon.get(sse, &[])),
        Events::open(daemon.get_by_pipe(sse, &[])),
    ];
    let poll = || {
        let mut page = Poller::new("/act?via=poll");
        page.poll(&daemon, "&wait=0");
        page
    };
    let (by_socket, by_pipe, between) = (poll(), poll(), poll());
    let mut waiting = by_socket.ask(&daemon, "");
    let mut piped = daemon.get_by_pipe(&by_pipe.next_url(), &[]);
    let old = daemon.get("/act", &[]);
    // A POST whose event runs, one behind it, one on its own that has not come in whole.
    let post = |url: &str, script: &str, length: usize| {
        let length = length.to_string();
        let (mut body, answer) = daemon.post_begun("ws-post", url, &[("CONTENT_LENGTH", &length)]);
        body.write_all(script.as_bytes()).expect("write");
        (body, answer)
    };
    let (first, second) = ("until go;head X: y;out first", "head X: y;out second");
    let of_it = format!("/act?{}", streams[0].query());
    let (_, mut runs) = post(&of_it, first, first.len());
    daemon.event(&format!("message {}", streams[0].id));
    let (_, mut behind) = post(&of_it, second, second.len());
    let (_body, mut unfinished) = post("/act", "out", 10);
    // Whoever came before is in when this one is, and what was written before has been read.
    let mut last = daemon.connect("/act2");
    last.works();
    shutting_down(&mut daemon, "TERM");
    for events in &mut streams {
        let close = events.next().expect("an event");
        assert_eq!((&*close.name, &*close.data), ("close", "1001 going away"));
        assert_eq!(events.next(), None);
    }
    for answer in [
        read_answer(&mut waiting),
        read_answer(&mut piped),
        read_answer(&mut { old }),
    ] {
        let close = answer.field("ws-close");
        assert_eq!((answer.status, close), (410, Some("1001 going away")));
    }
    assert_eq!(last.closed().0, 1001);
    let answer = cgi_answer(&mut unfinished);
    let why = "503: the daemon is shutting down\n";
    assert_eq!((answer.status, answer.body.as_str()), (503, why));
    // What has come in whole is run, and before the close.
    daemon.let_go("go");
    for (answer, text) in [(&mut runs, "first"), (&mut behind, "second")] {
        let answer = cgi_answer(answer);
        assert_eq!((answer.status, answer.body.as_str()), (200, text));
    }
    assert_eq!(daemon.wait().code(), Some(0));
    for id in [
        &streams[0].id,
        &streams[1].id,
        &by_socket.id,
        &by_pipe.id,
        &between.id,
    ] {
        let of_it: Vec<_> = daemon.events();
        let of_it: Vec<_> = of_it
            .iter()
            .filter(|line| line.contains(id.as_str()))
            .collect();
        assert_eq!(
            of_it[of_it.len() - 2],
            &format!("close {id} 0 1001 server going away")
        );
        assert_eq!(of_it[of_it.len() - 1], &format!("done close {id}"));
    }
    let status = last_status(&daemon);
    assert_eq!(
        (&status["closes"]["1001"], &status["closes_not_run"]),
        (&7.into(), &0.into())
    );
}

#[test]
fn the_socket_and_the_pid_file_are_removed_and_the_fifo_is_kept() {
    let mut daemon = Daemon::start();
    assert_eq!(daemon.stop().code(), Some(0));
    for gone in ["run/handoff.sock", "run/pid"] {
        assert!(!daemon.path(gone).exists(), "{gone}");
    }
    let fifo = std::fs::metadata(daemon.path("run/outbox")).unwrap();
    assert!(fifo.file_type().is_fifo());
}

#[test]
fn a_client_that_ignores_the_close_does_not_hold_it_up() {
    let mut daemon = Daemon::start();
    let mut deaf = daemon.connect("/act");
    let id = deaf.id();
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(
        count(&daemon, &format!("close {id} 0 1001 server going away")),
        1
    );
    assert_eq!(count(&daemon, &format!("done close {id}")), 1);
    assert_eq!(last_status(&daemon)["closes_not_run"], 0);
}

#[test]
fn a_client_that_vanishes_meanwhile_gets_one_close_event() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("until go");
    daemon.event(&format!("message {id} 8"));
    shutting_down(&mut daemon, "TERM");
    drop(ws);
    daemon.let_go("go");
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(count(&daemon, &format!("close {id} ")), 1);
    assert_eq!(
        count(&daemon, &format!("close {id} 0 1001 server going away")),
        1
    );
}

#[test]
fn a_running_message_is_finished_before_its_close_event() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("until go;head X-A: b;out too late");
    ws.send("exit 0; behind our close frame, so discarded");
    daemon.event(&format!("message {id} 33"));
    daemon.signal("TERM");
    assert_eq!(ws.closed(), (1001, "going away".to_owned()));
    daemon.let_go("go");
    assert_eq!(daemon.wait().code(), Some(0));
    let events = daemon.events();
    assert_eq!(
        events[4..],
        [
            format!("message {id} 33 - - -"),
            format!("done message {id}"),
            format!("close {id} 0 1001 server going away"),
            format!("done close {id}"),
        ]
    );
    assert_eq!(last_status(&daemon)["messages"]["discarded"], 1);
}

#[test]
fn an_open_program_that_runs_at_that_moment_is_heard() {
    for (verdict, status) in [("head X-A: b", 101), ("head Status: 403 no", 403)] {
        let mut daemon = Daemon::start();
        let stream = daemon.raw(&format!("/act?open=until go;{verdict}"), &[]);
        let id = daemon.event("open ").split(' ').nth(1).unwrap().to_owned();
        shutting_down(&mut daemon, "TERM");
        daemon.let_go("go");
        if status == 101 {
            assert_eq!(
                Ws::accepted(stream).closed(),
                (1001, "going away".to_owned())
            );
        } else {
            assert_eq!(read_answer(&mut { stream }).status, status);
        }
        assert_eq!(daemon.wait().code(), Some(0));
        let closes = count(&daemon, &format!("close {id} 0 1001 server going away"));
        assert_eq!(closes, (status == 101) as usize);
    }
}

#[test]
fn who_waits_for_an_open_program_or_comes_later_is_told_503() {
    let mut daemon = Daemon::with("--jobs 1 --listen unix:{}/run/listen");
    let mut ws = daemon.connect("/act");
    ws.send("until go");
    daemon.status_until("/jobs", 1);
    let mut waiting = daemon.raw("/act2", &[]);
    daemon.status_until("/connections/1/route", "/act2");
    // Still in the kernel's queues when the signal comes.
    daemon.signal("STOP");
    let mut queued = daemon.raw("/act2", &[]);
    let mut knocking = std::os::unix::net::UnixStream::connect(daemon.path("run/listen")).unwrap();
    daemon.signal("TERM");
    daemon.signal("CONT");
    for answer in [
        read_answer(&mut waiting),
        read_answer(&mut queued),
        read_answer(&mut knocking),
    ] {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.body, "503: the daemon is shutting down\n");
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    let late = read_answer(&mut daemon.raw("/act2", &[]));
    assert_eq!(late.status, 503);
    assert!(
        late.body.starts_with("503: ws2cgi is not running"),
        "{}",
        late.body
    );
    daemon.let_go("go");
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(last_status(&daemon)["refusals"]["stopping"], 3);
    assert_eq!(count(&daemon, "open "), 1);
}

#[test]
fn all_who_wait_in_the_kernels_queue_are_told_503() {
    let mut daemon = Daemon::with("--listen unix:{}/run/listen");
    let all: Vec<_> = (0..64).map(|_| daemon.connect("/act")).collect();
    daemon.signal("STOP");
    let queued = (0..=BACKLOG).map(|_| {
        let mut queued = daemon.unix("run/listen");
        queued
            .write_all(request("/act", "").as_bytes())
            .expect("write");
        queued
    });
    let mut queued: Vec<_> = queued.collect();
    daemon.signal("TERM");
    daemon.signal("CONT");
    for queued in &mut queued {
        // The first may come before the signal, and is told that all connections are taken.
        assert_eq!(read_answer(queued).status, 503);
    }
    drop(all);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn no_second_daemon_serves_the_folder_before_the_first_has_ended() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act?close=until go");
    shutting_down(&mut daemon, "TERM");
    ws.closed();
    daemon.event("close ");
    let (code, said) = daemon.another();
    assert_eq!(code, Some(111));
    assert!(said.contains("another ws2cgi, pid"), "{said}");
    daemon.let_go("go");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_fifo_is_read_until_the_last_child_is_gone() {
    let mut daemon = Daemon::start();
    // More than the FIFO holds.
    let line = format!("text @nobody {}", "x".repeat(60));
    let mut ws = daemon.connect(&format!("/act?close=boxes 1500 {line}"));
    let id = ws.id();
    daemon.signal("TERM");
    ws.closed();
    assert_eq!(daemon.wait().code(), Some(0));
    assert_eq!(count(&daemon, &format!("done close {id}")), 1);
    assert_eq!(last_status(&daemon)["outbox"]["lines"], 1500);
}

#[test]
fn a_hanging_close_program_is_cut_short() {
    let mut daemon = Daemon::with("--event-timeout 60");
    let mut ws = daemon.connect("/act?close=hang");
    let id = ws.id();
    daemon.signal("TERM");
    ws.closed();
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.expect(&format!(
        "{id} /act: close event failed: not done within --event-timeout"
    ));
    let status = last_status(&daemon);
    assert_eq!(status["events"]["close"]["failed"], 1);
    assert_eq!(status["closes_not_run"], 0);
}

#[test]
fn close_events_that_could_not_run_are_logged_and_counted() {
    let mut daemon = Daemon::with("--event-timeout 60 --jobs 1");
    let mut all: Vec<Ws> = (0..3)
        .map(|_| daemon.connect("/act?close=deaf;hang"))
        .collect();
    daemon.signal("TERM");
    all.iter_mut().for_each(|ws| drop(ws.closed()));
    assert_eq!(daemon.wait().code(), Some(0));
    // One had begun, and is killed at the end.
    assert_eq!(count(&daemon, "close "), 1);
    assert_eq!(count(&daemon, "done close "), 0);
    daemon.expect("WARN 3 close events not run: the 10 s of a shutdown are over");
    assert_eq!(last_status(&daemon)["closes_not_run"], 3);
}

#[test]
fn messages_that_could_not_run_are_logged_counted_and_answered() {
    let mut daemon = Daemon::with("--event-timeout 60 --jobs 1");
    let events = Events::open(daemon.get("/act?via=sse", &[]));
    let mut ws = daemon.connect("/act");
    let (hang, never) = ("deaf;hang", "note never");
    let post = |url: &str, script: &str| {
        let length = script.len().to_string();
        let (mut body, answer) = daemon.post_begun("ws-post", url, &[("CONTENT_LENGTH", &length)]);
        body.write_all(script.as_bytes()).expect("write");
        answer
    };
    // One on its own runs; two more wait, two of a connection, and one of a WebSocket.
    let mut answers = vec![post("/act", hang)];
    daemon.event("message ");
    let of_it = format!("/act?{}", events.query());
    for url in ["/act", "/act", &of_it, &of_it] {
        answers.push(post(url, never));
    }
    ws.send(never);
    daemon.status_until("/bytes/in", hang.len() + 5 * never.len() + 6);
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    for answer in &mut answers {
        assert_eq!(cgi_answer(answer).status, 504);
    }
    assert_eq!(count(&daemon, "note "), 0);
    let fails = " /act: message event failed: not done within --event-timeout";
    daemon.expect(fails);
    assert_eq!(daemon.log().matches(fails).count(), 6);
    daemon.expect("WARN 2 close events not run: the 10 s of a shutdown are over");
    let status = last_status(&daemon);
    assert_eq!(status["events"]["message"]["failed"], 6);
    assert_eq!(status["closes_not_run"], 2);
}

#[test]
fn messages_of_one_who_has_gone_that_could_not_run_are_counted_too() {
    let mut daemon = Daemon::with("--event-timeout 60");
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // One segment: all are read before the first is run.
    let texts: [&[u8]; 3] = [b"deaf;hang", b"note never", b"note never"];
    ws.send_raw(&texts.map(|text| masked(FIN | TEXT, text)).concat());
    daemon.event(&format!("message {id} 9"));
    let now = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(ws.stream(), Linger, &now).expect("SO_LINGER");
    drop(ws);
    // What is written to it fails, and what it sent before is still run.
    daemon.outbox(format!("text {id} lost"));
    daemon.status_until("/messages/dropped", 1);
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.expect(&format!("{id} /act: message event failed: not done within"));
    daemon.expect("WARN 1 close events not run: the 10 s of a shutdown are over");
    let status = last_status(&daemon);
    assert_eq!(status["events"]["message"], json!({"done": 1, "failed": 3}));
    assert_eq!(status["closes_not_run"], 1);
}

#[test]
fn an_open_program_that_is_not_done_at_the_end_is_logged_counted_and_answered() {
    let mut daemon = Daemon::with("--event-timeout 60");
    let mut opening = daemon.raw("/act?open=deaf;hang", &[]);
    daemon.event("open ");
    daemon.signal("TERM");
    assert_eq!(read_answer(&mut opening).status, 504);
    assert_eq!(daemon.wait().code(), Some(0));
    daemon.expect(" /act: open event failed: not done within --event-timeout");
    let status = last_status(&daemon);
    assert_eq!(status["events"]["open"]["failed"], 1);
    assert_eq!(status["closes_not_run"], 0);
}

#[test]
fn a_hang_up_that_its_parent_ignores_is_ignored() {
    let mut daemon = Start::default().shell("trap '' HUP").ready();
    let mut ws = daemon.connect("/act");
    daemon.signal("HUP");
    // Behind it, and handled after it.
    daemon.status();
    ws.works();
    assert_eq!(daemon.stop().code(), Some(0));
}
