//! Launching: which event runs next.

use super::Server;
use super::events::Answering;
use crate::client::Task;
use crate::job::{Fault, Job};
use crate::limits::KILL_GRACE;
use crate::sys::{Program, Sys};
use log::{debug, warn};

impl<S: Sys> Server<S> {
    /// Starts the events that wait, oldest first, while there are job slots. One program
    /// holds all slots but one at most, even while nobody else waits: a hung one would
    /// still hold the last when somebody does.
    ///
    /// True: others may go on. One could not be started and its event has ended, or one has
    /// taken its payload at once and so given memory back.
    pub(super) fn launch(&mut self) -> bool {
        let (answers, memory) = (self.answers.len(), self.shared.memory.used());
        while !self.out_of_means && self.slots().count() < self.shared.config.jobs {
            let Some((number, ticket)) = self.next_event() else {
                break;
            };
            self.start(number, ticket);
        }
        self.answers.len() != answers || self.shared.memory.used() < memory
    }

    /// The programs that hold a slot each: by a job, or by a reply whose output is not part
    /// of the account yet.
    fn slots(&self) -> impl Iterator<Item = &str> {
        let unpaid = self.answers.iter().filter_map(Answering::unpaid);
        let answering = unpaid.filter_map(|number| self.clients.get(number));
        let jobs = self.jobs.iter().map(|job| job.program.as_str());
        jobs.chain(answering.map(|client| client.request.program.as_str()))
    }

    fn next_event(&self) -> Option<(u64, u64)> {
        let most = (self.shared.config.jobs - 1).max(1);
        let crowded = |program: &str| self.slots().filter(|p| *p == program).count() >= most;
        let waiting = self.clients.values();
        let waiting = waiting.filter_map(|client| client.ticket().map(|t| (client, t)));
        let free = waiting.filter(|(client, _)| !crowded(&client.request.program));
        let first = free.min_by_key(|(_, ticket)| *ticket);
        first.map(|(client, ticket)| (client.id.number, ticket))
    }

    fn start(&mut self, number: u64, ticket: u64) {
        let Some(client) = self.clients.get_mut(number) else {
            return;
        };
        let Some(task) = client.start() else {
            return;
        };
        let kind = task.kind();
        let env = client.environment(&task, &self.run.outbox());
        let program = Program {
            path: &client.request.path,
            env: &env,
            stdin: matches!(task, Task::Message(..)),
        };
        debug!("{} {}: {}", client.id, client.request.program, kind.name());
        let shared = &mut self.shared;
        let child = match shared.sys.spawn(&program) {
            Ok(child) => child,
            // What is short (memory, processes, descriptors) comes back as jobs end.
            Err(e) if !self.jobs.is_empty() => {
                warn!(
                    "{} {}: not started yet: {e}",
                    client.id, client.request.program
                );
                client.put_back(ticket, task);
                self.out_of_means = true;
                return;
            }
            Err(e) => {
                let fault = Fault::Launch(e.to_string());
                return self.event_done(number, kind, Err(fault));
            }
        };
        let payload = match task {
            Task::Message(_, payload) => Some(payload),
            Task::Open | Task::Close => None,
        };
        let (config, program) = (&shared.config, &client.request.program);
        let mut deadline = shared.now + config.event_timeout;
        if let Some(end) = self.stopping {
            deadline = deadline.min(end.saturating_sub(KILL_GRACE));
        }
        let mut job = Job::new(
            client.id,
            kind,
            program,
            child,
            payload,
            config.max_reply,
            deadline,
        );
        job.feed(&shared.sys);
        self.jobs.push(job);
    }
}
