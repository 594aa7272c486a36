//! Event streams as they must be: their events in order, a sign of life now and then, an end.

use super::{Frame, Life, Model};
use crate::browser::Browser;
use crate::http::Head;
use crate::os::{SECOND, Time};
use crate::plan::way;

impl Model {
    pub fn stream_begins(&mut self, j: usize, head: &Head) -> Result<(), String> {
        match (head.is_stream(), self.connections[j].life) {
            (true, Life::Accepted | Life::Closing | Life::Over) => Ok(()),
            (true, life) => Err(format!("a stream begins, and it is {life:?}")),
            (false, Life::Accepted) if self.connections[j].loose.is_none() => {
                let status = head.status;
                Err(format!("a stream is answered {status}, and it is accepted"))
            }
            _ => Ok(()),
        }
    }

    pub fn event_written(
        &mut self,
        j: usize,
        name: &str,
        mark: Option<String>,
        data: Vec<u8>,
        browser: &Browser,
    ) -> Result<(), String> {
        let connection = &mut self.connections[j];
        if connection.closed.is_some() {
            return Err("an event behind the close".to_owned());
        }
        let opened = connection.key.is_some();
        if opened == (name == "open") {
            return Err(format!("an event {name}, open before: {opened}"));
        }
        match name {
            "open" => {
                let value: serde_json::Value = serde_json::from_slice(&data)
                    .map_err(|e| format!("the data of an open event: {e}"))?;
                if value["id"].as_str() != connection.id.as_deref() {
                    return Err(format!("an open event of another's id: {value}"));
                }
                connection.key = value["key"].as_str().map(str::to_owned);
                if connection.key.is_none() {
                    return Err(format!("an open event without a key: {value}"));
                }
                // Of what is gone it is told before where it begins.
                match connection.owes_gap > 0 && mark.is_none() {
                    true => Ok(()),
                    false => self.begins_at(j, mark.as_deref(), browser),
                }
            }
            "close" => {
                let code = core::str::from_utf8(&data).unwrap_or("");
                let code = code.split(' ').next().and_then(|code| code.parse().ok());
                let code = code.ok_or("a close event without a code")?;
                self.told_close(j, code)
            }
            "gap" => {
                let begins = connection.owes_gap > 0;
                self.told_gap(j)?;
                match begins || mark.is_some() {
                    true => self.begins_at(j, mark.as_deref(), browser),
                    false => Ok(()),
                }
            }
            "" | "text64" | "binary" => {
                self.totals.events += 1;
                connection.frames.push(Frame {
                    binary: name == "binary",
                    payload: data,
                    mark: mark.as_deref().and_then(super::history::number),
                    request: j,
                });
                Ok(())
            }
            other => Err(format!("an event {other}")),
        }
    }

    /// A connection is told how it ends.
    pub fn told_close(&mut self, c: usize, code: u16) -> Result<(), String> {
        let connection = &mut self.connections[c];
        connection.closed = Some(Some(code));
        connection.close_has_cause(code)
    }

    /// Whether nothing of it runs, waits to, or is being carried out, for certain.
    pub fn is_idle(&self, c: usize) -> bool {
        let connection = &self.connections[c];
        connection.running.is_none()
            && connection.posts.is_empty()
            && !self.answers.iter().any(|answer| answer.connection == c)
    }

    pub fn late_stream(&self, j: usize, browser: &Browser) -> Option<String> {
        let (now, ping) = (self.now, self.rules.ping?);
        let connection = &self.connections[j];
        let exchange = &connection.exchange;
        let open = exchange.head.is_stream()
            && !exchange.closed
            && connection.life == Life::Accepted
            && connection.loose.is_none_or(|_| browser.endings.gone)
            && connection.closed.is_none();
        let quiet = connection.idle_since.filter(|_| open && !exchange.writes)?;
        let wrote = exchange.wrote_at.unwrap_or(0);
        if browser.endings.gone {
            // Reading shows it at once, but where the socket is the web server's.
            let shown = browser.way != way::HANDOFF_UNIX;
            let gone = browser.endings.gone_since.max(quiet).max(wrote);
            let most = if shown { SECOND } else { ping };
            let late = gone + most < now;
            return late.then(|| "its browser has gone, and that is not noticed".to_owned());
        }
        let begins = quiet.max(wrote).max(connection.heard_at);
        let late: Time = begins + browser.sign_of_life(ping);
        (late <= now).then(|| "its stream gets no sign of life".to_owned())
    }
}
