//! Events that are done: what a program's reply changes.

use super::Server;
use super::deliver::{Blocked, Delivery};
use crate::client::Client;
use crate::close::{By, Close};
use crate::event::Kind;
use crate::frame;
use crate::http::{Answer, Fields, Refusal};
use crate::job::Fault;
use crate::limits::MESSAGE_CHARGE;
use crate::memory::Charge;
use crate::reply::{Message, Reply, Rooms, Verdict};
use crate::sys::Sys;
use crate::target::Target;
use log::{error, warn};

/// A reply that is being carried out.
pub struct Answering {
    number: u64,
    kind: Kind,
    stage: Stage,
}

enum Stage {
    /// Its outbox lines come first: all that was written until `mark`. Then it waits for memory.
    Behind {
        mark: u64,
        outcome: Result<Reply, Fault>,
        payment: Payment,
    },
    /// Its message waits for memory, behind an open program's yes.
    Unpaid {
        target: Target,
        message: Message,
        payment: Payment,
        rest: Rest,
    },
    /// Its message waits for room in a queue.
    Delivering { delivery: Delivery, rest: Rest },
    /// Its message is on its way.
    Delivered(Rest),
}

/// What charges the account for a reply. Until it does, the reply holds its program's job
/// slot: that much is set aside.
type Payment = Option<Charge>;

/// What comes after the message.
struct Rest {
    leave: Rooms,
    close: Option<(Close, By)>,
}

impl Answering {
    /// The connection whose reply holds a job slot.
    pub fn unpaid(&self) -> Option<u64> {
        match self.stage {
            Stage::Behind { payment: None, .. } | Stage::Unpaid { payment: None, .. } => {
                Some(self.number)
            }
            _ => None,
        }
    }
}

impl<S: Sys> Server<S> {
    /// Takes the jobs whose program has exited.
    pub(super) fn collect_jobs(&mut self) {
        let mut i = 0;
        while i < self.jobs.len() {
            if !self.jobs[i].exited(&self.shared.sys) {
                i += 1;
                continue;
            }
            let job = self.jobs.remove(i);
            self.out_of_means = false;
            let (number, kind) = (job.client.number, job.kind);
            let output = job.finish(&self.shared.sys, &mut self.shared.scratch[..]);
            self.event_done(number, kind, output);
        }
    }

    /// `output`: what its program printed.
    pub(super) fn event_done(&mut self, number: u64, kind: Kind, output: Result<Vec<u8>, Fault>) {
        let mark = self.outbox.mark(&self.shared.sys);
        let size = output.as_ref().map_or(0, Vec::len);
        let stage = Stage::Behind {
            mark,
            outcome: output.and_then(|output| Reply::parse(output).map_err(Fault::Malformed)),
            // It leaves room for the outbox lines that come before it.
            payment: self.shared.memory.inbound(size + MESSAGE_CHARGE),
        };
        self.answers.push(Answering {
            number,
            kind,
            stage,
        });
    }

    /// Carries out replies as far as they go. True: something was done.
    pub(super) fn carry_out_answers(&mut self) -> bool {
        let mut moved = false;
        for mut answer in core::mem::take(&mut self.answers) {
            loop {
                match self.carry_out(answer) {
                    Step::Done => moved = true,
                    Step::On(next) => {
                        moved = true;
                        answer = next;
                        continue;
                    }
                    Step::Waits(same) => self.answers.push(same),
                }
                break;
            }
        }
        moved
    }

    fn carry_out(&mut self, answer: Answering) -> Step {
        let Answering {
            number,
            kind,
            stage,
        } = answer;
        let at = |stage| Answering {
            number,
            kind,
            stage,
        };
        match stage {
            Stage::Behind {
                mark,
                outcome,
                mut payment,
            } => {
                let mut ready = self.outbox.carried_out(mark);
                if let (true, None, Some(size)) = (ready, &payment, paid_first(&outcome, kind)) {
                    if kind == Kind::Open {
                        self.forget_messages(number);
                    }
                    payment = self.charge_outbound(size);
                    ready = payment.is_some();
                }
                if !ready {
                    return Step::Waits(at(Stage::Behind {
                        mark,
                        outcome,
                        payment,
                    }));
                }
                match self.begin(number, kind, outcome, payment) {
                    Some(stage) => Step::On(at(stage)),
                    None => Step::Done,
                }
            }
            Stage::Unpaid {
                target,
                message,
                payment,
                rest,
            } => match payment.or_else(|| self.charge_outbound(message.payload.len())) {
                Some(charge) => {
                    let message = frame::Message::new(message.opcode, message.payload, charge);
                    let delivery = Delivery { target, message };
                    Step::On(at(Stage::Delivering { delivery, rest }))
                }
                None => Step::Waits(at(Stage::Unpaid {
                    target,
                    message,
                    payment: None,
                    rest,
                })),
            },
            Stage::Delivering { mut delivery, rest } => match self.deliver(&mut delivery) {
                Ok(()) => Step::On(at(Stage::Delivered(rest))),
                Err(Blocked) => Step::Waits(at(Stage::Delivering { delivery, rest })),
            },
            Stage::Delivered(rest) => {
                self.complete(number, kind, rest);
                Step::Done
            }
        }
    }

    /// Join and state, after the verdict of an open event. None: that is all.
    fn begin(
        &mut self,
        number: u64,
        kind: Kind,
        outcome: Result<Reply, Fault>,
        mut payment: Payment,
    ) -> Option<Stage> {
        let client = self.clients.get(number)?;
        let (id, program) = (client.id, client.request.program.clone());
        let asked = client.asked();
        let mut reply = match outcome.and_then(|reply| checked(reply, kind, asked)) {
            Ok(reply) => reply,
            Err(fault) => {
                error!("{id} {program}: {} event failed: {fault}", kind.name());
                self.shared.counters.event(kind.name(), true);
                self.failed(number, kind, &fault);
                return None;
            }
        };
        for warning in &reply.reply.warnings {
            warn!("{id} {program}: {warning}");
        }
        let failed = match kind {
            Kind::Open => false,
            Kind::Message => reply.reply.failed(),
            Kind::Close => reply.reply.failed() && !reply.reply.no_opinion(),
        };
        if failed {
            let (status, phrase) = reply.reply.status.clone().unwrap_or_default();
            error!(
                "{id} {program}: {} event failed: Status {status} {phrase}",
                kind.name()
            );
        }
        self.shared.counters.event(kind.name(), failed);
        if kind == Kind::Open && !self.verdict(number, &mut reply.reply, &mut payment) {
            return None;
        }
        // A POST gets the reply, whatever it says, but for a message to somebody else.
        if asked && kind == Kind::Message && (failed || reply.reply.to.is_none()) {
            let answer = reply.reply.take_answer();
            if let Some(client) = self.clients.get_mut(number) {
                client.answer_post(answer, payment.take(), &mut self.shared);
            }
        }
        if failed {
            let close_on_error = self.shared.config.close_on_error && kind == Kind::Message;
            let error = close_on_error.then(|| (Close::new(1011, "event failed"), By::Error));
            let asked = reply.reply.close.map(|close| (close, By::Server));
            let rest = Rest {
                leave: Rooms::default(),
                close: asked.or(error),
            };
            return Some(Stage::Delivered(rest));
        }
        let Checked { reply, message } = reply;
        for room in reply.join.iter() {
            self.join(number, room);
        }
        if let (Some(client), Some(state)) = (self.clients.get_mut(number), reply.state) {
            client.set_state(state);
        }
        let rest = Rest {
            leave: reply.leave,
            close: reply.close.map(|close| (close, By::Server)),
        };
        let target = match (reply.to, kind) {
            (None, Kind::Message) => Some(Target::connection(id)).filter(|_| !asked),
            (to, _) => to,
        };
        Some(match (target, message) {
            (Some(target), Some(message)) => Stage::Unpaid {
                target,
                message,
                payment,
                rest,
            },
            _ => Stage::Delivered(rest),
        })
    }

    /// It is refused: what it was sent meanwhile makes room for the answer.
    fn forget_messages(&mut self, number: u64) {
        if let Some(client) = self.clients.get_mut(number) {
            client.drop_all(&mut self.shared);
        }
    }

    /// What becomes of the connection when its event has failed.
    fn failed(&mut self, number: u64, kind: Kind, fault: &Fault) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        let shared = &mut self.shared;
        let refusal = match fault {
            Fault::Timeout => Refusal::new(504, "program", "504: the event program took too long"),
            _ => Refusal::new(502, "program", "502: the event program failed"),
        };
        match kind {
            Kind::Open => {
                shared.counters.refused(refusal.cause);
                client.refuse(refusal.answer(), None, shared);
            }
            Kind::Message => {
                client.answer_post(refusal.answer(), None, shared);
                if shared.config.close_on_error {
                    client.close(&Close::new(1011, "event failed"), By::Error, shared);
                }
                client.resume(shared);
            }
            Kind::Close => client.over(),
        }
    }

    /// The open program's word. False: there is nothing more to do with its reply.
    fn verdict(&mut self, number: u64, reply: &mut Reply, payment: &mut Payment) -> bool {
        let Some(client) = self.clients.get_mut(number) else {
            return false;
        };
        let shared = &mut self.shared;
        match reply.verdict() {
            Verdict::Refuse(answer) => {
                shared.counters.refused("program");
                client.refuse(answer, payment.take(), shared);
                false
            }
            Verdict::NoOpinion => {
                client.accept(None, shared);
                client.resume(shared);
                false
            }
            Verdict::Accept => match &reply.protocol {
                Some(protocol) if !client.request.offered(protocol) => {
                    let (id, program) = (client.id, &client.request.program);
                    error!("{id} {program}: subprotocol {protocol} was not offered");
                    let text = "502: the event program chose a subprotocol that was not offered";
                    let refusal = Refusal::new(502, "subprotocol", text);
                    shared.counters.refused(refusal.cause);
                    client.accept_and_fail(refusal.answer(), shared);
                    false
                }
                _ => {
                    client.accept(Some(reply), shared);
                    true
                }
            },
        }
    }

    /// Leave and close, after the message; then the next event may come.
    fn complete(&mut self, number: u64, kind: Kind, rest: Rest) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        if client.asked() {
            client.answer_post(
                Answer::empty(204, Fields::default()),
                None,
                &mut self.shared,
            );
        }
        for room in rest.leave.iter() {
            client.leave(room, &mut self.shared);
        }
        if let Some((close, by)) = rest.close {
            client.close(&close, by, &mut self.shared);
        }
        match kind {
            Kind::Open | Kind::Message => client.resume(&mut self.shared),
            Kind::Close => client.over(),
        }
    }

    /// The daemon ends: events that are not over fail, and whoever sent one by POST is told. Close
    /// events are counted together.
    pub(super) fn fail_rest(&mut self) {
        loop {
            let left = |client: &mut Client<_>| Some((client.id.number, client.left()?));
            let left = self.clients.values_mut().find_map(left);
            let Some((number, kind)) = left else {
                return;
            };
            self.begin(number, kind, Err(Fault::Timeout), None);
        }
    }
}

/// What came of one step of an [`Answering`].
enum Step {
    Done,
    On(Answering),
    Waits(Answering),
}

/// Bytes that a reply needs before it is carried out. An open program's yes needs none: there may
/// be none until its client gets what was sent to it meanwhile.
fn paid_first(outcome: &Result<Reply, Fault>, kind: Kind) -> Option<usize> {
    let reply = outcome.as_ref().ok()?;
    let yes = kind == Kind::Open && (reply.accepts() || reply.no_opinion());
    reply.size().filter(|_| !yes)
}

/// A reply whose message can be sent.
struct Checked {
    reply: Reply,
    message: Option<Message>,
}

/// Before anything of a reply is carried out: whether its message can be sent. The body of
/// a refusal is no message, nor is that of an open or close event without WS-To, nor what
/// answers a POST (`asked`).
fn checked(mut reply: Reply, kind: Kind, asked: bool) -> Result<Checked, Fault> {
    let refuses = match kind {
        Kind::Open => !reply.accepts(),
        Kind::Message | Kind::Close => reply.failed(),
    };
    let sends = reply.to.is_some() || kind == Kind::Message && !asked;
    let message = match sends && !refuses {
        true => reply.take_message().map_err(Fault::Malformed)?,
        false => None,
    };
    Ok(Checked { reply, message })
}
