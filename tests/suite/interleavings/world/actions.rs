//! What can happen next, and the state after it.

use std::time::Duration;

use docker_credential_ecr_login::cache::protocol::{Requested, Step};

use super::{Actor, END, Faults, Files, Slot, World};
use crate::interleavings::broken::Broken;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Start(usize),
    /// The process carries out its step.
    Run(usize),
    /// The same, and it fails.
    Fail(usize),
    Request(usize, Requested),
    Kill(usize),
    Stop(usize),
    Continue(usize),
    FillDisk,
    SetClock(i8),
    /// The next step of an erasure.
    Erase(u8),
    /// The next step of a sweep.
    Sweep(u8),
}

impl World {
    /// Everything that can happen next.
    pub fn actions(&self) -> Vec<Action> {
        let mut all = Vec::new();
        let may = |count: u8| self.may(count);
        let mut may_tick = self.now < END;
        let mut is_alive = false;
        for (number, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::New(..) => {
                    // Of processes that are alike, the first starts first.
                    if number == 0 || self.slots[number - 1] != *slot {
                        all.push(Action::Start(number));
                    }
                    may_tick &= self.now < self.latest_start;
                    is_alive = true;
                }
                Slot::Running(actor) => {
                    is_alive = true;
                    if actor.is_stopped {
                        all.push(Action::Continue(number));
                    } else {
                        may_tick &= self.steps(number, actor, &mut all);
                        if may(self.faults.stops) {
                            all.push(Action::Stop(number));
                        }
                    }
                    if may(self.faults.kills) {
                        all.push(Action::Kill(number));
                    }
                }
                Slot::Ended | Slot::Killed => {}
            }
        }
        for (key, Files { erasing, sweeping, .. }) in (0u8..).zip(&self.files) {
            may_tick &= erasing.is_none() && sweeping.is_none();
            if sweeping.is_some() || (is_alive && key == 0 && self.faults.sweeps > 0) {
                all.push(Action::Sweep(key));
            }
            if erasing.is_some() || (is_alive && key == 0 && may(self.faults.erasures)) {
                all.push(Action::Erase(key));
            }
        }
        if !is_alive {
            return all;
        }
        if may(self.faults.full) {
            all.push(Action::FillDisk);
        }
        if may(self.faults.clocks) {
            all.extend([-1, 3].map(Action::SetClock));
        }
        if may_tick {
            all.push(Action::Tick);
        }
        all
    }

    /// What a process can do. Returns whether it waits meanwhile.
    fn steps(&self, number: usize, actor: &Actor, all: &mut Vec<Action>) -> bool {
        let may = |count: u8| self.may(count);
        if let Step::Request(limit) = actor.step {
            let is_late = Duration::from_secs(self.now.into()) >= limit;
            let failed = |is_refusal| Requested::Failed { is_refusal };
            let issued = Requested::Issued { is_cacheable: true };
            let results = [issued, failed(true), failed(false), Requested::SettingsChanged];
            all.extend(results.map(|requested| Action::Request(number, requested)));
            return !is_late;
        }
        all.push(Action::Run(number));
        let may_fail = match actor.step {
            Step::TryLock(_) => actor.opened.is_none() && may(self.faults.locks),
            Step::BeginSave | Step::Save | Step::Report { .. } => !self.is_full && may(self.faults.writes),
            _ => false,
        };
        if may_fail {
            all.push(Action::Fail(number));
        }
        actor.step == Step::Wait
    }

    /// The state after an action.
    pub fn after(&self, action: Action, broken: Option<Broken>) -> Self {
        let mut world = self.clone();
        match action {
            Action::Tick => world.tick(broken),
            Action::Start(number) => world.start(number, broken),
            Action::Run(number) => world.run(number, None, true, broken),
            Action::Fail(number) => {
                match world.actor(number).step {
                    Step::TryLock(_) => world.faults.locks -= 1,
                    _ => world.faults.writes -= 1,
                }
                world.spend();
                world.run(number, None, false, broken);
            }
            Action::Request(number, requested) => world.run(number, Some(requested), true, broken),
            Action::Kill(number) => {
                world.faults.kills -= 1;
                world.spend();
                world.slots[number] = Slot::Killed;
            }
            Action::Stop(number) => {
                world.faults.stops -= 1;
                world.spend();
                let actor = world.actor(number);
                (actor.is_stopped, actor.past.was_stopped) = (true, true);
            }
            Action::Continue(number) => world.go_on(number),
            Action::FillDisk => {
                world.faults.full -= 1;
                world.spend();
                world.is_full = true;
            }
            Action::SetClock(by) => {
                world.faults.clocks -= 1;
                world.spend();
                world.wall += by;
                world.clock_was_set = true;
            }
            Action::Erase(key) => world.erase(key, broken),
            Action::Sweep(key) => world.sweep(key),
        }
        world.remember_prints(self);
        world.check_end();
        world
    }

    fn may(&self, count: u8) -> bool {
        count > 0 && self.faults.any > 0
    }

    pub(super) fn spend(&mut self) {
        self.faults.any -= 1;
        if self.faults.any == 0 {
            self.faults = Faults { sweeps: self.faults.sweeps, ..Faults::NONE };
        }
        self.had_fault = true;
    }
}
