//! Events: when there is one, how it ends, and the process that its program finds itself in.

use crate::harness::{Daemon, Ws, masked, proc_stat, project, run_ok};
use std::process::Command;

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
