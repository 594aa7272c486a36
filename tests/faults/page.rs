//! Pages that stay, whichever way they come: each comes back as often as it is cut off, and goes
//! on where it was.

use crate::dice::Dice;
use crate::door::{Door, Gone, frame, whole};
use crate::got::{Got, ROOM, Seen};
use crate::harness::{Answer, masked};
use crate::killed::POLL_WAIT;
use crate::ledger::Ledger;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a page comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// An event stream that resumes by Last-Event-ID.
    Stream,
    /// A WebSocket that speaks ws2cgi1, and resumes by `since`.
    Marked,
    /// Polls by id and key, which resume by `since`.
    Polls,
    /// The same, all that is there in one answer.
    Batches,
    /// An old page: polls that are told from others by a cookie.
    Cookie,
}

const WAYS: [Way; 5] = [
    Way::Stream,
    Way::Marked,
    Way::Polls,
    Way::Batches,
    Way::Cookie,
];

/// How much later than `--poll-wait` an answer to a poll may be on a machine that is busy.
const LATE: Duration = Duration::from_secs(10);

/// Pages of each kind behind each door, until they are ended.
pub struct Pages {
    over: Arc<AtomicBool>,
    pages: Vec<(String, Arc<Seen>, JoinHandle<u64>)>,
}

impl Pages {
    pub fn start(doors: &[Door], seed: u64, ledger: &Arc<Ledger>) -> Pages {
        let over = Arc::new(AtomicBool::new(false));
        let all = doors
            .iter()
            .flat_map(|door| WAYS.map(|way| (door.clone(), way)));
        let pages = all.enumerate().map(|(n, (door, way))| {
            let name = format!("{way:?} by {}", door.name);
            let seen = Arc::new(Seen::default());
            let thread = std::thread::spawn({
                let (name, seen) = (name.clone(), seen.clone());
                let (over, ledger) = (over.clone(), ledger.clone());
                move || {
                    let mut page = Page {
                        door,
                        way,
                        dice: Dice::new(seed.wrapping_add(n as u64)),
                        ledger: &ledger,
                        over: &over,
                        got: Got::new(&name, &seen),
                        mark: String::new(),
                        chain: String::new(),
                        posts: 0,
                        cookie: String::new(),
                    };
                    page.live();
                    page.got.gaps
                }
            });
            (name, seen, thread)
        });
        let pages = pages.collect();
        Pages { over, pages }
    }

    /// What each has got.
    pub fn seen(&self) -> Vec<(String, u64)> {
        self.pages.iter().map(|(_, seen, _)| seen.now()).collect()
    }

    /// The pages that have got nothing of this daemon's since then, or have failed.
    pub fn waiting(&self, before: &[(String, u64)], boot: &str) -> Vec<&str> {
        let pages = self.pages.iter().zip(before);
        let waiting = pages.filter(|((name, seen, thread), (_, count))| {
            assert!(!thread.is_finished(), "{name} has failed");
            let (of, now) = seen.now();
            of != boot || now == *count
        });
        waiting.map(|((name, ..), _)| name.as_str()).collect()
    }

    /// Ends them: how many messages they have got, and of how many gaps they were told.
    pub fn end(mut self) -> (u64, u64) {
        self.over.store(true, Relaxed);
        let ends = self.pages.drain(..).map(|(name, seen, thread)| {
            let gaps = thread
                .join()
                .unwrap_or_else(|_| panic!("{name} has failed"));
            (seen.now().1, gaps)
        });
        ends.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

struct Page<'a> {
    door: Door,
    way: Way,
    dice: Dice,
    ledger: &'a Ledger,
    over: &'a AtomicBool,
    got: Got<'a>,
    /// Of the last message, or where it began.
    mark: String,
    /// `id=…&key=…` of its connection; none: empty.
    chain: String,
    /// How many POSTs of that connection there were.
    posts: u64,
    cookie: String,
}

impl Page<'_> {
    fn over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn live(&mut self) {
        while !self.over() {
            let end = match self.way {
                Way::Stream => self.stream(),
                Way::Marked => self.websocket(),
                Way::Polls | Way::Batches => self.poll(),
                Way::Cookie => self.old_poll(),
            };
            if end.is_err() {
                // What it needs may be starting.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if matches!(self.way, Way::Polls | Way::Batches) && !self.chain.is_empty() {
            // Whether it says goodbye or not, its chain ends.
            let url = format!("/act?via=poll&close=1&{}", self.chain);
            let _ = self.door.get(&url, "");
        }
    }

    /// Now and then a visitor goes by himself, in the middle of anything.
    fn leaves(&mut self) -> bool {
        self.over() || self.dice.below(100) == 0
    }

    fn route(&self, more: &str) -> String {
        format!("/act?open=head%20WS-Join:%20{ROOM}{more}")
    }

    /// Where it is now.
    fn is_at(&mut self, mark: &str) {
        self.got.at(mark);
        mark.clone_into(&mut self.mark);
    }

    fn message(&mut self, text: &str) {
        let boot = self.mark.split('-').next().expect("a mark").to_owned();
        self.got.message(text, &boot);
    }

    // ---- Event streams

    fn stream(&mut self) -> Result<(), Gone> {
        let last = match self.mark.as_str() {
            "" => String::new(),
            mark => format!("Last-Event-ID: {mark}\r\n"),
        };
        let (answer, body) = self.door.get(&self.route("&via=sse"), &last)?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut lines = BufReader::new(body);
        let (mut name, mut id, mut data) = (String::new(), String::new(), String::new());
        while !self.leaves() {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            // The rest of a line that was cut is no line.
            let line = line.strip_suffix('\n').ok_or(Gone::Cut)?;
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", value) => value.clone_into(&mut name),
                ("id", value) => value.clone_into(&mut id),
                ("data", value) => value.clone_into(&mut data),
                (":", _) | ("data:", _) => {}
                ("", _) if name.is_empty() && data.is_empty() => {}
                ("", _) => {
                    if name == "gap" {
                        self.got.gap();
                    }
                    if !id.is_empty() {
                        self.is_at(&id);
                    }
                    match name.as_str() {
                        "open" => self.begun(&data),
                        "gap" => {}
                        "" => {
                            self.message(&data);
                            self.post_at_times();
                        }
                        "close" => return Err(Gone::Unavailable),
                        _ => panic!("event: {name}, data: {data}"),
                    }
                    [&mut name, &mut id, &mut data]
                        .into_iter()
                        .for_each(String::clear);
                }
                _ => panic!("in a stream: {line}"),
            }
        }
        Ok(())
    }

    fn begun(&mut self, data: &str) {
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let text = |name: &str| data[name].as_str().expect("text").to_owned();
        self.is_chain(&text("id"), &text("key"));
    }

    // ---- WebSockets

    fn websocket(&mut self) -> Result<(), Gone> {
        let since = match self.mark.as_str() {
            "" => String::new(),
            mark => format!("&since={mark}"),
        };
        let marked = "Sec-WebSocket-Protocol: ws2cgi1\r\n";
        let (_, mut stream) = self.door.upgrade(&self.route(&since), marked)?;
        let mut asked = None;
        while !self.leaves() {
            let (opcode, text) = frame(&mut stream)?;
            match (opcode, text.split_once('\n')) {
                (0x88, _) => return Err(Gone::Unavailable),
                (0x81, None) => match text.split_once(' ') {
                    Some(("at", mark)) => self.is_at(mark),
                    // As many as it has sent.
                    Some(("ok", count)) => assert_eq!(count, "1"),
                    _ => {
                        assert_eq!(text, "gap");
                        self.got.gap();
                    }
                },
                (0x81, Some(("", reply))) => {
                    assert_eq!(Some(reply), asked.as_deref());
                    self.ledger.answered(reply);
                    asked = None;
                }
                (0x81, Some((mark, text))) => {
                    self.is_at(mark);
                    self.message(text);
                    if asked.is_none() && self.dice.below(8) == 0 {
                        let label = self.ledger.label();
                        let script = self.ledger.script(&label, &mut self.dice);
                        stream.write_all(&masked(0x81, script.as_bytes()))?;
                        asked = Some(label);
                    }
                }
                _ => panic!("a frame of kind {opcode:x}: {text}"),
            }
        }
        Ok(())
    }

    // ---- Polls

    /// One poll. None: it went before an answer came.
    fn answer(&mut self, url: &str, lines: &str) -> Result<Answer, Gone> {
        let begun = Instant::now();
        let answer = self.door.get(url, lines);
        let took = begun.elapsed();
        let most = Duration::from_secs(POLL_WAIT) + LATE;
        assert!(took < most, "a poll was held for {took:?}");
        let (answer, body) = answer?;
        Ok(whole(answer, body)?)
    }

    fn poll(&mut self) -> Result<(), Gone> {
        let batch = self.way == Way::Batches;
        let mut url = self.route(&format!("&via=poll&batch={}", u8::from(batch)));
        for (name, value) in [("", &self.chain), ("since=", &self.mark)] {
            if !value.is_empty() {
                url.push_str(&format!("&{name}{value}"));
            }
        }
        let answer = self.answer(&url, "")?;
        if answer.status == 410 {
            self.chain.clear();
            return Ok(());
        }
        self.note(&answer);
        match (answer.status, batch) {
            (204, _) => {}
            (200, false) => self.message(&answer.body),
            (200, true) => {
                let texts: Vec<String> = serde_json::from_str(&answer.body).expect("JSON");
                texts.iter().for_each(|text| self.message(text));
            }
            _ => panic!("{answer:?}"),
        }
        self.post_at_times();
        Ok(())
    }

    /// What an answer says beside its message.
    fn note(&mut self, answer: &Answer) {
        let field = |name: &str| answer.field(name).unwrap_or_else(|| panic!("{answer:?}"));
        let gap = answer.field("ws-gap").is_some();
        let since = field("ws-since");
        if gap {
            self.got.gap();
        }
        self.is_at(since);
        self.is_chain(field("ws-id"), field("ws-key"));
    }

    /// A page that knows of no mark: what is lost with an answer stays lost.
    fn old_poll(&mut self) -> Result<(), Gone> {
        let cookie = match self.cookie.as_str() {
            "" => String::new(),
            cookie => format!("Cookie: a=b; {cookie}\r\n"),
        };
        let answer = match self.answer(&self.route(""), &cookie) {
            Ok(answer) => answer,
            Err(gone) => {
                self.got.cut();
                return Err(gone);
            }
        };
        if answer.status == 410 {
            // Closed while it waited: its program was killed.
            self.got.cut();
            return Ok(());
        }
        let chain = self.chain.clone();
        let id = answer.field("ws-id").expect("an id");
        if !chain.starts_with(&format!("id={id}&")) {
            // Its daemon has gone, or it has not come for too long.
            let cookie = answer.field("set-cookie").expect("a cookie");
            cookie
                .split(';')
                .next()
                .expect("a value")
                .clone_into(&mut self.cookie);
            self.got.cut();
        }
        self.note(&answer);
        match answer.status {
            204 => {}
            200 => self.message(&answer.body),
            _ => panic!("{answer:?}"),
        }
        self.post_at_times();
        Ok(())
    }

    // ---- POSTs

    fn is_chain(&mut self, id: &str, key: &str) {
        let chain = format!("id={id}&key={key}");
        if chain != self.chain {
            (self.chain, self.posts) = (chain, 0);
        }
    }

    fn post_at_times(&mut self) {
        if self.dice.below(8) == 0 {
            self.post();
        }
    }

    /// A message of its connection. Where no answer comes it asks again under the same number:
    /// a browser may do so too, and tell nobody.
    fn post(&mut self) {
        let label = self.ledger.label();
        let script = self.ledger.script(&label, &mut self.dice);
        self.posts += 1;
        let url = format!("/act?{}&n={}", self.chain, self.posts);
        for again in 0..5 {
            match self.door.post(&url, &script) {
                Ok(answer) => match answer.status {
                    200 => {
                        assert_eq!(answer.body, label);
                        return self.ledger.answered(&label);
                    }
                    409 => return assert!(again > 0, "{label} has not come before"),
                    // The connection is gone; its program was killed.
                    410 | 502 => return,
                    500 | 503 | 504 => {}
                    _ => panic!("{answer:?}"),
                },
                Err(Gone::Cut) => {}
                Err(Gone::Unavailable) => {}
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
