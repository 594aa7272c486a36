//! Events: what a program is told, and the process it finds itself in.

use crate::harness::{Daemon, KEY, Start, Ws, masked, proc_stat, project, run_ok};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use ws2cgi::sys::{Sys, unix::Unix};

/// What every event of a plain connection to `/act/room?QUERY` is told, beside what `more`
/// says of this event; sorted as `env` prints it.
fn environment(daemon: &Daemon, id: &str, query: &str, more: &[&str]) -> Vec<String> {
    let boot = id.split('-').next().unwrap();
    let mut env: Vec<String> = [
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_COOKIE=session=1; theme=dark",
        "HTTP_HOST=board.test",
        &format!("HTTP_SEC_WEBSOCKET_KEY={KEY}"),
        "HTTP_SEC_WEBSOCKET_VERSION=13",
        "HTTP_UPGRADE=websocket",
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "PATH_INFO=/room",
        &format!("QUERY_STRING={query}"),
        "REMOTE_ADDR=127.0.0.1",
        "SCRIPT_NAME=/cgi-bin/nph-ws/act",
        "SERVER_PROTOCOL=HTTP/1.1",
        "SERVER_SOFTWARE=Boa/0.94.14rc21",
        &format!("WS_BOOT={boot}"),
        &format!("WS_ID={id}"),
        &format!("WS_OUTBOX={}", daemon.path("run/outbox").display()),
        "WS_PROTOCOL=",
        "WS_ROOMS=",
        "WS_ROUTE=/act/room",
        "WS_STATE=",
        "WS_TRANSPORT=websocket",
    ]
    .into_iter()
    .chain(more.iter().copied())
    .map(str::to_owned)
    .collect();
    env.sort();
    env
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The value of a variable in what `env` printed.
fn value<'a>(env: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = env.lines().filter_map(|line| line.split_once('='));
    pairs.find(|(n, _)| *n == name).map(|(_, value)| value)
}

/// Variables of a web server, some of them hostile.
const SENT: [(&str, &str); 10] = [
    ("HTTP_COOKIE", "session=1; theme=dark"),
    ("PATH", "/evil"),
    ("LD_LIBRARY_PATH", "/evil"),
    ("IFS", "/"),
    ("HTTP_PROXY", "evil:80"),
    ("HTTP_lower", "x"),
    ("PATH_TRANSLATED", "/var/www/room"),
    ("SERVER_ADMIN", "root@localhost"),
    ("WS_ID", "forged"),
    ("CONTENT_LENGTH", "99"),
];

#[test]
fn each_event_sees_exactly_its_variables() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    let query = "open=out WS-To: @w\\n;env&close=out WS-To: @w\\n;env";
    let mut ws = daemon.connect_with(&format!("/act/room?{query}"), &SENT);
    let query = query.replace(' ', "%20");
    let id = ws.id();
    let told = |more: &[&str]| environment(&daemon, &id, &query, more);

    let open = ["REQUEST_METHOD=GET", "WS_EVENT=open"];
    assert_eq!(lines(&watcher.text()), told(&open));

    let message = ["REQUEST_METHOD=POST", "WS_EVENT=message"];
    let text = ["CONTENT_LENGTH=3", "CONTENT_TYPE=text/plain; charset=utf-8"];
    assert_eq!(lines(&ws.ask("env")), told(&[message, text].concat()));
    ws.send_binary(b"env;");
    let binary = ["CONTENT_LENGTH=4", "CONTENT_TYPE=application/octet-stream"];
    assert_eq!(lines(&ws.text()), told(&[message, binary].concat()));

    ws.close(4000, "bye");
    let close = [
        "REQUEST_METHOD=DELETE",
        "WS_EVENT=close",
        "WS_CLOSE_CODE=4000",
        "WS_CLOSE_REASON=bye",
        "WS_CLOSE_BY=client",
    ];
    assert_eq!(lines(&watcher.text()), told(&close));
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
fn the_web_servers_known_variables_are_passed_on() {
    let known = [
        ("AUTH_TYPE", "Basic"),
        ("HTTPS", "on"),
        ("HTTP_X_1", "a"),
        ("REMOTE_HOST", "peer.test"),
        ("REMOTE_IDENT", "me"),
        ("REMOTE_PORT", "5000"),
        ("REMOTE_USER", "amy"),
        ("REQUEST_SCHEME", "https"),
        ("REQUEST_URI", "/cgi-bin/nph-ws/act"),
        ("SERVER_ADDR", "10.0.0.1"),
        ("SERVER_NAME", "board.test"),
        ("SERVER_PORT", "443"),
    ];
    let daemon = Daemon::start();
    let env = daemon.connect_with("/act", &known).ask("env");
    for (name, sent) in known {
        assert_eq!(value(&env, name), Some(sent), "{name}");
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
fn query_string_and_path_info_are_always_there() {
    let daemon = Daemon::start();
    let sent = [("QUERY_STRING", ""), ("GATEWAY_INTERFACE", "CGI/9")];
    let env = daemon.connect_with("/deep/act", &sent).ask("env");
    assert_eq!(value(&env, "QUERY_STRING"), Some(""));
    assert_eq!(value(&env, "PATH_INFO"), Some(""));
    assert_eq!(value(&env, "GATEWAY_INTERFACE"), Some("CGI/1.1"));
    assert_eq!(value(&env, "WS_ROUTE"), Some("/deep/act"));
    assert_eq!(value(&env, "SCRIPT_NAME"), Some("/cgi-bin/nph-ws/deep/act"));
}

/// No shell and no `Command` repeats a variable, but boa does.
#[test]
fn the_first_of_a_repeated_name_wins() {
    let daemon = Daemon::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = OwnedFd::from(listener.accept().unwrap().0);
    let record = format!(
        "ws2cgi/1 nph-ws\0PATH_INFO=/act\0HTTP_HOST=board.test\0HTTP_UPGRADE=websocket\0\
         REQUEST_METHOD=GET\0HTTP_SEC_WEBSOCKET_VERSION=13\0HTTP_SEC_WEBSOCKET_KEY={KEY}\0\
         HTTP_SEC_WEBSOCKET_KEY=second\0HTTP_REFERER=first\0HTTP_REFERER=second\0"
    );
    let path = daemon.path("run/handoff.sock").display().to_string();
    let sys = Unix::new().unwrap();
    sys.send_handoff(&path, record.as_bytes(), &[&server])
        .unwrap();
    let env = Ws::accepted(client).ask("env");
    assert_eq!(value(&env, "HTTP_REFERER"), Some("first"));
    assert_eq!(env.matches("HTTP_REFERER").count(), 1);
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

#[test]
fn the_close_event_says_how_it_ended_and_who_ended_it() {
    type End = fn(&Daemon, &mut Ws, &str);
    let ends: [(&str, End); 8] = [
        ("4000 client bye", |_, ws, _| {
            ws.close(4000, "bye");
        }),
        ("1005 client ", |_, ws, _| ws.send_raw(&masked(0x88, b""))),
        ("1000 client a?b?", |_, ws, _| {
            ws.send_raw(&masked(0x88, b"\x03\xe8a\0b\n"));
        }),
        ("1006 client ", |_, ws, _| {
            ws.stream().shutdown(std::net::Shutdown::Both).unwrap();
        }),
        ("4001 server so long", |_, ws, _| {
            ws.send("head WS-Close: 4001 so long");
        }),
        ("1000 server ", |daemon, _, id| {
            daemon.outbox(format!("close {id}"))
        }),
        ("1002 error ", |_, ws, _| ws.send_raw(&[0x81, 0x00])),
        ("1007 error ", |_, ws, _| {
            ws.send_raw(&masked(0x81, b"\xff"))
        }),
    ];
    let daemon = Daemon::start();
    for (told, end) in ends {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        end(&daemon, &mut ws, &id);
        // The peer ends the connection too, once the daemon has.
        ws.rest();
        let line = daemon.event(&format!("close {id} "));
        let shown = line.strip_prefix(&format!("close {id} 0 ")).unwrap();
        assert!(shown.starts_with(told), "{shown} for {told}");
        daemon.event(&format!("done close {id}"));
    }
    daemon.until_empty();
    assert_eq!(daemon.number("/events/close/done"), 8);
}

// ---- The process

#[test]
fn it_runs_in_its_own_folder_as_its_own_group() {
    let daemon = Daemon::start();
    for (route, folder) in [("/act", "handlers"), ("/deep/act", "handlers/deep")] {
        let mut ws = daemon.connect(route);
        assert_eq!(ws.ask("cwd"), daemon.path(folder).display().to_string());
        let ids = ws.ask("ids");
        let ids: Vec<_> = ids.split(' ').collect();
        assert_eq!(ids[1], daemon.pid().to_string(), "parent");
        assert_eq!(ids[2], ids[0], "group");
        let session = proc_stat(daemon.pid(), 6).expect("a session");
        assert_eq!(ids[3], session, "session");
    }
}

#[test]
fn it_has_descriptors_0_to_2_and_no_others() {
    let daemon = Daemon::with("--listen 127.0.0.1:0");
    let mut watcher = daemon.member("@w");
    let mut busy = daemon.connect("/act2");
    busy.send("until go;head X-A: b;out went");
    busy.send("head X-A: b;out next");
    daemon.status_until("/jobs", 1);
    let open = "open=out WS-To: @w\\n;fds&close=out WS-To: @w\\n;fds";
    let mut ws = daemon.connect(&format!("/act?{open}"));
    assert_eq!(watcher.text(), "0 1 2 ");
    assert_eq!(ws.ask("fds"), "0 1 2 ");
    ws.close(1000, "");
    assert_eq!(watcher.text(), "0 1 2 ");
    daemon.let_go("go");
    assert_eq!([busy.text(), busy.text()], ["went", "next"]);
}

#[test]
fn stdin_is_the_payload_and_no_more_or_dev_null() {
    let daemon = Daemon::start();
    let mut watcher = daemon.member("@w");
    let link = "out WS-To: @w\\n;link /proc/self/fd/0";
    let mut ws = daemon.connect(&format!("/act?open={link}&close={link}"));
    assert_eq!(watcher.text(), "/dev/null");
    let pipe = ws.ask("link /proc/self/fd/0");
    assert!(pipe.starts_with("pipe:["), "{pipe}");
    // `act` has read CONTENT_LENGTH bytes; behind them is the end.
    ws.send("out Content-Length: 0\\n;cat /dev/stdin");
    assert_eq!(ws.text(), "");
    ws.close(1000, "");
    assert_eq!(watcher.text(), "/dev/null");
}

#[test]
fn open_message_close() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    ws.send_binary(b"echo");
    assert_eq!(ws.binary(), b"echo");
    assert_eq!(ws.close(4000, "bye"), 4000);
    daemon.event(&format!("done close {id}"));
    assert_eq!(
        daemon.events(),
        [
            format!("open {id} 0 - - -"),
            format!("done open {id}"),
            format!("message {id} 3 - - -"),
            format!("done message {id}"),
            format!("message {id} 4 - - -"),
            format!("done message {id}"),
            format!("close {id} 0 4000 client bye"),
            format!("done close {id}"),
        ]
    );
    daemon.until_empty();
}

#[test]
fn the_program_in_the_readme_switches_a_lamp_and_tells_everyone() {
    let mut daemon = Daemon::start();
    let readme = std::fs::read_to_string(project("README.md")).expect("README.md");
    let (_, program) = readme.split_once("```c\n").expect("a C program");
    let (program, _) = program.split_once("```").expect("its end");
    let led = "/sys/class/leds/lamp/brightness";
    assert!(program.contains(led));
    // Its working folder is the handlers'.
    std::fs::write(daemon.path("lamp.c"), program.replace(led, "led")).expect("write");
    let mut cc = Command::new("cc");
    cc.args("-std=gnu99 -Wall -Wextra -Werror -Os -o handlers/lamp lamp.c".split(' '));
    run_ok(cc.current_dir(daemon.path("")));
    let (mut one, mut other) = (daemon.connect("/lamp"), daemon.connect("/lamp"));
    for (word, brightness) in [("on", "1"), ("off", "0")] {
        one.send(word);
        assert_eq!([one.text(), other.text()], [word, word]);
        let lit = std::fs::read_to_string(daemon.path("handlers/led")).expect("the lamp");
        assert_eq!(lit, brightness);
    }
    other.send("");
    daemon.expect("/lamp: message event failed: exit status 1");
    other.close(1000, "");
    daemon.status_until("/events/close/done", 1);
    one.send("on");
    assert_eq!(one.text(), "on");
}
