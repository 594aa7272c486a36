//! Signals at any moment: no call of the daemon's but its wait is interrupted by one.

use crate::harness::{Daemon, as_many_as};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// Signals to the daemon for as long as this lives.
struct Storm {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    fn over(daemon: &Daemon) -> Storm {
        let pid = Pid::from_raw(daemon.pid().try_into().expect("a pid"));
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = spawn(move || {
            // Now and then one that makes it write a file.
            let signals = [Signal::SIGUSR1].into_iter().chain([Signal::SIGCHLD; 15]);
            for signal in signals.cycle().take_while(|_| !is_over.load(Relaxed)) {
                kill(pid, signal).expect("kill");
                sleep(Duration::from_micros(100));
            }
        });
        let thread = Some(thread);
        Storm { over, thread }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn a_storm_of_signals_disturbs_nothing() {
    let daemon = Daemon::start();
    let mut clients = [(); 3].map(|()| daemon.connect("/act?open=head WS-Join: @here"));
    let storm = Storm::over(&daemon);
    // More than a pipe or a socket takes at once.
    let long = format!("echo {}", "x".repeat(60_000));
    for round in 0..as_many_as(40) {
        let told = format!("a round: {round}");
        daemon.outbox(format!("text @here {told}"));
        for client in &mut clients {
            client.send(&long);
        }
        for client in &mut clients {
            let mut heard = [client.text(), client.text()];
            heard.sort();
            assert!(heard == [told.clone(), long.clone()], "{heard:?}");
        }
    }
    drop(storm);
    assert_eq!(daemon.status()["messages"]["dropped"], 0);
}
