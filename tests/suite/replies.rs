//! Replies: what a browser is answered, and who gets a body.

use crate::harness::{Answer, Daemon, read_answer};
use tungstenite::Message;

fn answer_of(daemon: &Daemon, open: &str) -> Answer {
    read_answer(&mut daemon.raw(&format!("/act?open={open}"), &[]))
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
    let mut a = daemon.member("@a");
    let mut ab = daemon.member("@a @b");
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
    let mut watcher = daemon.member("@w");
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

#[test]
fn a_program_that_only_knows_post_works_unchanged() {
    let daemon = Daemon::start();
    let only_post = "head Status: 405 POST only\\nAllow: POST;out no";
    let mut ws = daemon.connect(&format!("/act?open={only_post}&close={only_post}"));
    ws.works();
    ws.close(1000, "");
    daemon.status_until("/events/close/done", 1);
    assert_eq!(daemon.status()["events"]["close"]["failed"], 0);
}
