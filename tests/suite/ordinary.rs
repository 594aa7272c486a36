//! Ordinary CGI programs: names without `nph-`, so the web server makes the head of what they
//! print.

use crate::harness::{Daemon, Events, KEY, copy_program, linked, outcome};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// The variables of a request that asks for no upgrade.
const PLAIN: [(&str, &str); 3] = [
    ("HTTP_UPGRADE", ""),
    ("HTTP_SEC_WEBSOCKET_VERSION", ""),
    ("HTTP_SEC_WEBSOCKET_KEY", ""),
];

/// A link in the place of a program that pages know.
fn link(daemon: &Daemon, name: &str) {
    symlink(linked(), daemon.path("cgi-bin").join(name)).expect("link");
}

fn printed(command: &mut Command, stdin: &[u8]) -> String {
    let (code, text, log) = outcome(command, stdin);
    assert_eq!((code, log.as_str()), (0, ""));
    text
}

#[test]
fn a_link_takes_the_place_of_any_program() {
    let daemon = Daemon::start();
    let act = daemon.path("handlers/act");
    copy_program(&act, &daemon.path("handlers/long-poll.cgi"));
    link(&daemon, "long-poll.cgi");
    // Whatever a server calls it by: an alias.
    let script = ("SCRIPT_NAME", "/sensors/poll");
    let query = ("QUERY_STRING", "wait=0");
    let get = [&PLAIN[..], &[script, query, ("PATH_INFO", "/room")]].concat();
    let answer = printed(&mut daemon.nph("long-poll.cgi", &get), b"");
    assert!(answer.starts_with("Status: 204 No Content\r\n"), "{answer}");
    // With another path no browser would bring it back.
    assert!(
        answer.contains("; Path=/sensors/poll/room; "),
        "the cookie: {answer}"
    );
    let post = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "3")];
    let post = [&PLAIN[..], &[script], &post].concat();
    let answer = printed(&mut daemon.nph("long-poll.cgi", &post), b"env");
    for part in [
        "Status: 200 OK\r\n",
        "\nSCRIPT_NAME=/sensors/poll\n",
        "\nWS_ROUTE=/long-poll.cgi\n",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}

#[test]
fn words_of_a_query_make_it_no_other_program() {
    let daemon = Daemon::start();
    link(&daemon, "act");
    for word in ["ws-send", "ws-push", "nph-act2", "--help"] {
        let query = [("QUERY_STRING", "wait=0")];
        let mut get = daemon.nph("act", &[&PLAIN[..], &query].concat());
        let answer = printed(get.arg(word), b"");
        assert!(answer.starts_with("Status: 204 "), "{word}: {answer}");
        assert!(answer.contains("Path=/cgi-bin/act;"), "{word}: {answer}");
    }
}

#[test]
fn ws_post_takes_a_get_too() {
    let daemon = Daemon::start();
    // There is an open pipe where the body of a POST would be.
    let query = ("QUERY_STRING", "via=sse&open=head%20Set-Cookie:%20a=b");
    let get = [&PLAIN[..], &[("PATH_INFO", "/act"), query]].concat();
    let mut get = daemon.nph("ws-post", &get);
    let get = get.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut get = get.spawn().expect("run");
    assert!(get.wait().expect("wait").success());
    let mut start = [0; 8];
    let mut stdout = get.stdout.take().expect("a pipe");
    stdout.read_exact(&mut start).expect("read");
    assert_eq!(&start, b"Status: ");
    let http = b"HTTP/1.1 ".chain(stdout);
    let mut events = Events::parsed(http);
    assert_eq!(events.answer.field("set-cookie"), Some("a=b"));
    daemon.outbox("text @all hello");
    assert_eq!(events.text(), "hello");
}

#[test]
fn an_upgrade_is_answered_with_the_cure() {
    let daemon = Daemon::start();
    link(&daemon, "act");
    for program in ["act", "ws-post"] {
        let variables = [
            ("SERVER_SOFTWARE", "Boa/0.94.14rc21"),
            ("HTTP_SEC_WEBSOCKET_KEY", KEY),
        ];
        // boa: a pipe for the answer, and /dev/null.
        let mut nph = daemon.nph(program, &variables);
        let output = nph.output().expect("run");
        let said = |bytes| String::from_utf8(bytes).expect("text");
        let (answer, log) = (said(output.stdout), said(output.stderr));
        assert!(answer.starts_with("Status: 500 "), "{answer}");
        assert!(log.contains("must begin with nph-"), "{log}");
    }
}

/// apache's mod_cgid gives its programs one socket as standard input and output. It says that
/// the request has ended as soon as it has.
#[test]
fn a_web_servers_socket_ends_before_the_browser_goes() {
    let daemon = Daemon::with("--ping 1");
    let ask = |variables: &[(&str, &str)], body: &[u8]| {
        let (mut server, program) = UnixStream::pair().expect("a pair");
        server.write_all(body).expect("write");
        server.shutdown(Shutdown::Write).expect("shutdown");
        let variables = [&PLAIN[..], &[("PATH_INFO", "/act")], variables].concat();
        let mut post = daemon.nph("ws-post", &variables);
        let stdin = OwnedFd::from(program.try_clone().expect("clone"));
        let post = post.stdin(stdin).stdout(OwnedFd::from(program));
        assert!(post.status().expect("run").success());
        server
    };
    let body = b"head Content-Type: text/x;out hello";
    let length = body.len().to_string();
    let post = [("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", &length)];
    let mut answer = String::new();
    ask(&post, body).read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("Status: 200 OK\r\nContent-Type: text/x\r\n"));
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");

    // An answer before the body has been read is read all the same.
    let gone = [("QUERY_STRING", "id=1&key=x"), ("CONTENT_LENGTH", "60000")];
    let post = [&[("REQUEST_METHOD", "POST")], &gone[..]].concat();
    answer.clear();
    let mut refused = ask(&post, &[b'x'; 60000]);
    refused.read_to_string(&mut answer).expect("read");
    assert!(answer.starts_with("Status: 400 "), "{answer}");
    answer.clear();

    let join = "via=poll&open=head WS-Join: @a";
    let mut poll = ask(&[("QUERY_STRING", join)], b"");
    daemon.status_until("/connections/0/rooms/0", "a");
    daemon.outbox("text @a to the poll");
    poll.read_to_string(&mut answer).expect("read");
    assert!(answer.ends_with("\r\n\r\nto the poll"), "{answer}");

    let mut server = ask(&[("QUERY_STRING", "via=sse")], b"");
    let mut start = [0; 8];
    server.read_exact(&mut start).expect("read");
    assert_eq!(&start, b"Status: ");
    let mut events = Events::parsed(b"HTTP/1.1 ".chain(server));
    daemon.outbox("text @all to the stream");
    assert_eq!(events.text(), "to the stream");
    // It costs no turns of the loop.
    let before = daemon.ticks();
    while events.comments < 2 {
        events.line();
    }
    assert!(daemon.ticks() - before < 20, "it spins");
    let id = events.id.clone();
    drop(events);
    daemon.event(&format!("close {id} 0 1006 client"));
}
