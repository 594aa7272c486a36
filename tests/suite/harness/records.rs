//! Hand-off records made by the tests themselves, as a wrong or hostile sender would.

use super::{Daemon, KEY};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};

/// The variables of a plain upgrade request, but SCRIPT_NAME.
pub const UPGRADE: [(&str, &str); 10] = [
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "Boa/0.94.14rc21"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_METHOD", "GET"),
    ("QUERY_STRING", ""),
    ("REMOTE_ADDR", "127.0.0.1"),
    ("HTTP_HOST", "board.test"),
    ("HTTP_UPGRADE", "websocket"),
    ("HTTP_SEC_WEBSOCKET_VERSION", "13"),
    ("HTTP_SEC_WEBSOCKET_KEY", KEY),
];

/// A record as `nph-ws` makes it: of an upgrade, with more variables before its own, so
/// that these win.
pub fn record(more: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"ws2cgi/1 nph-ws\0".to_vec();
    for (name, value) in more.iter().chain(&UPGRADE) {
        bytes.extend(format!("{name}={value}\0").bytes());
    }
    bytes
}

impl Daemon {
    /// Sends a datagram with descriptors to the hand-off socket.
    pub fn hand_in(&self, record: &[u8], fds: &[&dyn AsFd]) {
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[] } else { &rights[..] };
        let flags = SockFlag::SOCK_CLOEXEC;
        let sender = socket(AddressFamily::Unix, SockType::Datagram, flags, None);
        let sender = sender.expect("a socket");
        let to = UnixAddr::new(&self.path("run/handoff.sock")).expect("an address");
        let (bytes, flags) = ([IoSlice::new(record)], MsgFlags::empty());
        sendmsg(sender.as_raw_fd(), &bytes, rights, flags, Some(&to)).expect("hand in");
    }
}
