//! `--listen`: upgrades taken directly, without a web server before or behind.

use crate::harness::{
    Answer, Daemon, KEY, Start, Ws, masked, os_words, read_answer, read_head, request, wait_for,
};
use std::io::{Write, read_to_string};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

const UNIX: &str = "--listen unix:{}/ws.sock";

fn answer(daemon: &Daemon, head: &[u8]) -> Answer {
    let mut stream = daemon.unix("ws.sock");
    stream.write_all(head).expect("write");
    read_answer(&mut stream)
}

fn upgrade(mut stream: TcpStream, request: &str) -> Ws {
    stream.write_all(request.as_bytes()).expect("write");
    Ws::accepted(stream)
}

/// Lines of the program's environment that begin so.
fn env(ws: &mut Ws, begins: &[&str]) -> Vec<String> {
    let env = ws.ask("env");
    let wanted = |line: &&str| begins.iter().any(|b| line.starts_with(b));
    env.lines().filter(wanted).map(str::to_owned).collect()
}

#[test]
fn several_addresses_are_listened_at() {
    let daemon = Daemon::with(&format!(
        "--listen 127.0.0.1:0 --listen [::1]:0 {UNIX} --listen unix:{{}}/two"
    ));
    let v4 = TcpStream::connect(("127.0.0.1", daemon.port("tcp"))).expect("connect");
    let v6 = TcpStream::connect(("::1", daemon.port("tcp6"))).expect("connect");
    for (stream, remote) in [
        (v4, &["REMOTE_ADDR=127.0.0.1", "SERVER_ADDR=127.0.0.1"][..]),
        (v6, &["REMOTE_ADDR=::1", "SERVER_ADDR=::1"]),
        (daemon.unix("ws.sock"), &[]),
        (daemon.unix("two"), &[]),
    ] {
        let mut ws = upgrade(stream, &request("/act", ""));
        assert_eq!(env(&mut ws, &["REMOTE_ADDR", "SERVER_ADDR"]), remote);
    }
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told() {
    let daemon = Daemon::with(&format!("{UNIX} --max-message 100"));
    let asks = |version: &str, length: usize, more: &str| {
        let mut stream = daemon.unix("ws.sock");
        let head = format!(
            "POST /act HTTP/{version}\r\nHost: board.test\r\nContent-Length: {length}\r\n\
             Expect: 100-Continue\r\n\r\n{more}"
        );
        stream.write_all(head.as_bytes()).expect("write");
        stream
    };
    let body = "head X: y;out here";
    let mut stream = asks("1.1", body.len(), "");
    let told = read_head(&mut stream).expect("an answer");
    assert_eq!((told.status, told.fields.len()), (100, 0));
    stream.write_all(body.as_bytes()).expect("write");
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.body.as_str()), (200, "here"));
    // RFC 9110 section 10.1.1: where that says nothing, or must not be said.
    for (version, length, more, status) in [
        ("1.1", body.len(), body, 200),
        ("1.0", body.len(), body, 200),
        ("1.1", 101, "", 413),
    ] {
        assert_eq!(read_answer(&mut asks(version, length, more)).status, status);
    }
    let mut old = asks("1.0", 1, "");
    old.shutdown(std::net::Shutdown::Write).expect("shutdown");
    assert_eq!(read_answer(&mut old).status, 400);
}

#[test]
fn a_trusted_proxy_is_believed_and_no_other() {
    let more = "X-Forwarded-For: 1.1.1.1, 2001:db8::7\r\nX-Forwarded-Proto: HTTPS\r\n";
    let names = ["REMOTE_", "HTTPS"];
    for (args, seen) in [
        ("", &[][..]),
        (
            "--trust-forwarded",
            &["HTTPS=on", "REMOTE_ADDR=2001:db8::7"],
        ),
    ] {
        let daemon = Daemon::with(&format!("{UNIX} {args}"));
        let mut ws = upgrade(daemon.unix("ws.sock"), &request("/act", more));
        assert_eq!(env(&mut ws, &names), seen, "{args}");
        let mut plain = upgrade(daemon.unix("ws.sock"), &request("/act", ""));
        assert_eq!(env(&mut plain, &names), [""; 0], "{args}");
        // A proxy may add a field of its own behind those that the client sent.
        let added = format!("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\n{more}");
        let mut added = upgrade(daemon.unix("ws.sock"), &request("/act", &added));
        assert_eq!(env(&mut added, &names), seen, "{args}");
        let forged = "X-Forwarded-For: 1.1.1.1, root\r\nX-Forwarded-Proto: http\r\n";
        let mut forged = upgrade(daemon.unix("ws.sock"), &request("/act", forged));
        assert_eq!(env(&mut forged, &names), [""; 0], "{args}");
    }
}

#[test]
fn bytes_behind_the_head_are_not_lost() {
    let daemon = Daemon::with(UNIX);
    let mut stream = daemon.unix("ws.sock");
    let mut bytes = request("/act", "").into_bytes();
    for text in ["out \\none", "out \\ntwo"] {
        bytes.extend(masked(0x81, text.as_bytes()));
    }
    stream.write_all(&bytes).expect("write");
    let mut ws = Ws::accepted(stream);
    assert_eq!((ws.text(), ws.text()), ("one".to_owned(), "two".to_owned()));
    assert_eq!(ws.ask("out \\nthree"), "three");
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let daemon = Daemon::with(UNIX);
    let mut stream = daemon.unix("ws.sock");
    for byte in request("/act", "").as_bytes() {
        stream.write_all(&[*byte]).expect("write");
    }
    Ws::accepted(stream).works();
}

#[test]
fn a_second_request_behind_the_first_is_no_frame() {
    let mut daemon = Daemon::with(UNIX);
    let mut bystander = upgrade(daemon.unix("ws.sock"), &request("/act", ""));
    let twice = request("/act", "").repeat(2);
    let mut ws = upgrade(daemon.unix("ws.sock"), &twice);
    assert_eq!(ws.closed().0, 1002);
    daemon.expect(": closed with 1002: ");
    daemon.status_until("/closes/1002", 1);
    bystander.works();
}

#[test]
fn wrong_heads_are_answered() {
    let mut daemon = Daemon::with(UNIX);
    let mut bystander = upgrade(daemon.unix("ws.sock"), &request("/act", ""));
    let good = request("/act", "");
    let swap = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replacen(from, to, 1).into_bytes()
    };
    let long = |len: usize| {
        let fill = len - request("/act", "X: \r\n").len();
        request("/act", &format!("X: {}\r\n", "y".repeat(fill))).into_bytes()
    };
    let fields = |n: usize| request("/act", &"X: y\r\n".repeat(n)).into_bytes();
    let twice = |name: &str| {
        let origin = "Origin: http://board.test\r\n";
        let again = match name {
            "Host" => "Host: board.test\r\n",
            "Origin" => origin,
            name if name.ends_with("key") => &format!("{name}: {KEY}\r\n"),
            name => &format!("{name}: 13\r\n"),
        };
        request("/act", &[origin, again].concat()).into_bytes()
    };
    let no_host = "400: the Host header is missing, or none";
    let no_http = "400: this is no HTTP request";
    let large = "431: the request head is too large";
    let old = "505: an upgrade needs HTTP/1.1";
    let upgrade = "426: this is a WebSocket endpoint; connect with a WebSocket";
    let nothing = "404: no event program there";
    for (head, text) in [
        (b"\x16\x03\x01\x02\x00 TLS\r\n\r\n".to_vec(), no_http),
        (b"text @all forged\n\n".to_vec(), no_http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), no_http),
        (swap("Host: ", "Ho st: "), no_http),
        (swap("Host: board", "Host: bo\0rd"), no_http),
        (swap("Host: ", "Host\r\n folded: "), no_http),
        (swap("HTTP/1.1", "HTTP/2.0"), no_http),
        (swap("HTTP/1.1", "HTTP/1.0"), old),
        (swap("Host: board.test\r\n", ""), no_host),
        (swap("board.test", "user@board.test"), no_host),
        (swap("board.test", "board.test/act"), no_host),
        (swap("board.test", "board test"), no_host),
        (twice("Host"), "400: more than one Host"),
        (twice("Origin"), "400: more than one Origin"),
        (
            twice("SEC-websocket-key"),
            "400: more than one SEC-websocket-key",
        ),
        (
            twice("Sec-WebSocket-Version"),
            "400: more than one Sec-WebSocket-Version",
        ),
        (format!("GET /{}", "x".repeat(9000)).into_bytes(), large),
        (
            request("/act", &format!("X: {}\r\n", "y".repeat(9000))).into_bytes(),
            large,
        ),
        (long(8193), large),
        (fields(96), large),
        (
            swap("GET", "POST"),
            "405: a connection begins with GET, not POST",
        ),
        (
            swap("GET", "HEAD"),
            "405: a connection begins with GET, not HEAD",
        ),
        (
            swap("Connection: Upgrade", "Connection: keep-alive"),
            upgrade,
        ),
        (swap("Connection: Upgrade\r\n", ""), upgrade),
        (swap("Upgrade: websocket\r\n", ""), upgrade),
        (swap("Upgrade: websocket", "Upgrade: h2c"), upgrade),
        (
            swap("Version: 13", "Version: 7"),
            "426: Sec-WebSocket-Version is '7'; 13 is supported",
        ),
        (
            swap("Key: ", "Key: x"),
            "400: Sec-WebSocket-Key is not 16 bytes in base64",
        ),
        (
            swap("Sec-WebSocket-Key", "Sec_WebSocket_Key"),
            "400: Sec-WebSocket-Key is not 16 bytes in base64",
        ),
        (swap("GET /act", "GET /"), nothing),
        (swap("GET /act", "GET /nothing"), nothing),
        (swap("GET /act", "GET /deep/../act"), nothing),
        (swap("GET /act", "GET /deep%2fact"), nothing),
        (swap("GET /act", "GET http://board.test/act"), nothing),
        (swap("GET /act", "GET act"), nothing),
        (swap("GET /act", "GET *"), nothing),
        (
            request("/act", "Origin: http://evil.test\r\n").into_bytes(),
            "403: a page of http://evil.test may not connect to board.test without --origin http://evil.test",
        ),
    ] {
        let answer = answer(&daemon, &head);
        let shown = String::from_utf8_lossy(&head[..head.len().min(99)]);
        assert_eq!(answer.body.trim_end(), text, "{shown}");
        assert!(text.starts_with(&answer.status.to_string()));
        daemon.expect(text);
    }
    // 94 fields beside our own six are as many as boa takes; so are 8 KB.
    assert_eq!(answer(&daemon, &fields(95)).status, 101);
    assert_eq!(answer(&daemon, &long(8192)).status, 101);
    daemon.status_until("/refusals/head", 20);
    bystander.works();
}

#[test]
fn a_connection_token_may_stand_among_others() {
    let daemon = Daemon::with(UNIX);
    for fields in [
        "Connection: keep-alive, UPGRADE\r\n",
        "Connection: close\r\nConnection: upgrade\r\n",
        "Connection: Upgrade\r\nConnection: keep-alive\r\n",
        "connection:upgrade\t,\r\n",
    ] {
        let head = request("/act", "").replace("Connection: Upgrade\r\n", fields);
        upgrade(daemon.unix("ws.sock"), &head).works();
    }
    // So may that of Upgrade, in another field too.
    let head = request("/act", "Upgrade: h2c\r\nUpgrade: foo, WEBsocket\r\n");
    let head = head.replacen("Upgrade: websocket\r\n", "", 1);
    upgrade(daemon.unix("ws.sock"), &head).works();
}

#[test]
fn a_client_that_leaves_before_its_head_is_whole_leaves_nothing() {
    let daemon = Daemon::with(UNIX);
    let before = daemon.descriptors().len();
    for head in ["", "GET /act HTTP/1.1\r\nHost"] {
        let mut stream = daemon.unix("ws.sock");
        stream.write_all(head.as_bytes()).expect("write");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("shutdown");
        assert_eq!(read_to_string(&stream).expect("the end"), "");
    }
    wait_for("its descriptors to go", || {
        (daemon.descriptors().len() == before).then_some(())
    });
    upgrade(daemon.unix("ws.sock"), &request("/act", "")).works();
}

#[test]
fn a_head_that_dawdles_is_408() {
    let mut daemon = Daemon::with(UNIX);
    let mut bystander = upgrade(daemon.unix("ws.sock"), &request("/act", ""));
    let mut slow = daemon.unix("ws.sock");
    slow.write_all(b"GET /act HTTP/1.1\r\nHost: board.test\r\n")
        .expect("write");
    let answer = read_answer(&mut slow);
    assert_eq!(answer.status, 408);
    daemon.expect("408: the request head did not come in time");
    daemon.status_until("/refusals/slow", 1);
    bystander.works();
}

#[test]
fn the_socket_has_its_mode_whatever_the_umask() {
    for umask in ["000", "077"] {
        let start = Start::default().args(UNIX);
        let daemon = start.shell(&format!("umask {umask}")).ready();
        let mode = std::fs::metadata(daemon.path("ws.sock"))
            .expect("stat")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o660, "umask {umask}");
    }
}

#[test]
fn a_stale_socket_is_replaced() {
    let daemon = Daemon::with(UNIX);
    let folder = daemon.kill();
    assert!(folder.path().join("ws.sock").exists());
    let daemon = Start::default().args(UNIX).again_in(folder).ready();
    upgrade(daemon.unix("ws.sock"), &request("/act", "")).works();
}

const IN_USE: &str = "Address already in use (os error 98) \
    (stop whoever listens there, or choose another address)";

#[test]
fn a_socket_that_somebody_listens_at_is_left_alone() {
    let folder = Start::folder();
    let path = folder.path().join("ws.sock");
    let live = UnixListener::bind(&path).expect("bind");
    let (code, said) = Start::default().args(UNIX).again_in(folder).fails();
    assert_eq!(code, 111);
    let path = path.display();
    assert!(
        said.ends_with(&os_words(&format!(
            "ws2cgi: --listen unix:{path}: {IN_USE}\n"
        ))),
        "{said}"
    );
    drop(live);
}

#[test]
fn an_address_that_cannot_be_had_ends_the_start() {
    let live = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = live.local_addr().expect("address").to_string();
    for (address, why) in [
        (&*taken, IN_USE),
        (
            "192.0.2.1:8000",
            "Cannot assign requested address (os error 99)",
        ),
        ("unix:{}/handlers/act", IN_USE),
        (
            "unix:{}/nowhere/ws.sock",
            "No such file or directory (os error 2)",
        ),
    ] {
        let folder = Start::folder();
        let shown = address.replace("{}", &folder.path().display().to_string());
        let start = Start::default().args(&format!("--listen {address}"));
        let (code, said) = start.again_in(folder).fails();
        assert_eq!(code, 111, "{address}");
        let line = format!("ws2cgi: --listen {shown}: {why}\n");
        assert_eq!(said, os_words(&line));
    }
}
