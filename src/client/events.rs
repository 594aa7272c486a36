//! The programs' side of a connection: one event at a time, in order, open first, close
//! last and exactly once.

use super::{Client, Link, Pulse, Task, Work};
use crate::close::{By, Ending};
use crate::event::{Event, Facts, Kind, environment};
use crate::http;
use crate::limits::CLOSE_TIMEOUT;
use crate::queue::Answer;
use crate::reply::Reply;
use crate::shared::Shared;
use crate::sys::Sys;
use crate::wire::Farewell;
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
        self.protocol = reply.and_then(|r| r.protocol.clone()).unwrap_or_default();
        let protocol = Some(self.protocol.as_str()).filter(|p| !p.is_empty());
        let head = http::switching(&self.request.accept, protocol, fields);
        self.queue.push_head(head);
        let until = shared.now + shared.config.upgrade_delay;
        self.link = Link::Delayed { until };
        self.work = Work::Replying;
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
    pub fn refuse<S>(&mut self, answer: Answer, shared: &mut Shared<S>) {
        self.drop_all(shared);
        self.queue.push_answer(answer);
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
        self.queue.push_answer(answer);
        self.work = Work::Idle;
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    /// Whether this subprotocol was among those offered.
    pub fn offered(&self, protocol: &str) -> bool {
        let offered = self.request.variables.text("HTTP_SEC_WEBSOCKET_PROTOCOL");
        offered.split(',').any(|p| p.trim() == protocol)
    }

    // ---- Events

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
            *shared.counters.closes.entry(code).or_default() += 1;
            self.wait_for(Task::Close, shared);
        }
    }

    /// More of its messages may come.
    fn readable_still(&self) -> bool {
        matches!(
            self.link,
            Link::Open | Link::Draining { .. } | Link::Emptying
        )
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

    /// The reply of a message or open event is carried out, or there may be memory again for
    /// the message that it waits for: the next event may come.
    pub fn resume<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.work = Work::Idle;
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
}
