//! The daemon's command line for a plan.

use crate::lines::RUN;
use crate::plan::Setting;
use std::ffi::OsString;
use ws2cgi::config::{Config, Wish};

pub const HANDLERS: &str = "/srv/ws";

/// The daemon's arguments for a plan.
pub fn arguments(settings: &[Setting]) -> Vec<OsString> {
    let mut args: Vec<String> = vec!["ws2cgi".into()];
    let mut put = |name: &str, value: String| args.extend([format!("--{name}"), value]);
    put("handlers", HANDLERS.into());
    put("run", RUN.into());
    put("ready-fd", "3".into());
    put("listen", "127.0.0.1:8000".into());
    put("listen", "unix:/run/ws.sock".into());
    let mut memory = None;
    let (mut event, mut slow) = (10, 5);
    let mut close_on_error = false;
    for setting in settings {
        match *setting {
            Setting::Jobs { n } => put("jobs", n.max(1).to_string()),
            Setting::Connections { n } => put("max-connections", n.max(1).to_string()),
            Setting::Message { bytes } => put("max-message", bytes.max(1).to_string()),
            Setting::Reply { bytes } => put("max-reply", bytes.max(1).to_string()),
            Setting::Queue { bytes } => put("queue", bytes.max(1).to_string()),
            Setting::Memory { more } => memory = Some(more as usize),
            Setting::EventTimeout { secs } => event = secs.max(1),
            Setting::SlowTimeout { secs } => slow = secs,
            Setting::Ping { secs } => put("ping", secs.to_string()),
            Setting::PollWait { secs } => put("poll-wait", secs.max(1).to_string()),
            Setting::History { bytes } => put("history", bytes.to_string()),
            Setting::Delay { ms } => put("upgrade-delay", ms.to_string()),
            Setting::CloseOnError {} => close_on_error = true,
            Setting::StatusEvery { secs } => put("status", secs.to_string()),
            Setting::Descriptors { .. } => {}
        }
    }
    put("event-timeout", event.to_string());
    put("slow-timeout", slow.min(event - 1).to_string());
    if let Some(more) = memory {
        let least = config(args.iter().map(OsString::from).collect()).least_memory();
        args.extend(["--memory".to_owned(), (least + more).to_string()]);
    }
    if close_on_error {
        args.push("--close-on-error".into());
    }
    args.into_iter().map(OsString::from).collect()
}

pub fn config(args: Vec<OsString>) -> Config {
    match Config::parse(args.into_iter().skip(1)) {
        Ok(Wish::Serve(config)) => *config,
        other => panic!("the plan's options: {other:?}"),
    }
}
