//! One visit: somebody comes, stays for some messages, and goes in one of many ways. Who comes
//! next comes first, so that there are always as many clients when it is measured.

use crate::guest::Guest;
use crate::harness::{masked, read_answer};
use crate::load::Actor;
use crate::rooms::{NAMES, Way};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::sync::LazyLock;
use tungstenite::Message;

/// Whoever is there does something, and in the end goes when the next one has come.
pub fn visit<'a>(actor: &mut Actor<'a>) {
    let Some(mut guest) = actor.guest.take() else {
        actor.guest = Some(actor.step(|actor| come(actor)));
        return;
    };
    match guest.program {
        // Not empty, and with no '#': that is how a line to a room begins.
        "echo" => (0..actor.dice.below(6)).for_each(|_| echo(actor, &mut guest, ".")),
        _ => (0..3 + actor.dice.below(12)).for_each(|_| act(actor, &mut guest)),
    }
    if actor.dice.below(4) == 0 {
        let (url, status) = actor.dice.weighed(&[
            (8, ("/act?open=head%20Status:%20403", 403)),
            (4, ("/act?open=exit%203", 502)),
            (3, ("/nothing", 404)),
        ]);
        refused(actor, url, status);
    }
    actor.step(|actor| {
        actor.guest = Some(come(actor));
        leave(actor, guest);
    });
}

/// The last one of all goes.
pub fn last(actor: &mut Actor) {
    if let Some(guest) = actor.guest.take() {
        leave(actor, guest);
    }
}

/// One more visitor, of cgi-bin/echo.c or of the program that does what each message says.
fn come<'a>(actor: &mut Actor<'a>) -> Guest<'a> {
    actor.doing = "connections accepted";
    let door = actor.dice.pick(&actor.load.place.doors());
    let program = actor.dice.pick(&["act", "act", "echo"]);
    let mut rooms = Vec::new();
    if program == "act" {
        let count = actor.dice.below(3);
        rooms.extend((0..count).map(|_| actor.dice.below(NAMES.len())));
        rooms.dedup();
    }
    Guest::come(actor.load, door, program, &rooms)
}

/// Somebody else asks, and is not let in.
fn refused(actor: &mut Actor, url: &str, status: u16) {
    actor.doing = "refusals";
    let door = actor.dice.pick(&actor.load.place.doors());
    actor.step(|actor| {
        let answer = read_answer(&mut door.knock(url));
        assert_eq!(answer.status, status, "{answer:?}");
        actor.load.tally.came("refusals");
        if status == 502 {
            actor.load.tally.came("open events failed");
        }
    });
}

/// Bytes that look like nothing else.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dice = crate::dice::Dice::new(7, 7);
    (0..1 << 17).map(|_| dice.below(256) as u8).collect()
});
static LETTERS: LazyLock<String> =
    LazyLock::new(|| NOISE.iter().map(|b| char::from(b'a' + b % 26)).collect());

/// A message that begins with this, of a size that is mostly small.
pub fn message(actor: &mut Actor, begin: &str) -> Message {
    let largest = actor.load.place.largest() - begin.len();
    let size = actor.dice.weighed(&[(6, 120), (3, 2000), (1, largest)]);
    let size = actor.dice.below(size.min(largest) + 1);
    let from = actor.dice.below(NOISE.len() - size);
    let range = from..from + size;
    match actor.dice.below(2) {
        0 => Message::text(format!("{begin}{}", &LETTERS[range])),
        _ => Message::binary([begin.as_bytes(), &NOISE[range]].concat()),
    }
}

fn echo(actor: &mut Actor, guest: &mut Guest, begin: &str) {
    let (kind, fragments) = match actor.dice.below(4) {
        0 => {
            let count = 1 + actor.dice.below(4);
            let sizes = (0..count).map(|_| actor.dice.below(300)).collect();
            ("echoes of fragments", sizes)
        }
        _ => ("echoes", Vec::new()),
    };
    actor.doing = kind;
    let message = message(actor, begin);
    actor.step(|_| guest.echoes(kind, &message, &fragments));
}

// ---- What one does there

fn act(actor: &mut Actor, guest: &mut Guest) {
    actor.dice.weighed::<fn(&mut Actor, &mut Guest)>(&[
        (10, |actor, guest| echo(actor, guest, "echo;exit 0;")),
        (2, ping),
        (2, fail),
        (1, state),
        (2, tell),
    ])(actor, guest);
}

fn ping(actor: &mut Actor, guest: &mut Guest) {
    actor.doing = "pongs";
    let payload = format!("{:0w$}", 7, w = actor.dice.below(126));
    actor.step(|_| guest.pings(&payload));
}

/// A program fails, and nothing else does.
fn fail(actor: &mut Actor, guest: &mut Guest) {
    let script = actor
        .dice
        .pick(&["exit 3", "signal 9", "out no header", "out x;signal 11"]);
    actor.doing = "message events failed";
    actor.step(|actor| {
        guest.ws.send(script);
        actor.load.tally.came("message events failed");
    });
    echo(actor, guest, "echo;exit 0;");
}

fn state(actor: &mut Actor, guest: &mut Guest) {
    actor.doing = "states";
    let state = format!("{}", actor.dice.below(1 << 30));
    actor.step(|actor| {
        let done = guest.asks(&format!("out WS-State: {state}\\n;out \\ndone"));
        assert_eq!(done, "done");
        assert_eq!(guest.variable("WS_STATE"), state);
        actor.load.tally.came("states");
    });
}

/// Tells a room something, where it is in one.
fn tell(actor: &mut Actor, guest: &mut Guest) {
    let Some(&room) = guest.lines.rooms().first() else {
        return;
    };
    actor.doing = "lines to rooms";
    let way = actor.dice.pick(&[Way::Box, Way::Reply]);
    let width = 1 + actor.dice.below(1000);
    actor.step(|actor| {
        let mut turn = actor.load.rooms[room].turn();
        let number = turn.number;
        guest
            .ws
            .send(&turn.script(actor.load, NAMES[room], way, width));
        guest.hears_line(room, number);
        turn.sent(actor.load);
    });
}

// ---- How one goes

/// All that it should hear has come, and it goes.
fn leave(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "lines to rooms";
    guest.catch_up();
    if guest.program == "echo" {
        return close(actor, guest);
    }
    actor.dice.weighed::<fn(&mut Actor, Guest)>(&[
        (8, close),
        (2, closed_by_program),
        (2, closed_by_outbox),
        (2, |_, guest| drop(guest)),
        (1, vanish_in_a_frame),
        (1, reset),
        (1, |actor, guest| err(actor, guest, &[0x81, 1, b'x'], 1002)),
        (1, |actor, guest| {
            err(actor, guest, &masked(0x81, b"\xff"), 1007)
        }),
        (1, |actor, guest| {
            let large = vec![b'x'; 2 * actor.load.place.largest()];
            err(actor, guest, &masked(0x82, &large), 1009);
        }),
    ])(actor, guest);
}

fn close(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    let code = actor.dice.pick(&[1000, 1001, 4000]);
    assert_eq!(guest.ws.close(code, "bye"), code);
    actor.load.tally.came("closes");
}

fn closed_by_program(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    guest.ws.send("head WS-Close: 4001 enough");
    assert_eq!(guest.ws.closed(), (4001, "enough".to_owned()));
    actor.load.tally.came("closes");
}

fn closed_by_outbox(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    let id = guest.id();
    actor.load.place.line(&format!("close {id} 4002 out"));
    assert_eq!(guest.ws.closed(), (4002, "out".to_owned()));
    actor.load.tally.came("closes");
}

/// Breaks the protocol.
fn err(actor: &mut Actor, mut guest: Guest, bytes: &[u8], code: u16) {
    actor.doing = "protocol errors answered";
    guest.ws.send_raw(bytes);
    assert_eq!(guest.ws.closed().0, code);
    actor.load.tally.came("protocol errors answered");
}

fn vanish_in_a_frame(_: &mut Actor, mut guest: Guest) {
    let frame = masked(0x81, &[b'x'; 100]);
    guest.ws.send_raw(&frame[..50]);
}

fn reset(_: &mut Actor, mut guest: Guest) {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(guest.ws.stream(), Linger, &at_once).expect("SO_LINGER");
}
