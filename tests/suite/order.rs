//! Order and loss: events of one connection come one by one, and nobody is kept waiting.

use crate::harness::{Daemon, Ws, masked, read_answer};
use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Linger, SndBuf};
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};

/// What `act` noted of one connection: `open`, `done open`, `message 5` ...; without its id.
fn history(daemon: &Daemon, id: &str) -> Vec<String> {
    let of_it = |line: &String| line.split(' ').any(|word| word == id);
    let lines = daemon.events().into_iter().filter(of_it);
    lines
        .map(|line| line.replace(&format!(" {id}"), "").replace(" - - -", ""))
        .collect()
}

/// Waits until this many events have begun and not ended.
fn until_running(daemon: &Daemon, count: usize) {
    daemon.status_until("/jobs", count);
}

#[test]
fn a_thousand_messages_come_back_in_order_and_complete() {
    let daemon = Daemon::with("--jobs 4");
    let mut others: Vec<Ws> = (0..3).map(|_| daemon.connect("/act2")).collect();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    for n in 0..1000 {
        ws.send(&format!("head X-A: b;out {n}"));
        if n % 10 == 0 {
            others
                .iter_mut()
                .for_each(|other| other.send(&format!("head X-A: b;out {n}")));
        }
    }
    for n in 0..1000 {
        assert_eq!(ws.text(), n.to_string());
    }
    for other in &mut others {
        for n in (0..1000).step_by(10) {
            assert_eq!(other.text(), n.to_string());
        }
    }
    ws.close(1000, "");
    daemon.event(&format!("done close {id}"));
    let history = history(&daemon, &id);
    assert_eq!(history.len(), 2 * 1003);
    assert_eq!(&history[..2], ["open 0", "done open"]);
    assert_eq!(&history[2004..], ["close 0 1000 client ", "done close"]);
    let pairs = history[2..2004].chunks(2);
    assert!(
        pairs
            .into_iter()
            .all(|p| p[0].starts_with("message ") && p[1] == "done message")
    );
}

#[test]
fn a_client_that_vanishes_during_open_gets_its_close_event() {
    let daemon = Daemon::start();
    let stream = daemon.raw("/act?open=until go", &[]);
    let id = daemon.event("open ").split(' ').nth(1).unwrap().to_owned();
    drop(stream);
    daemon.let_go("go");
    daemon.event(&format!("done close {id}"));
    let expected = ["open 0", "done open", "close 0 1006 client ", "done close"];
    assert_eq!(history(&daemon, &id), expected);
    daemon.until_empty();
}

#[test]
fn a_client_that_vanishes_during_an_open_that_refuses_gets_none() {
    let daemon = Daemon::start();
    let stream = daemon.raw("/act?open=until go;head Status: 403 no", &[]);
    let id = daemon.event("open ").split(' ').nth(1).unwrap().to_owned();
    drop(stream);
    daemon.let_go("go");
    daemon.until_empty();
    assert_eq!(history(&daemon, &id), ["open 0", "done open"]);
}

#[test]
fn messages_of_a_client_that_vanishes_are_run_before_its_close_event() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("until go");
    daemon.event(&format!("message {id} 8"));
    for n in 1..=5 {
        ws.send(&format!("head X-A: b;out {}", "x".repeat(n)));
    }
    drop(ws);
    daemon.let_go("go");
    daemon.event(&format!("done close {id}"));
    let mut expected = vec!["open 0", "done open", "message 3", "done message"];
    expected.extend(["message 8", "done message"]);
    for size in [
        "message 17",
        "message 18",
        "message 19",
        "message 20",
        "message 21",
    ] {
        expected.extend([size, "done message"]);
    }
    expected.extend(["close 0 1006 client ", "done close"]);
    assert_eq!(history(&daemon, &id), expected);
}

#[test]
fn a_reset_connection_gets_its_close_event_once() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    // The daemon learns of it as it writes the reply.
    ws.send("until go;head X-A: b;out lost");
    daemon.event(&format!("message {id} 29"));
    let reset = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&ws.stream().as_fd(), Linger, &reset).unwrap();
    drop(ws);
    daemon.let_go("go");
    daemon.event(&format!("done close {id}"));
    daemon.until_empty();
    assert_eq!(
        &history(&daemon, &id)[4..],
        [
            "message 29",
            "done message",
            "close 0 1006 client ",
            "done close"
        ]
    );
}

#[test]
fn messages_sent_with_the_close_behind_them_are_not_lost() {
    let daemon = Daemon::start();
    for _ in 0..10 {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send_raw(
            &[
                masked(0x81, b"exit 0;1"),
                masked(0x82, b"exit 0;22"),
                masked(0x88, b"\x0f\xa0end"),
            ]
            .concat(),
        );
        drop(ws);
        daemon.event(&format!("done close {id}"));
        let expected = [
            "message 8",
            "done message",
            "message 9",
            "done message",
            "close 0 4000 client end",
            "done close",
        ];
        assert_eq!(&history(&daemon, &id)[4..], expected);
    }
}

#[test]
fn while_an_event_runs_the_socket_is_not_read_and_nothing_is_dropped() {
    let daemon = Daemon::with("--event-timeout 60");
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("until go");
    daemon.event(&format!("message {id} 8"));
    let read = daemon.number("/bytes/in");

    setsockopt(&ws.stream().as_fd(), SndBuf, &16384).unwrap();
    ws.stream().set_nonblocking(true).unwrap();
    // Each has another size, by which its event is known.
    let frame = |n: usize| {
        masked(
            0x82,
            format!("exit 0;{}", "x".repeat(50_000 + n)).as_bytes(),
        )
    };
    let mut count = 0;
    let rest = 'full: loop {
        let bytes = frame(count);
        count += 1;
        assert!(count < 1000, "50 MB, and nobody is pushed back");
        let mut sent = 0;
        while sent < bytes.len() {
            match ws.stream().write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break 'full bytes[sent..].to_vec(),
                Err(e) => panic!("{e}"),
            }
        }
    };
    assert_eq!(daemon.number("/bytes/in"), read);
    ws.stream().set_nonblocking(false).unwrap();
    daemon.let_go("go");
    ws.send_raw(&rest);
    ws.works();
    let mut expected = vec!["message 8".to_owned(), "done message".to_owned()];
    for n in 0..count {
        expected.extend([format!("message {}", 50_007 + n), "done message".to_owned()]);
    }
    let history = history(&daemon, &id);
    assert_eq!(&history[4..history.len() - 2], expected);
}

#[test]
fn sixty_four_browsers_that_reconnect_at_the_same_instant_all_get_in() {
    let daemon = Daemon::with("--max-connections 64 --event-timeout 60");
    let browsers: Vec<Ws> = (0..64).map(|_| daemon.connect("/act")).collect();
    let start = Arc::new(Barrier::new(browsers.len()));
    let again: Vec<Ws> = std::thread::scope(|scope| {
        let reconnect = |mut ws: Ws| {
            let (daemon, start) = (&daemon, start.clone());
            scope.spawn(move || {
                start.wait();
                // A close alone would wait for copies that forked children have for a moment.
                ws.stream().shutdown(Shutdown::Both).unwrap();
                let mut ws = daemon.connect("/act");
                ws.works();
                ws
            })
        };
        let threads: Vec<_> = browsers.into_iter().map(reconnect).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(again.len(), 64);
    daemon.status_until("/events/close/done", 64);
    let status = daemon.status();
    assert_eq!(status["connections"].as_array().unwrap().len(), 64);
    assert_eq!(status["refusals"].to_string(), "{}");
}

// ---- Job slots

#[test]
fn a_hung_program_on_one_route_delays_no_other() {
    for jobs in [2, 4] {
        let daemon = Daemon::with(&format!("--jobs {jobs} --event-timeout 60"));
        let mut hung: Vec<Ws> = (0..jobs + 1).map(|_| daemon.connect("/act")).collect();
        for ws in &mut hung {
            ws.send("until go;head X-A: b;out went");
        }
        // Nobody else waits, and yet a slot is kept.
        until_running(&daemon, jobs - 1);
        let mut other = daemon.connect("/act2");
        other.works();
        assert_eq!(other.close(1000, ""), 1000);
        daemon.status_until("/events/close/done", 1);
        assert_eq!(daemon.number("/jobs"), jobs as u64 - 1);
        daemon.let_go("go");
        hung.iter_mut().for_each(|ws| assert_eq!(ws.text(), "went"));
    }
}

#[test]
fn one_job_serves_every_route_in_turn() {
    let daemon = Daemon::with("--jobs 1");
    for _ in 0..3 {
        daemon.connect("/act").works();
        daemon.connect("/act2").works();
    }
}

#[test]
fn a_busy_connection_does_not_starve_another() {
    let daemon = Daemon::with("--jobs 1 --event-timeout 60");
    let mut holder = daemon.connect("/act2");
    let (mut busy, mut other) = (daemon.connect("/act"), daemon.connect("/act"));
    let (busy_id, other_id) = (busy.id(), other.id());
    holder.send("until go");
    until_running(&daemon, 1);
    for _ in 0..20 {
        busy.send("head X-A: b;out busy");
    }
    for _ in 0..5 {
        other.send("head X-A: b;out other");
    }
    daemon.let_go("go");
    (0..20).for_each(|_| assert_eq!(busy.text(), "busy"));
    (0..5).for_each(|_| assert_eq!(other.text(), "other"));
    let turns: String = daemon
        .events()
        .iter()
        .filter_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["message", id, "20", ..] if id == busy_id => Some('b'),
            ["message", id, "21", ..] if id == other_id => Some('o'),
            _ => None,
        })
        .collect();
    assert_eq!(turns, format!("{}{}", "bo".repeat(5), "b".repeat(15)));
}

#[test]
fn no_more_than_jobs_run_at_once() {
    let daemon = Daemon::with("--jobs 2");
    let mut all: Vec<Ws> = ["/act", "/act2", "/act/x", "/act2/x"]
        .map(|route| daemon.connect(route))
        .into();
    for _ in 0..10 {
        all.iter_mut()
            .for_each(|ws| ws.send("sleep 5;head X-A: b;out ok"));
    }
    for ws in &mut all {
        (0..10).for_each(|_| assert_eq!(ws.text(), "ok"));
    }
    let (mut running, mut most) = (0, 0);
    for line in daemon.events() {
        running += if line.starts_with("done ") { -1 } else { 1 };
        most = most.max(running);
    }
    assert_eq!((running, most), (0, 2));
}

// ---- --upgrade-delay

#[test]
fn the_101_waits_for_the_delay_and_every_frame_for_the_101() {
    let daemon = Daemon::with("--upgrade-delay 700");
    let greeting = "box text @all before;head WS-Join: @me\\nWS-To: @me;out welcome";
    let stream = daemon.raw(&format!("/act?open={greeting}"), &[]);
    daemon.status_until("/events/open/done", 1);
    daemon.outbox("text @all during");
    let mut ws = Ws::accepted(stream);
    assert!(
        daemon
            .events()
            .iter()
            .any(|line| line.starts_with("done open"))
    );
    assert_eq!([ws.text(), ws.text()], ["welcome", "during"]);
    ws.works();
}

#[test]
fn a_close_during_the_delay_comes_behind_the_101() {
    let daemon = Daemon::with("--upgrade-delay 300");
    let mut ws = daemon.connect("/act?open=head WS-Close: 4000 no");
    assert_eq!(ws.closed(), (4000, "no".to_owned()));
    let vanishing = daemon.raw("/act2", &[]);
    daemon.status_until("/events/open/done", 2);
    vanishing.shutdown(Shutdown::Both).unwrap();
    daemon.status_until("/closes/1006", 1);
    let refused = read_answer(&mut daemon.raw("/act?open=head Status: 403 no", &[]));
    assert_eq!(refused.status, 403);
    daemon.until_empty();
    assert_eq!(daemon.number("/events/close/done"), 2);
}
