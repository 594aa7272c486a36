//! `ws2cgi-small`: it is each of the small programs, as `ws2cgi` itself is, and nothing else.

use crate::harness::{Daemon, command, outcome, ws2cgi, ws2cgi_small};
use std::fs::{read_to_string, remove_file};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

#[test]
fn both_binaries_are_each_of_the_programs() {
    let daemon = Daemon::start();
    std::fs::write(daemon.path("run/token"), "s3cret\n").expect("token");
    for binary in [ws2cgi(), ws2cgi_small()] {
        let link = |name: &str| {
            let path = daemon.path("cgi-bin").join(name);
            let _ = remove_file(&path);
            symlink(&binary, &path).expect("link");
            command(&path)
        };
        for name in ["nph-ws", "ws-post", "ws-push", "ws-send", "act"] {
            link(name);
        }
        let mut ws = daemon.connect("/act?open=head WS-Join: @a");
        assert_eq!(ws.ask("head X: y;out by nph-ws"), "by nph-ws");
        assert_eq!(
            daemon.post("/act", "head X: y;out by ws-post").body,
            "by ws-post"
        );

        let done = |text: &str| (0, text.to_owned(), String::new());
        let push = [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("QUERY_STRING", "to=@a"),
            ("CONTENT_LENGTH", "7"),
            ("HTTP_X_WS_TOKEN", "s3cret"),
        ];
        let pushed = outcome(link("ws-push").envs(push), b"pushed!");
        assert_eq!(pushed, done("Status: 204 No Content\r\n\r\n"));
        assert_eq!(ws.text(), "pushed!");

        let sent = outcome(link("ws-send").args(["@a", "by", "link"]), b"");
        assert_eq!(sent, done(""));
        let mut by_name = command(&binary);
        by_name.env("WS2CGI_RUN", daemon.path("run"));
        let sent = outcome(by_name.args(["ws-send", "@a", "by", "name"]), b"");
        assert_eq!(sent, done(""));
        assert_eq!([ws.text(), ws.text()], ["by link", "by name"]);

        // In the place of a program that pages know.
        let get = [
            ("HTTP_UPGRADE", ""),
            ("HTTP_SEC_WEBSOCKET_VERSION", ""),
            ("HTTP_SEC_WEBSOCKET_KEY", ""),
            ("QUERY_STRING", "wait=0"),
        ];
        let (code, answer, said) = outcome(&mut daemon.nph("act", &get), b"");
        assert_eq!((code, said.as_str()), (0, ""));
        assert!(answer.starts_with("Status: 204 No Content\r\n"), "{answer}");
    }
}

#[test]
fn it_is_no_daemon() {
    let refused = "ws2cgi-small: it is called by none of its programs' names, nph-ws or ws-send \
                   for one (--help shows the usage); the daemon is ws2cgi\n";
    let says = |args: &[&str], cgi: &[(&str, &str)]| {
        let mut small = command(&ws2cgi_small());
        outcome(small.args(args).envs(cgi.iter().copied()), b"")
    };
    // A web server that runs it by its own name asks for no program of that name.
    let cgi = [("GATEWAY_INTERFACE", "CGI/1.1"), ("REQUEST_METHOD", "GET")];
    for (args, cgi) in [
        (&["--handlers", "/"][..], &[][..]),
        (&[], &[]),
        (&["ws2cgi"], &[]),
        (&[], &cgi),
        (&["--help"], &cgi),
    ] {
        let said = (100, String::new(), refused.to_owned());
        assert_eq!(says(args, cgi), said, "{args:?}");
    }
    for option in ["--help", "-h"] {
        let (code, help, _) = says(&[option], &[]);
        assert_eq!(code, 0);
        assert!(help.contains("\nusage: ws2cgi-small NAME ..."), "{help}");
    }
    let version = concat!("ws2cgi-small ", env!("CARGO_PKG_VERSION"), "\n");
    for option in ["--version", "-V"] {
        let said = (0, version.to_owned(), String::new());
        assert_eq!(says(&[option], &[]), said);
    }
}

/// By way of C, too, where the daemon takes all that it may need at once.
#[test]
fn it_takes_the_memory_that_it_needs() {
    let mut send = command(&ws2cgi_small());
    send.args(["ws-send", "@all"]).stdin(Stdio::piped());
    let mut send = send.stderr(Stdio::null()).spawn().expect("run");
    let mut stdin = send.stdin.take().expect("stdin");
    // More than a pipe holds: it has begun to read.
    stdin.write_all(&[b'x'; 250_000]).expect("write");
    let status = format!("/proc/{}/status", send.id());
    let status = read_to_string(status).expect("its status");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let data = data.and_then(|data| data.trim().strip_suffix(" kB"));
    let kb: usize = data.expect("VmData").parse().expect("a number");
    drop(stdin);
    send.wait().expect("wait");
    assert!(kb < 1500, "{kb} KB");
}
