//! What happens now and then: programs that hang until their deadline, and readers so slow that
//! they are closed with 1013. Each is accounted for, and costs nobody else anything but time.

use crate::guest::Guest;
use crate::harness::{PATIENCE, Ws, masked, read_answer};
use crate::load::Actor;
use std::io::Write;
use std::time::{Duration, Instant};

/// How many sorts there are.
pub const KINDS: usize = 5;

/// Steps between them, once each has been.
const PAUSE: usize = 10;

/// Lets all others be alone for a while.
pub fn wait(actor: &mut Actor) {
    if actor.round > KINDS {
        (0..PAUSE).for_each(|_| actor.step(|_| ()));
    }
}

/// Makes one sort of trouble after the other. They have a program of their own, so that they
/// never take all the job slots of the others.
pub fn make(actor: &mut Actor) {
    match actor.round % KINDS {
        0 => hung_message(actor, "hang"),
        1 => slow_reader(actor, flood),
        2 => hung_open(actor),
        3 => slow_reader(actor, write_lines),
        _ => hung_message(actor, "deaf;hang"),
    }
}

fn hung_message(actor: &mut Actor, script: &str) {
    actor.doing = "message events failed";
    let door = actor.dice.pick(&actor.load.place.doors());
    let mut guest = actor.step(|actor| Guest::come(actor.load, door, "act2", &[]));
    guest.ws.send(script);
    // Behind the deadline: not a step, nor an echo of those that are timed.
    assert_eq!(guest.asks("out \\nstill here"), "still here");
    actor.load.tally.came("message events failed");
    actor.step(|actor| {
        assert_eq!(guest.ws.close(1000, ""), 1000);
        actor.load.tally.came("closes");
    });
}

fn hung_open(actor: &mut Actor) {
    actor.doing = "open events failed";
    let door = actor.dice.pick(&actor.load.place.doors());
    let mut stream = actor.step(|_| door.knock("/act2?open=hang"));
    assert_eq!(read_answer(&mut stream).status, 504);
    actor.load.tally.came("open events failed");
    actor.load.tally.came("refusals");
}

/// Is sent more and more and does not read, until it is closed.
fn slow_reader(actor: &mut Actor, mut send: impl FnMut(&mut Actor, &mut Ws, &str)) {
    actor.doing = "slow readers closed";
    let place = actor.load.place;
    let closed = || place.status()["closes"]["1013"].as_u64().unwrap_or(0);
    let (before, start) = (closed(), Instant::now());
    let door = actor.dice.pick(&place.doors());
    let mut slow = actor.step(|actor| {
        let stream = door.knock_narrowly("/act2");
        Guest::accepted(actor.load, stream, "act2", &[])
    });
    let id = slow.id();
    while closed() == before {
        assert!(start.elapsed() < PATIENCE, "not closed: {}", place.status());
        send(actor, &mut slow.ws, &id);
    }
    actor.load.tally.came("slow readers closed");
}

/// A program's replies.
fn flood(_: &mut Actor, slow: &mut Ws, _: &str) {
    let script = masked(0x81, b"head Content-Type: a/b;flood 8000");
    let stream = slow.stream();
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    for _ in 0..10 {
        // The daemon does not read it either, once its queue is full; at last it is gone.
        if stream.write(&script).is_err() {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(200));
}

/// Lines to the outbox, from somebody else's program.
fn write_lines(actor: &mut Actor, _: &mut Ws, id: &str) {
    let door = actor.dice.pick(&actor.load.place.doors());
    let mut writer = Guest::come(actor.load, door, "act2", &[]);
    let script = format!("boxes 40 text {id} {:01500};out \\ndone", 0);
    assert_eq!(writer.asks(&script), "done");
    assert_eq!(writer.ws.close(1000, ""), 1000);
    actor.load.tally.came("closes");
}
