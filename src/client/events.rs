//! The programs' side of a connection: one event at a time, in order, open first, close
//! last and exactly once.

use super::transport::Transport;
use super::{Client, Link, Posted, Pulse, Task, Work};
use crate::close::{By, Ending};
use crate::event::{Event, Facts, Kind, environment};
use crate::http::Answer;
use crate::limits::CLOSE_TIMEOUT;
use crate::memory::Charge;
use crate::reply::Reply;
use crate::shared::Shared;
use crate::sys::Sys;
use crate::target::Id;
use crate::way::Way;
use crate::wire::{Farewell, Wire};
use core::time::Duration;
use log::info;

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
    // ---- The open program's verdict

    /// The 101. From now on a close event is owed.
    pub fn accept<S: Sys<Fd = F>>(&mut self, reply: Option<&Reply>, shared: &mut Shared<S>) {
        shared.counters.connections += 1;
        let fields = reply.into_iter().flat_map(Reply::switching_fields);
        let fields = fields.collect();
        if self.protocol.is_empty() {
            self.protocol = reply.and_then(|r| r.protocol.clone()).unwrap_or_default();
        }
        self.welcome(fields, shared);
        let delay = match self.request.way {
            Way::WebSocket => shared.config.upgrade_delay,
            _ => Duration::ZERO,
        };
        let until = shared.now + delay;
        self.link = Link::Delayed { until };
        info!("{}: open, {}", self.id, self.request.route);
        self.open_when_due(shared);
    }

    pub(super) fn open_when_due<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
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
    pub fn refuse<S>(&mut self, answer: Answer, charge: Option<Charge>, shared: &mut Shared<S>) {
        self.drop_all(shared);
        self.push_answer(answer, charge);
        self.work = Work::Over;
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    /// The open program accepted, and asked for what can't be: an HTTP answer, and a close
    /// event with 1011.
    pub fn accept_and_fail<S>(&mut self, answer: Answer, shared: &mut Shared<S>) {
        shared.counters.connections += 1;
        self.end(Ending {
            code: 1011,
            reason: String::new(),
            by: By::Error,
        });
        self.drop_all(shared);
        self.push_answer(answer, None);
        self.work = Work::Idle;
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    fn push_answer(&mut self, mut answer: Answer, charge: Option<Charge>) {
        answer.fields.add_missing(&self.request.fields);
        if let Some(wire) = &self.wire {
            self.queue
                .push_answer(answer.to_bytes(wire.style()), charge);
        }
    }

    // ---- Events

    /// Whether a request of this route may go on with it, as its key allows: whoever may not go
    /// there by the web server's rules may not by another name either.
    pub fn goes_by(&self, id: Id, route: Option<&str>) -> bool {
        self.id == id && Some(self.request.route.as_str()) == route
    }

    /// Messages that have come by POST, and have not become events.
    pub fn posts_waiting(&self) -> usize {
        self.posts.len()
    }

    /// Whether messages may come by POST.
    pub fn takes_posts(&self) -> bool {
        let way = matches!(
            self.transport,
            Transport::Events { .. } | Transport::Poll(_)
        );
        way && matches!(self.link, Link::Open) && self.ending.is_none()
    }

    /// Notes the number of a POST. False: it has come before.
    pub fn note_post(&mut self, number: Option<u64>) -> bool {
        let fresh = number.is_none() || number > self.last_post;
        self.last_post = self.last_post.max(number);
        fresh
    }

    /// A message that has come by POST.
    pub fn add_post<S: Sys<Fd = F>>(&mut self, post: Posted<F>, shared: &mut Shared<S>) {
        self.posts.push_back(post);
        self.advance(shared);
    }

    /// Whether a POST waits for what its event brings.
    pub fn asked(&self) -> bool {
        self.asker.is_some()
    }

    /// Answers that POST.
    pub fn answer_post<S>(
        &mut self,
        mut answer: Answer,
        charge: Option<Charge>,
        shared: &mut Shared<S>,
    ) {
        if let Some(asker) = self.asker.take() {
            answer.fields.add_missing(&self.request.fields);
            let farewell = Farewell::whole(asker, &answer, charge, shared.now);
            self.partings.push(farewell);
        }
    }

    pub(super) fn wait_for<S>(&mut self, task: Task, shared: &mut Shared<S>) {
        shared.tickets += 1;
        let ticket = shared.tickets;
        self.work = Work::Waiting { ticket, task };
    }

    pub(super) fn owe_close<S>(&mut self, shared: &mut Shared<S>) {
        let busy = !matches!(self.work, Work::Idle | Work::Unpaid);
        if matches!(self.link, Link::Opening) || busy {
            return;
        }
        let code = self.ending.as_ref().map(|ending| ending.code);
        if let Some(code) = code.filter(|_| !self.readable_still()) {
            *shared.counters.closes.entry(code) += 1;
            self.wait_for(Task::Close, shared);
        }
    }

    /// More of its messages may come.
    fn readable_still(&self) -> bool {
        match self.link {
            Link::Open | Link::Draining { .. } | Link::Emptying => true,
            Link::Telling { .. } => !self.posts.is_empty(),
            Link::Opening | Link::Delayed { .. } | Link::Closing { .. } | Link::Gone => false,
        }
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
        match core::mem::replace(&mut self.work, Work::Idle) {
            Work::Waiting { task, .. } => {
                self.work = Work::Running(task.kind());
                Some(task)
            }
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
            transport: self.request.way.name(),
            rooms: &self.rooms,
            protocol: &self.protocol,
            state: &self.state,
            outbox,
        };
        environment(&self.request.variables, &facts, &event)
    }

    /// The reply of a message or open event is carried out, or there may be memory again for
    /// the message that it waits for: the next event may come.
    pub fn resume<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        if matches!(self.transport, Transport::Post) {
            // That was all there is to it.
            return self.work = Work::Over;
        }
        self.work = Work::Idle;
        if let Transport::WebSocket { taken, .. } = &mut self.transport {
            taken.done = taken.read;
        }
        // Before a close of the peer's is read, and answered.
        if !self.stuck {
            self.say_taken();
        }
        // The clock stood still while we did not read.
        self.pulse = match self.pulse {
            Pulse::Silent(_) => Pulse::Silent(shared.now),
            Pulse::Heard(_) => Pulse::Heard(shared.now),
            Pulse::Pinged(_) => Pulse::Pinged(shared.now),
        };
        self.advance(shared);
        if matches!(self.link, Link::Draining { .. }) {
            self.drain(shared);
        }
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

    /// The farewells that its connection, and its POSTs, have become.
    pub fn farewells(&mut self) -> impl Iterator<Item = Farewell<F>> {
        self.partings.drain(..)
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

    /// The event, no close event, that is not over as the daemon ends. Nothing more is read.
    pub fn left(&mut self) -> Option<Kind> {
        if matches!(self.link, Link::Draining { .. }) {
            self.link = Link::Emptying;
        }
        match (&self.link, &self.work) {
            (Link::Opening, _) => Some(Kind::Open),
            (_, Work::Running(Kind::Message)) => Some(Kind::Message),
            (_, Work::Waiting { task, .. }) => {
                Some(task.kind()).filter(|kind| *kind != Kind::Close)
            }
            _ => None,
        }
    }

    /// Whether its close event has yet to be run to its end.
    pub fn owes_close(&self) -> bool {
        !matches!(
            (&self.link, &self.work),
            (Link::Opening, _) | (_, Work::Over)
        ) && !matches!(self.transport, Transport::Post)
    }

    /// Whether it counts to `--max-connections`: a chain of polls does so between them too.
    pub fn connected(&self) -> bool {
        let lone = matches!(self.transport, Transport::Post) && self.asker.is_some();
        self.wire.is_some() || self.polled() || lone
    }

    /// How many descriptors it has.
    pub fn descriptors(&self) -> usize {
        let posts = self.posts.iter().map(|post| &post.asker);
        let wires = self.wire.iter().chain(&self.asker).chain(posts);
        wires.map(Wire::descriptors).sum()
    }
}
