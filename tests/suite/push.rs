//! ws-push: the outbox from the web.

use crate::harness::{Daemon, Ws, command, outcome};

/// Joined to `@a` by its open program.
const IN_A: &str = "/act?open=head WS-Join: @a";

/// A request to `cgi-bin/ws-push`, as a web server makes it: the status and the answer.
fn push(daemon: &Daemon, query: &str, more: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (code, stdout, stderr) = pushed(daemon, query, more, body);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let (head, text) = stdout.split_once("\r\n\r\n").expect("a head");
    let status = head.strip_prefix("Status: ").expect("a status");
    let status = status[..3].parse().expect("a number");
    assert_eq!(text.is_empty(), status == 204, "{stdout}");
    assert_eq!(
        head.contains("\r\nAllow: POST\r\n"),
        status == 405,
        "{stdout}"
    );
    assert_eq!(
        head.contains("\r\nContent-Type: text/plain"),
        status != 204,
        "{stdout}"
    );
    (status, text.trim_end().to_owned())
}

/// An empty value takes a variable away.
fn pushed(
    daemon: &Daemon,
    query: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> (i32, String, String) {
    let mut cgi = command(&daemon.path("cgi-bin/ws-push"));
    cgi.current_dir(daemon.path("cgi-bin"));
    // boa makes argv of a query without '='. It means nothing.
    cgi.args(["--help", "@all", "x"]);
    cgi.envs([
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("REQUEST_METHOD", "POST"),
        ("QUERY_STRING", query),
        ("CONTENT_LENGTH", &body.len().to_string()),
        ("HTTP_X_WS_TOKEN", "s3cret"),
    ]);
    for (name, value) in more {
        match *value {
            "" => cgi.env_remove(name),
            value => cgi.env(name, value),
        };
    }
    outcome(&mut cgi, body)
}

/// A daemon whose run folder has a token, and a client in `@a`.
fn with_token() -> (Daemon, Ws) {
    let daemon = Daemon::start();
    std::fs::write(daemon.path("run/token"), "s3cret\n").expect("token");
    let ws = daemon.connect(IN_A);
    (daemon, ws)
}

#[test]
fn a_push_needs_the_token() {
    let (daemon, mut ws) = with_token();
    let token = |authorization, x_ws_token| {
        let tokens = [
            ("HTTP_AUTHORIZATION", authorization),
            ("HTTP_X_WS_TOKEN", x_ws_token),
        ];
        push(&daemon, "to=@a", &tokens, b"hi").0
    };
    for (authorization, x_ws_token) in [
        ("", "s3cret"),
        ("", " s3cret "),
        ("Bearer s3cret", ""),
        ("bearer  s3cret", "wrong"),
        ("Basic czNjcmV0", "s3cret"),
    ] {
        assert_eq!(
            token(authorization, x_ws_token),
            204,
            "{authorization} {x_ws_token}"
        );
        assert_eq!(ws.text(), "hi");
    }
    let wrong = [
        ("", ""),
        ("", "wrong"),
        ("", "s3cre"),
        ("", "s3cret2"),
        ("", "S3CRET"),
        ("Bearer wrong", "s3cret"),
        ("Basic s3cret", ""),
        ("s3cret", ""),
    ];
    let all_wrong = || wrong.iter().all(|(a, x)| token(a, x) == 403);
    assert!(all_wrong());
    let why = "403: needs the token of the run folder in Authorization: Bearer or X-WS-Token";
    let no_token = [("HTTP_X_WS_TOKEN", "")];
    assert_eq!(push(&daemon, "to=@a", &no_token, b"hi").1, why);
    // No token, no push; REMOTE_ADDR changes nothing.
    for empty in ["\n", "", "\ns3cret"] {
        std::fs::write(daemon.path("run/token"), empty).expect("token");
        assert!(all_wrong() && token("", "s3cret") == 403, "{empty:?}");
    }
    std::fs::remove_file(daemon.path("run/token")).expect("token");
    assert!(all_wrong() && token("", "s3cret") == 403);
    let local = [("REMOTE_ADDR", "127.0.0.1"), ("HTTP_X_WS_TOKEN", "")];
    assert_eq!(push(&daemon, "to=@a", &local, b"hi").0, 403);
    ws.works();
    daemon.status_until("/outbox/lines", 5);
}

#[test]
fn the_content_type_of_a_push_picks_the_opcode() {
    let (daemon, mut ws) = with_token();
    for (content_type, is_text) in [
        ("", true),
        ("text/plain", true),
        ("text/html; charset=utf-8", true),
        ("application/json", true),
        ("APPLICATION/XML", true),
        ("application/octet-stream", false),
        ("application/x-www-form-urlencoded", false),
        ("image/png", false),
    ] {
        let more = [("CONTENT_TYPE", content_type)];
        assert_eq!(
            push(&daemon, "to=@a", &more, "grün\n".as_bytes()),
            (204, String::new())
        );
        let message = ws.next();
        assert_eq!(message.is_text(), is_text, "{content_type}");
        assert_eq!(message.into_data(), "grün\n".as_bytes());
    }
    let long = "x".repeat(65536);
    assert_eq!(push(&daemon, "to=@a", &[], long.as_bytes()).0, 204);
    assert_eq!(ws.text(), long);
    assert_eq!(push(&daemon, "to=@a", &[], b"").0, 204);
    assert_eq!(ws.text(), "");
    // No more than its length is of the body.
    assert_eq!(
        push(&daemon, "to=@a", &[("CONTENT_LENGTH", "2")], b"hi there").0,
        204
    );
    assert_eq!(ws.text(), "hi");
}

#[test]
fn the_target_of_a_push_may_be_percent_encoded() {
    let (daemon, mut ws) = with_token();
    let id = ws.id();
    for query in [
        "to=%40a",
        "x=@b&to=@a&y=1",
        "to=%2fact",
        "to=%61&to=@a",
        &format!("to={id}"),
    ] {
        let expected = if query == "to=%61&to=@a" { 400 } else { 204 };
        assert_eq!(
            push(&daemon, query, &[], query.as_bytes()).0,
            expected,
            "{query}"
        );
        if expected == 204 {
            assert_eq!(ws.text(), query);
        }
    }
    assert_eq!(push(&daemon, &format!("to=@a%7E{id}"), &[], b"no").0, 204);
    daemon.status_until("/messages/nobody", 1);
    ws.works();
}

#[test]
fn a_wrong_push_is_answered_with_its_reason() {
    let (daemon, mut ws) = with_token();
    let length = |value| [("CONTENT_LENGTH", value)];
    let method = |value| [("REQUEST_METHOD", value)];
    let none: &[(&str, &str)] = &[];
    for (query, more, body, status, why) in [
        (
            "to=@a",
            &method("GET")[..],
            &b"hi"[..],
            405,
            "POST the payload to ?to=TARGET",
        ),
        (
            "to=@a",
            &method("PUT"),
            b"hi",
            405,
            "POST the payload to ?to=TARGET",
        ),
        ("", none, b"hi", 400, "?to=TARGET is missing"),
        ("tomato=@a", none, b"hi", 400, "?to=TARGET is missing"),
        ("to=%4", none, b"hi", 400, "no target: '%4'"),
        (
            "to=a",
            none,
            b"hi",
            400,
            "no target: 'a' (ID, @room, /route or @all, then ~ID)",
        ),
        ("to=@a%0atext", none, b"hi", 400, "no target: '@a\\ntext'"),
        (
            "to=@a",
            none,
            b"gr\xfcn",
            400,
            "the text is not UTF-8; send it as binary",
        ),
        ("to=@a", &length("9"), b"hi", 400, "the body ended early"),
        ("to=@a", &length("-1"), b"hi", 400, "no Content-Length"),
        ("to=@a", &length("x"), b"hi", 400, "no Content-Length"),
        (
            "to=@a",
            &length(""),
            b"hi",
            411,
            "Content-Length is missing",
        ),
        (
            "to=@a",
            &length("1048577"),
            b"hi",
            413,
            "at most 1048576 bytes",
        ),
    ] {
        let (answered, text) = push(&daemon, query, more, body);
        assert_eq!(answered, status, "{query}: {text}");
        assert!(
            text.starts_with(&format!("{status}: {why}")),
            "{query}: {text}"
        );
    }
    ws.works();
    daemon.status_until("/outbox/lines", 0);
    daemon.status_until("/outbox/bad", 0);
}

#[test]
fn a_push_without_a_daemon_is_503() {
    let (mut daemon, ws) = with_token();
    drop(ws);
    assert_eq!(daemon.stop().code(), Some(0));
    let (code, stdout, stderr) = pushed(&daemon, "to=@a", &[], b"hi");
    assert!(
        stdout.starts_with("Status: 503 Service Unavailable\r\n"),
        "{stdout}"
    );
    let outbox = daemon.path("run/outbox");
    let why = format!(
        "the daemon is not running: nobody reads {}",
        outbox.display()
    );
    assert_eq!((code, stderr), (0, format!("ws-push: {why}\n")));
}
