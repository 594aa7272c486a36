//! Who gets in, and as what: a connection, a poll of one, a POST; or the answer that says why not.

use super::Server;
use super::arrive::Arrival;
use super::posts::{Post, Purpose, invite};
use super::refusals::{gone, no_memory, stopping};
use crate::client::{Client, Request};
use crate::event::request_variables;
use crate::handshake;
use crate::http::{Answer, Fields, Refusal};
use crate::limits::{CONNECTION_CHARGE, DESCRIPTORS_PER_CONNECTION, POSTS, REFUSALS, UNFINISHED};
use crate::memory::Charge;
use crate::reply::opcode_of;
use crate::route;
use crate::sys::{FileType, Sys};
use crate::target::Id;
use crate::way::{self, Way};
use crate::wire::{Farewell, Wire};
use log::{info, warn};

/// A connection that is told why it gets nothing.
type Refused<F> = (Wire<F>, Refusal);

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
        let newcomers = self.newcomers.iter().flatten();
        newcomers.count() + clients.chain(posts).chain(farewells).sum::<usize>()
    }

    /// Whether all connections are taken. Whose head is still to come has none.
    pub(super) fn full(&self) -> bool {
        let clients = self.clients.values().filter(|client| client.connected());
        let posts = self.posts.iter().flatten().filter(|post| post.connected());
        clients.count() + posts.count() >= self.shared.config.max_connections
    }

    /// Who makes place where all are taken: of the chains whose second poll has not come for a
    /// moment, the oldest. A client that begins one with each poll must not shut out all others.
    fn dispensable(&self) -> Option<u64> {
        let late = self.shared.now.saturating_sub(UNFINISHED);
        let clients = self.clients.iter();
        let since = clients.filter_map(|(n, client)| Some((client.unconfirmed(&self.shared)?, n)));
        let first = since.min().filter(|(since, _)| *since <= late);
        first.map(|(_, number)| number)
    }

    /// Memory for a new connection, so many bytes, and its place.
    fn let_in(&mut self, bytes: usize) -> Result<Charge, Refusal> {
        if self.stopping.is_some() {
            return Err(stopping());
        }
        let dispensable = self.dispensable();
        if self.full() && dispensable.is_none() {
            return Err(Refusal::busy("full", "503: all connections are taken"));
        }
        let charge = self.charge_inbound(bytes).ok_or_else(no_memory)?;
        // Last: nobody goes for one who is turned away, or where who held the memory has gone.
        let goes = dispensable.filter(|_| self.full());
        if let Some(client) = goes.and_then(|number| self.clients.get_mut(number)) {
            client.give_up(&mut self.shared);
        }
        Ok(charge)
    }

    pub(super) fn admit(&mut self, arrival: Arrival<S::Fd>) {
        self.shared.counters.bytes_in += arrival.early.len() as u64;
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
        let (request, charge) = match self.request(&arrival, way, fields, 0) {
            Ok(let_in) => let_in,
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
        let (purpose, charge) = match self.purpose(&arrival, wish, fields.clone()) {
            Ok(purpose) => purpose,
            Err(refusal) => return Err((arrival.wire, refusal)),
        };
        invite(&arrival, &self.shared.sys);
        let Arrival { wire, early, .. } = arrival;
        let now = self.shared.now;
        let body = (&early[..], length);
        let post = Post::new(wire, fields, opcode, body, charge, purpose, now);
        self.posts.push(Some(post));
        self.hear_post(self.posts.len() - 1);
        Ok(())
    }

    /// What a POST is for, and the memory for its message.
    fn purpose(
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
        match &wish.of {
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
                let charge = self.charge_inbound(wish.length).ok_or_else(no_memory)?;
                Ok((Purpose::Message(*id, wish.number), charge))
            }
            None => {
                let length = wish.length;
                let way = Way::Post(wish);
                let (request, mut charge) = self.request(arrival, way, fields, length)?;
                let message = charge.split(length);
                Ok((Purpose::Event(Box::new(request), charge), message))
            }
        }
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

    /// What is asked for, its program first; then it is let in, with a message of so many bytes.
    fn request(
        &mut self,
        arrival: &Arrival<S::Fd>,
        way: Way,
        fields: Fields,
        message: usize,
    ) -> Result<(Request, Charge), Refusal> {
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
        let bytes = request.variables.bytes() + CONNECTION_CHARGE + message;
        let charge = self.let_in(bytes)?;
        Ok((request, charge))
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
