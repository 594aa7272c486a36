//! The outbox: a stream of lines in any pieces, and each line's command.

use super::input::{pieces, stretch};
use super::rules;
use ws2cgi::limits::{OUTBOX_LINE, PIPE_BUF};
use ws2cgi::outbox::{Command, Line, Lines, Opcode, Payload, encode, encode_spooled, parse};

/// Lines are the same in whichever pieces they come, a long one harms no other, and a command
/// that was understood can be written again.
pub fn run(bytes: &[u8]) {
    let Some((&how, rest)) = bytes.split_first() else {
        return;
    };
    let stream = stretch(rest);
    let expected = expected(&stream);
    assert_eq!(take(&[&stream]), expected);
    assert_eq!(take(&pieces(&stream, how)), expected);
    // Of thousands, which are blank for the most part, a few.
    for line in expected.iter().take(50) {
        if let Line::Whole(line) = line {
            check(line);
        }
    }
}

fn expected(stream: &[u8]) -> Vec<Line> {
    let mut parts = stream.split(|&b| b == b'\n');
    // What has no newline yet is a line only where it is too long for one.
    let open = parts.next_back().unwrap_or_default();
    let mut lines: Vec<_> = parts
        .map(|line| match line.len() > OUTBOX_LINE {
            true => Line::TooLong,
            false => Line::Whole(line.to_vec()),
        })
        .collect();
    if open.len() > OUTBOX_LINE {
        lines.push(Line::TooLong);
    }
    lines
}

fn take(pieces: &[&[u8]]) -> Vec<Line> {
    let (mut lines, mut taken, mut position) = (Lines::default(), Vec::new(), 0);
    for piece in pieces {
        let before = lines.pushed();
        lines.push(piece);
        assert_eq!(lines.pushed(), before + piece.len() as u64);
        while let Some(line) = lines.take() {
            taken.push(line);
            assert!((position..=lines.pushed()).contains(&lines.position()));
            position = lines.position();
        }
        // An unfinished line waits for nobody but its writer.
        assert_eq!(lines.position(), lines.pushed());
        position = lines.position();
    }
    taken
}

fn check(line: &[u8]) {
    let command = match parse(line) {
        Ok(Some(command)) => command,
        Ok(None) => {
            let blank = |b: &u8| b.is_ascii_whitespace() || *b >= 0x80 || *b == 0x0b;
            assert!(line.first() == Some(&b'#') || line.iter().all(blank));
            return;
        }
        Err(why) => {
            assert!(!why.is_empty());
            return;
        }
    };
    let line = match &command {
        Command::Send(opcode, target, Payload::Inline(payload)) => {
            rules::check_target(target, None);
            assert!(*opcode == Opcode::Binary || core::str::from_utf8(payload).is_ok());
            match encode(*opcode, target, payload) {
                Some(line) => line,
                // base64 makes it longer by a third.
                None => return assert!(payload.len() > PIPE_BUF / 2),
            }
        }
        Command::Send(opcode, target, Payload::Spooled(name)) => {
            rules::check_target(target, None);
            assert!(rules::spool_file(name), "{name}");
            encode_spooled(*opcode, target, name)
        }
        Command::Close(target, close) => {
            rules::check_target(target, None);
            rules::check_close(close);
            if close.reason.ends_with(|c: char| c.is_ascii_whitespace()) {
                return; // where it was cut
            }
            format!("close {target} {} {}\n", close.code, close.reason).into_bytes()
        }
        Command::Join(target, room) | Command::Leave(target, room) => {
            rules::check_target(target, None);
            assert!(rules::room(room) && room != "all", "{room}");
            let verb = match command {
                Command::Join(..) => "join",
                _ => "leave",
            };
            format!("{verb} {target} @{room}\n").into_bytes()
        }
    };
    let one = line.strip_suffix(b"\n").expect("a line");
    assert!(!one.contains(&b'\n'));
    assert!(line.len() <= PIPE_BUF || !matches!(command, Command::Send(..)));
    assert_eq!(parse(one), Ok(Some(command)));
}
