//! Replaces workers of the current generation that exit, with a pause that grows while they do not live long.

use std::time::Duration;

use super::event::{Action, Program};
use super::generation::{Role, Vacancy, Worker, WorkerState};
use super::message::Message;
use super::timers::Timer;
use super::{Phase, Supervisor};
use crate::types::process::{WorkerId, WorkerPlace};
use crate::types::time::Instant;

/// The pause before the second replacement in a row. The first one starts at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The pauses grow by half up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A worker that exits sooner has not proven itself, whatever `-start` says: otherwise the master would start workers without a pause.
const SHORTEST_PROOF: Duration = Duration::from_secs(1);

/// The pause before the next worker of a slot, after so many failures in a row.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(grown) => (0..grown.min(16)).fold(FIRST_PAUSE, |pause, _| pause.saturating_mul(3) / 2).min(LONGEST_PAUSE),
    }
}

impl Supervisor {
    /// Whether this worker is replaced when it is gone. The only worker of a first generation that is not ready yet is not: its exit
    /// is the failure of the start.
    pub(super) fn is_replaced(&self, id: WorkerId) -> bool {
        let Some((generation, worker)) = self.worker(id) else { return false };
        let has_started = self.announced || generation.workers.len() > 1 || !generation.vacancies.is_empty();
        matches!(self.phase, Phase::Serving | Phase::RollingOver(_))
            && generation.role == Role::Current
            && generation.policy.respawn
            && worker.stop.is_none()
            && has_started
    }

    /// Notes that this worker, which is about to be removed, is to be replaced.
    pub(super) fn leave_vacancy(&mut self, id: WorkerId, now: Instant, act: &mut Vec<Action>) {
        let Some(generation) = self.generations.iter_mut().find(|generation| generation.role == Role::Current) else { return };
        let Some(worker) = generation.worker_mut(id) else { return };
        let lived = match worker.state {
            WorkerState::Spawning => Duration::ZERO,
            WorkerState::Running { .. } | WorkerState::Leaderless { .. } => now.since(worker.started),
        };
        let (slot, failures) = (worker.slot, worker.failures);
        let failures = if lived >= generation.policy.trust.proof().max(SHORTEST_PROOF) { 0 } else { failures };
        let pause = pause(failures);
        generation.vacancies.push(Vacancy { slot, due: now.after(pause), failures: failures.saturating_add(1) });
        if !pause.is_zero() {
            act.push(Action::Log(Message::Respawning { generation: generation.number, after: pause }));
        }
    }

    /// Starts the workers that are due, and sets the timer for the next one.
    pub(super) fn fill_vacancies(&mut self, now: Instant, act: &mut Vec<Action>) {
        self.timers.stop(Timer::Respawn);
        let mut next = None;
        for at in 0..self.generations.len() {
            let Some(generation) = self.generations.get_mut(at) else { continue };
            let (due, later) = std::mem::take(&mut generation.vacancies).into_iter().partition(|vacancy: &Vacancy| vacancy.due <= now);
            generation.vacancies = later;
            next = next.into_iter().chain(generation.vacancies.iter().map(|vacancy| vacancy.due)).min();
            let number = generation.number;
            for Vacancy { slot, failures, .. } in due {
                let id = self.new_id();
                self.restarts = self.restarts.saturating_add(1);
                if let Some(generation) = self.generations.get_mut(at) {
                    generation.workers.push(Worker::new(id, slot, failures, now));
                    act.push(Action::Spawn { id, what: Program::Worker(WorkerPlace { generation: number, slot }) });
                }
            }
        }
        if let Some(due) = next {
            self.timers.set(Timer::Respawn, due);
        }
    }

    /// No worker is replaced any more, but those of a current generation while no stop has begun.
    pub(super) fn fill_no_vacancy(&mut self, act: &mut Vec<Action>) {
        let stopping = self.phase == Phase::Stopping;
        for generation in self.generations.iter_mut().filter(|generation| stopping || generation.role != Role::Current) {
            generation.vacancies.clear();
        }
        if self.generations.iter().all(|generation| generation.vacancies.is_empty()) {
            self.timers.stop(Timer::Respawn);
        }
        self.forget_the_gone(act);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_by_half_up_to_half_a_minute() {
        let pauses: Vec<u64> = (0..=11).map(|failures| pause(failures).as_millis() as u64).collect();
        assert_eq!(pauses, [0, 1000, 1500, 2250, 3375, 5062, 7593, 11390, 17085, 25628, 30_000, 30_000]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
