//! Newcomers on their way in: hand-off records, and connections on `--listen` until their request
//! head is whole.

use super::Server;
use super::refusals::no_memory;
use crate::handoff::Record;
use crate::handshake;
use crate::head::{self, Head};
use crate::http::{Fields, Refusal, Style};
use crate::limits::{
    ADMISSION_PAUSE, ADMISSIONS_PER_TURN, BACKLOG, HEAD, HEAD_TIMEOUT, REFUSALS, UNFINISHED,
};
use crate::memory::Charge;
use crate::route;
use crate::sys::{Datagram, Kind, Sys};
use crate::variables::Variables;
use crate::wire::Wire;
use core::net::SocketAddr;
use core::time::Duration;
use log::{debug, info, warn};
use std::io::ErrorKind;

/// A connection on `--listen` whose request head is not complete.
pub struct Newcomer<F> {
    wire: Wire<F>,
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// When it came.
    since: Duration,
    head: Vec<u8>,
    /// For what of the head is there, once it has to be kept.
    charge: Option<Charge>,
}

impl<F> Newcomer<F> {
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        self.wire.watch(sys, token, true, false);
    }

    /// Whether it holds memory.
    pub fn holds(&self) -> bool {
        self.charge.is_some()
    }
}

/// A hand-off that comes to nothing.
enum Unfit {
    /// The sender's mistake.
    Wrong(&'static str),
    /// Nobody's: the browser at this address has reset its connection meanwhile. Any browser
    /// can, so that is no warning.
    Gone(String),
}

/// A request whose head has come in whole, whichever way.
pub struct Arrival<F> {
    pub wire: Wire<F>,
    pub route: Option<String>,
    /// The URL path that leads to the handlers folder, `/cgi-bin/nph-ws`, or to a program in
    /// it, `/cgi-bin/nph-chat`; empty on `--listen`.
    pub base: String,
    /// How many bytes of the route it stands for: `/chat`.
    pub named: usize,
    pub variables: Variables,
    /// Bytes behind the head.
    pub early: Vec<u8>,
}

/// Whether there are descriptors for what one record may bring.
fn two_are_free<S: Sys>(sys: &S) -> bool {
    sys.inherited(0).is_ok_and(|_one| sys.inherited(0).is_ok())
}

impl<S: Sys> Server<S> {
    /// Whether the next newcomer of a turn waits for the next turn. Only the first was there
    /// for certain when the wait ended: a later one may follow someone who has left meanwhile,
    /// and whose end has not been read yet. It must not be told that we are full.
    /// Once we stop there is no next turn: all who wait in the kernel's queue are taken.
    fn later(&self, taken: usize) -> bool {
        match self.stopping {
            Some(_) => taken > BACKLOG,
            None => taken == ADMISSIONS_PER_TURN || (taken > 0 && self.full()),
        }
    }

    // ---- The hand-off

    /// True: none waits any more.
    pub(super) fn take_handoffs(&mut self) -> bool {
        for taken in 0.. {
            if !self.admitting() || self.later(taken) {
                break;
            }
            let sys = &self.shared.sys;
            // With none free, recvmsg would succeed and the descriptors be gone.
            if !two_are_free(sys) {
                self.pause_admission("no descriptors are left");
                break;
            }
            let Some(handoff) = &self.handoff else {
                break;
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
                            let uid = uid.map_or("unknown".to_owned(), |uid| uid.to_string());
                            warn!("hand-off record from uid {uid} refused: {why}");
                        }
                        Err(Unfit::Gone(remote)) => {
                            self.shared.counters.refused("gone");
                            info!("{remote}: it has gone before it got here");
                        }
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) => {
                    self.pause_admission(&format!("hand-off socket: {e}"));
                    break;
                }
            }
        }
        false
    }

    /// With no descriptor to be had, a readable socket would make the loop spin.
    fn pause_admission(&mut self, why: &str) {
        // One line for all of the pauses in a row.
        if self.admit_again + ADMISSION_PAUSE < self.shared.now {
            warn!("newcomers wait: {why}");
        }
        self.admit_again = self.shared.now + ADMISSION_PAUSE;
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

    /// Whether those who come here are let in. Until their heads are whole they take nobody's
    /// place, but are no more than there may be connections.
    pub(super) fn listening(&self) -> bool {
        let heads = self.newcomers.iter().flatten().count();
        heads < self.shared.config.max_connections + REFUSALS && self.admitting()
    }

    /// When the head of a newcomer is late, the first one's, and which that is. Soon, where there
    /// is no room for another.
    pub(super) fn head_due(&self) -> Option<(Duration, usize)> {
        let mut newcomers = self.newcomers.iter().enumerate();
        let (i, first) = newcomers.find_map(|(i, newcomer)| Some((i, newcomer.as_ref()?)))?;
        let room = self.listening() && self.shared.memory.inbound(HEAD).is_some();
        let patience = if room { HEAD_TIMEOUT } else { UNFINISHED };
        Some((first.since + patience, i))
    }

    pub(super) fn take_connections(&mut self, listener: usize) {
        for taken in 0.. {
            if !self.listening() || self.later(taken) {
                return;
            }
            let sys = &self.shared.sys;
            match sys.accept(&self.listeners[listener]) {
                Ok((fd, kind)) => {
                    let (remote, local) = match kind {
                        Kind::Stream { remote, local } => (remote, local),
                        _ => (None, None),
                    };
                    self.newcomers.push(Some(Newcomer {
                        wire: Wire::Socket(fd),
                        remote,
                        local,
                        since: self.shared.now,
                        head: Vec::new(),
                        charge: None,
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
                Head::Unfinished => {
                    // Nobody who is in gives way to it.
                    drop(newcomer.charge.take());
                    newcomer.charge = shared.memory.inbound(newcomer.head.capacity());
                    if newcomer.charge.is_none() {
                        self.refuse_newcomer(i, &no_memory());
                    }
                    return;
                }
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

    pub(super) fn expire_newcomer(&mut self) {
        // One in each turn: whoever goes may leave room enough.
        let due = self.head_due().filter(|(at, _)| *at <= self.shared.now);
        if let Some((_, i)) = due {
            let text = "408: the request head did not come in time";
            self.refuse_newcomer(i, &Refusal::new(408, "slow", text));
        }
    }

    pub(super) fn refuse_newcomer(&mut self, i: usize, refusal: &Refusal) {
        if let Some(newcomer) = self.newcomers[i].take() {
            self.refuse(newcomer.wire, refusal, "?", Fields::default());
        }
    }
}
