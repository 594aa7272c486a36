//! A plan from choices: a seed's, or a fuzzer's bytes. Each plan switches on a part of all that
//! can happen, so that no common trouble hides a rare one.

mod browsers;

use crate::conditions;
use crate::plan::{Act, Order, Plan, Setting, Write};
use crate::plan::{target, verb};
use crate::rng::{Choices, Rng};

/// The plan of a seed.
pub fn from_seed(seed: u64) -> Plan {
    let mut plan = draw(&mut Choices::Seed(Rng::new(seed)));
    plan.noise = seed;
    plan
}

/// The plan of any bytes: a fuzzer's way in.
pub fn from_bytes(bytes: &[u8]) -> Plan {
    let mut plan = draw(&mut Choices::Bytes(bytes));
    plan.noise = bytes.iter().fold(1, |hash, &b| {
        (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    plan
}

/// What a plan is mostly about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    Anything,
    /// Full queues: slow readers, small queues, much for everyone.
    Queues,
    /// `--memory` is short.
    Memory,
    /// Few job slots, programs that fail.
    Programs,
}

/// What a plan may hold.
struct Drawing<'a, 'b> {
    choices: &'a mut Choices<'b>,
    focus: Focus,
    browsers: u32,
    /// Bounds of the plan's settings.
    max_message: u32,
    max_reply: u32,
    acts: u32,
    /// Which kinds of trouble there are.
    verbs: Vec<u32>,
    targets: Vec<u32>,
    bad_programs: bool,
    outbox_programs: bool,
    stalls: bool,
    vanishing: bool,
    wrong: bool,
    large: bool,
    /// Of 100 browsers so many have no WebSocket, or more than that.
    others: u32,
    /// And so many of 100 WebSockets speak `ws2cgi1`.
    marked: u32,
}

fn draw(choices: &mut Choices) -> Plan {
    let mut plan = Plan::default();
    let focus = match choices.below(8) {
        1 | 2 => Focus::Queues,
        3 => Focus::Memory,
        4 => Focus::Programs,
        _ => Focus::Anything,
    };
    conditions::settings(choices, focus, &mut plan);
    conditions::faults(choices, &mut plan);
    let number = |plan: &Plan, of: fn(&Setting) -> Option<u32>, otherwise| {
        plan.settings.iter().find_map(of).unwrap_or(otherwise)
    };
    let max_message = number(
        &plan,
        |s| match s {
            Setting::Message { bytes } => Some(*bytes),
            _ => None,
        },
        65536,
    );
    let max_reply = number(
        &plan,
        |s| match s {
            Setting::Reply { bytes } => Some(*bytes),
            _ => None,
        },
        65536,
    );
    let browsers = match focus {
        Focus::Queues | Focus::Memory => choices.range(2, 8),
        _ => 1 + choices.size(7),
    };
    let acts = 1 + choices.below(6);
    let mut verbs = vec![verb::TEXT];
    for kind in 1..verb::KINDS {
        let large = focus == Focus::Memory && kind == verb::TEXT_FILE;
        if choices.percent(35) || large {
            verbs.push(kind);
        }
    }
    let mut targets = vec![target::SELF];
    for kind in [
        target::ALL,
        target::ROOM,
        target::ROOM,
        target::ROOM + 1,
        target::ROOM + 2,
        target::ROOM + 3,
        target::ROUTE,
        target::ROUTE + 1,
        target::GONE,
        target::ID,
        target::ID + 1,
    ] {
        if choices.percent(50) {
            targets.push(kind);
        }
    }
    let mut drawing = Drawing {
        focus,
        browsers,
        max_message,
        max_reply,
        acts,
        verbs,
        targets,
        bad_programs: choices.percent(40) || focus == Focus::Programs,
        outbox_programs: choices.percent(50) || focus == Focus::Memory,
        stalls: choices.percent(40) || focus == Focus::Queues,
        vanishing: choices.percent(50),
        wrong: choices.percent(25),
        large: choices.percent(40) || focus == Focus::Memory,
        others: match focus {
            // What a WebSocket sends takes the most.
            Focus::Memory => choices.one_of(&[0, 0, 0, 40]),
            _ => choices.one_of(&[0, 20, 30, 30, 40, 50, 60, 95]),
        },
        marked: choices.one_of(&[0, 10, 30, 60]),
        choices,
    };
    for _ in 0..acts {
        plan.acts.push(drawing.act());
    }
    for room in 0..JOINERS {
        plan.acts.push(vec![joiner(target::ROOM + room)]);
    }
    for _ in 0..browsers {
        plan.browsers.push(drawing.browser());
    }
    let writers = drawing.choices.below(4);
    for _ in 0..writers {
        plan.writers.push(drawing.writer());
    }
    plan.orders = drawing.orders();
    plan
}

/// Acts behind those drawn: an open program that joins its connection to a room.
const JOINERS: u32 = 2;

fn joiner(room: u32) -> Act {
    Act::Reply {
        to: 0,
        join: room,
        leave: 0,
        state: 0,
        close: 0,
        kind: 0,
        size: 0,
        status: 0,
        piece: 0,
        protocol: 0,
        fields: 0,
    }
}

impl Drawing<'_, '_> {
    fn target(&mut self) -> u32 {
        let mut to = self.targets[self.choices.below(self.targets.len() as u32) as usize];
        if to == target::ID + 1 {
            to = target::ID + self.choices.below(self.browsers);
        }
        if self.choices.percent(15) && to != target::SELF {
            to += target::NOT_SELF;
        }
        to
    }

    fn room(&mut self) -> u32 {
        target::ROOM + self.choices.below(target::ROOMS)
    }

    /// Of a message out.
    fn out_size(&mut self) -> u32 {
        let c = &mut *self.choices;
        match c.below(12) {
            0 => 0,
            1 => self.max_reply,
            6 | 7 if self.focus == Focus::Memory => self.max_reply,
            2 => self.max_reply + 1,
            3..=5 if self.large => c.below(self.max_reply + 1),
            _ => c.size(300),
        }
    }

    fn in_size(&mut self) -> u32 {
        let c = &mut *self.choices;
        match c.below(12) {
            0 => 0,
            1 => self.max_message,
            2 => self.max_message.min(c.range(510, 514)),
            3..=5 if self.large => c.below(self.max_message + 1),
            _ => c.size(300.min(self.max_message)),
        }
    }

    fn line(&mut self) -> (u32, u32, u32) {
        let verb = self.verbs[self.choices.below(self.verbs.len() as u32) as usize];
        let target = self.target();
        let size = match verb {
            verb::JOIN | verb::LEAVE => self.room(),
            verb::CLOSE => self.choices.one_of(&[0, 1000, 1001, 1011, 3000, 4999]),
            verb::BAD | verb::BAD_FILE => self.choices.below(8),
            verb::TEXT_FILE | verb::BINARY_FILE => self.out_size(),
            verb::TEXT64 | verb::BINARY => self.out_size().min(2900),
            _ => self.out_size().min(4000),
        };
        (verb, target, size)
    }

    fn reply(&mut self) -> Act {
        let size = self.out_size();
        let to = match self.choices.percent(60) {
            true => self.target(),
            false => 0,
        };
        let mut room = |rate| match self.choices.percent(rate) {
            true => target::ROOM + self.choices.below(target::ROOMS),
            false => 0,
        };
        let (join, mut leave) = (room(40), room(15));
        let own_room = (target::ROOM..target::ROUTE).contains(&to);
        if own_room && self.choices.percent(30) {
            // Those who leave a room still hear what they say there.
            leave = to;
        }
        let c = &mut *self.choices;
        Act::Reply {
            to,
            join,
            leave,
            state: if c.percent(20) { c.range(1, 300) } else { 0 },
            close: match c.percent(6) {
                true => c.one_of(&[1000, 1011, 3000, 4000]),
                false => 0,
            },
            kind: c.below(3),
            size,
            status: match c.percent(8) {
                true => c.one_of(&[200, 204, 302, 403, 405, 500]),
                false => 0,
            },
            piece: match c.percent(15) {
                true => c.range(1, 2000),
                false => 0,
            },
            protocol: match c.percent(5) {
                true => c.range(1, 2),
                false => 0,
            },
            fields: match c.percent(5) {
                true => c.one_of(&[1, 50, 100, 1200]),
                false => 0,
            },
        }
    }

    fn act(&mut self) -> Vec<Act> {
        let mut act = Vec::new();
        if self.choices.percent(10) && self.bad_programs {
            act.push(Act::IgnoreTerm {});
        }
        match self.choices.below(10) {
            0 => {}
            1 => {
                let size = self.choices.range(1, 100);
                act.push(Act::ReadSome { size });
            }
            2 => act.push(Act::CloseStdin {}),
            _ => act.push(Act::Read {}),
        }
        if self.choices.percent(30) {
            let ms = self.choices.one_of(&[1, 20, 300, 1500]);
            act.push(Act::Sleep { ms });
        }
        if self.choices.percent(10) {
            let size = self.choices.one_of(&[1, 100, 3000, 5000, 70000]);
            act.push(Act::Complain { size });
        }
        if self.outbox_programs && self.choices.percent(40) {
            for _ in 0..self.choices.range(1, 3) {
                let (verb, target, size) = self.line();
                act.push(Act::Line { verb, target, size });
            }
        }
        match self.choices.below(20) {
            0 | 1 => {}
            2 if self.bad_programs => {
                let kind = self.choices.below(4);
                act.push(Act::Malformed { kind });
            }
            3 if self.bad_programs => {
                let kilobytes = self.choices.one_of(&[1, 9, 80]);
                act.push(Act::Flood { kilobytes });
            }
            _ => {
                let reply = self.reply();
                act.push(reply);
            }
        }
        if self.choices.percent(10) {
            act.push(Act::CloseStdout {});
        }
        if self.choices.percent(10) {
            let ms = self.choices.one_of(&[10, 2000, 60000]);
            let away = self.choices.below(2);
            act.push(Act::Grandchild { ms, away });
        }
        if self.choices.percent(10) {
            let ms = self.choices.one_of(&[1, 100]);
            act.push(Act::Sleep { ms });
        }
        if self.bad_programs && self.choices.percent(25) {
            let hangs = self.choices.below(4) == 0;
            if hangs && self.choices.percent(50) {
                act.insert(0, Act::IgnoreTerm {});
            }
            act.push(match self.choices.below(3) {
                _ if hangs => Act::Hang {},
                0 => Act::Die { signal: 11 },
                _ => Act::Exit {
                    code: self.choices.range(1, 3),
                },
            });
        }
        act
    }

    fn writer(&mut self) -> Vec<Write> {
        let mut steps = Vec::new();
        for _ in 0..self.choices.range(0, 8) {
            let ms = self.choices.one_of(&[0, 1, 30, 500, 3000]);
            if self.choices.percent(50) {
                steps.push(Write::Wait { ms });
            }
            let (verb, target, size) = self.line();
            let burst = if self.focus == Focus::Queues { 3 } else { 0 };
            steps.push(match self.choices.below(8) {
                kind if kind != 1 && kind <= burst => Write::Burst {
                    count: self.choices.one_of(&[3, 20, 100]),
                    verb,
                    target,
                    size,
                },
                1 => Write::Split {
                    verb,
                    target,
                    size,
                    ms,
                },
                _ => Write::Line { verb, target, size },
            });
        }
        steps
    }

    fn orders(&mut self) -> Vec<Order> {
        let c = &mut *self.choices;
        let mut orders = vec![Order::Wait {
            ms: c.one_of(&[12000, 12000, 6000, 2000, 300]),
        }];
        if c.percent(15) {
            orders.insert(0, Order::Status {});
            orders.insert(0, Order::Wait { ms: c.below(3000) });
        }
        if c.percent(50) {
            orders.push(Order::Rest {});
        }
        orders.push(Order::Stop {});
        orders
    }
}
