//! A chain of polls: each is a request that waits for an answer, all together are one
//! connection. Between two of them there is no descriptor, and messages wait.

use super::timing::Slowness;
use super::transport::Transport;
use super::{Client, Link};
use crate::close::{By, Ending};
use crate::element::Element;
use crate::http::{self, Answer, Fields};
use crate::limits::CLOSE_TIMEOUT;
use crate::outbox::Opcode;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::sys::Sys;
use crate::variables::Variables;
use crate::way::{self, COOKIE, Poll};
use crate::wire::{Farewell, Wire};
use core::time::Duration;
use log::{debug, info};

/// A chain of polls.
pub(super) struct Chain {
    /// When the poll that waits is answered without a message; with none, when the chain ends.
    until: Duration,
    /// All messages in one answer.
    pub batch: bool,
    /// For the first answer: the program's fields.
    pub fields: Fields,
    /// The next answer says that messages are missing.
    pub gap: bool,
    /// Its page knows nothing of us.
    unnamed: bool,
    /// It ends with its first answer.
    once: bool,
    /// Nothing has been answered yet.
    first: bool,
    /// A second poll has come.
    goes_on: bool,
}

impl Chain {
    pub fn new<S>(wish: &Poll, shared: &Shared<S>) -> Chain {
        Chain {
            until: shared.now + waits(wish, shared),
            batch: wish.batch,
            fields: Fields::default(),
            gap: false,
            unnamed: wish.unnamed,
            // Its cookie is in use: by another window of the same browser.
            once: wish.unnamed && wish.chain.is_some(),
            first: true,
            goes_on: false,
        }
    }

    pub fn until(&self) -> Duration {
        self.until
    }
}

/// How long a poll is held.
fn waits<S>(wish: &Poll, shared: &Shared<S>) -> Duration {
    let most = shared.config.poll_wait;
    wish.wait.map_or(most, |wait| wait.min(most))
}

impl<F> Client<F> {
    /// Whether polls go on with it.
    pub fn polled(&self) -> bool {
        matches!(self.transport, Transport::Poll(_)) && matches!(self.link, Link::Open)
    }

    /// Whether its polls say which they are, and where.
    pub(super) fn named(&self) -> bool {
        matches!(&self.transport, Transport::Poll(chain) if !chain.unnamed)
    }

    /// Whether a poll finds it: that it has ended is told to the next. A page that knows nothing
    /// of that gets what was sent before, and then another connection.
    pub fn takes_polls(&self, unnamed: bool) -> bool {
        let tells = matches!(self.link, Link::Telling { .. });
        self.polled() || tells && !(unnamed && self.queue.is_empty())
    }

    /// Whether one of its polls waits.
    pub fn poll_waits(&self) -> bool {
        self.polled() && self.wire.is_some()
    }

    /// Since when it waits for its second poll: whoever keeps no cookies, and knows of nothing
    /// else, never comes with that.
    pub fn unconfirmed<S>(&self, shared: &Shared<S>) -> Option<Duration> {
        match &self.transport {
            Transport::Poll(chain) if !chain.goes_on && self.polled() && self.wire.is_none() => {
                chain.until.checked_sub(2 * shared.config.poll_wait)
            }
            _ => None,
        }
    }

    /// The next poll. One that still waits is answered: its browser has given it up.
    pub fn poll<S: Sys<Fd = F>>(
        &mut self,
        wire: Wire<F>,
        wish: &Poll,
        request: &Variables,
        shared: &mut Shared<S>,
    ) {
        if self.wire.is_some() {
            self.answer_nothing(shared);
        }
        self.wire = Some(wire);
        if let Transport::Poll(chain) = &mut self.transport {
            chain.until = shared.now + waits(wish, shared);
            chain.batch = wish.batch;
            chain.goes_on = true;
        }
        // What it has not got of the last answer it gets again.
        if let Some(since) = way::since(request) {
            self.past.go_behind(since, &shared.history);
            if self.past.lost {
                self.say_gap();
            }
        }
        if wish.close {
            self.answer_nothing(shared);
            self.end(Ending {
                code: 1000,
                reason: String::new(),
                by: By::Client,
            });
            self.drop_all(shared);
            return self.be_gone(shared);
        }
        self.catch_up(shared);
        self.answer_poll(shared);
    }

    /// Answers the poll that waits, if there is something to say.
    pub(super) fn answer_poll<S>(&mut self, shared: &mut Shared<S>) {
        let Transport::Poll(chain) = &mut self.transport else {
            return;
        };
        let told = matches!(self.link, Link::Open | Link::Telling { .. });
        if self.wire.is_none() || !told {
            return;
        }
        if chain.batch && self.queue.first_message().is_some() {
            return self.answer_batch(shared);
        }
        if let Some((frame, slot)) = self.queue.take_message() {
            let mut fields = self.answer_fields(shared);
            let content_type = match frame.opcode {
                Opcode::Text => "text/plain; charset=utf-8",
                Opcode::Binary => "application/octet-stream",
            };
            fields.put("Content-Type", content_type);
            return self.answer(
                |wire, now| {
                    let status = (200, http::reason(200));
                    let head = http::head(wire.style(), status, &fields, Some(frame.len()));
                    let mut queue = Queue::new(0);
                    queue.push_answer(head, None);
                    queue.push(frame, slot);
                    Farewell::answer(wire, queue, now)
                },
                shared,
            );
        }
        if let (Link::Telling { .. }, Some(ending)) = (&self.link, &self.ending) {
            let mut fields = self.request.fields.clone();
            let value = format!("{} {}", ending.code, ending.reason);
            let value = value.trim_ascii_end().replace(char::is_control, " ");
            fields.put("WS-Close", value);
            let style = self.wire.as_ref().map_or(http::Style::Http, Wire::style);
            let answer = Answer::empty(410, fields);
            self.queue.push_answer(answer.to_bytes(style), None);
            return self.part(shared.now + CLOSE_TIMEOUT, shared);
        }
        let Transport::Poll(chain) = &self.transport else {
            return;
        };
        if chain.gap || chain.until <= shared.now {
            self.answer_nothing(shared);
        }
    }

    /// All that wait, as one JSON array.
    fn answer_batch<S>(&mut self, shared: &mut Shared<S>) {
        let mut elements = Vec::new();
        while let Some((frame, slot)) = self.queue.take_message() {
            let element = Element::new(frame, elements.is_empty());
            elements.push((Box::new(element), slot));
        }
        let len = elements.iter().map(|(element, _)| element.len());
        let len = len.sum::<usize>() + 1;
        let mut fields = self.answer_fields(shared);
        fields.put("Content-Type", "application/json");
        self.answer(
            |wire, now| {
                let status = (200, http::reason(200));
                let head = http::head(wire.style(), status, &fields, Some(len));
                let mut queue = Queue::new(0);
                queue.push_array(head, elements, "]");
                Farewell::answer(wire, queue, now)
            },
            shared,
        );
    }

    /// 204: nothing has come, ask again.
    fn answer_nothing<S>(&mut self, shared: &mut Shared<S>) {
        let answer = Answer::empty(204, self.answer_fields(shared));
        self.answer(
            |wire, now| Farewell::whole(wire, &answer, None, now),
            shared,
        );
    }

    /// What every answer says: who it is, and where in the history.
    fn answer_fields<S>(&mut self, shared: &Shared<S>) -> Fields {
        let (id, key) = (self.id, shared.keys.of(self.id));
        let Transport::Poll(chain) = &mut self.transport else {
            return Fields::default();
        };
        let mut fields = core::mem::take(&mut chain.fields);
        fields.add_missing(&self.request.fields);
        if chain.unnamed && chain.first && !chain.once {
            let path = &self.request.url;
            let secure = match self.request.variables.text("HTTPS") {
                "" | "off" => "",
                _ => "; Secure",
            };
            let cookie =
                format!("{COOKIE}={id}.{key}; Path={path}; HttpOnly; SameSite=Strict{secure}");
            fields.put("Set-Cookie", cookie);
        }
        chain.first = false;
        fields.put("WS-Id", id.to_string());
        fields.put("WS-Key", key);
        let waits = self.queue.first_mark().map(|mark| mark.number - 1);
        let place = waits.map(|number| shared.history.mark(number));
        if let Some(mark) = place.or_else(|| self.past.mark(&shared.history)) {
            fields.put("WS-Since", mark.to_string());
        }
        if core::mem::take(&mut chain.gap) {
            fields.put("WS-Gap", "1");
        }
        fields
    }

    fn answer<S>(
        &mut self,
        farewell: impl FnOnce(Wire<F>, Duration) -> Farewell<F>,
        shared: &mut Shared<S>,
    ) {
        if let Some(wire) = self.wire.take() {
            self.partings.push(farewell(wire, shared.now));
        }
        if self.queue.is_empty() {
            self.slowness = Slowness::default();
        }
        self.wait_for_poll(shared);
        let Transport::Poll(chain) = &self.transport else {
            return;
        };
        if chain.once {
            debug!("{}: one poll only", self.id);
            self.end(Ending {
                code: 1000,
                reason: String::new(),
                by: By::Client,
            });
            self.drop_all(shared);
            self.be_gone(shared);
        }
    }

    /// No poll will come any more.
    pub fn tell_nobody<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if matches!(self.link, Link::Telling { .. }) {
            self.vanish(By::Client, shared);
        }
    }

    /// The browser has gone from the poll that waits; it may come again.
    pub(super) fn hang_up<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if let Some(wire) = self.wire.take() {
            wire.end(&shared.sys, false);
        }
        self.wait_for_poll(shared);
    }

    fn wait_for_poll<S>(&mut self, shared: &Shared<S>) {
        if let Transport::Poll(chain) = &mut self.transport {
            chain.until = shared.now + 2 * shared.config.poll_wait;
        }
    }

    /// It is late.
    pub(super) fn expire_poll<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if self.wire.is_some() {
            return self.answer_poll(shared);
        }
        self.give_up(shared);
    }

    /// No poll has come, and none is waited for.
    pub fn give_up<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        info!("{}: no poll has come", self.id);
        self.vanish(By::Timeout, shared);
    }
}
