//! What the daemon itself has allocated: the simulator's own blocks are told apart by whose call
//! made them. Counted by thread, as each runs one plan at a time.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static DAEMON: Cell<bool> = const { Cell::new(false) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Says for a while who allocates.
pub struct Turn(bool);

impl Turn {
    pub fn daemon() -> Turn {
        Turn(DAEMON.replace(true))
    }

    pub fn simulator() -> Turn {
        Turn(DAEMON.replace(false))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        DAEMON.set(self.0);
    }
}

/// A run begins.
pub fn begin() {
    LIVE.set(0);
    PEAK.set(0);
}

/// What the daemon holds now.
pub fn live() -> usize {
    LIVE.get().max(0) as usize
}

/// The most that the daemon held at once.
pub fn peak() -> usize {
    PEAK.get().max(0) as usize
}

fn count(bytes: isize) {
    let live = LIVE.get() + bytes;
    LIVE.set(live);
    if live > PEAK.get() {
        PEAK.set(live);
    }
}

struct Counting;

/// In front of each block: whose it is.
const MARK: usize = 16;

fn with_mark(layout: Layout) -> Option<(Layout, usize)> {
    let before = MARK.max(layout.align());
    let size = layout.size().checked_add(before)?;
    let layout = Layout::from_size_align(size, before).ok()?;
    Some((layout, before))
}

// SAFETY: the system's allocator, with room for a mark in front of each block; the mark keeps the
// alignment asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, before)) = with_mark(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: of a size that is not zero.
        let block = unsafe { System.alloc(whole) };
        if block.is_null() {
            return block;
        }
        let daemon = DAEMON.get();
        if daemon {
            count(layout.size() as isize);
        }
        // SAFETY: `before` bytes are there in front, and at least 16.
        unsafe {
            block.add(before - 1).write(u8::from(daemon));
            block.add(before)
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some((whole, before)) = with_mark(layout) else {
            return;
        };
        // SAFETY: what `alloc` gave, or `realloc`.
        unsafe {
            if ptr.sub(1).read() == 1 {
                count(-(layout.size() as isize));
            }
            System.dealloc(ptr.sub(before), whole);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some((whole, before)) = with_mark(layout) else {
            return std::ptr::null_mut();
        };
        let Some(new) = size.checked_add(before) else {
            return std::ptr::null_mut();
        };
        // SAFETY: what `alloc` gave; the mark moves with it.
        unsafe {
            let block = System.realloc(ptr.sub(before), whole, new);
            if block.is_null() {
                return block;
            }
            let ptr = block.add(before);
            if ptr.sub(1).read() == 1 {
                count(size as isize - layout.size() as isize);
            }
            ptr
        }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;
