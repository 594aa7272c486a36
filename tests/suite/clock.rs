//! The wall clock, which is set back and forth where a board has no battery and learns the time
//! of a network: nothing in the daemon goes by it.

use crate::harness::{Poller, Start, preload};
use std::time::{Duration, Instant};

#[test]
fn a_wall_clock_that_jumps_changes_nothing() {
    // At each look the wall clock has jumped by decades; each look is noted.
    let library = preload("tests/programs/clock.c");
    let start = Start::default().shell(&format!(
        "export CLOCK_LOOKS=$PWD/looks LD_PRELOAD={}",
        library.display()
    ));
    let args = "--ping 1 --event-timeout 3 --slow-timeout 1 --status 1 --poll-wait 1";
    let mut daemon = start.args(args).ready();
    let looks = || std::fs::read_to_string(daemon.path("looks")).unwrap_or_default();
    // For chance, at the start: WS_BOOT.
    assert_eq!(looks(), "clock_gettime\n");
    // A poll is held for its second, and its chain for two more.
    let mut page = Poller::new("/act2?via=poll");
    let begin = Instant::now();
    assert_eq!(page.poll(&daemon, "").status, 204);
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(30),
        "{took:?}"
    );
    assert_eq!(page.poll(&daemon, "&wait=0").status, 204);
    let mut ws = daemon.connect("/act");
    // Pings come a second apart,
    ws.pinged();
    let begin = Instant::now();
    (0..3).for_each(|_| ws.pinged());
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(2500) && took < Duration::from_secs(30),
        "{took:?}"
    );
    daemon.event(&format!("close {} 0 1006 timeout", page.id));
    // and a program has its three.
    let begin = Instant::now();
    ws.send("hang");
    ws.send("head X-A: b;out next");
    assert_eq!(ws.text(), "next");
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(2900) && took < Duration::from_secs(30),
        "{took:?}"
    );
    // A slow reader is closed, a queue and a line wait no longer than they may.
    let narrow = daemon.narrow("/act2");
    for _ in 0..60 {
        daemon.outbox(format!("text /act2 {}", "x".repeat(4000)));
    }
    daemon.expect("too slow a reader, closed with 1013");
    drop(narrow);
    daemon.expect("message event failed: not done within --event-timeout");
    assert!(daemon.number("/uptime") < 100);
    assert_eq!(daemon.stop().code(), Some(0));
    // All that without another look.
    let looks = std::fs::read_to_string(daemon.path("looks")).expect("looks");
    assert_eq!(looks, "clock_gettime\n");
}
