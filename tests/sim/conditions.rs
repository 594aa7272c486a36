//! The conditions of a plan: the daemon's options, and which faults the operating system has.

use crate::draw::Focus;
use crate::plan::{Fault, Plan, Setting};
use crate::rng::Choices;

/// The daemon's options.
pub fn settings(c: &mut Choices, focus: Focus, plan: &mut Plan) {
    let set = &mut plan.settings;
    if c.percent(80) {
        let most = if focus == Focus::Programs { 2 } else { 4 };
        set.push(Setting::Jobs {
            n: c.range(1, most),
        });
    }
    if c.percent(40) {
        set.push(Setting::Connections { n: c.range(1, 6) });
    }
    if c.percent(70) {
        let bytes = c.one_of(&[64, 125, 600, 2000, 5000, 20000]);
        set.push(Setting::Message { bytes });
    }
    if c.percent(70) {
        let bytes = c.one_of(&[64, 200, 3000, 9000, 20000]);
        set.push(Setting::Reply { bytes });
    }
    if c.percent(60) || matches!(focus, Focus::Queues | Focus::Memory) {
        let bytes = c.one_of(&[1, 100, 400, 2000, 10000]);
        set.push(Setting::Queue { bytes });
    }
    if c.percent(25) || focus == Focus::Memory {
        let more = match focus {
            Focus::Memory => c.one_of(&[0, 0, 0, 500, 7000, 14000, 30000]),
            _ => c.size(60000),
        };
        set.push(Setting::Memory { more });
    }
    let secs = c.range(1, 10);
    set.push(Setting::EventTimeout { secs });
    set.push(Setting::SlowTimeout {
        secs: c.below(secs),
    });
    set.push(Setting::Ping {
        secs: c.one_of(&[0, 0, 1, 3, 25]),
    });
    if c.percent(60) {
        let bytes = c.one_of(&[300, 1000, 5000, 60000, 60000]);
        set.push(Setting::History { bytes });
    }
    if c.percent(70) {
        let secs = c.one_of(&[1, 2, 4, 8]);
        set.push(Setting::PollWait { secs });
    }
    if c.percent(15) {
        let ms = c.one_of(&[1, 40, 1000]);
        set.push(Setting::Delay { ms });
    }
    if c.percent(30) {
        set.push(Setting::CloseOnError {});
    }
    if c.percent(20) {
        set.push(Setting::StatusEvery {
            secs: c.range(1, 5),
        });
    }
    if c.percent(30) {
        set.push(Setting::Descriptors { more: c.size(60) });
    }
}

/// What goes wrong.
pub fn faults(c: &mut Choices, plan: &mut Plan) {
    if !c.percent(75) {
        return;
    }
    type Kind = (fn(u32) -> Fault, u32);
    let kinds: [Kind; 15] = [
        (|rate| Fault::ShortRead { rate }, 500),
        (|rate| Fault::ShortWrite { rate }, 500),
        (|rate| Fault::Spurious { rate }, 100),
        (|rate| Fault::NoBuffers { rate }, 60),
        (|rate| Fault::Reset { rate }, 10),
        (|rate| Fault::NoDescriptors { rate }, 20),
        (|rate| Fault::LostDescriptors { rate }, 100),
        (|rate| Fault::NoClone { rate }, 200),
        (|rate| Fault::Aborted { rate }, 200),
        (|rate| Fault::EmptyTurn { rate }, 50),
        (|rate| Fault::Jump { rate }, 10),
        (|rate| Fault::Slow { rate }, 50),
        (|rate| Fault::DiskFull { rate }, 300),
        (|rate| Fault::BadDisk { rate }, 300),
        (|rate| Fault::SmallPipe { rate }, 1000),
    ];
    for (kind, most) in kinds {
        if c.percent(30) {
            let rate = 1 + c.size(most - 1);
            plan.faults.push(kind(rate));
        }
    }
}
