//! Waiting, in a process of its own: it catches signals.
#![cfg(unix)]

use nix::sys::signal::{Signal, raise};
use ws2cgi::sys::unix::Unix;
use ws2cgi::sys::{Interest, Sys};

#[test]
fn a_descriptor_that_is_always_ready_keeps_no_signal_out() {
    let mut sys = Unix::new().unwrap();
    sys.catch_signals().unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    sys.write(&writer, b"never read").unwrap();
    let mut ready = Vec::new();
    for signal in [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR1] {
        raise(signal).unwrap();
        sys.watch(&reader, 7, Interest::Read);
        let signals = sys.wait(None, &mut ready).unwrap();
        let came = [signals.stop, signals.child, signals.status];
        let sent = [Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR1].map(|s| s == signal);
        assert_eq!(came, sent);
    }
    assert!(ready.iter().all(|ready| ready.token == 7 && ready.readable));
    assert_eq!(ready.len(), 3);
}
