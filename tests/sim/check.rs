//! What must hold when everyone has gone, and when the daemon has.

use crate::child::Life;
use crate::lines::RUN;
use crate::model::{Counted, Life as Connected};
use crate::os::{MS, SECOND};
use crate::sys::open_descriptors;
use crate::world::World;
use serde_json::Value;

fn status(world: &World) -> Option<Value> {
    let text = world.os.files.read_all(&format!("{RUN}/status.json"))?;
    serde_json::from_slice(text).ok()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// All numbers of an object, deep down.
fn sum(value: &Value) -> u64 {
    match value {
        Value::Object(fields) => fields.values().map(sum).sum(),
        other => number(other),
    }
}

/// What a line named is gone, whatever it was.
fn spool(world: &World) -> Result<(), String> {
    let left = world.os.files.list(&format!("{RUN}/spool"));
    let fetched = &world.model.fetched;
    match left.iter().find(|name| fetched.contains(name)) {
        // It stays where it could not even be opened.
        Some(name) if !world.model.rules.bad_disk => Err(format!(
            "the spool file {name} is still there, and its line is carried out"
        )),
        _ => Ok(()),
    }
}

/// Everyone has left: nothing is held for anyone.
pub fn at_rest(world: &mut World) -> Result<(), String> {
    let status = status(world).ok_or("at rest SIGUSR1 wrote no status.json")?;
    let used = number(&status["memory"]["used"]);
    let set_aside = world.config.bounds().set_aside as u64;
    if used != set_aside {
        let more = used as i64 - set_aside as i64;
        return Err(format!("at rest {more} bytes of memory are still charged"));
    }
    if status["connections"]
        .as_array()
        .is_none_or(|list| !list.is_empty())
    {
        return Err("at rest it still has connections".to_owned());
    }
    if number(&status["jobs"]) > 0 {
        return Err("at rest it still has jobs".to_owned());
    }
    let (least, most) = match world.model.numbers() {
        true => world.model.numbered_in_all(),
        false => (0, 0),
    };
    let numbered = number(&status["history"]["next"]) - 1;
    if numbered < least || numbered > most {
        return Err(format!(
            "at rest {numbered} messages have had numbers, not {least} to {most}"
        ));
    }
    outbox(world, &status, true)?;
    descriptors(world)?;
    spool(world)
}

/// No program runs, nobody is there or on the way in: what is open was open at its start.
fn descriptors(world: &World) -> Result<(), String> {
    let (open, held) = (open_descriptors(&world.os), world.held.unwrap_or_default());
    if open == held {
        return Ok(());
    }
    let numbers = 0..world.os.descriptors.len();
    let numbers = numbers.filter(|number| world.os.descriptors[*number].is_some());
    let names: Vec<_> = numbers.map(|number| world.fd_name(number)).collect();
    Err(format!(
        "at rest {open} descriptors are open, and {held} were at its start: {}",
        names.join(", ")
    ))
}

/// Each line is counted once, for what it is, and so is what nobody was there for. `whole`: all
/// that was read of the outbox is carried out.
fn outbox(world: &World, status: &Value, whole: bool) -> Result<(), String> {
    let lines = number(&status["outbox"]["lines"]);
    let bad = number(&status["outbox"]["bad"]);
    let nobody = number(&status["messages"]["nobody"]);
    let (least, most) = world.model.counted(whole);
    let all = |counted: &Counted| counted.lines + counted.bad + counted.either;
    let for_nobody = world.model.for_nobody();
    for (what, counted, (least, most)) in [
        ("lines", lines, (least.lines, most.lines + most.either)),
        ("bad lines", bad, (least.bad, most.bad + most.either)),
        (
            "lines and bad lines",
            lines + bad,
            (all(&least), all(&most)),
        ),
        ("messages and commands for nobody", nobody, for_nobody),
    ] {
        if counted < least || counted > most {
            return Err(format!(
                "status.json counts {counted} {what}, not {least} to {most}"
            ));
        }
    }
    Ok(())
}

/// The daemon has returned, and all of it is dropped.
pub fn at_exit(world: &mut World, result: u8) -> Result<(), String> {
    if result != 0 {
        return Err(format!("it ends with exit code {result}"));
    }
    // The last turn ends without a wait.
    world.model.take_frames();
    if let Some(why) = world.model.wrong.take() {
        return Err(why);
    }
    let Some(stopped) = world.model.stopping else {
        return Err("it ends, and nobody told it to".to_owned());
    };
    let took = world.os.now - stopped;
    let out_of_time = took + 100 * MS >= 10 * SECOND;
    let open = open_descriptors(&world.os);
    if open > 0 {
        return Err(format!("{open} descriptors are open at the end"));
    }
    let left = world.processes.values().filter(|p| p.life != Life::Reaped);
    let left: Vec<_> = left.map(|p| p.pid).collect();
    if !left.is_empty() && !out_of_time {
        return Err(format!("children {left:?} are not reaped"));
    }
    world.seen.add("shutdowns out of time", out_of_time.into());
    spool(world)?;
    counters(world, out_of_time)
}

fn counters(world: &mut World, out_of_time: bool) -> Result<(), String> {
    let rates = &world.os.faults.rates;
    let disk = !world.os.faults.off && (rates.disk_full > 0 || rates.no_descriptors > 0);
    let Some(status) = status(world).filter(|_| !disk) else {
        return match disk {
            true => Ok(()),
            false => Err("it leaves no status.json".to_owned()),
        };
    };
    let bound = number(&status["memory"]["bound"]);
    let used = number(&status["memory"]["used"]);
    if used > bound {
        return Err(format!("{used} bytes of memory are used, --memory {bound}"));
    }
    let totals = &world.model.totals;
    let expect = |what: &str, counted: u64, seen: u64| match counted == seen {
        true => Ok(()),
        false => Err(format!(
            "status.json counts {counted} {what}, and {seen} were seen"
        )),
    };
    for (cause, count) in status["refusals"].as_object().into_iter().flatten() {
        world.seen.add(format!("refused: {cause}"), number(count));
    }
    for name in ["queued", "dropped", "discarded", "nobody"] {
        world.seen.add(
            format!("messages {name}"),
            number(&status["messages"][name]),
        );
    }
    let closes_not_run = number(&status["closes_not_run"]);
    world.seen.add("close events not run", closes_not_run);
    let accepted = number(&status["accepted"]);
    let queued = number(&status["messages"]["queued"]);
    let dropped = number(&status["messages"]["dropped"]);
    // Where a slow one is closed at once, what finds it full is counted too.
    let at_once = world.config.slow_timeout.is_zero();
    let accounted = totals.frames + dropped;
    if queued > accounted || (queued != accounted && !at_once) {
        return Err(format!(
            "{queued} messages queued, {} written and {dropped} dropped",
            totals.frames
        ));
    }
    // What has been begun is over in any case, if only because the time is.
    for (kind, begun) in [("open", totals.opens), ("message", totals.messages)] {
        let over = sum(&status["events"][kind]);
        if over < begun {
            return Err(format!("{begun} {kind} events begun, and {over} counted"));
        }
    }
    // A shutdown out of time leaves lines behind that wait for a reader.
    outbox(world, &status, !out_of_time)?;
    // Of those that shutdown leaves behind nothing more is known.
    if !out_of_time {
        expect("accepted connections", accepted, totals.accepted)?;
        expect("open events", sum(&status["events"]["open"]), totals.opens)?;
        expect(
            "message events",
            sum(&status["events"]["message"]),
            totals.messages,
        )?;
        expect(
            "close events",
            sum(&status["events"]["close"]),
            totals.closes,
        )?;
        expect("closes by code", sum(&status["closes"]), totals.closes)?;
        expect("close events not run", closes_not_run, 0)?;
        if accepted != totals.closes {
            let closes = totals.closes;
            return Err(format!(
                "{accepted} connections accepted, {closes} close events"
            ));
        }
        for (i, connection) in world.model.connections.iter().enumerate() {
            if !matches!(
                connection.life,
                Connected::New | Connected::Refused | Connected::Over
            ) {
                return Err(format!("browser {i} is {:?} at the end", connection.life));
            }
        }
        let discarded = number(&status["messages"]["discarded"]);
        if totals.unrun_unknown == 0 {
            let (least, most) = world.model.unrun(&world.browsers);
            expect(
                "messages discarded",
                discarded,
                discarded.clamp(least, most),
            )?;
        }
    }
    Ok(())
}
