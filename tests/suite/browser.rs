//! Headless Chromium: pages and WebSockets from one port, as visitors have them.

use crate::harness::{Browser, Daemon, Demo, Server, run_ok};
use std::process::Command;

const WS: &str = "/cgi-bin/nph-ws/act";
/// WebSocket over HTTP/2 (RFC 8441) has no key; lighttpd makes one up, the same for everyone.
const HTTP_2_KEY: &str = "HTTP_SEC_WEBSOCKET_KEY=MDAwMDAwMDAwMDAwMDAwMA==\n";

/// A page loads, connects, talks, hears the FIFO, and sees close codes. Returns what the
/// event program was told.
fn a_visit(daemon: &Daemon, browser: &mut Browser, origin: &str) -> String {
    let page = browser.open(&format!("{origin}/"));
    let connect = format!("connect('{WS}?open=head%20Sec-WebSocket-Protocol:%20b', 'a', 'b')");
    assert_eq!(browser.text(&page, &connect), "open b");
    let hello = "ask('head X: y;out hällo')";
    assert_eq!(browser.text(&page, hello), "hällo");
    let binary = "ask(new TextEncoder().encode('echo;\\0ä'))";
    assert_eq!(
        browser.text(&page, binary),
        "binary 101,99,104,111,59,0,195,164"
    );
    daemon.outbox("text /act from the board");
    assert_eq!(browser.text(&page, "next()"), "from the board");
    let env = browser.text(&page, "ask('env')");
    let close = "ask('head WS-Close: 4321 that is all')";
    assert_eq!(browser.text(&page, close), "close 4321 that is all");
    assert_eq!(browser.text(&page, &connect), "open b");
    let close = "socket.close(4000, 'bye'), next()";
    assert_eq!(browser.text(&page, close), "close 4000 bye");
    daemon.event("done close");
    daemon.until_empty();
    let closes = &daemon.status()["closes"];
    assert_eq!((&closes["4321"], &closes["4000"]), (&1.into(), &1.into()));
    env
}

#[test]
fn chromium_visits_boa() {
    let daemon = Daemon::start();
    let boa = Server::boa("rc21", &daemon);
    let mut browser = Browser::start();
    let env = a_visit(&daemon, &mut browser, &boa.origin());
    assert!(env.contains("SERVER_SOFTWARE=Boa/"));
}

#[test]
fn chromium_visits_lighttpd() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd(&daemon);
    let env = a_visit(&daemon, &mut Browser::start(), &lighttpd.origin());
    assert!(
        !env.contains(HTTP_2_KEY) && !env.contains("HTTPS="),
        "{env}"
    );
}

#[test]
fn chromium_visits_lighttpd_by_http_2_under_tls() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd_tls(&daemon);
    let origin = format!("https://127.0.0.1:{}", lighttpd.port);
    let env = a_visit(&daemon, &mut Browser::start(), &origin);
    for line in ["HTTPS=on\n", "REQUEST_SCHEME=https\n", HTTP_2_KEY] {
        assert!(env.contains(line), "{line}: {env}");
    }
}

#[test]
fn a_refusal_by_a_program_reaches_chromium_by_http_2_under_tls() {
    let daemon = Daemon::start();
    let lighttpd = Server::lighttpd_tls(&daemon);
    let mut browser = Browser::start();
    let page = browser.open(&format!("https://127.0.0.1:{}", lighttpd.port));
    let refused = "head%20Status:%20403%20No;out%20not%20you";
    for count in 1..=3 {
        let connect = format!("connect('{WS}?open={refused}')");
        // All that JavaScript gets to know.
        assert_eq!(browser.text(&page, &connect), "close 1006 ");
        daemon.status_until("/refusals/program", count);
    }
    daemon.until_empty();
    // Nor does it spoil the HTTP/2 connection for others.
    assert_eq!(browser.text(&page, &format!("connect('{WS}')")), "open ");
    assert!(browser.text(&page, "ask('env')").contains(HTTP_2_KEY));
    assert_eq!(daemon.number("/accepted"), 1);
}

#[test]
fn a_page_from_another_origin_is_kept_out() {
    let mut daemon = Daemon::start();
    let (own, foreign) = (Server::boa("rc21", &daemon), Server::lighttpd(&daemon));
    let mut browser = Browser::start();
    let page = browser.open(&foreign.origin());
    let connect = format!("connect('{}{WS}')", own.origin());
    // What JavaScript gets to know of it.
    assert_eq!(browser.text(&page, &connect), "close 1006 ");
    daemon.expect(&format!("a page of {} may not connect", foreign.origin()));
    assert!(daemon.events().is_empty());
    let connect = format!("connect('{WS}')");
    assert_eq!(browser.text(&page, &connect), "open ");
    // A sandboxed frame within a page of our own is nobody's: Origin null.
    let page = browser.open(&own.origin());
    let script = format!(
        "const socket = new WebSocket('{}{WS}'.replace('http', 'ws'));
         socket.onopen = () => parent.postMessage('open', '*');
         socket.onclose = ({{ code }}) => parent.postMessage('close ' + code, '*');",
        own.origin()
    );
    let frame = format!(
        "new Promise(done => {{
           const frame = document.createElement('iframe');
           onmessage = ({{ data }}) => done(data);
           frame.sandbox = 'allow-scripts';
           frame.srcdoc = `<script>{script}</script>`;
           document.documentElement.append(frame);
         }})"
    );
    assert_eq!(browser.text(&page, &frame), "close 1006");
    daemon.expect("403: Origin null needs --origin null");
    assert_eq!(daemon.number("/refusals/origin"), 2);
}

#[test]
fn a_tab_that_is_closed_gets_its_close_event() {
    let daemon = Daemon::start();
    let boa = Server::boa("rc21", &daemon);
    let mut browser = Browser::start();
    let page = browser.open(&boa.origin());
    browser.eval(&page, &format!("connect('{WS}')"));
    browser.close(page);
    daemon.event("close ");
    daemon.until_empty();
    assert_eq!(daemon.status()["closes"]["1001"], 1);
}

#[test]
fn the_demo_shows_plots_and_a_chat_in_every_tab() {
    let demo = Demo::start();
    let mut browser = Browser::start();
    let (anna, bert) = (browser.open(&demo.url), browser.open(&demo.url));
    for page in [&anna, &bert] {
        browser.until(
            page,
            "lines.length === 2 && lines.every(line => line.ws.readyState === line.ws.OPEN)",
        );
        browser.until(
            page,
            "['load', 'mem'].every(key => plots.get(key).points.length > 1)",
        );
        browser.until(
            page,
            "document.querySelector('.plot output').textContent > ''",
        );
        browser.until(page, "$('state').textContent === 'connected'");
    }
    // The way that a visitor chooses.
    for way in ["sse", "poll", "websocket"] {
        browser.eval(
            &bert,
            &format!("$('way').value = '{way}', $('way').onchange()"),
        );
        let there = format!(
            "lines.every(line => line.ws.readyState === line.ws.OPEN \
             && line.ws.transport === '{way}')"
        );
        browser.until(&bert, &there);
    }
    browser.until(&bert, "$('facts').innerText.includes('Reconnected\t3\t3')");
    // Painted, where a visitor looks: not all pixels are alike.
    let canvas = "plots.get('mem').canvas.getContext('2d').getImageData(0, 0, 300, 60)";
    let painted = format!("new Set(new Uint32Array({canvas}.data.buffer)).size > 1");
    browser.until(&bert, &painted);
    let say = "$('say').firstElementChild.value = 'a <b>word</b>', $('say').requestSubmit()";
    browser.eval(&anna, say);
    for page in [&anna, &bert] {
        let heard = "$('log').lastElementChild?.textContent.endsWith('a <b>word</b>')";
        browser.until(page, heard);
    }
    // The line that the page and the terminal both show.
    let line = browser.text(&bert, "$('hello').textContent");
    assert_eq!(line, demo.line);
    run_ok(Command::new("sh").args(["-c", &line]));
    for page in [&anna, &bert] {
        browser.until(page, "$('log').lastElementChild?.textContent === 'hello'");
    }
    let number = browser.text(&bert, "$('number').textContent");
    run_ok(Command::new("sh").args(["-c", &number]));
    browser.until(&anna, "plots.get('answer')?.points[0][1] === 42");
}
