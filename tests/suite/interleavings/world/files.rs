//! The files of a key: what reads, locks, erases and sweeps them.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use docker_credential_ecr_login::cache::Freshness;
use docker_credential_ecr_login::cache::protocol::{ERASURE, Erase, Locked, Report, counts};

use super::{Actor, Files, LIFETIME, LockFile, POSTPONED, Slot, Token, World};
use crate::interleavings::broken::Broken;

impl World {
    /// The freshness of a token as `cache::entry` decides it.
    pub(super) fn freshness(&self, token: Token) -> Freshness {
        let by_wall = self.wall_now() - token.wall;
        let age = by_wall.max(self.now.cast_signed() - token.at);
        match age {
            _ if by_wall < 0 || age >= LIFETIME => Freshness::Expired,
            age if age < LIFETIME / 2 => Freshness::Fresh,
            age if LIFETIME - age <= LIFETIME / 10 => Freshness::ExpiresSoon,
            _ => Freshness::Stale,
        }
    }

    pub(super) fn erase(&mut self, key: u8, broken: Option<Broken>) {
        let (done, mut is_named) = self.files[usize::from(key)].erasing.unwrap_or_default();
        if done == 0 {
            self.files[usize::from(key)].erasures += 1;
            self.faults.erasures -= 1;
            self.spend();
        }
        let mut order = ERASURE;
        if broken == Some(Broken::ErasesEntryFirst) {
            order.swap(0, 2);
        }
        let files = &mut self.files[usize::from(key)];
        is_named |= files.entry.is_some();
        match order[usize::from(done)] {
            Erase::BegunSaves => self.cancel_saves(key, u8::MAX),
            Erase::OfCredentials => files.of_credentials = files.of_credentials.filter(|_| !is_named),
            Erase::Entry => files.entry = None,
            Erase::Report => files.report = None,
        }
        let files = &mut self.files[usize::from(key)];
        files.erasing = Some((done + 1, is_named)).filter(|(done, _)| usize::from(*done) < ERASURE.len());
        if files.erasing.is_none() {
            self.judge_erasure(key);
        }
    }

    /// Removes the temporary files of a key whose processes have asked before the one with this number, in the order in which they began.
    pub(super) fn cancel_saves(&mut self, key: u8, request: u8) {
        for slot in &mut self.slots {
            if let Slot::Running(actor) = slot
                && actor.key == key
                && actor.request < request
            {
                let actor = Rc::make_mut(actor);
                (actor.begun, actor.has_second) = (None, false);
            }
        }
    }

    pub(super) fn sweep(&mut self, key: u8) {
        let wall = self.wall_now();
        let is_locked = self.running().any(|actor| {
            let first = self.files[usize::from(key)].locks[0];
            actor.key == key && actor.holds && actor.opened == first.map(|lock| (0, lock.inode))
        });
        let is_unused = |token: &Option<Token>| token.is_some_and(|token| self.freshness(token) == Freshness::Expired);
        let Files { entry, of_credentials, .. } = self.files[usize::from(key)];
        let unused = [is_unused(&entry), is_unused(&of_credentials)];
        let unused_inode = self.unused_inode(key);
        let files = &mut self.files[usize::from(key)];
        let (done, inode) = files.sweeping.unwrap_or((0, 0));
        let next = match done {
            // It takes the first lock, or ends.
            0 => {
                self.faults.sweeps -= 1;
                if is_locked {
                    return;
                }
                let new = LockFile { inode: unused_inode, heartbeat: wall };
                let lock = files.locks[0].get_or_insert(new);
                Some((done + 1, lock.inode))
            }
            // It removes an expired entry, an old report, and a lock file that nobody holds.
            1 => {
                files.entry = files.entry.filter(|_| !unused[0]);
                files.of_credentials = files.of_credentials.filter(|_| !unused[1]);
                files.report = files.report.filter(|report| wall <= report.wall + POSTPONED);
                Some((done + 1, inode))
            }
            // It removes the lock file, and then releases the lock.
            2 => {
                files.locks[0] = files.locks[0].filter(|lock| lock.inode != inode);
                Some((done + 1, inode))
            }
            _ => None,
        };
        files.sweeping = next;
    }

    pub(super) fn read_report(&self, actor: &mut Actor, broken: Option<Broken>) -> Option<Report> {
        let files = &self.files[usize::from(actor.key)];
        actor.report = files.report;
        actor.failures.get_or_insert(files.failures);
        files.report.map(|report| {
            let age = time::Duration::seconds(i64::from(self.wall_now() - report.wall));
            let left = report.refresh_after.map_or(0, |until| until - self.wall_now());
            let counts = counts(age, Some((report.at.into(), self.now.into())));
            Report {
                id: report.id.into(),
                is_shared: report.is_shared,
                counts: counts || broken == Some(Broken::SharesForever),
                postpones: (0 < left && left <= POSTPONED) || broken == Some(Broken::PostponesForever),
                is_refusal: report.is_refusal,
            }
        })
    }

    /// Opens the lock file, and takes the lock with the next step: others may remove the file in between.
    pub(super) fn try_lock(
        &mut self,
        actor: &mut Actor,
        number: u8,
        succeeds: bool,
        broken: Option<Broken>,
    ) -> Option<Locked> {
        if !succeeds {
            actor.past.is_without_lock = true;
            return Some(Locked::Failed);
        }
        let new = LockFile { inode: self.unused_inode(actor.key), heartbeat: self.wall_now() };
        let files = &mut self.files[usize::from(actor.key)];
        let file = &mut files.locks[usize::from(number)];
        let Some((_, inode)) = actor.opened else {
            let lock = file.get_or_insert(new);
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
            if let Some(file) = &mut self.files[usize::from(actor.key)].locks[usize::from(number)] {
                file.heartbeat = new.heartbeat;
            }
            return Some(Locked::Taken);
        }
        actor.opened = None;
        actor.past.was_held = true;
        Some(Locked::Held(file.map(heartbeat)))
    }

    /// Looks who holds a lock, and removes a lock file that nobody holds.
    pub(super) fn test_lock(&mut self, actor: &mut Actor, number: u8) -> Locked {
        let Files { locks, sweeping, .. } = &self.files[usize::from(actor.key)];
        let Some(file) = locks[usize::from(number)] else { return Locked::Taken };
        let is_swept = number == 0 && sweeping.is_some_and(|(_, held)| held == file.inode);
        let opened = Some((number, file.inode));
        if is_swept || self.running().any(|other| other.holds && other.key == actor.key && other.opened == opened) {
            actor.past.was_held = true;
            return Locked::Held(Some(heartbeat(file)));
        }
        self.files[usize::from(actor.key)].locks[usize::from(number)] = None;
        Locked::Taken
    }

    /// The least number that no lock file has that is there or open.
    fn unused_inode(&self, key: u8) -> u8 {
        let files = &self.files[usize::from(key)];
        let there = files.locks.iter().flatten().map(|lock| lock.inode).chain(files.sweeping.map(|(_, inode)| inode));
        let open = self.running().filter(|actor| actor.key == key).filter_map(|actor| actor.opened);
        let used: Vec<u8> = there.chain(open.map(|(_, inode)| inode)).collect();
        (1..=u8::MAX).find(|inode| !used.contains(inode)).expect("few are open")
    }

    /// Removes the lock file, and releases the lock with the next step, which is the last one.
    pub(super) fn unlock(&mut self, actor: &mut Actor, broken: Option<Broken>) -> bool {
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

fn heartbeat(file: LockFile) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(file.heartbeat + 64).expect("a time"))
}
