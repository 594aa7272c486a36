//! The ways to a daemon: through a web server, or its own.

use crate::harness::{Answer, Body, PATIENCE, Site, read_head, send_head};
use nix::sys::socket::sockopt::{RcvBuf, TcpMaxSeg};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// A way to a daemon.
pub struct Door {
    site: Site,
    /// What stands before `/act` in the URL, or replaces the slash if it ends in `-`.
    prefix: &'static str,
    /// The same of a POST.
    posts: &'static str,
    origin: Option<&'static str>,
    /// Whether a browser that has gone is seen by the daemon at once.
    pub sees: bool,
}

impl Door {
    fn new(site: &Site, [prefix, posts]: [&'static str; 2]) -> Door {
        let site = Site { port: site.port };
        Door {
            site,
            prefix,
            posts,
            origin: None,
            sees: true,
        }
    }

    /// With WebSockets: boa of uClinux, boa 0.94.14, and the daemon's own.
    pub fn all(uclinux: &Site, rc21: &Site, direct: &Site) -> [Door; 3] {
        let uclinux = Door {
            origin: Some("http://board"),
            ..Door::new(uclinux, ["/cgi-bin/nph-", "/cgi-bin/post-"])
        };
        [uclinux, Door::by_path(rc21), Door::new(direct, ["", ""])]
    }

    /// A web server whose programs get the route as a path.
    pub fn by_path(site: &Site) -> Door {
        Door::new(site, ["/cgi-bin/nph-ws", "/cgi-bin/ws-post"])
    }

    /// busybox httpd.
    pub fn busybox(site: &Site) -> Door {
        Door {
            sees: false,
            ..Door::by_path(site)
        }
    }

    /// Asks for a WebSocket to `/act?open=…`.
    pub fn knock(&self, url: &str) -> TcpStream {
        let mut stream = self.site.connect();
        self.ask(&mut stream, url, &[]);
        stream
    }

    /// The same, where the kernels on the way hold little that is not read: their buffers grow
    /// with the segment's size, which on loopback is 64 KB.
    pub fn knock_narrowly(&self, url: &str) -> TcpStream {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
        setsockopt(&socket, RcvBuf, &4096).expect("SO_RCVBUF");
        setsockopt(&socket, TcpMaxSeg, &536).expect("TCP_MAXSEG");
        let to = SockaddrIn::new(127, 0, 0, 1, self.site.port);
        connect(socket.as_raw_fd(), &to).expect("connect");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        self.ask(&mut stream, url, &[]);
        stream
    }

    /// Asks for a WebSocket that speaks `ws2cgi1`.
    pub fn knock_marked(&self, url: &str) -> TcpStream {
        let mut stream = self.site.connect();
        self.ask(&mut stream, url, &[("Sec-WebSocket-Protocol", "ws2cgi1")]);
        stream
    }

    fn ask(&self, stream: &mut TcpStream, url: &str, more: &[(&str, &str)]) {
        let origin = self.origin.map(|origin| ("Origin", origin));
        let changes: Vec<_> = origin.into_iter().chain(more.iter().copied()).collect();
        let url = below(self.prefix, url);
        self.site.ask_upgrade(stream, &url, &changes);
    }

    /// A GET that asks for no upgrade; nothing of its answer has been read.
    pub fn get(&self, url: &str) -> TcpStream {
        self.send("GET", &below(self.prefix, url), &[], b"")
    }

    /// Posts, and reads the answer.
    pub fn post(&self, url: &str, content_type: &str, body: &[u8]) -> (Answer, Vec<u8>) {
        let fields = [("Content-Type", content_type)];
        whole(self.send("POST", &below(self.posts, url), &fields, body))
    }

    fn send(&self, method: &str, url: &str, fields: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = self.site.connect();
        let length = body.len().to_string();
        let mut all = vec![("Host", "board"), ("Connection", "close")];
        all.extend(self.origin.map(|origin| ("Origin", origin)));
        if method == "POST" {
            all.push(("Content-Length", &length));
        }
        all.extend(fields);
        send_head(&mut stream, method, url, &all);
        stream.write_all(body).expect("write the body");
        stream
    }
}

fn below(prefix: &str, url: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(_) => format!("{prefix}{}", &url[1..]),
        None => format!("{prefix}{url}"),
    }
}

/// Reads an answer whose body may hold any bytes.
pub fn whole(mut stream: TcpStream) -> (Answer, Vec<u8>) {
    let answer = read_head(&mut stream).expect("an HTTP head");
    let mut bytes = Vec::new();
    let read = Body::of(&answer, stream).read_to_end(&mut bytes);
    read.expect("read the body");
    (answer, bytes)
}
