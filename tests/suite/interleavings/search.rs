//! The search: every state that can be reached from a first one, each once.
//!
//! A state is remembered by 64 bits of a hash, so that of a hundred million states one is passed over with a chance of one in four
//! thousand. Time goes only forward: what was seen at an earlier time is forgotten.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use super::broken::Broken;
use super::world::{Action, World};

/// What a search has found: the number of states, and the way to the first broken promise.
pub struct Found {
    pub states: usize,
    pub violation: Option<(&'static str, Vec<Action>)>,
}

/// The way to a state: its last action, and the way before.
struct Way(Action, Option<Rc<Way>>);

/// Visits every state that can be reached from `start`, the nearest of each time first, and passes each to `visit`.
pub fn explore(start: World, broken: Option<Broken>, visit: &mut dyn FnMut(&World)) -> Found {
    let mut states = 0;
    let mut later = vec![(start, None)];
    while !later.is_empty() {
        let mut frontier = std::mem::take(&mut later);
        let mut seen = Seen::default();
        let mut seen_later = Seen::default();
        states += frontier.len();
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for (world, way) in frontier {
                visit(&world);
                for action in world.actions() {
                    let after = world.after(action, broken);
                    let is_later = action == Action::Tick;
                    let of_this_time = if is_later { &mut seen_later } else { &mut seen };
                    if !of_this_time.insert(after.fingerprint()) {
                        continue;
                    }
                    let way = Some(Rc::new(Way(action, way.clone())));
                    if let Some(promise) = after.violation {
                        return Found { states, violation: Some((promise, actions(way.as_ref()))) };
                    }
                    if is_later {
                        later.push((after, way));
                    } else {
                        states += 1;
                        next.push((after, way));
                    }
                }
            }
            frontier = next;
        }
    }
    Found { states, violation: None }
}

fn actions(mut way: Option<&Rc<Way>>) -> Vec<Action> {
    let mut actions = Vec::new();
    while let Some(last) = way {
        actions.push(last.0);
        way = last.1.as_ref();
    }
    actions.reverse();
    actions
}

/// The way to a state, a line for each action, with the steps that the processes are about to carry out.
pub fn describe(start: &World, way: &[Action]) -> String {
    let mut world = start.clone();
    let mut lines = Vec::new();
    for action in way {
        lines.push(format!("{action:?}, where {}", world.describe()));
        world = world.after(*action, None);
    }
    lines.join("\n")
}

/// A set of fingerprints, which are their own hashes.
type Seen = HashSet<u64, BuildHasherDefault<Mixer>>;

pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut mixer = Mixer::default();
    value.hash(&mut mixer);
    mixer.finish()
}

/// A hash that takes little time, also without optimization.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, value: u64) {
        let (low, high) = (self.0 ^ value).carrying_mul(0xa076_1d64_78bd_642f, 0x9e37_79b9_7f4a_7c15);
        self.0 = low ^ high;
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
