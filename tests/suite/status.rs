//! status.json: when it is written, and that it tells the truth.

use crate::harness::{
    Daemon, FIN, PATIENCE, Start, TEXT, Ws, masked, read_answer, request, wait_for,
};
use serde_json::{Value, json};
use std::io::Write;

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn every_field_is_there_and_right() {
    let daemon = Daemon::with("--jobs 3 --memory 2000000");
    let mut ws = daemon.connect("/act/room?open=head WS-Join: @b @a");
    let id = ws.id();
    let status = daemon.status();
    let fields = [
        "accepted",
        "boot",
        "bytes",
        "closes",
        "closes_not_run",
        "connections",
        "events",
        "history",
        "jobs",
        "log_lines_dropped",
        "memory",
        "messages",
        "outbox",
        "refusals",
        "uptime",
        "version",
    ];
    let mut names = keys(&status);
    names.sort();
    assert_eq!(names, fields);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["boot"], id.split('-').next().expect("a boot"));
    assert!(status["uptime"].as_u64().expect("seconds") <= PATIENCE.as_secs());
    assert_eq!(status["memory"]["bound"], 2_000_000);
    assert_eq!(
        (&status["jobs"], &status["accepted"]),
        (&json!(0), &json!(1))
    );
    let done = json!({"done": 1, "failed": 0});
    assert_eq!(status["events"], json!({"open": done, "message": done}));
    assert_eq!(status["outbox"], json!({"lines": 0, "bad": 0}));
    assert_eq!(status["history"], json!({"next": 1, "used": 0, "bound": 0}));
    assert_eq!(
        status["messages"],
        json!({"queued": 1, "dropped": 0, "discarded": 0, "nobody": 0})
    );
    assert_eq!(status["bytes"]["in"], 6 + "env".len());
    assert_eq!(
        (&status["closes"], &status["refusals"]),
        (&json!({}), &json!({}))
    );
    assert_eq!(
        (&status["closes_not_run"], &status["log_lines_dropped"]),
        (&json!(0), &json!(0))
    );
    let connection = &status["connections"][0];
    assert_eq!(
        keys(connection),
        [
            "age",
            "id",
            "queue",
            "remote",
            "rooms",
            "route",
            "transport"
        ]
    );
    assert!(connection["age"].as_u64().expect("seconds") <= PATIENCE.as_secs());
    assert_eq!(
        (
            &connection["id"],
            &connection["route"],
            &connection["transport"]
        ),
        (&json!(id), &json!("/act/room"), &json!("websocket"))
    );
    assert_eq!(
        (&connection["remote"], &connection["queue"]),
        (&json!("127.0.0.1"), &json!(0))
    );
    assert_eq!(connection["rooms"], json!(["b", "a"]));
}

#[test]
fn what_happens_is_counted() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.works();
    let before = daemon.status();
    daemon.outbox("text @all hello\ntext @nobody hello\nnonsense");
    assert_eq!(ws.text(), "hello");
    daemon.expect("WARN outbox: line not carried out: ");
    ws.send("exit 3");
    daemon.expect("message event failed: ");
    daemon.status_until("/events/message/failed", 1);
    let status = daemon.status();
    assert_eq!(status["outbox"], json!({"lines": 2, "bad": 1}));
    assert_eq!(
        status["messages"],
        json!({"queued": 2, "dropped": 0, "discarded": 0, "nobody": 1})
    );
    let bytes = |status: &Value, way: &str| status["bytes"][way].as_u64().expect("bytes");
    assert_eq!(bytes(&status, "out") - bytes(&before, "out"), 2 + 5);
    assert_eq!(bytes(&status, "in") - bytes(&before, "in"), 6 + 6);
    ws.close(4321, "");
    daemon.until_empty();
    let status = daemon.status();
    assert_eq!(status["closes"], json!({"4321": 1}));
    assert_eq!(status["events"]["close"], json!({"done": 1, "failed": 0}));
    assert_eq!(
        status["memory"]["used"],
        Daemon::start().status()["memory"]["used"]
    );
}

#[test]
fn bytes_that_come_with_the_head_are_counted() {
    let daemon = Daemon::with("--listen unix:{}/ws.sock");
    let mut post = daemon.unix("ws.sock");
    let head = "POST /act HTTP/1.1\r\nHost: board.test\r\nContent-Length: 10\r\n\r\n";
    let whole = format!("{head}out \\nhere");
    post.write_all(whole.as_bytes()).expect("write");
    assert_eq!(read_answer(&mut post).body, "here");
    assert_eq!(daemon.number("/bytes/in"), 10);
    let mut ws = daemon.unix("ws.sock");
    let frame = masked(FIN | TEXT, b"out \\nthere");
    let whole = [request("/act", "").as_bytes(), &frame].concat();
    ws.write_all(&whole).expect("write");
    assert_eq!(Ws::accepted(ws).text(), "there");
    daemon.status_until("/bytes/in", 10 + 6 + 11);
}

#[test]
fn what_peers_chose_is_escaped() {
    let daemon = Daemon::start();
    let remote = "\"\\<\u{7f}\u{1b}[2J\u{e9}";
    let _ws = daemon.connect_with("/act", &[("REMOTE_ADDR", remote)]);
    let shown = &daemon.status()["connections"][0]["remote"];
    assert_eq!(shown, "\"\\<??[2J\u{e9}");
}

#[test]
fn it_is_refreshed_when_something_changes() {
    let daemon = Start::default().args("--status 1").ready();
    let path = daemon.path("run/status.json");
    // Nobody asks for it here.
    let connections = |count: usize| {
        wait_for(&format!("{count} connections"), || {
            let text = std::fs::read_to_string(&path).ok()?;
            let status: Value = serde_json::from_str(&text).expect("whole at any time");
            (status["connections"].as_array()?.len() == count).then_some(())
        });
    };
    let mut ws = daemon.connect("/act");
    connections(1);
    let mut other = daemon.connect("/act");
    connections(2);
    ws.close(1000, "");
    connections(1);
    other.close(1000, "");
    connections(0);
}

#[test]
fn it_is_written_at_the_end() {
    let mut daemon = Daemon::start();
    let path = daemon.path("run/status.json");
    let mut ws = daemon.connect("/act");
    assert!(!path.exists());
    daemon.signal("TERM");
    assert_eq!(ws.closed().0, 1001);
    assert_eq!(daemon.wait().code(), Some(0));
    let text = std::fs::read_to_string(&path).expect("status.json");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["closes"], json!({"1001": 1}));
    assert_eq!(status["connections"], json!([]));
}
