//! Replies: every header field of a program's output, and what it does.

use crate::harness::{Answer, Daemon, Start, Ws, read_answer};
use tungstenite::Message;

fn answer_of(daemon: &Daemon, open: &str) -> Answer {
    read_answer(&mut daemon.raw(&format!("/act?open={open}"), &[]))
}

/// A connection that is in these rooms (`@a @b`).
fn member(daemon: &Daemon, rooms: &str) -> Ws {
    daemon.connect(&format!("/act2?open=head WS-Join: {rooms}"))
}

// ---- Open: refusing

#[test]
fn a_refusal_reaches_the_browser_with_our_length_and_close() {
    let daemon = Daemon::start();
    let open = "head Status: 403 Go away\\nContent-Type: text/html\\nSet-Cookie: a=1\\nX-Why: b\\n\
        Content-Length: 99\\nConnection: keep-alive\\nKeep-Alive: x\\nTransfer-Encoding: chunked\\n\
        WS-Join: @a\\nWS-State: s;out <p>no";
    let mut stream = daemon.raw(&format!("/act?open={open}"), &[]);
    let mut bytes = String::new();
    std::io::Read::read_to_string(&mut stream, &mut bytes).unwrap();
    let expected = "HTTP/1.1 403 Go away\r\nContent-Type: text/html\r\nSet-Cookie: a=1\r\n\
        X-Why: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<p>no";
    assert_eq!(bytes, expected);
    let status = daemon.status();
    assert_eq!(status["refusals"]["program"], 1);
    assert_eq!(status["events"]["open"]["done"], 1);
    assert_eq!(status["events"].get("close"), None);
}

#[test]
fn each_status_is_accepted_or_refused() {
    let daemon = Daemon::start();
    for (head, status, field) in [
        ("X-A: b", 101, ""),
        ("Status: 200 OK", 101, ""),
        ("Status: 204 No Content", 101, ""),
        ("Status: 299", 101, ""),
        ("Status: 300 Several", 300, ""),
        ("Location: /login", 302, "/login"),
        ("Status: 307 There\\nLocation: /else", 307, "/else"),
        ("Status: 401 Who\\nWWW-Authenticate: Basic", 401, ""),
        ("Status: 405 POST only\\nAllow: POST", 101, ""),
        ("Status: 501 POST only", 101, ""),
        ("Status: 405 no\\nWS-State: x", 405, ""),
        ("Status: 501 no\\nws-join: @a", 501, ""),
        ("Status: 404", 404, ""),
        ("Status: 500 oh", 500, ""),
        ("Status: 599 oh", 599, ""),
    ] {
        let answer = answer_of(&daemon, &format!("head {head};out body"));
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(
            answer.field("location").unwrap_or_default(),
            field,
            "{head}"
        );
        let body = if status == 101 { "" } else { "body" };
        assert_eq!(answer.body, body, "{head}");
    }
}

#[test]
fn no_opinion_means_accepted_and_nothing_else() {
    let daemon = Daemon::start();
    let open = "head Status: 405 no\\nSet-Cookie: a=1\\nAllow: POST;out <p>POST only";
    let mut ws = daemon.connect(&format!("/act?open={open}"));
    assert_eq!(ws.answer.field("set-cookie"), None);
    assert_eq!(ws.answer.field("allow"), None);
    ws.works();
}

// ---- Open: accepting

#[test]
fn ordinary_fields_go_into_the_101_and_the_connections_own_never() {
    let daemon = Daemon::start();
    let mut fields = vec![
        "Set-Cookie: a=1; Path=/",
        "Set-Cookie: b=2",
        "X-Mine: c",
        "Vary: d",
    ];
    fields.extend([
        "Connection: close",
        "Upgrade: h2c",
        "Keep-Alive: x",
        "Proxy-Authenticate: x",
        "proxy-connection: x",
        "TE: x",
        "Trailer: x",
        "Transfer-Encoding: chunked",
        "Content-Length: 4",
        "Content-Type: text/html",
        "Content-Encoding: gzip",
        "Sec-WebSocket-Accept: x",
        "Sec-WebSocket-Extensions: x",
        "Status: 200 OK",
        "WS-State: x",
        "Location: /x",
    ]);
    let open = format!(
        "head {};out body",
        fields.join("\\n").replace("Path=/; ", "Path=/")
    );
    let open = open.replace("a=1; Path", "a=1\\; Path");
    let mut ws = daemon.connect(&format!("/act?open={open}"));
    let got: Vec<_> = ws
        .answer
        .fields
        .iter()
        .map(|(n, v)| format!("{n}: {v}"))
        .collect();
    assert_eq!(
        got,
        [
            "upgrade: websocket",
            "connection: Upgrade",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "set-cookie: a=1; Path=/",
            "set-cookie: b=2",
            "x-mine: c",
            "vary: d",
        ]
    );
    ws.works();
}

#[test]
fn a_subprotocol_that_was_offered_is_chosen() {
    let daemon = Daemon::start();
    let offer = [("HTTP_SEC_WEBSOCKET_PROTOCOL", "v1, v2,v3")];
    for chosen in ["v1", "v2", "v3"] {
        let url = format!("/act?open=head Sec-WebSocket-Protocol: {chosen}");
        let ws = daemon.connect_with(&url, &offer);
        assert_eq!(ws.answer.field("sec-websocket-protocol"), Some(chosen));
    }
    let ws = daemon.connect_with("/act", &offer);
    assert_eq!(ws.answer.field("sec-websocket-protocol"), None);
}

#[test]
fn a_subprotocol_that_was_not_offered_is_a_502_and_a_close_event() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act2");
    let boot = bystander.id().replace("-1", "");
    for (number, offered) in [(2, ""), (3, "v1, v22")] {
        let url = "/act?open=head Sec-WebSocket-Protocol: v2";
        let answer = read_answer(&mut daemon.raw(url, &[("HTTP_SEC_WEBSOCKET_PROTOCOL", offered)]));
        assert_eq!(answer.status, 502);
        let why = "502: the event program chose a subprotocol that was not offered\n";
        assert_eq!(answer.body, why);
        daemon.expect(&format!(
            "ERROR {boot}-{number} /act: subprotocol v2 was not offered"
        ));
        daemon.event(&format!("close {boot}-{number} 0 1011 error "));
    }
    bystander.works();
    daemon.status_until("/closes/1011", 2);
    assert_eq!(daemon.number("/refusals/subprotocol"), 2);
}

// ---- The body

#[test]
fn content_type_chooses_the_opcode() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for (content_type, text) in [
        ("text/plain", true),
        ("TEXT/HTML\\; charset=utf-8", true),
        ("application/json", true),
        ("application/xml", true),
        ("image/svg+xml", true),
        ("application/octet-stream", false),
        ("image/png", false),
        ("application/jsonx", false),
    ] {
        ws.send(&format!("head Content-Type: {content_type};out body"));
        let expected = match text {
            true => Message::text("body"),
            false => Message::binary("body"),
        };
        assert_eq!(ws.next(), expected, "{content_type}");
    }
    ws.send("head Content-Type: image/png;out \\xff\\x00\\xfe");
    assert_eq!(ws.binary(), b"\xff\0\xfe");
    ws.send("out X-A: b\\r\\n\\r\\nby CR LF");
    assert_eq!(ws.text(), "by CR LF");
    ws.send("out \\n;out no header at all");
    assert_eq!(ws.text(), "no header at all");
}

#[test]
fn an_empty_body_is_a_message_only_if_its_length_says_so() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    ws.send("head Content-Type: text/plain");
    ws.send("");
    ws.send("head Content-Length: 0");
    assert_eq!(ws.next(), Message::text(""));
    ws.send("head Content-Type: image/png\\nContent-Length: 0");
    assert_eq!(ws.next(), Message::binary(""));
    ws.works();
    assert_eq!(daemon.number("/events/message/done"), 5);
}

#[test]
fn a_location_is_no_redirect_for_a_message() {
    let daemon = Daemon::start();
    assert_eq!(
        daemon.connect("/act").ask("head Location: /x;out body"),
        "body"
    );
}

// ---- WS-To

#[test]
fn each_target_gets_the_body_and_nobody_else() {
    let daemon = Daemon::start();
    let mut sender = daemon.connect("/act");
    let mut deep = daemon.connect("/deep/act/x?open=head WS-Join: @a");
    let mut a = member(&daemon, "@a");
    let mut ab = member(&daemon, "@a @b");
    let [sender_id, a_id] = [sender.id(), a.id()];
    let ids = format!("{sender_id} {a_id}");
    // Who hears: sender, deep, a, ab.
    for (target, who) in [
        (a_id.clone(), "0010"),
        ("@a".to_owned(), "0111"),
        ("@b".to_owned(), "0001"),
        ("@nobody".to_owned(), "0000"),
        ("/act2".to_owned(), "0011"),
        ("/deep/act/x".to_owned(), "0100"),
        ("/deep/act".to_owned(), "0000"),
        ("@all".to_owned(), "1111"),
        (format!("@all~{sender_id}"), "0111"),
        (format!("@a~{a_id}"), "0101"),
        (format!("/act2~{a_id}"), "0001"),
        (format!("{a_id}~{a_id}"), "0000"),
    ] {
        sender.send(&format!("head WS-To: {target};out for {target}"));
        sender.works_after(who.starts_with('1').then_some(&format!("for {target}")));
        for (ws, mark) in [&mut deep, &mut a, &mut ab]
            .into_iter()
            .zip(who[1..].chars())
        {
            ws.works_after((mark == '1').then_some(&format!("for {target}")));
        }
    }
    let gone = ids.replace(&a_id, "aaaaaaaaaaaaa-1");
    sender.send(&format!(
        "head WS-To: {};out x",
        gone.split(' ').nth(1).unwrap()
    ));
    sender.works();
    assert_eq!(daemon.number("/messages/nobody"), 4);
}

#[test]
fn on_open_and_close_a_body_is_sent_only_with_ws_to() {
    let daemon = Daemon::start();
    let mut watcher = member(&daemon, "@w");
    let said = |to: &str, text: &str| format!("head X-A: b{to};out {text}");
    let url = format!("/act?open={}&close={}", said("", "open"), said("", "close"));
    let mut ws = daemon.connect(&url);
    ws.works();
    let id = ws.id();
    ws.close(1000, "");
    daemon.event(&format!("done close {id}"));
    daemon.status_until("/events/close/done", 1);
    watcher.works();

    let url = format!(
        "/act?open={}&close={}",
        said("\\nWS-To: @w", "opened"),
        said("\\nWS-To: @w", "closed")
    );
    daemon.connect(&url).close(1000, "");
    assert_eq!([watcher.text(), watcher.text()], ["opened", "closed"]);
}

#[test]
fn an_open_program_can_greet_its_own_connection() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act?open=head WS-Join: @me\\nWS-To: @me;out welcome");
    assert_eq!(ws.text(), "welcome");
    ws.works();
}

// ---- Rooms, state, close

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
fn a_close_code_that_may_not_be_sent_fails_the_reply() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    for code in ["999", "1005", "1006", "1015", "5000", "bye"] {
        ws.send(&format!("head WS-Close: {code} x"));
        daemon.expect(&format!("no close code that may be sent: '{code}'"));
        ws.works();
    }
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
    let mut watcher = member(&daemon, "@w");
    let mut ws = daemon.connect("/act");
    ws.send("head ws-to:@w\\nWS-JOIN:   @x  \\nstatus: 200 ok\\nCONTENT-type:image/png;out hi");
    assert_eq!(watcher.binary(), b"hi");
    assert!(ws.ask("env").contains("WS_ROOMS=@x\n"));
}

// ---- Order

#[test]
fn a_reply_joins_sets_sends_leaves_and_closes_in_this_order() {
    let daemon = Daemon::start();
    let mut watcher = member(&daemon, "@w");
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
    let daemon = Start::default().log("warn,start=info").ready();
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
