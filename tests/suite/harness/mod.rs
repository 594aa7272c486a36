//! Starts the programs under test in temporary folders, waits for their readiness, ends
//! them by pid, and looks at what they left in the log.

mod browser;
mod daemon;
mod demo;
mod disk;
mod frames;
mod http;
mod probe;
mod processes;
mod programs;
mod records;
mod relay;
mod server;
mod site;
mod sockets;
mod stream;
mod waiting;
mod ways;
mod ws;

pub use browser::{Browser, Page};
pub use daemon::{Daemon, Start};
pub use demo::Demo;
pub use disk::Disk;
pub use frames::{
    BINARY, CLOSE, FIN, PING, PONG, TEXT, close_payload, frames, masked, masked_by, plain,
};
#[allow(unused_imports)] // `make compat` uses Body itself
pub use http::{Answer, Body, read_answer, read_head};
pub use probe::{proc_stat, running, with_bystander};
pub use processes::{children, group_members, kill_group, ports};
pub use programs::{
    as_many_as, built, command, compile, copy_program, linked, os_words, outcome, preload, run_ok,
    ws2cgi, ws2cgi_small,
};
pub use records::{UPGRADE, record};
pub use relay::Relay;
pub use server::{Server, peer, project, server_command};
pub use site::{Site, free_port, send_head};
pub use sockets::{narrow_pair, request, tcp_pair};
pub use stream::Events;
pub use waiting::wait_for;
pub use ways::{Poller, cgi_answer};
pub use ws::{KEY, Ws};

use std::process::Command;
use std::time::Duration;

/// Nothing that is waited for takes longer than this, in an emulator on a busy machine either;
/// what does has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is root, as a test that changes users has to be. CI is; elsewhere such a test
/// is left out, and says so.
pub fn as_root(test: &str) -> bool {
    let root = nix::unistd::getuid().is_root();
    let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(root || !ci, "{test} needs root, and CI leaves nothing out");
    if !root {
        eprintln!("{test}: left out, as this is not root");
    }
    root
}

/// A command that runs the words added to it as a user of one group.
pub fn as_user(uid: &str, gid: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", uid, "--regid", gid, "--clear-groups"]);
    command
}
