//! Lines to rooms, numbered room by room: whoever is in one notices each that is missing,
//! doubled, changed or out of order. One at a time is on its way to a room, whoever sends it.

use crate::dice::Dice;
use crate::harness::{Site, read_answer, send_head};
use crate::load::Load;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use tungstenite::Message;

/// The names of the rooms.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// What a web server's clients have to know to push.
pub const TOKEN: &str = "s0ak";

/// A room, and the numbers of its last lines.
#[derive(Default)]
pub struct Room {
    turn: Mutex<()>,
    begun: AtomicU64,
    last: AtomicU64,
    /// What had been said to all rooms for certain when each of its lines began.
    before: Mutex<Vec<u64>>,
}

/// How much has been said to all rooms, in bytes of the daemon's history.
#[derive(Default)]
pub struct Said {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Said {
    /// What has been said at most.
    pub fn most(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// What has been said for certain.
    pub fn least(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}

/// The right to send the next line to a room.
pub struct Turn<'a> {
    room: &'a Room,
    /// The line's number.
    pub number: u64,
    /// What it takes in the history.
    size: u64,
    _guard: MutexGuard<'a, ()>,
}

impl Room {
    /// Waits for one's turn.
    pub fn turn(&self) -> Turn<'_> {
        let _guard = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        let number = self.last() + 1;
        self.begun.store(number, Ordering::SeqCst);
        Turn {
            room: self,
            number,
            size: 0,
            _guard,
        }
    }

    /// What had been said to all rooms for certain when a line of this one began.
    pub fn before(&self, number: u64) -> u64 {
        let before = self.before.lock().unwrap_or_else(|e| e.into_inner());
        before[number as usize - 1]
    }

    /// The number of the last line that may be on its way.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// The number of the last line that is on its way for certain.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }
}

impl Turn<'_> {
    /// The line is about to be sent, by this way and so long.
    pub fn line(&mut self, load: &Load, room: &str, way: Way, width: usize) -> String {
        let body = body(room, self.number, way, width);
        self.size = (body.len() + room.len() + load.place.entry()) as u64;
        let mut before = self.room.before.lock().unwrap_or_else(|e| e.into_inner());
        // One that failed has its number again.
        before.truncate(self.number as usize - 1);
        before.push(load.said.least());
        load.said.begun.fetch_add(self.size, Ordering::SeqCst);
        body
    }

    /// What makes `act` send it, in an event of which it is the line.
    pub fn script(&mut self, load: &Load, room: &str, way: Way, width: usize) -> String {
        let body = self.line(load, room, way, width);
        match way {
            Way::Box => format!("box text @{room} {body}"),
            _ => format!("head WS-To: @{room};out {body}"),
        }
    }

    /// The line is on its way.
    pub fn sent(self, load: &Load) {
        self.room.last.store(self.number, Ordering::SeqCst);
        load.said.done.fetch_add(self.size, Ordering::SeqCst);
        load.tally.came("lines sent");
    }
}

/// How a line comes to a room. It stands in the line, so the reader knows what it has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Text,
    Text64,
    Binary,
    TextFile,
    BinaryFile,
    Send,
    SendBinary,
    SendLong,
    Push,
    /// An event program writes to the outbox.
    Box,
    /// An event program's reply has `WS-To`.
    Reply,
}

/// Those that need no client.
const FED: [Way; 9] = [
    Way::Text,
    Way::Text64,
    Way::Binary,
    Way::TextFile,
    Way::BinaryFile,
    Way::Send,
    Way::SendBinary,
    Way::SendLong,
    Way::Push,
];

impl Way {
    fn binary(self) -> bool {
        matches!(self, Way::Binary | Way::BinaryFile | Way::SendBinary)
    }

    /// What stands behind a line's head: what else no way but this one could carry.
    fn separator(self) -> char {
        match self {
            Way::Text64 => '\n',
            Way::Binary => '\0',
            _ => ' ',
        }
    }
}

/// What of a URL's query makes `act` join rooms.
pub fn join(rooms: &[usize]) -> String {
    let names = rooms.iter().map(|&room| format!("%20@{}", NAMES[room]));
    format!("open=head%20WS-Join:{}", names.collect::<String>())
}

/// What a line is, from its head: room, number, way, length of the rest. A shell's printf can
/// make it, too.
fn body(room: &str, number: u64, way: Way, width: usize) -> String {
    let head = head(room, number, way, width);
    format!("{head}{}{number:0width$}", way.separator())
}

fn head(room: &str, number: u64, way: Way, width: usize) -> String {
    format!("#{room} {number} {way:?} {width}")
}

/// The room and number of a message that begins as a line does; an error says what is wrong
/// with the rest.
pub fn read(message: &Message) -> Option<Result<(usize, u64), String>> {
    let (bytes, binary) = match message {
        Message::Text(text) => (text.as_bytes(), false),
        Message::Binary(bytes) => (&bytes[..], true),
        _ => return None,
    };
    let bytes = bytes.strip_prefix(b"#")?;
    let text = String::from_utf8_lossy(bytes);
    let wrong = || format!("{} bytes: {:.60}", bytes.len(), text);
    Some(parse(&text, binary).ok_or_else(wrong))
}

fn parse(text: &str, binary: bool) -> Option<(usize, u64)> {
    let mut words = text.split([' ', '\n', '\0']);
    let name = words.next()?;
    let room = NAMES.iter().position(|n| *n == name)?;
    let number = words.next()?.parse().ok()?;
    let way = words.next()?;
    let more = [Way::Box, Way::Reply];
    let way = FED.iter().chain(&more).find(|w| format!("{w:?}") == way)?;
    let width = words.next()?.parse().ok()?;
    let whole = body(name, number, *way, width);
    (binary == way.binary() && text == &whole[1..]).then_some((room, number))
}

/// A line by one of the ways that need no client.
pub fn feed(load: &Load, dice: &mut Dice) {
    let place = load.place;
    let which = dice.below(NAMES.len());
    let (room, way) = (NAMES[which], dice.pick(&FED));
    let mut turn = load.rooms[which].turn();
    let width = match way {
        Way::SendLong => 4100 + dice.below(place.largest() / 2),
        Way::Push => 1 + dice.below(place.largest() / 2),
        _ => {
            let bound = dice.pick(&[20, 200, 1500]);
            1 + dice.below(bound)
        }
    };
    let body = turn.line(load, room, way, width);
    let number = turn.number;
    // The shell makes the body itself: a script has a bound.
    let head = head(room, number, way, width);
    let printf = format!("printf '%s %0{width}d' '{head}' {number}");
    match way {
        Way::Text => place.line(&format!("text @{room} {body}")),
        Way::Text64 => place.line(&format!("text64 @{room} {}", STANDARD.encode(body))),
        Way::Binary => place.line(&format!("binary @{room} {}", STANDARD.encode(body))),
        Way::TextFile | Way::BinaryFile => {
            let verb = format!("{way:?}").to_lowercase();
            place.shell(&format!(
                "{printf} > $RUN/spool/{room}-{number}; \
                 echo '{verb} @{room} {room}-{number}' > $RUN/outbox"
            ));
        }
        Way::Send => place.shell(&format!("ws-send @{room} '{body}'")),
        Way::SendBinary => place.shell(&format!("{printf} | ws-send --binary @{room}")),
        Way::SendLong => place.shell(&format!("{printf} | ws-send @{room}")),
        Way::Push => push(place.pushes(), room, &body),
        Way::Box | Way::Reply => unreachable!("a visitor's"),
    }
    turn.sent(load);
}

/// POST to send.
fn push(site: &Site, room: &str, body: &str) {
    let mut stream = site.connect();
    let length = body.len().to_string();
    let fields = [
        ("Host", "board"),
        ("Content-Type", "text/plain"),
        ("Content-Length", &length),
        ("X-WS-Token", TOKEN),
    ];
    let path = format!("/cgi-bin/ws-push?to=@{room}");
    send_head(&mut stream, "POST", &path, &fields);
    stream.write_all(body.as_bytes()).expect("write the body");
    let answer = read_answer(&mut stream);
    assert_eq!(answer.status, 204, "{answer:?}");
}
