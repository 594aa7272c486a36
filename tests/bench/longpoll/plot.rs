//! The figures as an SVG picture, for light and dark pages.

use super::report::Report;
use super::run::Figures;
use super::way::Way;
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 430.0;
/// Of a panel, without the words around it.
const PANEL: (f64, f64) = (230.0, 260.0);
const TOP: f64 = 110.0;
/// From the left edge of a panel to the next one's, and to the first one's.
const STEP: f64 = 310.0;
const LEFT: f64 = 70.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.title { font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.p99 { stroke-dasharray: 5 3 }
.way0 { stroke: #b35900; fill: #b35900 } .way1 { stroke: #c99700; fill: #c99700 }
.way2 { stroke: #c2185b; fill: #c2185b } .way3 { stroke: #6f42c1; fill: #6f42c1 }
.way4 { stroke: #0b8043; fill: #0b8043 } .way5 { stroke: #0969da; fill: #0969da }
.line { fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.page { fill: #0d1117 }
.small { fill: #9198a1 }
.grid { stroke: #3d444d }
.way0 { stroke: #ff9e4a; fill: #ff9e4a } .way1 { stroke: #f2cc4d; fill: #f2cc4d }
.way2 { stroke: #ff7eb6; fill: #ff7eb6 } .way3 { stroke: #b794f6; fill: #b794f6 }
.way4 { stroke: #4ac26b; fill: #4ac26b } .way5 { stroke: #58a6ff; fill: #58a6ff }
.line { fill: none }
}";

/// A line of a panel.
type Curve = (&'static str, fn(&Figures) -> f64);

/// What a panel shows, its unit, its curves: a class of the style, and the figure.
const PANELS: [(&str, &str, &[Curve]); 3] = [
    (
        "Processor time of an update",
        "µs for each browser it came to",
        &[("line", |f| f.cpu)],
    ),
    (
        "Memory while waiting",
        "KB (PSS) of server, daemon, programs",
        &[("line", |f| f.memory)],
    ),
    (
        "Latency",
        "ms, p50 (line) and p99 (dashed)",
        &[("line", |f| f.p50), ("line p99", |f| f.p99)],
    ),
];

/// Draws it.
pub fn plot(report: &Report) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
         <title>Long polling over CGI, and ws2cgi: processor time, memory and latency</title>\n\
         <style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    for (i, way) in Way::ALL.into_iter().enumerate() {
        let (x, y) = (LEFT + STEP * (i % 3) as f64, 24.0 + 22.0 * (i / 3) as f64);
        mark(&mut svg, i, x, y - 4.0);
        text(&mut svg, "", x + 12.0, y, "start", way.name());
    }
    for (i, (title, unit, curves)) in PANELS.into_iter().enumerate() {
        let left = LEFT + STEP * i as f64;
        text(&mut svg, "title", left, TOP - 26.0, "start", title);
        text(&mut svg, "small", left, TOP - 10.0, "start", unit);
        panel(&mut svg, report, left, curves);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Both axes are logarithmic.
fn panel(svg: &mut String, report: &Report, left: f64, curves: &[Curve]) {
    let clients = report.clients();
    let figures = |way| clients.iter().map(move |&c| (c, report.figures(way, c)));
    let all = Way::ALL.into_iter().flat_map(figures);
    let values = all.flat_map(|(_, f)| curves.iter().map(move |(_, figure)| figure(&f)));
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let y = |value: f64| TOP + PANEL.1 * (1.0 - (value.log10() - low) / (high - low));
    let (few, many) = (clients[0] as f64, clients[clients.len() - 1] as f64);
    // One number of browsers alone stands at the left edge.
    let span = (many / few).ln().max(f64::MIN_POSITIVE);
    let x = |count: usize| left + 12.0 + (PANEL.0 - 24.0) * (count as f64 / few).ln() / span;

    for power in low as i32..=high as i32 {
        let value = 10f64.powi(power);
        let (x, y) = (left, y(value));
        let right = x + PANEL.0;
        writeln!(svg, "<path class=\"grid\" d=\"M{x} {y:.1}H{right}\"/>").expect("text");
        text(svg, "small", x - 6.0, y + 4.0, "end", &value.to_string());
    }
    let bottom = TOP + PANEL.1;
    for &count in &clients {
        text(
            svg,
            "small",
            x(count),
            bottom + 18.0,
            "middle",
            &count.to_string(),
        );
    }
    let middle = left + PANEL.0 / 2.0;
    text(svg, "small", middle, bottom + 38.0, "middle", "browsers");
    for (i, way) in Way::ALL.into_iter().enumerate() {
        for (class, figure) in curves {
            let points = figures(way).map(|(c, f)| (x(c), y(figure(&f))));
            let points: Vec<_> = points.collect();
            let path: Vec<_> = points
                .iter()
                .map(|(x, y)| format!("{x:.1} {y:.1}"))
                .collect();
            let path = path.join("L");
            writeln!(svg, "<path class=\"way{i} {class}\" d=\"M{path}\"/>").expect("text");
            for (x, y) in points {
                mark(svg, i, x, y);
            }
        }
    }
}

/// A way's mark: squares are long polling over CGI, circles ws2cgi.
fn mark(svg: &mut String, way: usize, x: f64, y: f64) {
    match Way::ALL[way].is_classic() {
        true => writeln!(
            svg,
            "<rect class=\"way{way}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>",
            x - 3.5,
            y - 3.5
        ),
        false => writeln!(
            svg,
            "<circle class=\"way{way}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
        ),
    }
    .expect("text");
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    )
    .expect("text");
}
