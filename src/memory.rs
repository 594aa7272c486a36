//! `--memory`: one account for all buffers, charged before they are allocated.

use crate::limits::EBB;
use core::cell::Cell;
use std::rc::Rc;

/// The account. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory(Rc<Account>);

#[derive(Debug)]
struct Account {
    bounds: Bounds,
    used: Cell<usize>,
    /// The most that was in use since [`Memory::ebbed`] was last true.
    crest: Cell<usize>,
}

/// How much there is, and who leaves what to whom, so that a message to browsers can always
/// move: whoever holds such messages is closed in time, and gives them back. Bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// All.
    pub all: usize,
    /// In use from the start.
    pub set_aside: usize,
    /// What messages from browsers leave free: one message to all of them, its slots too.
    pub for_outbound: usize,
    /// What messages to browsers leave free: their slots in all of the queues.
    pub for_slots: usize,
}

/// A part of the account in use; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    account: Rc<Account>,
    bytes: usize,
}

impl Memory {
    /// An account of which only what is set aside is in use.
    pub fn new(bounds: Bounds) -> Memory {
        Memory(Rc::new(Account {
            bounds,
            used: Cell::new(bounds.set_aside),
            crest: Cell::new(bounds.set_aside),
        }))
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// Whether so much less is in use than was that the system should have it back; then it is
    /// false until that happens again.
    pub fn ebbed(&self) -> bool {
        let ebbed = self.0.crest.get() - self.used() >= EBB;
        if ebbed {
            self.0.crest.set(self.used());
        }
        ebbed
    }

    /// The bound.
    pub fn bound(&self) -> usize {
        self.0.bounds.all
    }

    /// For what comes from a peer: connections and their messages.
    pub fn inbound(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes, self.0.bounds.for_outbound)
    }

    /// For what goes to a peer.
    pub fn outbound(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes, self.0.bounds.for_slots)
    }

    /// For a message's slots in queues.
    pub fn slots(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes, 0)
    }

    fn take(&self, bytes: usize, leave: usize) -> Option<Charge> {
        let used = self.used().checked_add(bytes)?;
        if used.checked_add(leave)? > self.0.bounds.all {
            return None;
        }
        self.0.used.set(used);
        self.0.crest.set(self.0.crest.get().max(used));
        Some(Charge {
            account: self.0.clone(),
            bytes,
        })
    }
}

impl Charge {
    /// Makes two charges one.
    pub fn absorb(&mut self, mut other: Charge) {
        self.bytes += core::mem::take(&mut other.bytes);
    }

    /// Takes a part of it away, as a charge of its own.
    pub fn split(&mut self, bytes: usize) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge {
            account: self.account.clone(),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.set(self.account.used.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_end_with_their_owner() {
        let memory = Memory::new(Bounds {
            all: 100,
            set_aside: 10,
            for_outbound: 20,
            for_slots: 5,
        });
        let mut a = memory.inbound(60).unwrap();
        assert!(memory.inbound(11).is_none(), "20 are for outbound");
        assert!(memory.outbound(26).is_none(), "5 are for slots");
        a.absorb(memory.outbound(25).unwrap());
        assert!(memory.slots(6).is_none());
        a.absorb(memory.slots(5).unwrap());
        assert_eq!(memory.used(), 100);
        drop(a.split(3));
        assert_eq!(memory.used(), 97);
        drop(a);
        assert_eq!(memory.used(), 10);
        assert!(memory.outbound(usize::MAX).is_none());
    }

    #[test]
    fn an_ebb_is_told_once() {
        let memory = Memory::new(Bounds {
            all: 10 * EBB,
            set_aside: 10,
            for_outbound: 0,
            for_slots: 0,
        });
        let (low, high) = (memory.inbound(EBB - 1), memory.inbound(EBB));
        drop(low);
        assert!(!memory.ebbed(), "not far enough");
        drop(high);
        assert!(memory.ebbed());
        assert!(!memory.ebbed(), "told");
        drop(memory.inbound(EBB));
        assert!(memory.ebbed());
    }
}
