//! Which states are alike, and what is left of one when only the processes of one key count.

use std::rc::Rc;

use super::{Action, Files, Slot, World};
use crate::interleavings::search::fingerprint;

impl World {
    /// A hash of the state. Processes of one key are alike, so that their order does not count.
    pub fn fingerprint(&self) -> u64 {
        let Self { now, wall, is_full, faults, had_fault, clock_was_set, latest_start: _, files, .. } = self;
        let mut prints = self.prints.clone();
        prints.sort_unstable();
        fingerprint(&((now, wall, is_full, faults, had_fault, clock_was_set), files, prints, self.violation))
    }

    /// The same for those of one key alone, as if there were no others.
    pub fn of_key(&self, key: u8) -> Self {
        let mut world = self.clone();
        for (number, slot) in self.slots.iter().enumerate() {
            if slot.key() != Some(key) {
                world.slots[number] = Slot::Ended;
            }
        }
        for (number, files) in (0u8..).zip(&mut world.files) {
            if number != key {
                *files = Files::default();
            }
        }
        world.remember_prints(self);
        world
    }

    /// A hash of the files, the processes, the time and the disk, without the faults that may still come.
    pub fn fingerprint_without_faults(&self) -> u64 {
        fingerprint(&(self.now, self.wall, self.is_full, &self.files, &self.prints))
    }

    /// Whether all processes have ended.
    pub fn is_over(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Ended | Slot::Killed))
    }

    /// The key that an action is about; `None` if it is about all.
    pub fn key_of(&self, action: Action) -> Option<u8> {
        match action {
            Action::Tick | Action::FillDisk | Action::SetClock(_) => None,
            Action::Erase(key) | Action::Sweep(key) => Some(key),
            Action::Start(number)
            | Action::Run(number)
            | Action::Fail(number)
            | Action::Request(number, _)
            | Action::Kill(number)
            | Action::Stop(number)
            | Action::Continue(number) => self.slots[number].key(),
        }
    }

    /// Takes the fingerprints anew of what differs from the state before.
    pub(super) fn remember_prints(&mut self, before: &Self) {
        for (number, slot) in self.slots.iter().enumerate() {
            match (slot, &before.slots[number]) {
                (Slot::Running(now), Slot::Running(then)) if Rc::ptr_eq(now, then) => {}
                _ => self.prints[number] = fingerprint(slot),
            }
        }
    }
}
