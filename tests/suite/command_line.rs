//! The daemon's command line: what it asks for, and how a start that can't be ends.

use crate::harness::{Daemon, Start, as_root, command, os_words, ws2cgi};
use std::process::Output;

fn ws2cgi_says(args: &str) -> Output {
    let mut ws2cgi = command(&ws2cgi());
    ws2cgi.args(args.split_whitespace()).output().expect("run")
}

#[test]
fn usage_errors_exit_100_with_one_line() {
    for (args, why) in [
        (
            "",
            "--handlers DIR is needed: the folder of the event programs",
        ),
        ("--handlers", "--handlers: needs a value"),
        (
            "--handlers /h --wat",
            "--wat: no such option (--help lists them)",
        ),
        (
            "--handlers /h wat",
            "unexpected argument 'wat' (--help lists the options)",
        ),
        (
            "--handlers /h -x",
            "invalid option '-x' (--help lists the options)",
        ),
        (
            "--handlers /h --jobs 0",
            "--jobs: '0' is not a number from 1 to 1024",
        ),
        (
            "--handlers /h --jobs four",
            "--jobs: 'four' is not a number from 1 to 1024",
        ),
        (
            "--handlers /h --queue -1",
            "--queue: '-1' is not a number from 1 to 1073741824",
        ),
        ("--handlers /h --run=", "--run: needs a value"),
        (
            "--handlers /h --ready-fd 2",
            "--ready-fd: '2' is not a number from 3 to 1048576",
        ),
        (
            "--handlers /h --origin board",
            "--origin: 'board' is no origin such as http://board.local:8080",
        ),
        (
            "--handlers /h --listen unix:",
            "--listen: 'unix:' needs a path",
        ),
        (
            "--handlers /h --listen 8000",
            "--listen: '8000' is neither ADDR:PORT (127.0.0.1:8000, [::1]:8000) nor unix:PATH",
        ),
        (
            "--handlers /h --slow-timeout 5 --event-timeout 5",
            "--slow-timeout must be less than --event-timeout",
        ),
        (
            "--handlers /h --close-on-error=yes",
            "unexpected argument for option '--close-on-error': 'yes'",
        ),
    ] {
        let output = ws2cgi_says(args);
        assert_eq!(output.status.code(), Some(100), "{args}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("ws2cgi: {why}\n")
        );
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let output = ws2cgi_says("--handlers /h --version");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let version = format!("ws2cgi {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);
    let output = ws2cgi_says("--help");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let help = String::from_utf8_lossy(&output.stdout);
    for option in [
        "handlers",
        "run",
        "listen",
        "trust-forwarded",
        "origin",
        "max-connections",
        "jobs",
        "max-message",
        "max-reply",
        "queue",
        "memory",
        "event-timeout",
        "slow-timeout",
        "ping",
        "upgrade-delay",
        "close-on-error",
        "user",
        "group",
        "ready-fd",
        "status",
        "help",
        "version",
    ] {
        assert!(
            help.contains(&format!("--{option}")),
            "--{option} in {help}"
        );
    }
}

#[test]
fn folders_that_cannot_be_used_end_the_start() {
    for (args, why) in [
        (
            "--handlers {}/nowhere",
            "--handlers {}/nowhere: No such file or directory (os error 2) \
             (name the folder that holds your event programs)",
        ),
        (
            "--handlers {}/handlers/act",
            "--handlers {}/handlers/act is no folder",
        ),
        (
            "--handlers {}/handlers/act/deep",
            "--handlers {}/handlers/act/deep: Not a directory (os error 20) \
             (name the folder that holds your event programs)",
        ),
        (
            "--run {}/handlers/act",
            "{}/handlers/act is no folder; choose another --run",
        ),
        (
            "--run {}/nowhere/run",
            "cannot make the run folder {}/nowhere/run: No such file or directory (os error 2) \
             (make it, or choose another --run)",
        ),
        (
            "--run {}/handlers/act/run",
            "cannot make the run folder {}/handlers/act/run: Not a directory (os error 20) \
             (make it, or choose another --run)",
        ),
        (
            "--run /proc/ws2cgi",
            "cannot make the run folder /proc/ws2cgi: No such file or directory (os error 2) \
             (make it, or choose another --run)",
        ),
    ] {
        let folder = Start::folder();
        let why = why.replace("{}", &folder.path().display().to_string());
        let (code, said) = Start::default().args(args).again_in(folder).fails();
        assert_eq!((code, said), (111, os_words(&format!("ws2cgi: {why}\n"))));
    }
}

#[test]
fn a_run_folder_of_another_user_ends_the_start() {
    if !as_root("a_run_folder_of_another_user_ends_the_start") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    for mode in [0o755, 0o777] {
        let folder = Start::folder();
        let run = folder.path().join("run");
        std::fs::create_dir(&run).expect("run");
        for path in [folder.path(), &run] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("chmod");
        }
        let shell = "set -- setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let (code, said) = Start::default().shell(shell).again_in(folder).fails();
        let why =
            "Operation not permitted (os error 1) (give it to this user, or choose another --run)";
        let run = run.display();
        let line = os_words(&format!("ws2cgi: cannot own the run folder {run}: {why}\n"));
        assert_eq!((code, said), (111, line));
    }
}

#[test]
fn relative_folders_are_those_of_the_start() {
    let daemon = Daemon::with("--handlers handlers/ --run ./other --listen unix:ws.sock");
    for name in ["other/handoff.sock", "ws.sock"] {
        assert!(daemon.path(name).exists(), "{name}");
    }
    let run = daemon.path("other");
    let run = run.to_str().expect("a path");
    let mut ws = daemon.connect_with("/act", &[("WS2CGI_RUN", run)]);
    let cwd = daemon.path("handlers").display().to_string();
    assert_eq!(ws.ask("cwd"), cwd);
}

#[test]
fn a_folder_with_other_things_is_no_run_folder() {
    let folder = Start::folder();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).expect("a folder");
    std::fs::write(run.join("holiday.jpg"), "").expect("write");
    let why = format!(
        "ws2cgi: {} holds other things; choose another --run\n",
        run.display()
    );
    assert_eq!(Start::default().again_in(folder).fails(), (111, why));
}

#[test]
fn the_log_says_so_where_it_does_not_know_the_level() {
    let mut daemon = Start::default().log("wat").ready();
    daemon.expect("RUST_LOG=wat is no level (off, error, warn, info, debug or trace)");
    for level in ["", "error", "DEBUG"] {
        // Ready is what `ready` waits for.
        Start::default().log(level).ready().connect("/act").works();
    }
}
