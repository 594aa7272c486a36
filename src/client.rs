//! One browser: the connection, its events' order, its queue.

use crate::close::{By, Close, Ending};
use crate::config::Config;
use crate::counters::Counters;
use crate::event::{Event, Facts, Kind, environment};
use crate::http;
use crate::limits::{CLOSE_TIMEOUT, EOF_AT_ONCE, READS_PER_TURN, ROOMS, SCRATCH, SLOW_CLOSE};
use crate::memory::{Charge, Memory};
use crate::outbox::Opcode;
use crate::queue::{Frame, Queue};
use crate::reply::Reply;
use crate::sys::{Ready, Sys};
use crate::target::{Id, Scope, Target};
use crate::variables::Variables;
use crate::websocket::{Next, Payload, WebSocket, close_frame, ping_frame};
use crate::wire::{Farewell, Wire};
use core::time::Duration;
use log::{debug, info, warn};
use std::io::ErrorKind;
use std::rc::Rc;

/// What all connections work with.
pub struct Shared<S> {
    /// The operating system.
    pub sys: S,
    /// The options.
    pub config: Config,
    /// `--memory`.
    pub memory: Memory,
    /// What has happened.
    pub counters: Counters,
    /// The time of this turn of the loop.
    pub now: Duration,
    /// For one read or write.
    pub scratch: Box<[u8; SCRATCH]>,
    /// The last ticket given to an event that waits for a job slot.
    pub tickets: u64,
}

/// A request that may become a WebSocket.
pub struct Request {
    /// WS_ROUTE.
    pub route: String,
    /// The program, as the handlers folder names it: `/chat`.
    pub program: String,
    /// The program's absolute path.
    pub path: String,
    /// What every event's environment holds of the request.
    pub variables: Variables,
    /// Sec-WebSocket-Accept.
    pub accept: String,
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
    socket: WebSocket,
    queue: Queue,
    /// The last write would have blocked: a wait will tell when the next won't.
    stuck: bool,
    protocol: String,
    state: Vec<u8>,
    /// Set once, as soon as it is clear how the connection ends.
    ending: Option<Ending>,
    pulse: Pulse,
    slowness: Slowness,
    parting: Option<Farewell<F>>,
    _charge: Charge,
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
    /// Nothing can be written any more; what the peer sent before is still read.
    Draining,
    /// No descriptor any more.
    Gone,
}

/// The programs' side: one event at a time, in order.
enum Work {
    /// No event; the socket is read.
    Idle,
    /// An event waits for a job slot.
    Waiting { ticket: u64, task: Task },
    /// A job has it.
    Running,
    /// The program is done, and its reply is being carried out.
    Replying,
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

/// Signs of life, while the socket is read.
enum Pulse {
    /// Connected then, and never heard of.
    Silent(Duration),
    /// Last heard of then.
    Heard(Duration),
    /// Asked then, and not heard of since.
    Pinged(Duration),
}

/// `--slow-timeout` is a budget, spent while others wait for room in this queue.
#[derive(Default)]
struct Slowness {
    spent: Duration,
    since: Option<Duration>,
}

impl Task {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Task::Open => Kind::Open,
            Task::Message(..) => Kind::Message,
            Task::Close => Kind::Close,
        }
    }
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
        let mut socket = WebSocket::new(shared.config.max_message);
        socket.feed(early);
        let mut client = Client {
            id,
            request,
            rooms: Vec::new(),
            since: shared.now,
            wire: Some(wire),
            link: Link::Opening,
            work: Work::Idle,
            socket,
            queue: Queue::new(shared.config.queue),
            stuck: false,
            protocol: String::new(),
            state: Vec::new(),
            ending: None,
            pulse: Pulse::Silent(shared.now),
            slowness: Slowness::default(),
            parting: None,
            _charge: charge,
        };
        client.wait_for(Task::Open, shared);
        client
    }

    // ---- Waiting and bytes

    /// Adds its descriptors to the poll set, as far as it can go on.
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        if let Some(wire) = &self.wire {
            wire.watch(sys, token, self.reads(), self.writes() && self.stuck);
        }
    }

    /// While an event waits or runs the socket is not read: TCP pushes back.
    fn reads(&self) -> bool {
        match self.link {
            Link::Open => matches!(self.work, Work::Idle),
            Link::Closing { .. } => true,
            // Read to its end at once; see `drain`.
            Link::Draining => false,
            Link::Opening | Link::Delayed { .. } | Link::Gone => false,
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
            let draining = matches!(self.link, Link::Draining) && matches!(self.work, Work::Idle);
            let Some(wire) = self.wire.as_ref().filter(|_| self.reads() || draining) else {
                return;
            };
            match shared.sys.read(wire.reader(), &mut shared.scratch[..]) {
                Ok(count @ 1..) => {
                    shared.counters.bytes_in += count as u64;
                    self.pulse = Pulse::Heard(shared.now);
                    self.socket.feed(&shared.scratch[..count]);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock && !draining => return,
                end => {
                    if let Err(e) = end {
                        debug!("{}: read: {e}", self.id);
                    }
                    self.socket.end();
                }
            }
            self.advance(shared);
        }
    }

    /// Writes what the peer takes. Writing never stops, whatever its events do.
    pub fn flush<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if self.stuck || !self.writes() {
            return;
        }
        while let Some(wire) = self.wire.as_ref().filter(|_| !self.queue.is_empty()) {
            let bytes = self.queue.next(&mut shared.scratch[..]);
            match shared.sys.write(wire.writer(), bytes) {
                Ok(count) => {
                    shared.counters.bytes_out += count as u64;
                    self.queue.wrote(count);
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

    /// Nothing can be written any more. What it sent before is not lost for that.
    fn broken<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.drop_queue(shared);
        match self.link {
            Link::Open => {
                self.link = Link::Draining;
                self.drain(shared);
            }
            _ => self.vanish(By::Client, shared),
        }
    }

    /// Reads on at once: no wait would tell of a socket that is not watched.
    fn drain<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        while matches!((&self.link, &self.work), (Link::Draining, Work::Idle)) {
            self.read(shared);
        }
    }

    // ---- The protocol

    /// Decodes until there is an event to run, or no more bytes.
    fn advance<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        loop {
            match (&self.link, &self.work) {
                (Link::Open | Link::Draining, Work::Idle) => {}
                (Link::Closing { .. }, _) => {}
                _ => return,
            }
            let closing = matches!(self.link, Link::Closing { .. });
            match self.socket.next(&mut self.queue, &shared.memory) {
                Next::Starved => return,
                // RFC 6455 §5.5.1: after our close frame its data is discarded.
                Next::Message(..) if closing => {}
                Next::Message(opcode, payload) => {
                    self.wait_for(Task::Message(opcode, payload), shared);
                }
                Next::Vanished => self.vanish(By::Client, shared),
                Next::Closed(close) => {
                    let code = close.as_ref().map_or(1005, |c| c.code);
                    let reason = close.map_or(String::new(), |c| c.reason);
                    let by = By::Client;
                    self.end(Ending { code, reason, by });
                    self.part(shared.now + CLOSE_TIMEOUT, shared);
                }
                Next::Failed(close) => {
                    info!("{}: closed with {}: {}", self.id, close.code, close.reason);
                    if !closing {
                        self.queue.push_control(close_frame(&close));
                    }
                    self.end(Ending {
                        code: close.code,
                        reason: close.reason,
                        by: By::Error,
                    });
                    self.part(shared.now + CLOSE_TIMEOUT, shared);
                }
            }
        }
    }

    fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Only the queue is left to write. A close event is owed.
    fn part<S>(&mut self, deadline: Duration, shared: &mut Shared<S>) {
        let queue = core::mem::replace(&mut self.queue, Queue::new(0));
        if let Some(wire) = self.wire.take() {
            self.parting = Some(Farewell::new(wire, queue, deadline));
        }
        self.link = Link::Gone;
        self.owe_close(shared);
    }

    fn vanish<S>(&mut self, by: By, shared: &mut Shared<S>) {
        let at_once = match self.pulse {
            Pulse::Silent(since) => shared.now < since + EOF_AT_ONCE,
            Pulse::Heard(_) | Pulse::Pinged(_) => false,
        };
        let at_once = at_once && self.ending.is_none();
        // From lighttpd it can only mean a browser that has gone so soon.
        let server = self.request.variables.text("SERVER_SOFTWARE");
        let lighttpd = server.starts_with("lighttpd/");
        if at_once && !lighttpd && matches!(self.wire, Some(Wire::Pipes { .. })) {
            warn!(
                "{}: the web server ended its program's stdin at once: it (busybox httpd, \
                 apache) can hand over no WebSocket; see ws2cgi(8), DIAGNOSTICS",
                self.id
            );
        }
        self.drop_queue(shared);
        self.wire = None;
        self.link = Link::Gone;
        self.end(Ending::vanished(by));
        self.owe_close(shared);
    }

    fn drop_queue<S>(&mut self, shared: &mut Shared<S>) {
        let dropped = self.queue.drop_waiting();
        if dropped > 0 {
            shared.counters.messages_dropped += dropped as u64;
            info!("{}: {dropped} messages dropped from its queue", self.id);
        }
    }

    /// Closes from our side. Before the verdict of the open program it waits for that.
    pub fn close<S: Sys<Fd = F>>(&mut self, close: &Close, by: By, shared: &mut Shared<S>) {
        if self.ending.is_some() {
            return;
        }
        self.end(Ending {
            code: close.code,
            reason: close.reason.clone(),
            by,
        });
        match self.link {
            Link::Open => self.begin_closing(shared),
            // What is queued waits behind the 101, and the close behind that.
            Link::Opening | Link::Delayed { .. } => {}
            Link::Closing { .. } | Link::Draining | Link::Gone => {}
        }
        self.owe_close(shared);
    }

    /// Queues our close frame behind what is queued.
    fn begin_closing<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let Some(ending) = &self.ending else {
            return;
        };
        let close = Close::new(ending.code, &ending.reason);
        self.socket.close(&close, &mut self.queue, &shared.memory);
        let until = shared.now + CLOSE_TIMEOUT;
        self.link = Link::Closing { until };
        // The peer's own close may lie among the bytes already read.
        self.advance(shared);
    }

    // ---- The open program's verdict

    /// The 101. From now on a close event is owed.
    pub fn accept<S: Sys<Fd = F>>(&mut self, reply: Option<&Reply>, shared: &mut Shared<S>) {
        shared.counters.connections += 1;
        let fields = reply.map_or(Vec::new(), Reply::switching_fields);
        self.protocol = reply.and_then(|r| r.protocol.clone()).unwrap_or_default();
        let protocol = Some(self.protocol.as_str()).filter(|p| !p.is_empty());
        let head = http::switching(&self.request.accept, protocol, &fields);
        self.queue.push_head(head);
        let until = shared.now + shared.config.upgrade_delay;
        self.link = Link::Delayed { until };
        self.work = Work::Replying;
        info!("{}: open, {}", self.id, self.request.route);
        self.open_when_due(shared);
    }

    fn open_when_due<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let Link::Delayed { until } = self.link else {
            return;
        };
        if until <= shared.now {
            self.link = Link::Open;
            self.pulse = Pulse::Silent(shared.now);
            if self.ending.is_some() {
                self.begin_closing(shared);
            }
            self.advance(shared);
        }
    }

    /// An HTTP answer instead of the 101.
    pub fn refuse<S>(&mut self, answer: Vec<u8>, shared: &mut Shared<S>) {
        self.drop_queue(shared);
        self.queue.push_control(answer);
        self.work = Work::Over;
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    /// The open program accepted, and asked for what can't be: an HTTP answer, and a close
    /// event with 1011.
    pub fn accept_and_fail<S>(&mut self, answer: Vec<u8>, shared: &mut Shared<S>) {
        shared.counters.connections += 1;
        self.end(Ending {
            code: 1011,
            reason: String::new(),
            by: By::Error,
        });
        self.drop_queue(shared);
        self.queue.push_control(answer);
        self.work = Work::Idle;
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    /// Whether this subprotocol was among those offered.
    pub fn offered(&self, protocol: &str) -> bool {
        let offered = self.request.variables.text("HTTP_SEC_WEBSOCKET_PROTOCOL");
        offered.split(',').any(|p| p.trim() == protocol)
    }

    // ---- Events

    fn wait_for<S>(&mut self, task: Task, shared: &mut Shared<S>) {
        shared.tickets += 1;
        let ticket = shared.tickets;
        self.work = Work::Waiting { ticket, task };
    }

    fn owe_close<S>(&mut self, shared: &mut Shared<S>) {
        if matches!(self.link, Link::Opening) || !matches!(self.work, Work::Idle) {
            return;
        }
        let code = self.ending.as_ref().map(|ending| ending.code);
        if let Some(code) = code.filter(|_| !self.readable_still()) {
            *shared.counters.closes.entry(code).or_default() += 1;
            self.wait_for(Task::Close, shared);
        }
    }

    /// More of its messages may come.
    fn readable_still(&self) -> bool {
        matches!(self.link, Link::Open | Link::Draining)
    }

    /// Its place among those who wait for a job slot.
    pub fn ticket(&self) -> Option<u64> {
        match self.work {
            Work::Waiting { ticket, .. } => Some(ticket),
            _ => None,
        }
    }

    /// Puts an event back that could not be started yet.
    pub fn put_back(&mut self, ticket: u64, task: Task) {
        self.work = Work::Waiting { ticket, task };
    }

    /// Takes the event that waits, to run it.
    pub fn start(&mut self) -> Option<Task> {
        match core::mem::replace(&mut self.work, Work::Running) {
            Work::Waiting { task, .. } => Some(task),
            other => {
                self.work = other;
                None
            }
        }
    }

    /// The event's environment.
    pub fn environment(&self, task: &Task, outbox: &str) -> Vec<Vec<u8>> {
        let vanished = Ending::vanished(By::Client);
        let event = match task {
            Task::Open => Event::Open,
            Task::Message(opcode, payload) => Event::Message(*opcode, payload.bytes.len()),
            Task::Close => Event::Close(self.ending.as_ref().unwrap_or(&vanished)),
        };
        let facts = Facts {
            id: self.id,
            route: &self.request.route,
            rooms: &self.rooms,
            protocol: &self.protocol,
            state: &self.state,
            outbox,
        };
        environment(&self.request.variables, &facts, &event)
    }

    /// The program is done, and its reply is to be carried out.
    pub fn replying(&mut self) {
        self.work = Work::Replying;
    }

    /// The reply of a message or open event is carried out: the next event may come.
    pub fn resume<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.work = Work::Idle;
        // The clock stood still while we did not read.
        self.pulse = match self.pulse {
            Pulse::Silent(_) => Pulse::Silent(shared.now),
            Pulse::Heard(_) => Pulse::Heard(shared.now),
            Pulse::Pinged(_) => Pulse::Pinged(shared.now),
        };
        self.advance(shared);
        self.drain(shared);
        self.owe_close(shared);
    }

    /// The close event is done.
    pub fn over(&mut self) {
        self.work = Work::Over;
    }

    /// Nothing is left of it but, perhaps, a farewell.
    pub fn finished(&self) -> bool {
        matches!((&self.link, &self.work), (Link::Gone, Work::Over))
    }

    /// The farewell that its connection has become.
    pub fn farewell(&mut self) -> Option<Farewell<F>> {
        self.parting.take()
    }

    /// Whether its open event has not been started yet.
    pub fn unstarted(&self) -> bool {
        matches!(
            self.work,
            Work::Waiting {
                task: Task::Open,
                ..
            }
        )
    }

    /// Whether its close event has yet to be run to its end.
    pub fn owes_close(&self) -> bool {
        !matches!(
            (&self.link, &self.work),
            (Link::Opening, _) | (_, Work::Over)
        )
    }

    /// Whether it holds descriptors.
    pub fn connected(&self) -> bool {
        self.wire.is_some()
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

    /// Leaves a room.
    pub fn leave(&mut self, room: &str) {
        self.rooms.retain(|r| r != room);
    }

    /// WS-State.
    pub fn set_state(&mut self, state: Vec<u8>) {
        self.state = state;
    }

    /// Whether a target means it. Its id and rooms do so from the moment its open program
    /// starts, its route and `@all` after the 101.
    pub fn meant_by(&self, target: &Target) -> bool {
        if target.except == Some(self.id) || self.ending.is_some() {
            return false;
        }
        let open = match self.link {
            Link::Opening => false,
            Link::Delayed { .. } | Link::Open => true,
            Link::Closing { .. } | Link::Draining | Link::Gone => return false,
        };
        match &target.scope {
            Scope::Connection(id) => *id == self.id,
            Scope::Room(room) => self.rooms.contains(room),
            Scope::Route(route) => open && *route == self.request.route,
            Scope::All => open,
        }
    }

    /// Whether its queue takes no more messages.
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Whether anything waits in its queue.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Bytes in its queue.
    pub fn queued(&self) -> usize {
        self.queue.size()
    }

    /// Adds a message to its queue.
    pub fn push(&mut self, frame: Rc<Frame>) {
        self.queue.push(frame);
    }

    /// Others wait, or no longer wait, for this queue.
    pub fn held_up(&mut self, others: bool, now: Duration) {
        let slow = &mut self.slowness;
        match (others, slow.since) {
            (true, None) => slow.since = Some(now),
            (false, Some(since)) => {
                slow.spent += now.saturating_sub(since);
                slow.since = None;
            }
            _ => {}
        }
    }

    // ---- Time

    /// When [`expire`](Client::expire) has something to do.
    pub fn deadline(&self, config: &Config) -> Option<Duration> {
        let link = match self.link {
            Link::Delayed { until } | Link::Closing { until } => Some(until),
            Link::Open => self.ping_at(config),
            Link::Opening | Link::Draining | Link::Gone => None,
        };
        let slow = self.slow_at(config);
        [link, slow].into_iter().flatten().min()
    }

    fn ping_at(&self, config: &Config) -> Option<Duration> {
        let (Pulse::Silent(at) | Pulse::Heard(at) | Pulse::Pinged(at)) = self.pulse;
        config.ping.filter(|_| self.reads()).map(|ping| at + ping)
    }

    fn slow_at(&self, config: &Config) -> Option<Duration> {
        let left = config.slow_timeout.saturating_sub(self.slowness.spent);
        self.slowness.since.map(|since| since + left)
    }

    /// Does what is due.
    pub fn expire<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= shared.now);
        if due(self.slow_at(&shared.config)) {
            return self.close_slow(shared);
        }
        match (&self.link, &self.pulse) {
            (Link::Delayed { .. }, _) => self.open_when_due(shared),
            (Link::Closing { until }, _) if *until <= shared.now => {
                debug!("{}: no answer to the close", self.id);
                self.vanish(By::Client, shared);
            }
            (Link::Open, Pulse::Silent(_) | Pulse::Heard(_))
                if due(self.ping_at(&shared.config)) =>
            {
                self.queue.push_control(ping_frame());
                self.pulse = Pulse::Pinged(shared.now);
            }
            (Link::Open, Pulse::Pinged(_)) if due(self.ping_at(&shared.config)) => {
                info!("{}: no answer to a ping", self.id);
                self.vanish(By::Timeout, shared);
            }
            _ => {}
        }
    }

    /// It held others up for too long: 1013. What of a frame is begun is finished; frames
    /// not begun are dropped, as it would not read them in time.
    pub fn close_slow<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.slowness = Slowness::default();
        if self.ending.is_some() {
            return self.drop_queue(shared);
        }
        warn!("{}: too slow a reader, closed with 1013", self.id);
        self.drop_queue(shared);
        let close = Close::new(1013, "too slow");
        match self.link {
            Link::Open => {
                self.queue.push_control(close_frame(&close));
                self.end(Ending {
                    code: close.code,
                    reason: close.reason,
                    by: By::Timeout,
                });
                self.part(shared.now + SLOW_CLOSE, shared);
            }
            _ => self.close(&close, By::Timeout, shared),
        }
    }
}
