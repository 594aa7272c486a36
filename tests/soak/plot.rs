//! A plot: an SVG with one panel a quantity over a shared time axis, and sparklines.

use std::fmt::Write;

/// One quantity over time.
pub struct Panel {
    pub title: String,
    pub unit: &'static str,
    /// By name; the name is left out where there is only one.
    pub lines: Vec<(String, Vec<Option<f64>>)>,
    /// The minute at which the first of the thirds that are compared begins.
    pub from: f64,
    /// Whether the axis begins at zero.
    pub zero: bool,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 56.0;
const HEIGHT: f64 = 90.0;
const GAP: f64 = 44.0;

const STYLE: &str = "
    svg { font: 12px system-ui, sans-serif; background: #fff; }
    text { fill: #222; } .dim { fill: #666; } .head { font-weight: 600; }
    .grid { stroke: #ddd; } .third { fill: #0000000a; }
    .line { fill: none; stroke-width: 1.5; stroke-linejoin: round; }
    .c0 { stroke: #1f6fb4; } .c1 { stroke: #c2540a; } text.c0 { fill: #1f6fb4; stroke: none; }
    text.c1 { fill: #c2540a; stroke: none; }
    @media (prefers-color-scheme: dark) {
        svg { background: #16181c; } text { fill: #e4e4e4; } .dim { fill: #a0a0a0; }
        .grid { stroke: #363a40; } .third { fill: #ffffff0d; }
        .c0 { stroke: #6cb2f0; } .c1 { stroke: #f0a060; }
        text.c0 { fill: #6cb2f0; } text.c1 { fill: #f0a060; }
    }";

/// The whole picture. `minutes`: when each value was seen.
pub fn svg(title: &str, minutes: &[f64], panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 16.0;
    let end = minutes.last().copied().unwrap_or(1.0);
    let x = |minute: f64| LEFT + minute / end * (WIDTH - LEFT - RIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"{0}\">\n<style>{STYLE}\n</style>\n\
         <text x=\"{LEFT}\" y=\"24\" class=\"head\">{0}</text>\n",
        escape(title)
    );
    for (n, panel) in panels.iter().enumerate() {
        let top = TOP + n as f64 * (HEIGHT + GAP);
        draw(&mut out, panel, top, minutes, &x);
    }
    let bottom = height - 6.0;
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{bottom}\" class=\"dim\" text-anchor=\"middle\">time, minutes</text>",
        x(end / 2.0)
    );
    out + "</svg>\n"
}

fn draw(out: &mut String, panel: &Panel, top: f64, minutes: &[f64], x: &impl Fn(f64) -> f64) {
    let bottom = top + HEIGHT;
    let end = minutes.last().copied().unwrap_or(1.0);
    let ticks = ticks(panel);
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let y = |value: f64| bottom - (value - low) / (high - low) * HEIGHT;
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{}\">{}, {}</text>",
        top - 8.0,
        escape(&panel.title),
        panel.unit
    );
    // The first third and the last are compared.
    for third in [0.0, 2.0] {
        let at = |third: f64| x(panel.from + (end - panel.from) * third / 3.0);
        let (from, to) = (at(third), at(third + 1.0));
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{HEIGHT}\" \
             class=\"third\"/>",
            to - from
        );
    }
    for tick in &ticks {
        let at = y(*tick);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1}\" \
             class=\"dim\" text-anchor=\"end\">{tick}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    let step = nice(end / 8.0);
    for tick in (0..).map(|n| n as f64 * step).take_while(|t| *t <= end) {
        let tick = tidy(tick);
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" class=\"dim\" text-anchor=\"middle\">{tick}</text>",
            x(tick),
            bottom + 16.0
        );
    }
    for (n, (name, values)) in panel.lines.iter().enumerate() {
        let mut path = String::new();
        let mut pen = 'M';
        for (minute, value) in minutes.iter().zip(values) {
            match value {
                Some(value) => {
                    let _ = write!(path, "{pen}{:.1} {:.1}", x(*minute), y(*value));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        let _ = writeln!(out, "<path d=\"{path}\" class=\"line c{n}\"/>");
        if panel.lines.len() > 1 {
            let at = WIDTH - RIGHT - 60.0 * (panel.lines.len() - 1 - n) as f64;
            let _ = writeln!(
                out,
                "<text x=\"{at}\" y=\"{}\" class=\"c{n}\" text-anchor=\"end\">{}</text>",
                top - 8.0,
                escape(name)
            );
        }
    }
}

/// Three to six round numbers around all values.
fn ticks(panel: &Panel) -> Vec<f64> {
    let values = panel.lines.iter().flat_map(|(_, values)| values).flatten();
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| {
        (low.min(*v), high.max(*v))
    });
    let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
    let low = if panel.zero { low.min(0.0) } else { low };
    // Where nothing changes, noise should not fill the panel.
    let step = nice(((high - low) / 3.0).max(high.abs() / 200.0).max(0.51));
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    let last = last.max(first + 1);
    (first..=last).map(|n| tidy(n as f64 * step)).collect()
}

/// 1, 2 or 5 times a power of ten, not less than that.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    steps
        .into_iter()
        .find(|s| *s >= step)
        .unwrap_or(10.0 * power)
}

/// 0.30000000000000004 is 0.3.
fn tidy(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// At most 60 characters whose heights are the largest values of as many spans of time.
pub fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let spans = values.chunks(values.len().div_ceil(60).max(1));
    let spans: Vec<_> = spans
        .map(|s| s.iter().copied().fold(f64::MIN, f64::max))
        .collect();
    let low = spans.iter().copied().fold(f64::MAX, f64::min);
    let high = spans.iter().copied().fold(f64::MIN, f64::max);
    // What differs by less than a hundredth is flat.
    let range = (high - low).max(high.abs() / 100.0).max(f64::MIN_POSITIVE);
    let bar = |v: &f64| BARS[(((v - low) / range) * 7.0).round() as usize];
    spans.iter().map(bar).collect()
}
