//! A smaller plan that fails in the same way.

use crate::plan::{Act, Browse, Fault, Order, Plan, Setting, Write};
use std::time::{Duration, Instant};

/// What tells one failure from another: its words, without numbers and names.
pub fn class(why: &str) -> String {
    let words = why.split_whitespace().filter(|word| {
        let named = word.starts_with("browser") || word.starts_with("child");
        !named && !word.contains(|c: char| c.is_ascii_digit())
    });
    words.take(6).collect::<Vec<_>>().join(" ")
}

/// Tries smaller plans for a while.
pub fn shrink(plan: &Plan, fails: &dyn Fn(&Plan) -> bool, time: Duration) -> Plan {
    let end = Instant::now() + time;
    let mut best = plan.clone();
    loop {
        let mut smaller = None;
        for candidate in candidates(&best) {
            if Instant::now() > end {
                return best;
            }
            if candidate != best && fails(&candidate) {
                smaller = Some(candidate);
                break;
            }
        }
        match smaller {
            Some(plan) => best = plan,
            None => return best,
        }
    }
}

/// Plans with one thing less, the large things first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Plan)| {
        let mut other = plan.clone();
        change(&mut other);
        all.push(other);
    };
    with(&|p| p.faults.clear());
    with(&|p| p.writers.clear());
    with(&|p| p.settings.clear());
    // An act that is not there does nothing, as an empty one.
    with(&|p| {
        while p.acts.last().is_some_and(Vec::is_empty) {
            p.acts.pop();
        }
    });
    for i in 0..plan.browsers.len() {
        with(&|p| {
            p.browsers.remove(i);
        });
    }
    for i in 0..plan.writers.len() {
        with(&|p| {
            p.writers.remove(i);
        });
    }
    for i in 0..plan.faults.len() {
        with(&|p| {
            p.faults.remove(i);
        });
    }
    for i in 0..plan.settings.len() {
        with(&|p| {
            p.settings.remove(i);
        });
    }
    for i in 0..plan.acts.len() {
        if !plan.acts[i].is_empty() {
            with(&|p| p.acts[i].clear());
        }
    }
    for i in 0..plan.browsers.len() {
        let steps = plan.browsers[i].steps.len();
        with(&|p| p.browsers[i].steps.truncate(steps / 2));
        for j in 0..steps {
            with(&|p| {
                p.browsers[i].steps.remove(j);
            });
        }
    }
    for i in 0..plan.writers.len() {
        for j in 0..plan.writers[i].len() {
            with(&|p| {
                p.writers[i].remove(j);
            });
        }
    }
    for i in 0..plan.acts.len() {
        for j in 0..plan.acts[i].len() {
            with(&|p| {
                p.acts[i].remove(j);
            });
        }
    }
    for i in 0..plan.orders.len() {
        with(&|p| {
            p.orders.remove(i);
        });
    }
    // Then the numbers.
    for i in 0..plan.browsers.len() {
        for come in plan.browsers[i].come.simpler() {
            with(&|p| p.browsers[i].come = come.clone());
        }
        for j in 0..plan.browsers[i].steps.len() {
            for step in Browse::simpler(&plan.browsers[i].steps[j]) {
                with(&|p| p.browsers[i].steps[j] = step.clone());
            }
        }
    }
    for i in 0..plan.writers.len() {
        for j in 0..plan.writers[i].len() {
            for step in Write::simpler(&plan.writers[i][j]) {
                with(&|p| p.writers[i][j] = step.clone());
            }
        }
    }
    for i in 0..plan.acts.len() {
        for j in 0..plan.acts[i].len() {
            for step in Act::simpler(&plan.acts[i][j]) {
                with(&|p| p.acts[i][j] = step.clone());
            }
        }
    }
    for i in 0..plan.settings.len() {
        for setting in Setting::simpler(&plan.settings[i]) {
            with(&|p| p.settings[i] = setting.clone());
        }
    }
    for i in 0..plan.faults.len() {
        for fault in Fault::simpler(&plan.faults[i]) {
            with(&|p| p.faults[i] = fault.clone());
        }
    }
    for i in 0..plan.orders.len() {
        for order in Order::simpler(&plan.orders[i]) {
            with(&|p| p.orders[i] = order.clone());
        }
    }
    all
}
