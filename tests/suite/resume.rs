//! Ten thousand messages, and clients that are cut off every few of them: whichever way they come,
//! each has all of them in the end, each once and in order.

use crate::harness::{
    Daemon, Events, Poller, Site, Ws, as_many_as, read_answer, send_head, wait_for,
};
use std::sync::atomic::{AtomicUsize, Ordering};

const URL: &str = "/act?open=head%20WS-Join:%20@a";
/// No client is further behind than this, so that all of them read of what is new as of what is
/// kept.
const BEHIND: usize = 300;

/// Numbers that look like chance, and are the same every time.
struct Chance(u32);

impl Chance {
    /// 0 to `below` - 1.
    fn next(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % below
    }
}

/// What one client has, of how many.
struct Got(AtomicUsize, usize);

impl Got {
    fn add(&self, text: &str) {
        let next = self.0.load(Ordering::Relaxed) + 1;
        assert_eq!(text, next.to_string());
        self.0.store(next, Ordering::Relaxed);
    }

    fn all(&self) -> bool {
        self.0.load(Ordering::Relaxed) == self.1
    }
}

fn events(site: &Site, got: &Got, from: &str) {
    let (mut chance, mut last) = (Chance(3), from.to_owned());
    while !got.all() {
        let mut stream = site.connect();
        let fields = [("Host", "board.test"), ("Last-Event-ID", &last)];
        send_head(&mut stream, "GET", &format!("{URL}&via=sse"), &fields);
        let mut events = Events::open(stream);
        for _ in 0..chance.next(40) {
            if !got.all() {
                got.add(&events.text());
            }
        }
        last.clone_from(&events.last);
    }
}

fn websocket(site: &Site, got: &Got, from: &str) {
    let (mut chance, mut last) = (Chance(4), from.to_owned());
    while !got.all() {
        let protocol = [("Sec-WebSocket-Protocol", "ws2cgi1")];
        let mut ws = Ws::accepted(site.upgrade(&format!("{URL}&since={last}"), &protocol));
        assert_eq!(ws.text(), format!("at {last}"));
        for _ in 0..chance.next(40) {
            if !got.all() {
                let message = ws.text();
                let (mark, text) = message.split_once('\n').expect("a mark");
                got.add(text);
                mark.clone_into(&mut last);
            }
        }
    }
}

/// `batch`: all in one answer.
fn polls(site: &Site, got: &Got, from: &str, batch: bool) {
    let mut chance = Chance(if batch { 5 } else { 6 });
    let mut page = Poller::new(&format!("{URL}&via=poll&batch={}", u8::from(batch)));
    page.since = from.to_owned();
    while !got.all() {
        let mut stream = site.connect();
        let fields = [("Host", "board.test")];
        send_head(&mut stream, "GET", &page.next_url(), &fields);
        if chance.next(4) == 0 {
            continue; // the answer, if there is one, is not read
        }
        let answer = read_answer(&mut stream);
        assert_eq!(answer.field("ws-gap"), None);
        page.note(&answer);
        match (answer.status, batch) {
            (204, _) => {}
            (200, false) => got.add(&answer.body),
            (200, true) => {
                let texts: Vec<String> = serde_json::from_str(&answer.body).expect("texts");
                texts.iter().for_each(|text| got.add(text));
            }
            _ => panic!("{answer:?}"),
        }
    }
}

#[test]
fn ten_thousand_messages_reach_clients_that_are_cut_at_random() {
    let args = "--history 4000000 --listen 127.0.0.1:0 --max-connections 400 --ping 0";
    let daemon = Daemon::with(args);
    let site = Site {
        port: daemon.port("tcp"),
    };
    let from = format!("{}-0", daemon.status()["boot"].as_str().expect("text"));
    let messages = as_many_as(10_000);
    let got = [(); 4].map(|()| Got(AtomicUsize::new(0), messages));
    std::thread::scope(|scope| {
        scope.spawn(|| events(&site, &got[0], &from));
        scope.spawn(|| websocket(&site, &got[1], &from));
        scope.spawn(|| polls(&site, &got[2], &from, false));
        scope.spawn(|| polls(&site, &got[3], &from, true));
        for i in (1..=messages).step_by(10) {
            wait_for("the slowest client", || {
                let has = |got: &Got| got.0.load(Ordering::Relaxed);
                got.iter().all(|got| has(got) + BEHIND >= i).then_some(())
            });
            let lines = (i..i + 10).map(|i| format!("text @a {i}"));
            daemon.outbox(lines.collect::<Vec<_>>().join("\n"));
        }
    });
    assert!(got.iter().all(Got::all));
    let status = daemon.status();
    assert_eq!(status["history"]["next"], messages + 1);
}
