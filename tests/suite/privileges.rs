//! What the daemon, its programs and their neighbours on the board may do.

use crate::harness::{Daemon, Start, as_root, as_user, read_answer, tcp_pair};
use nix::unistd::User;
use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// The second of the four numbers in a line of /proc/self/status, as an event program sees it:
/// the effective one.
fn effective(daemon: &Daemon, program: &str) -> String {
    let status = daemon.connect(program).ask("cat /proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let mut numbers = line.expect("Uid").split_whitespace();
    numbers.nth(1).expect("four numbers").to_owned()
}

/// A folder whose handler `act2` is root's and set-uid, and how to start its daemon.
fn with_set_uid(args: &str, shell: &str) -> Daemon {
    let folder = Start::folder_for_anyone();
    let program = folder.path().join("handlers/act2");
    std::fs::set_permissions(program, Permissions::from_mode(0o4755)).expect("chmod");
    if !shell.is_empty() {
        // The run folder has to be this user's: root makes it.
        let run = folder.path().join("run");
        std::fs::create_dir(&run).expect("run");
        let nobody = User::from_name("nobody").expect("users").expect("nobody");
        nix::unistd::chown(&run, Some(nobody.uid), Some(nobody.gid)).expect("chown");
    }
    let start = Start::default().args(args).again_in(folder);
    start.shell(&format!("{shell}:")).ready()
}

#[test]
fn with_user_no_program_gets_more_and_with_setpriv_it_may() {
    if !as_root("with_user_no_program_gets_more_and_with_setpriv_it_may") {
        return;
    }
    let nobody = User::from_name("nobody").expect("users").expect("nobody");
    let nobody = nobody.uid.to_string();
    let daemon = with_set_uid("--user nobody", "");
    assert_eq!(daemon.process("NoNewPrivs"), ["1"]);
    assert_eq!(effective(&daemon, "/act"), nobody);
    assert_eq!(effective(&daemon, "/act2"), nobody);
    let sudo = "set -- setpriv --reuid nobody --regid nogroup --clear-groups \"$@\";";
    let daemon = with_set_uid("", sudo);
    assert_eq!(daemon.process("NoNewPrivs"), ["0"]);
    assert_eq!(effective(&daemon, "/act"), nobody);
    assert_eq!(effective(&daemon, "/act2"), "0");
}

#[test]
fn with_everything_refused_it_serves() {
    if !as_root("with_everything_refused_it_serves") {
        return;
    }
    // What root has at the start is gone: no capability, no group but one, no way back.
    let start = Start::default().again_in(Start::folder_for_anyone());
    let daemon = start.args("--user 65533 --group daemon").ready();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(daemon.process(set), ["0000000000000000"], "{set}");
    }
    daemon.connect("/act").works();
    // Nor has it had any: the folder was its own before.
    let daemon = with_set_uid(
        "",
        "set -- setpriv --reuid nobody --regid nogroup --clear-groups --bounding-set -all \
         --inh-caps -all --no-new-privs \"$@\";",
    );
    assert_eq!(daemon.process("CapBnd"), ["0000000000000000"]);
    assert_eq!(daemon.process("NoNewPrivs"), ["1"]);
    daemon.connect("/act").works();
}

/// `nph-ws` as a user of a group: what it answers itself, or the daemon.
fn by(daemon: &Daemon, uid: &str, gid: &str) -> (u16, String) {
    let nph = daemon.nph("nph-ws", &[("PATH_INFO", "/act")]);
    let (mut client, server) = tcp_pair();
    let mut other = as_user(uid, gid);
    other.arg(nph.get_program()).args(nph.get_args());
    let variables = nph
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    other.env_clear().envs(variables);
    other
        .current_dir(daemon.path("cgi-bin"))
        .stdin(Stdio::null());
    other.stdout(OwnedFd::from(server)).stderr(Stdio::null());
    assert!(other.status().expect("run").success());
    drop(other);
    let answer = read_answer(&mut client);
    (answer.status, answer.body)
}

#[test]
fn only_root_the_user_and_the_group_can_hand_over_and_write() {
    if !as_root("only_root_the_user_and_the_group_can_hand_over_and_write") {
        return;
    }
    let start = Start::default().again_in(Start::folder_for_anyone());
    let mut daemon = start.args("--user nobody --group daemon").ready();
    assert_eq!(by(&daemon, "root", "root").0, 101);
    assert_eq!(by(&daemon, "nobody", "nogroup").0, 101);
    assert_eq!(by(&daemon, "65533", "daemon").0, 101);
    let (status, body) = by(&daemon, "65533", "65533");
    assert_eq!(status, 503);
    assert!(body.contains("Permission denied"), "{body}");
    let write = |uid: &str, gid: &str, what: &str| {
        let mut other = as_user(uid, gid);
        let shell = other.args(["/bin/sh", "-c", what]).stderr(Stdio::null());
        shell.current_dir("/").env("RUN", daemon.path("run"));
        shell.status().expect("run").success()
    };
    for (what, member) in [
        ("echo >$RUN/outbox", true),
        ("echo >$RUN/spool/mine", true),
        // A member can't see what others have there, nor change what is not his.
        ("ls $RUN/spool", false),
        ("ls $RUN", false),
        ("cat <$RUN/outbox", false),
        ("rm $RUN/outbox", false),
        ("echo >$RUN/pid", false),
        ("echo >$RUN/token", false),
    ] {
        assert_eq!(write("65533", "daemon", what), member, "{what}");
        assert!(!write("65533", "65533", what), "{what} by a stranger");
    }
    assert!(!write("65532", "daemon", "rm -f $RUN/spool/mine"));
    // Who hands over what is none is told by the kernel.
    let mut member = as_user("65533", "daemon");
    member.args(["/usr/bin/python3", "-c", HAND_OVER]);
    let sent = member.arg(daemon.path("run/handoff.sock")).status();
    assert!(sent.expect("run").success());
    daemon.expect("WARN hand-off record from uid 65533 refused: it does not end with NUL");
}

const HAND_OVER: &str = "\
import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'nothing', sys.argv[1])
";
