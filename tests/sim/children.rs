//! Programs that the daemon starts: which event each serves, and what becomes of it.

use crate::child::{Kind, Life, Pipes, Process};
use crate::model::Environment;
use crate::os::SECOND;
use crate::owners::Owner;
use crate::plan::Act;
use crate::request::Asks;
use crate::trace::note;
use crate::world::{World, micros};
use ws2cgi::limits;
use ws2cgi::sys::{Exit, Kill};

/// What a program does that cannot be executed.
const BROKEN: [Act; 2] = [Act::Complain { size: 20 }, Act::Exit { code: 127 }];

impl World {
    /// Unreaped ones.
    pub fn children(&self) -> usize {
        let alive = |p: &&Process| p.life != Life::Reaped;
        self.processes.values().filter(alive).count()
    }

    /// A program is started, or could not be.
    pub fn start(&mut self, path: &str, env: &[Vec<u8>], pipes: Option<Pipes>) -> u32 {
        let pid = 100 + self.processes.len() as u32;
        let variable = |name: &str| {
            let find = |v: &Vec<u8>| {
                let rest = v.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
                Some(String::from_utf8_lossy(rest).into_owned())
            };
            env.iter().find_map(find).unwrap_or_default()
        };
        let cookie = variable("HTTP_COOKIE");
        let number = cookie.split(';').next().unwrap_or("");
        let number = number.strip_prefix("browser=").and_then(|n| n.parse().ok());
        let browser: usize = match number {
            Some(browser) if browser < self.browsers.len() => browser,
            _ => self.fail(format!("an event of nobody: HTTP_COOKIE={cookie}")),
        };
        let kind = match variable("WS_EVENT").as_str() {
            "open" => Kind::Open,
            "message" => Kind::Message,
            "close" => Kind::Close,
            other => self.fail(format!("WS_EVENT={other}")),
        };
        let id = variable("WS_ID");
        let run = self.model.connections[browser].messages_run as usize;
        let sender = &self.browsers[browser];
        let number = match kind {
            Kind::Open => sender.open.checked_sub(1),
            Kind::Close => sender.close.checked_sub(1),
            Kind::Message => sender.sent.get(run).map(|m| m.act),
        };
        let act = match number {
            _ if path.ends_with("/broken") => &BROKEN[..],
            Some(number) => self
                .acts
                .get(number as usize)
                .map_or(&[][..], Vec::as_slice),
            None => &[],
        };
        let length = variable("CONTENT_LENGTH");
        let environment = Environment {
            rooms: variable("WS_ROOMS")
                .split_whitespace()
                .map(|room| room.trim_start_matches('@').to_owned())
                .collect(),
            state: variable("WS_STATE").len(),
            transport: variable("WS_TRANSPORT"),
            length: length.parse().ok(),
            binary: variable("CONTENT_TYPE") == "application/octet-stream",
            code: variable("WS_CLOSE_CODE").parse().unwrap_or(0),
            by: variable("WS_CLOSE_BY"),
        };
        if kind == Kind::Close {
            let (code, by) = (environment.code, &environment.by);
            self.seen.add(format!("closed with {code} by {by}"), 1);
        }
        if kind == Kind::Open {
            self.names.ids[self.browsers[browser].page] = Some(id.clone());
        }
        let started = pipes.is_some();
        let pipes = pipes.unwrap_or(Pipes {
            stdin: None,
            stdout: 0,
            stderr: 0,
        });
        for pipe in pipes.stdin.into_iter().chain([pipes.stdout, pipes.stderr]) {
            if started {
                self.owners.pipe(pipe, Owner::Child(pid));
            }
        }
        let mut process = Process::new(pid, browser, kind, &id, act, pipes);
        process.started = self.os.now;
        let sender = &self.browsers[browser];
        self.model
            .spawned(self.os.now, &process, sender, &environment);
        let posted = kind == Kind::Message && sender.ask.asks != Asks::WebSocket;
        if posted {
            let length = environment.length.unwrap_or(0);
            process.unknown = Some((length, environment.binary));
            if length == 0 || !started {
                self.feed(&mut process, &[]);
            }
        } else if kind == Kind::Message {
            process.payload = sender.sent.get(run).map(|m| m.payload.clone());
        }
        if !started {
            process.life = Life::Reaped;
            self.model.not_started(browser);
            let behind = self.fifo.map_or(0, |p| self.os.pipes[p].written);
            let sender = &self.browsers[browser];
            self.model
                .reaped(self.os.now, &process, sender, true, behind);
        }
        self.processes.insert(pid, process);
        let children = self.children();
        self.model.totals.most_jobs = self.model.totals.most_jobs.max(children);
        if children > self.config.jobs {
            self.model.fail(format!(
                "{children} programs at once, --jobs {}",
                self.config.jobs
            ));
        }
        self.stop_if_wrong();
        pid
    }

    /// A message event of a connection without a WebSocket gets its first bytes: they tell which
    /// message it is.
    fn feed(&mut self, process: &mut Process, first: &[u8]) {
        let Some((length, binary)) = process.unknown else {
            return;
        };
        let posted = self
            .model
            .run_post(process.browser, (first, length, binary));
        if let Some(posted) = posted {
            let act = match self.browsers[process.browser].route() {
                "/broken" => &BROKEN[..],
                _ => self
                    .acts
                    .get(posted.act as usize)
                    .map_or(&[][..], Vec::as_slice),
            };
            process.serves(posted.request, &posted.payload, act);
        }
    }

    /// Bytes for a child's stdin.
    pub fn fed(&mut self, pid: u32, bytes: &[u8]) {
        if let Some(mut process) = self.processes.remove(&pid) {
            self.feed(&mut process, bytes);
            self.processes.insert(pid, process);
        }
        self.stop_if_wrong();
    }

    /// A signal for a child. While it lives, there must be a reason.
    pub fn kill(&mut self, pid: u32, signal: Kill) {
        let Some(process) = self.processes.get_mut(&pid) else {
            self.fail(format!("kill of {pid}, which never was"));
        };
        // The daemon's clock stands still within a turn, and calls may be slow.
        let late = self.os.now + SECOND >= process.started + micros(self.config.event_timeout);
        let too_much = process.output > limits::REPLY_HEAD.min(self.config.max_reply);
        match process.life {
            Life::Reaped => self.fail(format!("kill of {pid}, which is reaped")),
            Life::Zombie(_) => {}
            _ if late || too_much || self.model.stopping.is_some() => {}
            _ => self.fail(format!("kill of child {pid}, which does as it should")),
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.signal(&mut self.os, signal);
        }
    }

    pub fn reap(&mut self, pid: u32) -> Exit {
        let Some(process) = self.processes.get_mut(&pid) else {
            self.fail(format!("reap of {pid}, which never was"));
        };
        let Life::Zombie(exit) = process.life else {
            let life = process.life;
            self.fail(format!(
                "reap of {pid}, which is {life:?}: it waits, or fails"
            ));
        };
        process.life = Life::Reaped;
        // The last of its signals is for its group.
        let killed = process.kills > 1;
        let too_much = process.reply.body > self.config.max_reply;
        let failed = killed || exit != Exit::Code(0) || process.malformed() || too_much;
        note!(
            self.os,
            "child",
            "{pid} is reaped: {exit:?}, failed: {failed}"
        );
        if let Some(payload) = &process.payload {
            let input = process.input.as_slice();
            let whole = process.input_whole && input.len() != payload.len();
            if !payload.starts_with(input) || whole {
                let (got, of) = (input.len(), payload.len());
                self.model.fail(format!(
                    "child {pid} read {got} of {of} bytes, or other ones"
                ));
            }
        }
        let behind = self.fifo.map_or(0, |p| self.os.pipes[p].written);
        let sender = &self.browsers[process.browser];
        self.model
            .reaped(self.os.now, process, sender, failed, behind);
        self.stop_if_wrong();
        exit
    }
}
