//! One run of the whole daemon, from a plan to what was seen.

use crate::call::Sim;
use crate::check;
use crate::heap::{self, Turn};
use crate::options::arguments;
use crate::plan::Plan;
use crate::world::{Seen, Stopped, World};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use ws2cgi::limits::UNCOUNTED_MEMORY;

thread_local! {
    /// Where and why this thread panicked.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Of what `--memory` does not count, the few connections of a plan take no more: most of it is for
/// the tables of thousands.
const UNCOUNTED: usize = UNCOUNTED_MEMORY / 8;

/// What came of a run.
pub struct Outcome {
    /// None: all was as it must be.
    pub wrong: Option<String>,
    pub trace: Vec<String>,
    pub seen: Seen,
    pub turns: u64,
    /// Bytes that the daemon held at most, and may hold.
    pub memory: (usize, usize),
}

/// Panics are told by [`Outcome`], not on stderr.
pub fn keep_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()));
    }));
}

/// Runs a plan.
pub fn run(plan: &Plan, trace: bool) -> Outcome {
    let world = Rc::new(RefCell::new(World::new(plan, trace)));
    let level = if trace { "debug" } else { "warn" };
    let env = vec![("RUST_LOG".into(), level.into())];
    let sim = Sim::new(world.clone());
    let arguments = arguments(&plan.settings);
    heap::begin();
    let turn = Turn::daemon();
    let result = catch_unwind(AssertUnwindSafe(|| ws2cgi::run(sim, arguments, env)));
    drop(turn);
    Sim::log_no_more();
    let mut world = world.borrow_mut();
    match result {
        Ok(code) => {
            if world.model.wrong.is_none() {
                if let Err(why) = check::at_exit(&mut world, code) {
                    world.model.fail(why);
                }
            }
        }
        Err(payload) if payload.is::<Stopped>() => {}
        Err(_) => {
            let why = PANIC.with(|panic| panic.borrow_mut().take());
            let why = why.unwrap_or_default().replace('\n', " ");
            world.model.fail(format!("panic: {why}"));
        }
    }
    let slow = world.config.slow_timeout.as_micros() as u64;
    let longest = world.writers.iter().map(|w| w.longest_wait).max();
    let times = longest.unwrap_or(0).checked_div(slow).unwrap_or(0);
    if times > 0 {
        world
            .seen
            .add(format!("a writer waits {} slow-timeouts", times.min(9)), 1);
    }
    let bound = world.config.memory + UNCOUNTED;
    if heap::peak() > bound {
        let peak = heap::peak();
        world
            .model
            .fail(format!("it holds {peak} bytes, {bound} are its bound"));
    }
    let totals = &world.model.totals;
    let (opens, messages, closes) = (totals.opens, totals.messages, totals.closes);
    let (accepted, frames) = (totals.accepted, totals.frames);
    let mut seen = Vec::new();
    for (what, count) in [
        ("events: open", opens),
        ("events: message", messages),
        ("events: close", closes),
        ("accepted", accepted),
        ("messages to browsers", frames),
        ("messages in streams", totals.events),
        ("messages in answers to polls", totals.polled),
        ("signs of life in streams", totals.comments),
        ("messages by ws2cgi1", totals.marked),
        ("gaps told", totals.gaps),
        ("resumed by a mark", totals.resumes),
    ] {
        seen.push((what.to_owned(), count));
    }
    seen.extend(
        totals
            .answers
            .iter()
            .map(|(what, count)| (what.clone(), *count)),
    );
    for (what, count) in seen {
        world.seen.add(what, count);
    }
    Outcome {
        wrong: world.model.wrong.take(),
        trace: core::mem::take(&mut world.os.trace.lines),
        seen: core::mem::take(&mut world.seen),
        turns: world.model.turn,
        memory: (heap::peak(), bound),
    }
}
