//! In which rooms a connection is, and how sure that is. `#id` and `#open` are rooms of its own:
//! since its open program has started, since it is open.

use std::collections::BTreeMap;

/// When something happened: within these turns. Lines have an order besides.
#[derive(Clone, Debug)]
pub struct Order {
    pub serial: u64,
    pub from: u64,
    /// `u64::MAX`: it has not ended for certain.
    pub to: u64,
    /// A line of the outbox begins here in the stream.
    pub line: Option<u64>,
    /// A reply of this connection; its program's lines end here in the stream.
    pub answer: Option<(usize, u64)>,
}

impl Order {
    pub fn turns(serial: u64, from: u64, to: u64) -> Order {
        Order {
            serial,
            from,
            to,
            line: None,
            answer: None,
        }
    }

    pub fn line(serial: u64, start: u64, turn: u64) -> Order {
        Order {
            line: Some(start),
            ..Order::turns(serial, turn, u64::MAX)
        }
    }

    pub fn answer(serial: u64, connection: usize, mark: u64, turn: u64) -> Order {
        Order {
            answer: Some((connection, mark)),
            ..Order::turns(serial, turn, u64::MAX)
        }
    }

    /// Whether it has happened before another thing, for certain.
    pub fn before(&self, other: &Order) -> bool {
        if self.to < other.from {
            return true;
        }
        match (self.line, other.line, self.answer, other.answer) {
            (Some(a), Some(b), _, _) => a < b,
            (Some(a), _, _, Some((_, mark))) => a < mark,
            // One event of a connection at a time.
            (_, _, Some((a, _)), Some((b, _))) => a == b && self.serial < other.serial,
            _ => false,
        }
    }

    pub fn overlaps(&self, other: &Order) -> bool {
        !self.before(other) && !other.before(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    Yes,
    No,
    Maybe,
}

#[derive(Debug)]
struct Change {
    order: Order,
    join: bool,
    sure: bool,
}

#[derive(Default, Debug)]
struct Room {
    /// Before all changes; None: not known.
    base: Option<bool>,
    changes: Vec<Change>,
}

#[derive(Default, Debug)]
pub struct Membership(BTreeMap<String, Room>);

impl Membership {
    fn add(&mut self, room: &str, join: bool, order: &Order, sure: bool) {
        let fresh = || Room {
            base: Some(false),
            changes: Vec::new(),
        };
        let room = self.0.entry(room.to_owned()).or_insert_with(fresh);
        // What is told later may have come earlier: a line that its program's reply waits for.
        let later = room.changes.iter().position(|c| order.before(&c.order));
        let change = Change {
            order: order.clone(),
            join,
            sure,
        };
        room.changes
            .insert(later.unwrap_or(room.changes.len()), change);
    }

    /// A change that happens for certain in these turns.
    pub fn sure(&mut self, room: &str, join: bool, order: &Order) {
        self.add(room, join, order, true);
    }

    /// A change that may have happened.
    pub fn perhaps(&mut self, room: &str, join: bool, order: &Order) {
        self.add(room, join, order, false);
    }

    /// A change by a reply that is on its way: [`end`](Membership::end) tells when it is over.
    pub fn begin(&mut self, room: &str, join: bool, order: &Order) {
        self.add(room, join, order, true);
    }

    /// A reply is carried out.
    pub fn end(&mut self, order: &Order, turn: u64) {
        for room in self.0.values_mut() {
            for change in &mut room.changes {
                if change.order.serial == order.serial {
                    change.order.to = turn;
                }
            }
        }
    }

    pub fn rooms(&self) -> Vec<String> {
        let names = self.0.keys().filter(|name| !name.starts_with('#'));
        names.cloned().collect()
    }

    /// Whether it is in a room while something happens.
    pub fn at(&self, room: &str, when: &Order) -> Certainty {
        let Some(room) = self.0.get(room) else {
            return Certainty::No;
        };
        let mut state = room.base;
        let mut open = false;
        for (i, change) in room.changes.iter().enumerate() {
            // A reply joins before its message, and leaves behind it.
            let own = change.order.serial == when.serial;
            let before = if own {
                change.join
            } else {
                change.order.before(when)
            };
            let after = if own {
                !change.join
            } else {
                when.before(&change.order)
            };
            if before {
                let against = |other: &&Change| other.join != change.join;
                let mut earlier = room.changes[..i].iter().filter(against);
                let clash = earlier.any(|other| other.order.overlaps(&change.order));
                let other = state != Some(change.join);
                state = match (change.sure, clash && other) {
                    (true, false) => Some(change.join),
                    _ if other => None,
                    _ => state,
                };
            } else if !after {
                open |= state != Some(change.join);
            }
        }
        match state {
            _ if open => Certainty::Maybe,
            Some(true) => Certainty::Yes,
            Some(false) => Certainty::No,
            None => Certainty::Maybe,
        }
    }

    /// Changes before a turn need no longer be told apart.
    pub fn settle(&mut self, oldest: u64) {
        for room in self.0.values_mut() {
            // Only from the front, and only where it clashes with none behind it.
            while let Some(first) = room.changes.first() {
                let clashes = room.changes[1..]
                    .iter()
                    .any(|other| first.order.overlaps(&other.order));
                if first.order.to >= oldest || clashes {
                    break;
                }
                room.base = match (first.sure, room.base == Some(first.join)) {
                    (true, _) => Some(first.join),
                    (false, true) => room.base,
                    (false, false) => None,
                };
                room.changes.remove(0);
            }
        }
    }
}
