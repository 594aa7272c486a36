//! boa, in the three ages that FACTS name: every trap of theirs, with the real hand-off.

use crate::harness::{Answer, Daemon, KEY, Server, Ws, masked, read_answer, wait_for};
use nix::sys::socket::{setsockopt, sockopt};
use std::os::unix::fs::symlink;
use tungstenite::Message;

const WS: &str = "/cgi-bin/nph-ws/act";

/// This boa steals the first bytes of a browser that hears the 101 at once.
fn uclinux(args: &str) -> (Daemon, Server) {
    let daemon = Daemon::with(&format!("--upgrade-delay 40 {args}"));
    let boa = Server::boa("uclinux", &daemon);
    (daemon, boa)
}

fn variable<'a>(env: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = env.lines().filter_map(|line| line.split_once('='));
    lines.find(|(n, _)| *n == name).map(|(_, value)| value)
}

fn refused(boa: &Server, path: &str, changes: &[(&str, &str)]) -> Answer {
    read_answer(&mut boa.upgrade(path, changes))
}

// ---- 0.94.14rc21

#[test]
fn a_page_an_upgrade_an_echo_and_a_line_of_the_outbox() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        let page = boa.get("/");
        assert_eq!(page.status, 200);
        assert!(page.body.contains("ws2cgi: a page for the tests"));
        let mut ws = boa.ws(&format!("{WS}?x=1"));
        assert_eq!(ws.ask("head X: y;out hello"), "hello", "{}", boa.name);
        let id = ws.id();
        daemon.outbox(format!("text {id} from the board"));
        assert_eq!(ws.text(), "from the board");
        assert_eq!(ws.close(4000, "bye"), 4000);
        daemon.event(&format!("close {id} 0 4000 client bye"));
    }
    daemon.until_empty();
}

#[test]
fn programs_learn_what_boa_says_of_a_request() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        let changes = [("Cookie", "session=42"), ("X-Odd", "a  b")];
        let stream = boa.upgrade("/cgi-bin/nph-ws/deep/act/room?x=1", &changes);
        let env = Ws::accepted(stream).ask("env");
        let host = format!("127.0.0.1:{}", boa.port);
        let port = boa.port.to_string();
        for (name, value) in [
            ("SERVER_SOFTWARE", Some("Boa/0.94.14rc21")),
            ("SERVER_NAME", Some("board")),
            ("SERVER_PORT", Some(&*port)),
            ("SCRIPT_NAME", Some("/cgi-bin/nph-ws/deep/act")),
            ("PATH_INFO", Some("/room")),
            ("QUERY_STRING", Some("x=1")),
            ("WS_ROUTE", Some("/deep/act/room")),
            ("REMOTE_ADDR", Some("127.0.0.1")),
            ("HTTP_HOST", Some(&*host)),
            ("HTTP_COOKIE", Some("session=42")),
            ("HTTP_X_ODD", Some("a  b")),
            // boa keeps it, so the hand-off must not ask for it.
            ("HTTP_CONNECTION", None),
        ] {
            assert_eq!(variable(&env, name), value, "{name}, {}", boa.name);
        }
    }
}

#[test]
fn the_blocking_socket_that_boa_leaves_never_blocks_the_daemon() {
    let mut daemon = Daemon::with("--slow-timeout 1 --event-timeout 60 --max-reply 480000");
    let servers = Server::rc21(&daemon);
    for (i, boa) in servers.iter().enumerate() {
        let mut other = boa.ws(WS);
        let stream = boa.upgrade(WS, &[]);
        setsockopt(&stream, sockopt::RcvBuf, &4096).expect("a small window");
        let mut slow = Ws::accepted(stream);
        // More than the kernel holds.
        for _ in 0..30 {
            slow.send("head X: y;flood 480000");
        }
        wait_for("the slow reader to be closed", || {
            assert_eq!(other.ask("head X: y;out here"), "here");
            let closes = &daemon.status()["closes"];
            (closes["1013"] == i + 1).then_some(())
        });
    }
    daemon.expect("too slow a reader, closed with 1013");
    daemon.quiet();
}

#[test]
fn a_hundred_posts_do_not_freeze_boa() {
    // Nobody looks at the WebSocket meanwhile.
    let daemon = Daemon::with("--ping 0");
    for boa in Server::rc21(&daemon) {
        let mut ws = boa.ws(WS);
        for _ in 0..100 {
            let fields = [("Content-Length", "4"), ("Content-Type", "text/plain")];
            let answer = boa.request("POST", WS, &fields, "body");
            assert_eq!(answer.status, 405, "{}: {answer:?}", boa.name);
            assert_eq!(answer.field("allow"), Some("GET"));
        }
        assert_eq!(boa.get("/").status, 200);
        assert_eq!(ws.ask("head X: y;out still here"), "still here");
    }
}

#[test]
fn words_of_a_query_are_no_options() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        let mut ws = boa.ws(&format!("{WS}?--help+--run+/nowhere"));
        let env = ws.ask("env");
        assert_eq!(
            variable(&env, "QUERY_STRING"),
            Some("--help+--run+/nowhere")
        );
    }
}

#[test]
fn blanks_behind_the_key_are_not_part_of_it() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        let key = format!("{KEY} \t ");
        // It looks at Sec-WebSocket-Accept.
        Ws::accepted(boa.upgrade(WS, &[("Sec-WebSocket-Key", &key)]));
    }
}

#[test]
fn of_two_keys_the_first_wins() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        Ws::accepted(boa.upgrade(WS, &[("Sec_WebSocket_Key", "evil")]));
        let evil_first = [
            ("Sec-WebSocket-Key", ""),
            ("Sec_WebSocket_Key", "evil"),
            ("Sec-Websocket-Key", KEY),
        ];
        assert_eq!(refused(&boa, WS, &evil_first).status, 400);
    }
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    let mut daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        let answer = refused(&boa, WS, &[("Origin", "http://evil.example")]);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("--origin http://evil.example"));
        boa.ws(WS);
    }
    daemon.expect("a page of http://evil.example may not connect to 127.0.0.1");
}

#[test]
fn an_nph_name_reaches_nothing_but_its_program() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        for (path, rest) in [
            ("/cgi-bin/nph-act", ""),
            ("/cgi-bin/nph-act/room", "/room"),
            // boa makes one slash of it.
            ("/cgi-bin/nph-act/../act2", "/act2"),
        ] {
            let env = boa.ws(path).ask("env");
            let script = Some("/cgi-bin/nph-act");
            assert_eq!(variable(&env, "WS_ROUTE"), Some(&*format!("/act{rest}")));
            assert_eq!(variable(&env, "SCRIPT_NAME"), script, "{path}");
            assert_eq!(variable(&env, "PATH_INFO"), Some(rest), "{path}");
        }
    }
}

#[test]
fn odd_paths_are_not_found() {
    let daemon = Daemon::start();
    for boa in Server::rc21(&daemon) {
        for path in ["", "/", "/none", "/act/", "/.act", "/act%20", "/act%3f"] {
            let answer = refused(&boa, &format!("/cgi-bin/nph-ws{path}"), &[]);
            assert_eq!(answer.status, 404, "{path}, {}", boa.name);
        }
    }
}

#[test]
fn sockets_outlive_the_web_server() {
    let daemon = Daemon::start();
    for mut boa in Server::rc21(&daemon) {
        let mut ws = boa.ws(WS);
        boa.kill();
        assert_eq!(ws.ask("head X: y;out alone"), "alone");
        boa.start_again();
        assert_eq!(boa.get("/").status, 200);
        assert_eq!(ws.ask("head X: y;out again"), "again");
        boa.ws(WS);
    }
}

#[test]
fn without_a_daemon_boa_answers_503() {
    let mut daemon = Daemon::start();
    let servers = Server::rc21(&daemon);
    daemon.stop();
    for boa in &servers {
        let answer = refused(boa, WS, &[]);
        assert_eq!(answer.status, 503);
        assert!(answer.field("retry-after").is_some());
        assert!(answer.body.contains("ws2cgi is not running"));
    }
}

// ---- 0.93.15 of uClinux

#[test]
fn a_closed_descriptor_0_and_an_ignored_sigpipe_do_no_harm() {
    let (daemon, boa) = uclinux("");
    let mut ws = Ws::accepted(boa.upgrade("/cgi-bin/nph-act?a=b", &[("Origin", "")]));
    assert_eq!(ws.ask("head X: y;out hello"), "hello");
    let env = ws.ask("env");
    assert_eq!(variable(&env, "SERVER_SOFTWARE"), Some("Boa/0.93.15"));
    assert_eq!(variable(&env, "SCRIPT_NAME"), Some("/cgi-bin/nph-act"));
    daemon.outbox("text /act hello");
    assert_eq!(ws.text(), "hello");
}

#[test]
fn without_a_host_a_page_needs_its_origin_named() {
    let (mut daemon, boa) = uclinux("--origin http://board");
    let answer = refused(&boa, "/cgi-bin/nph-act", &[("Origin", "http://other")]);
    assert_eq!(answer.status, 403);
    assert!(
        answer
            .body
            .contains("start ws2cgi with --origin http://other")
    );
    daemon.expect("start ws2cgi with --origin http://other");
    Ws::accepted(boa.upgrade("/cgi-bin/nph-act", &[("Origin", "http://board")]));
}

#[test]
fn a_script_name_that_holds_the_path_info_is_mended() {
    let (daemon, boa) = uclinux("");
    // The last part of the path begins with nph-, so this boa hands it the socket.
    let act = daemon.path("handlers/act");
    symlink(act, daemon.path("handlers/nph-room")).expect("link");
    let path = "/cgi-bin/nph-ws/nph-room";
    let env = Ws::accepted(boa.upgrade(path, &[("Origin", "")])).ask("env");
    assert_eq!(variable(&env, "SCRIPT_NAME"), Some(path));
    assert_eq!(variable(&env, "PATH_INFO"), Some(""));
    assert_eq!(variable(&env, "WS_ROUTE"), Some("/nph-room"));
}

#[test]
fn where_uclinux_gives_a_pipe_a_readable_500_names_the_way() {
    let (_daemon, boa) = uclinux("");
    let answer = refused(&boa, WS, &[]);
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("use /cgi-bin/nph-NAME"), "{answer:?}");
}

#[test]
fn a_delayed_upgrade_keeps_two_hundred_streams_whole() {
    // Longer than a board needs: nine processes here, and other tests, wait for a processor.
    let (daemon, boa) = uclinux("--max-connections 250 --upgrade-delay 200");
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let boa = &boa;
            scope.spawn(move || {
                for n in 0..25 {
                    let mut ws = Ws::accepted(boa.upgrade("/cgi-bin/nph-act", &[("Origin", "")]));
                    let text = format!("head X: y;out {lane}.{n}, the first bytes of many");
                    assert_eq!(ws.ask(&text), text[14..]);
                    assert_eq!(ws.close(1000, ""), 1000);
                }
            });
        }
    });
    daemon.until_empty();
    assert_eq!(daemon.status()["closes"]["1000"], 200);
}

#[test]
fn without_the_delay_this_boa_does_steal() {
    let mut daemon = Daemon::start();
    let boa = Server::boa("uclinux", &daemon);
    // The first 32 bytes of this on the wire go, or none; what is left is an unmasked frame.
    let text = format!("head X: y;out whole;{}", " ".repeat(40));
    // Who is first, boa or the daemon, is chance.
    let code = wait_for("a stream without its first bytes", || {
        let mut ws = Ws::accepted(boa.upgrade("/cgi-bin/nph-act", &[("Origin", "")]));
        ws.send_raw(&masked(0x81, text.as_bytes()));
        match ws.next() {
            Message::Close(close) => close.map(|close| u16::from(close.code)),
            Message::Text(text) if text.as_str() == "whole" => None,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(code, 1002);
    daemon.expect("closed with 1002");
}

#[test]
fn a_query_comes_decoded_from_this_boa_only() {
    let (daemon, old) = uclinux("");
    let new = Server::boa("rc21", &daemon);
    for (boa, query) in [(old, "a=1 2&b=ü"), (new, "a=1%202&b=%c3%bc")] {
        let url = "/cgi-bin/nph-act?a=1%202&b=%c3%bc";
        let env = Ws::accepted(boa.upgrade(url, &[("Origin", "")])).ask("env");
        assert_eq!(variable(&env, "QUERY_STRING"), Some(query), "{}", boa.name);
    }
}

#[test]
fn a_tiny_send_buffer_only_makes_short_writes() {
    let (_daemon, boa) = uclinux("");
    let mut ws = Ws::accepted(boa.upgrade("/cgi-bin/nph-act", &[("Origin", "")]));
    let mut payload: Vec<u8> = (0..60000).map(|n| (n * 7 % 251) as u8).collect();
    payload.splice(..5, *b"echo;");
    // What follows is the rest of the script: an empty statement.
    payload[5] = 0;
    for _ in 0..3 {
        ws.send_binary(&payload);
        assert!(ws.binary() == payload);
    }
}

// ---- 0.94.13

#[test]
fn stock_boa_0_94_13_is_named_as_the_cause() {
    let daemon = Daemon::start();
    let boa = Server::boa("piped", &daemon);
    let answer = refused(&boa, WS, &[]);
    assert_eq!(answer.status, 500);
    for part in ["boa 0.94.13", "0.94.14rc21", "'|| 1'"] {
        assert!(answer.body.contains(part), "{part}: {answer:?}");
    }
    assert_eq!(boa.get("/").status, 200);
}
