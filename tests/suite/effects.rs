//! Replies: rooms, state and close, and the order in which all of it is carried out.

use crate::harness::{Daemon, Start, Ws, read_answer};

#[test]
fn rooms_are_joined_and_left() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act?open=head WS-Join: @a @b\\nWS-Join: @c");
    let rooms = |daemon: &Daemon| daemon.status()["connections"][0]["rooms"].to_string();
    assert_eq!(rooms(&daemon), r#"["a","b","c"]"#);
    assert_eq!(
        ws.ask("head WS-Leave: @a @c @never\\nWS-Join: @b @d;out ok"),
        "ok"
    );
    ws.works();
    assert_eq!(rooms(&daemon), r#"["b","d"]"#);
}

#[test]
fn a_seventeenth_room_is_refused_with_a_warning() {
    let mut daemon = Daemon::start();
    let rooms: Vec<_> = (1..=17).map(|n| format!("@r{n}")).collect();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    assert_eq!(
        ws.ask(&format!("head WS-Join: {};out ok", rooms.join(" "))),
        "ok"
    );
    daemon.expect(&format!(
        "WARN {id}: not joined to @r17: it is in 16 rooms already"
    ));
    assert_eq!(
        daemon.status()["connections"][0]["rooms"]
            .as_array()
            .unwrap()
            .len(),
        16
    );
    // A room it is in already is no seventeenth.
    assert_eq!(ws.ask("head WS-Join: @r1;out ok"), "ok");
    assert_eq!(ws.ask("head WS-Leave: @r3;out ok"), "ok");
    assert_eq!(ws.ask("head WS-Join: @r18;out ok"), "ok");
    ws.works();
    assert_eq!(daemon.logged(&["not joined"]), 1);
}

#[test]
fn what_is_no_room_fails_the_reply() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for (room, why) in [
        ("@all", "the room @all is everyone's already"),
        ("a", "no room: 'a'"),
        ("@", "no room: '@'"),
        ("@a/b", "no room: '@a/b'"),
        ("@good @bad!", "no room: '@bad!'"),
    ] {
        for field in ["WS-Join", "WS-Leave"] {
            ws.send(&format!("head {field}: {room};out never sent"));
            ws.works();
        }
        daemon.expect(&format!(
            "message event failed: printed no CGI reply: {why}"
        ));
    }
    let name = "r".repeat(64);
    assert_eq!(ws.ask(&format!("head WS-Join: @{name};out ok")), "ok");
    assert_eq!(
        daemon.status()["connections"][0]["rooms"].to_string(),
        format!("[\"{name}\"]")
    );
    assert_eq!(daemon.number("/events/message/failed"), 10);
}

#[test]
fn a_state_that_is_too_long_warns_and_the_old_one_stays() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let most = "s".repeat(256);
    let state = |ws: &mut Ws| {
        let env = ws.ask("env");
        let line = env.lines().find_map(|line| line.strip_prefix("WS_STATE="));
        line.unwrap().to_owned()
    };
    assert_eq!(ws.ask(&format!("head WS-State: {most};out ok")), "ok");
    assert_eq!(state(&mut ws), most);
    assert_eq!(
        ws.ask(&format!("head WS-State: {most}s;out sent all the same")),
        "sent all the same"
    );
    daemon.expect(&format!(
        "WARN {id} /act: WS-State of 257 bytes, 256 are kept"
    ));
    assert_eq!(state(&mut ws), most);
    ws.send("head WS-State:");
    assert_eq!(state(&mut ws), "");
    assert_eq!(daemon.number("/events/message/failed"), 0);
}

#[test]
fn ws_close_closes_with_its_code_and_reason() {
    let daemon = Daemon::start();
    let long = "é".repeat(100);
    for (field, code, reason) in [
        ("", 1000, ""),
        ("1000 bye", 1000, "bye"),
        ("4999 so long,  and thanks", 4999, "so long,  and thanks"),
        ("3000", 3000, ""),
        (&format!("1001 {long}"), 1001, &long[..122]),
    ] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        ws.send(&format!("head WS-Close: {field}"));
        assert_eq!(ws.closed(), (code, reason.to_owned()));
        daemon.event(&format!("close {id} 0 {code} server {reason}"));
    }
    // On open: the 101, then the close.
    let mut ws = daemon.connect("/act?open=head WS-Close: 4000 not today");
    assert_eq!(ws.closed(), (4000, "not today".to_owned()));
}

#[test]
fn a_failed_status_honours_only_the_close() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send("head Status: 500 oh\\nWS-Join: @a\\nWS-State: s;out never sent");
    daemon.expect(&format!(
        "ERROR {id} /act: message event failed: Status 500 oh"
    ));
    let env = ws.ask("env");
    assert!(
        env.contains("WS_ROOMS=\n") && env.contains("WS_STATE=\n"),
        "{env}"
    );
    ws.send("head Status: 404 no\\nWS-Close: 4004 no such thing;out never sent");
    assert_eq!(ws.closed(), (4004, "no such thing".to_owned()));
    daemon.expect(&format!(
        "ERROR {id} /act: message event failed: Status 404 no"
    ));
    daemon.event(&format!("close {id} 0 4004 server no such thing"));
    assert_eq!(daemon.number("/events/message/failed"), 2);
}

#[test]
fn an_unknown_ws_field_warns_and_the_rest_counts() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    assert_eq!(ws.ask("head WS-Later: x\\nX-Other: y;out ok"), "ok");
    daemon.expect(&format!("WARN {id} /act: unknown field WS-Later"));
    assert_eq!(daemon.logged(&["X-Other"]), 0);
}

#[test]
fn field_names_are_read_in_any_case() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    let mut ws = daemon.connect("/act");
    ws.send("head ws-to:@w\\nWS-JOIN:   @x  \\nstatus: 200 ok\\nCONTENT-type:image/png;out hi");
    assert_eq!(watcher.binary(), b"hi");
    assert!(ws.ask("env").contains("WS_ROOMS=@x\n"));
}

// ---- Order

#[test]
fn a_reply_joins_sets_sends_leaves_and_closes_in_this_order() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    let mut ws = daemon.connect("/act?close=out WS-To: @w\\n;env");
    // Joined before it is sent, left after, so it is heard here and no more.
    ws.send("head WS-Close: 4000 end\\nWS-Leave: @j\\nWS-To: @j\\nWS-State: s\\nWS-Join: @j @k;out to j");
    assert_eq!(ws.text(), "to j");
    assert_eq!(ws.closed(), (4000, "end".to_owned()));
    let env = watcher.text();
    assert!(
        env.contains("WS_ROOMS=@k\n") && env.contains("WS_STATE=s\n"),
        "{env}"
    );
}

#[test]
fn what_was_written_to_the_outbox_comes_before_the_reply() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send(&format!("head X-A: b;out reply;boxes 200 text {id} line "));
    for n in 0..200 {
        assert_eq!(ws.text(), format!("line {n}"));
    }
    assert_eq!(ws.text(), "reply");
}

#[test]
fn it_comes_before_the_reply_also_when_the_outbox_is_busy() {
    let daemon = Start::default().log("warn").ready();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    let path = daemon.path("run/outbox");
    let busy = std::thread::spawn(move || {
        let mut fifo = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for n in 0..20_000 {
            use std::io::Write;
            fifo.write_all(format!("text @nobody number {n}\n").as_bytes())
                .unwrap();
        }
    });
    for turn in 0..10 {
        ws.send(&format!("boxes 20 text {id} {turn} ;head X-A: b;out reply"));
        for n in 0..20 {
            assert_eq!(ws.text(), format!("{turn} {n}"));
        }
        assert_eq!(ws.text(), "reply");
    }
    busy.join().unwrap();
    daemon.status_until("/outbox/lines", 20_200);
}

#[test]
fn an_open_programs_outbox_lines_wait_behind_the_101() {
    let daemon = Daemon::start();
    let mut seen = daemon.connect("/act");
    let boot = seen.id().replace("-1", "");
    let url = format!(
        "/act?open=box text {boot}-2 early;box join {boot}-2 @r;box text @r room;head X-A: b"
    );
    let mut ws = daemon.connect(&url);
    assert_eq!([ws.text(), ws.text()], ["early", "room"]);
    // Refused: dropped, and counted.
    let url = url
        .replace("-2", "-3")
        .replace("@r", "@q")
        .replace("X-A: b", "Status: 403 no");
    assert_eq!(read_answer(&mut daemon.raw(&url, &[])).status, 403);
    ws.works();
    daemon.status_until("/messages/dropped", 2);
}
