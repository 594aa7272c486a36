//! nginx in front of `--listen`, with what `--trust-forwarded` makes of it.

use crate::harness::{Daemon, Server, Start, Ws, read_answer};

const WS: &str = "/cgi-bin/nph-ws/act";

fn behind(args: &str, changes: &[(&str, &str)]) -> (Daemon, Server) {
    let daemon = Daemon::with(&format!("--listen unix:{{}}/listen {args}"));
    let backend = format!("unix:{}", daemon.path("listen").display());
    let nginx = Server::nginx(&daemon, &backend, changes);
    (daemon, nginx)
}

#[test]
fn a_page_an_upgrade_an_echo_and_a_line_of_the_outbox() {
    let by_tcp = || {
        let daemon = Daemon::with("--listen 127.0.0.1:0");
        let backend = format!("127.0.0.1:{}", daemon.port("tcp"));
        let nginx = Server::nginx(&daemon, &backend, &[]);
        (daemon, nginx)
    };
    for (daemon, nginx) in [behind("", &[]), by_tcp()] {
        let page = nginx.get("/");
        assert_eq!(page.status, 200);
        assert!(page.body.contains("ws2cgi: a page for the tests"));
        let mut ws = nginx.ws(&format!("{WS}/room?x=1"));
        assert_eq!(ws.ask("head X: y;out hello"), "hello");
        let env = ws.ask("env");
        for line in ["WS_ROUTE=/act/room\n", "QUERY_STRING=x=1\n"] {
            assert!(env.contains(line), "{line}: {env}");
        }
        daemon.outbox("text /act/room from the board");
        assert_eq!(ws.text(), "from the board");
        assert_eq!(ws.close(4000, "bye"), 4000);
        daemon.until_empty();
        assert_eq!(daemon.status()["closes"]["4000"], 1);
    }
}

#[test]
fn forwarded_addresses_are_believed_only_if_told_so() {
    let changes = [("X-Forwarded-For", "6.6.6.6"), ("Cookie", "a=b")];
    for (args, address) in [
        ("", None),
        ("--trust-forwarded", Some("REMOTE_ADDR=127.0.0.1")),
    ] {
        let (_daemon, nginx) = behind(args, &[]);
        let stream = nginx.upgrade(WS, &changes);
        let env = Ws::accepted(stream).ask("env");
        let said = env.lines().find(|line| line.starts_with("REMOTE_ADDR="));
        assert_eq!(said, address, "{args}");
        assert!(env.contains("HTTP_COOKIE=a=b\n"));
        assert!(!env.contains("HTTPS="));
    }
}

#[test]
fn tls_that_ends_at_nginx_is_seen_as_https() {
    // As nginx says it of a TLS connection.
    let tls = [("X-Forwarded-Proto $scheme", "X-Forwarded-Proto https")];
    let (_daemon, nginx) = behind("--trust-forwarded", &tls);
    assert!(nginx.ws(WS).ask("env").contains("\nHTTPS=on\n"));
}

#[test]
fn the_daemons_refusals_pass_through_nginx() {
    let (mut daemon, nginx) = behind("", &[]);
    for (path, changes, status) in [
        (WS, &[("Origin", "http://evil")][..], 403),
        (WS, &[("Sec-WebSocket-Version", "8")], 426),
        ("/cgi-bin/nph-ws/none", &[], 404),
        ("/cgi-bin/nph-ws/", &[], 404),
        // No upgrade: nginx passes none on.
        (WS, &[("Upgrade", "")], 426),
    ] {
        let changes = [&[("Connection", "close, Upgrade")], changes].concat();
        let answer = read_answer(&mut nginx.upgrade(path, &changes));
        assert_eq!(answer.status, status, "{path} {changes:?}: {answer:?}");
    }
    daemon.expect("a page of http://evil may not connect");
    assert_eq!(nginx.ws(WS).ask("head X: y;out hello"), "hello");
}

#[test]
fn a_daemon_that_comes_back_is_found_again() {
    let (daemon, nginx) = behind("", &[]);
    let mut ws = nginx.ws(WS);
    let folder = daemon.end();
    assert_eq!(ws.closed(), (1001, "going away".to_owned()));
    let close = [("Connection", "close, Upgrade")];
    assert_eq!(read_answer(&mut nginx.upgrade(WS, &close)).status, 502);
    let again = Start::default().again_in(folder);
    let _daemon = again.args("--listen unix:{}/listen").ready();
    assert_eq!(nginx.ws(WS).ask("head X: y;out again"), "again");
}
