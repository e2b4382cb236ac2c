//! The promises, and where each is judged.

use docker_credential_ecr_login::cache::Freshness;
use docker_credential_ecr_login::cache::protocol::{Answer, Need, Step};

use super::{Actor, Failure, Files, LIFETIME, Past, Slot, Token, World};

impl World {
    pub(super) fn judge_request(&mut self, number: usize, actor: &mut Actor) {
        actor.past.asked = true;
        actor.past.is_without_lock |= !actor.holds;
        let files = &mut self.files[usize::from(actor.key)];
        files.requests += 1;
        actor.request = files.requests;
        let files = &self.files[usize::from(actor.key)];
        let others = self.slots.iter().enumerate().filter(|(other, _)| *other != number);
        let is_second = others.into_iter().any(|(_, slot)| {
            matches!(slot, Slot::Running(other)
                if other.key == actor.key && matches!(other.step, Step::Request(_)) && other.is_regular())
        });
        let has_waited = actor.failures.is_some_and(|before| {
            files.report.is_some_and(|report| report.id > before && report.is_regular && report.is_shared)
        });
        if actor.past.could_not_save && actor.holds {
            self.violate("nobody waits for a token that cannot be saved");
        } else if actor.is_regular() && is_second {
            self.violate("while the leader lives, it alone asks");
        } else if actor.need == Need::Login {
            // It asks in any case.
        } else if actor.is_regular() && has_waited {
            self.violate("a failure is the answer of those who waited for it");
        } else if !self.had_fault && files.has_issued {
            self.violate("one request serves all who need the token at once");
        }
    }

    pub(super) fn judge(&mut self, actor: &Actor, answer: Answer) {
        let Past { asked, was_refused, was_held, could_not_save, was_stopped, .. } = actor.past;
        let read = actor.read.map(|(token, _)| token);
        let token = match answer {
            Answer::Cached => read,
            Answer::Issued => actor.issued,
            _ => None,
        };
        if token.is_some_and(|token| token.key != actor.key) {
            self.violate("no token of another key");
        }
        if !was_stopped && token.is_some_and(|token| self.now.cast_signed() - token.at >= LIFETIME) {
            self.violate("no expired token");
        }
        if actor.need == Need::Login && (answer == Answer::Cached || (answer == Answer::Failed && !asked)) {
            self.violate("a login asks itself");
        }
        let is_for_list = |report: &Failure| actor.need == Need::List && report.refresh_after.is_some();
        let shared = actor.report.filter(|report| !asked && !is_for_list(report));
        if answer == Answer::Failed && shared.is_some_and(|report| actor.started > report.at + 2) {
            self.violate("a failure is the answer of nobody who comes later");
        }
        let cached = actor.read.map(|(_, cached)| cached);
        let is_due = match cached {
            Some(Freshness::ExpiresSoon) => true,
            Some(Freshness::Stale) => {
                let until = actor.report.and_then(|report| report.refresh_after);
                !self.clock_was_set && until.is_none_or(|until| until <= actor.started.cast_signed())
            }
            _ => false,
        };
        let counts = actor.report.is_some_and(|report| {
            let is_recent = self.now <= report.at + 1 && (self.clock_was_set || self.wall_now() <= report.wall + 1);
            is_recent || Some(report.id) != actor.failures
        });
        // A failed refresh could not be postponed.
        let is_spared = could_not_save && cached == Some(Freshness::Stale);
        if answer == Answer::Cached && is_due && !(asked || was_held || is_spared || was_stopped || counts) {
            self.violate("a postponed refresh is tried when it is due, and in the last tenth");
        }
        if was_refused && answer == Answer::Cached && cached != Some(Freshness::Fresh) {
            self.violate("a refusal is the answer");
        }
    }

    /// Judges a token that has been saved.
    pub(super) fn judge_save(&mut self, actor: &Actor, before: Option<Token>, saved: Token) {
        let files = &self.files[usize::from(actor.key)];
        let saved_before = files.saved;
        if files.erasing.is_none() && saved.erasures < files.erasures {
            self.violate("an erasure wins over a save that began before it");
        }
        let is_older = before.is_some_and(|before| before.request > saved.request);
        if saved.request < saved_before || (is_older && !self.had_fault) {
            self.violate("no older request replaces the token of a newer one");
        }
    }

    /// Judges what an erasure has left.
    pub(super) fn judge_erasure(&mut self, key: u8) {
        let files = &self.files[usize::from(key)];
        let is_older = |token: Token| token.erasures < files.erasures;
        if files.entry.is_some_and(is_older) || files.of_credentials.is_some_and(is_older) {
            self.violate("an erasure wins over a save that began before it");
        }
    }

    /// Judges what is left once all processes have ended.
    pub(super) fn check_end(&mut self) {
        let is_changed = self.files.iter().any(|files| files.sweeping.is_some() || files.erasing.is_some());
        if is_changed || !self.is_over() {
            return;
        }
        // What an erasure of the key would not find.
        let is_alone = |files: &Files| files.entry.is_none() && files.of_credentials.is_some();
        let was_killed = self.slots.contains(&Slot::Killed);
        let is_left = |files: &Files| {
            let is_without_need = files.report.is_some() && !files.has_failed && !self.had_fault;
            is_alone(files) || (!was_killed && (files.locks.iter().any(Option::is_some) || is_without_need))
        };
        if self.files.iter().any(is_left) {
            self.violate("nothing but entries is left after the last process");
        }
        let is_refused = |files: &Files| {
            let refused_at = files.report.filter(|report| report.is_refusal).map(|report| report.at.cast_signed());
            let entry = files.entry.filter(|entry| self.freshness(*entry) != Freshness::Expired);
            refused_at.zip(entry).is_some_and(|(at, entry)| entry.at < at)
        };
        if !self.had_fault && self.files.iter().any(is_refused) {
            self.violate("a refused token goes");
        }
    }
}
