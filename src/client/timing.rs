//! A connection's deadlines: pings, the closing handshake, and the patience of others.

use super::transport::Transport;
use super::{Client, Link};
use crate::close::{By, Close, Ending};
use crate::config::Config;
use crate::frame::Form;
use crate::limits::SLOW_CLOSE;
use crate::shared::Shared;
use crate::sys::Sys;
use crate::wire::Wire;
use core::time::Duration;
use log::{debug, info, warn};

/// Signs of life, while the socket is read: what is read, and what an event stream takes.
pub(super) enum Pulse {
    /// Connected then, and never heard of.
    Silent(Duration),
    /// Last heard of then.
    Heard(Duration),
    /// Asked then, and not heard of since.
    Pinged(Duration),
}

/// `--slow-timeout` is a budget, spent while others wait, or may soon, for room in this queue.
#[derive(Default)]
pub(super) struct Slowness {
    spent: Duration,
    since: Option<Duration>,
    /// Somebody waits for this one.
    blocks: bool,
}

impl<F> Client<F> {
    /// Others wait for room in this queue.
    pub fn block(&mut self) {
        self.slowness.blocks = true;
    }

    /// Nobody is known to wait for it.
    pub fn unblock(&mut self) {
        self.slowness.blocks = false;
    }

    /// Its clock runs while others wait for it; `standing`: the outbox stands, so they may soon.
    pub fn held_up(&mut self, standing: bool, now: Duration) {
        let others = self.slowness.blocks || standing && self.is_full();
        let slow = &mut self.slowness;
        match (others, slow.since) {
            (true, None) => slow.since = Some(now),
            (false, Some(since)) => {
                slow.spent += now.saturating_sub(since);
                slow.since = None;
            }
            _ => {}
        }
    }

    /// When [`expire`](Client::expire) has something to do.
    pub fn deadline(&self, config: &Config) -> Option<Duration> {
        let link = match self.link {
            Link::Open if self.polled() => self.poll_until(),
            Link::Delayed { until } | Link::Closing { until } | Link::Telling { until } => {
                Some(until)
            }
            Link::Draining { until } => Some(until).filter(|_| self.reads()),
            Link::Open => self.ping_at(config),
            Link::Opening | Link::Emptying | Link::Gone => None,
        };
        let slow = self.slow_at(config);
        [link, slow].into_iter().flatten().min()
    }

    fn ping_at(&self, config: &Config) -> Option<Duration> {
        let ping = config.ping.filter(|_| self.reads())?;
        Some(match self.pulse {
            // A web server may learn only by writing that a browser has gone: its first write is
            // lost, its next fails, and ours after that finds its end closed.
            Pulse::Silent(at) | Pulse::Heard(at) if self.streams_by_server() => at + ping / 3,
            Pulse::Silent(at) | Pulse::Heard(at) | Pulse::Pinged(at) => at + ping,
        })
    }

    fn streams_by_server(&self) -> bool {
        let socket = matches!(self.wire, Some(Wire::Socket(_)));
        self.form() == Form::Event && !socket
    }

    fn poll_until(&self) -> Option<Duration> {
        match &self.transport {
            Transport::Poll(chain) => Some(chain.until()),
            _ => None,
        }
    }

    fn slow_at(&self, config: &Config) -> Option<Duration> {
        let left = config.slow_timeout.saturating_sub(self.slowness.spent);
        self.slowness.since.map(|since| since + left)
    }

    /// Does what is due.
    pub fn expire<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= shared.now);
        if due(self.slow_at(&shared.config)) {
            return self.close_slow(shared);
        }
        if self.polled() {
            if due(self.poll_until()) {
                self.expire_poll(shared);
            }
            return;
        }
        match (&self.link, &self.pulse) {
            (Link::Delayed { .. }, _) => self.open_when_due(shared),
            (Link::Closing { until }, _) if *until <= shared.now => {
                debug!("{}: no answer to the close", self.id);
                self.vanish(By::Client, shared);
            }
            (Link::Telling { until }, _) if *until <= shared.now => {
                debug!("{}: no poll to tell it the close", self.id);
                self.vanish(By::Client, shared);
            }
            (Link::Draining { until }, _) if *until <= shared.now && self.reads() => {
                self.vanish(By::Client, shared);
            }
            (Link::Open, pulse) if due(self.ping_at(&shared.config)) => {
                if matches!(pulse, Pulse::Pinged(_)) {
                    info!("{}: no answer to a ping", self.id);
                    return self.vanish(By::Timeout, shared);
                }
                self.say_ping();
                self.pulse = Pulse::Pinged(shared.now);
            }
            _ => {}
        }
    }

    /// It held others up for too long: 1013. What of a frame is begun is finished; frames
    /// not begun are dropped, as it would not read them in time.
    pub fn close_slow<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.slowness = Slowness::default();
        self.drop_waiting(shared);
        if self.ending.is_none() {
            let why = match self.link {
                Link::Opening | Link::Delayed { .. } => "sent too much before its 101",
                _ => "too slow a reader",
            };
            warn!("{}: {why}, closed with 1013", self.id);
        }
        let close = Close::new(1013, "too slow");
        match self.link {
            // A chain of polls is told as of any close: by the one that comes next.
            Link::Open if !self.polled() => {
                self.say_close(&close);
                self.end(Ending {
                    code: close.code,
                    reason: close.reason,
                    by: By::Timeout,
                });
                self.take_leave(shared.now + SLOW_CLOSE);
                self.transport.end();
                self.link = Link::Emptying;
                self.advance(shared);
                self.owe_close(shared);
            }
            // Its close frame is behind what is begun.
            Link::Closing { .. } => self.part(shared.now + SLOW_CLOSE, shared),
            _ => self.close(&close, By::Timeout, shared),
        }
    }
}
