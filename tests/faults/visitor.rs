//! A browser that bears with what is killed around it: a connection may end at any time, but
//! what comes before its end must be right.

use crate::dice::Dice;
use crate::harness::{KEY, masked};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What all feeders and visitors write to: those who are in it hear it between their replies.
pub const ROOM: &str = "@feed";

/// How a visit ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// All was answered, and the close too.
    Whole,
    /// Something on the way has gone.
    Cut,
    /// Somebody said that the daemon is not there, or busy.
    Unavailable,
}

impl End {
    pub fn name(&self) -> &'static str {
        match self {
            End::Whole => "whole",
            End::Cut => "cut",
            End::Unavailable => "unavailable",
        }
    }
}

/// Asks for a WebSocket at a port of loopback, sends some messages and checks each reply.
pub fn visit(port: u16, dice: &mut Dice) -> End {
    let mut talk = || -> io::Result<End> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let path = match dice.below(2) {
            0 => "/cgi-bin/nph-ws/act".to_owned(),
            _ => format!("/cgi-bin/nph-ws/act?open=head%20WS-Join:%20{ROOM}"),
        };
        match upgrade(&mut stream, port, &path)? {
            101 => {}
            503 => return Ok(End::Unavailable),
            // lighttpd's word for a program that it could not start, or that died.
            500 | 502 => return Ok(End::Unavailable),
            status => panic!("{path}: {status}"),
        }
        for n in 0..dice.below(6) {
            let (script, reply) = match dice.below(40) {
                0 => (format!("deaf;sleep 2000;out \\n{n}"), n.to_string()),
                1..10 => (format!("sleep 20;out \\n{n}"), n.to_string()),
                10..20 => (
                    format!("box text {ROOM} feed of {n};out \\n{n}"),
                    n.to_string(),
                ),
                _ => (
                    format!("out \\n{n} {}", "y".repeat(2000)),
                    format!("{n} {}", "y".repeat(2000)),
                ),
            };
            stream.write_all(&masked(0x81, script.as_bytes()))?;
            loop {
                let (opcode, payload) = frame(&mut stream)?;
                match opcode {
                    0x81 if payload.starts_with("feed ") => {}
                    0x81 => {
                        assert_eq!(payload, reply);
                        break;
                    }
                    // Its program was killed: a failed event closes (--close-on-error).
                    0x88 => return Ok(End::Cut),
                    other => panic!("a frame of kind {other:x}: {payload}"),
                }
            }
        }
        stream.write_all(&masked(0x88, &1000u16.to_be_bytes()))?;
        while frame(&mut stream)?.0 != 0x88 {}
        Ok(End::Whole)
    };
    talk().unwrap_or_else(|e| match e.kind() {
        io::ErrorKind::WouldBlock => panic!("no answer, and no end"),
        _ => End::Cut,
    })
}

fn upgrade(stream: &mut TcpStream, port: u16, path: &str) -> io::Result<u16> {
    let host = format!("127.0.0.1:{port}");
    let fields = [
        ("Host", host.as_str()),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
    ];
    let mut head = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        read_exact(stream, &mut byte)?;
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(status.unwrap_or_else(|| panic!("no HTTP answer: {answer}")))
}

/// An unmasked frame: its first byte, its payload.
fn frame(stream: &mut TcpStream) -> io::Result<(u8, String)> {
    let mut head = [0; 2];
    read_exact(stream, &mut head)?;
    let mut len = usize::from(head[1]);
    if len == 126 {
        let mut more = [0; 2];
        read_exact(stream, &mut more)?;
        len = u16::from_be_bytes(more).into();
    }
    let mut payload = vec![0; len];
    read_exact(stream, &mut payload)?;
    Ok((head[0], String::from_utf8_lossy(&payload).into_owned()))
}

/// A signal, as each child of the tests that ends is one, may cut a read short.
fn read_exact(stream: &mut TcpStream, mut buf: &mut [u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match stream.read(buf) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buf = &mut buf[count..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
