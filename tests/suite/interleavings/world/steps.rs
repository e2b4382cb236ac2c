//! What each action does: the steps of the processes, carried out on the files, locks and time of the model.

use std::rc::Rc;
use std::time::Duration;

use docker_credential_ecr_login::cache::Freshness;
use docker_credential_ecr_login::cache::protocol::{Need, Process, Requested, SAVING, Save, Seen, Step};

use super::{Actor, DEADLINE, END, Failure, POSTPONED, Past, Slot, TIMING, Token, World};
use crate::interleavings::broken::Broken;

impl World {
    /// A process starts, and carries out its first step.
    pub(super) fn start(&mut self, number: usize, broken: Option<Broken>) {
        let Slot::New(key, need) = self.slots[number] else { panic!("it has started") };
        let within = match need {
            _ if broken == Some(Broken::WaitsWithoutEnd) => 2 * END,
            Need::List => DEADLINE - 2,
            Need::Answer | Need::Login => DEADLINE,
        };
        let acts_for = if broken == Some(Broken::LoginTakesWhatIsCached) { Need::Answer } else { need };
        let (process, step) = Process::start(TIMING, Duration::from_secs((self.now + within).into()), acts_for);
        self.slots[number] = Slot::Running(Rc::new(Actor {
            key,
            need,
            started: self.now,
            process,
            step,
            is_stopped: false,
            opened: None,
            holds: false,
            begun: None,
            has_second: false,
            saved: 0,
            request: 0,
            read: None,
            issued: None,
            report: None,
            failures: None,
            past: Past::default(),
        }));
        self.run(number, None, true, broken);
    }

    /// A process that was stopped goes on, and those who waited for it go on to do so.
    pub(super) fn go_on(&mut self, number: usize) {
        let key = self.actor(number).key;
        self.actor(number).is_stopped = false;
        for slot in &mut self.slots {
            if let Slot::Running(actor) = slot
                && actor.key == key
            {
                Rc::make_mut(actor).past.waited_for_nobody = 0;
            }
        }
    }

    pub(super) fn tick(&mut self, broken: Option<Broken>) {
        let is_served = |key: u8| {
            self.running().any(|actor| actor.key == key && !actor.is_stopped && matches!(actor.step, Step::Request(_)))
        };
        let served: Vec<bool> = (0u8..).take(self.files.len()).map(is_served).collect();
        self.now += 1;
        let (now, wall) = (self.now, self.wall_now());
        let mut broke = None;
        for slot in &mut self.slots {
            let Slot::Running(actor) = slot else { continue };
            if actor.is_stopped {
                continue;
            }
            let actor = Rc::make_mut(actor);
            let past = &mut actor.past;
            past.waited_for_nobody = if served[usize::from(actor.key)] { 0 } else { past.waited_for_nobody + 1 };
            if past.waited_for_nobody > 4 {
                broke = Some("after a leader dies or stops, another one asks within three seconds");
            }
            if !past.was_stopped && now > actor.started + DEADLINE + 2 {
                broke = Some("whoever asks is answered by its deadline");
            }
            if actor.step == Step::Wait {
                actor.step = actor.process.next(Seen::Done, Duration::from_secs(now.into()));
            } else if let (Some((slot, inode)), true) =
                (actor.opened, actor.holds && broken != Some(Broken::NoHeartbeat))
            {
                let lock = self.files[usize::from(actor.key)].locks[usize::from(slot)].as_mut();
                if let Some(lock) = lock.filter(|lock| lock.inode == inode) {
                    lock.heartbeat = wall;
                }
            }
        }
        if let Some(promise) = broke {
            self.violate(promise);
        }
    }

    /// Carries out the step of a process, with or without success, and its answer if that comes next.
    pub(super) fn run(&mut self, number: usize, requested: Option<Requested>, succeeds: bool, broken: Option<Broken>) {
        let mut actor = self.actor(number).clone();
        self.carry_out(number, &mut actor, requested, succeeds, broken);
        if let Step::Answer(answer) = actor.step {
            self.judge(&actor, answer);
            self.slots[number] = Slot::Ended;
        } else {
            *self.actor(number) = actor;
        }
    }

    fn carry_out(
        &mut self,
        number: usize,
        actor: &mut Actor,
        requested: Option<Requested>,
        succeeds: bool,
        broken: Option<Broken>,
    ) {
        let key = if broken == Some(Broken::ReadsAnotherKey) { 0 } else { usize::from(actor.key) };
        let succeeds =
            succeeds && (!self.is_full || !matches!(actor.step, Step::BeginSave | Step::Save | Step::Report { .. }));
        let seen = match actor.step {
            Step::LookUp => {
                let entry = self.files[key].entry;
                let mut cached = entry.map_or(Freshness::Expired, |entry| self.freshness(entry));
                if broken == Some(Broken::ServesExpired) && entry.is_some() {
                    cached = Freshness::Fresh;
                }
                actor.read = entry.map(|entry| (entry, cached));
                Some(Seen::Cached(cached))
            }
            Step::ReadReport => Some(Seen::Report(self.read_report(actor, broken))),
            Step::TryLock(number) => self.try_lock(actor, number, succeeds, broken).map(Seen::Lock),
            Step::TestLock(number) => Some(Seen::Tested(self.test_lock(actor, number))),
            Step::Wait => Some(Seen::Done),
            Step::BeginSave => {
                actor.begun = succeeds.then_some(self.files[key].erasures);
                actor.past.could_not_save = !succeeds;
                Some(Seen::Begun(succeeds))
            }
            Step::Request(_) => {
                let requested = requested.expect("a result");
                match requested {
                    Requested::Issued { .. } => {
                        let erasures = actor.begun.unwrap_or(0);
                        let (at, wall) = (self.now.cast_signed(), self.wall_now());
                        actor.issued = Some(Token { key: actor.key, at, wall, request: actor.request, erasures });
                        self.files[usize::from(actor.key)].has_issued = true;
                        self.files[usize::from(actor.key)].has_failed = false;
                    }
                    Requested::Failed { is_refusal } => {
                        actor.past.was_refused = is_refusal;
                        self.files[usize::from(actor.key)].has_failed = true;
                    }
                    Requested::SettingsChanged => {}
                }
                if !matches!(requested, Requested::Issued { .. }) {
                    actor.begun = None;
                }
                Some(Seen::Requested(requested))
            }
            Step::Save => self.save(actor, succeeds, broken).then_some(Seen::Done),
            Step::Report { postpones, is_shared } => {
                if succeeds {
                    let refresh_after = postpones.then_some(self.wall_now() + POSTPONED);
                    let (at, wall, is_refusal) = (self.now, self.wall_now(), actor.past.was_refused);
                    let is_regular = actor.is_regular();
                    let files = &mut self.files[key];
                    files.failures += 1;
                    let id = files.failures;
                    files.report = Some(Failure { id, at, wall, refresh_after, is_refusal, is_shared, is_regular });
                }
                Some(Seen::Done)
            }
            Step::RemoveEntry => {
                if broken != Some(Broken::KeepsRefusedToken) {
                    self.cancel_saves(actor.key, u8::MAX);
                    (self.files[key].entry, self.files[key].of_credentials) = (None, None);
                }
                Some(Seen::Done)
            }
            Step::RemoveReport => {
                self.files[key].report = None;
                Some(Seen::Done)
            }
            Step::Unlock => self.unlock(actor, broken).then_some(Seen::Done),
            Step::Answer(_) => unreachable!("it has been carried out"),
        };
        if let Some(seen) = seen {
            let now = Duration::from_secs(self.now.into());
            let seen = broken.map_or(seen, |broken| broken.distort(actor.need, now, seen));
            actor.step = actor.process.next(seen, now);
            if let Step::Request(_) = actor.step {
                self.judge_request(number, actor);
            }
        }
    }

    /// The next step of a save. Returns whether it was the last one.
    fn save(&mut self, actor: &mut Actor, succeeds: bool, broken: Option<Broken>) -> bool {
        let mut order = SAVING;
        if broken == Some(Broken::SavesForCredentialsFirst) {
            order.swap(0, 1);
        }
        if actor.saved == 0 {
            // The second temporary file is written before the first one gets to its place.
            actor.has_second = actor.begun.is_some();
        }
        let step = order[usize::from(actor.saved)];
        let is_there = match step {
            Save::Entry => actor.begun.take().is_some(),
            Save::OfCredentials => std::mem::take(&mut actor.has_second),
            Save::EarlierSaves => {
                if broken != Some(Broken::KeepsEarlierSaves) {
                    self.cancel_saves(actor.key, actor.request);
                }
                self.files[usize::from(actor.key)].saved = actor.request;
                return true;
            }
        };
        let (true, Some(token)) = (is_there && succeeds, actor.issued) else {
            actor.has_second = false;
            return true;
        };
        let files = &mut self.files[usize::from(actor.key)];
        let place = match step {
            Save::Entry => &mut files.entry,
            Save::OfCredentials | Save::EarlierSaves => &mut files.of_credentials,
        };
        let before = place.replace(token);
        self.judge_save(actor, before, token);
        actor.saved += 1;
        false
    }
}
