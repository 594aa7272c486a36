//! status.json: what the daemon is doing, for people and scripts.

use super::Server;
use crate::json::Text;
use crate::logging;
use crate::sys::{Open, Sys, write_all};
use core::fmt::{Display, Write as _};
use core::time::Duration;
use log::error;

/// When status.json is written.
pub struct Writer {
    period: Option<Duration>,
    next: Duration,
    changed: bool,
}

impl Writer {
    /// `period`: `--status`; None: only when asked.
    pub fn new(period: Option<Duration>) -> Writer {
        Writer {
            period,
            next: Duration::ZERO,
            changed: false,
        }
    }

    /// The next moment at which it is to be written.
    pub fn due(&self) -> Option<Duration> {
        Some(self.next).filter(|_| self.changed)
    }
}

impl<S: Sys> Server<S> {
    /// After each turn. `active`: something has happened in it; `asked`: write now.
    pub(super) fn write_status(&mut self, active: bool, asked: bool) {
        let now = self.shared.now;
        self.status.changed |= active && self.status.period.is_some();
        let due = self.status.changed && self.status.next <= now;
        if !(asked || due) {
            return;
        }
        self.status.changed = false;
        self.status.next = now + self.status.period.unwrap_or_default();
        if !self.has_folder() {
            return;
        }
        let (path, new) = self.run.status();
        let sys = &self.shared.sys;
        // Left by a daemon that was killed here.
        let _ = sys.unlink(&new);
        let text = self.status_json();
        let written = sys
            .open(&new, Open::Create(0o640))
            .and_then(|file| {
                sys.set_access(&file, None, 0o640)?;
                write_all(sys, &file, text.as_bytes())
            })
            .and_then(|()| sys.rename(&new, &path));
        if let Err(e) = written {
            let _ = sys.unlink(&new);
            error!("{path}: {e}");
        }
    }

    fn status_json(&self) -> String {
        let (counters, memory) = (&self.shared.counters, &self.shared.memory);
        let mut json = String::new();
        let mut top = Object::open(&mut json);
        top.field("version", Text(env!("CARGO_PKG_VERSION")));
        top.field("boot", Text(&self.boot.to_string()));
        top.field("uptime", (self.shared.now - self.started).as_secs());
        top.named_object("memory", |o| {
            o.field("used", memory.used());
            o.field("bound", memory.bound());
        });
        top.named_object("history", |o| {
            o.field("next", self.shared.history.next());
            o.field("used", self.shared.history.size());
            o.field("bound", self.shared.config.history);
        });
        top.field("jobs", self.jobs.len());
        top.named_object("events", |o| {
            for (kind, outcomes) in counters.events.iter() {
                o.named_object(kind, |o| {
                    o.field("done", outcomes.done);
                    o.field("failed", outcomes.failed);
                });
            }
        });
        top.named_object("outbox", |o| {
            o.field("lines", counters.outbox_lines);
            o.field("bad", counters.outbox_bad);
        });
        top.named_object("messages", |o| {
            o.field("queued", counters.messages_out);
            o.field("dropped", counters.messages_dropped);
            o.field("discarded", counters.messages_discarded);
            o.field("nobody", counters.nobody);
        });
        top.named_object("bytes", |o| {
            o.field("in", counters.bytes_in);
            o.field("out", counters.bytes_out);
        });
        top.named_object("closes", |o| {
            for (code, count) in counters.closes.iter() {
                o.field(&code.to_string(), count);
            }
        });
        top.field("closes_not_run", counters.closes_not_run);
        top.named_object("refusals", |o| {
            for (cause, count) in counters.refusals.iter() {
                o.field(cause, count);
            }
        });
        top.field("log_lines_dropped", logging::dropped());
        top.field("accepted", counters.connections);
        top.array("connections", |list| {
            for client in self.clients.values() {
                list.object(|o| {
                    o.field("id", Text(&client.id.to_string()));
                    o.field("route", Text(&client.request.route));
                    o.field("transport", Text(client.request.way.name()));
                    o.field("remote", Text(client.request.variables.text("REMOTE_ADDR")));
                    o.array("rooms", |list| {
                        client.rooms.iter().for_each(|r| list.item(Text(r)))
                    });
                    o.field("age", (self.shared.now - client.since).as_secs());
                    o.field("queue", client.queued());
                });
            }
        });
        top.close();
        json.push('\n');
        json
    }
}

/// An object or array that is being written.
struct Object<'a> {
    json: &'a mut String,
    end: char,
    first: bool,
}

impl<'a> Object<'a> {
    fn open(json: &'a mut String) -> Object<'a> {
        json.push('{');
        Object {
            json,
            end: '}',
            first: true,
        }
    }

    fn separate(&mut self) {
        if !core::mem::take(&mut self.first) {
            self.json.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        self.separate();
        // Infallible on a String.
        let _ = write!(self.json, "{}:", Text(name));
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.json, "{value}");
    }

    fn item(&mut self, value: impl Display) {
        self.separate();
        let _ = write!(self.json, "{value}");
    }

    fn inside(&mut self, ends: [char; 2], fill: impl FnOnce(&mut Object)) {
        self.json.push(ends[0]);
        let mut inner = Object {
            json: self.json,
            end: ends[1],
            first: true,
        };
        fill(&mut inner);
        inner.close();
    }

    fn named_object(&mut self, name: &str, fill: impl FnOnce(&mut Object)) {
        self.name(name);
        self.inside(['{', '}'], fill);
    }

    fn array(&mut self, name: &str, fill: impl FnOnce(&mut Object)) {
        self.name(name);
        self.inside(['[', ']'], fill);
    }

    fn object(&mut self, fill: impl FnOnce(&mut Object)) {
        self.separate();
        self.inside(['{', '}'], fill);
    }

    fn close(self) {
        self.json.push(self.end);
    }
}
