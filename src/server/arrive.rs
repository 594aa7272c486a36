//! Newcomers on their way in: hand-off records, and connections on `--listen` until their request
//! head is whole.

use super::Server;
use super::refusals::no_memory;
use crate::handoff::Record;
use crate::handshake;
use crate::head::{self, Head};
use crate::http::{Fields, Refusal, Style};
use crate::limits::{ADMISSION_PAUSE, ADMISSIONS_PER_TURN, HEAD, HEAD_TIMEOUT, SCRATCH};
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
    head: Vec<u8>,
    deadline: Duration,
    charge: Charge,
}

impl<F> Newcomer<F> {
    pub fn watch<S: Sys<Fd = F>>(&self, sys: &mut S, token: usize) {
        self.wire.watch(sys, token, true, false);
    }

    pub fn deadline(&self) -> Duration {
        self.deadline
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
    fn later(&self, taken: usize) -> bool {
        !self.admitting() || (taken > 0 && self.full() && self.stopping.is_none())
    }

    // ---- The hand-off

    pub(super) fn take_handoffs(&mut self) {
        for taken in 0..ADMISSIONS_PER_TURN {
            if self.later(taken) {
                return;
            }
            let sys = &self.shared.sys;
            // With none free, recvmsg would succeed and the descriptors be gone.
            if !two_are_free(sys) {
                return self.pause_admission("no descriptors are left");
            }
            let Some(handoff) = &self.handoff else {
                return;
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
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => return self.pause_admission(&format!("hand-off socket: {e}")),
            }
        }
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

    pub(super) fn take_connections(&mut self, listener: usize) {
        for taken in 0..ADMISSIONS_PER_TURN {
            if self.later(taken) {
                return;
            }
            let sys = &self.shared.sys;
            match sys.accept(&self.listeners[listener]) {
                Ok((fd, kind)) => {
                    let (remote, local) = match kind {
                        Kind::Stream { remote, local } => (remote, local),
                        _ => (None, None),
                    };
                    let wire = Wire::Socket(fd);
                    let Some(charge) = self.charge_inbound(HEAD + SCRATCH) else {
                        self.refuse(wire, &no_memory(), "?", Fields::default());
                        continue;
                    };
                    self.newcomers.push(Some(Newcomer {
                        wire,
                        remote,
                        local,
                        head: Vec::new(),
                        deadline: self.shared.now + HEAD_TIMEOUT,
                        charge,
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
                Head::Unfinished => return,
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

    pub(super) fn expire_newcomers(&mut self) {
        let late = Refusal::new(408, "slow", "408: the request head did not come in time");
        for i in 0..self.newcomers.len() {
            let deadline = self.newcomers[i].as_ref().map(Newcomer::deadline);
            if deadline.is_some_and(|at| at <= self.shared.now) {
                self.refuse_newcomer(i, &late);
            }
        }
    }

    pub(super) fn refuse_newcomer(&mut self, i: usize, refusal: &Refusal) {
        if let Some(newcomer) = self.newcomers[i].take() {
            self.refuse(newcomer.wire, refusal, "?", Fields::default());
        }
    }
}
