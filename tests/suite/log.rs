//! The log: whatever a peer chose, it makes no line of its own and moves no cursor; and whoever
//! does not read it stops nobody.

use crate::harness::{
    Daemon, Start, as_root, command, linked, read_answer, record, request, wait_for, ws2cgi,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// A line of its own, an escape sequence as bytes and as C1, a title, a bell, backspaces, a
/// carriage return, what turns the direction of writing, separators of lines, what is no UTF-8.
const HOSTILE: &[u8] =
    b"x\nERROR forged\r\nWARN forged\x0b\x0c\x1b[2J\x1b]0;t\x07\x08\x08\xc2\x9b31m\
    \xe2\x80\xae\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\x7f\xff\xfe\xc3";

/// As it is where only text can stand.
fn hostile() -> String {
    String::from_utf8_lossy(HOSTILE).replace('\u{fffd}', "")
}

/// Every byte of a line may be shown on a terminal, and it is one of ours.
fn check(log: &str) {
    for line in log.split_terminator('\n') {
        let level = ["ERROR ", "WARN ", "INFO ", "DEBUG ", "ws2cgi: "];
        assert!(
            level.iter().any(|level| line.starts_with(level)),
            "{line:?}"
        );
        assert!(!line.starts_with("ERROR forged") && !line.starts_with("WARN forged"));
        let moves = |c: char| c.is_control() || "\u{202e}\u{2028}\u{2029}".contains(c);
        assert!(!line.contains(moves), "{line:?}");
    }
}

#[test]
fn no_peer_forges_a_line() {
    let start = Start::default().args("--listen unix:{}/ws.sock --trust-forwarded");
    let mut daemon = start.log("debug").ready();
    daemon.quiet();
    let hostile = hostile();

    // By the hand-off: each variable that says something of the request, and the program's name.
    for name in [
        "PATH_INFO",
        "QUERY_STRING",
        "SCRIPT_NAME",
        "SERVER_SOFTWARE",
        "REMOTE_ADDR",
        "REQUEST_METHOD",
        "REQUEST_URI",
        "HTTP_HOST",
        "HTTP_ORIGIN",
        "HTTP_COOKIE",
        "HTTP_UPGRADE",
        "HTTP_SEC_WEBSOCKET_KEY",
        "HTTP_SEC_WEBSOCKET_VERSION",
        "HTTP_SEC_WEBSOCKET_PROTOCOL",
    ] {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let mut bytes = b"ws2cgi/1 nph-ws\0".to_vec();
        bytes.extend([name.as_bytes(), b"=", HOSTILE, b"\0"].concat());
        let usual = record(&[("PATH_INFO", "/act")]);
        bytes.extend(&usual["ws2cgi/1 nph-ws\0".len()..]);
        daemon.hand_in(&bytes, &[&theirs]);
        drop(theirs);
        read_answer(&mut ours);
    }
    for name in [&b"nph-"[..], b""] {
        let usual = &record(&[("PATH_INFO", "/act")])["ws2cgi/1 nph-ws\0".len()..];
        let bytes = [b"ws2cgi/1 ", name, hostile.as_bytes(), b"\0", usual].concat();
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        daemon.hand_in(&bytes, &[&theirs]);
        drop(theirs);
        read_answer(&mut ours);
    }
    daemon.hand_in(HOSTILE, &[]);

    // On --listen: the path, each field, and a head that is none.
    let flat: Vec<u8> = HOSTILE
        .iter()
        .copied()
        .filter(|b| !b"\r\n\0".contains(b))
        .collect();
    let field = |name: &str| {
        let more = [name.as_bytes(), b": ", &flat, b"\r\n"].concat();
        let usual = request("/act", "");
        let (head, end) = usual.split_at(usual.len() - 2);
        [head.as_bytes(), &more, end.as_bytes()].concat()
    };
    let mut heads: Vec<_> = [
        "Origin",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Cookie",
        "X",
    ]
    .map(field)
    .into();
    heads.push([b"GET /", &flat[..], b" HTTP/1.1\r\n\r\n"].concat());
    heads.push([&flat[..], b" /act HTTP/1.1\r\n\r\n"].concat());
    heads.push([HOSTILE, b"\r\n\r\n"].concat());
    for head in heads {
        let mut stream = daemon.unix("ws.sock");
        stream.write_all(&head).expect("write");
        read_answer(&mut stream);
    }

    // By a browser: a reason to close.
    let mut ws = daemon.connect("/act");
    ws.close(4000, &hostile);

    // By the outbox: every part of a line. What is behind a newline is a line of its own.
    let mut ws = daemon.connect("/act");
    for before in [
        "",
        "text ",
        "text @",
        "text /act~",
        "text64 @all ",
        "textfile @all ",
        "close @none ",
        "close @none 4000 ",
        "join /act @",
        "leave /act ",
        "text aaaaaaaaaaaaa-1",
    ] {
        daemon.outbox([before.as_bytes(), HOSTILE].concat());
    }

    // By a program: what it prints as a header, as another, on stderr.
    let escaped: String = HOSTILE.iter().map(|b| format!("\\x{b:02x}")).collect();
    for script in [
        format!("head {escaped}: x"),
        format!("head X: {escaped}"),
        format!("head WS-{}: x", "Y\\x1b[2J"),
        format!("head WS-Unknown: x;err {escaped}"),
        format!("head WS-To: @{escaped}"),
        format!("head WS-Join: @{escaped}"),
        format!("head WS-Close: {escaped}"),
        format!("head Status: {escaped}"),
        format!("head Sec-WebSocket-Protocol: {escaped}"),
        format!("err {escaped}"),
        format!("out {escaped}"),
    ] {
        ws.send(&script);
    }
    ws.close(1000, "");
    daemon.until_empty();
    let log = daemon.log();
    assert!(log.lines().count() > 60, "{log}");
    check(&log);
    // They are there, and escaped.
    for part in [
        "ERROR forged",
        "\\n",
        "\\u{1b}[2J",
        "\\u{202e}",
        "\\u{9b}31m",
        "\\r",
    ] {
        assert!(log.contains(part), "{part}");
    }
}

#[test]
fn no_argument_forges_a_line() {
    let hostile = hostile().replace('\0', "");
    for args in [
        &["--user", &hostile][..],
        &["--group", &hostile],
        &["--handlers", &hostile],
        &["--run", &hostile],
        &["--origin", &hostile],
        &["--listen", &hostile],
        &[&hostile],
    ] {
        let mut ws2cgi = command(&ws2cgi());
        let mut ws2cgi = ws2cgi.current_dir("/tmp").arg("--handlers=/").args(args);
        // A folder that it would make is not wanted.
        if args[0] == "--run" {
            ws2cgi = ws2cgi.arg("--user=no-such-user");
        }
        let output = ws2cgi.output().expect("run");
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(said.lines().count(), 1, "{said:?}");
        check(&said);
    }
    let mut send = command(&linked());
    let send = send.args(["ws-send", "--run", "/nowhere", &hostile]);
    let said = String::from_utf8(send.output().expect("run").stderr).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "{said:?}");
}

#[test]
fn nor_does_a_browser_in_the_web_servers_log() {
    let daemon = Daemon::start();
    let hostile = hostile();
    for (name, value) in [
        ("SERVER_SOFTWARE", &*hostile),
        ("HTTP_UPGRADE", ""),
        ("HTTP_SEC_WEBSOCKET_VERSION", &hostile),
    ] {
        let mut nph = daemon.nph("nph-ws", &[(name, value)]);
        let output = nph.env("PATH_INFO", &hostile).output().expect("run");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(said.lines().count() <= 1, "{said:?}");
        assert!(
            !said.trim_end_matches('\n').contains(char::is_control),
            "{said:?}"
        );
    }
}

#[test]
fn a_terminal_that_takes_no_more_stops_nobody_whoever_we_are() {
    if !as_root("a_terminal_that_takes_no_more_stops_nobody_whoever_we_are") {
        return;
    }
    let mut terminal = Command::new("/usr/bin/python3");
    terminal.args(["-c", TERMINAL]);
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().expect("python3");
    let mut name = String::new();
    let stdout = terminal.stdout.take().expect("its stdout");
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut name).expect("a name");
    let start = Start::default().args("--ready-fd 9 --user nobody");
    let daemon = start
        .again_in(Start::folder_for_anyone())
        .shell(&format!("exec 9>ready 2>{}", name.trim()))
        .ready_when(|daemon| std::fs::read(daemon.path("ready")).is_ok_and(|text| text == b"\n"));
    let mut ws = daemon.connect("/act");
    for length in 1..100 {
        ws.send(&format!(
            "err {};head X-A: b;out on",
            "x".repeat(10 * length)
        ));
        assert_eq!(ws.text(), "on");
    }
    assert_ne!(daemon.number("/log_lines_dropped"), 0);
    drop(terminal.stdin.take());
    terminal.wait().expect("its end");
}

/// A terminal whose other end nobody reads, until stdin ends. Root's, as a board's console is.
const TERMINAL: &str = "\
import os, sys
master, terminal = os.openpty()
print(os.ttyname(terminal), flush=True)
sys.stdin.read()
";

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let folder = Start::folder();
    let stderr = folder.path().join("stderr");
    mkfifo(&stderr, Mode::S_IRWXU).expect("mkfifo");
    let start = Start::default().again_in(folder).args("--ready-fd 9");
    let daemon = start
        .shell("exec 9>ready 2<>stderr")
        .ready_when(|daemon| std::fs::read(daemon.path("ready")).is_ok_and(|text| text == b"\n"));
    let mut pipe = OpenOptions::new();
    let pipe = pipe
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK);
    let mut pipe = pipe.open(&stderr).expect("open");
    for size in [4096, 1] {
        while pipe.write(&[b'x'; 4096][..size]).is_ok() {}
    }
    let mut ws = daemon.connect("/act");
    ws.works();
    daemon.status_until("/log_lines_dropped", 1);
    ws.close(1000, "");

    // Once it is read, lines come again, and whole.
    let mut block = [0; 4096];
    while pipe.read(&mut block).is_ok() {}
    let id = daemon.connect("/act").id();
    let mut log = String::new();
    let line = format!("INFO {id}: open, /act\n");
    wait_for(&line, || {
        let count = pipe.read(&mut block).unwrap_or(0);
        log.push_str(&String::from_utf8_lossy(&block[..count]));
        log.contains(&line).then_some(())
    });
}
