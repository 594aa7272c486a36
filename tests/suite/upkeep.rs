//! What the daemon does about a run folder that changes under it: whatever others find it by
//! is put back within some seconds, with a warning.

use crate::harness::{Daemon, Start, Ws, read_answer, wait_for};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::thread::sleep;
use std::time::Duration;
use ws2cgi::limits::LOOK_AGAIN;

fn inode(daemon: &Daemon, name: &str) -> Option<u64> {
    let stat = std::fs::symlink_metadata(daemon.path(name)).ok()?;
    Some(stat.ino())
}

/// A line that a writer who opens the outbox now writes reaches everyone.
fn reaches(daemon: &Daemon, ws: &mut Ws, text: &str) {
    daemon.outbox(format!("text @all {text}"));
    assert_eq!(ws.text(), text);
}

#[test]
fn what_is_removed_is_put_back() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let mut writer = daemon.writer();
    let names = ["outbox", "handoff.sock", "pid", "spool"];
    for name in names {
        let path = daemon.path("run").join(name);
        match name {
            "spool" => std::fs::remove_dir(path).expect("remove"),
            _ => std::fs::remove_file(path).expect("remove"),
        }
    }
    // Nobody is cut off meanwhile.
    ws.works();
    writer.write_all(b"text @all still\n").expect("write");
    assert_eq!(ws.text(), "still");
    let run = daemon.path("run").display().to_string();
    daemon.expect(&format!(
        "WARN {run}/outbox was removed or replaced; this is another one"
    ));
    daemon.expect(&format!(
        "WARN {run}/handoff.sock was removed or replaced; made anew"
    ));
    daemon.expect(&format!("WARN {run}/pid was removed; made anew"));
    daemon.expect(&format!("WARN {run}/spool was removed; made anew"));
    for (name, mode) in names.into_iter().zip([0o620, 0o660, 0o644, 0o3730]) {
        let stat = std::fs::metadata(daemon.path("run").join(name)).expect("stat");
        assert_eq!(stat.permissions().mode() & 0o7777, mode, "{name}");
    }
    // Who still writes into the old one is told.
    let late = writer.write_all(b"text @all lost\n");
    assert_eq!(late.expect_err("no reader").kind(), ErrorKind::BrokenPipe);
    reaches(&daemon, &mut ws, "anew");
    std::fs::write(daemon.path("run/spool/large"), "spooled").expect("write");
    daemon.outbox("textfile @all large");
    assert_eq!(ws.text(), "spooled");
    daemon.connect("/act").works();
    let pid = std::fs::read_to_string(daemon.path("run/pid")).expect("pid");
    assert_eq!(pid, format!("{}\n", daemon.pid()));
}

#[test]
fn who_waits_at_a_hand_off_socket_that_is_removed_is_answered() {
    let mut daemon = Daemon::with("--max-connections 1");
    let mut ws = daemon.connect("/act");
    daemon.signal("STOP");
    let waiting = (0..5).map(|_| daemon.raw("/act", &[]));
    let waiting: Vec<_> = waiting.collect();
    std::fs::remove_file(daemon.path("run/handoff.sock")).expect("remove");
    // Once it goes on, a look is due.
    sleep(LOOK_AGAIN);
    daemon.signal("CONT");
    for mut waiting in waiting {
        assert_eq!(read_answer(&mut waiting).status, 503);
    }
    daemon.expect("run/handoff.sock was removed or replaced; made anew");
    ws.works();
}

#[test]
fn a_regular_file_in_place_of_the_fifo_is_replaced_while_the_daemon_runs() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let path = daemon.path("run/outbox");
    std::fs::remove_file(&path).expect("remove");
    // A shell that finds no FIFO makes this.
    std::fs::write(&path, "text @all into a file\n").expect("write");
    daemon.expect("run/outbox was a regular file, made by a writer where no FIFO was; replaced");
    daemon.expect("run/outbox was removed or replaced; this is another one");
    let is_fifo = std::fs::metadata(&path)
        .expect("stat")
        .file_type()
        .is_fifo();
    assert!(is_fifo);
    reaches(&daemon, &mut ws, "into the FIFO");
}

#[test]
fn another_fifo_in_its_place_is_read_and_gets_the_mode() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let path = daemon.path("run/outbox");
    std::fs::remove_file(&path).expect("remove");
    mkfifo(&path, Mode::S_IRWXU).expect("mkfifo");
    // Whoever opens it before the daemon does waits.
    let waits = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut writer = OpenOptions::new().write(true).open(path).expect("open");
            writer.write_all(b"text @all waited\n").expect("write");
        }
    });
    daemon.expect("run/outbox was removed or replaced; this is another one");
    assert_eq!(ws.text(), "waited");
    waits.join().expect("the writer");
    let mode = std::fs::metadata(&path).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o620);
    reaches(&daemon, &mut ws, "and again");
}

#[test]
fn what_is_no_fifo_in_its_place_is_said_once_and_harms_nobody() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let path = daemon.path("run/outbox");
    let moved = daemon.path("run/moved");
    std::fs::rename(&path, &moved).expect("rename");
    std::fs::create_dir(&path).expect("a folder");
    daemon.expect(&format!("ERROR {} is no FIFO; remove it", path.display()));
    // The old one is still read.
    let mut writer = OpenOptions::new();
    let writer = writer.write(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut writer = writer.open(&moved).expect("open");
    writer
        .write_all(b"text @all by the old one\n")
        .expect("write");
    assert_eq!(ws.text(), "by the old one");
    std::fs::remove_dir(&path).expect("remove");
    daemon.expect("run/outbox was removed or replaced; this is another one");
    reaches(&daemon, &mut ws, "by the new one");
    assert_eq!(daemon.logged(&["is no FIFO"]), 1);
}

#[test]
fn another_daemons_folder_of_the_same_name_is_left_alone() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    std::fs::rename(daemon.path("run"), daemon.path("moved")).expect("rename");
    let run = daemon.path("run").display().to_string();
    let other = Start::default();
    let other = other.args(&format!("--run {run}")).ready();
    other.signal("USR1");
    wait_for("its status.json", || inode(&daemon, "run/status.json"));
    let names = ["outbox", "handoff.sock", "pid", "status.json"];
    let theirs = |daemon: &Daemon| names.map(|name| inode(daemon, &format!("run/{name}")));
    let before = theirs(&daemon);
    // Before the first has looked, too.
    daemon.signal("USR1");
    ws.works();
    assert_eq!(theirs(&daemon), before);
    let why = format!("{run} was removed or replaced: nobody can reach this daemon; restart it");
    daemon.expect(&format!("ERROR {why}"));
    // A second look says nothing new.
    sleep(LOOK_AGAIN + Duration::from_secs(1));
    ws.works();
    assert_eq!(daemon.logged(&[&why]), 1);
    assert_eq!(theirs(&daemon), before);
    // Nor does its end change anything: who comes reaches the other.
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(theirs(&daemon), before);
    daemon.connect("/act").works();
}
