//! What a reader does: it listens, sends by the way that it has, is cut off and comes again.

use crate::door::Door;
use crate::ear::{Ear, Way};
use crate::load::Actor;
use crate::reader::Reader;
use crate::rooms::{self, NAMES};
use crate::visit::message;
use tungstenite::Message;

/// A reader comes, stays for a while and goes when the next one has come.
pub fn read<'a>(actor: &mut Actor<'a>) {
    let Some(mut reader) = actor.reader.take() else {
        actor.reader = Some(actor.step(|actor| come(actor)));
        return;
    };
    (0..4 + actor.dice.below(12)).for_each(|_| act(actor, &mut reader));
    actor.step(|actor| {
        actor.reader = Some(come(actor));
        leave(actor, reader);
    });
}

/// The last one of all goes.
pub fn last(actor: &mut Actor) {
    if let Some(reader) = actor.reader.take() {
        leave(actor, reader);
    }
}

fn come<'a>(actor: &mut Actor<'a>) -> Reader<'a> {
    actor.doing = "connections accepted";
    let way = actor
        .dice
        .pick(&[Way::Events, Way::Poll, Way::Batch, Way::Marked]);
    let door = door(actor, way);
    let count = 1 + actor.dice.below(2);
    let mut rooms: Vec<_> = (0..count).map(|_| actor.dice.below(NAMES.len())).collect();
    rooms.dedup();
    Reader::come(actor.load, door, way, &rooms)
}

/// One that leads that way.
fn door<'a>(actor: &mut Actor<'a>, way: Way) -> &'a Door {
    let place = actor.load.place;
    let mut doors = place.doors();
    if way != Way::Marked {
        doors.extend(place.pipes());
    }
    actor.dice.pick(&doors)
}

// ---- What one does there

fn act<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    let what = actor
        .dice
        .weighed::<for<'b> fn(&mut Actor<'b>, &mut Reader<'b>)>(&[
            (6, listen),
            (4, say),
            (2, tell),
            (1, be_told),
            (1, fail),
            (1, post_alone),
            (1, doze),
            (3, be_cut),
        ]);
    what(actor, reader);
    // Whatever else it does, a page that polls has a poll that waits. It begins anew where the
    // machine was too slow for that.
    actor.doing = "cuts";
    match &mut reader.ear {
        Ear::Polls(polls) if polls.late() => actor.now(|actor| {
            cut(actor, reader);
            reader.come_again(reader.door);
        }),
        Ear::Polls(polls) => actor.now(|_| polls.ask(reader.door)),
        _ => {}
    }
}

fn listen<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "lines to rooms";
    actor.step(|_| reader.catch_up());
}

/// Reads nothing for a while.
fn doze<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    if let Ear::Polls(_) = &reader.ear {
        return;
    }
    let beats = 2 + actor.dice.below(6);
    (0..beats).for_each(|_| actor.step(|_| ()));
}

fn parts(message: &Message) -> (&'static str, &[u8]) {
    match message {
        Message::Text(text) => ("text/plain", text.as_bytes()),
        Message::Binary(bytes) => ("application/octet-stream", bytes),
        _ => unreachable!("data only"),
    }
}

/// Sends a script; its program's reply, and the status if it went by POST.
fn run(reader: &mut Reader, script: &Message) -> (u16, Option<Vec<u8>>) {
    reader.sent += 1;
    let (kind, bytes) = parts(script);
    match reader.ear.query() {
        Some(query) => {
            let url = format!("/act?{query}&n={}", reader.sent);
            let (answer, body) = reader.door.post(&url, kind, bytes);
            (answer.status, Some(body))
        }
        None => {
            if let Ear::Marked(marked) = &mut reader.ear {
                match script {
                    Message::Text(text) => marked.ws.send(text),
                    script => marked.ws.send_binary(parts(script).1),
                }
            }
            (200, None)
        }
    }
}

/// Whoever speaks `ws2cgi1` is told which of its messages are done.
fn done(reader: &mut Reader) {
    while matches!(&reader.ear, Ear::Marked(marked) if marked.done < reader.sent) {
        let heard = reader.hear();
        assert!(heard.is_none(), "{heard:?}, not ok");
    }
}

/// What it sends comes back, and once.
fn say<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "replies to readers";
    let script = message(actor, "echo;exit 0;");
    let again = actor.dice.below(4) == 0;
    actor.step(|actor| {
        match run(reader, &script) {
            (status, Some(body)) => {
                let text = String::from_utf8_lossy(&body);
                assert_eq!(status, 200, "{text:.200}");
                assert!(body == parts(&script).1, "{} bytes", body.len());
            }
            (_, None) => {
                let heard = reader.message();
                assert!(heard == script, "{heard:.200?}");
                done(reader);
            }
        }
        actor.load.tally.came("replies to readers");
        if again && reader.ear.query().is_some() {
            // A browser may repeat what it has sent.
            reader.sent -= 1;
            assert_eq!(run(reader, &script).0, 409);
            actor.load.tally.came("POSTs known again");
        }
    });
}

/// Tells its rooms something.
fn tell<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "lines to rooms";
    let room = reader.lines.rooms()[0];
    let way = actor.dice.pick(&[rooms::Way::Box, rooms::Way::Reply]);
    let width = 1 + actor.dice.below(1000);
    actor.step(|actor| {
        let mut turn = actor.load.rooms[room].turn();
        let number = turn.number;
        let script = turn.script(actor.load, NAMES[room], way, width);
        let (status, body) = run(reader, &Message::text(script));
        if body.is_some() {
            assert_eq!(status, 204, "{body:?}");
        }
        reader.hears_line(room, number);
        done(reader);
        turn.sent(actor.load);
    });
}

/// Somebody tells it alone something.
fn be_told<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "messages to one reader";
    // The poll of a connection that broke may take a message along, until the daemon hears of it;
    // what is meant for one browser has no mark, by which it would come again.
    if matches!(&reader.ear, Ear::Polls(polls) if polls.broken) {
        return;
    }
    let Some(id) = reader.ear.id().map(str::to_owned) else {
        return;
    };
    let text = format!("for you: {}", actor.dice.below(1 << 30));
    actor.step(|actor| {
        actor.load.place.line(&format!("text {id} {text}"));
        assert_eq!(reader.message(), Message::text(text));
        actor.load.tally.came("messages to one reader");
    });
}

/// Its program fails, and nothing else does.
fn fail<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "message events failed";
    let script = actor.dice.pick(&["exit 3", "signal 9", "out no header"]);
    actor.step(|actor| {
        let (status, body) = run(reader, &Message::text(script));
        actor.load.tally.came("message events failed");
        if body.is_some() {
            assert_eq!(status, 502);
        }
        done(reader);
    });
}

/// Posts an event that is no connection's.
fn post_alone<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "POSTs alone";
    let script = message(actor, "echo;exit 0;");
    actor.step(|actor| {
        let (kind, bytes) = parts(&script);
        let (answer, body) = reader.door.post("/act", kind, bytes);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(body == bytes, "{} bytes", body.len());
        actor.load.tally.came("POSTs alone");
    });
}

/// Its connection breaks. It comes again: at once, later, or when the history has passed it.
fn be_cut<'a>(actor: &mut Actor<'a>, reader: &mut Reader<'a>) {
    actor.doing = "cuts";
    let late = actor.dice.below(12) == 0;
    let beats = if late { 60 } else { actor.dice.below(4) };
    let (stays, goodbye) = (actor.dice.below(3) > 0, actor.dice.below(2) == 0);
    actor.step(|actor| cut(actor, reader));
    for _ in 0..beats {
        actor.step(|_| ());
        if late && reader.late() {
            break;
        }
    }
    let door = door(actor, reader.way);
    actor.step(|_| match &mut reader.ear {
        // The page is the same one.
        Ear::Polls(_) if stays && !late => {}
        Ear::Polls(polls) => {
            if goodbye && !late {
                polls.close(reader.door);
            }
            reader.come_again(door);
        }
        _ => reader.come_again(door),
    });
}

fn cut(actor: &mut Actor, reader: &mut Reader) {
    // Where the daemon would see it a minute later only, it closes.
    if !reader.door.sees && matches!(reader.ear, Ear::Events(..)) {
        be_closed(actor, reader);
    }
    let unheard = |ear: &Ear| matches!(ear, Ear::Polls(polls) if !polls.heard_all());
    while unheard(&reader.ear) {
        let heard = reader.hear();
        assert!(heard.is_none(), "{heard:?}, not a line");
    }
    match &mut reader.ear {
        Ear::Polls(polls) => polls.lose(),
        ear => ear.cut(),
    }
}

// ---- How one goes

fn be_closed(actor: &mut Actor, reader: &mut Reader) {
    run(reader, &Message::text("head WS-Close: 4001 enough"));
    assert_eq!(reader.closed(), 4001);
    actor.load.tally.came("closes");
}

/// All that it should hear has come, and it goes.
fn leave(actor: &mut Actor, mut reader: Reader) {
    actor.doing = "lines to rooms";
    reader.catch_up();
    actor.doing = "closes";
    match (actor.dice.below(3), &mut reader.ear) {
        (0, Ear::Polls(polls)) => {
            polls.close(reader.door);
            actor.load.tally.came("closes");
        }
        (0, Ear::Marked(marked)) => {
            assert_eq!(marked.ws.close(1000, "bye"), 1000);
            actor.load.tally.came("closes");
        }
        (1, _) => be_closed(actor, &mut reader),
        _ => cut(actor, &mut reader),
    }
}
