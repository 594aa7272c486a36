//! Who comes as a browser, and what it does.

use super::{Drawing, Focus, JOINERS};
use crate::plan::{Browse, Browser, Come};
use crate::plan::{head, post, since, via, way, wrong};

/// How those come who have no WebSocket.
const VIAS: [u32; 8] = [
    via::EVENTS,
    via::EVENTS,
    via::ACCEPT,
    via::POLLS,
    via::POLLS,
    via::BATCHES,
    via::OLD,
    via::POSTS,
];

impl Drawing<'_, '_> {
    fn which_act(&mut self) -> u32 {
        self.choices.below(self.acts)
    }

    pub fn browser(&mut self) -> Browser {
        let c = &mut *self.choices;
        let way = match c.below(8) {
            5 => way::HANDOFF_UNIX,
            6 => way::HANDOFF_PIPES,
            3 | 4 => way::LISTEN_TCP,
            7 => way::LISTEN_UNIX,
            _ => way::HANDOFF_TCP,
        };
        let come = Come::Browser {
            way,
            route: match c.percent(6) {
                true => c.range(2, 6),
                false => c.below(2),
            },
            at: c.size(1500),
            room: match self.focus {
                Focus::Queues => c.one_of(&[0, 2000, 300, 300, 20]),
                _ => c.one_of(&[0, 0, 5000, 300, 20]),
            },
            latency: c.one_of(&[0, 50, 1000, 30000]),
            piece: if c.percent(15) { c.range(1, 9) } else { 0 },
            gap: c.one_of(&[1, 100, 20000]),
            eager: u32::from(c.percent(25)),
            deaf: u32::from(c.percent(10)),
            rude: u32::from(c.percent(10)),
            head: match c.percent(6) {
                true => c.below(head::KINDS),
                false => 0,
            },
            offer: c.below(2),
            linger: u32::from(c.percent(10)),
            // Most open programs accept, and join.
            open: match c.below(10) {
                0..=2 => 0,
                3..=4 => c.below(self.acts) + 1,
                _ => self.acts + c.below(JOINERS) + 1,
            },
            close: match c.percent(50) {
                true => c.below(self.acts) + 1,
                false => 0,
            },
            via: match c.percent(self.others) {
                true => c.one_of(&VIAS),
                false if c.percent(self.marked) => via::MARKED,
                false => via::WEBSOCKET,
            },
            named: c.below(2),
            since: match c.percent(5) {
                true => c.below(since::KINDS),
                false => since::NOTHING,
            },
        };
        let Come::Browser { via, .. } = come;
        let mut steps = Vec::new();
        for _ in 0..self.choices.range(0, 9) {
            let step = match via {
                via::WEBSOCKET => self.browse(),
                via::MARKED if self.choices.percent(10) => Browse::Again {
                    since: self.choices.below(since::KINDS),
                },
                via::MARKED => self.browse(),
                _ if self.choices.percent(40) => self.page_step(),
                _ => self.browse(),
            };
            steps.push(step);
        }
        match self.choices.below(4) {
            0 => {}
            1 if self.vanishing => {
                let step = match self.choices.below(3) {
                    0 => Browse::Vanish {},
                    1 => Browse::Reset {},
                    _ => Browse::HalfClose {},
                };
                steps.push(step);
            }
            _ => {
                let code = self.choices.one_of(&[0, 1000, 1001, 4000]);
                let reason = self.choices.size(123) * u32::from(code > 0);
                steps.push(Browse::Close { code, reason });
                // A race with what comes behind it.
                if self.choices.percent(20) {
                    let step = self.browse();
                    steps.push(step);
                }
            }
        }
        Browser { come, steps }
    }

    fn browse(&mut self) -> Browse {
        let rare = self.choices.below(8);
        match self.focus {
            Focus::Queues if rare == 1 => {
                return Browse::Stall {
                    ms: self.choices.one_of(&[0, 500, 3000, 12000]),
                };
            }
            // Begun, and not finished for a while.
            Focus::Memory if rare <= 2 => {
                return Browse::Fragments {
                    size: self.in_size(),
                    pieces: self.choices.range(1, 4),
                    ping: self.choices.below(2),
                    act: self.which_act(),
                };
            }
            _ => {}
        }
        match self.choices.below(20) {
            0..=5 => Browse::Text {
                size: self.in_size(),
                act: self.which_act(),
            },
            6..=8 => Browse::Binary {
                size: self.in_size(),
                act: self.which_act(),
            },
            9 => Browse::Fragments {
                size: self.in_size(),
                pieces: self.choices.range(2, 5),
                ping: self.choices.below(2),
                act: self.which_act(),
            },
            10 => Browse::Ping {
                size: self.choices.one_of(&[0, 4, 125]),
            },
            11 => Browse::Pong {
                size: self.choices.one_of(&[0, 4, 125]),
            },
            12..=14 => Browse::Await {
                count: self.choices.range(1, 6),
                ms: self.choices.one_of(&[10, 1000, 8000]),
            },
            15 if self.stalls => Browse::Stall {
                ms: self.choices.one_of(&[0, 100, 3000, 12000]),
            },
            16 if self.wrong => Browse::Wrong {
                kind: self.choices.below(wrong::KINDS),
            },
            _ => Browse::Wait {
                ms: self.choices.one_of(&[0, 1, 50, 1000, 4000]),
            },
        }
    }

    /// What only pages without a WebSocket do.
    fn page_step(&mut self) -> Browse {
        match self.choices.below(12) {
            0..=6 => Browse::Post {
                size: self.in_size(),
                act: self.which_act(),
                binary: self.choices.below(2),
                to: match self.choices.below(8) {
                    0 => post::WRONG_KEY,
                    1 => post::GONE,
                    2 | 3 => post::ALONE,
                    _ => post::OWN,
                },
                fault: match self.choices.percent(30) {
                    true => self.choices.below(post::FAULTS),
                    false => post::WHOLE,
                },
                number: self.choices.one_of(&[0, 0, 1, 1, 2]),
            },
            7 => Browse::Again {
                since: self.choices.below(since::KINDS),
            },
            8 => Browse::Twice {},
            9 => Browse::Patience {
                secs: self.choices.below(4),
            },
            10 if self.vanishing => match self.choices.below(2) {
                0 => Browse::Vanish {},
                _ => Browse::Reset {},
            },
            _ => Browse::Await {
                count: self.choices.range(1, 6),
                ms: self.choices.one_of(&[10, 1000, 8000]),
            },
        }
    }
}
