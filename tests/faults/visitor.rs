//! A browser that bears with what is killed around it: a connection may end at any time, but
//! what comes before its end must be right.

use crate::dice::Dice;
use crate::door::{Door, Gone, frame};
use crate::harness::masked;
use crate::ledger::Ledger;
use std::io::Write;

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

impl From<Gone> for End {
    fn from(gone: Gone) -> End {
        match gone {
            Gone::Cut => End::Cut,
            Gone::Unavailable => End::Unavailable,
        }
    }
}

/// One visit: mostly a WebSocket, at times a POST that is an event of its own.
pub fn visit(door: &Door, dice: &mut Dice, ledger: &Ledger) -> End {
    let end = match dice.below(4) {
        0 => post(door, dice, ledger),
        _ => talk(door, dice),
    };
    end.unwrap_or_else(End::from)
}

/// A POST that is not repeated, as nobody knows what became of it.
fn post(door: &Door, dice: &mut Dice, ledger: &Ledger) -> Result<End, Gone> {
    let label = ledger.label();
    let answer = door.post("/act", &ledger.script(&label, dice))?;
    match answer.status {
        200 => {
            assert_eq!(answer.body, label);
            ledger.answered(&label);
            Ok(End::Whole)
        }
        // Its program was killed.
        502 => Ok(End::Cut),
        500 | 503 | 504 => Ok(End::Unavailable),
        _ => panic!("{answer:?}"),
    }
}

/// Asks for a WebSocket, sends some messages and checks each reply.
fn talk(door: &Door, dice: &mut Dice) -> Result<End, Gone> {
    let path = match dice.below(2) {
        0 => "/act".to_owned(),
        _ => format!("/act?open=head%20WS-Join:%20{ROOM}"),
    };
    let (_, mut stream) = door.upgrade(&path, "")?;
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
}
