//! Connections to the daemon that are no hand-off, and pairs of sockets.

use super::{Daemon, KEY, PATIENCE, ports};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBuf, SndBuf};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// A TCP connection: the client's end, the server's.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    client.set_read_timeout(Some(PATIENCE)).expect("timeout");
    (client, server)
}

/// The same, of which the kernel holds little that the client has not read.
pub fn narrow_pair() -> (TcpStream, TcpStream) {
    let (client, server) = tcp_pair();
    setsockopt(&server, SndBuf, &4096).expect("SO_SNDBUF");
    setsockopt(&client, RcvBuf, &4096).expect("SO_RCVBUF");
    (client, server)
}

/// An upgrade request's head. `more` are header lines, each with its CRLF.
pub fn request(target: &str, more: &str) -> String {
    let target = target.replace(' ', "%20");
    format!(
        "GET {target} HTTP/1.1\r\nHost: board.test\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

impl Daemon {
    /// A connection to `--listen unix:{}/NAME`. What TcpStream does works for it too.
    pub fn unix(&self, name: &str) -> TcpStream {
        let stream = UnixStream::connect(self.path(name)).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        TcpStream::from(OwnedFd::from(stream))
    }

    /// The port that the kernel chose for `--listen ADDR:0`. `table`: `tcp` or `tcp6`.
    pub fn port(&self, table: &str) -> u16 {
        let port = ports(self.pid(), table).first().copied();
        port.expect("a listening socket")
    }
}
