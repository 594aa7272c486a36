//! Launching leaves nothing behind. A process of its own: it counts what its heap holds.
#![cfg(unix)]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::ErrorKind;
use ws2cgi::sys::unix::Unix;
use ws2cgi::sys::{Exit, Program, Sys};

/// Counts by thread. A child shares our memory, and so our thread's count, until it execs:
/// what it would allocate counts here.
struct Counting;

thread_local! {
    static LIVE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(blocks: isize, bytes: isize) {
    LIVE.with(|live| live.set((live.get().0 + blocks, live.get().1 + bytes)));
}

// SAFETY: the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-1, -(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

/// Runs a program to its end, reading what it prints.
fn run(sys: &mut Unix, path: &str, stdin: bool) -> Exit {
    let env = [b"PATH=/bin".to_vec(), b"WS_EVENT=message".to_vec()];
    let program = Program {
        path,
        env: &env,
        stdin,
    };
    let child = sys.spawn(&program).unwrap();
    drop(child.stdin);
    let exit = sys.reap(child.pid);
    for pipe in [&child.stdout, &child.stderr] {
        loop {
            match sys.read(pipe, &mut [0; 256]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => assert_eq!(e.kind(), ErrorKind::Interrupted),
            }
        }
    }
    exit
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ten_thousand_launches_leave_heap_and_descriptors_flat() {
    let mut sys = Unix::new().unwrap();
    // The first one makes the child's stack.
    assert_eq!(run(&mut sys, "/bin/true", true), Exit::Code(0));
    assert_eq!(run(&mut sys, "/no/such/program", false), Exit::Code(127));
    let (heap, open) = (LIVE.get(), descriptors());
    for n in 0..10_000 {
        // Failed launches as well: their child exits without exec.
        let (path, exit) = match n % 4 {
            0 => ("/no/such/program", Exit::Code(127)),
            _ => ("/bin/true", Exit::Code(0)),
        };
        assert_eq!(run(&mut sys, path, n % 2 == 0), exit);
    }
    assert_eq!(LIVE.get(), heap, "blocks, bytes");
    assert_eq!(descriptors(), open);
}
