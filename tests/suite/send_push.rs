//! ws-send: the outbox from a command line.

use crate::harness::{Daemon, command, linked, outcome};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Joined to `@a` by its open program.
const IN_A: &str = "/act?open=head WS-Join: @a";
/// One atomic write, and what of it is no payload in `text @a PAYLOAD` (limits.rs).
const INLINE: usize = 4096 - "text @a \n".len();

/// `ws2cgi ws-send`, which finds the run folder by WS2CGI_RUN.
fn ws_send(run: &Path) -> Command {
    let mut command = command(&linked());
    command.arg("ws-send").env("WS2CGI_RUN", run);
    command
}

/// Runs `ws2cgi ws-send` with these arguments, and it does what it is told.
fn send(daemon: &Daemon, args: &[&str], stdin: &[u8]) {
    let mut command = ws_send(&daemon.path("run"));
    let sent = outcome(command.args(args), stdin);
    assert_eq!(sent, (0, String::new(), String::new()), "{args:?}");
}

/// The names in the spool folder.
fn spooled(daemon: &Daemon) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(daemon.path("run/spool")).expect("spool");
    folder
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn words_are_joined_with_one_space_and_behind_the_target_all_are_words() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    for (args, expected) in [
        (&["@a", "one", "two  three"][..], "one two  three"),
        (&["@a", "-3.5"], "-3.5"),
        (&["--", "@a", "-3.5"], "-3.5"),
        (&["@a", "--close", "--help", "-h"], "--close --help -h"),
        (&["@a", "--", "x"], "-- x"),
        (&["@a", ""], ""),
        (&["@a", " x "], " x "),
        (&["@a", "grün ✓"], "grün ✓"),
    ] {
        send(&daemon, args, b"");
        assert_eq!(ws.text(), expected);
    }
    send(&daemon, &["--binary", "@a", "two", "words"], b"");
    assert_eq!(ws.binary(), b"two words");
}

#[test]
fn without_words_the_message_is_stdin_less_one_newline_of_text() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    for (stdin, expected) in [
        ("x\n", "x"),
        ("x", "x"),
        ("x\n\n", "x\n"),
        ("x\r\n", "x\r"),
        ("a\nb\n", "a\nb"),
        ("\n", ""),
        ("", ""),
    ] {
        send(&daemon, &["@a"], stdin.as_bytes());
        assert_eq!(ws.text(), expected);
    }
    for stdin in [&b"x\n"[..], b"\xff\0\n", b""] {
        send(&daemon, &["--binary", "@a"], stdin);
        assert_eq!(ws.binary(), stdin);
    }
}

#[test]
fn no_message_can_forge_a_line() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let forgery = "x\nclose @all 4000\ntext @all forged";
    let long = format!("{forgery}\n").repeat(200);
    for text in [forgery, "\n", "x\0y\n", &long] {
        send(&daemon, &["@a"], format!("{text}\n").as_bytes());
        assert_eq!(ws.text(), text);
    }
    send(&daemon, &["@a", forgery], b"");
    assert_eq!(ws.text(), forgery);
    send(
        &daemon,
        &["--close", "@nobody", "4000", "x\nclose @all 4001"],
        b"",
    );
    ws.works();
    daemon.status_until("/outbox/lines", 6);
}

#[test]
fn what_one_atomic_write_can_not_hold_goes_through_the_spool_folder() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    for (len, files) in [(INLINE, 0), (INLINE + 1, 1), (65536, 1)] {
        let text = "x".repeat(len);
        // So that what it leaves for the daemon can be looked at.
        daemon.signal("STOP");
        let mut umask = command(Path::new("/bin/sh"));
        umask
            .args(["-c", "umask 077; exec \"$0\" ws-send @a"])
            .arg(linked());
        let sent = outcome(umask.env("WS2CGI_RUN", daemon.path("run")), text.as_bytes());
        assert_eq!(sent, (0, String::new(), String::new()));
        let names = spooled(&daemon);
        assert_eq!(names.len(), files, "{len} bytes");
        for name in names {
            let mode = std::fs::metadata(name)
                .expect("the file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o640);
        }
        daemon.signal("CONT");
        assert_eq!(ws.text().len(), len);
        assert!(spooled(&daemon).is_empty());
    }
    let binary: Vec<u8> = (0..65536).map(|i| i as u8).collect();
    send(&daemon, &["--binary", "@a"], &binary);
    assert_eq!(ws.binary(), binary);
    // Beyond --max-reply it is the daemon's log that tells.
    send(&daemon, &["@a"], &[b'x'; 65537]);
    daemon.expect("it is larger than --max-reply 65536");
    daemon.status_until("/outbox/bad", 1);
    assert!(spooled(&daemon).is_empty());
    ws.works();
}

#[test]
fn it_closes_and_joins_and_leaves() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let id = ws.id();
    send(&daemon, &["--join", &id, "@r"], b"");
    send(&daemon, &["@r", "in"], b"");
    assert_eq!(ws.text(), "in");
    send(&daemon, &["--leave", "@r", "@r"], b"");
    send(&daemon, &["@r", "out"], b"");
    daemon.status_until("/messages/nobody", 1);
    send(
        &daemon,
        &["--close", &id, "4001", "logged", "out\nnow"],
        b"",
    );
    assert_eq!(ws.closed(), (4001, "logged out now".to_owned()));
    let mut ws = daemon.connect("/act");
    send(&daemon, &["--close", "@all"], b"");
    assert_eq!(ws.closed(), (1000, String::new()));
}

#[test]
fn wrong_usage_exits_100_with_one_clear_line() {
    let daemon = Daemon::start();
    let latin1 = OsStr::from_bytes(b"gr\xfcn");
    let os = OsStr::new;
    for (args, stdin, why) in [
        (&[][..], &b""[..], "no TARGET (--help shows the usage)"),
        (
            &[os("--wat"), os("@a")],
            b"",
            "invalid option '--wat' (--help shows the usage)",
        ),
        (
            &[os("-x"), os("@a")],
            b"",
            "invalid option '-x' (--help shows the usage)",
        ),
        (&[os("--run")], b"", "missing argument for option '--run'"),
        (
            &[os("nobody"), os("x")],
            b"",
            "no target: 'nobody' (ID, @room, /route or @all, then ~ID)",
        ),
        (&[os("@a b"), os("x")], b"", "no target: '@a b'"),
        (&[os(""), os("x")], b"", "no target: ''"),
        (&[os("@a"), latin1], b"", "a word is not UTF-8"),
        (
            &[os("@a")],
            b"gr\xfcn\n",
            "the text is not UTF-8; send it as binary",
        ),
        (
            &[os("@a")],
            &[b'x'; 1024 * 1024 + 1],
            "the message is longer than 1048576 bytes",
        ),
        (
            &[os("--close"), os("@a"), os("bye")],
            b"",
            "no close code that may be sent: 'bye'",
        ),
        (
            &[os("--close"), os("@a"), os("1006")],
            b"",
            "no close code that may be sent: '1006'",
        ),
        (&[os("--join"), os("@a")], b"", "no room: ''"),
        (
            &[os("--join"), os("@a"), os("@all")],
            b"",
            "the room @all is everyone's already",
        ),
        (&[os("--leave"), os("@a"), os("b")], b"", "no room: 'b'"),
    ] {
        let (code, stdout, stderr) = outcome(ws_send(&daemon.path("run")).args(args), stdin);
        assert!(
            stderr.starts_with(&format!("ws-send: {why}")),
            "{args:?}: {stderr}"
        );
        assert_eq!(
            (code, stdout.as_str(), stderr.lines().count()),
            (100, "", 1),
            "{args:?}"
        );
    }
    daemon.status_until("/outbox/lines", 0);
    daemon.status_until("/outbox/bad", 0);
}

#[test]
fn a_daemon_that_is_not_running_is_exit_111() {
    let folder = Daemon::start().end();
    let run = folder.path().join("run");
    let outbox = run.join("outbox").display().to_string();
    let fails = |run: &Path, why: String| {
        for (args, stdin) in [
            (&["@a", "x"][..], &b""[..]),
            (&["@a"], &[b'x'; 9000]),
            (&["--join", "@a", "@b"], b""),
        ] {
            let ended = outcome(ws_send(run).args(args), stdin);
            let line = format!("ws-send: the daemon is not running: {why}\n");
            assert_eq!(ended, (111, String::new(), line), "{args:?}");
        }
    };
    fails(&run, format!("nobody reads {outbox}"));
    let spool = std::fs::read_dir(run.join("spool")).expect("spool");
    assert_eq!(spool.count(), 0, "nobody would fetch it");
    // Left by an early `echo`.
    std::fs::remove_file(&outbox).expect("the FIFO");
    std::fs::write(&outbox, "text @a early\n").expect("a regular file");
    fails(&run, format!("no FIFO is {outbox}"));
    assert_eq!(std::fs::read(&outbox).expect("read"), b"text @a early\n");
    let none = folder.path().join("none");
    fails(&none, format!("there is no {}/outbox", none.display()));
}

#[test]
fn it_finds_the_run_folder() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let (run, outbox) = (daemon.path("run"), daemon.path("run/outbox"));
    let link = daemon.path("cgi-bin/ws-send");
    symlink(linked(), &link).expect("link");
    let nowhere = "/nonexistent/run";
    let mut by_link = command(&link);
    let mut by_outbox = command(&linked());
    by_outbox
        .arg("ws-send")
        .env("WS_OUTBOX", &outbox)
        .env("WS2CGI_RUN", nowhere);
    let mut by_option = command(&linked());
    by_option
        .args(["ws-send", "--run"])
        .arg(&run)
        .env("WS_OUTBOX", nowhere);
    for (command, how) in [
        (&mut ws_send(&run), "WS2CGI_RUN"),
        (&mut by_link, ".ws2cgi beside the link"),
        (&mut by_outbox, "WS_OUTBOX"),
        (&mut by_option, "--run"),
    ] {
        let sent = outcome(command.args(["@a", how]), b"");
        assert_eq!(sent, (0, String::new(), String::new()), "{how}");
        assert_eq!(ws.text(), how);
    }
}

#[test]
fn it_is_no_web_endpoint_but_event_programs_may_call_it() {
    let daemon = Daemon::start();
    let mut cgi = ws_send(&daemon.path("run"));
    cgi.env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("QUERY_STRING", "@a");
    let why = "ws-send: this is no web endpoint (ws-push is); only event programs may call it\n";
    let refused = (100, String::new(), why.to_owned());
    assert_eq!(outcome(cgi.args(["@a", "x"]), b""), refused);

    let send = command(&linked());
    let send = std::iter::once(send.get_program()).chain(send.get_args());
    let send: Vec<_> = send.map(|word| word.to_string_lossy()).collect();
    let script = "[ $WS_EVENT = message ] || exit 0\n";
    let script = format!(
        "#!/bin/sh\n{script}exec {} ws-send $WS_ID\n",
        send.join(" ")
    );
    daemon.program("back", &script);
    let mut ws = daemon.connect("/back");
    assert_eq!(ws.ask("to and fro\n"), "to and fro");
}

#[test]
fn help_and_version() {
    let version = format!("ws-send {}\n", env!("CARGO_PKG_VERSION"));
    for (args, expected) in [
        (
            "--help",
            "ws-send: send to the browsers of ws2cgi\n\nusage: ws-send ",
        ),
        (
            "-h",
            "ws-send: send to the browsers of ws2cgi\n\nusage: ws-send ",
        ),
        ("--version", &version),
        ("-V", &version),
    ] {
        let (code, stdout, stderr) = outcome(ws_send(Path::new("/nonexistent")).arg(args), b"");
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.starts_with(expected), "{stdout}");
    }
}
