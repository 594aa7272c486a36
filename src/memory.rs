//! `--memory`: one account for all buffers, charged before they are allocated.

use core::cell::Cell;
use std::rc::Rc;

/// The account. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory(Rc<Account>);

#[derive(Debug)]
struct Account {
    bound: usize,
    used: Cell<usize>,
    /// What messages from browsers must leave free, so that messages to them can always
    /// move: whoever holds those is closed in time, and gives them back.
    for_outbound: usize,
}

/// A part of the account in use; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    account: Rc<Account>,
    bytes: usize,
}

impl Memory {
    /// `set_aside` is in use from the start; browsers' messages leave `for_outbound` free.
    pub fn new(bound: usize, set_aside: usize, for_outbound: usize) -> Memory {
        Memory(Rc::new(Account {
            bound,
            used: Cell::new(set_aside),
            for_outbound,
        }))
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// The bound.
    pub fn bound(&self) -> usize {
        self.0.bound
    }

    /// For what comes from a peer: connections and their messages.
    pub fn inbound(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes, self.0.for_outbound)
    }

    /// For what goes to a peer.
    pub fn outbound(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes, 0)
    }

    fn take(&self, bytes: usize, leave: usize) -> Option<Charge> {
        let used = self.used().checked_add(bytes)?;
        if used.checked_add(leave)? > self.0.bound {
            return None;
        }
        self.0.used.set(used);
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
        let memory = Memory::new(100, 10, 20);
        let mut a = memory.inbound(60).unwrap();
        assert!(memory.inbound(11).is_none(), "20 are for outbound");
        assert!(memory.outbound(31).is_none());
        a.absorb(memory.outbound(30).unwrap());
        assert_eq!(memory.used(), 100);
        drop(a);
        assert_eq!(memory.used(), 10);
        assert!(memory.outbound(usize::MAX).is_none());
    }
}
