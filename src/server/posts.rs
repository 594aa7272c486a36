//! Messages that come up by POST, while their bodies are read.

use super::Server;
use super::arrive::Arrival;
use super::refusals::gone;
use crate::client::{Client, Posted, Request};
use crate::http::{Fields, Refusal};
use crate::limits::HEAD_TIMEOUT;
use crate::memory::Charge;
use crate::outbox::Opcode;
use crate::sys::Sys;
use crate::target::Id;
use crate::websocket::Payload;
use crate::wire::Wire;
use core::time::Duration;
use std::io::ErrorKind;

/// A POST whose body is not complete.
pub struct Post<F> {
    wire: Wire<F>,
    fields: Fields,
    opcode: Opcode,
    body: Vec<u8>,
    length: usize,
    deadline: Duration,
    charge: Charge,
    purpose: Purpose,
}

/// What a message is for.
pub enum Purpose {
    /// It is this connection's, with its number there.
    Message(Id, Option<u64>),
    /// It is an event of its own, and its connection is charged.
    Event(Box<Request>, Charge),
}

impl<F> Post<F> {
    /// `body`: what has come of it with its head. `charge`: for `length` bytes.
    pub fn new(
        wire: Wire<F>,
        fields: Fields,
        opcode: Opcode,
        (body, length): (&[u8], usize),
        charge: Charge,
        purpose: Purpose,
        now: Duration,
    ) -> Post<F> {
        let mut whole = Vec::with_capacity(length);
        whole.extend_from_slice(&body[..body.len().min(length)]);
        Post {
            wire,
            fields,
            opcode,
            body: whole,
            length,
            deadline: now + HEAD_TIMEOUT,
            charge,
            purpose,
        }
    }

    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        self.wire.watch(sys, token, true, false);
    }

    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Whether it counts to `--max-connections`: as a message it belongs to one that does.
    pub fn connected(&self) -> bool {
        matches!(self.purpose, Purpose::Event(..))
    }

    /// Whether it is a message of that connection.
    pub fn belongs_to(&self, id: Id) -> bool {
        matches!(self.purpose, Purpose::Message(of, _) if of == id)
    }

    /// When it came.
    pub fn since(&self) -> Duration {
        self.deadline - HEAD_TIMEOUT
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        self.wire.descriptors()
    }
}

/// Tells who waits on `--listen` to be told to send the body (RFC 9110 §10.1.1). It is the first
/// that is written there, so there is room for it.
pub fn invite<S: Sys>(arrival: &Arrival<S::Fd>, sys: &S) {
    let variables = &arrival.variables;
    let asks = variables.text("HTTP_EXPECT");
    let listened = matches!(arrival.wire, Wire::Socket(_)) && arrival.base.is_empty();
    let modern = listened && variables.text("SERVER_PROTOCOL") == "HTTP/1.1";
    if modern && arrival.early.is_empty() && asks.eq_ignore_ascii_case("100-continue") {
        let _ = arrival.wire.write(sys, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
}

impl<S: Sys> Server<S> {
    /// Reads on; what is complete becomes an event.
    pub(super) fn hear_post(&mut self, i: usize) {
        let Some(post) = &mut self.posts[i] else {
            return;
        };
        let shared = &mut self.shared;
        while post.body.len() < post.length {
            let most = shared.scratch.len().min(post.length - post.body.len());
            match post.wire.read(&shared.sys, &mut shared.scratch[..most]) {
                Ok(count @ 1..) => {
                    shared.counters.bytes_in += count as u64;
                    post.body.extend_from_slice(&shared.scratch[..count]);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    let text = "400: the body ended before its Content-Length";
                    return self.refuse_post(i, &Refusal::new(400, "body", text));
                }
            }
        }
        let text = post.opcode == Opcode::Text;
        if text && core::str::from_utf8(&post.body).is_err() {
            let text = "400: text that is not UTF-8";
            return self.refuse_post(i, &Refusal::new(400, "body", text));
        }
        let Some(post) = self.posts[i].take() else {
            return;
        };
        let whole = Posted {
            message: (post.opcode, Payload::new(post.body, post.charge)),
            asker: post.wire.back(),
        };
        match post.purpose {
            Purpose::Message(id, number) => {
                let client = self.clients.get_mut(id.number);
                match client.filter(|client| client.takes_posts()) {
                    Some(client) => match client.note_post(number) {
                        true => client.add_post(whole, &mut self.shared),
                        false => {
                            let text = "409: this message has come before";
                            let again = Refusal::new(409, "again", text);
                            self.refuse(whole.asker, &again, "?", post.fields);
                        }
                    },
                    None => self.refuse(whole.asker, &gone(), "?", post.fields),
                }
            }
            Purpose::Event(request, charge) => {
                let id = self.new_id();
                let client = Client::lone(&mut self.shared, id, *request, whole, charge);
                self.clients.push(id.number, client);
            }
        }
    }

    pub(super) fn refuse_post(&mut self, i: usize, refusal: &Refusal) {
        if let Some(post) = self.posts[i].take() {
            self.refuse(post.wire, refusal, "?", post.fields);
        }
    }

    pub(super) fn expire_posts(&mut self) {
        let late = Refusal::new(408, "slow", "408: the body did not come in time");
        for i in 0..self.posts.len() {
            let deadline = self.posts[i].as_ref().map(Post::deadline);
            if deadline.is_some_and(|at| at <= self.shared.now) {
                self.refuse_post(i, &late);
            }
        }
    }
}
