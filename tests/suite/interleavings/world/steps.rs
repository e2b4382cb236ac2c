//! What each action does: the steps of the processes, carried out on the files, locks and time of the model.

use std::time::{Duration, SystemTime};

use docker_credential_ecr_login::cache::Cached;
use docker_credential_ecr_login::cache::protocol::{
    ERASURE, Erase, Locked, Need, Process, Report, Requested, SWEEP, Seen, Step, Sweep, counts,
};

use super::{Actor, Broken, DEADLINE, END, Failure, LIFETIME, LockFile, POSTPONED, Past, Slot, TIMING, Token, World};

impl World {
    pub(super) fn start(&mut self, number: usize, broken: Option<Broken>) {
        let Slot::New(key) = self.slots[number] else { panic!("it has started") };
        let within = if broken == Some(Broken::WaitsWithoutEnd) { 2 * END } else { DEADLINE };
        let (process, step) = Process::start(TIMING, Duration::from_secs((self.now + within).into()), Need::Answer);
        self.slots[number] = Slot::Running(Box::new(Actor {
            key,
            started: self.now,
            process,
            step,
            is_stopped: false,
            opened: None,
            holds: false,
            begun: None,
            read: None,
            issued: None,
            report: None,
            failures: None,
            past: Past::default(),
        }));
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

    /// The freshness of a token as `cache::entry` decides it.
    pub(super) fn freshness(&self, token: Token) -> Cached {
        let by_wall = self.wall_now() - token.wall;
        let age = by_wall.max(self.now.cast_signed() - token.at);
        match age {
            _ if by_wall < 0 || age >= LIFETIME => Cached::Missing,
            age if age < LIFETIME / 2 => Cached::Fresh,
            age if LIFETIME - age <= LIFETIME / 10 => Cached::ExpiresSoon,
            _ => Cached::Stale,
        }
    }

    pub(super) fn erase(&mut self, key: u8, broken: Option<Broken>) {
        let done = self.files[usize::from(key)].erasing.unwrap_or(0);
        if done == 0 {
            self.files[usize::from(key)].erasures += 1;
            self.faults.erasures -= 1;
            self.spend();
        }
        let mut order = ERASURE;
        if broken == Some(Broken::ErasesEntryFirst) {
            order.swap(0, 1);
        }
        match order[usize::from(done)] {
            Erase::Entry => self.files[usize::from(key)].entry = None,
            Erase::Report => self.files[usize::from(key)].report = None,
            Erase::BegunSaves => {
                for slot in &mut self.slots {
                    match slot {
                        Slot::Running(actor) if actor.key == key => actor.begun = None,
                        _ => {}
                    }
                }
            }
        }
        let files = &mut self.files[usize::from(key)];
        files.erasing = Some(done + 1).filter(|done| usize::from(*done) < ERASURE.len());
        if files.erasing.is_none() && files.entry.is_some_and(|token| token.erasures < files.erasures) {
            self.violate("an erasure wins over a save that began before it");
        }
    }

    pub(super) fn sweep(&mut self, key: u8) {
        let wall = self.wall_now();
        let is_locked = self.running().any(|actor| {
            let first = self.files[usize::from(key)].locks[0];
            actor.key == key && actor.holds && actor.opened == first.map(|lock| (0, lock.inode))
        });
        let is_expired = |token: Token| self.freshness(token) == Cached::Missing;
        let is_unused = self.files[usize::from(key)].entry.is_some_and(is_expired);
        let files = &mut self.files[usize::from(key)];
        let (done, inode) = files.sweeping.unwrap_or((0, 0));
        // Each step of the sweep, and the release of its lock after the removal of the file.
        let next = match SWEEP.get(usize::from(done)) {
            Some(Sweep::Lock) => {
                self.faults.sweeps -= 1;
                if is_locked {
                    return;
                }
                let lock = files.locks[0].get_or_insert_with(|| {
                    files.inodes += 1;
                    LockFile { inode: files.inodes, heartbeat: wall }
                });
                Some((done + 1, lock.inode))
            }
            Some(Sweep::RemoveUnused) => {
                files.entry = files.entry.filter(|_| !is_unused);
                files.report = files.report.filter(|report| wall <= report.wall + POSTPONED);
                Some((done + 1, inode))
            }
            Some(Sweep::Unlock) => {
                files.locks[0] = files.locks[0].filter(|lock| lock.inode != inode);
                Some((done + 1, inode))
            }
            None => None,
        };
        files.sweeping = next;
    }

    /// Carries out the step of a process, with or without success.
    pub(super) fn run(&mut self, number: usize, requested: Option<Requested>, succeeds: bool, broken: Option<Broken>) {
        let mut actor = self.actor(number).clone();
        let key = if broken == Some(Broken::ReadsAnotherKey) { 0 } else { usize::from(actor.key) };
        let succeeds =
            succeeds && (!self.is_full || !matches!(actor.step, Step::BeginSave | Step::Save | Step::Report { .. }));
        let seen = match actor.step {
            Step::LookUp => {
                let entry = self.files[key].entry;
                let mut cached = entry.map_or(Cached::Missing, |entry| self.freshness(entry));
                if broken == Some(Broken::ServesExpired) && entry.is_some() {
                    cached = Cached::Fresh;
                }
                actor.read = entry.map(|entry| (entry, cached));
                Some(Seen::Cached(cached))
            }
            Step::ReadReport => Some(Seen::Report(self.read_report(&mut actor, broken))),
            Step::TryLock(number) => self.try_lock(&mut actor, number, succeeds, broken).map(Seen::Lock),
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
                        actor.issued = Some(Token { key: actor.key, at, wall, erasures });
                        self.files[usize::from(actor.key)].issued += 1;
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
            Step::Save => {
                if actor.begun.take().is_some() && succeeds {
                    self.files[key].entry = actor.issued;
                    let files = &self.files[key];
                    if files.erasing.is_none() && actor.issued.is_some_and(|token| token.erasures < files.erasures) {
                        self.violate("an erasure wins over a save that began before it");
                    }
                }
                Some(Seen::Done)
            }
            Step::Report { postpones, .. } => {
                if succeeds {
                    let refresh_after = postpones.then_some(self.wall_now() + POSTPONED);
                    let (at, wall, is_refusal) = (self.now, self.wall_now(), actor.past.was_refused);
                    let is_regular = actor.is_regular();
                    let files = &mut self.files[key];
                    files.failures += 1;
                    let id = files.failures;
                    files.report = Some(Failure { id, at, wall, refresh_after, is_refusal, is_regular });
                }
                Some(Seen::Done)
            }
            Step::RemoveEntry => {
                if broken != Some(Broken::KeepsRefusedToken) {
                    self.files[key].entry = None;
                }
                Some(Seen::Done)
            }
            Step::RemoveReport => {
                self.files[key].report = None;
                Some(Seen::Done)
            }
            Step::Unlock => self.unlock(&mut actor, broken).then_some(Seen::Done),
            Step::Answer(answer) => {
                self.judge(&actor, answer);
                self.slots[number] = Slot::Ended;
                return;
            }
        };
        if let Some(seen) = seen {
            let seen = broken.map_or(seen, |broken| broken.distort(seen));
            actor.step = actor.process.next(seen, Duration::from_secs(self.now.into()));
            if let Step::Request(_) = actor.step {
                self.judge_request(number, &mut actor);
            }
        }
        *self.actor(number) = actor;
    }

    fn read_report(&self, actor: &mut Actor, broken: Option<Broken>) -> Option<Report> {
        let files = &self.files[usize::from(actor.key)];
        actor.report = files.report;
        actor.failures.get_or_insert(files.failures);
        files.report.map(|report| {
            let age = time::Duration::seconds(i64::from(self.wall_now() - report.wall));
            let left = report.refresh_after.map_or(0, |until| until - self.wall_now());
            let counts = counts(age, Some((report.at.into(), self.now.into())));
            Report {
                id: report.id.into(),
                is_shared: true,
                counts: counts || broken == Some(Broken::SharesForever),
                postpones: (0 < left && left <= POSTPONED) || broken == Some(Broken::PostponesForever),
                is_refusal: report.is_refusal,
            }
        })
    }

    /// Opens the lock file, and takes the lock with the next step: others may remove the file in between.
    fn try_lock(&mut self, actor: &mut Actor, number: u8, succeeds: bool, broken: Option<Broken>) -> Option<Locked> {
        if !succeeds {
            actor.past.is_without_lock = true;
            return Some(Locked::Failed);
        }
        let wall = self.wall_now();
        let files = &mut self.files[usize::from(actor.key)];
        let file = &mut files.locks[usize::from(number)];
        let Some((_, inode)) = actor.opened else {
            let lock = file.get_or_insert_with(|| {
                files.inodes += 1;
                LockFile { inode: files.inodes, heartbeat: wall }
            });
            actor.opened = Some((number, lock.inode));
            return None;
        };
        let file = *file;
        let is_swept =
            number == 0 && self.files[usize::from(actor.key)].sweeping.is_some_and(|(_, held)| held == inode);
        let is_free = !is_swept
            && !self.running().any(|other| other.holds && other.key == actor.key && other.opened == actor.opened);
        let is_same = file.is_some_and(|file| file.inode == inode) || broken == Some(Broken::TrustsAnyLockFile);
        if (is_free && is_same) || broken == Some(Broken::IgnoresLocks) {
            actor.holds = true;
            return Some(Locked::Taken);
        }
        actor.opened = None;
        actor.past.was_held = true;
        let heartbeat = file.map(|file| u64::try_from(file.heartbeat + 64).expect("a time"));
        Some(Locked::Held(heartbeat.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at))))
    }

    /// Removes the lock file, and releases the lock with the next step, which is the last one.
    fn unlock(&mut self, actor: &mut Actor, broken: Option<Broken>) -> bool {
        let (number, inode) = actor.opened.expect("a lock");
        let file = &mut self.files[usize::from(actor.key)].locks[usize::from(number)];
        if file.is_some_and(|file| file.inode == inode) && broken != Some(Broken::LeavesLockFile) {
            *file = None;
            return false;
        }
        (actor.opened, actor.holds) = (None, false);
        true
    }
}
