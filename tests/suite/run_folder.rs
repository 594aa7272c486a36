//! The run folder: how it is made, who owns it, what an earlier daemon or a stranger left there.

use crate::harness::{
    Daemon, Start, as_root, as_user, command, os_words, outcome, wait_for, ws2cgi,
};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Group, User, chown, mkfifo};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use ws2cgi::sys::only_roots;
use ws2cgi::sys::unix::Unix;

/// Mode, and owner and group.
fn access(path: &Path) -> (u32, (u32, u32)) {
    let stat =
        std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (stat.mode() & 0o7777, (stat.uid(), stat.gid()))
}

const MODES: [(&str, u32); 6] = [
    ("run", 0o710),
    ("run/handoff.sock", 0o660),
    ("run/outbox", 0o620),
    ("run/spool", 0o3730),
    ("run/status.json", 0o640),
    ("run/pid", 0o644),
];

#[test]
fn modes_are_set_whatever_the_umask() {
    for umask in ["000", "077"] {
        let daemon = Start::default().shell(&format!("umask {umask}")).ready();
        daemon.status();
        for (name, mode) in MODES {
            assert_eq!(access(&daemon.path(name)).0, mode, "umask {umask}: {name}");
        }
    }
}

#[test]
fn modes_of_an_earlier_daemon_are_set_again() {
    let folder = Daemon::start().end();
    for name in ["run", "run/outbox", "run/spool"] {
        std::fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o777))
            .expect("chmod");
    }
    let daemon = Start::default().again_in(folder).ready();
    daemon.status();
    for (name, mode) in MODES {
        assert_eq!(access(&daemon.path(name)).0, mode, "{name}");
    }
}

#[test]
fn the_daemon_drops_root_and_leaves_all_to_its_user() {
    if !as_root("the_daemon_drops_root_and_leaves_all_to_its_user") {
        return;
    }
    let user = User::from_name("nobody").expect("users").expect("nobody");
    let group = Group::from_name("daemon").expect("groups").expect("daemon");
    let nobody = (user.uid.as_raw(), user.gid.as_raw());
    for (args, (uid, gid)) in [
        ("--user nobody", nobody),
        (
            "--user nobody --group daemon",
            (nobody.0, group.gid.as_raw()),
        ),
        ("--group daemon", (0, group.gid.as_raw())),
        ("--user 12345", (12345, 12345)),
        ("--user 12345 --group 54321", (12345, 54321)),
    ] {
        let folder = Start::folder_for_anyone();
        let start = Start::default().args(&format!("--listen unix:{{}}/ws.sock {args}"));
        let daemon = start.again_in(folder).ready();
        daemon.status();
        assert_eq!(daemon.process("Uid"), vec![uid.to_string(); 4], "{args}");
        assert_eq!(daemon.process("Gid"), vec![gid.to_string(); 4], "{args}");
        assert_eq!(daemon.process("Groups"), [gid.to_string()], "{args}");
        for (name, mode) in MODES {
            assert_eq!(
                access(&daemon.path(name)),
                (mode, (uid, gid)),
                "{args}: {name}"
            );
        }
        assert_eq!(
            access(&daemon.path("ws.sock")),
            (0o660, (uid, gid)),
            "{args}"
        );
        let mut ws = daemon.connect("/act");
        let id = ws.id();
        assert_eq!(access(&daemon.path("handlers/events")).1, (uid, gid));
        daemon.outbox(format!("text {id} hello"));
        assert_eq!(ws.text(), "hello");
        ws.close(1000, "");
        daemon.event("done close");
        // It can also leave, and come again.
        let folder = daemon.end();
        assert!(!folder.path().join("run/pid").exists());
        let start = Start::default().args(args).again_in(folder);
        start.ready().connect("/act").works();
    }
}

#[test]
fn unknown_users_and_groups_end_the_start() {
    for (args, why) in [
        ("--user no-such-user", "--user no-such-user: no such user"),
        (
            "--group no-such-group",
            "--group no-such-group: no such group",
        ),
    ] {
        let (code, said) = Start::default().args(args).fails();
        assert_eq!((code, said), (111, format!("ws2cgi: {why}\n")));
    }
}

#[test]
fn the_folder_is_locked_for_life() {
    let mut daemon = Daemon::start();
    let path = daemon.path("run/pid");
    let text = std::fs::read_to_string(&path).expect("the pid file");
    assert_eq!(text, format!("{}\n", daemon.pid()));
    let lock = |file| Flock::lock(file, FlockArg::LockExclusiveNonblock);
    let folder = File::open(daemon.path("run")).expect("open");
    let (folder, _) = lock(folder).expect_err("a lock");
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!path.exists());
    assert!(lock(folder).is_ok());
}

#[test]
fn who_may_only_enter_the_folder_cannot_keep_the_next_daemon_out() {
    if !as_root("who_may_only_enter_the_folder_cannot_keep_the_next_daemon_out") {
        return;
    }
    let start = Start::default().args("--user nobody --group daemon");
    // Killed, it leaves all it had.
    let folder = start.again_in(Start::folder_for_anyone()).ready().kill();
    let run = folder.path().join("run");
    // Of the group: whatever it can open it locks, for as long as its stdin is open.
    let mut member = as_user("65533", "daemon");
    member.args(["/usr/bin/python3", "-c", LOCK_ALL]).arg(&run);
    let mut member = member
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a member");
    let mut locked = String::new();
    let stdout = member.stdout.take().expect("its stdout");
    BufReader::new(stdout).read_line(&mut locked).expect("read");
    assert_eq!(locked, "pid\n");
    let start = Start::default().args("--user nobody --group daemon");
    start.again_in(folder).ready().connect("/act").works();
    drop(member.stdin.take());
    member.wait().expect("its end");
}

/// Locks the run folder and its files in both ways, as far as that goes; prints which.
const LOCK_ALL: &str = "\
import fcntl, os, sys
locked = []
for name in ['.', 'pid', 'spool', 'status.json']:
    try:
        kept = os.open(os.path.join(sys.argv[1], name), os.O_RDONLY)
        fcntl.flock(kept, fcntl.LOCK_EX)
        fcntl.lockf(kept, fcntl.LOCK_SH)
        locked.append(name)
    except OSError:
        pass
print(*locked, flush=True)
sys.stdin.read()
";

#[test]
fn a_second_daemon_is_told_of_the_first() {
    let daemon = Daemon::start();
    let mut ws = daemon.connect("/act");
    let run = daemon.path("run").display().to_string();
    let (code, said) = Start::default().args(&format!("--run {run}")).fails();
    assert_eq!(code, 111);
    let pid = daemon.pid();
    assert_eq!(
        said,
        format!(
            "ws2cgi: another ws2cgi, pid {pid}, serves {run}; stop it, or choose another --run\n"
        )
    );
    // Also where its address would be found in use first.
    let other = Start::default().args("--listen 127.0.0.1:0").ready();
    let taken = format!(
        "--run {} --listen 127.0.0.1:{}",
        other.path("run").display(),
        other.port("tcp")
    );
    let (code, said) = Start::default().args(&taken).fails();
    assert_eq!(code, 111);
    let told = format!("another ws2cgi, pid {}, serves", other.pid());
    assert!(said.contains(&told), "{said}");
    other.connect("/act").works();
    // And has not harmed it.
    let id = ws.id();
    daemon.outbox(format!("text {id} hello"));
    assert_eq!(ws.text(), "hello");
    daemon.connect("/act").works();
}

#[test]
fn nor_does_one_start_while_the_first_shuts_down() {
    let mut daemon = Daemon::start();
    let mut ws = daemon.connect("/act?close=until go");
    daemon.signal("TERM");
    assert_eq!(ws.closed().0, 1001);
    daemon.event("close ");
    let run = daemon.path("run").display().to_string();
    let (code, said) = Start::default().args(&format!("--run {run}")).fails();
    assert_eq!(code, 111);
    assert!(
        said.contains(&format!("pid {}, serves {run};", daemon.pid())),
        "{said}"
    );
    daemon.let_go("go");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn after_a_kill_the_next_one_cleans_up() {
    let daemon = Daemon::start();
    let boot = daemon.status()["boot"].clone();
    std::fs::write(daemon.path("run/spool/left"), "over").expect("write");
    std::fs::write(daemon.path("run/.status.json.new"), "half").expect("write");
    let folder = daemon.kill();
    let path = |name: &str| folder.path().join(name);
    assert!(path("run/pid").exists() && path("run/handoff.sock").exists());
    let daemon = Start::default().again_in(folder).ready();
    let mut ws = daemon.connect("/act");
    assert_ne!(daemon.status()["boot"], boot);
    // A writer may have waited for the new one.
    daemon.outbox("textfile /act left");
    assert_eq!(ws.text(), "over");
    assert!(!daemon.path("run/spool/left").exists());
}

#[test]
fn writers_that_wait_in_the_fifo_go_on_with_the_next_daemon() {
    let daemon = Daemon::start();
    let path = daemon.path("run/outbox");
    let inode = |path: &Path| std::fs::metadata(path).expect("stat").ino();
    let before = inode(&path);
    let mut fifo = OpenOptions::new().write(true).open(&path).expect("open");
    let folder = daemon.end();
    // As that writer still has it open, its line waits, as does whoever opens it now.
    let waits = std::thread::spawn({
        let path = path.clone();
        move || {
            OpenOptions::new()
                .write(true)
                .open(path)
                .expect("open")
                .write_all(b"text @all second\n")
        }
    });
    let daemon = Start::default().again_in(folder).ready();
    assert_eq!(inode(&daemon.path("run/outbox")), before);
    fifo.write_all(b"text @all first\n").expect("write");
    waits.join().expect("the writer").expect("write");
    daemon.status_until("/outbox/lines", 2);
}

#[test]
fn a_regular_file_in_place_of_the_fifo_is_replaced() {
    let folder = Start::folder();
    let outbox = folder.path().join("run/outbox");
    std::fs::create_dir(folder.path().join("run")).expect("run");
    std::fs::write(&outbox, "text @all too early\n").expect("write");
    let mut daemon = Start::default().again_in(folder).ready();
    let what = "was a regular file, made by a writer where no FIFO was; replaced";
    daemon.expect(format!("WARN {} {what}\n", outbox.display()).trim_end());
    assert!(
        std::fs::metadata(&outbox)
            .expect("stat")
            .file_type()
            .is_fifo()
    );
    let mut ws = daemon.connect("/act");
    daemon.outbox("text @all now");
    assert_eq!(ws.text(), "now");
}

/// Puts something in the way.
type Put = fn(&Path);

#[test]
fn other_things_in_the_way_end_the_start() {
    let folder: Put = |path| {
        std::fs::create_dir(path).expect("a folder");
    };
    let socket: Put = |path| drop(UnixDatagram::bind(path).expect("bind"));
    let link: Put = |path| symlink("/dev/null", path).expect("link");
    let file: Put = |path| std::fs::write(path, "x").expect("write");
    let fifo: Put = |path| mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    for (name, put, why) in [
        ("outbox", folder, "{} is no FIFO; remove it"),
        ("outbox", socket, "{} is no FIFO; remove it"),
        ("outbox", link, "{} is no FIFO; remove it"),
        ("spool", file, "{} is no folder; remove it"),
        ("spool", link, "{} is no folder; remove it"),
        ("spool", fifo, "{} is no folder; remove it"),
        (
            "handoff.sock",
            folder,
            "cannot use {}: Is a directory (os error 21)",
        ),
        ("pid", folder, "cannot use {}: Is a directory (os error 21)"),
    ] {
        let folder = Start::folder();
        let path = folder.path().join("run").join(name);
        std::fs::create_dir(folder.path().join("run")).expect("run");
        put(&path);
        let (code, said) = Start::default().again_in(folder).fails();
        let why = why.replace("{}", &path.display().to_string());
        let line = os_words(&format!("ws2cgi: {why}\n"));
        assert_eq!((code, said), (111, line));
    }
}

#[test]
fn a_stale_link_as_hand_off_socket_or_pid_file_is_replaced_and_its_goal_left_alone() {
    let folder = Start::folder();
    let (goal, run) = (folder.path().join("goal"), folder.path().join("run"));
    std::fs::create_dir(&run).expect("run");
    std::fs::write(&goal, "precious").expect("write");
    for name in ["handoff.sock", "pid"] {
        symlink(&goal, run.join(name)).expect("link");
    }
    let daemon = Start::default().again_in(folder).ready();
    daemon.connect("/act").works();
    assert_eq!(access(&goal).0 & 0o777, 0o644);
    assert_eq!(std::fs::read_to_string(&goal).expect("read"), "precious");
}

/// Root who works where others can change folders follows whatever links they have laid.
#[test]
fn where_a_folder_is_not_roots_alone_the_user_makes_what_lies_there() {
    if !as_root("where_a_folder_is_not_roots_alone_the_user_makes_what_lies_there") {
        return;
    }
    let folder = Start::folder_for_anyone();
    let at = |name: &str| folder.path().join(name);
    for (name, mode) in [
        ("roots", 0o755),
        ("theirs", 0o755),
        ("open", 0o777),
        ("sticky", 0o1777),
    ] {
        std::fs::create_dir(at(name)).expect("a folder");
        std::fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("chmod");
    }
    let nobody = User::from_name("nobody").expect("users").expect("nobody");
    chown(&at("theirs"), Some(nobody.uid), Some(nobody.gid)).expect("chown");
    std::fs::create_dir(at("theirs/roots")).expect("a folder");
    let goal = TempDir::new().expect("a folder");
    std::fs::set_permissions(&goal, Permissions::from_mode(0o755)).expect("chmod");
    symlink(&goal, at("theirs/link")).expect("link");
    symlink("theirs", at("way")).expect("link");
    let sys = Unix::new().expect("a system");
    for (path, alone) in [
        ("roots/ws.sock", true),
        ("roots/../roots//./ws.sock", true),
        ("sticky/ws.sock", true),
        ("theirs/ws.sock", false),
        ("theirs/roots/ws.sock", false),
        ("theirs/link/ws.sock", false),
        ("theirs/../roots/ws.sock", false),
        ("way/roots/ws.sock", false),
        ("open/ws.sock", false),
        ("nowhere/ws.sock", false),
    ] {
        let path = at(path).display().to_string();
        assert_eq!(only_roots(&sys, &path), alone, "{path}");
    }
    let start = Start::default().args("--user nobody --run {}/theirs/own");
    let daemon = start.again_in(folder).ready();
    let nobody = (nobody.uid.as_raw(), nobody.gid.as_raw());
    assert_eq!(access(&daemon.path("theirs/own")), (0o710, nobody));
    let folder = daemon.end();
    // Neither a folder nor a socket elsewhere becomes theirs.
    let other = goal.path().join("run");
    std::fs::create_dir(&other).expect("a folder");
    let mut ws2cgi = command(&ws2cgi());
    ws2cgi.arg("--handlers").arg(folder.path().join("handlers"));
    ws2cgi.arg("--user=nobody").arg("--run");
    let (code, _, said) = outcome(ws2cgi.arg(folder.path().join("theirs/link/run")), b"");
    assert_eq!(code, 111);
    assert!(said.contains("cannot own the run folder "), "{said}");
    assert_eq!(access(&other), (0o755, (0, 0)));
    std::fs::remove_dir(other).expect("remove");
    let start = Start::default().args("--user nobody --listen unix:{}/theirs/link/ws.sock");
    let (code, said) = start.again_in(folder).fails();
    assert_eq!(code, 111);
    let why = os_words("/theirs/link/ws.sock: Permission denied (os error 13)\n");
    assert!(said.ends_with(&why), "{said}");
    assert_eq!(std::fs::read_dir(&goal).expect("the goal").count(), 0);
}

#[test]
fn a_descriptor_is_told_of_readiness() {
    let folder = Start::folder();
    let ready = folder.path().join("ready");
    mkfifo(&ready, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let mut file = File::open(ready).expect("open");
        // To its end: the daemon closes it.
        file.read_to_string(&mut text).map(|_| text)
    });
    let start = Start::default().shell("exec 7>ready").args("--ready-fd 7");
    let daemon = start.again_in(folder).ready();
    wait_for("the end of its readiness", || {
        reader.is_finished().then_some(())
    });
    assert_eq!(reader.join().expect("the reader").expect("text"), "\n");
    daemon.connect("/act").works();
}

#[test]
fn a_readiness_descriptor_that_nobody_handed_over_ends_the_start() {
    // Whatever the tests were started with: make hands out 3 and 4.
    let none = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
    for number in 3..=9 {
        let start = Start::default().shell(none);
        let (code, said) = start.args(&format!("--ready-fd {number}")).fails();
        assert_eq!(code, 111);
        let line = format!("ws2cgi: --ready-fd {number}: Bad file descriptor (os error 9)\n");
        assert!(said.ends_with(&os_words(&line)), "{said}");
    }
}
