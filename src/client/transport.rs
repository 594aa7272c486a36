//! What differs by the way a browser came.

use super::poll::Chain;
use super::{Client, Link};
use crate::close::Close;
use crate::frame::{Form, Mark};
use crate::handshake;
use crate::http::{self, Fields};
use crate::shared::Shared;
use crate::way::Way;
use crate::websocket::{WebSocket, close_frame, ping_frame, text_frame};

/// The subprotocol in which each message has its mark, so that a page can come back.
pub const MARKED: &str = "ws2cgi1";

/// One connection's protocol.
pub(super) enum Transport {
    /// RFC 6455.
    WebSocket {
        /// Its state.
        socket: Box<WebSocket>,
        /// Sec-WebSocket-Accept.
        accept: String,
        /// It speaks [`MARKED`].
        marked: bool,
        /// Its messages.
        taken: Taken,
    },
    /// An event stream: one answer without an end. `ended`: the browser has gone.
    Events { ended: bool },
    /// Polls, one after the other.
    Poll(Chain),
    /// A POST that is an event of its own.
    Post,
}

/// How many messages have come, in numbers that only grow.
#[derive(Default)]
pub(super) struct Taken {
    /// Decoded: they are run, whatever becomes of their sender.
    pub read: u64,
    /// Their events are over.
    pub done: u64,
    /// The sender knows of so many.
    told: u64,
}

impl Transport {
    pub fn new<S>(request: &super::Request, shared: &Shared<S>) -> Transport {
        match &request.way {
            Way::WebSocket => Transport::WebSocket {
                socket: Box::new(WebSocket::new(shared.config.max_message)),
                accept: handshake::accept(&request.variables),
                marked: request.offered(MARKED),
                taken: Taken::default(),
            },
            Way::Events => Transport::Events { ended: false },
            Way::Poll(wish) => Transport::Poll(Chain::new(wish, shared)),
            Way::Post(_) | Way::Preflight => Transport::Post,
        }
    }

    /// The form of its messages.
    pub fn form(&self) -> Form {
        match self {
            Transport::WebSocket { marked: true, .. } => Form::Marked,
            Transport::WebSocket { marked: false, .. } => Form::WebSocket,
            Transport::Events { .. } => Form::Event,
            Transport::Poll(_) | Transport::Post => Form::Body,
        }
    }

    /// Adds bytes that were read. After its request only a WebSocket has anything to say.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Transport::WebSocket { socket, .. } = self {
            socket.feed(bytes);
        }
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        match self {
            Transport::WebSocket { socket, .. } => socket.end(),
            Transport::Events { ended } => *ended = true,
            Transport::Poll(_) | Transport::Post => {}
        }
    }

    /// Whether its browser has gone, but for a WebSocket, which says so itself.
    pub fn ended(&self) -> bool {
        matches!(self, Transport::Events { ended: true })
    }

    /// Whether memory is charged for a message that has not come in whole.
    pub fn unfinished(&self) -> bool {
        match self {
            Transport::WebSocket { socket, .. } => socket.unfinished(),
            Transport::Events { .. } | Transport::Poll(_) | Transport::Post => false,
        }
    }

    /// Gives back what it holds of the bytes so far.
    pub fn forget(&mut self, max_message: usize) {
        if let Transport::WebSocket { socket, .. } = self {
            **socket = WebSocket::new(max_message);
        }
    }
}

impl<F> Client<F> {
    /// The form of its messages.
    pub fn form(&self) -> Form {
        self.transport.form()
    }

    /// Whether it can be told that messages are missing.
    pub fn told_of_gaps(&self) -> bool {
        self.form() != Form::WebSocket && !matches!(self.transport, Transport::Post)
    }

    /// What goes before all messages: the head of its answer, where it is in the history, and
    /// `fields` of the program's. A poll's waits for its first message.
    ///
    /// That something is lost is told before where it is: whoever is cut off between the two says
    /// the old place once more, and is told again.
    pub(super) fn welcome<S>(&mut self, fields: Fields, shared: &Shared<S>) {
        let (place, lost) = (self.past.mark(&shared.history), self.past.lost);
        match &mut self.transport {
            Transport::WebSocket { accept, marked, .. } => {
                let protocol = Some(self.protocol.as_str()).filter(|p| !p.is_empty());
                let mut head = http::switching(accept, protocol, &fields);
                if lost {
                    head.extend(text_frame("gap".to_owned()));
                }
                if let Some(mark) = place.filter(|_| *marked) {
                    head.extend(text_frame(format!("at {mark}")));
                }
                self.queue.push_head(head);
            }
            Transport::Events { .. } => {
                let style = self.wire.as_ref().map_or(http::Style::Http, |w| w.style());
                let mut all = Fields::default();
                all.put("Content-Type", "text/event-stream");
                // nginx would keep the events back.
                all.put("X-Accel-Buffering", "no");
                all.append(&fields);
                all.add_missing(&self.request.fields);
                let mut head = http::head(style, (200, http::reason(200)), &all, None);
                let (id, key) = (self.id, shared.keys.of(self.id));
                let data = format!("{{\"id\":\"{id}\",\"key\":\"{key}\"}}");
                head.extend(event("open", place.filter(|_| !lost), &data));
                if lost {
                    head.extend(event("gap", place, ""));
                }
                self.queue.push_head(head);
            }
            Transport::Poll(chain) => (chain.fields, chain.gap) = (fields, lost),
            Transport::Post => {}
        }
    }

    /// Tells whoever speaks [`MARKED`] how many more of its messages are done.
    pub(super) fn say_taken(&mut self) {
        if let Transport::WebSocket { marked, taken, .. } = &mut self.transport
            && *marked
            && taken.told < taken.done
            && matches!(self.link, Link::Open)
        {
            let more = taken.done - taken.told;
            taken.told = taken.done;
            self.queue.push_control(text_frame(format!("ok {more}")));
        }
    }

    /// The same before a close: those that were read are run.
    pub(super) fn say_all_taken(&mut self) {
        if let Transport::WebSocket { taken, .. } = &mut self.transport {
            taken.done = taken.read;
        }
        self.say_taken();
    }

    /// Tells it how the connection ends.
    pub(super) fn say_close(&mut self, close: &Close) {
        match &mut self.transport {
            Transport::WebSocket { .. } => self.queue.push_control(close_frame(close)),
            Transport::Events { .. } => {
                let reason = close.reason.replace(['\r', '\n'], " ");
                let data = format!("{} {reason}", close.code);
                self.queue
                    .push_control(event("close", None, data.trim_ascii_end()));
            }
            // The poll that waits, or the next, finds it ended.
            Transport::Poll(_) | Transport::Post => {}
        }
    }

    /// Tells it that messages are missing before the next.
    pub(super) fn say_gap(&mut self) {
        match &mut self.transport {
            Transport::WebSocket { marked: true, .. } => {
                self.queue.push_control(text_frame("gap".to_owned()));
            }
            Transport::Events { .. } => self.queue.push_control(event("gap", None, "")),
            Transport::Poll(chain) => chain.gap = true,
            Transport::WebSocket { marked: false, .. } | Transport::Post => {}
        }
    }

    /// Asks for a sign of life.
    pub(super) fn say_ping(&mut self) {
        match &self.transport {
            Transport::WebSocket { .. } => self.queue.push_control(ping_frame()),
            // A comment. Only writing shows that a reader has gone.
            Transport::Events { .. } => self.queue.push_control(b":\n\n".to_vec()),
            Transport::Poll(_) | Transport::Post => {}
        }
    }
}

/// An event of our own in an event stream.
fn event(name: &str, mark: Option<Mark>, data: &str) -> Vec<u8> {
    let id = mark.map_or(String::new(), |mark| format!("id: {mark}\n"));
    format!("event: {name}\n{id}data: {data}\n\n").into_bytes()
}
