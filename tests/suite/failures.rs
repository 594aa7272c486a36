//! Event programs that fail: what their browser and the log are told, and that nobody else
//! is affected.

use crate::harness::{Daemon, read_answer, running, wait_for, with_bystander};

/// What an open or message program does wrong, and what the log says of it.
const WRONG: [(&str, &str); 15] = [
    ("exit 3", "exit status 3"),
    ("head X-A: b;out lost;exit 1", "exit status 1"),
    // Without a core, which an emulator would speak of: SIGALRM on every CPU.
    ("signal 14", "killed by signal 14"),
    ("signal 9", "killed by signal 9"),
    ("out hello", "no blank line ends its header"),
    ("out hello\\n\\n", "no header field: 'hello'"),
    ("out Content-Type: text/pl", "no blank line ends its header"),
    (
        "head Content-Type: text/plain\\n: x",
        "no header field: ': x'",
    ),
    (
        "head X-A: b\\x00c",
        "a control character in a header field: 'X-A: b\\x00c'",
    ),
    (
        "head X-A: b\\rc",
        "a control character in a header field: 'X-A: b\\rc'",
    ),
    ("head X A: b", "no header field: 'X A: b'"),
    ("head Status: 101 no", "no status from 200 to 599: '101 no'"),
    ("head WS-To: nobody", "no target: 'nobody'"),
    (
        "head X-A: b;flood 1001",
        "printed more than --max-reply, or a header over 8192",
    ),
    (
        "flood 8193",
        "printed more than --max-reply, or a header over 8192",
    ),
];

#[test]
fn a_failed_message_is_logged_once_and_counted_and_the_connection_stays() {
    let (mut daemon, mut bystander) = with_bystander("--max-reply 1000");
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    for (script, why) in WRONG {
        ws.send(script);
        daemon.expect(&format!("{id} /act: message event failed: "));
        daemon.expect(why);
        ws.works();
    }
    let failed = format!("ERROR {id} /act: message event failed: ");
    daemon.logged_until(&[&failed], WRONG.len());
    let by_reason = |why| WRONG.iter().filter(|(_, w)| *w == why).count();
    for (_, why) in WRONG {
        assert_eq!(daemon.logged(&[&failed, why]), by_reason(why), "{why}");
    }
    let status = daemon.status();
    assert_eq!(status["events"]["message"]["failed"], WRONG.len());
    assert_eq!(status["events"]["message"]["done"], WRONG.len() + 1);
    bystander.works();
}

#[test]
fn a_failed_open_is_a_502_and_no_close_event() {
    let (mut daemon, mut bystander) = with_bystander("--max-reply 1000");
    for (script, why) in WRONG {
        let answer = read_answer(&mut daemon.raw(&format!("/act?open={script}"), &[]));
        assert_eq!(answer.status, 502, "{script}");
        assert_eq!(answer.body, "502: the event program failed\n");
        assert_eq!(answer.field("connection"), Some("close"));
        daemon.expect(" /act: open event failed: ");
        daemon.expect(why);
    }
    daemon.logged_until(&["ERROR", " /act: open event failed: "], WRONG.len());
    bystander.works();
    let status = daemon.status();
    assert_eq!(status["events"]["open"]["failed"], WRONG.len());
    assert_eq!(status["events"]["open"]["done"], 1);
    assert_eq!(status["refusals"]["program"], WRONG.len());
    let closes = daemon
        .events()
        .into_iter()
        .filter(|line| line.starts_with("close"));
    assert_eq!(closes.count(), 0);
}

#[test]
fn a_failed_close_is_logged_and_counted() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act?close=exit 3");
    let id = ws.id();
    ws.close(1000, "");
    daemon.expect(&format!("{id} /act: close event failed: exit status 3"));
    daemon.until_empty();
    assert_eq!(daemon.number("/events/close/failed"), 1);
}

#[test]
fn a_text_reply_that_is_not_utf_8_fails() {
    let (mut daemon, mut bystander) = with_bystander("");
    let mut ws = daemon.connect("/act?close=out WS-To: @all\\n\\n\\xff");
    let id = ws.id();
    ws.send("head Content-Type: application/json;out \\xff");
    daemon.expect(&format!(
        "{id} /act: message event failed: printed no CGI reply: its text body is not UTF-8"
    ));
    ws.works();
    ws.close(1000, "");
    daemon.expect(&format!(
        "{id} /act: close event failed: printed no CGI reply: its text body is not UTF-8"
    ));
    bystander.works();
}

#[test]
fn close_on_error_closes_with_1011() {
    for script in ["exit 3", "head Status: 500 oh"] {
        let (mut daemon, mut bystander) = with_bystander("--close-on-error");
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send(script);
        assert_eq!(ws.closed(), (1011, "event failed".to_owned()));
        daemon.expect(&format!("{id} /act: message event failed: "));
        daemon.event(&format!("close {id} 0 1011 error event failed"));
        daemon.event(&format!("done close {id}"));
        bystander.works();
        daemon.status_until("/closes/1011", 1);
    }
}

// ---- Deadlines

#[test]
fn a_hanging_open_is_a_504() {
    let (mut daemon, mut bystander) = with_bystander("--event-timeout 5 --slow-timeout 1");
    for script in ["hang", "deaf;hang", "child hang;hang"] {
        let answer = read_answer(&mut daemon.raw(&format!("/act?open={script}"), &[]));
        assert_eq!(answer.status, 504, "{script}");
        assert_eq!(answer.body, "504: the event program took too long\n");
    }
    daemon.expect(" /act: open event failed: not done within --event-timeout");
    assert_eq!(daemon.number("/events/open/failed"), 3);
    bystander.works();
}

#[test]
fn a_hanging_message_fails_and_its_whole_group_is_killed() {
    for script in [
        "pid a;hang",
        "deaf;pid a;hang",
        "child deaf+pid b+hang;until b;pid a;hang",
        // It leaves its group, and in it a child.
        "child pid b+hang;until b;move;deaf;pid a;hang",
    ] {
        let (mut daemon, mut bystander) = with_bystander("--event-timeout 5 --slow-timeout 1");
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send(script);
        let leader = daemon.pid_in("a");
        bystander.works();
        let why = "message event failed: not done within --event-timeout";
        daemon.expect(&format!("ERROR {id} /act: {why}"));
        assert!(!running(leader), "{script}");
        if script.contains("child") {
            let grandchild = daemon.pid_in("b");
            wait_for("the grandchild's end", || {
                (!running(grandchild)).then_some(())
            });
        }
        ws.works();
        assert_eq!(daemon.logged(&["ERROR"]), 1);
        assert_eq!(daemon.number("/events/message/failed"), 1);
    }
}

#[test]
fn a_hanging_close_fails_and_its_connection_is_gone() {
    let (mut daemon, mut bystander) = with_bystander("--event-timeout 5 --slow-timeout 1");
    let mut ws = daemon.connect("/act?close=hang");
    let id = ws.id();
    ws.close(1000, "");
    daemon.expect(&format!(
        "{id} /act: close event failed: not done within --event-timeout"
    ));
    bystander.works();
    bystander.close(1000, "");
    daemon.until_empty();
}

#[test]
fn a_killed_daemon_takes_its_programs_along() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.send("deaf;pid a;hang");
    let program = daemon.pid_in("a");
    // Its folder stays: `hang` would wait on.
    let _folder = daemon.kill();
    wait_for("the program's end", || (!running(program)).then_some(()));
}

// ---- Programs that change

#[test]
fn a_program_can_be_replaced_while_it_runs() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let script = "until go;head X-A: b;out old";
    ws.send(script);
    daemon.event(&format!("message {id} {} ", script.len()));
    daemon.program("act", "#!/bin/sh\nprintf 'X-A: b\\n\\nnew'\n");
    daemon.let_go("go");
    assert_eq!(ws.text(), "old");
    assert_eq!(ws.ask("x"), "new");
}

#[test]
fn a_program_that_can_not_be_executed_says_why() {
    type Spoil = fn(&Daemon);
    let spoils: [(&str, Spoil); 4] = [
        ("it, or the interpreter it names, is missing", |daemon| {
            std::fs::remove_file(daemon.path("handlers/act")).unwrap();
        }),
        ("it, or the interpreter it names, is missing", |daemon| {
            daemon.program("act", "#!/no/such/interpreter\n");
        }),
        ("permission denied", |daemon| {
            daemon.program("act", "");
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(daemon.path("handlers/act"), mode).unwrap();
        }),
        ("not a program for this machine", |daemon| {
            daemon.program("act", "hello\n")
        }),
    ];
    for (why, spoil) in spoils {
        let (mut daemon, mut bystander) = with_bystander("");
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        spoil(&daemon);
        ws.send("x");
        daemon.expect(&format!(
            "WARN {id} /act: stderr: cannot be executed: {why}"
        ));
        daemon.expect(&format!(
            "ERROR {id} /act: message event failed: exit status 127"
        ));
        bystander.works();
        // The next one may succeed.
        daemon.program("act", "#!/bin/sh\nprintf 'X-A: b\\n\\nback'\n");
        assert_eq!(ws.ask("x"), "back");
        assert_eq!(daemon.number("/events/message/failed"), 1);
        assert_eq!(daemon.logged(&[&id, "ERROR"]), 1);
    }
}

#[test]
fn a_program_that_can_not_be_executed_refuses_with_502() {
    let (mut daemon, mut bystander) = with_bystander("");
    for text in ["#!/no/such/interpreter\n", "hello\n"] {
        daemon.program("bad", text);
        assert_eq!(read_answer(&mut daemon.raw("/bad", &[])).status, 502);
    }
    daemon.expect("/bad: stderr: cannot be executed: it, or the interpreter it names, is missing");
    daemon.expect("/bad: stderr: cannot be executed: not a program for this machine");
    daemon.expect("/bad: open event failed: exit status 127");
    bystander.works();
}
