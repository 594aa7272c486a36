//! A disk that is full, or that nobody can write to: what needs none of it goes on, and what
//! does says so.

use crate::harness::{Daemon, Disk, Events, Poller, Start, Ws, linked, os_words, outcome, ws2cgi};
use std::path::Path;
use std::process::Command;

/// A daemon whose run folder is a disk of its own.
fn start(test: &str) -> Option<(Daemon, Disk)> {
    let folder = Start::folder();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).expect("run");
    let disk = Disk::at(&run, test)?;
    Some((Start::default().again_in(folder).ready(), disk))
}

/// `ws-send @all TEXT`: its exit code, and what it said.
fn send(run: &Path, text: &str) -> (i32, String) {
    let mut send = Command::new(linked());
    send.arg("ws-send").arg("--run").arg(run).arg("@all");
    let (code, _, said) = outcome(&mut send, text.as_bytes());
    (code, os_words(&said))
}

/// How a message ends that gives the system's reason.
fn why(reason: &str) -> String {
    os_words(&format!(": {reason}\n"))
}

fn spooled(daemon: &Daemon) -> usize {
    let spool = std::fs::read_dir(daemon.path("run/spool"));
    spool.expect("spool").count()
}

/// What needs no disk works: whichever way a browser comes, by a socket or a pipe.
fn works(daemon: &Daemon, ws: &mut Ws) {
    daemon.connect("/act").works();
    let sse = "/act?via=sse";
    let mut streams = [
        Events::open(daemon.get(sse, &[])),
        Events::open(daemon.get_by_pipe(sse, &[])),
    ];
    let mut page = Poller::new("/act?via=poll");
    assert_eq!(page.poll(daemon, "&wait=0").status, 204);
    let run = daemon.path("run");
    assert_eq!(send(&run, "short"), (0, String::new()));
    assert_eq!(
        (ws.text(), page.text(daemon)),
        ("short".into(), "short".into())
    );
    for stream in &mut streams {
        assert_eq!(stream.text(), "short");
        let answer = daemon.post(&format!("/act?{}", stream.query()), "head X: y;out posted");
        assert_eq!(answer.body, "posted");
    }
    assert_eq!(page.poll(daemon, "&close=1").status, 204);
    assert_eq!(daemon.post("/act", "head X: y;out alone").body, "alone");
    ws.works();
}

#[test]
fn a_full_disk_stops_only_what_needs_room_on_it() {
    let Some((mut daemon, disk)) = start("a_full_disk_stops_only_what_needs_room_on_it") else {
        return;
    };
    let run = daemon.path("run");
    let mut ws = daemon.connect("/act");
    let boot = daemon.status()["boot"].clone();
    disk.fill("full");
    works(&daemon, &mut ws);
    // What has to be spooled is refused, and leaves nothing there.
    let long = "x".repeat(20_000);
    let (code, said) = send(&run, &long);
    assert_eq!(code, 111);
    assert!(said.starts_with("ws-send: cannot write "), "{said}");
    assert!(
        said.ends_with(&why("No space left on device (os error 28)")),
        "{said}"
    );
    assert_eq!(spooled(&daemon), 0);
    // The last status.json stays, and whole.
    daemon.signal("USR1");
    daemon.expect("run/status.json: No space left on device");
    let text = std::fs::read_to_string(run.join("status.json")).expect("status.json");
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status["boot"], boot);
    assert!(!run.join(".status.json.new").exists());
    // A daemon that is killed comes again: what it needs is there.
    daemon.quiet();
    let daemon = Start::default().again_in(daemon.kill()).ready();
    let mut ws = daemon.connect("/act");
    works(&daemon, &mut ws);
    std::fs::remove_file(run.join("full")).expect("remove");
    assert_eq!(send(&run, &long), (0, String::new()));
    assert_eq!(ws.text(), long);
    assert_ne!(daemon.status()["boot"], boot);
}

#[test]
fn a_start_on_a_disk_without_any_room_says_so() {
    let folder = Start::folder();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).expect("run");
    let test = "a_start_on_a_disk_without_any_room_says_so";
    let Some(disk) = Disk::at(&run, test) else {
        return;
    };
    // Its name makes this a run folder.
    disk.fill("token");
    let (code, said) = Start::default().again_in(folder).fails();
    let why = "No space left on device (os error 28)";
    let line = format!("ws2cgi: cannot use {}/pid: {why}\n", run.display());
    assert_eq!((code, said), (111, os_words(&line)));
}

#[test]
fn on_a_read_only_disk_the_daemon_goes_on_and_says_what_it_cannot() {
    let test = "on_a_read_only_disk_the_daemon_goes_on_and_says_what_it_cannot";
    let Some((mut daemon, disk)) = start(test) else {
        return;
    };
    let run = daemon.path("run");
    let mut ws = daemon.connect("/act");
    std::fs::write(run.join("spool/before"), "spooled before").expect("write");
    disk.read_only(true);
    works(&daemon, &mut ws);
    let (code, said) = send(&run, &"x".repeat(20_000));
    assert_eq!(code, 111);
    assert!(
        said.ends_with(&why("Read-only file system (os error 30)")),
        "{said}"
    );
    daemon.outbox("textfile @all before");
    assert_eq!(ws.text(), "spooled before");
    daemon.expect("run/spool/before stays there: Read-only file system");
    daemon.signal("USR1");
    daemon.expect("run/status.json: Read-only file system");
    // A start is refused until it can be written to.
    daemon.quiet();
    let folder = daemon.kill();
    let mut other = Command::new(ws2cgi());
    other.arg("--handlers").arg(folder.path().join("handlers"));
    let (code, _, said) = outcome(other.arg("--run").arg(&run), b"");
    assert_eq!(code, 111);
    assert!(said.contains("Read-only file system (os error "), "{said}");
    disk.read_only(false);
    let daemon = Start::default().again_in(folder).ready();
    let mut ws = daemon.connect("/act");
    works(&daemon, &mut ws);
    drop(daemon);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_end() {
    // Of 512 bytes each: the pid file's fit, those of status.json do not.
    let mut daemon = Start::default().shell("ulimit -f 1").ready();
    let mut ws: Vec<_> = (0..4).map(|_| daemon.connect("/act2")).collect();
    daemon.signal("USR1");
    daemon.expect("run/status.json: File too large");
    ws.iter_mut().for_each(Ws::works);
    assert!(!daemon.path("run/status.json").exists());
    assert!(!daemon.path("run/.status.json.new").exists());
}
