//! The subprotocol `ws2cgi1`: messages with their marks, and what the daemon says itself.

use super::{Frame, Life, Model};
use crate::browser::Browser;

impl Model {
    /// Frames of a WebSocket that speaks it.
    pub fn marked(&mut self, c: usize, browser: &Browser) -> Result<(), String> {
        for frame in core::mem::take(&mut self.connections[c].marked) {
            let place = frame.payload.iter().position(|&b| b == b'\n');
            let (head, rest) = match place {
                Some(place) => (&frame.payload[..place], Some(&frame.payload[place + 1..])),
                None => (&frame.payload[..], None),
            };
            let head = core::str::from_utf8(head).map_err(|_| "a mark that is no text")?;
            let Some(payload) = rest else {
                self.said(c, head, browser)?;
                continue;
            };
            let mark = match head {
                "" => None,
                mark => {
                    let number = super::history::number(mark);
                    Some(number.ok_or_else(|| format!("a mark {mark}"))?)
                }
            };
            self.totals.marked += 1;
            self.connections[c].frames.push(Frame {
                binary: frame.binary,
                payload: payload.to_vec(),
                mark,
                request: c,
            });
        }
        Ok(())
    }

    fn said(&mut self, c: usize, words: &str, browser: &Browser) -> Result<(), String> {
        let connection = &mut self.connections[c];
        match words.split_once(' ') {
            Some(("at", mark)) if !connection.begun => {
                connection.begun = true;
                self.begins_at(c, Some(mark), browser)
            }
            Some(("ok", count)) => {
                let count: u64 = count.parse().map_err(|_| "an ok without a number")?;
                connection.done += count;
                let run = u64::from(connection.messages_run);
                let most = match connection.life {
                    // Before a close those that were read are counted, too.
                    Life::Accepted if connection.loose.is_none() => run,
                    _ => browser.sent.len() as u64,
                };
                match connection.done <= most {
                    true => Ok(()),
                    false => Err(format!(
                        "{} of its {most} messages are done",
                        connection.done
                    )),
                }
            }
            None if words == "gap" => self.told_gap(c),
            _ => Err(format!("ws2cgi1 says {words}")),
        }
    }
}
