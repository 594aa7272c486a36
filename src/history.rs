//! The newest messages to rooms and routes, numbered: whoever was away asks for what came
//! behind a mark, and gets it, or is told that some of it is gone.

use crate::frame::{Mark, Message};
use crate::limits::HISTORY_ENTRY;
use crate::outbox::Opcode;
use crate::target::{Boot, Scope, Target};
use std::collections::VecDeque;
use std::rc::Rc;

/// The messages kept.
pub struct History {
    boot: Boot,
    /// Of consecutive numbers.
    entries: VecDeque<Entry>,
    /// The number of the next message.
    next: u64,
    size: usize,
    bound: usize,
}

/// A message kept.
pub struct Entry {
    /// To whom it went.
    pub target: Target,
    /// What it holds.
    pub opcode: Opcode,
    /// Its bytes.
    pub payload: Rc<Vec<u8>>,
}

/// What a reader finds behind a place.
pub enum Found<'a> {
    /// A message, and its number.
    Entry(u64, &'a Entry),
    /// Some of what stood there is gone; the rest begins at this number.
    Gap(u64),
    /// Nothing more.
    End,
}

impl Entry {
    fn size(&self) -> usize {
        let name = match &self.target.scope {
            Scope::Room(name) | Scope::Route(name) => name.len(),
            Scope::Connection(_) | Scope::All => 0,
        };
        self.payload.len() + name + HISTORY_ENTRY
    }
}

impl History {
    /// `bound`: `--history`, bytes; 0: nothing is kept, and nothing numbered.
    pub fn new(boot: Boot, bound: usize) -> History {
        History {
            boot,
            entries: VecDeque::new(),
            next: 1,
            size: 0,
            bound,
        }
    }

    /// Whether messages are numbered.
    pub fn kept(&self) -> bool {
        self.bound > 0
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The mark of a number.
    pub fn mark(&self, number: u64) -> Mark {
        Mark {
            boot: self.boot,
            number,
        }
    }

    /// The number that the next message gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the first message kept.
    pub fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// The place behind a mark. None: it is of another start, or from a future.
    pub fn behind(&self, mark: Mark) -> Option<u64> {
        let known = mark.boot == self.boot && mark.number < self.next;
        known.then_some(mark.number + 1)
    }

    /// Keeps a message, under the number [`next`](History::next). The oldest give way.
    pub fn keep(&mut self, target: Target, message: &Message) {
        let entry = Entry {
            target,
            opcode: message.opcode,
            payload: message.payload.clone(),
        };
        self.size += entry.size();
        self.entries.push_back(entry);
        self.next += 1;
        while self.size > self.bound {
            let oldest = self.entries.pop_front();
            self.size -= oldest.map_or(self.size, |entry| entry.size());
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// What stands at `place` or behind it, and before `next`, of what is `meant` for the reader.
    pub fn find(&self, place: u64, next: u64, meant: impl Fn(&Target) -> bool) -> Found<'_> {
        let first = self.first();
        if place < first {
            return Found::Gap(first);
        }
        for number in place..next {
            let entry = &self.entries[(number - first) as usize];
            if meant(&entry.target) {
                return Found::Entry(number, entry);
            }
        }
        Found::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Bounds, Memory};

    #[test]
    fn the_oldest_give_way_and_readers_are_told() {
        let memory = Memory::new(Bounds {
            all: 1 << 20,
            set_aside: 0,
            for_outbound: 0,
            for_slots: 0,
        });
        let mut history = History::new(Boot(5), 3 * (HISTORY_ENTRY + 10 + 4));
        let all = |_: &Target| true;
        assert!(matches!(history.find(1, history.next(), all), Found::End));
        assert_eq!(history.behind(history.mark(0)), Some(1));
        for number in 1..=5 {
            let room = Scope::Room((if number % 2 == 1 { "odd" } else { "even" }).to_owned());
            let target = Target {
                scope: room,
                except: None,
            };
            let charge = memory.outbound(10).unwrap();
            let message = Message::new(Opcode::Text, vec![number; 10], charge);
            history.keep(target, &message);
        }
        assert_eq!((history.first(), history.next()), (3, 6));
        assert!(matches!(
            history.find(2, history.next(), all),
            Found::Gap(3)
        ));
        let even = |target: &Target| target.scope == Scope::Room("even".to_owned());
        match history.find(3, history.next(), even) {
            Found::Entry(4, entry) => assert_eq!(entry.payload[0], 4),
            _ => panic!("no entry"),
        }
        assert!(matches!(history.find(5, history.next(), even), Found::End));
        assert!(matches!(history.find(6, history.next(), all), Found::End));
        assert_eq!(history.behind(history.mark(5)), Some(6));
        assert_eq!(history.behind(history.mark(6)), None);
        let other = Mark {
            boot: Boot(6),
            number: 1,
        };
        assert_eq!(history.behind(other), None);
        // One that is larger than all leaves nothing behind.
        let charge = memory.outbound(1000).unwrap();
        let target = Target {
            scope: Scope::All,
            except: None,
        };
        history.keep(target, &Message::new(Opcode::Text, vec![0; 1000], charge));
        assert_eq!((history.first(), history.next(), history.size()), (7, 7, 0));
        assert!(matches!(
            history.find(6, history.next(), all),
            Found::Gap(7)
        ));
    }
}
