//! The ways to a daemon, for browsers that bear with what is killed on the way.

use crate::harness::{Answer, Body, KEY, masked, read_head};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Whoever says nothing for so long has hung: streams and WebSockets are pinged, polls answered,
/// much sooner.
const SILENCE: Duration = Duration::from_secs(20);

/// A web server, or the daemon's own socket.
#[derive(Clone)]
pub struct Door {
    pub name: &'static str,
    address: Address,
    /// What stands before a route in the URL of a GET.
    get: &'static str,
    /// The same of a POST.
    post: &'static str,
}

#[derive(Clone)]
enum Address {
    Port(u16),
    Socket(PathBuf),
}

/// Why there is no connection, or no more.
#[derive(Debug)]
pub enum Gone {
    /// Something on the way has gone.
    Cut,
    /// Somebody said that the daemon is not there, or busy, or could not run its program.
    Unavailable,
}

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Gone {
        match error.kind() {
            ErrorKind::WouldBlock => panic!("no word for {SILENCE:?}, and no end"),
            _ => Gone::Cut,
        }
    }
}

impl Door {
    /// A web server with `cgi-bin/`.
    pub fn server(name: &'static str, port: u16) -> Door {
        Door {
            name,
            address: Address::Port(port),
            get: "/cgi-bin/nph-ws",
            post: "/cgi-bin/ws-post",
        }
    }

    /// `--listen unix:PATH`.
    pub fn socket(path: PathBuf) -> Door {
        Door {
            name: "listen",
            address: Address::Socket(path),
            get: "",
            post: "",
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = match &self.address {
            Address::Port(port) => TcpStream::connect(("127.0.0.1", *port))?,
            // What TcpStream does works for it too.
            Address::Socket(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path)?)),
        };
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(stream)
    }

    /// Sends a request, and reads the head of its answer.
    fn ask(&self, head: &str, body: &str) -> io::Result<(Answer, TcpStream)> {
        let mut stream = self.connect()?;
        let request = format!("{head}Host: board.test\r\n\r\n{body}");
        stream.write_all(request.as_bytes())?;
        Ok((read_head(&mut stream)?, stream))
    }

    /// A GET of a route, with header lines; each has its CRLF.
    pub fn get(&self, route: &str, lines: &str) -> Result<(Answer, Body<TcpStream>), Gone> {
        let head = format!(
            "GET {}{route} HTTP/1.1\r\nConnection: close\r\n{lines}",
            self.get
        );
        let (answer, stream) = self.ask(&head, "")?;
        let body = Body::of(&answer, stream);
        match answer.status {
            // lighttpd's word for a program that it could not start, or that died, is 500.
            500 | 502..=504 => Err(Gone::Unavailable),
            _ => Ok((answer, body)),
        }
    }

    /// A POST to a route: the whole answer, whatever it is.
    pub fn post(&self, route: &str, body: &str) -> Result<Answer, Gone> {
        let head = format!(
            "POST {}{route} HTTP/1.1\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n",
            self.post,
            body.len()
        );
        let (answer, stream) = self.ask(&head, body)?;
        let body = Body::of(&answer, stream);
        Ok(whole(answer, body)?)
    }

    /// A WebSocket, with further header lines.
    pub fn upgrade(&self, route: &str, lines: &str) -> Result<(Answer, TcpStream), Gone> {
        let head = format!(
            "GET {}{route} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}",
            self.get
        );
        let (answer, stream) = self.ask(&head, "")?;
        match answer.status {
            101 => Ok((answer, stream)),
            500 | 502..=504 => Err(Gone::Unavailable),
            status => panic!("{route}: {status}"),
        }
    }
}

/// An answer with its body, if all of it came.
pub fn whole(mut answer: Answer, mut body: Body<TcpStream>) -> io::Result<Answer> {
    body.read_to_string(&mut answer.body)?;
    Ok(answer)
}

/// The next frame that is no ping or pong: its first byte, its payload.
pub fn frame(stream: &mut TcpStream) -> io::Result<(u8, String)> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let mut len = usize::from(head[1]);
        if len == 126 {
            let mut more = [0; 2];
            stream.read_exact(&mut more)?;
            len = u16::from_be_bytes(more).into();
        }
        let mut payload = vec![0; len];
        stream.read_exact(&mut payload)?;
        match head[0] {
            0x89 => stream.write_all(&masked(0x8a, &payload))?,
            0x8a => {}
            first => return Ok((first, String::from_utf8_lossy(&payload).into_owned())),
        }
    }
}
