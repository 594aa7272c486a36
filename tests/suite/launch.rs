//! Launching: what the finished binary is made of, what a child inherits, what it leaves.

use crate::harness::{Daemon, Start, Ws, proc_stat, run_ok, wait_for, ws2cgi};
use std::process::Command;

/// What a release build, beside the one under test, imports from libc.
fn imports(binary: &str) -> Vec<String> {
    let built = ws2cgi();
    let target = built.parent().and_then(|profile| profile.parent());
    let release = target
        .expect("a target folder")
        .join("release")
        .join(binary);
    let missing = format!("{} is missing: cargo build --release", release.display());
    assert!(release.exists(), "{missing}");
    let output = run_ok(
        Command::new("nm")
            .args(["-D", "--undefined-only"])
            .arg(release),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    // `U clone@GLIBC_2.2.5`
    let symbols = text
        .lines()
        .filter_map(|line| line.split_whitespace().last());
    symbols
        .map(|name| name.split('@').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_finished_binaries_import_clone_and_execve_and_no_fork_or_thread() {
    for (binary, launches) in [("ws2cgi", true), ("ws2cgi-small", false)] {
        let imports = imports(binary);
        let imports = |symbol: &str| imports.iter().any(|import| import == symbol);
        assert!(
            imports("sendmsg"),
            "{binary}: what nm says is something else"
        );
        for needed in ["clone", "execve"] {
            assert_eq!(imports(needed), launches, "{binary}: {needed}");
        }
        for banned in [
            "fork",
            "_Fork",
            "vfork",
            "posix_spawn",
            "posix_spawnp",
            "pthread_create",
            "thrd_create",
            "system",
            "popen",
            "execvp",
            "execv",
            "execvpe",
            "daemon",
        ] {
            assert!(!imports(banned), "{binary} imports {banned}");
        }
    }
}

#[test]
fn a_child_inherits_no_descriptor_and_no_signal_state() {
    // A careless parent: descriptors left open, signals ignored.
    let shell = "exec 7</dev/null 9>/dev/null; trap '' HUP INT QUIT USR2 PIPE CHLD WINCH";
    let daemon = Start::default()
        .shell(shell)
        .args("--listen 127.0.0.1:0")
        .ready();
    let mut others: Vec<Ws> = (0..3).map(|_| daemon.connect("/act2")).collect();
    others[0].send("until go");
    daemon.status_until("/jobs", 1);
    let mut watcher = daemon.member("@w");
    let mut ws = daemon.connect("/act?open=out WS-To: @w\\n;signals");
    for signals in [watcher.text(), ws.ask("signals")] {
        assert_eq!(signals, "end");
    }
    assert_eq!(ws.ask("fds"), "0 1 2 ");
    daemon.let_go("go");
}

/// Processes whose parent is the daemon, zombies too.
fn children_even_dead(daemon: &Daemon) -> Vec<u32> {
    let parent = daemon.pid().to_string();
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| proc_stat(*pid, 4).as_ref() == Some(&parent))
        .collect()
}

#[test]
fn zombies_are_always_reaped() {
    let mut daemon = Daemon::with("--event-timeout 5 --slow-timeout 1");
    let mut all: Vec<Ws> = ["/act", "/act2", "/deep/act"]
        .map(|r| daemon.connect(r))
        .into();
    for script in [
        "exit 3",
        "signal 9",
        "flood 0",
        "deaf;hang",
        "child hang;out",
        "stray hang",
    ] {
        all.iter_mut().for_each(|ws| ws.send(script));
    }
    all.iter_mut().for_each(Ws::works);
    wait_for("no child", || {
        children_even_dead(&daemon).is_empty().then_some(())
    });
    assert_eq!(daemon.number("/jobs"), 0);
    daemon.quiet();
}

#[test]
fn two_thousand_events_leave_the_daemons_memory_flat() {
    let daemon = Start::default().log("warn").ready();
    let mut ws = daemon.connect("/act");
    let mut events = |count: usize| {
        for n in 0..count {
            ws.send(&format!(
                "head WS-State: {n}\\nWS-Join: @r{};out {n}",
                n % 9
            ));
        }
        (0..count).for_each(|n| assert_eq!(ws.text(), n.to_string()));
    };
    events(200);
    let before = daemon.anonymous();
    events(2000);
    let after = daemon.anonymous();
    assert!(after <= before + 64, "{before} KB, then {after}");
}

#[test]
fn an_idle_connection_takes_a_few_kilobytes() {
    // Most clients here are not looked at for a while.
    let start = Start::default().args("--ping 0");
    let daemon = start.log("warn").ready();
    let warm: Vec<Ws> = (0..10).map(|_| daemon.connect("/act")).collect();
    let before = daemon.anonymous();
    let mut idle: Vec<Ws> = (0..50).map(|_| daemon.connect("/act")).collect();
    // What a message took is given back.
    let large = format!("exit 0;{}", "x".repeat(60_000));
    for ws in &mut idle {
        ws.send(&large);
        ws.works();
    }
    let each = daemon.anonymous().saturating_sub(before) * 1024 / idle.len() as u64;
    println!("{each} bytes for each idle connection");
    assert!(each <= 8 * 1024, "{each} bytes for each idle connection");
    drop(warm);
}
