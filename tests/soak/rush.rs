//! All at once, before anything is measured: what an allocator will ever need, it needs now.

use crate::guest::Guest;
use crate::load::Load;
use std::sync::Barrier;
use tungstenite::Message;

/// As many visitors as there will be come, have their longest messages echoed at the same moment,
/// and go.
pub fn rush(load: &Load) {
    let doors = load.place.doors();
    let visitors = load.place.pace().visitors;
    let message = Message::text("x".repeat(load.place.largest()));
    let together = Barrier::new(visitors);
    std::thread::scope(|threads| {
        for n in 0..visitors {
            let (door, message, together) = (doors[n % doors.len()], &message, &together);
            threads.spawn(move || {
                let mut guest = Guest::come(load, door, "echo", &[]);
                together.wait();
                guest.echoes("echoes", message, &[]);
                assert_eq!(guest.ws.close(1000, ""), 1000);
            });
        }
    });
}
