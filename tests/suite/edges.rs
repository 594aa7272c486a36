//! The limits of a shell's `ulimit` at their edge, beside that of descriptors.

use crate::harness::{Daemon, Start, Ws, as_root, as_user, read_answer, request, run_ok};
use std::io::Write;

/// A user that nobody else is, so that only the daemon's processes count.
const USER: &str = "64321";

fn processes(daemon: &Daemon, most: u32) {
    let mut prlimit = as_user(USER, USER);
    prlimit.args(["prlimit", "--pid", &daemon.pid().to_string()]);
    run_ok(prlimit.arg(format!("--nproc={most}:")));
}

#[test]
fn at_the_limit_of_processes_events_wait_or_fail_and_nothing_ends() {
    if !as_root("at_the_limit_of_processes_events_wait_or_fail_and_nothing_ends") {
        return;
    }
    let start = Start::default().again_in(Start::folder_for_anyone());
    let mut daemon = start.args(&format!("--user {USER}")).ready();
    let mut all: Vec<_> = ["/act", "/act2", "/deep/act"]
        .map(|p| daemon.connect(p))
        .into();
    // Itself and two: the third program waits until one has ended.
    processes(&daemon, 3);
    let path = daemon.path("handlers/go");
    let script = format!("until {};head X-A: b;out went", path.display());
    all.iter_mut().for_each(|ws| ws.send(&script));
    daemon.expect("not started yet: ");
    daemon.let_go("go");
    all.iter_mut().for_each(|ws| assert_eq!(ws.text(), "went"));
    assert_eq!(daemon.number("/events/message/done"), 3);
    // None at all: that is no reason to wait.
    processes(&daemon, 1);
    let refused = read_answer(&mut daemon.raw("/act", &[]));
    assert_eq!(refused.status, 502);
    daemon.expect("/act: open event failed: could not be started: ");
    all[0].send("x");
    daemon.expect("/act: message event failed: could not be started: ");
    processes(&daemon, 100);
    all.iter_mut().for_each(Ws::works);
    daemon.connect("/act").works();
}

#[test]
fn at_the_limit_of_memory_some_are_turned_away_and_nothing_ends() {
    let start = Start::default().shell("ulimit -v 9000");
    let args = "--memory 9000000 --max-message 300000 --listen unix:{}/ws.sock";
    let mut daemon = start.args(args).log("warn").ready();
    daemon.expect("--memory lowered to ");
    let mut bystander = daemon.connect("/act2");
    let large = format!("out \\nwhole;{}", " ".repeat(290_000));
    // Twice as many as there is memory for send at once, three times.
    let visit = || {
        let mut stream = daemon.unix("ws.sock");
        let head = request("/act", "");
        stream.write_all(head.as_bytes()).expect("write");
        let answer = read_answer(&mut stream);
        if answer.status == 503 {
            return vec![None];
        }
        let mut ws = Ws::open(stream, answer);
        let mut answers = Vec::new();
        while answers.len() < 3 && !answers.contains(&None) {
            answers.push(ws.try_ask(&large));
        }
        answers
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..40).map(|_| scope.spawn(visit)).collect();
        let threads = threads.into_iter();
        threads
            .flat_map(|thread| thread.join().expect("a thread"))
            .collect()
    });
    let whole = answers
        .iter()
        .filter(|a| a.as_deref() == Some("whole"))
        .count();
    let turned_away = answers.iter().filter(|a| a.is_none()).count();
    println!("{whole} messages answered, {turned_away} connections turned away");
    assert_eq!(whole + turned_away, answers.len());
    assert!(whole > 0 && turned_away > 0);
    let status = daemon.status();
    let told = [&status["closes"]["1013"], &status["refusals"]["memory"]];
    let told = told.map(|count| count.as_u64().unwrap_or(0));
    assert_eq!(told.iter().sum::<u64>(), turned_away as u64, "{status}");
    bystander.works();
    daemon.quiet();
}
