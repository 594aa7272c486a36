//! Headless Chromium, led by its DevTools protocol.

use super::{PATIENCE, Ws, group_members, kill_group, send_head, wait_for};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use tempfile::TempDir;

/// A running browser without any history. Dropping it ends it.
pub struct Browser {
    child: Child,
    _profile: TempDir,
    devtools: Ws,
    calls: u64,
    _turn: MutexGuard<'static, ()>,
}

/// One page of it.
pub struct Page {
    target: String,
    session: String,
}

impl Browser {
    /// Starts one; one at a time, as each takes hundreds of megabytes.
    pub fn start() -> Browser {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        let profile = TempDir::new().expect("a profile");
        let mut command = Command::new("chromium");
        command.args(
            "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic \
             --no-first-run --disable-background-networking --disable-component-update \
             --disable-sync --ignore-certificate-errors --remote-debugging-port=0"
                .split_whitespace(),
        );
        command
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("TMPDIR", profile.path())
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().expect("start chromium");
        // Two lines: a port and a path.
        let active = profile.path().join("DevToolsActivePort");
        let address = wait_for("chromium to start", || {
            let ended = child.try_wait().expect("wait");
            assert_eq!(ended, None, "chromium does not run here");
            let text = std::fs::read_to_string(&active).ok()?;
            let (port, path) = text.split_once('\n')?;
            (path.starts_with('/')).then(|| (port.to_owned(), path.trim().to_owned()))
        });
        Browser {
            child,
            _profile: profile,
            devtools: devtools(&address.0, &address.1),
            calls: 0,
            _turn: turn,
        }
    }

    /// Opens a page in front of the others, and waits until it is loaded.
    pub fn open(&mut self, url: &str) -> Page {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", attach);
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        let page = Page {
            target: text(&target["targetId"]),
            session: text(&attached["sessionId"]),
        };
        // Others get no animation frames.
        self.call(Some(&page), "Page.bringToFront", json!({}));
        let loaded = self.call(Some(&page), "Page.navigate", json!({"url": url}));
        assert_eq!(loaded["errorText"], Value::Null, "{url}");
        self.eval(
            &page,
            "new Promise(done => document.readyState === 'complete' \
             ? done() : addEventListener('load', done))",
        );
        page
    }

    /// Closes a page, as a visitor closes a tab.
    pub fn close(&mut self, page: Page) {
        let close = json!({"targetId": page.target});
        self.call(None, "Target.closeTarget", close);
    }

    /// The value of an expression in a page; of a promise, once it has one.
    pub fn eval(&mut self, page: &Page, expression: &str) -> Value {
        let call = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call(Some(page), "Runtime.evaluate", call);
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{expression}: {exception}");
        answer["result"]["value"].take()
    }

    /// The same, a text.
    pub fn text(&mut self, page: &Page, expression: &str) -> String {
        match self.eval(page, expression) {
            Value::String(text) => text,
            other => panic!("{expression}: {other}"),
        }
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, page: &Page, condition: &str) {
        let look = format!(
            "new Promise((done, fail) => {{ \
               const end = Date.now() + {}, look = () => ({condition}) ? done(true) \
                 : Date.now() > end ? fail(document.body.innerText + (typeof log === 'object' ? JSON.stringify(log) : '')) : setTimeout(look, 20); \
               look(); }})",
            PATIENCE.as_millis() / 2
        );
        assert_eq!(self.eval(page, &look), true, "{condition}");
    }

    fn call(&mut self, page: Option<&Page>, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": params});
        if let Some(page) = page {
            call["sessionId"] = json!(page.session);
        }
        self.devtools.send(&call.to_string());
        loop {
            let answer: Value = serde_json::from_str(&self.devtools.text()).expect("JSON");
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            // Anything else is an event.
        }
    }
}

fn devtools(port: &str, path: &str) -> Ws {
    let address = format!("127.0.0.1:{port}");
    let mut stream = TcpStream::connect(&address).expect("connect to chromium");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let fields = [
        ("Host", address.as_str()),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", super::KEY),
    ];
    send_head(&mut stream, "GET", path, &fields);
    Ws::accepted(stream)
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in its group. What it would save on a clean end is not wanted.
        let group = self.child.id();
        kill_group(group);
        let _ = self.child.wait();
        wait_for("chromium's helpers to end", || {
            group_members(group).is_empty().then_some(())
        });
    }
}
