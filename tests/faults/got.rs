//! What a page has got of what feeders wrote to it: all of it in order, each once; where some is
//! missing it has been told.

use std::sync::Mutex;

/// What feeders write to pages.
pub const ROOM: &str = "@page";

/// A message's place: which feeder wrote it, and its number there.
type Place = (u64, u64);

/// Whoever is told of a gap by his own daemon has missed more messages than this: no message takes
/// 8 KB of `--history`.
const RING: u64 = super::killed::HISTORY as u64 / 8192;

/// A place in the daemon's history: `BOOT-N`.
struct Mark {
    boot: String,
    number: u64,
}

impl Mark {
    fn parse(text: &str) -> Mark {
        let (boot, number) = text.split_once('-').expect("a mark");
        Mark {
            boot: boot.to_owned(),
            number: number.parse().expect("a number"),
        }
    }
}

/// How many messages have come, and of which start of the daemon the last was.
#[derive(Default)]
pub struct Seen(Mutex<(String, u64)>);

impl Seen {
    pub fn now(&self) -> (String, u64) {
        self.0.lock().unwrap().clone()
    }
}

/// What one page has got.
pub struct Got<'a> {
    name: &'a str,
    seen: &'a Seen,
    last: Option<Place>,
    /// Whether nothing may be missing before the next.
    whole: bool,
    /// Told of a gap before the next.
    told: bool,
    /// The daemon that it was at has gone: it has to be told before the next.
    owed: bool,
    /// Told that messages of its daemon are missing behind this one.
    skipped: Option<u64>,
    /// Where it is in the history.
    at: Option<Mark>,
    /// How often it was told of a gap.
    pub gaps: u64,
}

impl<'a> Got<'a> {
    pub fn new(name: &'a str, seen: &'a Seen) -> Got<'a> {
        Got {
            name,
            seen,
            last: None,
            whole: false,
            told: false,
            owed: false,
            skipped: None,
            at: None,
            gaps: 0,
        }
    }

    /// It is told where in the history it is.
    pub fn at(&mut self, mark: &str) {
        let mark = Mark::parse(mark);
        if let Some(before) = &self.at {
            match mark.boot == before.boot {
                true => assert!(mark.number >= before.number, "{}: back in time", self.name),
                false => (self.owed, self.skipped) = (!self.told, None),
            }
            if let Some(from) = self.skipped.filter(|from| mark.number > *from) {
                let skipped = mark.number - from;
                assert!(skipped > RING, "{}: {skipped} are no gap", self.name);
                self.skipped = None;
            }
        }
        self.at = Some(mark);
    }

    /// It is told that messages are missing, before it is told where it is then.
    pub fn gap(&mut self) {
        self.gaps += 1;
        self.skipped = self.at.as_ref().map(|mark| mark.number);
        (self.told, self.whole) = (true, false);
    }

    /// It can't go on where it was: what is missing then, nobody tells it.
    pub fn cut(&mut self) {
        (self.owed, self.whole, self.skipped, self.at) = (false, false, None, None);
    }

    /// A message, of the daemon of this start.
    pub fn message(&mut self, text: &str, boot: &str) {
        let name = self.name;
        let mut words = text.split(' ');
        assert_eq!(words.next(), Some("page"), "{name}: {text}");
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (Some(feeder), Some(number)) = (number(), number()) else {
            panic!("{name}: {text}");
        };
        let next = (feeder, number);
        assert!(!self.owed, "{name}: {next:?}, and not told what is lost");
        if let Some(last) = self.last {
            assert!(next > last, "{name}: {next:?} after {last:?}");
            let expected = match feeder == last.0 {
                true => last.1 + 1,
                false => 1,
            };
            let whole = !self.whole || number == expected;
            assert!(whole, "{name}: {next:?} after {last:?}, without a word");
        }
        (self.last, self.whole, self.told) = (Some(next), true, false);
        let mut seen = self.seen.0.lock().unwrap();
        *seen = (boot.to_owned(), seen.1 + 1);
    }
}
