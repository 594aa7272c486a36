//! The outbox's lines: what each does, whom it means, and what becomes of a bad one.

use crate::harness::{Daemon, Ws};
use std::os::unix::fs::symlink;
use tungstenite::Message;

/// Joined to `@a` by its open program.
const IN_A: &str = "/act?open=head WS-Join: @a";
/// An outbox line's bound (limits.rs).
const LINE: usize = 16 * 1024;

/// What comes until the text `end`.
fn until_end(ws: &mut Ws) -> Vec<String> {
    let texts = std::iter::repeat_with(|| ws.text());
    texts.take_while(|text| text != "end").collect()
}

#[test]
fn every_kind_of_message_arrives_as_it_was_written_and_in_order() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    std::fs::write(daemon.path("run/spool/t-1.txt"), "grün\nzwei\r\n").expect("spool");
    std::fs::write(daemon.path("run/spool/b"), [0, 0xff, 10]).expect("spool");
    std::fs::write(daemon.path("run/spool/empty"), "").expect("spool");
    for (line, expected) in [
        ("text @a hello world ", Message::text("hello world ")),
        ("text @a  two", Message::text(" two")),
        ("binary @a AP8K", Message::binary(vec![0, 0xff, 10])),
        ("text @a", Message::text("")),
        ("text @a ", Message::text("")),
        ("text @a cr\r", Message::text("cr\r")),
        ("text @a grün ✓", Message::text("grün ✓")),
        ("binaryfile @a b", Message::binary(vec![0, 0xff, 10])),
        ("text64 @a YQpi", Message::text("a\nb")),
        ("text64 @a YQpi\r", Message::text("a\nb")),
        ("text64 @a", Message::text("")),
        ("textfile @a t-1.txt", Message::text("grün\nzwei\r\n")),
        ("binary @a", Message::binary(vec![])),
        ("textfile @a empty\r", Message::text("")),
    ] {
        daemon.outbox(line);
        assert_eq!(ws.next(), expected, "{line}");
    }
    let spool = std::fs::read_dir(daemon.path("run/spool")).expect("spool");
    assert_eq!(spool.count(), 0);
    daemon.status_until("/outbox/lines", 14);
}

#[test]
fn mixed_text_and_binary_keep_their_order() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let pairs: String = (0..300)
        .map(|i| format!("text @a {i}\nbinary @a AAE=\n"))
        .collect();
    daemon.outbox(pairs);
    for i in 0..300 {
        assert_eq!(ws.text(), i.to_string());
        assert_eq!(ws.binary(), [0, 1]);
    }
}

#[test]
fn blank_lines_and_comments_are_passed_over() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    daemon.outbox("\n\r\n  \t\n# text @a no\n#\n\ntext @a yes");
    assert_eq!(ws.text(), "yes");
    daemon.status_until("/outbox/lines", 1);
    daemon.status_until("/outbox/bad", 0);
}

#[test]
fn every_target_means_whom_it_says() {
    let daemon = Daemon::start();
    let (mut a, mut b, mut c) = (
        daemon.connect("/act?open=head WS-Join: @x"),
        daemon.connect("/act?open=head WS-Join: @x @y"),
        daemon.connect("/deep/act/rest"),
    );
    let (id_a, id_b, id_c) = (a.id(), b.id(), c.id());
    let targets = [
        (id_a.clone(), "a"),
        (id_c.clone(), "c"),
        ("@x".to_owned(), "ab"),
        ("@y".to_owned(), "b"),
        ("@all".to_owned(), "abc"),
        ("/act".to_owned(), "ab"),
        ("/deep/act/rest".to_owned(), "c"),
        (format!("@x~{id_a}"), "b"),
        (format!("@x~{id_c}"), "ab"),
        (format!("@all~{id_b}"), "ac"),
        (format!("/act~{id_a}"), "b"),
        (format!("@all~{}", id_a.replace('-', "-9")), "abc"),
        // Nobody.
        (format!("{id_a}~{id_a}"), ""),
        (format!("@y~{id_b}"), ""),
        ("@nobody".to_owned(), ""),
        ("/deep/act".to_owned(), ""),
        ("/act2".to_owned(), ""),
        (format!("aaaaaaaaaaaaa-{}", &id_a[14..]), ""),
    ];
    for (i, (target, _)) in targets.iter().enumerate() {
        daemon.outbox(format!("text {target} {i} {target}"));
    }
    daemon.outbox("text @all end");
    for (name, ws) in [('a', &mut a), ('b', &mut b), ('c', &mut c)] {
        let meant = targets
            .iter()
            .enumerate()
            .filter(|(_, (_, m))| m.contains(name));
        let expected: Vec<_> = meant.map(|(i, (t, _))| format!("{i} {t}")).collect();
        assert_eq!(until_end(ws), expected, "{name}");
    }
    daemon.status_until("/messages/nobody", 6);
    daemon.status_until("/outbox/lines", 19);
}

#[test]
fn join_and_leave_change_who_is_in_a_room() {
    let mut daemon = Daemon::start();
    let (mut a, mut b) = (daemon.connect(IN_A), daemon.connect("/act"));
    let (id_a, id_b) = (a.id(), b.id());
    daemon.outbox(format!(
        "text @r 0\njoin {id_b} @r\r\ntext @r 1\njoin @all @s\nleave {id_b} @r"
    ));
    daemon.outbox(format!(
        "text @r 2\ntext @s 3\nleave @s @s~{id_a}\nleave {id_a} @never"
    ));
    daemon.expect("no room: '@s~");
    daemon.outbox(format!(
        "leave @s~{id_a} @s\ntext @s 4\njoin @a @t\ntext @t 5\ntext @all end"
    ));
    assert_eq!(until_end(&mut a), ["3", "4", "5"]);
    assert_eq!(until_end(&mut b), ["1", "3"]);
    assert!(a.ask("env").contains("\nWS_ROOMS=@a @s @t\n"));
    let rooms: Vec<_> = (0..17).map(|i| format!("join {id_b} @r{i}\n")).collect();
    daemon.outbox(rooms.concat());
    daemon.expect("not joined to @r16: it is in 16 rooms already");
    daemon.outbox("text @r16 no\ntext @r15 yes");
    assert_eq!(b.text(), "yes");
}

#[test]
fn close_gives_its_code_and_its_reason() {
    let daemon = Daemon::start();
    for (line, code, reason) in [
        ("", 1000, String::new()),
        ("\r", 1000, String::new()),
        (" 4001", 4001, String::new()),
        (" 1011 so  long\r", 1011, "so  long".to_owned()),
        (&format!(" 3000 {}", "é".repeat(100)), 3000, "é".repeat(61)),
        (&format!(" 4999 {}", "x".repeat(124)), 4999, "x".repeat(123)),
    ] {
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        daemon.outbox(format!(
            "text {id} before\nclose {id}{line}\ntext {id} behind"
        ));
        assert_eq!(ws.text(), "before");
        assert_eq!(ws.closed(), (code, reason.clone()), "{line}");
        daemon.event(&format!("close {id} 0 {code} server {reason}"));
    }
    daemon.status_until("/messages/nobody", 6);
}

#[test]
fn close_means_all_of_a_target() {
    let daemon = Daemon::start();
    let (mut a, mut b) = (daemon.connect(IN_A), daemon.connect(IN_A));
    let mut other = daemon.connect("/act");
    daemon.outbox("close @a 4000 all");
    assert_eq!(a.closed(), (4000, "all".to_owned()));
    assert_eq!(b.closed(), (4000, "all".to_owned()));
    other.works();
}

#[test]
fn a_bad_line_is_logged_with_its_reason_and_counted_and_the_next_one_works() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let bad: [(&[u8], &str); 24] = [
        (b"TEXT @a x", "no verb: 'TEXT'"),
        (b" text @a x", "no verb: ''"),
        (b"texts @a x", "no verb: 'texts'"),
        (b"\x1b[31m @a x", "no verb: '\\u{1b}[31m'"),
        (b"text\t@a x", "no verb: 'text\\t@a'"),
        (b"text", "no target: ''"),
        (b"text  @a x", "no target: ''"),
        (b"text nobody x", "no target: 'nobody'"),
        (b"text @ x", "no target: '@'"),
        (b"text @a/b x", "no target: '@a/b'"),
        (b"text /../a x", "no target: '/../a'"),
        (b"text @a~@b x", "no target: '@a~@b'"),
        (b"text @a \xff", "it is not UTF-8 (binary needs base64)"),
        (b"text @a nul\0", "it holds a NUL (use text64)"),
        (b"text64 @a YQp", "no base64: "),
        (b"binary @a !wAA", "no base64: Invalid symbol 33"),
        (b"binary @a AA==  AA==", "no base64: Invalid symbol 61"),
        (b"text64 @a /w==", "it is not UTF-8 (binary needs base64)"),
        (b"close", "no target: ''"),
        (b"close @a 1005", "no close code that may be sent: '1005'"),
        (b"close @a bye", "no close code that may be sent: 'bye'"),
        (b"join @a b", "no room: 'b'"),
        (b"join @a @all", "the room @all is everyone's already"),
        (b"leave @a", "no room: ''"),
    ];
    for (i, (line, why)) in bad.iter().enumerate() {
        daemon.outbox(line);
        daemon.outbox(format!("text @a {i}"));
        assert_eq!(ws.text(), i.to_string());
        daemon.expect(&format!("WARN outbox: line not carried out: {why}"));
        daemon.status_until("/outbox/bad", i + 1);
    }
    daemon.status_until("/outbox/lines", bad.len());
    assert!(!daemon.log().contains('\x1b'));
    ws.works();
}

#[test]
fn a_line_that_is_too_long_is_discarded_to_its_newline() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect(IN_A);
    let line = |len| format!("text @a {}", "x".repeat(len - "text @a ".len()));
    daemon.outbox(line(LINE));
    assert_eq!(ws.text().len(), LINE - "text @a ".len());
    for len in [LINE + 1, LINE * 2, 1_000_000] {
        daemon.outbox(format!("{}\ntext @a next", line(len)));
        assert_eq!(ws.text(), "next");
    }
    daemon.expect("line not carried out: it is too long (ws-send spools long messages)");
    daemon.status_until("/outbox/bad", 3);
    daemon.status_until("/outbox/lines", 4);
}

#[test]
fn a_bad_spool_file_harms_nobody() {
    let mut daemon = Daemon::with("--max-reply 1000");
    let mut ws = daemon.connect(IN_A);
    let spool = |name: &str| daemon.path("run/spool").join(name);
    let put = |name: &str, bytes: &[u8]| std::fs::write(spool(name), bytes).expect("spool");
    let victim = daemon.path("victim");
    std::fs::write(&victim, "secret").expect("victim");
    symlink(&victim, spool("link")).expect("link");
    std::fs::hard_link(&victim, spool("hard")).expect("hard link");
    std::fs::create_dir(spool("folder")).expect("folder");
    nix::unistd::mkfifo(&spool("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    put(".hidden", b"x");
    put("big", &[b'x'; 1001]);
    put("latin1", b"gr\xfcn");
    put("fits", &[b'x'; 1000]);
    let too_long = "x".repeat(65);
    let bad = [
        (
            "../run/pid",
            "no name of a spool file: '../run/pid'".to_owned(),
        ),
        (
            "/etc/passwd",
            "no name of a spool file: '/etc/passwd'".to_owned(),
        ),
        (".hidden", "no name of a spool file: '.hidden'".to_owned()),
        ("..", "no name of a spool file: '..'".to_owned()),
        ("", "no name of a spool file: ''".to_owned()),
        ("a b", "no name of a spool file: 'a b'".to_owned()),
        (&too_long, format!("no name of a spool file: '{too_long}'")),
        (
            "none",
            "spool file none: there is none of that name".to_owned(),
        ),
        ("link", "spool file link: cannot be opened: ".to_owned()),
        (
            "hard",
            "spool file hard: it has more than one name".to_owned(),
        ),
        (
            "folder",
            "spool file folder: it is no regular file".to_owned(),
        ),
        ("fifo", "spool file fifo: it is no regular file".to_owned()),
        (
            "big",
            "spool file big: it is larger than --max-reply 1000".to_owned(),
        ),
        (
            "latin1",
            "spool file latin1: it is not UTF-8 (use binaryfile)".to_owned(),
        ),
    ];
    for (i, (name, why)) in bad.iter().enumerate() {
        daemon.outbox(format!("textfile @a {name}\ntext @a {i}"));
        assert_eq!(ws.text(), i.to_string(), "{name}");
        daemon.expect(&format!("WARN outbox: line not carried out: {why}"));
        daemon.status_until("/outbox/bad", i + 1);
    }
    daemon.outbox("textfile @a fits");
    assert_eq!(ws.text().len(), 1000);
    // Only what the spool folder itself names is gone; a folder is not the daemon's to empty.
    let left = std::fs::read_dir(daemon.path("run/spool")).expect("spool");
    let mut left: Vec<_> = left
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".hidden", "folder"]);
    assert_eq!(std::fs::read(&victim).expect("victim"), b"secret");
}

#[test]
fn an_id_that_is_gone_is_counted_and_no_error() {
    let daemon = Daemon::start();
    let (mut ws, mut other) = (daemon.connect(IN_A), daemon.connect("/act"));
    let id = ws.id();
    ws.close(1000, "");
    daemon.until_gone(&id);
    daemon.outbox(format!(
        "text {id} x\nclose {id}\njoin {id} @r\nleave {id} @a\ntext @a x"
    ));
    daemon.status_until("/messages/nobody", 5);
    daemon.status_until("/outbox/lines", 5);
    daemon.status_until("/outbox/bad", 0);
    other.works();
}
