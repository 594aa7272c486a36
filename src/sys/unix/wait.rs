//! Waiting: ppoll(2), with the signals let in only while it waits, so that none is missed
//! between a look at the flags and the wait, without a pipe to ourselves. ppoll and not
//! poll: uClibc's poll on CPUs without that system call never reports a hang-up.

use super::super::{Interest, Ready, Signals};
use super::{check, process};
use core::time::Duration;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static CHILD: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);
static STATUS: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: libc::c_int) {
    match signal {
        libc::SIGCHLD => CHILD.store(true, Relaxed),
        libc::SIGUSR1 => STATUS.store(true, Relaxed),
        _ => STOP.store(true, Relaxed),
    }
}

/// The signals that have a handler in the daemon.
const CAUGHT: [Signal; 5] = [
    Signal::SIGCHLD,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
];

/// Write's EPIPE and EFBIG (`ulimit -f`) tell as much as the signals that end a process.
pub fn ignore_errors() {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        // SAFETY: ignoring runs no code of ours. EINVAL is impossible for these.
        let _ = unsafe { nix::sys::signal::sigaction(signal, &ignore) };
    }
}

/// Whether one of our signals waits to be let in.
fn pending() -> bool {
    // SAFETY: all zero is a valid set, which sigpending fills.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: a live set, and signal numbers that exist.
    unsafe {
        libc::sigpending(&mut set) == 0
            && CAUGHT
                .iter()
                .any(|&signal| libc::sigismember(&set, signal as libc::c_int) == 1)
    }
}

/// What of `events`, and of errors, is there now (poll(2)).
pub fn look(fd: libc::c_int, events: libc::c_short) -> io::Result<libc::c_short> {
    let mut polled = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one pollfd, one timespec, alive for the call.
    check(unsafe { libc::ppoll(&mut polled, 1, &no_time, core::ptr::null()) })?;
    Ok(polled.revents)
}

fn pause() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    // SAFETY: no descriptors, a live timespec, no mask.
    unsafe { libc::ppoll(core::ptr::null_mut(), 0, &time, core::ptr::null()) };
}

#[derive(Default)]
pub struct Waiter {
    polled: Vec<libc::pollfd>,
    tokens: Vec<usize>,
    /// The mask during a wait, once signals are caught.
    mask: Option<SigSet>,
}

impl Waiter {
    pub fn catch_signals(&mut self) -> io::Result<()> {
        let ours: SigSet = CAUGHT.into_iter().collect();
        let mut mask = ours.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        for signal in CAUGHT {
            let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), ours);
            // SAFETY: the handler stores to an atomic, nothing else.
            let before = unsafe { nix::sys::signal::sigaction(signal, &action) }?;
            if signal == Signal::SIGHUP && matches!(before.handler(), SigHandler::SigIgn) {
                // nohup's wish.
                // SAFETY: ignoring runs no code of ours.
                unsafe { nix::sys::signal::sigaction(signal, &before) }?;
            }
            // A parent may have left it blocked.
            mask.remove(signal);
        }
        self.mask = Some(mask);
        Ok(())
    }

    pub fn watch(&mut self, fd: libc::c_int, token: usize, interest: Interest) {
        let events = match interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
            Interest::Both => libc::POLLIN | libc::POLLOUT,
        };
        self.polled.push(libc::pollfd {
            fd,
            events,
            revents: 0,
        });
        self.tokens.push(token);
    }

    fn let_signals_in(&self) -> io::Result<()> {
        if let Some(mask) = self.mask.as_ref().filter(|_| pending()) {
            // Whatever is pending is handled before the first of these calls returns.
            mask.thread_swap_mask(SigmaskHow::SIG_SETMASK)?
                .thread_set_mask()?;
        }
        Ok(())
    }

    pub fn wait(
        &mut self,
        deadline: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<Signals> {
        let timeout = deadline.map(|at| {
            let left = at.saturating_sub(process::now());
            libc::timespec {
                tv_sec: left.as_secs().min(1 << 30) as _,
                tv_nsec: left.subsec_nanos() as _,
            }
        });
        let timeout = timeout.as_ref().map_or(core::ptr::null(), |t| t);
        let mask = self.mask.as_ref();
        let mask = mask.map_or(core::ptr::null(), |m| m.as_ref() as *const _);
        let (fds, count) = (self.polled.as_mut_ptr(), self.polled.len());
        // SAFETY: `count` pollfds, and a timespec and a mask that are null or outlive the call.
        let result = check(unsafe { libc::ppoll(fds, count as libc::nfds_t, timeout, mask) });
        match result {
            // A ready descriptor wins over a pending signal: where one is always ready (a
            // writer who never rests), no signal would ever come.
            Ok(()) => self.let_signals_in()?,
            // revents hold nothing then.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.polled.clear(),
            // No memory for the moment, as happens without an MMU: a turn without events.
            Err(e) if [Some(libc::ENOMEM), Some(libc::EAGAIN)].contains(&e.raw_os_error()) => {
                self.polled.clear();
                self.let_signals_in()?;
                pause();
            }
            Err(e) => return Err(e),
        }
        for (polled, &token) in self.polled.iter().zip(&self.tokens) {
            let trouble = polled.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            let readable = polled.revents & libc::POLLIN != 0 || trouble;
            let writable = polled.revents & libc::POLLOUT != 0 || trouble;
            if readable || writable {
                ready.push(Ready {
                    token,
                    readable,
                    writable,
                });
            }
        }
        self.polled.clear();
        self.tokens.clear();
        Ok(Signals {
            child: CHILD.swap(false, Relaxed),
            stop: STOP.swap(false, Relaxed),
            status: STATUS.swap(false, Relaxed),
        })
    }
}
