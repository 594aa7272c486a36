//! What was sent and may be run once at most, and what was answered and so has been run.

use crate::dice::Dice;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Messages by label, and whether each was answered.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<u64, bool>>);

impl Ledger {
    /// For a new message.
    pub fn label(&self) -> String {
        let mut all = self.0.lock().unwrap();
        let label = all.len() as u64;
        all.insert(label, false);
        label.to_string()
    }

    /// What the event of this message does: it notes the label, and says it.
    pub fn script(&self, label: &str, dice: &mut Dice) -> String {
        match dice.below(3) {
            0 => format!("note {label};sleep 10;head X: y;out {label}"),
            1 => format!("sleep 10;note {label};head X: y;out {label}"),
            _ => format!("note {label};head X: y;out {label}"),
        }
    }

    /// Its reply has come.
    pub fn answered(&self, label: &str) {
        let label = label.parse().expect("a label");
        self.0.lock().unwrap().insert(label, true);
    }

    /// `events`: what `act` has noted. How many messages there were, and how many were answered.
    pub fn check(&self, events: &[String]) -> (usize, usize) {
        let mut run = BTreeMap::<u64, usize>::new();
        for label in events.iter().filter_map(|line| line.strip_prefix("note ")) {
            *run.entry(label.parse().expect("a label")).or_default() += 1;
        }
        let all = self.0.lock().unwrap();
        for (label, answered) in &*all {
            match (run.get(label), answered) {
                (Some(1), _) | (None, false) => {}
                (times, _) => panic!("message {label} was run {times:?} times: {answered}"),
            }
        }
        (
            all.len(),
            all.values().filter(|answered| **answered).count(),
        )
    }
}
