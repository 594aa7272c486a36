//! Newcomers: hand-off records, connections on `--listen`, and the decision who gets in.

use super::Server;
use super::posts::{Post, Purpose};
use crate::client::{Client, Request};
use crate::event::request_variables;
use crate::handoff::Record;
use crate::handshake;
use crate::head::{self, Head};
use crate::http::{Answer, Fields, Refusal, Style};
use crate::limits::{
    ADMISSIONS_PER_TURN, CONNECTION_CHARGE, DESCRIPTORS_PER_CONNECTION, HEAD, HEAD_TIMEOUT, POSTS,
    REFUSALS, SCRATCH, UNFINISHED,
};
use crate::memory::Charge;
use crate::reply::opcode_of;
use crate::route;
use crate::sys::{Datagram, FileType, Kind, Sys};
use crate::target::Id;
use crate::variables::Variables;
use crate::way::{self, Way};
use crate::wire::{Farewell, Wire};
use core::net::SocketAddr;
use core::time::Duration;
use log::{debug, info, warn};
use std::io::ErrorKind;

/// The answer to whoever comes, or has not been let in yet, while the daemon shuts down.
pub fn stopping() -> Refusal {
    Refusal::busy("stopping", "503: the daemon is shutting down")
}
/// Between two tries while there is no room for newcomers.
const PAUSE: Duration = Duration::from_millis(100);

/// The answer to whoever names a connection that is not there, or is not theirs.
pub fn gone() -> Refusal {
    Refusal::new(410, "gone", "410: no such connection (any more)")
}

pub fn no_memory() -> Refusal {
    Refusal::busy("memory", "503: --memory is used up")
}

/// A connection on `--listen` whose request head is not complete.
pub struct Newcomer<F> {
    wire: Wire<F>,
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    head: Vec<u8>,
    deadline: Duration,
    charge: Charge,
}

impl<F> Newcomer<F> {
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        self.wire.watch(sys, token, true, false);
    }

    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

/// A connection that is told why it gets nothing.
type Refused<F> = (Wire<F>, Refusal);

/// A hand-off that comes to nothing.
enum Unfit {
    /// The sender's mistake.
    Wrong(&'static str),
    /// Nobody's: the browser at this address has reset its connection meanwhile. Any browser
    /// can, so that is no warning.
    Gone(String),
}

/// A request whose head has come in whole, whichever way.
struct Arrival<F> {
    wire: Wire<F>,
    route: Option<String>,
    /// The URL path that leads to the handlers folder, `/cgi-bin/nph-ws`, or to a program in
    /// it, `/cgi-bin/nph-chat`; empty on `--listen`.
    base: String,
    /// How many bytes of the route it stands for: `/chat`.
    named: usize,
    variables: Variables,
    /// Bytes behind the head.
    early: Vec<u8>,
}

impl<S: Sys> Server<S> {
    /// Whether newcomers are let in, if only to be told 503. Otherwise they wait in the
    /// kernel's queues.
    pub(super) fn admitting(&self) -> bool {
        let most = self.shared.config.max_connections;
        self.admit_again <= self.shared.now
            && self.descriptors() <= DESCRIPTORS_PER_CONNECTION * (most + REFUSALS - 1)
            // Those without a connection are owed their close event only.
            && self.clients.len() < 2 * most
    }

    /// Descriptors of connections, of those to come and of those that end.
    fn descriptors(&self) -> usize {
        let clients = self.clients.values().map(Client::descriptors);
        let posts = self.posts.iter().flatten().map(Post::descriptors);
        let farewells = self.farewells.iter().map(Farewell::descriptors);
        let newcomers = self.newcomers.len();
        newcomers + clients.chain(posts).chain(farewells).sum::<usize>()
    }

    /// Whether all connections are taken.
    fn full(&self) -> bool {
        let clients = self.clients.values().filter(|client| client.connected());
        let posts = self.posts.iter().flatten().filter(|post| post.connected());
        let newcomers = self.newcomers.iter().flatten();
        let connected = clients.count() + posts.count() + newcomers.count();
        connected >= self.shared.config.max_connections
    }

    /// Of the chains whose second poll has not come for a moment, the oldest gives its place up: a
    /// client that begins one with each poll must not shut out all others. False: there is none.
    fn make_place(&mut self) -> bool {
        let late = self.shared.now.saturating_sub(UNFINISHED);
        let clients = self.clients.values_mut();
        let since = clients.filter_map(|client| Some((client.unconfirmed(&self.shared)?, client)));
        match since.min_by_key(|(since, _)| *since) {
            Some((since, client)) if since <= late => {
                client.give_up(&mut self.shared);
                true
            }
            _ => false,
        }
    }

    /// Whether the next newcomer of a turn waits for the next turn. Only the first was there
    /// for certain when the wait ended: a later one may follow someone who has left meanwhile,
    /// and whose end has not been read yet. It must not be told that we are full.
    fn later(&self, taken: usize) -> bool {
        !self.admitting() || (taken > 0 && self.full() && self.stopping.is_none())
    }

    // ---- The hand-off

    pub(super) fn take_handoffs(&mut self) {
        for taken in 0..ADMISSIONS_PER_TURN {
            if self.later(taken) {
                return;
            }
            let sys = &self.shared.sys;
            // With none free, recvmsg would succeed and the descriptors be gone.
            if sys.inherited(0).and_then(|_one| sys.inherited(0)).is_err() {
                return self.pause_admission("no descriptors are left");
            }
            let Some(handoff) = &self.handoff else {
                return;
            };
            match sys.receive_handoff(&handoff.socket, &mut self.record) {
                Ok(datagram) => {
                    // Whatever becomes of them, closing them must not wait.
                    for fd in &datagram.fds {
                        sys.before_close(fd, false);
                    }
                    let (bytes, uid) = (&self.record[..datagram.len], datagram.uid);
                    match self.arrival(bytes, datagram) {
                        Ok(arrival) => self.admit(arrival),
                        Err(Unfit::Wrong(why)) => {
                            self.shared.counters.refused("record");
                            // By POSIX nobody's.
                            let uid = uid.unwrap_or(u32::MAX);
                            warn!("hand-off record from uid {uid} refused: {why}");
                        }
                        Err(Unfit::Gone(remote)) => {
                            self.shared.counters.refused("gone");
                            info!("{remote}: it has gone before it got here");
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => return self.pause_admission(&format!("hand-off socket: {e}")),
            }
        }
    }

    /// With no descriptor to be had, a readable socket would make the loop spin.
    fn pause_admission(&mut self, why: &str) {
        // One line for all of the pauses in a row.
        if self.admit_again + PAUSE < self.shared.now {
            warn!("newcomers wait: {why}");
        }
        self.admit_again = self.shared.now + PAUSE;
    }

    fn arrival(&self, bytes: &[u8], datagram: Datagram<S::Fd>) -> Result<Arrival<S::Fd>, Unfit> {
        if datagram.truncated {
            let why = "it was cut off: too long, or too many descriptors";
            return Err(Unfit::Wrong(why));
        }
        let record = Record::parse(bytes).map_err(Unfit::Wrong)?;
        let variables = &record.variables;
        let upgrade = handshake::check_upgrade(variables).is_ok();
        let wire = self.wire_of(datagram.fds, record.style(), upgrade);
        let Some(wire) = wire.map_err(Unfit::Wrong)? else {
            return Err(Unfit::Gone(variables.text("REMOTE_ADDR").to_owned()));
        };
        debug!("hand-off by {}", record.program);
        let path_info = variables.get("PATH_INFO").unwrap_or_default();
        let script = variables.text("SCRIPT_NAME");
        // boa 0.93 leaves PATH_INFO in SCRIPT_NAME.
        let base = match variables.text("SERVER_SOFTWARE").starts_with("Boa/0.93") {
            true => script.strip_suffix(variables.text("PATH_INFO")),
            false => None,
        };
        let base = base.unwrap_or(script).to_owned();
        Ok(Arrival {
            wire,
            route: route::of_handoff(&record.program, path_info),
            base,
            named: route::named(&record.program).map_or(0, |name| 1 + name.len()),
            variables: record.variables,
            early: Vec::new(),
        })
    }

    /// What was handed over as a way to the browser: for an `upgrade` one that goes both ways.
    /// None: its browser has gone.
    fn wire_of(
        &self,
        mut fds: Vec<S::Fd>,
        style: Style,
        upgrade: bool,
    ) -> Result<Option<Wire<S::Fd>>, &'static str> {
        let sys = &self.shared.sys;
        let outbox = self.outbox.id(sys);
        let ours = |fd: &S::Fd| sys.fstat(fd).is_ok_and(|stat| stat.id == outbox);
        let second = fds.pop();
        let wire = match (fds.pop(), second) {
            _ if !fds.is_empty() => return Err("it has more than two descriptors"),
            (_, None) => return Err("it has no descriptor"),
            (None, Some(fd)) => match sys.adopt(fd) {
                Ok((fd, Kind::Stream { remote: None, .. })) if !upgrade => {
                    Wire::Server { fd, style }
                }
                Ok((fd, Kind::Stream { .. })) => Wire::Socket(fd),
                Ok((_, Kind::Unconnected)) => return Ok(None),
                Ok((to, Kind::PipeWriter)) if !upgrade => Wire::Writer { to, style },
                _ if upgrade => return Err("its descriptor is no connected stream socket"),
                _ => {
                    return Err("its descriptor is neither a connected socket nor a pipe to write");
                }
            },
            (Some(from), Some(to)) => match (sys.adopt(from), sys.adopt(to)) {
                (Ok((from, Kind::PipeReader)), Ok((to, Kind::PipeWriter))) => {
                    Wire::Pipes { from, to, style }
                }
                (Ok((from, Kind::File | Kind::Stream { .. })), Ok((to, Kind::PipeWriter)))
                    if !upgrade =>
                {
                    Wire::Pipes { from, to, style }
                }
                _ => return Err("its descriptors are not a pipe to read and one to write"),
            },
        };
        match &wire {
            Wire::Pipes { from, to, .. } if ours(from) || ours(to) => {
                Err("its descriptor is the outbox")
            }
            Wire::Writer { to, .. } if ours(to) => Err("its descriptor is the outbox"),
            _ => Ok(Some(wire)),
        }
    }

    // ---- --listen

    pub(super) fn take_connections(&mut self, listener: usize) {
        for taken in 0..ADMISSIONS_PER_TURN {
            if self.later(taken) {
                return;
            }
            let sys = &self.shared.sys;
            match sys.accept(&self.listeners[listener]) {
                Ok((fd, kind)) => {
                    let (remote, local) = match kind {
                        Kind::Stream { remote, local } => (remote, local),
                        _ => (None, None),
                    };
                    let wire = Wire::Socket(fd);
                    let Some(charge) = self.charge_inbound(HEAD + SCRATCH) else {
                        self.refuse(wire, &no_memory(), "?", Fields::default());
                        continue;
                    };
                    self.newcomers.push(Some(Newcomer {
                        wire,
                        remote,
                        local,
                        head: Vec::new(),
                        deadline: self.shared.now + HEAD_TIMEOUT,
                        charge,
                    }));
                    self.hear_newcomer(self.newcomers.len() - 1);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It hung up while it waited for us.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => return self.pause_admission(&format!("--listen: {e}")),
            }
        }
    }

    pub(super) fn hear_newcomer(&mut self, i: usize) {
        let Some(newcomer) = &mut self.newcomers[i] else {
            return;
        };
        let shared = &mut self.shared;
        match newcomer.wire.read(&shared.sys, &mut shared.scratch[..]) {
            Ok(count @ 1..) => newcomer.head.extend_from_slice(&shared.scratch[..count]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            _ => {
                self.newcomers[i] = None;
                return;
            }
        }
        let trust = shared.config.trust_forwarded;
        let (len, route, variables) =
            match head::parse(&newcomer.head, newcomer.remote, newcomer.local, trust) {
                Head::Unfinished => return,
                Head::Wrong(refusal) => return self.refuse_newcomer(i, &refusal),
                Head::Whole {
                    len,
                    route,
                    variables,
                } => (len, route, variables),
            };
        let Some(mut newcomer) = self.newcomers[i].take() else {
            return;
        };
        // What it was charged is there for the connection it becomes.
        drop(newcomer.charge);
        self.admit(Arrival {
            wire: newcomer.wire,
            route,
            base: String::new(),
            named: 0,
            variables,
            early: newcomer.head.split_off(len),
        });
    }

    pub(super) fn expire_newcomers(&mut self) {
        let late = Refusal::new(408, "slow", "408: the request head did not come in time");
        for i in 0..self.newcomers.len() {
            let deadline = self.newcomers[i].as_ref().map(Newcomer::deadline);
            if deadline.is_some_and(|at| at <= self.shared.now) {
                self.refuse_newcomer(i, &late);
            }
        }
    }

    pub(super) fn refuse_newcomer(&mut self, i: usize, refusal: &Refusal) {
        if let Some(newcomer) = self.newcomers[i].take() {
            self.refuse(newcomer.wire, refusal, "?", Fields::default());
        }
    }

    // ---- Both ways

    fn admit(&mut self, arrival: Arrival<S::Fd>) {
        let remote = arrival.variables.text("REMOTE_ADDR").to_owned();
        let origins = &self.shared.config.origins;
        let asked = Way::of(&arrival.variables).and_then(|way| {
            let fields = match way {
                Way::WebSocket => {
                    handshake::check(&arrival.variables, origins)?;
                    Fields::default()
                }
                _ => way::check_page(&arrival.variables, origins)?,
            };
            Ok((way, fields))
        });
        let (way, fields) = match asked {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse(arrival.wire, &refusal, &remote, Fields::default()),
        };
        let readable = fields.clone();
        let (wire, refusal) = match way {
            Way::Preflight => return self.allow(arrival.wire, fields),
            Way::Poll(wish) => match self.go_on(arrival, wish, fields) {
                Ok(()) => return,
                Err(refused) => refused,
            },
            Way::Post(wish) => match self.take_post(arrival, wish, fields) {
                Ok(()) => return,
                Err(refused) => refused,
            },
            way => match self.connect(arrival, way, fields) {
                Ok(()) => return,
                Err(refused) => refused,
            },
        };
        self.refuse(wire, &refusal, &remote, readable);
    }

    /// A new connection.
    fn connect(
        &mut self,
        arrival: Arrival<S::Fd>,
        way: Way,
        fields: Fields,
    ) -> Result<(), Refused<S::Fd>> {
        let fits = matches!(
            (&way, &arrival.wire),
            (_, Wire::Socket(_))
                | (Way::WebSocket, Wire::Pipes { .. })
                | (
                    Way::Events | Way::Poll(_),
                    Wire::Server { .. } | Wire::Writer { .. }
                )
        );
        if !fits {
            let text = "500: the descriptors handed over do not fit what is asked for";
            return Err((arrival.wire, Refusal::new(500, "record", text)));
        }
        let (request, charge) = match self.decide(&arrival, way, fields) {
            Ok(decided) => decided,
            Err(refusal) => return Err((arrival.wire, refusal)),
        };
        let id = self.new_id();
        let Arrival { wire, early, .. } = arrival;
        let client = Client::new(&mut self.shared, id, request, wire, &early, charge);
        self.clients.push(id.number, client);
        Ok(())
    }

    pub(super) fn new_id(&mut self) -> Id {
        self.count += 1;
        Id {
            boot: self.boot,
            number: self.count,
        }
    }

    /// A poll: it goes on with its chain, or begins one.
    fn go_on(
        &mut self,
        arrival: Arrival<S::Fd>,
        mut wish: way::Poll,
        fields: Fields,
    ) -> Result<(), Refused<S::Fd>> {
        if let Some((id, key)) = &wish.chain {
            let route = arrival.route.as_deref();
            let ours = |client: &&mut Client<_>| {
                client.takes_polls(wish.unnamed) && client.goes_by(*id, route)
            };
            let fits = self.shared.keys.fits(*id, key);
            let client = self.clients.get_mut(id.number).filter(|_| fits);
            match client.filter(ours) {
                // Another window of the same browser has our cookie, and waits.
                Some(client) if wish.unnamed && client.poll_waits() => {}
                Some(client) => {
                    client.poll(arrival.wire, &wish, &arrival.variables, &mut self.shared);
                    return Ok(());
                }
                None if wish.unnamed => wish.chain = None,
                None => return Err((arrival.wire, gone())),
            }
        }
        self.connect(arrival, Way::Poll(wish), fields)
    }

    /// A message that comes by POST.
    fn take_post(
        &mut self,
        arrival: Arrival<S::Fd>,
        wish: way::Post,
        fields: Fields,
    ) -> Result<(), Refused<S::Fd>> {
        let opcode = opcode_of(arrival.variables.get("CONTENT_TYPE").unwrap_or_default());
        let length = wish.length;
        let decided = self.decide_post(&arrival, wish, fields.clone());
        let (purpose, charge) = match decided {
            Ok(decided) => decided,
            Err(refusal) => return Err((arrival.wire, refusal)),
        };
        let Arrival { wire, early, .. } = arrival;
        let now = self.shared.now;
        let body = (&early[..], length);
        let post = Post::new(wire, fields, opcode, body, charge, purpose, now);
        self.posts.push(Some(post));
        self.hear_post(self.posts.len() - 1);
        Ok(())
    }

    fn decide_post(
        &mut self,
        arrival: &Arrival<S::Fd>,
        wish: way::Post,
        fields: Fields,
    ) -> Result<(Purpose, Charge), Refusal> {
        let bound = self.shared.config.max_message;
        if wish.length > bound {
            let text = format!("413: at most {bound} bytes (--max-message)");
            return Err(Refusal::new(413, "length", text));
        }
        let purpose = match &wish.of {
            Some((id, key)) => {
                if self.stopping.is_some() {
                    return Err(stopping());
                }
                let route = arrival.route.as_deref();
                let ours = |client: &&Client<_>| client.takes_posts() && client.goes_by(*id, route);
                let client = self.clients.get(id.number).filter(ours);
                let fits = self.shared.keys.fits(*id, key);
                let client = client.filter(|_| fits).ok_or_else(gone)?;
                let posts = self.posts.iter().flatten();
                let unfinished = posts.filter(|post| post.belongs_to(*id)).count();
                if client.posts_waiting() + unfinished >= POSTS {
                    let text = format!("503: {POSTS} messages of this connection wait already");
                    return Err(Refusal::busy("posts", text));
                }
                Purpose::Message(*id, wish.number)
            }
            None => {
                let (request, charge) = self.decide(arrival, Way::Post(wish.clone()), fields)?;
                Purpose::Event(Box::new(request), charge)
            }
        };
        let charge = self.charge_inbound(wish.length);
        Ok((purpose, charge.ok_or_else(no_memory)?))
    }

    /// The answer to a page of another origin that may POST.
    fn allow(&mut self, wire: Wire<S::Fd>, mut fields: Fields) {
        fields.put("Access-Control-Allow-Methods", "GET, POST");
        fields.put("Access-Control-Allow-Headers", "Content-Type");
        fields.put("Access-Control-Max-Age", "600");
        let answer = Answer::empty(204, fields);
        let farewell = Farewell::whole(wire, &answer, None, self.shared.now);
        self.farewells.push(farewell);
    }

    fn decide(
        &mut self,
        arrival: &Arrival<S::Fd>,
        way: Way,
        fields: Fields,
    ) -> Result<(Request, Charge), Refusal> {
        if self.stopping.is_some() {
            return Err(stopping());
        }
        // This one is no newcomer any more.
        if self.full() && !self.make_place() {
            return Err(Refusal::busy("full", "503: all connections are taken"));
        }
        let not_found = || Refusal::new(404, "route", "404: no event program there");
        let route = arrival.route.as_deref().ok_or_else(not_found)?;
        let (program, path_info) = self.find(route)?;
        let path = format!("{}{program}", self.shared.config.handlers);
        let script = format!("{}{}", arrival.base, &program[arrival.named..]);
        let variables = request_variables(arrival.variables.clone(), &script, path_info);
        let request = Request {
            route: route.to_owned(),
            program: program.to_owned(),
            path,
            url: format!("{script}{path_info}"),
            variables,
            way,
            fields,
        };
        let charge = self.charge_inbound(request.variables.bytes() + CONNECTION_CHARGE);
        Ok((request, charge.ok_or_else(no_memory)?))
    }

    /// The program of a route: its longest existing prefix, and the rest. Links are
    /// followed: they are the owner's choice.
    fn find<'a>(&self, route: &'a str) -> Result<(&'a str, &'a str), Refusal> {
        for (prefix, rest) in route::prefixes(route) {
            let path = format!("{}{prefix}", self.shared.config.handlers);
            match self.shared.sys.stat(&path).map(|stat| stat.file_type) {
                Ok(FileType::Folder) => {}
                Ok(FileType::Regular) if self.shared.sys.executable(&path) => {
                    return Ok((prefix, rest));
                }
                Ok(FileType::Regular) => {
                    warn!("{path} is not executable");
                    let text = "403: the event program is not executable";
                    return Err(Refusal::new(403, "not-executable", text));
                }
                _ => break,
            }
        }
        Err(Refusal::new(404, "route", "404: no event program there"))
    }

    /// `fields`: with them a page of another origin may read the answer.
    pub(super) fn refuse(
        &mut self,
        wire: Wire<S::Fd>,
        refusal: &Refusal,
        remote: &str,
        fields: Fields,
    ) {
        let shared = &mut self.shared;
        shared.counters.refused(refusal.cause);
        match refusal.cause {
            // The owner's to mend.
            "host" => warn!("{remote}: {}", refusal.text),
            // Once: any page anywhere can cause it.
            "origin" if shared.counters.refusals.get("origin") == Some(&1) => {
                warn!("{remote}: {} (further ones are not warnings)", refusal.text);
            }
            _ => info!("{remote}: {}", refusal.text),
        }
        let mut answer = refusal.answer();
        answer.fields.append(&fields);
        let farewell = Farewell::whole(wire, &answer, None, shared.now);
        self.farewells.push(farewell);
    }
}
