//! Whoever handed a connection over still has it, and may try to freeze the daemon with it.

use crate::harness::{Daemon, Ws, tcp_pair};
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Linger, RcvBuf, SndBuf};
use std::net::{Shutdown, TcpStream};

/// A WebSocket whose kernel buffers hold little, and the sender's own copy of its other end.
fn handed_over(daemon: &Daemon) -> (Ws, TcpStream) {
    let (client, server) = tcp_pair();
    setsockopt(&server, SndBuf, &4096).expect("SO_SNDBUF");
    setsockopt(&client, RcvBuf, &4096).expect("SO_RCVBUF");
    let copy = server.try_clone().expect("a copy");
    daemon.hand_over(server, "nph-ws", &[("PATH_INFO", "/act2")]);
    (Ws::accepted(client), copy)
}

/// More than the kernel takes, less than the queue.
fn fill(daemon: &Daemon) {
    for _ in 0..15 {
        daemon.outbox(format!("text /act2 {}", "x".repeat(3000)));
    }
}

#[test]
fn a_socket_made_blocking_by_its_sender_blocks_nobody() {
    let daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (mut slow, copy) = handed_over(&daemon);
    copy.set_nonblocking(false).expect("blocking");
    fill(&daemon);
    bystander.works();
    for _ in 0..15 {
        assert_eq!(slow.text().len(), 3000);
    }
    slow.works();
}

#[test]
fn a_lingering_socket_is_closed_at_once() {
    let daemon = Daemon::start();
    let mut bystander = daemon.connect("/act");
    let (mut slow, copy) = handed_over(&daemon);
    let for_long = libc::linger {
        l_onoff: 1,
        l_linger: 600,
    };
    setsockopt(&copy, Linger, &for_long).expect("SO_LINGER");
    fill(&daemon);
    // All lines are read, so its queue holds what the kernel did not take.
    daemon.status_until("/outbox/lines", 15);
    drop(copy);
    slow.stream().shutdown(Shutdown::Write).expect("shutdown");
    daemon.event("done close");
    bystander.works();
}
