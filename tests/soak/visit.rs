//! One visit: somebody comes, stays for some messages, and goes in one of many ways.

use crate::guest::Guest;
use crate::harness::{masked, read_answer};
use crate::load::Actor;
use crate::rooms::{self, NAMES, Way};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::sync::LazyLock;
use tungstenite::Message;

/// Comes, and is let in or not.
pub fn visit(actor: &mut Actor) {
    actor.dice.weighed::<fn(&mut Actor)>(&[
        (50, stay),
        (20, echo_only),
        (8, |actor| {
            refused(actor, "/act?open=head%20Status:%20403", 403)
        }),
        (4, |actor| refused(actor, "/act?open=exit%203", 502)),
        (3, |actor| refused(actor, "/nothing", 404)),
    ])(actor);
}

/// A page of the other sort of answer.
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
fn message(actor: &mut Actor, begin: &str) -> Message {
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

/// A visitor of cgi-bin/echo.c.
fn echo_only(actor: &mut Actor) {
    actor.doing = "connections accepted";
    let door = actor.dice.pick(&actor.load.place.doors());
    let mut guest = actor.step(|actor| Guest::come(actor.load, door, "echo", &[]));
    for _ in 0..actor.dice.below(6) {
        // Not empty, and with no '#': that is how a line to a room begins.
        echo(actor, &mut guest, ".");
    }
    actor.doing = "closes";
    actor.step(|actor| {
        assert_eq!(guest.ws.close(1001, "going away"), 1001);
        actor.load.tally.came("closes");
    });
}

/// A visitor of the program that does what each message says.
fn stay(actor: &mut Actor) {
    actor.doing = "connections accepted";
    let door = actor.dice.pick(&actor.load.place.doors());
    let count = actor.dice.below(3);
    let mut rooms: Vec<_> = (0..count).map(|_| actor.dice.below(NAMES.len())).collect();
    rooms.dedup();
    let mut guest = actor.step(|actor| Guest::come(actor.load, door, "act", &rooms));
    for _ in 0..3 + actor.dice.below(12) {
        actor.dice.weighed::<fn(&mut Actor, &mut Guest)>(&[
            (10, |actor, guest| echo(actor, guest, "echo;exit 0;")),
            (2, ping),
            (2, fail),
            (1, state),
            (2, tell),
        ])(actor, &mut guest);
    }
    actor.doing = "lines to rooms";
    actor.step(|_| guest.catch_up());
    actor.dice.weighed::<fn(&mut Actor, Guest)>(&[
        (8, close),
        (2, closed_by_program),
        (2, closed_by_outbox),
        (2, vanish),
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

// ---- What one does there

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
    let Some(&room) = guest.rooms().first() else {
        return;
    };
    actor.doing = "lines to rooms";
    let way = actor.dice.pick(&[Way::Box, Way::Reply]);
    let width = 1 + actor.dice.below(1000);
    actor.step(|actor| {
        let turn = actor.load.rooms[room].turn();
        let (name, number) = (NAMES[room], turn.number);
        let body = rooms::body(name, number, way, width);
        guest.ws.send(&match way {
            Way::Box => format!("box text @{name} {body}"),
            _ => format!("head WS-To: @{name};out {body}"),
        });
        guest.hears_line(room, number);
        turn.sent();
        actor.load.tally.came("lines sent");
    });
}

// ---- How one goes

fn close(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    actor.step(|actor| {
        assert_eq!(guest.ws.close(1000, "bye"), 1000);
        actor.load.tally.came("closes");
    });
}

fn closed_by_program(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    actor.step(|actor| {
        guest.ws.send("head WS-Close: 4001 enough");
        assert_eq!(guest.ws.closed(), (4001, "enough".to_owned()));
        actor.load.tally.came("closes");
    });
}

fn closed_by_outbox(actor: &mut Actor, mut guest: Guest) {
    actor.doing = "closes";
    actor.step(|actor| {
        let id = guest.id();
        actor.load.place.line(&format!("close {id} 4002 out"));
        assert_eq!(guest.ws.closed(), (4002, "out".to_owned()));
        actor.load.tally.came("closes");
    });
}

/// Breaks the protocol.
fn err(actor: &mut Actor, mut guest: Guest, bytes: &[u8], code: u16) {
    actor.doing = "protocol errors answered";
    actor.step(|actor| {
        guest.ws.send_raw(bytes);
        assert_eq!(guest.ws.closed().0, code);
        actor.load.tally.came("protocol errors answered");
    });
}

/// The end of the connection, and no close before it.
fn vanish(actor: &mut Actor, guest: Guest) {
    actor.step(|_| drop(guest));
}

fn vanish_in_a_frame(actor: &mut Actor, mut guest: Guest) {
    actor.step(|_| {
        let frame = masked(0x81, &[b'x'; 100]);
        guest.ws.send_raw(&frame[..50]);
        drop(guest);
    });
}

fn reset(actor: &mut Actor, mut guest: Guest) {
    actor.step(|_| {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(guest.ws.stream(), Linger, &at_once).expect("SO_LINGER");
        drop(guest);
    });
}
