//! What programs do with stdin, stdout and stderr: floods, early ends and late ones.

use crate::harness::{Daemon, running, wait_for, with_bystander};

#[test]
fn an_endless_flood_of_stdout_is_cut_short() {
    for script in [
        "flood 0",
        "head X-A: b;flood 0",
        "deaf;head X-A: b;child flood 0;hang",
    ] {
        let (mut daemon, mut bystander) = with_bystander("");
        let mut ws = daemon.connect("/act");
        ws.send(script);
        daemon.expect("message event failed: printed more than --max-reply");
        ws.works();
        bystander.works();
        assert_eq!(daemon.logged(&["event failed"]), 1);
    }
}

#[test]
fn a_reply_of_max_reply_bytes_and_a_large_header_passes() {
    let daemon = Daemon::with("--max-reply 10000");
    let mut ws = daemon.connect("/act");
    ws.send("out X-A: ;flood 8000;head \\nX-B: c;flood 10000");
    assert_eq!(ws.text(), "x".repeat(10_000));
}

#[test]
fn of_stderr_four_kilobytes_are_logged_and_the_rest_discarded() {
    let (mut daemon, mut bystander) = with_bystander("");
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let line = format!("err {}\\n;", "y".repeat(99));
    let script = format!("{}errflood 300000;head X-A: b;out ok", line.repeat(39));
    assert_eq!(ws.ask(&script), "ok");
    daemon.expect(&format!(
        "WARN {id} /act: the rest of its stderr is not logged"
    ));
    daemon.expect(&format!("WARN {id} /act: stderr: "));
    assert_eq!(
        daemon.logged(&[&format!("{id} /act: stderr: {}", "y".repeat(99))]),
        39
    );
    assert_eq!(
        daemon.logged(&[&format!("{id} /act: stderr: {}", "x".repeat(196))]),
        1
    );
    assert_eq!(daemon.logged(&[&"x".repeat(197)]), 0);
    assert_eq!(daemon.number("/events/message/failed"), 0);
    bystander.works();
}

#[test]
fn stderr_is_logged_by_lines_that_can_not_be_forged() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    assert_eq!(
        ws.ask("err one\\nERROR two\\r\\x1b[2J\\nthree;head X-A: b;out ok"),
        "ok"
    );
    for line in ["one", "ERROR two\\r\\u{1b}[2J", "three"] {
        daemon.expect(&format!("WARN {id} /act: stderr: {line}"));
    }
    let log = daemon.log();
    assert!(log.lines().all(|line| !line.starts_with("ERROR")), "{log}");
    daemon.quiet();
}

// ---- Pipes that end early, or late

#[test]
fn a_program_that_closes_stdout_early_is_not_done() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let script = format!("head X-A: b;out reply;shut;until go;box text {id} boxed");
    ws.send(&script);
    daemon.event(&format!("message {id} {} ", script.len()));
    // It still has its slot, and this connection's next event waits.
    ws.send("head X-A: b;out next");
    daemon.connect("/act2").works();
    daemon.status_until("/jobs", 1);
    daemon.let_go("go");
    assert_eq!(
        [ws.text(), ws.text(), ws.text()],
        ["boxed", "reply", "next"]
    );
}

#[test]
fn a_grandchild_that_holds_stdout_is_killed_with_the_group() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let reply = ws.ask("child deaf+pid b+hang;until b;head X-A: b;out ok");
    assert_eq!(reply, "ok");
    let grandchild = daemon.pid_in("b");
    wait_for("the grandchild's end", || {
        (!running(grandchild)).then_some(())
    });
    ws.works();
}

#[test]
fn a_stray_that_holds_stdout_lives_on_and_the_event_ends() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    assert_eq!(ws.ask("stray pid b+hang;until b;head X-A: b;out ok"), "ok");
    // The group was killed before the reply was read.
    assert!(running(daemon.pid_in("b")));
    ws.works();
}

#[test]
fn a_stray_that_floods_for_ever_ends_no_later() {
    let (mut daemon, mut bystander) = with_bystander("");
    let mut ws = daemon.connect("/act");
    assert_eq!(
        ws.ask("stray pid b+errflood 0;until b;head X-A: b;out ok"),
        "ok"
    );
    ws.send("stray pid c+flood 0;hang");
    daemon.expect("printed more than --max-reply");
    // Nor where the program itself is done: the flood is no reply.
    ws.send("stray pid d+flood 0;until d;head X-A: b;out ok");
    daemon.logged_until(&["event failed: printed more than --max-reply"], 2);
    for flooding in ["b", "c", "d"] {
        // Nobody reads its pipe any more.
        let stray = daemon.pid_in(flooding);
        wait_for("the stray's end", || (!running(stray)).then_some(()));
    }
    bystander.works();
    // How much of the flood came before the end is chance.
    daemon.quiet();
}

#[test]
fn a_payload_that_is_not_read_is_no_error() {
    let daemon = Daemon::with("--max-message 300000");
    daemon.program("idle", "#!/bin/sh\nprintf 'X-A: b\\n\\nok'\n");
    let mut ws = daemon.connect("/idle");
    for _ in 0..3 {
        assert_eq!(ws.ask(&"x".repeat(300_000)), "ok");
    }
    assert_eq!(daemon.number("/events/message/done"), 3);
}

#[test]
fn stdin_and_stdout_are_served_together() {
    let daemon = Daemon::with("--max-message 300000 --max-reply 300000");
    let head = "printf 'Content-Type: application/octet-stream\\n\\n'";
    let open = "[ $WS_EVENT = message ] || exit 0";
    daemon.program("cat", &format!("#!/bin/sh\n{open}; {head}; exec cat\n"));
    let mut ws = daemon.connect("/cat");
    let payload: Vec<u8> = (0..300_000).map(|i| (i % 251) as u8).collect();
    ws.send_binary(&payload);
    assert_eq!(ws.binary(), payload);
}
