//! How a connection ends: by us, by its browser, by what it may not do; what becomes of its queue.

use super::timing::{Pulse, Slowness};
use super::transport::Transport;
use super::{Client, Link};
use crate::close::{By, Close, Ending};
use crate::limits::{CLOSE_TIMEOUT, EOF_AT_ONCE};
use crate::queue::Queue;
use crate::shared::Shared;
use crate::sys::Sys;
use crate::wire::{Farewell, Wire};
use core::time::Duration;
use log::{info, warn};

impl<F> Client<F> {
    /// Closes from our side. Before the verdict of the open program it waits for that.
    pub fn close<S: Sys<Fd = F>>(&mut self, close: &Close, by: By, shared: &mut Shared<S>) {
        // What can't be told any more is no close of ours: draining ends by itself.
        if self.ending.is_some() || matches!(self.link, Link::Draining { .. }) {
            return;
        }
        // Messages that were sent before are still its own.
        self.catch_up_to_end(shared);
        self.end(Ending {
            code: close.code,
            reason: close.reason.clone(),
            by,
        });
        match self.link {
            Link::Open => self.begin_closing(shared),
            // What is queued waits behind the 101, and the close behind that.
            Link::Opening | Link::Delayed { .. } => {}
            Link::Closing { .. } | Link::Telling { .. } | Link::Draining { .. } => {}
            Link::Emptying | Link::Gone => {}
        }
        self.owe_close(shared);
    }

    /// Queues our close frame behind what is queued.
    pub(super) fn begin_closing<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let Some(ending) = &self.ending else {
            return;
        };
        let close = Close::new(ending.code, &ending.reason);
        let until = shared.now + CLOSE_TIMEOUT;
        self.say_all_taken();
        match &mut self.transport {
            Transport::WebSocket { socket, .. } => {
                socket.close(&close, &mut self.queue);
                self.link = Link::Closing { until };
            }
            Transport::Poll(_) => {
                self.slowness = Slowness::default();
                self.link = Link::Telling { until };
                self.answer_poll(shared);
            }
            // It has no answer to that.
            Transport::Events { .. } | Transport::Post => {
                self.say_close(&close);
                self.part(until, shared);
            }
        }
        // The peer's own close may lie among the bytes already read.
        self.advance(shared);
    }

    /// Nothing can be written any more. What it sent before is not lost for that.
    pub(super) fn broken<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        self.drop_all(shared);
        match self.link {
            Link::Open => {
                self.drain(shared);
            }
            _ => self.vanish(By::Client, shared),
        }
    }

    /// Reads what the peer sent before, for a while: it may be half gone only.
    pub(super) fn drain<S: Sys<Fd = F>>(&mut self, shared: &mut Shared<S>) {
        let until = shared.now + CLOSE_TIMEOUT;
        self.link = Link::Draining { until };
        self.read(shared);
    }

    pub(super) fn vanish<S: Sys<Fd = F>>(&mut self, by: By, shared: &mut Shared<S>) {
        let at_once = match self.pulse {
            Pulse::Silent(since) => shared.now < since + EOF_AT_ONCE,
            Pulse::Heard(_) | Pulse::Pinged(_) => false,
        };
        let at_once = at_once && self.ending.is_none();
        // From lighttpd it can only mean a browser that has gone so soon.
        let server = self.request.variables.text("SERVER_SOFTWARE");
        let lighttpd = server.starts_with("lighttpd/");
        if at_once && !lighttpd && matches!(self.wire, Some(Wire::Pipes { .. })) {
            warn!(
                "{}: the web server ended its program's stdin at once: it (busybox httpd, \
                 apache) can hand over no WebSocket; see ws2cgi(8), DIAGNOSTICS",
                self.id
            );
        }
        self.drop_all(shared);
        if let Some(wire) = self.wire.take() {
            wire.end(&shared.sys, false);
        }
        self.end(Ending::vanished(by));
        self.be_gone(shared);
    }

    /// Nothing more of what it sends is decoded.
    pub(super) fn fail<S>(&mut self, close: Close, shared: &mut Shared<S>) {
        if self.ending.is_none() {
            info!("{}: closed with {}: {}", self.id, close.code, close.reason);
            self.say_all_taken();
            self.say_close(&close);
        } else {
            let Close { code, reason } = &close;
            info!("{}: closed, its last bytes are {code}: {reason}", self.id);
        }
        self.end(Ending {
            code: close.code,
            reason: close.reason,
            by: By::Error,
        });
        self.part(shared.now + CLOSE_TIMEOUT, shared);
    }

    /// There is no memory for its message, or somebody else needs it more.
    pub fn give_way<S>(&mut self, shared: &mut Shared<S>) {
        self.fail(Close::new(1013, "no memory for this message"), shared);
    }

    pub(super) fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Only the queue is left to write. A close event is owed.
    pub(super) fn part<S>(&mut self, deadline: Duration, shared: &mut Shared<S>) {
        self.take_leave(deadline);
        self.be_gone(shared);
    }

    pub(super) fn be_gone<S>(&mut self, shared: &mut Shared<S>) {
        // A POST that has come in whole is run.
        self.link = match self.posts.is_empty() {
            true => Link::Gone,
            false => Link::Emptying,
        };
        // With the memory of a message that it has not finished.
        self.transport.forget(shared.config.max_message);
        self.unfinished = None;
        self.owe_close(shared);
    }

    /// Its descriptors and its queue become a farewell.
    pub(super) fn take_leave(&mut self, deadline: Duration) {
        let queue = core::mem::replace(&mut self.queue, Queue::new(0));
        if let Some(wire) = self.wire.take() {
            self.partings.push(Farewell::new(wire, queue, deadline));
        }
    }

    /// Drops the messages of which nothing is written.
    pub(super) fn drop_waiting<S>(&mut self, shared: &mut Shared<S>) {
        let dropped = self.queue.drop_waiting();
        self.note_dropped(dropped, shared);
    }

    /// Drops all that is queued: nobody will read it.
    pub fn drop_all<S>(&mut self, shared: &mut Shared<S>) {
        let dropped = self.queue.messages();
        self.queue = Queue::new(shared.config.queue);
        self.slowness = Slowness::default();
        self.note_dropped(dropped, shared);
    }

    fn note_dropped<S>(&self, dropped: usize, shared: &mut Shared<S>) {
        if dropped > 0 {
            shared.counters.messages_dropped += dropped as u64;
            info!("{}: {dropped} messages dropped from its queue", self.id);
        }
    }

    /// The daemon ends: closing its connection must not wait.
    pub fn abandon<S: Sys<Fd = F>>(&self, sys: &S) {
        if let Some(wire) = &self.wire {
            wire.end(sys, false);
        }
        for post in &self.posts {
            post.asker.end(sys, false);
        }
        if let Some(asker) = &self.asker {
            asker.end(sys, false);
        }
    }
}
