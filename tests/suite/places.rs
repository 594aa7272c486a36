//! Places: `--max-connections`, who has one, and the id that goes with it.

use crate::harness::{Answer, Daemon, Start, Ws, read_answer, wait_for};

fn answer(daemon: &Daemon, url: &str) -> Answer {
    read_answer(&mut daemon.raw(url, &[]))
}

/// Waits until so many connections are listed.
pub fn until_connected(daemon: &Daemon, count: usize) {
    wait_for(&format!("{count} connections"), || {
        let status = daemon.status();
        (status["connections"].as_array()?.len() == count).then_some(())
    });
}

pub fn assert_full(answer: &Answer) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.body, "503: all connections are taken\n");
}

#[test]
fn a_full_house_is_503_until_one_leaves() {
    let mut daemon = Daemon::with("--max-connections 2");
    let mut first = daemon.connect("/act");
    let mut second = daemon.connect("/act");
    for _ in 0..3 {
        assert_full(&answer(&daemon, "/act"));
    }
    daemon.expect("INFO 127.0.0.1: 503: all connections are taken");
    daemon.status_until("/refusals/full", 3);
    first.close(1000, "");
    until_connected(&daemon, 1);
    let mut third = daemon.connect("/act");
    assert_full(&answer(&daemon, "/act"));
    second.works();
    third.works();
}

#[test]
fn a_connection_that_is_opening_counts() {
    let daemon = Daemon::with("--max-connections 1 --event-timeout 60");
    let opening = daemon.raw("/act?open=until go;head X-A: b", &[]);
    daemon.event("open ");
    assert_full(&answer(&daemon, "/act"));
    daemon.let_go("go");
    let mut opened = Ws::accepted(opening);
    assert_full(&answer(&daemon, "/act"));
    opened.close(1000, "");
    until_connected(&daemon, 0);
    daemon.connect("/act").works();
}

#[test]
fn of_200_at_once_as_many_get_in_as_there_is_room() {
    let daemon = Daemon::with("--max-connections 4");
    let attempt = |_| {
        let mut client = daemon.raw("/act", &[]);
        let status = read_answer(&mut client).status;
        // Whoever is in stays.
        (status, Some(client).filter(|_| status == 101))
    };
    let all: Vec<_> = std::thread::scope(|scope| {
        let eighth = || (0..25).map(attempt).collect::<Vec<_>>();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(eighth)).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().expect("a thread"))
            .collect()
    });
    let with = |status| all.iter().filter(|(s, _)| *s == status).count();
    assert_eq!((with(101), with(503)), (4, 196));
    drop(all);
    daemon.until_empty();
    daemon.connect("/act").works();
}

#[test]
fn ids_are_never_used_again() {
    let daemon = Daemon::start();
    let boot = daemon.status()["boot"].as_str().expect("a boot").to_owned();
    assert_eq!(boot.len(), 13);
    for number in 1..4 {
        let mut ws = daemon.connect("/act");
        assert_eq!(ws.id(), format!("{boot}-{number}"));
        ws.close(1000, "");
        daemon.until_empty();
    }
    let daemon = Start::default().again_in(daemon.end()).ready();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let again = daemon.status()["boot"].as_str().expect("a boot").to_owned();
    assert_ne!(again, boot);
    assert_eq!(id, format!("{again}-1"));
    // A line for an earlier one reaches nobody.
    daemon.outbox(format!("text {boot}-1 for another"));
    daemon.status_until("/messages/nobody", 1);
    ws.works();
}
