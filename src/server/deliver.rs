//! Messages to browsers: the outbox, and who gets what.

use super::Server;
use crate::close::By;
use crate::limits::{FRAME_CHARGE, READS_PER_TURN};
use crate::outbox::{self, Command, Line, Lines, Opcode, Payload};
use crate::queue::Frame;
use crate::sys::{FileType, Open, Sys};
use crate::target::{Scope, Target};
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
    pub frame: Rc<Frame>,
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
        loop {
            let begin = self.outbox.lines.position();
            let result = match self.outbox.stalled.take() {
                Some((begin, stalled)) => match self.go_on(stalled) {
                    Ok(()) => Ok(()),
                    Err(stalled) => {
                        self.outbox.stalled = Some((begin, stalled));
                        return moved;
                    }
                },
                None => match self.outbox.lines.take() {
                    None => return moved,
                    Some(Line::TooLong) => {
                        self.bad_line("it is too long (ws-send spools long messages)");
                        Ok(())
                    }
                    Some(Line::Whole(line)) => match outbox::parse(&line) {
                        Ok(None) => Ok(()),
                        Ok(Some(command)) => self.go_on(Stalled::Command(command)),
                        Err(why) => {
                            self.bad_line(&why);
                            Ok(())
                        }
                    },
                },
            };
            moved = true;
            if let Err(stalled) = result {
                self.outbox.stalled = Some((begin, stalled));
            }
        }
    }

    fn bad_line(&mut self, why: &str) {
        self.shared.counters.outbox_bad += 1;
        warn!("outbox: line not carried out: {why}");
    }

    fn go_on(&mut self, stalled: Stalled) -> Result<(), Stalled> {
        let delivery = match stalled {
            Stalled::Delivery(delivery) => delivery,
            Stalled::Command(Command::Send(opcode, target, payload)) => {
                let frame = match payload {
                    Payload::Spooled(ref name) => match self.spooled_frame(opcode, name) {
                        Ok(Some(frame)) => Ok(frame),
                        Ok(None) => Err(payload),
                        Err(why) => {
                            self.bad_line(&format!("spool file {name}: {why}"));
                            return Ok(());
                        }
                    },
                    Payload::Inline(bytes) => self.frame(opcode, bytes).map_err(Payload::Inline),
                };
                match frame {
                    Ok(frame) => Delivery { target, frame },
                    Err(payload) => {
                        return Err(Stalled::Command(Command::Send(opcode, target, payload)));
                    }
                }
            }
            Stalled::Command(Command::Close(target, close)) => {
                for number in self.meant(&target) {
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.close(&close, By::Server, &mut self.shared);
                    }
                }
                self.shared.counters.outbox_lines += 1;
                return Ok(());
            }
            Stalled::Command(Command::Join(target, room)) => {
                for number in self.meant(&target) {
                    self.join(number, &room);
                }
                self.shared.counters.outbox_lines += 1;
                return Ok(());
            }
            Stalled::Command(Command::Leave(target, room)) => {
                for number in self.meant(&target) {
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.leave(&room);
                    }
                }
                self.shared.counters.outbox_lines += 1;
                return Ok(());
            }
        };
        match self.deliver(&delivery) {
            Ok(()) => {
                self.shared.counters.outbox_lines += 1;
                Ok(())
            }
            Err(Blocked) => Err(Stalled::Delivery(delivery)),
        }
    }

    /// Joins a connection to a room.
    pub(super) fn join(&mut self, number: u64, room: &str) {
        if let Some(client) = self.clients.get_mut(&number) {
            if !client.join(room) {
                warn!(
                    "{}: not joined to @{room}: it is in 16 rooms already",
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
            .map(|(&n, _)| n)
            .collect();
        if meant.is_empty() {
            self.shared.counters.nobody += 1;
            if let Scope::Connection(id) = target.scope {
                info!("{id} is gone: a command for it is not carried out");
            }
        }
        meant
    }

    /// A frame, its memory charged. Err: none left; the payload comes back.
    pub(super) fn frame(&mut self, opcode: Opcode, payload: Vec<u8>) -> Result<Rc<Frame>, Vec<u8>> {
        match self.shared.memory.outbound(payload.len() + FRAME_CHARGE) {
            Some(charge) => Ok(Frame::new(opcode, payload, charge)),
            None => {
                // Whoever has not read what it was sent holds the memory.
                let behind = self.clients.iter().filter(|(_, client)| client.is_behind());
                self.in_the_way.extend(behind.map(|(&number, _)| number));
                Err(payload)
            }
        }
    }

    /// Puts a message into the queue of everyone meant, or of no one.
    pub(super) fn deliver(&mut self, delivery: &Delivery) -> Result<(), Blocked> {
        let mut meant = self.meant(&delivery.target);
        let full = |this: &Self, n: &u64| this.clients.get(n).is_some_and(|c| c.is_full());
        let mut blocking: Vec<_> = meant.iter().filter(|n| full(self, n)).copied().collect();
        self.in_the_way.extend(&blocking);
        if self.shared.config.slow_timeout.is_zero() {
            // Slow is who takes nothing now, not who was sent much in one turn.
            self.make_way();
            blocking.retain(|n| full(self, n));
            meant.retain(|n| !blocking.contains(n));
            for number in blocking {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.close_slow(&mut self.shared);
                    self.shared.counters.messages_dropped += 1;
                }
            }
        } else if !blocking.is_empty() {
            return Err(Blocked);
        }
        for number in meant {
            if let Some(client) = self.clients.get_mut(&number) {
                client.push(delivery.frame.clone());
                self.shared.counters.messages_out += 1;
            }
        }
        Ok(())
    }

    /// A frame of a spool file, which is then gone. None: no memory; it is still there.
    fn spooled_frame(&mut self, opcode: Opcode, name: &str) -> Result<Option<Rc<Frame>>, String> {
        let path = self.run.spool(name);
        let sys = &self.shared.sys;
        // Its name is freed whatever becomes of it, but only what it names is touched.
        let refuse = |why: String| {
            let _ = sys.unlink(&path);
            Err(why)
        };
        let file = match sys.open(&path, Open::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err("there is none of that name".to_owned());
            }
            Err(e) => return refuse(format!("cannot be opened: {e}")),
        };
        let stat = sys.fstat(&file).map_err(|e| e.to_string())?;
        let bound = self.shared.config.max_reply as u64;
        if stat.file_type != FileType::Regular {
            return refuse("it is no regular file".to_owned());
        }
        if stat.links != 1 {
            return refuse("it has more than one name".to_owned());
        }
        if stat.size > bound {
            return refuse(format!("it is larger than --max-reply {bound}"));
        }
        let size = stat.size as usize;
        let Some(charge) = self.shared.memory.outbound(size + FRAME_CHARGE) else {
            let behind = self.clients.iter().filter(|(_, client)| client.is_behind());
            self.in_the_way.extend(behind.map(|(&number, _)| number));
            return Ok(None);
        };
        let mut payload = vec![0; size];
        let mut len = 0;
        while len < size {
            match sys.read(&file, &mut payload[len..]) {
                Ok(0) => break, // cut short meanwhile
                Ok(count) => len += count,
                Err(e) => return refuse(format!("cannot be read: {e}")),
            }
        }
        payload.truncate(len);
        let _ = sys.unlink(&path);
        if opcode == Opcode::Text && core::str::from_utf8(&payload).is_err() {
            return Err("it is not UTF-8 (use binaryfile)".to_owned());
        }
        Ok(Some(Frame::new(opcode, payload, charge)))
    }
}
