//! What a run comes to: a table of its thirds, the plot, and for each promise whether it held.

use crate::measure::Sample;
use crate::plot::{Panel, sparkline, svg};
use std::path::Path;

/// A promise, and what was seen of it.
pub struct Verdict {
    pub promise: String,
    pub seen: String,
    pub held: bool,
}

impl Verdict {
    /// That two numbers are the same.
    pub fn equal(promise: &str, seen: u64, expected: u64) -> Verdict {
        let held = seen == expected;
        let or_not = if held {
            String::new()
        } else {
            format!(", not {expected}")
        };
        Verdict {
            promise: promise.to_owned(),
            seen: format!("{seen}{or_not}"),
            held,
        }
    }
}

/// How the names of those begin that must not grow.
const MEMORY: &str = "memory: ";

/// One quantity of each sample, where it has one.
type Quantity = Box<dyn Fn(&Sample) -> Option<f64>>;

/// All that is shown.
fn quantities(samples: &[Sample]) -> Vec<(String, &'static str, Quantity)> {
    let names = samples.first().map(|s| &s.memory[..]).unwrap_or_default();
    let memory = names.iter().enumerate().map(|(n, (name, _))| {
        let value: Quantity = Box::new(move |s| Some(s.memory[n].1));
        (format!("{MEMORY}{name}"), "KB", value)
    });
    let others: [(&str, &'static str, Quantity); 8] = [
        (
            "open descriptors",
            "",
            Box::new(|s| Some(s.descriptors as f64)),
        ),
        ("clients", "", Box::new(|s| Some(s.clients as f64))),
        ("events", "1/s", Box::new(|s| Some(s.events))),
        ("echo, median", "ms", Box::new(|s| Some(s.latency?.0))),
        ("echo, 99 of 100", "ms", Box::new(|s| Some(s.latency?.1))),
        (
            "processor of the daemon",
            "%",
            Box::new(|s| Some(s.processor)),
        ),
        ("zombies", "", Box::new(|s| Some(s.zombies as f64))),
        ("losses", "", Box::new(|s| Some(s.losses as f64))),
    ];
    let others = others.map(|(name, unit, value)| (name.to_owned(), unit, value));
    memory.chain(others).collect()
}

/// The value that half of them do not exceed.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How many minutes an allocator takes until it has at hand what it ever needs: by then each sort
/// of trouble has come five times, at once with all else. Of a short run it is a sixth.
const SETTLING: f64 = 10.0;

/// The minute from which on the thirds are counted.
fn settled(samples: &[Sample], what: &str) -> f64 {
    let minutes = samples.last().map_or(0.0, |s| s.minutes);
    match what.starts_with(MEMORY) {
        true => SETTLING.min(minutes / 6.0),
        false => 0.0,
    }
}

/// What stands for each of the three thirds: of memory the mean of the calm looks once it has
/// settled, of all else the median.
fn thirds(samples: &[Sample], what: &str, value: &Quantity) -> [f64; 3] {
    let settled = settled(samples, what);
    let samples = &samples[samples.partition_point(|s| s.minutes < settled)..];
    let n = samples.len();
    [0, 1, 2].map(|third| {
        let third = &samples[n * third / 3..n * (third + 1) / 3];
        let calm = third.iter().filter(|s| s.calm).filter_map(value);
        match what.starts_with(MEMORY) {
            true => mean(&calm.collect::<Vec<_>>()),
            false => median(third.iter().filter_map(value).collect()),
        }
    })
}

/// From how many minutes on memory has to be flat, as what is compared are thirds.
const SETTLED: f64 = 30.0;

/// By how much each measure of memory is higher in the last third than in the first, but for the
/// daemon's own account, which is that of the clients that happen to be there. Like is compared
/// with like: the moments at which there are but visitors. A program that hangs on purpose takes
/// 2 % of a board, and is there in about half of all moments. The bound is one for all: 1 % of
/// the whole, which is the first measure; in a shorter run than [`SETTLED`] more, up to 10 %.
pub fn growth(samples: &[Sample]) -> Vec<Verdict> {
    let memory = quantities(samples).into_iter();
    let memory = memory.filter(|(name, ..)| name.starts_with(MEMORY));
    let memory = memory.filter(|(name, ..)| !name.ends_with("--memory"));
    let means = memory.map(|(name, _, value)| (thirds(samples, &name, &value), name));
    let means: Vec<_> = means.collect();
    let minutes = samples.last().map_or(0.0, |s| s.minutes);
    let percent = (SETTLED / minutes).clamp(1.0, 10.0);
    let bound = means
        .first()
        .map_or(0.0, |([first, ..], _)| first * percent / 100.0);
    let verdict = |([first, _, last], name): ([f64; 3], String)| Verdict {
        promise: format!(
            "{name}, last third at most {bound:.0} KB ({percent:.0} %) above the first"
        ),
        seen: format!("{:+.0} KB", last - first),
        held: last - first <= bound,
    };
    means.into_iter().map(verdict).collect()
}

/// The table of the thirds, with sparklines.
pub fn table(name: &str, samples: &[Sample]) {
    println!(
        "\n{name:<31}{:>10}{:>10}{:>10}  {} minutes",
        "1st third",
        "2nd",
        "3rd",
        samples.last().map_or(0.0, |s| s.minutes).round()
    );
    for (what, unit, value) in quantities(samples) {
        let [first, second, third] = thirds(samples, &what, &value);
        let all: Vec<_> = samples.iter().filter_map(&value).collect();
        println!(
            "{:<31}{first:>10.1}{second:>10.1}{third:>10.1}  {}",
            label(&what, unit),
            sparkline(&all)
        );
    }
}

fn label(what: &str, unit: &str) -> String {
    match unit {
        "" => what.to_owned(),
        unit => format!("{what}, {unit}"),
    }
}

/// Writes the plot and the values.
pub fn plot(folder: &Path, name: &str, title: &str, samples: &[Sample]) {
    let minutes: Vec<_> = samples.iter().map(|s| s.minutes).collect();
    let mut panels: Vec<Panel> = Vec::new();
    let mut csv = "minutes".to_owned();
    let mut columns = Vec::new();
    for (what, unit, value) in quantities(samples) {
        let values: Vec<_> = samples.iter().map(&value).collect();
        csv += &format!(",{}", label(&what, unit).replace(',', ""));
        columns.push(values.clone());
        let (title, line) = what.split_once(", ").unwrap_or((&what, ""));
        let line = (line.to_owned(), values);
        match panels.last_mut() {
            Some(panel) if panel.title == title => panel.lines.push(line),
            _ => panels.push(Panel {
                title: title.to_owned(),
                unit: if unit.is_empty() { "number" } else { unit },
                from: settled(samples, &what),
                zero: !what.starts_with("memory"),
                lines: vec![line],
            }),
        }
    }
    for (n, minute) in minutes.iter().enumerate() {
        csv += &format!("\n{minute:.2}");
        for column in &columns {
            csv += &column[n].map_or(",".to_owned(), |value| format!(",{value:.2}"));
        }
    }
    std::fs::create_dir_all(folder).expect("the folder");
    let write = |end: &str, text: &str| {
        let path = folder.join(format!("{name}.{end}"));
        std::fs::write(&path, text).expect("write");
        path
    };
    write("csv", &(csv + "\n"));
    let path = write("svg", &svg(title, &minutes, &panels));
    println!("{name}: {}", path.display());
}

/// A line for each promise; whether all held.
pub fn verdicts(name: &str, all: &[Verdict]) -> bool {
    for Verdict {
        promise,
        seen,
        held,
    } in all
    {
        let held = if *held { "held" } else { "BROKEN" };
        println!("{name}: {held:<7} {promise}: {seen}");
    }
    all.iter().all(|verdict| verdict.held)
}
