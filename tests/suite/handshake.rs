//! The opening handshake: who gets in, to which program. From which page: `origin`.

use crate::harness::{Answer, Daemon, KEY, Start, Ws, masked, read_answer, record, tcp_pair};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

fn answer(daemon: &Daemon, url: &str, more: &[(&str, &str)]) -> Answer {
    read_answer(&mut daemon.raw(url, more))
}

/// The values of these variables in the program's environment.
fn env(ws: &mut Ws, names: &[&str]) -> Vec<String> {
    let env = ws.ask("env");
    let value = |name: &&str| {
        let found = env.lines().find_map(|line| {
            let (n, value) = line.split_once('=')?;
            (n == *name).then(|| value.to_owned())
        });
        found.unwrap_or("-".to_owned())
    };
    names.iter().map(value).collect()
}

#[test]
fn a_wrong_key_or_version_is_refused_by_name() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (key, version) = ("HTTP_SEC_WEBSOCKET_KEY", "HTTP_SEC_WEBSOCKET_VERSION");
    for (name, value, status, why) in [
        (key, "", 400, "Sec-WebSocket-Key is not 16 bytes in base64"),
        (key, "short", 400, "Sec-WebSocket-Key is not 16 bytes"),
        (
            key,
            "dGhlIHNhbXBsZSBub25j",
            400,
            "is not 16 bytes in base64",
        ),
        (
            key,
            "dGhlIHNhbXBsZSBub25jZQ",
            400,
            "is not 16 bytes in base64",
        ),
        (key, "!!!!IHNhbXBsZSBub25jZQ==", 400, "is not 16 bytes"),
        // 15 and 17 bytes; too many bits; two keys.
        (key, "dGhlIHNhbXBsZSBub25j", 400, "is not 16 bytes"),
        (key, "dGhlIHNhbXBsZSBub25jZXM=", 400, "is not 16 bytes"),
        (key, "dGhlIHNhbXBsZSBub25jZR==", 400, "is not 16 bytes"),
        (key, &format!("{KEY}, {KEY}"), 400, "is not 16 bytes"),
        (
            version,
            "",
            426,
            "Sec-WebSocket-Version is ''; 13 is supported",
        ),
        (version, "8", 426, "Sec-WebSocket-Version is '8'; 13"),
        (version, "0", 426, "Sec-WebSocket-Version is '0'; 13"),
        (version, "013", 426, "Sec-WebSocket-Version is '013'; 13"),
        (version, "+13", 426, "Sec-WebSocket-Version is '+13'; 13"),
        (version, "13, 8", 426, "Version is '13, 8'; 13 is supported"),
    ] {
        let answer = answer(&daemon, "/act", &[(name, value)]);
        assert_eq!(answer.status, status, "{name}={value}: {answer:?}");
        assert!(answer.body.contains(why), "{name}={value}: {answer:?}");
        let supported = (status == 426).then_some("13");
        assert_eq!(answer.field("sec-websocket-version"), supported);
        assert_eq!(answer.field("connection"), Some("close"));
        daemon.expect(&format!("INFO 127.0.0.1: {status}: "));
        daemon.expect(why);
    }
    daemon.status_until("/refusals/key", 9);
    daemon.status_until("/refusals/version", 6);
    bystander.works();
}

#[test]
fn only_a_get_that_asks_for_a_websocket_is_one() {
    // nph-ws answers for itself; a record of another sender gets as far as the daemon.
    let mut daemon = Daemon::start();
    let mut refusals = BTreeMap::<&str, usize>::new();
    for (name, value, status, cause) in [
        ("REQUEST_METHOD", "HEAD", 405, "method"),
        ("REQUEST_METHOD", "POST", 405, "method"),
        ("REQUEST_METHOD", "CONNECT", 405, "method"),
        ("REQUEST_METHOD", "get", 405, "method"),
        ("REQUEST_METHOD", "", 405, "method"),
        ("HTTP_UPGRADE", "", 426, "upgrade"),
        ("HTTP_UPGRADE", "h2c", 426, "upgrade"),
        ("HTTP_UPGRADE", "websocket2", 426, "upgrade"),
        ("HTTP_UPGRADE", "web socket", 426, "upgrade"),
        ("HTTP_UPGRADE", "websocket/13", 426, "upgrade"),
    ] {
        let (mut client, server) = tcp_pair();
        let more = [("PATH_INFO", "/act"), (name, value)];
        daemon.hand_in(&record(&more), &[&server]);
        drop(server);
        let answer = read_answer(&mut client);
        assert_eq!(answer.status, status, "{name}={value}");
        let (field, supported) = match status {
            405 => ("allow", "GET"),
            _ => ("upgrade", "websocket"),
        };
        assert_eq!(answer.field(field), Some(supported), "{name}={value}");
        *refusals.entry(cause).or_default() += 1;
        daemon.expect(answer.body.trim_end());
    }
    for (cause, count) in refusals {
        daemon.status_until(&format!("/refusals/{cause}"), count);
    }
    for upgrade in ["WebSocket", "h2c,WEBSOCKET", "websocket , h2c"] {
        daemon
            .connect_with("/act", &[("HTTP_UPGRADE", upgrade)])
            .works();
    }
}

#[test]
fn an_extension_that_is_offered_is_not_taken() {
    let mut daemon = Daemon::start();
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame";
    let mut ws = daemon.connect_with("/act", &[("HTTP_SEC_WEBSOCKET_EXTENSIONS", offer)]);
    // All of the 101.
    let fields = ws.answer.fields.iter().map(|(name, _)| name.as_str());
    let fields: Vec<_> = fields.collect();
    assert_eq!(fields, ["upgrade", "connection", "sec-websocket-accept"]);
    // A frame that is compressed all the same.
    ws.send_raw(&masked(0xc1, b"\xca\x48"));
    assert_eq!(ws.closed(), (1002, "Reserved bits are non-zero".to_owned()));
    daemon.expect("closed with 1002");
}

#[test]
fn blanks_around_header_values_do_no_harm() {
    let daemon = Daemon::start();
    let more = [
        ("HTTP_SEC_WEBSOCKET_KEY", &*format!("{KEY} ")),
        ("HTTP_SEC_WEBSOCKET_VERSION", "13 "),
        ("HTTP_UPGRADE", "h2c, WebSocket "),
        ("HTTP_ORIGIN", "http://board.test "),
    ];
    daemon.connect_with("/act", &more).works();
}

#[test]
fn a_path_that_names_no_program_is_not_found() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (long, longer) = (format!("/{}", "x".repeat(255)), "/act".repeat(65));
    let paths = [
        "",
        "/",
        "/nothing",
        "/act2x",
        "/deep",
        "/deep/nothing",
        "/act/",
        "//act",
        "/act//room",
        "/../handlers/act",
        "/deep/../act",
        "/act/..",
        "/./act",
        "/.act",
        "/act/.room",
        "/deep%2Fact",
        "/act%00",
        "/act\\room",
        "/act;x",
        "/act room",
        "/act/r\u{f6}m",
        "/act/\t",
        "act",
        "/%61ct",
        &long,
        &longer,
    ];
    for path in paths {
        let answer = read_answer(&mut daemon.hand_off("nph-ws", &[("PATH_INFO", path)]));
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert_eq!(answer.body, "404: no event program there\n");
    }
    daemon.expect("INFO 127.0.0.1: 404: no event program there");
    daemon.status_until("/refusals/route", paths.len());
    bystander.works();
}

#[test]
fn a_route_of_256_bytes_is_the_longest() {
    let daemon = Daemon::start();
    let longest = format!("/act/{}", "x".repeat(251));
    daemon.connect(&longest).works();
    assert_eq!(answer(&daemon, &format!("{longest}x"), &[]).status, 404);
}

#[test]
fn a_nul_in_a_path_is_no_record() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (client, server) = tcp_pair();
    daemon.hand_in(&record(&[("PATH_INFO", "/act\0/room")]), &[&server]);
    drop(server);
    assert_eq!(std::io::read_to_string(&client).expect("the end"), "");
    daemon.expect("refused: a field has no '='");
    daemon.status_until("/refusals/record", 1);
    bystander.works();
}

#[test]
fn a_program_without_its_x_bit_is_forbidden() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let plain = daemon.path("handlers/plain");
    std::fs::copy(daemon.path("handlers/act"), &plain).expect("copy");
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).expect("chmod");
    for url in ["/plain", "/plain/room"] {
        let answer = answer(&daemon, url, &[]);
        assert_eq!(answer.status, 403);
        assert_eq!(answer.body, "403: the event program is not executable\n");
    }
    daemon.expect(&format!("WARN {} is not executable", plain.display()));
    daemon.status_until("/refusals/not-executable", 2);
    bystander.works();
}

#[test]
fn the_longest_existing_prefix_is_the_program() {
    let daemon = Daemon::start();
    let names = ["WS_ROUTE", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"];
    for (url, seen) in [
        ("/act", ["/act", "/cgi-bin/nph-ws/act", "", ""]),
        (
            "/act/room",
            ["/act/room", "/cgi-bin/nph-ws/act", "/room", ""],
        ),
        (
            "/act/a/b?x=1",
            ["/act/a/b", "/cgi-bin/nph-ws/act", "/a/b", "x=1"],
        ),
        (
            "/deep/act",
            ["/deep/act", "/cgi-bin/nph-ws/deep/act", "", ""],
        ),
        (
            "/deep/act/r-1.x_Y",
            [
                "/deep/act/r-1.x_Y",
                "/cgi-bin/nph-ws/deep/act",
                "/r-1.x_Y",
                "",
            ],
        ),
    ] {
        assert_eq!(env(&mut daemon.connect(url), &names), seen, "{url}");
    }
}

#[test]
fn a_named_hand_off_reaches_its_own_route_only() {
    let mut daemon = Daemon::start();
    symlink(crate::harness::linked(), daemon.path("cgi-bin/nph-deep")).expect("link");
    let names = ["WS_ROUTE", "SCRIPT_NAME", "PATH_INFO"];
    for (program, path, seen) in [
        ("nph-act", "", ["/act", "/cgi-bin/nph-act", ""]),
        (
            "nph-act",
            "/room/7",
            ["/act/room/7", "/cgi-bin/nph-act", "/room/7"],
        ),
        (
            "nph-act",
            "/act2",
            ["/act/act2", "/cgi-bin/nph-act", "/act2"],
        ),
        (
            "nph-deep",
            "/act/x",
            ["/deep/act/x", "/cgi-bin/nph-deep/act", "/x"],
        ),
    ] {
        let mut ws = Ws::accepted(daemon.hand_off(program, &[("PATH_INFO", path)]));
        assert_eq!(env(&mut ws, &names), seen, "{program}{path}");
    }
    let outside = ["2", "/../act2", "/..", "/", "//act2", "/%2e%2e/act2"];
    for path in outside {
        let mut client = daemon.hand_off("nph-act", &[("PATH_INFO", path)]);
        assert_eq!(read_answer(&mut client).status, 404, "{path}");
    }
    daemon.expect("404: no event program there");
    daemon.status_until("/refusals/route", outside.len());
}

#[test]
fn a_script_name_that_holds_the_path_is_set_right() {
    // boa 0.93 leaves PATH_INFO in SCRIPT_NAME.
    let daemon = Daemon::start();
    let names = ["SCRIPT_NAME", "PATH_INFO"];
    for (program, script, path, seen) in [
        (
            "nph-ws",
            "/cgi-bin/nph-ws/act/room",
            "/act/room",
            ["/cgi-bin/nph-ws/act", "/room"],
        ),
        (
            "nph-act",
            "/cgi-bin/nph-act/room",
            "/room",
            ["/cgi-bin/nph-act", "/room"],
        ),
    ] {
        let more = [
            ("SERVER_SOFTWARE", "Boa/0.93.15"),
            ("SCRIPT_NAME", script),
            ("PATH_INFO", path),
        ];
        let mut ws = Ws::accepted(daemon.hand_off(program, &more));
        assert_eq!(env(&mut ws, &names), seen);
    }
}

#[test]
fn links_in_the_handlers_folder_are_followed() {
    let folder = Start::folder();
    std::fs::create_dir(folder.path().join("elsewhere")).expect("a folder");
    std::fs::rename(
        folder.path().join("handlers/act2"),
        folder.path().join("elsewhere/act"),
    )
    .expect("move");
    symlink("../elsewhere/act", folder.path().join("handlers/linked")).expect("link");
    symlink("../elsewhere", folder.path().join("handlers/linked-folder")).expect("link");
    symlink("nowhere", folder.path().join("handlers/dangling")).expect("link");
    let daemon = Start::default().again_in(folder).ready();
    let mut ws = daemon.connect("/linked");
    assert_eq!(env(&mut ws, &["SCRIPT_NAME"]), ["/cgi-bin/nph-ws/linked"]);
    daemon.connect("/linked-folder/act/room").works();
    assert_eq!(answer(&daemon, "/dangling", &[]).status, 404);
}

#[test]
fn a_program_may_come_go_and_change_while_the_daemon_runs() {
    let daemon = Daemon::start();
    let new = daemon.path("handlers/new");
    assert_eq!(answer(&daemon, "/new", &[]).status, 404);
    std::fs::rename(daemon.path("handlers/act2"), &new).expect("move");
    let mut ws = daemon.connect("/new");
    let id = ws.id();
    ws.close(1000, "");
    daemon.event(&format!("done close {id}"));
    std::fs::remove_file(&new).expect("remove");
    assert_eq!(answer(&daemon, "/new", &[]).status, 404);
}
