//! Chains of polls as they must be: each poll is answered in time and for a cause, and all of
//! them give what is for their connection, each message once.

use super::{Frame, Life, Model};
use crate::browser::Browser;
use crate::http::Head;
use crate::os::SECOND;
use crate::os::Time;
use crate::plan::way;
use crate::request::{Ask, Asks};

impl Model {
    /// How long a poll is held.
    fn held(&self, ask: &Ask) -> Time {
        let most = self.rules.poll_wait;
        ask.wait.map_or(most, |wait| (wait * SECOND).min(most))
    }

    pub fn poll_answer(&mut self, j: usize, head: &Head, browser: &Browser) -> Result<(), String> {
        let ask = &browser.ask;
        let status = head.status;
        let told = self.connections[j].exchange.chain;
        let id = head.field("WS-Id");
        let c = match id {
            Some(id) => {
                let c = self
                    .find(id)
                    .ok_or_else(|| format!("WS-Id of nobody: {id}"))?;
                let named = !ask.unnamed && ask.of.is_some() && told != Some(c);
                if named || told != Some(c) && c != j {
                    return Err(format!("a poll is answered for another's id, {id}"));
                }
                let connection = &mut self.connections[c];
                let key = head.field("WS-Key").ok_or("an answer without its key")?;
                if connection.key.get_or_insert(key.to_owned()) != key {
                    return Err("a connection has two keys".to_owned());
                }
                Some(c)
            }
            None => told,
        };
        if matches!(status, 200 | 204) {
            let Some(c) = c.filter(|_| id.is_some()) else {
                return Err(format!("a poll is answered {status} without its id"));
            };
            let life = self.connections[c].life;
            if matches!(life, Life::New | Life::Opening | Life::Refused) {
                return Err(format!("a poll is answered {status}, and it is {life:?}"));
            }
            self.check_cookie(j, c, head, ask)?;
            self.connections[j].exchange.chain = Some(c);
            self.connections[c].confirmed |= c != j;
            if !self.connections[j].exchange.sure {
                let answered = self.connections[j].exchange.answered_at;
                self.connections[c].quiet_since = answered;
            }
            let gap = head.field("WS-Gap").is_some();
            if gap {
                self.told_gap(c)?;
            }
            if self.connections[j].exchange.owes_gap && !gap {
                return Err("a poll is not told that messages are missing".to_owned());
            }
            self.poll_place(head.field("WS-Since"))?;
            let exchange = &self.connections[j].exchange;
            let due = exchange.received.unwrap_or(0) + self.held(ask);
            let early = self.now < due && !gap && !ask.close && !exchange.superseded;
            if status == 204 && early {
                return Err("a poll is answered 204 before its time".to_owned());
            }
            return Ok(());
        }
        if let Some(close) = head.field("WS-Close") {
            let code = close.split(' ').next().and_then(|code| code.parse().ok());
            let code = code.ok_or("a WS-Close without a code")?;
            let c = c.ok_or("a WS-Close of nobody's")?;
            return self.told_close(c, code);
        }
        let named = !ask.unnamed && ask.of.is_some();
        match (status, c) {
            (410, Some(c)) if named && self.connections[c].loose.is_none() => {
                Err("a poll is told that its connection is gone, and it is there".to_owned())
            }
            (410, _) if !named => Err("a poll that names nobody is told 410".to_owned()),
            (410, _) => Ok(()),
            (status, _) if named => Err(format!("a poll of a chain is answered {status}")),
            _ => Ok(()),
        }
    }

    /// Only a page that knows nothing of us, and has no cookie, gets one.
    fn check_cookie(&self, j: usize, c: usize, head: &Head, ask: &Ask) -> Result<(), String> {
        let cookie = head.field("Set-Cookie");
        let own = ask.unnamed && c == j;
        let (id, key) = (head.field("WS-Id"), head.field("WS-Key"));
        let begin = format!("ws2cgi={}.{}; Path=/", id.unwrap_or(""), key.unwrap_or(""));
        let good = match cookie {
            Some(cookie) => own && cookie.starts_with(&begin) && cookie.contains("; HttpOnly"),
            None => !own || ask.of.is_some(),
        };
        match good {
            true => Ok(()),
            false => Err(format!("a poll's cookie is {cookie:?}")),
        }
    }

    /// A poll turns out to be a connection of its own.
    pub fn begins_chain(&mut self, j: usize) {
        let exchange = &mut self.connections[j].exchange;
        let before = exchange.chain.replace(j);
        exchange.sure = true;
        if let Some(c) = before.filter(|c| *c != j) {
            self.connections[c].polls.retain(|poll| *poll != j);
        }
    }

    pub fn poll_gives(&mut self, j: usize, binary: bool, payload: Vec<u8>) -> Result<(), String> {
        let c = self.connections[j].exchange.chain.unwrap_or(j);
        self.totals.polled += 1;
        self.connections[c].frames.push(Frame {
            binary,
            payload,
            mark: None,
            request: j,
        });
        Ok(())
    }

    /// An answer that was not written whole has taken its messages along.
    pub fn poll_cut(&mut self, j: usize, browser: &Browser) {
        let exchange = &self.connections[j].exchange;
        if browser.ask.asks != Asks::Poll || exchange.whole {
            return;
        }
        let turn = self.turn;
        for c in exchange.chain.into_iter().chain([j]) {
            self.connections[c].cut = Some(turn);
            self.connections[c].may_miss();
        }
    }

    /// Whether an answer to one of its polls is being written.
    pub fn is_answering(&self, c: usize) -> bool {
        let mut polls = self.connections[c].polls.iter();
        polls.any(|poll| {
            let exchange = &self.connections[*poll].exchange;
            let now = exchange.wrote_at == Some(self.now);
            now || !exchange.closed && (exchange.wrote_at.is_some() || exchange.writes)
        })
    }

    /// Whether earlier polls of a chain have not been answered whole: what they give may come
    /// later than what a later one gives.
    pub fn earlier_polls(&self, c: usize, request: usize) -> bool {
        let polls = self.connections[c].polls.iter();
        let mut earlier = polls.take_while(|poll| **poll != request);
        earlier.any(|poll| {
            let exchange = &self.connections[*poll].exchange;
            !exchange.whole && !exchange.closed
        })
    }

    /// At the end of a turn: which chains have a poll that waits.
    pub fn look_at_chains(&mut self) {
        for c in 0..self.connections.len() {
            if self.connections[c].asks != Asks::Poll || self.connections[c].polls.is_empty() {
                continue;
            }
            let polls = self.connections[c].polls.iter();
            let waits = |poll: &&usize| self.connections[**poll].exchange.unanswered();
            let sure = |poll: &&usize| self.connections[**poll].exchange.sure;
            let waiting: Vec<_> = polls.filter(waits).collect();
            let sure = waiting.iter().filter(|poll| sure(poll)).count();
            let connection = &mut self.connections[c];
            connection.waiting = sure > 0;
            match connection.waiting {
                true => connection.quiet_since = None,
                false => drop(connection.quiet_since.get_or_insert(self.now)),
            }
            if sure > 1 && connection.loose.is_none() {
                self.fail(format!("browser {c}: two of its polls wait"));
            }
        }
    }

    pub fn late_poll(&self, j: usize, browser: &Browser) -> Option<String> {
        let exchange = &self.connections[j].exchange;
        let received = exchange.received.filter(|_| exchange.unanswered())?;
        let c = exchange.chain?;
        let chain = &self.connections[c];
        let shown = browser.way != way::HANDOFF_UNIX && browser.endings.gone;
        let known = exchange.sure && chain.opened && chain.loose.is_none();
        let idle = chain.idle_since.filter(|_| shown && known);
        let gone = idle.map(|idle| idle.max(browser.endings.gone_since).max(received));
        if gone.is_some_and(|gone| gone + SECOND < self.now) {
            return Some("its browser has gone, and that is not noticed".to_owned());
        }
        let own = &self.connections[j];
        if !exchange.sure && own.life == Life::New {
            return None;
        }
        if (c == j || own.life != Life::New) && !(own.opened && own.life == Life::Accepted) {
            // First comes the open program.
            return None;
        }
        let due = received + self.held(&browser.ask);
        let why = || {
            format!(
                "its poll is not answered within {} s",
                self.held(&browser.ask) / SECOND
            )
        };
        (due <= self.now).then(why)
    }

    /// A chain that no poll goes on with.
    pub fn late_chain(&self, c: usize, browser: &Browser, children: usize) -> Option<String> {
        let connection = &self.connections[c];
        let quiet = connection.quiet_since?;
        let open = browser.ask.asks == Asks::Poll && connection.life == Life::Accepted;
        let idle = children == 0 && self.is_idle(c) && self.answers.is_empty();
        let late = quiet + 2 * self.rules.poll_wait <= self.now;
        let known = |poll: &usize| {
            let exchange = &self.connections[*poll].exchange;
            exchange.sure || exchange.whole
        };
        let late = late && connection.polls.iter().all(known);
        let why = "no poll goes on with it, and it does not end";
        (open && idle && late).then(|| why.to_owned())
    }
}
