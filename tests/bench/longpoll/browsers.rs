//! Browsers, so many of one kind, in one thread: what they cost is counted nowhere, and should
//! take little time from those whose cost is.

use super::harness::{Poller, Site, Ws, read_answer};
use super::way::Way;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// All that look at the same page.
pub struct Crowd<'a> {
    site: &'a Site,
    way: Way,
    browsers: Vec<Browser>,
}

/// One of them.
struct Browser {
    link: Link,
    /// A poll of ours.
    poller: Poller,
    /// When each update came, by its number.
    got: Vec<Option<Instant>>,
}

enum Link {
    /// A request, and what has come of its answer.
    Request(TcpStream, Vec<u8>),
    /// The last line of an event stream, as far as it has come.
    Events(TcpStream, Vec<u8>),
    WebSocket(Box<Ws>),
}

impl<'a> Crowd<'a> {
    /// So many come.
    pub fn come(site: &'a Site, way: Way, count: usize) -> Crowd<'a> {
        let browsers = (0..count).map(|_| Browser::come(site, way)).collect();
        Crowd {
            site,
            way,
            browsers,
        }
    }

    /// Reads what there is for them, or comes, until then.
    pub fn read_until(&mut self, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ready = self.ready(left);
            for i in ready {
                self.browsers[i].read(self.site, self.way);
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// Reads until each has this update, or it is late. True: they have.
    pub fn read_to(&mut self, number: usize, late: Instant) -> bool {
        while !self.browsers.iter().all(|browser| browser.has(number)) {
            if Instant::now() > late {
                return false;
            }
            self.read_until(Instant::now() + Duration::from_millis(1));
        }
        true
    }

    /// When each update from this number on came to each browser.
    pub fn got(&self, first: usize) -> impl Iterator<Item = (usize, Instant)> {
        let all = self.browsers.iter().flat_map(|b| b.got.iter().enumerate());
        all.filter(move |(number, _)| *number >= first)
            .filter_map(|(number, at)| Some((number, (*at)?)))
    }

    /// Who can read something, at once or within a time.
    fn ready(&mut self, time: Duration) -> Vec<usize> {
        let streams = self.browsers.iter_mut().map(Browser::stream);
        let mut polled: Vec<_> = streams
            .map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN))
            .collect();
        // Rounded up: else the last millisecond would be a spin.
        let time = Duration::from_millis(time.as_micros().div_ceil(1000) as u64);
        let time = PollTimeout::try_from(time).expect("a short time");
        match poll(&mut polled, time) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => panic!("poll: {e}"),
        }
        let ready = polled.iter().enumerate();
        let ready = ready.filter(|(_, p)| p.revents().is_some_and(|r| !r.is_empty()));
        ready.map(|(i, _)| i).collect()
    }
}

impl Browser {
    fn come(site: &Site, way: Way) -> Browser {
        let poller = Poller::new(way.url());
        let link = match way {
            Way::LongPoll | Way::Eager | Way::Inotify => ask(site, way.url()),
            // Its connection, without a message; what it is goes with the polls that follow.
            Way::Poll => ask(site, &format!("{}&wait=0", poller.next_url())),
            Way::Events => match ask(site, way.url()) {
                Link::Request(stream, bytes) => Link::Events(stream, bytes),
                link => link,
            },
            Way::WebSocket => {
                let mut ws = site.ws(way.url());
                ws.stream().set_nonblocking(true).expect("set_nonblocking");
                Link::WebSocket(Box::new(ws))
            }
        };
        let got = Vec::new();
        Browser { link, poller, got }
    }

    fn stream(&mut self) -> &TcpStream {
        match &mut self.link {
            Link::Request(stream, _) | Link::Events(stream, _) => stream,
            Link::WebSocket(ws) => ws.stream(),
        }
    }

    fn has(&self, number: usize) -> bool {
        self.got.get(number).is_some_and(Option::is_some)
    }

    fn read(&mut self, site: &Site, way: Way) {
        match &mut self.link {
            Link::WebSocket(ws) => {
                let texts: Vec<_> = std::iter::from_fn(|| ws.text_now()).collect();
                texts.iter().for_each(|text| self.note(text));
            }
            Link::Events(stream, bytes) => {
                assert!(!fill(stream, bytes), "the event stream has ended");
                let whole = bytes
                    .iter()
                    .rposition(|&b| b == b'\n')
                    .map_or(0, |at| at + 1);
                let lines: Vec<u8> = bytes.drain(..whole).collect();
                for line in String::from_utf8(lines).expect("UTF-8").lines() {
                    let event = line.strip_prefix("event: ").unwrap_or("open");
                    assert_eq!(event, "open", "no message");
                    if let Some(data) = line.strip_prefix("data: ").filter(|d| !d.starts_with('{'))
                    {
                        self.note(data);
                    }
                }
            }
            Link::Request(stream, bytes) => {
                if !fill(stream, bytes) {
                    return;
                }
                // CGI programs end their lines as C does, and boa passes that on.
                let lines = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
                let answer = read_answer(&mut lines.replace('\n', "\r\n").as_bytes());
                assert!([200, 204].contains(&answer.status), "{answer:?}");
                assert_eq!(answer.field("ws-gap"), None);
                self.poller.note(&answer);
                if answer.status == 200 {
                    self.note(&answer.body);
                }
                let url = match way {
                    Way::Poll => self.poller.next_url(),
                    _ => format!("{}?last={}", way.url(), self.got.len() as isize - 1),
                };
                self.link = ask(site, &url);
            }
        }
    }

    /// An update has come: `17 21.5`.
    fn note(&mut self, update: &str) {
        let number = update.split(' ').next().and_then(|n| n.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("no update: {update}"));
        assert!(number >= self.got.len(), "{number} again, or too late");
        self.got.resize(number, None);
        self.got.push(Some(Instant::now()));
    }
}

/// Sends a request, of HTTP/1.0 as nobody needs to hear of chunks.
fn ask(site: &Site, url: &str) -> Link {
    let mut stream = site.connect();
    let head = format!(
        "GET {url} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; \
         rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\nAccept-Language: en\r\n\
         Connection: close\r\n\r\n",
        site.port
    );
    stream.write_all(head.as_bytes()).expect("ask");
    stream.set_nonblocking(true).expect("set_nonblocking");
    Link::Request(stream, Vec::new())
}

/// Reads what there is. True: to its end.
fn fill(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    match stream.read_to_end(bytes) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::WouldBlock => false,
        Err(e) => panic!("no answer: {e}, after {}", bytes.escape_ascii()),
    }
}
