//! One browser: the connection, its protocol, its queue. `events` is the programs' side of
//! it, `timing` its deadlines, `transport` what differs by the way it came, `poll` a chain of
//! polls, `past` what it missed while it was away, `ending` how it ends.

mod ending;
mod events;
mod past;
mod poll;
mod timing;
mod transport;

use crate::close::{By, Ending};
use crate::event::Kind;
use crate::frame::{Form, Frame};
use crate::http::Fields;
use crate::limits::{CLOSE_TIMEOUT, READS_PER_TURN, ROOMS};
use crate::memory::Charge;
use crate::outbox::Opcode;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::sys::{Ready, Sys};
use crate::target::{Id, Scope, Target};
use crate::variables::Variables;
use crate::way::Way;
use crate::websocket::{Next, Payload};
use crate::wire::{Farewell, Wire};
use core::time::Duration;
use log::debug;
use past::Past;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use timing::{Pulse, Slowness};
use transport::{MARKED, Transport};

/// A request that may become a connection.
pub struct Request {
    /// WS_ROUTE.
    pub route: String,
    /// The program, as the handlers folder names it: `/chat`.
    pub program: String,
    /// The program's absolute path.
    pub path: String,
    /// What every event's environment holds of the request.
    pub variables: Variables,
    /// The path of its URL.
    pub url: String,
    /// What it asks for.
    pub way: Way,
    /// What every answer to its page holds, but for a WebSocket.
    pub fields: Fields,
}

impl Request {
    /// Whether this subprotocol was among those offered.
    pub fn offered(&self, protocol: &str) -> bool {
        let offered = self.variables.text("HTTP_SEC_WEBSOCKET_PROTOCOL");
        offered.split(',').any(|p| p.trim_ascii() == protocol)
    }
}

/// One browser.
pub struct Client<F> {
    /// WS_ID.
    pub id: Id,
    /// What it asked for.
    pub request: Request,
    /// Rooms joined, without `@`.
    pub rooms: Vec<String>,
    /// When it came.
    pub since: Duration,
    wire: Option<Wire<F>>,
    link: Link,
    work: Work,
    transport: Transport,
    queue: Queue,
    /// The last write would have blocked: a wait will tell when the next won't.
    stuck: bool,
    protocol: String,
    state: Vec<u8>,
    /// Set once, as soon as it is clear how the connection ends.
    ending: Option<Ending>,
    /// Since when it holds memory for a message that has not come in whole.
    unfinished: Option<Duration>,
    pulse: Pulse,
    slowness: Slowness,
    past: Past,
    /// Messages that came by POST, and have not become events.
    posts: VecDeque<Posted<F>>,
    /// The number of the last of them that had one.
    last_post: Option<u64>,
    /// Where the answer goes to the POST whose event runs.
    asker: Option<Wire<F>>,
    partings: Vec<Farewell<F>>,
    _charge: Charge,
}

/// A message that came by POST.
pub struct Posted<F> {
    /// The message.
    pub message: (Opcode, Payload),
    /// Where the answer goes.
    pub asker: Wire<F>,
}

/// The browser's side.
#[derive(Debug)]
enum Link {
    /// Before the open program's verdict. An ending that is set now waits for it.
    Opening,
    /// Accepted; `--upgrade-delay` holds the 101 back.
    Delayed { until: Duration },
    /// The 101 is in the queue or sent.
    Open,
    /// Our close frame is queued, and the peer's is awaited.
    Closing { until: Duration },
    /// The end of a chain of polls is told to the next.
    Telling { until: Duration },
    /// Nothing can be written any more; what the peer sent before is still read.
    Draining { until: Duration },
    /// No descriptor any more; the messages among what was read before are still run.
    Emptying,
    /// No descriptor any more, and nothing to decode.
    Gone,
}

/// The programs' side: one event at a time, in order.
enum Work {
    /// No event; the socket is read.
    Idle,
    /// No event; a message on its way waits for memory.
    Unpaid,
    /// An event waits for a job slot.
    Waiting { ticket: u64, task: Task },
    /// A job has it, or its program is done and the reply is being carried out.
    Running(Kind),
    /// Refused, or the close event is done: nothing will run any more.
    Over,
}

/// An event that is to be run.
pub enum Task {
    /// The first.
    Open,
    /// A message.
    Message(Opcode, Payload),
    /// The last.
    Close,
}

impl<F> Client<F> {
    /// A connection whose open event is to be run.
    pub fn new<S>(
        shared: &mut Shared<S>,
        id: Id,
        request: Request,
        wire: Wire<F>,
        early: &[u8],
        charge: Charge,
    ) -> Client<F> {
        let mut client = Client::begin(shared, id, request, Some(wire), charge);
        client.transport.feed(early);
        client.wait_for(Task::Open, shared);
        client
    }

    fn begin<S>(
        shared: &Shared<S>,
        id: Id,
        request: Request,
        wire: Option<Wire<F>>,
        charge: Charge,
    ) -> Client<F> {
        let transport = Transport::new(&request, shared);
        let past = Past::new(&request, &transport, &shared.history);
        let marked = transport.form() == Form::Marked;
        let protocol = if marked { MARKED } else { "" }.to_owned();
        Client {
            id,
            request,
            rooms: Vec::new(),
            since: shared.now,
            wire,
            link: Link::Opening,
            work: Work::Idle,
            transport,
            queue: Queue::new(shared.config.queue),
            stuck: false,
            protocol,
            state: Vec::new(),
            ending: None,
            unfinished: None,
            pulse: Pulse::Silent(shared.now),
            slowness: Slowness::default(),
            past,
            posts: VecDeque::new(),
            last_post: None,
            asker: None,
            partings: Vec::new(),
            _charge: charge,
        }
    }

    /// A POST that is an event of its own.
    pub fn lone<S>(
        shared: &mut Shared<S>,
        id: Id,
        request: Request,
        post: Posted<F>,
        charge: Charge,
    ) -> Client<F> {
        let Posted {
            message: (opcode, payload),
            asker,
        } = post;
        let mut client = Client::begin(shared, id, request, None, charge);
        client.link = Link::Gone;
        client.asker = Some(asker);
        client.wait_for(Task::Message(opcode, payload), shared);
        client
    }

    // ---- Waiting and bytes

    /// Adds its descriptors to the poll set, as far as it can go on.
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        if let Some(wire) = &self.wire {
            let reads = self.reads() && wire.shows_end();
            wire.watch(sys, token, reads, self.writes() && self.stuck);
        }
    }

    /// While an event waits or runs the socket is not read: TCP pushes back.
    fn reads(&self) -> bool {
        match self.link {
            Link::Open | Link::Draining { .. } => matches!(self.work, Work::Idle),
            Link::Closing { .. } => true,
            Link::Opening | Link::Delayed { .. } | Link::Telling { .. } => false,
            Link::Emptying | Link::Gone => false,
        }
    }

    fn writes(&self) -> bool {
        matches!(self.link, Link::Open | Link::Closing { .. }) && !self.queue.is_empty()
    }

    /// After a wait.
    pub fn ready<S: Sys<Fd = F>>(&mut self, ready: Ready, shared: &mut Shared<S>) {
        if ready.writable {
            self.stuck = false;
            self.flush(shared);
        }
        if ready.readable && self.reads() {
            self.read(shared);
        }
    }

    fn read<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        for _ in 0..READS_PER_TURN {
            let Some(wire) = self.wire.as_ref().filter(|_| self.reads()) else {
                return;
            };
            let draining = matches!(self.link, Link::Draining { .. });
            match wire.read(&shared.sys, &mut shared.scratch[..]) {
                Ok(count @ 1..) => {
                    shared.counters.bytes_in += count as u64;
                    self.pulse = Pulse::Heard(shared.now);
                    self.transport.feed(&shared.scratch[..count]);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock && !draining => return,
                end => {
                    if let Err(e) = end {
                        debug!("{}: read: {e}", self.id);
                    }
                    if matches!(self.transport, Transport::Poll(_)) {
                        return self.hang_up(shared);
                    }
                    self.transport.end();
                }
            }
            self.advance(shared);
        }
    }

    /// Writes what the peer takes. Writing never stops, whatever its events do.
    pub fn flush<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if matches!(self.transport, Transport::Poll(_)) {
            return self.answer_poll(shared);
        }
        if self.stuck {
            return;
        }
        self.say_taken();
        if !self.writes() {
            return;
        }
        while let Some(wire) = self.wire.as_ref().filter(|_| !self.queue.is_empty()) {
            let bytes = self.queue.next(&mut shared.scratch[..]);
            match wire.write(&shared.sys, bytes) {
                Ok(count) => {
                    shared.counters.bytes_out += count as u64;
                    self.queue.wrote(count);
                    if matches!(self.transport, Transport::Events { .. }) {
                        // It has no other way to show that it lives.
                        self.pulse = Pulse::Heard(shared.now);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.stuck = true;
                    return;
                }
                Err(e) => {
                    debug!("{}: write: {e}", self.id);
                    return self.broken(shared);
                }
            }
        }
        self.slowness = Slowness::default();
    }

    // ---- The protocol

    /// Decodes until there is an event to run, or no more bytes.
    fn advance<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        loop {
            match (&self.link, &self.work) {
                (Link::Open | Link::Telling { .. }, Work::Idle) => {}
                (Link::Draining { .. } | Link::Emptying, Work::Idle) => {}
                (Link::Closing { .. }, _) => {}
                _ => return,
            }
            let closing = matches!(self.link, Link::Closing { .. });
            let next = self.next(shared);
            let unfinished = self.transport.unfinished();
            self.unfinished = unfinished.then(|| self.unfinished.unwrap_or(shared.now));
            match next {
                Next::Starved => return,
                // RFC 6455 §5.5.1: after our close frame its data is discarded.
                Next::Message(..) if closing => shared.counters.messages_discarded += 1,
                Next::Message(opcode, payload) => {
                    self.wait_for(Task::Message(opcode, payload), shared);
                }
                Next::Unpaid if closing => self.give_way(shared),
                Next::Unpaid => self.work = Work::Unpaid,
                Next::Vanished => self.vanish(By::Client, shared),
                Next::Closed(close) => {
                    let code = close.as_ref().map_or(1005, |c| c.code);
                    let reason = close.map_or(String::new(), |c| c.reason);
                    let by = By::Client;
                    self.end(Ending { code, reason, by });
                    self.part(shared.now + CLOSE_TIMEOUT, shared);
                }
                Next::Failed(close) => self.fail(close, shared),
            }
        }
    }

    fn next<S>(&mut self, shared: &Shared<S>) -> Next {
        if let Transport::WebSocket { socket, taken, .. } = &mut self.transport {
            let next = socket.next(&mut self.queue, &shared.memory);
            taken.read += u64::from(matches!(next, Next::Message(..)));
            return next;
        }
        if let Some(post) = self.posts.pop_front() {
            self.asker = Some(post.asker);
            let (opcode, payload) = post.message;
            return Next::Message(opcode, payload);
        }
        match self.transport.ended() || matches!(self.link, Link::Emptying) {
            true => Next::Vanished,
            false => Next::Starved,
        }
    }

    /// Whether its next message waits for memory.
    pub fn unpaid(&self) -> bool {
        matches!(self.work, Work::Unpaid)
    }

    /// Since when it holds memory for a message that has not come in whole.
    pub fn unfinished(&self) -> Option<Duration> {
        self.unfinished
    }

    // ---- What others do to it

    /// Joins a room; false: it is in as many as it may.
    pub fn join(&mut self, room: &str) -> bool {
        if self.rooms.iter().any(|r| r == room) {
            return true;
        }
        if self.rooms.len() == ROOMS {
            return false;
        }
        self.rooms.push(room.to_owned());
        true
    }

    /// Leaves a room. What was sent there before is still its own, if it can take it now.
    pub fn leave<S>(&mut self, room: &str, shared: &mut Shared<S>) {
        self.catch_up(shared);
        self.rooms.retain(|r| r != room);
    }

    /// WS-State.
    pub fn set_state(&mut self, state: Vec<u8>) {
        self.state = state;
    }

    /// Whether a target means it. Its id and rooms do so from the moment its open program
    /// starts, its route and `@all` after the 101.
    pub fn meant_by(&self, target: &Target) -> bool {
        let here = matches!(self.link, Link::Opening | Link::Delayed { .. } | Link::Open);
        here && self.ending.is_none() && self.concerns(target)
    }

    /// The same of what was sent before its end.
    fn concerns(&self, target: &Target) -> bool {
        let open = !matches!(self.link, Link::Opening);
        target.except != Some(self.id)
            && match &target.scope {
                Scope::Connection(id) => *id == self.id,
                Scope::Room(room) => self.rooms.contains(room),
                Scope::Route(route) => open && *route == self.request.route,
                Scope::All => open,
            }
    }

    /// Whether a message for it would have to wait.
    pub fn is_full(&self) -> bool {
        self.ending.is_none() && self.queue.is_full()
    }

    /// Bytes in its queue.
    pub fn queued(&self) -> usize {
        self.queue.size()
    }

    /// Messages in its queue that have not been written.
    pub fn unsent(&self) -> usize {
        self.queue.messages()
    }

    /// Adds a message to its queue; `slot` charges its place there.
    pub fn push(&mut self, frame: Rc<Frame>, slot: Charge) {
        self.queue.push(frame, slot);
    }
}
