//! What the board's owner does, and whether all comes to rest once everyone has left.

use crate::child::{Life, Process};
use crate::model::{Connection, Life as Connected};
use crate::os::{End, Listener, MS, SECOND, Time};
use crate::page::Page;
use crate::plan::Order;
use crate::request::Asks;
use crate::trace::note;
use crate::world::{World, micros};
use ws2cgi::limits;

/// How long all that was begun may take to end, faults and hung programs among it.
const REST: Time = 900 * SECOND;

impl World {
    pub fn give_orders(&mut self) -> bool {
        let mut did = false;
        while self.order_at <= self.os.now {
            if core::mem::take(&mut self.checking) {
                self.check_rest();
                continue;
            }
            let Some(order) = self.orders.front().cloned() else {
                return did;
            };
            match order {
                Order::Wait { ms } => self.order_at = self.os.now + Time::from(ms) * MS,
                Order::Status {} => {
                    note!(self.os, "owner", "SIGUSR1");
                    self.os.signals.status = true;
                }
                Order::Stop {} => {
                    note!(self.os, "owner", "SIGTERM");
                    self.os.signals.stop = true;
                }
                Order::Rest {} => {
                    if !self.at_rest() {
                        return did;
                    }
                }
            }
            did = true;
            self.orders.pop_front();
        }
        did
    }

    /// Everyone leaves; true once nothing is left of them.
    fn at_rest(&mut self) -> bool {
        if self.resting_since.is_none() {
            note!(self.os, "owner", "all leave");
            self.resting_since = Some(self.os.now);
            self.os.faults.off = true;
            self.pages.iter_mut().for_each(Page::retire);
            for browser in &mut self.browsers {
                browser.again = None;
                browser.leave(&mut self.os);
            }
            for writer in &mut self.writers {
                writer.retire();
            }
        }
        let alive = |p: &Process| p.life != Life::Reaped;
        let connected = |end: &End| self.owners.browser(end).is_some();
        let open = self.os.descriptors.iter().flatten();
        // A chain of polls has no descriptor between them.
        let goes_on = |c: &Connection| {
            matches!(
                c.life,
                Connected::Opening | Connected::Accepted | Connected::Closing
            )
        };
        // Those who left before the daemon took them are on their way in.
        let waiting = |listener: &Listener| !listener.waiting.is_empty();
        let coming = !self.os.handoffs.is_empty() || self.os.listeners.iter().any(waiting);
        let busy = coming
            || self.processes.values().any(alive)
            || self.model.connections.iter().any(goes_on)
            || open.into_iter().any(|d| connected(&d.end))
            || self.writers.iter().any(|w| !w.done())
            || self.fifo.is_some_and(|p| self.os.pipes[p].len() > 0);
        if busy {
            self.left_since = None;
            self.order_at = self.os.now + SECOND;
            if self
                .resting_since
                .is_some_and(|since| self.os.now > since + REST)
            {
                self.model
                    .fail("it does not come to rest: something of those who left is still there");
                self.stop_if_wrong();
            }
            return false;
        }
        // The end of a chain of polls is told to the next for some seconds.
        let polls = self.browsers.iter().any(|b| b.ask.asks == Asks::Poll);
        let told = micros(limits::CLOSE_TIMEOUT) + SECOND;
        if polls && self.os.now < *self.left_since.get_or_insert(self.os.now) + told {
            self.order_at = self.os.now + SECOND;
            return false;
        }
        // One turn more, for replies and close events without a program.
        self.os.signals.status = true;
        self.checking = true;
        self.order_at = self.os.now + SECOND;
        true
    }

    fn check_rest(&mut self) {
        self.seen.add("at rest", 1);
        if let Err(why) = crate::check::at_rest(self) {
            self.model.fail(why);
            self.stop_if_wrong();
        }
    }
}
