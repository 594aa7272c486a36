//! Clients that do not read, and clients that do not answer.

use crate::harness::{Daemon, Start, Ws, masked, wait_for};
use std::io::Write;
use std::thread::JoinHandle;
use tungstenite::Message;

/// A connection in `@r` that takes little before it pushes back.
fn idle_reader(daemon: &Daemon) -> Ws {
    daemon.narrow("/act?open=head WS-Join: @r")
}

/// A connection in `@r` whose texts are read as they come, until the one that is `last`.
fn eager_reader(daemon: &Daemon, last: &'static str) -> JoinHandle<(Ws, Vec<String>)> {
    let mut ws = daemon.connect("/act2?open=head WS-Join: @r");
    std::thread::spawn(move || {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            texts.push(ws.text());
        }
        (ws, texts)
    })
}

/// One line to `@r` that is large for a queue of 4 KB.
fn line(n: usize) -> String {
    format!("{n} {}", "x".repeat(8000))
}

fn start(args: &str) -> Daemon {
    let start = Start::default().log("warn");
    start
        .args("--queue 4096 --event-timeout 60")
        .args(args)
        .ready()
}

/// Writes lines to `@r` until the first connection's queue is full and stays so: its writer
/// stands. Returns how many.
fn fill(daemon: &Daemon) -> usize {
    let queue = || daemon.number("/connections/0/queue");
    for n in 0.. {
        daemon.outbox(format!("text @r {}", line(n)));
        daemon.status_until("/outbox/lines", n + 1);
        // The kernel takes what it can in the turn itself.
        if queue() >= 4096 {
            return n + 1;
        }
        assert!(n < 500, "4 MB, and nobody is pushed back");
    }
    unreachable!()
}

#[test]
fn a_client_that_stops_reading_is_closed_with_1013_and_the_others_get_everything() {
    let mut daemon = start("--slow-timeout 1");
    let mut slow = idle_reader(&daemon);
    let slow_id = {
        let status = daemon.status();
        status["connections"][0]["id"].as_str().unwrap().to_owned()
    };
    let reader = eager_reader(&daemon, "last");
    let count = fill(&daemon);
    daemon.outbox("text @r last");
    // It does not read, so the log knows first. From now on it has five seconds: status.json, of
    // which a slow daemon may write late, is not waited for.
    wait_for("the end of patience", || {
        daemon.log().contains("too slow a reader").then_some(())
    });
    let mut seen = 0;
    let close = loop {
        match slow.next() {
            Message::Text(text) => {
                assert_eq!(text.as_str(), line(seen));
                seen += 1;
            }
            Message::Close(close) => break close.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (u16::from(close.code), close.reason.as_str()),
        (1013, "too slow")
    );
    let (mut eager, texts) = reader.join().unwrap();
    let expected: Vec<_> = (0..count).map(line).chain(["last".to_owned()]).collect();
    assert!(
        texts == expected,
        "{} texts of {}",
        texts.len(),
        expected.len()
    );
    eager.works();
    daemon.expect(&format!(
        "WARN {slow_id}: too slow a reader, closed with 1013"
    ));
    daemon.event(&format!("close {slow_id} 0 1013 timeout too slow"));
    daemon.status_until("/closes/1013", 1);
    // Nothing is dropped in silence.
    assert_eq!(daemon.number("/messages/dropped") as usize, count - seen);
    assert_eq!(daemon.number("/messages/queued") as usize, 2 * count + 2);
}

#[test]
fn what_a_slow_client_has_already_said_is_still_run() {
    let mut daemon = start("--slow-timeout 1");
    let mut slow = idle_reader(&daemon);
    let id = daemon.status()["connections"][0]["id"].to_string();
    let id = id.trim_matches('"').to_owned();
    // One segment, so that all of it is read at once; the second and third wait their turn.
    let texts: [&[u8]; 3] = [b"until go", b"two", b"three"];
    let segment = texts.map(|text| masked(0x81, text)).concat();
    slow.stream().write_all(&segment).expect("write");
    daemon.event(&format!("message {id} 8"));
    fill(&daemon);
    // What the kernel still takes, and then one that has to wait.
    for n in 0..5 {
        daemon.outbox(format!("text @r {}", line(n)));
    }
    daemon.expect(&format!("WARN {id}: too slow a reader, closed with 1013"));
    daemon.let_go("go");
    daemon.event(&format!("done close {id}"));
    let of_it = |line: &String| line.contains(&id) && !line.starts_with("done");
    let events: Vec<_> = daemon.events().into_iter().filter(of_it).collect();
    let expected = [
        format!("open {id} 0 - - -"),
        format!("message {id} 8 - - -"),
        format!("message {id} 3 - - -"),
        format!("message {id} 5 - - -"),
        format!("close {id} 0 1013 timeout too slow"),
    ];
    assert_eq!(events, expected);
    // "two" and "three" are no scripts.
    daemon.quiet();
}

#[test]
fn two_slow_clients_hold_a_writer_up_no_longer_than_one() {
    let mut daemon = Daemon::with("--queue 4096 --slow-timeout 4 --event-timeout 7");
    let mut slow = [(); 2].map(|()| daemon.narrow("/act"));
    let ids = [0, 1].map(|n| slow[n].id());
    // Each is full and stays so, and nobody waits for it yet.
    for (n, id) in ids.iter().enumerate() {
        let queue = || daemon.number(&format!("/connections/{n}/queue"));
        while (0..20).any(|_| queue() < 4096) {
            daemon.outbox(format!("text {id} {}", line(0)));
        }
    }
    // More for each than the FIFO holds: its writer waits for the one, then for the other.
    let [one, two] = ids.map(|id| format!("boxes 30 text {id} {}", "x".repeat(3900)));
    let mut writer = daemon.connect("/act2");
    let script = format!("{one};{two};head X-A: b;out written");
    assert_eq!(writer.ask(&script), "written");
    daemon.status_until("/closes/1013", 2);
    daemon.expect("too slow a reader, closed with 1013");
}

#[test]
fn who_is_sent_too_much_before_its_101_is_closed_behind_it() {
    for delayed in [false, true] {
        let delay = if delayed { "--upgrade-delay 5000" } else { "" };
        let mut daemon = start(&format!("--slow-timeout 1 {delay}"));
        let open = if delayed { "" } else { "until go;" };
        let raw = daemon.raw(&format!("/act?open={open}head WS-Join: @r"), &[]);
        let event = daemon.event("open ");
        let id = event.split(' ').nth(1).expect("an id").to_owned();
        if delayed {
            daemon.status_until("/events/open/done", 1);
        }
        // It is full with the first; the second makes the outbox wait.
        daemon.outbox(format!("text {id} {}\ntext {id} {}", line(0), line(1)));
        let why = "sent too much before its 101, closed with 1013";
        daemon.expect(&format!("WARN {id}: {why}"));
        daemon.status_until("/messages/dropped", 1);
        daemon.status_until("/messages/nobody", 1);
        daemon.let_go("go");
        assert_eq!(Ws::accepted(raw).closed(), (1013, "too slow".to_owned()));
        daemon.event(&format!("close {id} 0 1013 timeout too slow"));
    }
}

#[test]
fn with_no_slow_timeout_it_is_closed_at_once_and_nobody_waits() {
    let mut daemon = start("--slow-timeout 0");
    let _slow = idle_reader(&daemon);
    let reader = eager_reader(&daemon, "last");
    let count = fill(&daemon);
    daemon.outbox("text @r last");
    let (_eager, texts) = reader.join().unwrap();
    assert_eq!(texts.len(), count + 1);
    daemon.status_until("/closes/1013", 1);
    assert!(daemon.number("/messages/dropped") >= 1);
    daemon.expect("too slow a reader, closed with 1013");
}

#[test]
fn a_full_outbox_a_reply_to_a_full_target_and_a_slow_client_never_deadlock() {
    let mut daemon = start("--slow-timeout 1 --jobs 2");
    let _slow = idle_reader(&daemon);
    let slow_id = daemon.status()["connections"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let reader = eager_reader(&daemon, "end");
    let (mut boxer, mut replier) = (daemon.connect("/act"), daemon.connect("/deep/act"));
    let count = fill(&daemon);
    // More than the FIFO holds, while nobody reads it for a full queue's sake.
    boxer.send("boxes 3000 text @r text ;head X-A: b;out boxed");
    replier.send(&format!("head WS-To: {slow_id};out never read"));
    replier.send("head WS-To: @r;out to the room");
    replier.send("head X-A: b;out replied");
    assert_eq!(replier.text(), "replied");
    assert_eq!(boxer.text(), "boxed");
    daemon.outbox("text @r end");
    let (_eager, mut texts) = reader.join().unwrap();
    let room = texts.iter().position(|text| text == "to the room");
    texts.remove(room.expect("the reply to the room"));
    let boxes = (0..3000).map(|n| format!("text {n}"));
    let boxes = boxes.chain(["end".to_owned()]);
    let expected: Vec<_> = (0..count).map(line).chain(boxes).collect();
    assert!(
        texts == expected,
        "{} texts of {}",
        texts.len(),
        expected.len()
    );
    daemon.status_until("/closes/1013", 1);
    daemon.expect(&format!("WARN {slow_id}: too slow a reader"));
    daemon.event(&format!("done close {slow_id}"));
    assert_eq!(daemon.number("/events/message/failed"), 0);
}

#[test]
fn a_reply_that_waits_for_its_target_holds_no_job_slot() {
    let mut daemon = start("--slow-timeout 5 --jobs 1");
    let mut slow = idle_reader(&daemon);
    let slow_id = daemon.status()["connections"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (mut sender, mut other) = (daemon.connect("/act"), daemon.connect("/act2"));
    let count = fill(&daemon);
    sender.send(&format!("head WS-To: {slow_id};out at last"));
    daemon.status_until("/events/message/done", 1);
    other.works();
    for n in 0..count {
        assert_eq!(slow.text(), line(n));
    }
    assert_eq!(slow.text(), "at last");
    sender.works();
    daemon.quiet();
}

// ---- --ping

/// Waits until a silent connection to `/act` has come and been given up by `--ping`: two
/// pings' time.
fn two_pings(daemon: &Daemon) {
    let mut silent = daemon.connect("/act");
    let id = silent.id();
    daemon.event(&format!("close {id} 0 1006 timeout "));
}

#[test]
fn who_answers_no_ping_is_closed_and_who_does_stays() {
    let daemon = Daemon::with("--ping 1");
    let mut answering = daemon.connect("/act2");
    let reader = std::thread::spawn(move || (answering.text(), answering));
    two_pings(&daemon);
    daemon.outbox("text @all still there?");
    let (text, mut answering) = reader.join().unwrap();
    assert_eq!(text, "still there?");
    answering.works();
    daemon.status_until("/closes/1006", 1);
}

#[test]
fn the_ping_clock_stands_still_while_an_event_runs() {
    let daemon = Daemon::with("--ping 1 --event-timeout 60");
    let mut ws = daemon.connect("/act2");
    ws.send("until go;head X-A: b;out went");
    daemon.status_until("/jobs", 1);
    two_pings(&daemon);
    daemon.let_go("go");
    assert_eq!(ws.text(), "went");
    ws.works();
    assert_eq!(daemon.number("/closes/1006"), 1);
}

#[test]
fn with_no_ping_silence_is_no_reason_to_close() {
    let daemon = Daemon::with("--ping 0");
    let mut silent = daemon.connect("/act2");
    let other = Daemon::with("--ping 1");
    two_pings(&other);
    silent.works();
    assert_eq!(daemon.status()["closes"].to_string(), "{}");
}
