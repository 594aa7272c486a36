//! SIGKILL at random under load, of the daemon, the web servers, event programs and whoever
//! writes to the outbox, while browsers come by every way. `ROUNDS` and `SEED` may be set.

use crate::dice::Dice;
use crate::door::Door;
use crate::got;
use crate::harness::{Daemon, Server, Start, children, kill_group, wait_for, ws2cgi};
use crate::ledger::Ledger;
use crate::page::Pages;
use crate::visitor::{End, ROOM, visit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// `--history`, bytes: what is sent in some seconds.
pub const HISTORY: usize = 4_000_000;
/// `--poll-wait`, seconds.
pub const POLL_WAIT: u64 = 1;

/// Writes short lines as `echo` does, and messages that `ws-send` spools, without an end. Those to
/// pages have numbers, each its own, whether it could be written or not.
const FEEDER: &str = r#"
trap '' PIPE
n=0 m=0
while :; do
    n=$((n + 1))
    echo "text @feed feed $n" >"$WS2CGI_RUN/outbox"
    printf 'feed %05000d' "$n" | "$WS2CGI" ws-send @feed
    if [ $((n % 4)) = 1 ]; then
        m=$((m + 1))
        echo "text $PAGES page $FEEDER $m" >"$WS2CGI_RUN/outbox"
        m=$((m + 1))
        printf 'page %d %05000d' "$FEEDER" "$m" | "$WS2CGI" ws-send "$PAGES"
    fi
    sleep 0.005
done 2>/dev/null
"#;

struct Feeder(Child);

impl Feeder {
    /// `number`: of this one, among all of them.
    fn start(daemon: &Daemon, number: u64) -> Feeder {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", FEEDER]).stdin(Stdio::null());
        shell
            .env("WS2CGI_RUN", daemon.path("run"))
            .env("WS2CGI", ws2cgi())
            .env("FEEDER", number.to_string())
            .env("PAGES", got::ROOM);
        Feeder(shell.process_group(0).spawn().expect("start a feeder"))
    }

    fn kill(&mut self) {
        kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.kill();
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().unwrap_or_else(|e| panic!("{name}: {e}")),
        _ => usual,
    }
}

/// Visitors by all ways in, until it is dropped.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Counts>>,
}

/// How often something happened.
type Counts = BTreeMap<&'static str, u64>;

impl Load {
    fn start(doors: &[Door], seed: u64, ledger: &Arc<Ledger>) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..4).map(|n| {
            let (over, ledger) = (over.clone(), ledger.clone());
            let door = doors[n as usize % doors.len()].clone();
            std::thread::spawn(move || {
                let mut dice = Dice::new(seed.wrapping_add(n));
                let mut counts = Counts::new();
                while !over.load(Relaxed) {
                    let end = visit(&door, &mut dice, &ledger);
                    *counts.entry(end.name()).or_default() += 1;
                    if end != End::Whole {
                        // What it needs may be starting.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                counts
            })
        });
        let threads = threads.collect();
        Load { over, threads }
    }

    fn end(mut self) -> Counts {
        self.over.store(true, Relaxed);
        let mut all = Counts::new();
        for thread in self.threads.drain(..) {
            for (end, count) in thread.join().expect("a visitor") {
                *all.entry(end).or_default() += count;
            }
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

fn kill_now(pid: u32) {
    // An event program may have ended by itself.
    let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
}

/// An event program that runs; most end within a millisecond.
fn program(daemon: &Daemon) -> Option<u32> {
    (0..100).find_map(|_| children(daemon.pid()).first().copied())
}

fn start(start: Start) -> Daemon {
    let start = start.args("--event-timeout 5 --slow-timeout 2 --close-on-error --ping 2");
    let start = start.args(&format!("--history {HISTORY} --poll-wait {POLL_WAIT}"));
    let mut daemon = start.args("--listen unix:{}/listen").ready();
    // What it says is looked at in `check_log`.
    daemon.quiet();
    daemon
}

/// Programs die here, and one in forty hangs for a while. Nothing else is to go wrong: above
/// all no line of the outbox that names a file that is not there.
fn check_log(log: &str) {
    let loud = |line: &&str| line.starts_with("WARN") || line.starts_with("ERROR");
    let expected = |line: &&str| line.contains(" event failed: killed by signal 9");
    let others: Vec<_> = log.lines().filter(loud).filter(|l| !expected(l)).collect();
    assert!(others.is_empty(), "in the log: {others:#?}");
}

/// Processes that run with this folder's outbox in their environment: event programs, and what
/// they have started. None: of any start of the daemon; else of those but this.
fn programs(daemon: &Daemon, but: Option<&str>) -> Vec<String> {
    let outbox = format!("WS_OUTBOX={}", daemon.path("run/outbox").display());
    let boot = but.map(|boot| format!("WS_BOOT={boot}"));
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let environments = all.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    let has = |environment: &[u8], what: &str| {
        environment
            .split(|&b| b == 0)
            .any(|variable| variable == what.as_bytes())
    };
    let ours =
        environments.filter(|e| has(e, &outbox) && !boot.as_ref().is_some_and(|b| has(e, b)));
    ours.map(|e| String::from_utf8_lossy(&e).into_owned())
        .collect()
}

fn boot(daemon: &Daemon) -> String {
    daemon.status()["boot"].as_str().expect("a boot").to_owned()
}

/// Every id is opened once, and closed at most once, as the last of its events; or it is that of
/// a lone POST, and has one event.
fn check_events(events: &[String]) -> usize {
    let (mut opened, mut closed) = (BTreeSet::new(), BTreeSet::new());
    let mut lone = BTreeSet::new();
    for line in events {
        let mut words = line.split(' ');
        let (Some(event), Some(id)) = (words.next(), words.next()) else {
            panic!("'{line}'");
        };
        match event {
            "open" => assert!(
                !lone.contains(id) && opened.insert(id),
                "{id} is used again"
            ),
            "message" if opened.contains(id) => assert!(!closed.contains(id), "{line}"),
            "message" => assert!(lone.insert(id), "{line}: its id is used again"),
            "close" => assert!(opened.contains(id) && closed.insert(id), "{line}"),
            _ => {}
        }
    }
    opened.len() + lone.len()
}

/// Processes whose working folder is a daemon's: programs, hand-offs, web servers.
fn processes_in(daemon: &Daemon) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let at = |path: &Path| std::fs::read_link(path.join("cwd")).ok();
    let ours = all
        .map(|entry| entry.path())
        .filter(|path| at(path).is_some_and(|cwd| cwd.starts_with(daemon.path(""))));
    ours.map(|path| {
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).into_owned()
    })
    .collect()
}

/// Each of them dies in one round of three.
const VICTIMS: [&str; 5] = ["daemon", "boa", "lighttpd", "program", "feeder"];

#[test]
fn whoever_is_killed_everything_serves_again() {
    let rounds = setting("ROUNDS", 200);
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    let seed = setting("SEED", now.as_secs());
    println!("{rounds} rounds, SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut daemon = start(Start::default());
    // With the pipe of its own that it has once it has been handed one.
    assert_eq!(daemon.post("/act", "").status, 204);
    let left_of = |daemon: &Daemon| (daemon.number("/memory/used"), daemon.descriptors().len());
    let at_rest = left_of(&daemon);
    let mut boa = Server::boa("rc21", &daemon);
    let mut lighttpd = Server::lighttpd(&daemon);
    let mut feeder = Feeder::start(&daemon, 0);
    let doors = [
        Door::server("boa", boa.port),
        Door::server("lighttpd", lighttpd.port),
        Door::socket(daemon.path("listen")),
    ];
    let ledger = Arc::new(Ledger::default());
    let pages = Pages::start(&doors, seed, &ledger);
    let mut boots = BTreeSet::from([boot(&daemon)]);
    let (mut killed, mut visits) = (Counts::new(), Counts::new());

    for round in 0..rounds {
        let load = Load::start(&doors, seed ^ (round << 8), &ledger);
        std::thread::sleep(Duration::from_millis(dice.below(80)));
        let mut dead = BTreeSet::new();
        while dead.is_empty() {
            for victim in VICTIMS {
                if dice.below(3) > 0 {
                    continue;
                }
                std::thread::sleep(Duration::from_micros(dice.below(3000)));
                match victim {
                    "daemon" => kill_now(daemon.pid()),
                    "boa" => boa.kill(),
                    "lighttpd" => lighttpd.kill(),
                    "feeder" => feeder.kill(),
                    _ => match program(&daemon) {
                        Some(pid) => kill_now(pid),
                        None => continue,
                    },
                }
                dead.insert(victim);
                *killed.entry(victim).or_default() += 1;
            }
        }

        // Whoever was killed is started again, in the same folder and at the same ports.
        if dead.contains("daemon") {
            daemon.wait();
            check_log(&daemon.log());
            daemon = start(Start::default().again_in(daemon.kill()));
            assert!(boots.insert(boot(&daemon)), "a boot is used again");
        }
        for (name, server) in [("boa", &mut boa), ("lighttpd", &mut lighttpd)] {
            if dead.contains(name) {
                server.start_again();
            }
        }
        if dead.contains("feeder") {
            feeder = Feeder::start(&daemon, round + 1);
        }

        // All ways in, whoever has been there before, and the outbox, with what fits a line and
        // what is spooled.
        let (now, seen) = (boot(&daemon), pages.seen());
        for server in [&boa, &lighttpd] {
            server.ws("/cgi-bin/nph-ws/act").works();
        }
        for door in &doors {
            let posted = door
                .post("/act", "head X: y;out posted")
                .expect("an answer");
            assert_eq!((posted.status, posted.body.as_str()), (200, "posted"));
        }
        let url = format!("/cgi-bin/nph-ws/act?open=head%20WS-Join:%20{ROOM}");
        let mut member = boa.ws(&url);
        let (mut short, mut long) = (false, false);
        while !(short && long) {
            match member.text().len() {
                ..100 => short = true,
                _ => long = true,
            }
        }
        for (end, count) in load.end() {
            *visits.entry(end).or_default() += count;
        }
        let waiting = || pages.waiting(&seen, &now);
        wait_for(&format!("{:?} to get something", waiting()), || {
            waiting().is_empty().then_some(())
        });
        wait_for("programs of killed daemons to end", || {
            programs(&daemon, Some(&now)).is_empty().then_some(())
        });
        assert_eq!(daemon.number("/outbox/bad"), 0);
        check_log(&daemon.log());
    }

    // At last nothing is left, not even what feeders were writing when they were killed.
    let (messages, gaps) = pages.end();
    feeder.kill();
    daemon.until_empty();
    let what = format!(
        "{at_rest:?} bytes and descriptors, not {:?}",
        left_of(&daemon)
    );
    wait_for(&what, || (left_of(&daemon) == at_rest).then_some(()));
    wait_for("the spool folder to be empty", || {
        let spool = std::fs::read_dir(daemon.path("run/spool")).expect("spool");
        (spool.count() == 0).then_some(())
    });
    boa.end();
    lighttpd.end();
    assert_eq!(daemon.stop().code(), Some(0));
    check_log(&daemon.log());
    let mut left: Vec<_> = std::fs::read_dir(daemon.path("run"))
        .expect("the run folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["outbox", "spool", "status.json"]);
    assert_eq!(programs(&daemon, None), [""; 0]);
    assert_eq!(processes_in(&daemon), [""; 0]);
    let events = daemon.events();
    let connections = check_events(&events);
    let (posted, answered) = ledger.check(&events);
    println!(
        "killed: {killed:?}; {} daemons; visits: {visits:?}; {connections} ids; \
         {messages} messages to pages, {gaps} gaps; of {posted} of theirs {answered} answered",
        boots.len()
    );
    assert!(visits["whole"] > 0 && answered > 0);
}
