//! What a program is told, variable by variable: those of RFC 3875 §4.1, of the web server, of
//! the browser, and ours.

use crate::harness::{Daemon, KEY, Start, Ws, record, request, tcp_pair};
use std::io::Write;
use std::net::TcpStream;

/// Not there.
const NO: &str = "-";

/// What no event changes: a variable; and its value on a hand-off whose web server says all,
/// or no more than an upgrade needs, and on `--listen`. Words in braces: see `expected`.
#[rustfmt::skip]
const OF_THE_REQUEST: [(&str, [&str; 3]); 51] = [
    // RFC 3875 §4.1; what depends on the event stands below.
    ("AUTH_TYPE",            ["Basic", NO, NO]),
    ("GATEWAY_INTERFACE",    ["CGI/1.1"; 3]),
    ("PATH_INFO",            ["/room/7"; 3]),
    ("PATH_TRANSLATED",      [NO; 3]),
    ("QUERY_STRING",         ["{query}"; 3]),
    ("REMOTE_ADDR",          ["10.0.0.7", NO, "127.0.0.1"]),
    ("REMOTE_HOST",          ["peer.test", NO, NO]),
    ("REMOTE_IDENT",         ["me", NO, NO]),
    ("REMOTE_USER",          ["amy", NO, NO]),
    ("SCRIPT_NAME",          ["/cgi-bin/nph-ws/act", "/cgi-bin/nph-ws/act", "/act"]),
    ("SERVER_NAME",          ["board.test", NO, "board.test"]),
    ("SERVER_PORT",          ["8080", NO, "{port}"]),
    ("SERVER_PROTOCOL",      ["HTTP/1.1", NO, "HTTP/1.1"]),
    ("SERVER_SOFTWARE",      ["Boa/0.94.14rc21", NO, "ws2cgi/{version}"]),
    // What every web server adds to it.
    ("HTTPS",                ["on", NO, NO]),
    ("REMOTE_PORT",          ["5000", NO, "{from}"]),
    ("REQUEST_SCHEME",       ["https", NO, NO]),
    ("REQUEST_URI",          ["/uri", NO, "/act/room/7?{query}"]),
    ("SERVER_ADDR",          ["10.0.0.1", NO, "127.0.0.1"]),
    // Of the browser.
    ("HTTP_ACCEPT_LANGUAGE", ["de, en;q=0.5", NO, "de, en;q=0.5"]),
    ("HTTP_AUTHORIZATION",   ["Basic YTpi", NO, "Basic YTpi"]),
    ("HTTP_CONNECTION",      ["Upgrade", NO, "keep-alive, Upgrade"]),
    ("HTTP_CONTENT_LENGTH",  [NO; 3]),
    ("HTTP_CONTENT_TYPE",    [NO; 3]),
    ("HTTP_COOKIE",          ["a=1; b=2", NO, "a=1; b=2"]),
    ("HTTP_HOST",            ["board.test:8080", NO, "board.test:8080"]),
    ("HTTP_ORIGIN",          ["https://board.test:8080", NO, "https://board.test:8080"]),
    ("HTTP_PROXY",           [NO; 3]),
    ("HTTP_SEC_WEBSOCKET_EXTENSIONS", ["x; y=1, z", NO, "x; y=1, z"]),
    ("HTTP_SEC_WEBSOCKET_KEY",        [KEY; 3]),
    ("HTTP_SEC_WEBSOCKET_PROTOCOL",   ["chat, superchat", NO, "chat, superchat"]),
    ("HTTP_SEC_WEBSOCKET_VERSION",    ["13"; 3]),
    ("HTTP_UPGRADE",         ["websocket"; 3]),
    ("HTTP_X_1",             ["", NO, ""]),
    ("HTTP_X_FORWARDED_FOR", ["9.9.9.9", NO, "9.9.9.9, 8.8.8.8"]),
    // Neither from a browser nor from a web server.
    ("BASH_FUNC_x",          [NO; 3]),
    ("HTTP_lower",           [NO; 3]),
    ("IFS",                  [NO; 3]),
    ("LD_PRELOAD",           [NO; 3]),
    ("SERVER_ADMIN",         [NO; 3]),
    // Ours.
    ("PATH",        ["/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"; 3]),
    ("WS_BOOT",     ["{boot}"; 3]),
    ("WS_ID",       ["{id}"; 3]),
    ("WS_OUTBOX",   ["{outbox}"; 3]),
    ("WS_PROTOCOL", ["", "", ""]),
    ("WS_ROOMS",    [""; 3]),
    ("WS_ROUTE",    ["/act/room/7"; 3]),
    ("WS_STATE",    [""; 3]),
    ("WS_TRANSPORT", ["websocket"; 3]),
    ("WS_CLOSE",    [NO; 3]),
    ("HOME",        [NO; 3]),
];

const OPEN: usize = 0;
const TEXT: usize = 1;
const BINARY: usize = 2;
const CLOSE: usize = 3;

/// What depends on the event: open, a text, a binary message, close.
#[rustfmt::skip]
const OF_THE_EVENT: [(&str, [&str; 4]); 7] = [
    ("CONTENT_LENGTH",  [NO, "3", "4", NO]),
    ("CONTENT_TYPE",    [NO, "text/plain; charset=utf-8", "application/octet-stream", NO]),
    ("REQUEST_METHOD",  ["GET", "POST", "POST", "DELETE"]),
    ("WS_EVENT",        ["open", "message", "message", "close"]),
    ("WS_CLOSE_BY",     [NO, NO, NO, "client"]),
    ("WS_CLOSE_CODE",   [NO, NO, NO, "4000"]),
    ("WS_CLOSE_REASON", [NO, NO, NO, "bye"]),
];

/// What a hand-off's web server says that is not let in, or not as it is.
const FORGED: [(&str, &str); 15] = [
    ("BASH_FUNC_x", "() { :;}"),
    ("CONTENT_LENGTH", "99"),
    ("CONTENT_TYPE", "evil"),
    ("GATEWAY_INTERFACE", "CGI/9"),
    ("HTTP_CONTENT_LENGTH", "99"),
    ("HTTP_CONTENT_TYPE", "evil"),
    ("HTTP_PROXY", "evil:80"),
    ("HTTP_lower", "x"),
    ("IFS", "/"),
    ("LD_PRELOAD", "/evil"),
    ("PATH_TRANSLATED", "/var/www/room"),
    ("SERVER_ADMIN", "root"),
    ("WS_CLOSE_CODE", "1000"),
    ("WS_ID", "forged"),
    ("WS_TRANSPORT", "forged"),
];

/// The environment by the tables, sorted as `env` prints it.
fn expected(column: usize, event: usize, words: &[(&str, &str)]) -> Vec<String> {
    let request = OF_THE_REQUEST
        .iter()
        .map(|(name, values)| (*name, values[column]));
    let event = OF_THE_EVENT
        .iter()
        .map(|(name, values)| (*name, values[event]));
    let there = request.chain(event).filter(|(_, value)| *value != NO);
    let mut lines: Vec<_> = there
        .map(|(name, value)| {
            let mut line = format!("{name}={value}");
            for (word, meaning) in words {
                line = line.replace(&format!("{{{word}}}"), meaning);
            }
            line
        })
        .collect();
    lines.sort();
    lines
}

/// The query whose open and close events show their environment to room `@w`.
const SHOW: &str = "open=out WS-To: @w\\n;env&close=out WS-To: @w\\n;env";

/// Looks at each kind of event of a connection with the query [`SHOW`], whose open event has
/// been run; `words` beside those that all have.
fn check(daemon: &Daemon, watcher: &mut Ws, mut ws: Ws, column: usize, words: &[(&str, &str)]) {
    let open = watcher.text();
    let id = value(&open, "WS_ID").expect("an id").to_owned();
    let (query, outbox) = (SHOW.replace(' ', "%20"), daemon.path("run/outbox"));
    let outbox = outbox.display().to_string();
    let (boot, _) = id.split_once('-').expect("BOOT-N");
    let words = [
        &[
            ("id", &*id),
            ("boot", boot),
            ("query", &query),
            ("outbox", &outbox),
        ],
        words,
    ];
    let told = |event| expected(column, event, &words.concat());
    let lines = |env: String| env.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(open), told(OPEN));
    assert_eq!(lines(ws.ask("env")), told(TEXT));
    ws.send_binary(b"env;");
    assert_eq!(lines(ws.text()), told(BINARY));
    ws.close(4000, "bye");
    assert_eq!(lines(watcher.text()), told(CLOSE));
}

/// The value of a variable in what `env` printed.
fn value<'a>(env: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = env.lines().filter_map(|line| line.split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

#[test]
fn a_web_servers_word_is_passed_on_as_far_as_it_may_be() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    // Not from a shell: it would not say a variable twice, nor an empty one.
    let query = SHOW.replace(' ', "%20");
    let ours = [
        ("SCRIPT_NAME", "/cgi-bin/nph-ws"),
        ("PATH_INFO", "/act/room/7"),
        ("QUERY_STRING", &query),
        ("PATH", "/evil"),
    ];
    let said = OF_THE_REQUEST
        .iter()
        .map(|(name, values)| (*name, values[0]));
    let said = said.filter(|(_, value)| *value != NO && !value.contains('{'));
    let mut said: Vec<_> = FORGED.into_iter().chain(ours).chain(said).collect();
    // Repeated names: the first wins.
    said.extend([("HTTP_COOKIE", "second"), ("REMOTE_ADDR", "second")]);
    let (client, server) = tcp_pair();
    daemon.hand_in(&record(&said), &[&server]);
    drop(server);
    check(&daemon, &mut watcher, Ws::accepted(client), 0, &[]);
}

#[test]
fn without_a_web_servers_word_there_is_what_rfc_3875_asks_for_of_us() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    let silent = OF_THE_REQUEST.iter().filter(|(_, values)| values[1] == NO);
    let mut more: Vec<_> = silent.map(|(name, _)| (*name, "")).collect();
    more.push(("PATH_INFO", "/act/room/7"));
    let ws = daemon.connect_with(&format!("/act/room/7?{SHOW}"), &more);
    check(&daemon, &mut watcher, ws, 1, &[]);
}

#[test]
fn on_listen_we_are_the_web_server() {
    let daemon = Daemon::with("--listen 127.0.0.1:0");
    let mut watcher = daemon.member("@w");
    let port = daemon.port("tcp");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let from = stream.local_addr().expect("address").port();
    let more = "Accept-Language: de\r\nAccept-Language: en;q=0.5\r\nAuthorization: Basic YTpi\r\n\
        Cookie: a=1\r\nCOOKIE:b=2 \r\nOrigin: https://board.test:8080\r\nProxy: evil\r\n\
        Content-Type: evil\r\nContent-Length: 0\r\nX-1:\r\nHTTP_PROXY: evil\r\n\
        Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat\r\n\
        Sec-WebSocket-Extensions: x; y=1\r\nSec-WebSocket-Extensions: z\r\n\
        X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX_Forwarded_For: 7.7.7.7\r\n";
    let head = request(&format!("/act/room/7?{SHOW}"), more)
        .replace("Host: board.test", "Host: board.test:8080")
        .replace("Connection: ", "Connection: keep-alive\r\nConnection: ");
    stream.write_all(head.as_bytes()).expect("write");
    let (port, from) = (port.to_string(), from.to_string());
    let words = [
        ("port", &*port),
        ("from", &from),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    check(&daemon, &mut watcher, Ws::accepted(stream), 2, &words);
}

#[test]
fn on_listen_the_servers_name_is_the_hosts() {
    let daemon = Daemon::with("--listen unix:{}/ws.sock");
    for (host, name) in [
        ("board.test", "board.test"),
        ("BOARD.test:81", "BOARD.test"),
        ("board.test:", "board.test"),
        ("10.0.0.1:8080", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("[fe80::1]:8080", "[fe80::1]"),
        ("", ""),
    ] {
        let head = request("/act", "").replace("board.test", host);
        let mut stream = daemon.unix("ws.sock");
        stream.write_all(head.as_bytes()).expect("write");
        let env = Ws::accepted(stream).ask("env");
        assert_eq!(value(&env, "SERVER_NAME"), Some(name), "{host}");
        assert_eq!(value(&env, "HTTP_HOST"), Some(host));
        // No TCP, no addresses.
        for none in ["REMOTE_ADDR", "REMOTE_PORT", "SERVER_ADDR", "SERVER_PORT"] {
            assert_eq!(value(&env, none), None, "{none}");
        }
    }
}

#[test]
fn control_bytes_become_question_marks() {
    let daemon = Daemon::start();
    let odd = [("HTTP_X_ODD", "a\u{1}b\x7fc\nd\re\tf é")];
    let env = daemon.connect_with("/act", &odd).ask("env");
    assert_eq!(value(&env, "HTTP_X_ODD"), Some("a?b?c?d?e?f é"));
}

#[test]
fn script_name_path_info_and_query_string_are_always_there() {
    let daemon = Daemon::start();
    let env = daemon
        .connect_with("/deep/act", &[("QUERY_STRING", "")])
        .ask("env");
    for (name, seen) in [
        ("SCRIPT_NAME", "/cgi-bin/nph-ws/deep/act"),
        ("PATH_INFO", ""),
        ("QUERY_STRING", ""),
        ("WS_ROUTE", "/deep/act"),
    ] {
        assert_eq!(value(&env, name), Some(seen), "{name}");
    }
}

#[test]
fn ids_begin_with_the_boot_and_count() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.connect("/act"), daemon.connect("/act2"));
    let env = a.ask("env");
    let boot = value(&env, "WS_BOOT").unwrap();
    let base32 = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
    assert!(boot.len() == 13 && boot.chars().all(base32), "{boot}");
    assert_eq!([a.id(), b.id()], [format!("{boot}-1"), format!("{boot}-2")]);
    let next = Start::default().again_in(daemon.end()).ready();
    assert_ne!(
        value(&next.connect("/act").ask("env"), "WS_BOOT"),
        Some(boot)
    );
}

#[test]
fn state_rooms_and_protocol_stand_in_every_later_event() {
    let daemon = Daemon::start();
    let offer = [("HTTP_SEC_WEBSOCKET_PROTOCOL", "superchat, chat")];
    let open = "open=head WS-State: user=7\\nWS-Join: @b @a\\nSec-WebSocket-Protocol: chat";
    let mut watcher = daemon.member("@w");
    let close = "close=out WS-To: @w\\n;env";
    let mut ws = daemon.connect_with(&format!("/act?{open}&{close}"), &offer);
    let check = |env: &str, rooms: &str, state: &str| {
        assert_eq!(value(env, "WS_STATE"), Some(state));
        assert_eq!(value(env, "WS_ROOMS"), Some(rooms));
        assert_eq!(value(env, "WS_PROTOCOL"), Some("chat"));
        assert_eq!(value(env, "HTTP_SEC_WEBSOCKET_PROTOCOL"), Some(offer[0].1));
    };
    check(&ws.ask("env"), "@b @a", "user=7");
    assert_eq!(
        ws.ask("head WS-State: é\\nWS-Leave: @b\\nWS-Join: @c;out ok"),
        "ok"
    );
    check(&ws.ask("env"), "@a @c", "é");
    ws.close(1000, "");
    check(&watcher.text(), "@a @c", "é");
}
