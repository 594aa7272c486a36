//! The hand-off program where it can't hand over: it answers for itself, and never waits.

use crate::harness::{Answer, Daemon, PATIENCE, Start, Ws, read_answer, tcp_pair};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::io::read_to_string;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

const ACT: (&str, &str) = ("PATH_INFO", "/act");

/// What it answers on a socket that its web server holds open too, as boa does, and what it
/// says to the server's error log.
fn on_socket(nph: &mut Command) -> (Answer, String) {
    let (mut client, server) = tcp_pair();
    server.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let stdout = server.try_clone().expect("clone");
    let output = nph
        .stdout(OwnedFd::from(stdout))
        .stderr(Stdio::piped())
        .spawn();
    let output = output.expect("run").wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(0));
    // To the end: it has shut the socket down, for the server's own copy too.
    let answer = read_answer(&mut client);
    assert_eq!(read_to_string(&server).expect("the end"), "");
    (answer, String::from_utf8(output.stderr).expect("text"))
}

/// What it prints into a pipe.
fn on_pipe(nph: &mut Command) -> (String, String) {
    let output = nph.output().expect("run");
    assert_eq!(output.status.code(), Some(0));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

#[test]
fn anything_but_get_is_405_and_the_socket_is_shut_down() {
    let daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    for method in ["POST", "HEAD", "PUT", "get"] {
        let (answer, log) =
            on_socket(&mut daemon.nph("nph-ws", &[ACT, ("REQUEST_METHOD", method)]));
        assert_eq!(answer.status, 405);
        assert_eq!(answer.field("allow"), Some("GET"));
        assert_eq!(
            answer.body,
            format!("405: a connection begins with GET, not {method}\n")
        );
        assert_eq!(log, "");
    }
    bystander.works();
}

#[test]
fn a_server_that_keeps_the_socket_is_named_with_its_cure() {
    let daemon = Daemon::start();
    let boa = "the program's name must begin with nph- and stand right behind the ScriptAlias";
    for (software, cure) in [
        (
            "Boa/0.94.13",
            "boa 0.94.13 gives nph- programs a pipe; use 0.94.14rc21, or take the '|| 1' out of its cgi.c",
        ),
        ("Boa/0.94.14rc21", boa),
        ("lighttpd/1.4.69", "lighttpd needs cgi.upgrade = \"enable\""),
        (
            "busybox httpd/1.36",
            "it gives CGI programs neither the socket nor two open pipes; use ws2cgi --listen behind it",
        ),
        (
            "",
            "it gives CGI programs neither the socket nor two open pipes; use ws2cgi --listen behind it",
        ),
    ] {
        let (answer, log) =
            on_pipe(&mut daemon.nph("nph-ws", &[ACT, ("SERVER_SOFTWARE", software)]));
        let answer = read_answer(&mut answer.as_bytes());
        let shown = if software.is_empty() {
            "this web server"
        } else {
            software
        };
        let line = format!("500: {shown} handed over no connection: {cure}\n");
        assert_eq!((answer.status, &answer.body), (500, &line));
        assert_eq!(log, format!("nph-ws: {line}"));
    }
}

#[test]
fn an_upgrade_whose_header_a_server_kept_back_is_500_too() {
    let daemon = Daemon::start();
    let (answer, _) = on_socket(&mut daemon.nph("nph-ws", &[ACT, ("HTTP_UPGRADE", "")]));
    assert_eq!(answer.status, 500);
}

#[test]
fn to_old_boa_it_answers_as_an_ordinary_cgi_program() {
    let daemon = Daemon::start();
    let (answer, _) =
        on_pipe(&mut daemon.nph("nph-ws", &[ACT, ("SERVER_SOFTWARE", "Boa/0.93.15")]));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert_eq!(
        head,
        format!(
            "Status: 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}",
            body.len()
        )
    );
    assert!(
        body.contains("hands over only where the path ends in the nph- name"),
        "{body}"
    );
}

#[test]
fn a_request_too_large_for_a_record_is_431() {
    let daemon = Daemon::start();
    let cookie = "c".repeat(20_000);
    let (answer, _) = on_socket(&mut daemon.nph("nph-ws", &[ACT, ("HTTP_COOKIE", &cookie)]));
    assert_eq!(
        (answer.status, &*answer.body),
        (431, "431: the request head is too large\n")
    );
}

#[test]
fn without_a_daemon_it_is_503() {
    for signal in ["TERM", "KILL"] {
        let mut daemon = Daemon::start();
        daemon.signal(signal);
        daemon.wait();
        let (answer, log) = on_socket(&mut daemon.nph("nph-ws", &[ACT]));
        assert_eq!(answer.status, 503);
        assert_eq!(answer.field("retry-after"), Some("1"));
        let socket = daemon.path("run/handoff.sock");
        let line = format!(
            "503: ws2cgi is not running: nobody is at {}\n",
            socket.display()
        );
        assert_eq!(answer.body, line);
        assert_eq!(log, format!("nph-ws: {line}"));
    }
}

/// A daemon's socket whose queue is full.
fn full_queue(daemon: &mut Daemon) -> UnixDatagram {
    assert_eq!(daemon.stop().code(), Some(0));
    let path = daemon.path("run/handoff.sock");
    let queue = UnixDatagram::bind(&path).expect("bind");
    queue.set_read_timeout(Some(PATIENCE)).expect("timeout");
    // A sender of its own each time: one sender's bound must not be taken for the queue's.
    let fits = || {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("non-blocking");
        sender.send_to(b"filler", &path).is_ok()
    };
    while fits() {}
    queue
}

#[test]
fn a_daemon_that_takes_nothing_is_503_busy() {
    let mut daemon = Daemon::start();
    let _queue = full_queue(&mut daemon);
    let (answer, log) = on_socket(&mut daemon.nph("nph-ws", &[ACT]));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(answer.body, "503: ws2cgi is busy\n");
    assert_eq!(log, "nph-ws: 503: ws2cgi is busy\n");
}

#[test]
fn it_waits_for_room_in_the_queue() {
    let mut daemon = Daemon::start();
    let queue = full_queue(&mut daemon);
    let (_client, server) = tcp_pair();
    let mut nph = daemon.nph("nph-ws", &[ACT]);
    let mut nph = nph.stdout(OwnedFd::from(server)).spawn().expect("run");
    let mut record = [0; 32];
    while !record.starts_with(b"ws2cgi/1 nph-ws\0") {
        queue.recv(&mut record).expect("a record");
    }
    assert!(nph.wait().expect("wait").success());
}

#[test]
fn closed_standard_descriptors_do_no_harm() {
    let daemon = Daemon::start();
    for closed in ["<&-", "2>&-", "<&- 2>&-"] {
        let (client, server) = tcp_pair();
        let nph = daemon.nph("nph-ws", &[ACT]);
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("exec \"$0\" {closed}"))
            .arg(nph.get_program());
        shell
            .env_clear()
            .envs(nph.get_envs().filter_map(|(n, v)| Some((n, v?))));
        let status = shell.stdout(OwnedFd::from(server)).status().expect("run");
        assert!(status.success(), "{closed}: {status}");
        drop(shell);
        Ws::accepted(client).works();
    }
}

#[test]
fn its_arguments_are_not_read() {
    // boa makes words of a query without '='.
    let daemon = Daemon::start();
    let (client, server) = tcp_pair();
    let mut nph = daemon.nph("nph-ws", &[ACT, ("QUERY_STRING", "--help+ws-send")]);
    nph.args(["--help", "ws-send", "@all", "forged"])
        .stdout(OwnedFd::from(server));
    let output = nph
        .stderr(Stdio::piped())
        .spawn()
        .expect("run")
        .wait_with_output();
    let output = output.expect("wait");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    drop(nph);
    Ws::accepted(client).works();
    assert_eq!(daemon.status()["outbox"]["lines"], 0);
}

#[test]
fn by_hand_it_says_what_it_is() {
    let daemon = Daemon::start();
    for environment in [&[][..], &[("GATEWAY_INTERFACE", "CGI/1.1")]] {
        let mut nph = daemon.nph("nph-ws", &[]);
        let output = nph
            .env_clear()
            .envs(environment.to_vec())
            .output()
            .expect("run");
        assert_eq!(output.status.code(), Some(100));
        assert_eq!(output.stdout, b"");
        let said = "nph-ws: is a CGI program for a web server to run; see ws2cgi(8)\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
}

#[test]
fn the_daemon_is_no_cgi_program() {
    let (code, said) = Start::default()
        .shell("export GATEWAY_INTERFACE=CGI/1.1")
        .fails();
    assert_eq!(code, 100);
    let why = "the daemon is no CGI program; link it as nph-ws and let the web server run that";
    assert_eq!(said, format!("ws2cgi: {why}\n"));
}

#[test]
fn the_run_folder_is_found_by_variable_by_link_and_by_working_folder() {
    let mut daemon = Daemon::start();
    daemon.stop();
    let at = |name: &str| daemon.path(name);
    // Of the folders whose daemon is asked for, none has one: the answer names it.
    let asked = |nph: &mut Command| {
        let (answer, _) = on_socket(nph);
        let path = answer
            .body
            .trim_end()
            .strip_prefix("503: ws2cgi is not running: nobody is at ");
        path.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    std::fs::create_dir(at("www")).expect("a folder");
    std::fs::write(
        at("www/.ws2cgi"),
        "  /of/the/working/folder/ \nsecond line\n",
    )
    .expect("write");
    std::fs::write(at("cgi-bin/.ws2cgi"), "/of/the/link\n").expect("write");
    let nph = || {
        let mut nph = daemon.nph("nph-ws", &[ACT]);
        nph.current_dir(at("www"));
        nph
    };
    let variable = asked(nph().env("WS2CGI_RUN", "/of/the/variable"));
    assert_eq!(variable, "/of/the/variable/handoff.sock");
    // Empty is as good as not set.
    assert_eq!(
        asked(nph().env("WS2CGI_RUN", "")),
        "/of/the/link/handoff.sock"
    );
    std::fs::remove_file(at("cgi-bin/.ws2cgi")).expect("remove");
    assert_eq!(asked(&mut nph()), "/of/the/working/folder/handoff.sock");
    // Where it is no CGI program, the working folder is anybody's.
    let elsewhere = asked(nph().env_remove("GATEWAY_INTERFACE"));
    assert_eq!(elsewhere, "/var/run/ws2cgi/handoff.sock");
}

#[test]
fn a_browser_that_has_gone_is_no_trouble() {
    let daemon = Daemon::start();
    for (program, more) in [("nph-ws", ACT), ("ws-post", ("REQUEST_METHOD", "POST"))] {
        let (client, server) = tcp_pair();
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&client, Linger, &at_once).expect("SO_LINGER");
        drop(client); // by a reset
        let mut program = daemon.nph(program, &[ACT, more]);
        let child = program.stdout(OwnedFd::from(server)).stderr(Stdio::piped());
        let output = child.output().expect("run");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    daemon.connect("/act").works();
}
