//! Marks, and what is given again behind one. Messages to rooms and routes have numbers where
//! there is a history; which, the marks tell that go out with them.

use super::connection::Expected;
use super::membership::{Certainty, Order};
use super::{Life, Model};
use crate::browser::Browser;
use std::collections::BTreeMap;
use std::rc::Rc;
use ws2cgi::limits::HISTORY_ENTRY;
use ws2cgi::target::{Scope, Target};

/// The number of a mark.
pub fn number(mark: &str) -> Option<u64> {
    mark.rsplit_once('-')?.1.parse().ok()
}

/// A message that has a number.
struct Kept {
    order: Order,
    target: Target,
    binary: bool,
    payload: Rc<[u8]>,
    /// It was sent for certain.
    sure: bool,
    number: Option<u64>,
}

impl Kept {
    fn size(&self) -> usize {
        let name = match &self.target.scope {
            Scope::Room(name) | Scope::Route(name) => name.len(),
            Scope::Connection(_) | Scope::All => 0,
        };
        self.payload.len() + name + HISTORY_ENTRY
    }
}

/// A place in the history.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Behind this number.
    Behind(u64),
    /// Where it was in this turn.
    Turn(u64),
    /// There is none of that name: its reader is told so, and begins with the oldest.
    Nowhere,
}

/// All messages that have numbers, in the order in which the model learns of them.
#[derive(Default)]
pub struct History {
    kept: Vec<Kept>,
    /// When a mark was seen first: what begins later is behind it.
    seen: BTreeMap<u64, u64>,
    /// The daemon's start.
    boot: Option<String>,
}

impl History {
    /// An id of this start.
    pub fn id(&mut self, id: &str) {
        if self.boot.is_none() {
            self.boot = id.rsplit_once('-').map(|(boot, _)| boot.to_owned());
        }
    }

    /// Whether each message is behind a place. None: that is not known.
    fn behind(&self, place: Place) -> Vec<Option<bool>> {
        let all = self.kept.iter();
        let number = match place {
            Place::Nowhere => return all.map(|_| None).collect(),
            Place::Turn(turn) => {
                let later = |kept: &Kept| (kept.order.from > turn).then_some(true);
                return all.map(later).collect();
            }
            Place::Behind(number) => number,
        };
        let seen = self.seen.get(&number).copied().unwrap_or(u64::MAX);
        let bound = self.kept.iter().find(|k| k.number == Some(number));
        let bound = bound.map(|kept| &kept.order);
        let behind = |kept: &Kept| match (kept.number, bound) {
            (Some(own), _) => Some(own > number),
            (None, _) if kept.order.from > seen => Some(true),
            (None, Some(bound)) if bound.before(&kept.order) => Some(true),
            (None, Some(bound)) if kept.order.before(bound) => Some(false),
            _ => None,
        };
        all.map(behind).collect()
    }
}

impl Model {
    /// Whether messages have numbers.
    pub fn numbers(&self) -> bool {
        self.rules.history > 0
    }

    /// Whether a connection reads the history where it must.
    pub fn reads(&self, c: usize) -> bool {
        self.numbers() && self.connections[c].told
    }

    /// A message to a room or a route goes out.
    pub fn keep(&mut self, target: &Target, order: &Order, binary: bool, bytes: &[u8], sure: bool) {
        if self.numbers() && !matches!(target.scope, Scope::Connection(_)) {
            self.history.kept.push(Kept {
                order: order.clone(),
                target: target.clone(),
                binary,
                payload: bytes.into(),
                sure,
                number: None,
            });
        }
    }

    /// Where a request's mark leads to.
    pub fn place_of(&self, browser: &Browser) -> Option<Place> {
        let since = browser.ask.since.as_ref()?;
        let boot = since.rsplit_once('-').map(|(boot, _)| boot);
        let ours = boot.is_some() && self.history.boot.as_deref() == boot;
        let known = |n: &u64| self.history.seen.contains_key(n);
        let known = number(since).filter(|n| ours && self.numbers() && known(n));
        Some(known.map_or(Place::Nowhere, Place::Behind))
    }

    /// A connection begins to read the history, or goes to another place in it. `joins`: the room
    /// that it is in for certain, where it begins.
    pub fn read_from(&mut self, c: usize, place: Place, joins: Option<Option<&str>>) {
        self.connections[c].behind = true;
        if let Place::Behind(number) = place {
            self.totals.resumes += 1;
            self.connections[c].last = Some(number);
        }
        if !self.numbers() {
            return;
        }
        let now = self.order(self.turn, self.turn);
        for (i, behind) in self.history.behind(place).into_iter().enumerate() {
            let entry = &self.history.kept[i];
            let route = self.connections[c].route;
            let certainty = match (&entry.target.scope, joins) {
                _ if self.excepted(c, &entry.target) => Certainty::No,
                (Scope::All, Some(_)) => Certainty::Yes,
                (Scope::Route(to), Some(_)) if to == route => Certainty::Yes,
                (Scope::Room(room), Some(Some(joins))) if room == joins => Certainty::Yes,
                _ => self.meant(c, &entry.target, &now),
            };
            let loose = self.connections[c].loose.is_some();
            let must = behind == Some(true) && certainty == Certainty::Yes && entry.sure && !loose;
            let expected = Expected {
                order: entry.order.clone(),
                binary: entry.binary,
                payload: entry.payload.clone(),
                must,
                numbered: true,
            };
            let never = behind == Some(false) || certainty == Certainty::No;
            self.connections[c].expect(expected, never);
        }
    }

    /// A reader joins a room, or leaves it: what was sent there before it may get, or may not.
    pub fn room_changes(&mut self, c: usize, room: &str, join: bool) {
        if !self.reads(c) || join && !self.connections[c].behind {
            return;
        }
        for entry in &self.history.kept {
            if matches!(&entry.target.scope, Scope::Room(name) if name == room) {
                let expected = Expected {
                    order: entry.order.clone(),
                    binary: entry.binary,
                    payload: entry.payload.clone(),
                    must: false,
                    numbered: true,
                };
                self.connections[c].expect(expected, !join);
            }
        }
    }

    /// How certain it is that a reader finds a message that is sent: when it reads counts.
    pub fn reads_certainly(&mut self, c: usize, target: &Target, sent: Certainty) -> Certainty {
        if !self.reads(c) || matches!(target.scope, Scope::Connection(_)) {
            return sent;
        }
        let now = self.order(self.turn, self.turn);
        let reads = match self.connections[c].life {
            Life::Accepted => self.meant(c, target, &now),
            _ => sent,
        };
        match (sent, reads) {
            (Certainty::Yes, Certainty::Yes) => Certainty::Yes,
            (Certainty::No, Certainty::No) => Certainty::No,
            (Certainty::No, _) if !self.connections[c].behind => Certainty::No,
            _ => Certainty::Maybe,
        }
    }

    /// How many messages have numbers: at least and at most.
    pub fn numbered_in_all(&self) -> (u64, u64) {
        let kept = &self.history.kept;
        let sure = kept.iter().filter(|k| k.sure).count() as u64;
        let pending = self.answers.iter().filter(|a| !a.sent).count() + self.lines.len();
        (sure, (kept.len() + pending) as u64)
    }

    // ---- What it is told

    fn see(&mut self, number: u64) {
        let turn = self.turn;
        self.history.seen.entry(number).or_insert(turn);
    }

    /// Where a stream, or a WebSocket of `ws2cgi1`, begins.
    pub fn begins_at(
        &mut self,
        c: usize,
        mark: Option<&str>,
        browser: &Browser,
    ) -> Result<(), String> {
        let Some(mark) = mark.filter(|_| self.numbers()) else {
            return match mark.is_some() || self.numbers() {
                true => Err(format!(
                    "it begins at {mark:?}, and history is wrong for that"
                )),
                false => Ok(()),
            };
        };
        let at = number(mark).ok_or_else(|| format!("a mark {mark}"))?;
        if self.connections[c].owes_gap > 0 {
            return Err("it is told where it begins before what is gone".to_owned());
        }
        if let Some(Place::Behind(asked)) = self.place_of(browser) {
            if asked != at {
                return Err(format!("it begins behind {at}, and asked for {asked}"));
            }
        }
        self.see(at);
        self.connections[c].last = Some(at);
        Ok(())
    }

    /// Where a poll's next begins.
    pub fn poll_place(&mut self, mark: Option<&str>) -> Result<(), String> {
        match (mark, self.numbers()) {
            (None, false) => Ok(()),
            (Some(mark), true) => {
                let at = number(mark).ok_or_else(|| format!("a mark {mark}"))?;
                self.see(at);
                Ok(())
            }
            _ => Err(format!("an answer's WS-Since is {mark:?}")),
        }
    }

    /// A message that says its number is written.
    pub fn numbered(
        &mut self,
        c: usize,
        at: u64,
        binary: bool,
        payload: &[u8],
    ) -> Result<(), String> {
        let connection = &mut self.connections[c];
        if let Some(last) = connection.last.filter(|last| *last >= at) {
            return Err(format!("it gets number {at} behind {last}"));
        }
        connection.last = Some(at);
        self.see(at);
        let is = |k: &Kept| k.binary == binary && *k.payload == *payload;
        let Some(i) = self
            .history
            .kept
            .iter()
            .position(is)
            .filter(|_| !payload.is_empty())
        else {
            return Ok(());
        };
        let order = self.history.kept[i].order.clone();
        for other in &self.history.kept {
            let Some(number) = other.number else {
                continue;
            };
            let same = is(other);
            let good = match same {
                true => number == at,
                false => {
                    number != at
                        && !(number > at && other.order.before(&order))
                        && !(number < at && order.before(&other.order))
                }
            };
            if !good {
                let (this, other) = (
                    crate::trace::shown(payload),
                    crate::trace::shown(&other.payload),
                );
                return Err(format!("{this} has number {at}, and {other} has {number}"));
            }
        }
        self.history.kept[i].number = Some(at);
        Ok(())
    }

    /// It is told that messages are missing.
    pub fn told_gap(&mut self, c: usize) -> Result<(), String> {
        self.totals.gaps += 1;
        let pending = self.pending();
        let connection = &mut self.connections[c];
        let owed = connection.owes_gap > 0;
        connection.owes_gap = connection.owes_gap.saturating_sub(1);
        let last = connection.last;
        let before = |k: &&Kept| k.number.is_some() && k.number <= last;
        let kept = self.history.kept.iter().filter(|k| !before(k));
        let size = kept.map(Kept::size).sum::<usize>();
        if !owed && size + pending <= self.rules.history {
            return Err("it is told of a gap, and nothing is gone".to_owned());
        }
        connection.cut = Some(self.turn);
        connection.may_miss();
        Ok(())
    }

    /// What may be in the history by now, and is not known to be: bytes.
    fn pending(&self) -> usize {
        let answers = self.answers.iter().filter(|a| !a.sent);
        let answers = answers.filter_map(|a| a.reply.message.as_ref());
        let answers = answers.map(|m| m.len() + 2 * HISTORY_ENTRY).sum::<usize>();
        let lines = self.lines.iter();
        let spooled = |l: &super::Line| l.spooled.as_ref().map_or(0, Vec::len);
        answers
            + lines
                .map(|l| l.size() + spooled(l) + 2 * HISTORY_ENTRY)
                .sum::<usize>()
    }
}
