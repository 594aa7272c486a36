//! What one client knows of the lines to its rooms: each is counted and compared.

use crate::load::Load;
use crate::rooms::{self, NAMES};
use tungstenite::Message;

/// The rooms that a client is in.
pub struct Lines<'a> {
    load: &'a Load<'a>,
    members: Vec<Member>,
}

/// What a client knows of a room that it is in.
struct Member {
    room: usize,
    /// The next line's number; as long as none has come, the highest that it may have.
    next: u64,
    heard: bool,
    /// It has been told that lines are gone, when so much had been said.
    gap: Option<u64>,
}

impl<'a> Lines<'a> {
    /// Of a client that comes just now.
    pub fn of(load: &'a Load<'a>, rooms: &[usize]) -> Lines<'a> {
        let member = |&room: &usize| Member {
            room,
            // One that was on its way may have come before this client.
            next: load.rooms[room].begun() + 1,
            heard: false,
            gap: None,
        };
        let members = rooms.iter().map(member).collect();
        Lines { load, members }
    }

    /// Which rooms it is in.
    pub fn rooms(&self) -> Vec<usize> {
        self.members.iter().map(|member| member.room).collect()
    }

    /// Counts a message that is a line to a room. Returns which one, if it is whole and for this
    /// client; None: it is no line.
    pub fn count(&mut self, message: &Message) -> Option<Option<(usize, u64)>> {
        let tally = &self.load.tally;
        let (room, number) = match rooms::read(message)? {
            Ok(line) => line,
            Err(what) => {
                tally.lost("lines unchanged", 1, &what);
                return Some(None);
            }
        };
        let Some(member) = self.members.iter_mut().find(|m| m.room == room) else {
            tally.lost("lines to members only", 1, NAMES[room]);
            return Some(None);
        };
        let sooner = number < member.next && !member.heard;
        // All of them up to the one before this were gone when it was told so.
        let gone = |said| number > member.next && self.load.gone(room, number - 1, said);
        if number == member.next || sooner {
            tally.came("lines to rooms");
        } else if member.gap.is_some_and(gone) {
            tally.came("lines to rooms");
            tally.came("rooms of which lines were gone, as announced");
        } else {
            let first = if member.heard { "" } else { ", the first" };
            let what = format!("{} {number}, not {}{first}", NAMES[room], member.next);
            let missing = number.saturating_sub(member.next).max(1);
            tally.lost("lines to rooms", missing, &what);
        }
        (member.next, member.heard, member.gap) = (number + 1, true, None);
        Some(Some((room, number)))
    }

    /// It is told that lines may be gone.
    pub fn gap(&mut self) {
        let said = self.load.said.most();
        for member in &mut self.members {
            member.gap = Some(said);
        }
    }

    /// Whether it has not heard a line that must come.
    pub fn awaits(&self, room: usize, number: u64) -> bool {
        let member = self.members.iter().find(|member| member.room == room);
        let member = member.expect("a member");
        let gone = |said| self.load.gone(room, number, said);
        member.next <= number && !member.gap.is_some_and(gone)
    }

    /// A room of which it has not heard all lines that are on their way for certain, and the
    /// last of them.
    pub fn behind(&self) -> Option<(usize, u64)> {
        let last = |room: usize| (room, self.load.rooms[room].last());
        let mut lasts = self.members.iter().map(|member| last(member.room));
        lasts.find(|&(room, last)| self.awaits(room, last))
    }
}
