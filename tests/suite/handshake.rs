//! The opening handshake: who gets in, from which page, to which program.

use crate::harness::{Answer, Daemon, KEY, Start, Ws, read_answer, record, tcp_pair};
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
        (
            version,
            "",
            426,
            "Sec-WebSocket-Version is ''; 13 is supported",
        ),
        (version, "8", 426, "Sec-WebSocket-Version is '8'; 13"),
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
    daemon.status_until("/refusals/key", 5);
    daemon.status_until("/refusals/version", 3);
    bystander.works();
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

/// Host, Origin, whether they may connect.
type Pages = &'static [(&'static str, &'static str, bool)];

#[test]
fn pages_of_other_origins_are_refused() {
    let by_default: Pages = &[
        ("board.test", "", true),
        ("board.test", "http://board.test", true),
        ("board.test", "https://board.test", true),
        ("Board.Test", "http://bOARD.tEST", true),
        ("board.test:80", "http://board.test", true),
        ("board.test", "http://board.test:80", true),
        ("board.test:443", "https://board.test", true),
        ("board.test", "https://board.test:443", true),
        ("[::1]:8080", "http://[::1]:8080", true),
        ("board.test", "http://board.test:8080", false),
        ("board.test:8080", "http://board.test", false),
        ("board.test", "https://board.test:80", false),
        ("board.test", "http://evil.test", false),
        ("board.test", "http://board.test.evil.test", false),
        ("board.test", "http://evil.test/board.test", false),
        ("board.test", "http://board.test@evil.test", false),
        ("board.test", "board.test", false),
        ("board.test", "null", false),
    ];
    let listed: Pages = &[
        ("board.test", "https://shop.test", true),
        ("board.test", "https://SHOP.test:443", true),
        ("board.test", "http://cam.test:8080", true),
        ("board.test", "http://board.test", true),
        ("", "https://shop.test", true),
        ("board.test", "http://shop.test", false),
        ("board.test", "http://cam.test", false),
        ("board.test", "null", false),
    ];
    let null: Pages = &[
        ("board.test", "null", true),
        ("board.test", "http://board.test", true),
        ("board.test", "http://evil.test", false),
    ];
    let any: Pages = &[
        ("board.test", "http://evil.test", true),
        ("board.test", "null", true),
        ("", "http://evil.test", true),
    ];
    for (args, pages) in [
        ("", by_default),
        (
            "--origin https://shop.test --origin HTTP://Cam.test:8080",
            listed,
        ),
        ("--origin null", null),
        ("--origin any", any),
    ] {
        let mut daemon = Daemon::with(args);
        let mut bystander = daemon.connect("/act");
        let mut refused = 0;
        for &(host, origin, allowed) in pages {
            let more = [("HTTP_HOST", host), ("HTTP_ORIGIN", origin)];
            let answer = answer(&daemon, "/act", &more);
            let status = if allowed { 101 } else { 403 };
            assert_eq!(answer.status, status, "{args} {more:?}: {answer:?}");
            if !allowed {
                refused += 1;
                daemon.expect(&format!("127.0.0.1: {}", answer.body.trim_end()));
                daemon.status_until("/refusals/origin", refused);
            }
        }
        // Any page could fill the log.
        assert_eq!(daemon.logged(&["WARN"]), refused.min(1));
        bystander.works();
    }
}

#[test]
fn without_a_host_the_answer_and_the_log_name_the_cure() {
    let mut daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let more = [("HTTP_HOST", ""), ("HTTP_ORIGIN", "http://old.test")];
    let answer = answer(&daemon, "/act", &more);
    assert_eq!(answer.status, 403);
    let cure = "start ws2cgi with --origin http://old.test";
    assert!(answer.body.trim_end().ends_with(cure), "{answer:?}");
    daemon.expect("WARN 127.0.0.1: 403: no Host to compare Origin http://old.test with");
    daemon.expect(cure);
    daemon.status_until("/refusals/host", 1);
    bystander.works();
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
    symlink(crate::harness::ws2cgi(), daemon.path("cgi-bin/nph-deep")).expect("link");
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
