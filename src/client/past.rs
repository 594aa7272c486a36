//! What a browser missed while it was away, or was too slow for: it is read from the history.

use super::transport::Transport;
use super::{Client, Link, Request};
use crate::frame::{Mark, Message};
use crate::history::{Found, History};
use crate::limits::{MESSAGE_CHARGE, QUEUE_SLOT};
use crate::shared::Shared;
use crate::way;

/// A reader's place in the history.
#[derive(Default)]
pub(super) struct Past {
    /// The number of the next message it reads there. None: it gets messages as they come.
    next: Option<u64>,
    /// Where messages as they come began for it.
    from: u64,
    /// What it last asked for is not there any more.
    pub lost: bool,
    /// The number behind all that is meant for it: it is closed.
    pub until: Option<u64>,
}

impl Past {
    pub fn new(request: &Request, transport: &Transport, history: &History) -> Past {
        let since = way::since(&request.variables);
        let told = match transport {
            Transport::WebSocket { marked, .. } => *marked,
            Transport::Events { .. } | Transport::Poll(_) => true,
            Transport::Post => false,
        };
        let mut past = Past {
            from: history.next(),
            ..Past::default()
        };
        if let Some(since) = since.filter(|_| told) {
            past.go_behind(since, history);
        } else if matches!(transport, Transport::Poll(_)) && history.kept() {
            past.next = Some(history.next());
        }
        past
    }

    /// Goes to the place behind a mark.
    pub fn go_behind(&mut self, since: Option<Mark>, history: &History) {
        let place = since.and_then(|mark| history.behind(mark));
        self.lost = place.is_none();
        if history.kept() {
            self.next = Some(place.unwrap_or(history.first()));
        }
    }

    /// The mark that its next message will stand behind.
    pub fn mark(&self, history: &History) -> Option<Mark> {
        let next = self.next.unwrap_or(self.from);
        history.kept().then(|| history.mark(next - 1))
    }
}

impl<F> Client<F> {
    /// Whether it reads messages to rooms and routes from the history.
    pub fn reads_history(&self) -> bool {
        self.past.next.is_some()
    }

    /// It is too slow for the message of this number: it will read it in the history.
    pub fn fall_behind(&mut self, number: u64) {
        self.past.next = Some(number);
    }

    /// Moves messages from the history to its queue, as many as it takes. True: some were.
    pub fn catch_up<S>(&mut self, shared: &mut Shared<S>) -> bool {
        self.read_on(false, shared)
    }

    /// The same where its end is near: as many as there is room for, and no later ones. Named polls
    /// read on as they come, and may come for one of them again.
    pub(super) fn catch_up_to_end<S>(&mut self, shared: &mut Shared<S>) {
        self.read_on(!self.named(), shared);
        self.past.until = Some(shared.history.next());
    }

    fn read_on<S>(&mut self, to_end: bool, shared: &mut Shared<S>) -> bool {
        let mut moved = false;
        while let Some(place) = self.past.next.filter(|_| self.takes_history(to_end)) {
            let history = &shared.history;
            let next = self.past.until.unwrap_or(history.next());
            let (number, message) = match history.find(place, next, |target| self.concerns(target))
            {
                Found::Gap(first) => {
                    self.say_gap();
                    self.past.next = Some(first);
                    moved = true;
                    continue;
                }
                Found::End => {
                    let polls = matches!(self.transport, Transport::Poll(_));
                    self.past.next = polls.then_some(next);
                    self.past.from = next;
                    break;
                }
                Found::Entry(number, entry) => {
                    let size = entry.payload.len() + MESSAGE_CHARGE;
                    let Some(charge) = shared.memory.outbound(size) else {
                        break;
                    };
                    let payload = entry.payload.clone();
                    let mut message = Message::new(entry.opcode, payload, charge);
                    message.mark = Some(history.mark(number));
                    (number, message)
                }
            };
            let frame = message.frame(self.form(), &shared.memory);
            let (Some(frame), Some(slot)) = (frame, shared.memory.slots(QUEUE_SLOT)) else {
                break;
            };
            self.queue.push(frame, slot);
            shared.counters.messages_out += 1;
            self.past.next = Some(number + 1);
            moved = true;
        }
        moved
    }

    fn takes_history(&self, to_end: bool) -> bool {
        matches!(self.link, Link::Open | Link::Telling { .. })
            && !self.queue.is_full()
            && match &self.transport {
                Transport::Poll(chain) if !to_end => {
                    self.wire.is_some() && (chain.batch || self.queue.is_empty())
                }
                _ => true,
            }
    }
}
