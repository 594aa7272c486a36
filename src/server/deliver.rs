//! Messages to browsers: the outbox, and who gets what.

use super::Server;
use crate::client::Client;
use crate::close::By;
use crate::frame::{Form, Frame, Message};
use crate::limits::{MESSAGE_CHARGE, QUEUE_SLOT, READS_PER_TURN, ROOMS};
use crate::memory::Charge;
use crate::outbox::{self, Command, Line, Lines, Opcode, Payload};
use crate::sys::{FileType, Open, Sys};
use crate::target::{Scope, Target};
use crate::wire::Farewell;
use log::{info, warn};
use std::io::ErrorKind;
use std::rc::Rc;

/// The FIFO and what has been read of it.
pub struct Outbox<F> {
    fifo: F,
    lines: Lines,
    /// A command that waits for room, and where in the stream its line began.
    stalled: Option<(u64, Stalled)>,
}

enum Stalled {
    /// For memory.
    Command(Command),
    /// For room in a queue.
    Delivery(Delivery),
}

/// A message on its way.
pub struct Delivery {
    pub target: Target,
    pub message: Message,
}

/// A message's frames, by form.
#[derive(Default)]
struct Frames(Vec<(Form, Rc<Frame>)>);

impl Frames {
    fn has(&self, form: Form) -> bool {
        self.0.iter().any(|(f, _)| *f == form)
    }

    fn add(&mut self, form: Form, frame: Rc<Frame>) {
        self.0.push((form, frame));
    }

    fn get(&self, form: Form) -> Option<Rc<Frame>> {
        let found = self.0.iter().find(|(f, _)| *f == form);
        found.map(|(_, frame)| frame.clone())
    }
}

/// Something has to wait: a full queue, or memory.
pub struct Blocked;

impl<F> Outbox<F> {
    pub fn new(fifo: F) -> Outbox<F> {
        Outbox {
            fifo,
            lines: Lines::default(),
            stalled: None,
        }
    }

    /// The FIFO, unless a line waits: then its writers wait too.
    pub fn wants_reading(&self) -> Option<&F> {
        match self.stalled {
            None => Some(&self.fifo),
            Some(_) => None,
        }
    }

    pub fn read<S: Sys<Fd = F>>(&mut self, sys: &S, scratch: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            match sys.read(&self.fifo, scratch) {
                Ok(count @ 1..) => self.lines.push(&scratch[..count]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It is open for both, so it has no end; an error leaves all as it is.
                _ => return,
            }
        }
    }

    /// Whether nothing waits: no line, and no byte of one.
    pub fn idle<S: Sys<Fd = F>>(&self, sys: &S) -> bool {
        self.stalled.is_none() && self.carried_out(self.mark(sys))
    }

    /// Goes on with another FIFO.
    pub fn replace(&mut self, fifo: F) {
        self.fifo = fifo;
    }

    /// Device and inode of the FIFO.
    pub fn id<S: Sys<Fd = F>>(&self, sys: &S) -> (u64, u64) {
        sys.fstat(&self.fifo).map_or((0, 0), |stat| stat.id)
    }

    /// The place in the stream behind everything written until now.
    pub fn mark<S: Sys<Fd = F>>(&self, sys: &S) -> u64 {
        self.lines.pushed() + sys.pending(&self.fifo).unwrap_or(0) as u64
    }

    /// Whether everything before a place in the stream has been carried out.
    pub fn carried_out(&self, mark: u64) -> bool {
        let done = match &self.stalled {
            Some((begin, _)) => *begin,
            None => self.lines.position(),
        };
        done >= mark
    }
}

impl<S: Sys> Server<S> {
    /// Carries out lines until one has to wait. True: something was done.
    pub(super) fn carry_out_outbox(&mut self) -> bool {
        let mut moved = false;
        while let Some((begin, command)) = self.next_command() {
            let result = match command {
                Stalled::Command(command) => self.carry_out_command(command),
                Stalled::Delivery(delivery) => self.try_delivery(delivery),
            };
            match result {
                Ok(carried_out) => {
                    self.shared.counters.outbox_lines += u64::from(carried_out);
                    moved = true;
                }
                Err(stalled) => {
                    self.outbox.stalled = Some((begin, stalled));
                    return moved;
                }
            }
        }
        moved
    }

    /// What waits, or the next line that is a command, and where in the stream it began.
    fn next_command(&mut self) -> Option<(u64, Stalled)> {
        if let Some(stalled) = self.outbox.stalled.take() {
            return Some(stalled);
        }
        loop {
            let begin = self.outbox.lines.position();
            match self.outbox.lines.take()? {
                Line::TooLong => self.bad_line("it is too long (ws-send spools long messages)"),
                Line::Whole(line) => match outbox::parse(&line) {
                    Ok(None) => {}
                    Ok(Some(command)) => return Some((begin, Stalled::Command(command))),
                    Err(why) => self.bad_line(&why),
                },
            }
        }
    }

    fn bad_line(&mut self, why: &str) {
        self.shared.counters.outbox_bad += 1;
        warn!("outbox: line not carried out: {why}");
    }

    /// Ok(false): it names a spool file that is none.
    fn carry_out_command(&mut self, command: Command) -> Result<bool, Stalled> {
        match command {
            Command::Send(opcode, target, Payload::Inline(bytes)) => {
                match self.message(opcode, bytes) {
                    Ok(message) => self.try_delivery(Delivery { target, message }),
                    Err(bytes) => {
                        let payload = Payload::Inline(bytes);
                        Err(Stalled::Command(Command::Send(opcode, target, payload)))
                    }
                }
            }
            Command::Send(opcode, target, Payload::Spooled(name)) => {
                match self.spooled_message(opcode, &name) {
                    Ok(Some(message)) => self.try_delivery(Delivery { target, message }),
                    Ok(None) => {
                        let payload = Payload::Spooled(name);
                        Err(Stalled::Command(Command::Send(opcode, target, payload)))
                    }
                    Err(why) => {
                        self.bad_line(&format!("spool file {name}: {why}"));
                        Ok(false)
                    }
                }
            }
            Command::Close(target, close) => {
                for number in self.meant(&target) {
                    if let Some(client) = self.clients.get_mut(number) {
                        client.close(&close, By::Server, &mut self.shared);
                    }
                }
                Ok(true)
            }
            Command::Join(target, room) => {
                for number in self.meant(&target) {
                    self.join(number, &room);
                }
                Ok(true)
            }
            Command::Leave(target, room) => {
                for number in self.meant(&target) {
                    if let Some(client) = self.clients.get_mut(number) {
                        client.leave(&room, &mut self.shared);
                    }
                }
                Ok(true)
            }
        }
    }

    fn try_delivery(&mut self, mut delivery: Delivery) -> Result<bool, Stalled> {
        match self.deliver(&mut delivery) {
            Ok(()) => Ok(true),
            Err(Blocked) => Err(Stalled::Delivery(delivery)),
        }
    }

    /// Joins a connection to a room.
    pub(super) fn join(&mut self, number: u64, room: &str) {
        if let Some(client) = self.clients.get_mut(number) {
            if !client.join(room) {
                warn!(
                    "{}: not joined to @{room}: it is in {ROOMS} rooms already",
                    client.id
                );
            }
        }
    }

    /// The connections a target means now. None at all is counted.
    fn meant(&mut self, target: &Target) -> Vec<u64> {
        let clients = self.clients.iter();
        let meant: Vec<_> = clients
            .filter(|(_, c)| c.meant_by(target))
            .map(|(n, _)| n)
            .collect();
        if meant.is_empty() {
            self.shared.counters.nobody += 1;
            if let Scope::Connection(id) = target.scope {
                info!("{id} is gone: a command for it is not carried out");
            }
        }
        meant
    }

    /// Memory for what goes out.
    pub(super) fn charge_outbound(&mut self, bytes: usize) -> Option<Charge> {
        let charge = self.shared.memory.outbound(bytes + MESSAGE_CHARGE);
        self.or_crowded(charge)
    }

    /// Where there is no memory, whoever is sent much and has not read it is in the way. Not
    /// only who is sent most: of several who refill their queues in turn, each would be that
    /// for a moment only.
    fn or_crowded<T>(&mut self, charged: Option<T>) -> Option<T> {
        if charged.is_none() {
            let most = self.clients.values().map(Client::queued).max();
            let much = most.unwrap_or_default() / 2;
            let behind = self.clients.values_mut().filter(|c| c.queued() > much);
            behind.for_each(Client::block);
            self.farewells.iter_mut().for_each(Farewell::hurry);
        }
        charged
    }

    /// A message, its memory charged. Err: none left; the payload comes back.
    fn message(&mut self, opcode: Opcode, payload: Vec<u8>) -> Result<Message, Vec<u8>> {
        match self.charge_outbound(payload.len()) {
            Some(charge) => Ok(Message::new(opcode, payload, charge)),
            None => Err(payload),
        }
    }

    /// Puts a message into the queue of everyone meant, or of no one. Those who read the history
    /// find it there; those who are too slow for it, and can be told what they miss, will too.
    pub(super) fn deliver(&mut self, delivery: &mut Delivery) -> Result<(), Blocked> {
        let Delivery { target, message } = delivery;
        let numbered = self.shared.history.kept() && !matches!(target.scope, Scope::Connection(_));
        let mut meant = self.meant(target);
        if numbered {
            let clients = &self.clients;
            meant.retain(|number| !clients.get(*number).is_some_and(Client::reads_history));
            message.mark = Some(self.shared.history.mark(self.shared.history.next()));
        }
        let at_once = self.shared.config.slow_timeout.is_zero();
        let (mut full, mut behind) = (Vec::new(), Vec::new());
        for &number in &meant {
            if let Some(client) = self.clients.get_mut(number) {
                if client.is_full() {
                    // Slow is who takes nothing now, not who was sent much in one turn.
                    client.flush(&mut self.shared);
                }
                if client.is_full() {
                    match numbered && client.told_of_gaps() {
                        true => behind.push(number),
                        false => full.push(number),
                    }
                }
            }
        }
        if !full.is_empty() && !at_once {
            for number in full {
                if let Some(client) = self.clients.get_mut(number) {
                    client.block();
                }
            }
            return Err(Blocked);
        }
        let slots = self.shared.memory.slots(meant.len() * QUEUE_SLOT);
        let mut slots = self.or_crowded(slots).ok_or(Blocked)?;
        let mut frames = Frames::default();
        for number in &meant {
            if let Some(form) = self.clients.get(*number).map(Client::form) {
                if !frames.has(form) {
                    let frame = message.frame(form, &self.shared.memory);
                    frames.add(form, self.or_crowded(frame).ok_or(Blocked)?);
                }
            }
        }
        for number in meant {
            let Some(client) = self.clients.get_mut(number) else {
                continue;
            };
            if full.contains(&number) {
                client.close_slow(&mut self.shared);
                self.shared.counters.messages_dropped += 1;
            } else if behind.contains(&number) {
                client.fall_behind(self.shared.history.next());
            } else if let Some(frame) = frames.get(client.form()) {
                if client.meant_by(target) {
                    client.push(frame, slots.split(QUEUE_SLOT));
                    self.shared.counters.messages_out += 1;
                }
            }
        }
        if numbered {
            self.shared.history.keep(target.clone(), message);
        }
        Ok(())
    }

    /// Moves what clients missed from the history to their queues. True: something was.
    pub(super) fn catch_up(&mut self) -> bool {
        let mut moved = false;
        for client in self.clients.values_mut() {
            moved |= client.catch_up(&mut self.shared);
        }
        moved
    }

    /// A spool file's message, which is then gone. None: no memory; it is still there.
    fn spooled_message(&mut self, opcode: Opcode, name: &str) -> Result<Option<Message>, String> {
        let path = self.run.spool(name);
        match self.read_spooled(opcode, &path) {
            Ok(None) => Ok(None),
            done => {
                // Its name is freed whatever became of it, but only what it names is touched.
                match self.shared.sys.unlink(&path) {
                    Err(e) if done.is_ok() && e.kind() != ErrorKind::NotFound => {
                        warn!("{path} stays there: {e}");
                    }
                    _ => {}
                }
                done
            }
        }
    }

    fn read_spooled(&mut self, opcode: Opcode, path: &str) -> Result<Option<Message>, String> {
        let sys = &self.shared.sys;
        let file = sys.open(path, Open::Read).map_err(|e| match e.kind() {
            ErrorKind::NotFound => "there is none of that name".to_owned(),
            _ => format!("cannot be opened: {e}"),
        })?;
        let stat = sys.fstat(&file).map_err(|e| e.to_string())?;
        let bound = self.shared.config.max_reply as u64;
        if stat.file_type != FileType::Regular {
            return Err("it is no regular file".to_owned());
        }
        if stat.links != 1 {
            return Err("it has more than one name".to_owned());
        }
        if stat.size > bound {
            return Err(format!("it is larger than --max-reply {bound}"));
        }
        let Some(charge) = self.charge_outbound(stat.size as usize) else {
            return Ok(None);
        };
        let mut payload = vec![0; stat.size as usize];
        let mut len = 0;
        while len < payload.len() {
            match self.shared.sys.read(&file, &mut payload[len..]) {
                Ok(0) => break, // cut short meanwhile
                Ok(count) => len += count,
                Err(e) => return Err(format!("cannot be read: {e}")),
            }
        }
        payload.truncate(len);
        if opcode == Opcode::Text && core::str::from_utf8(&payload).is_err() {
            return Err("it is not UTF-8 (use binaryfile)".to_owned());
        }
        Ok(Some(Message::new(opcode, payload, charge)))
    }
}
