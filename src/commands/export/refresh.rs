//! `export --every`: writes the file at once and again after every interval, until a signal ends the process.
//!
//! A password that is written outlives the interval and a margin for retries, unless AWS gives no newer one ([`Export::renew`]).
//! Where AWS issues shorter tokens, the file is written again after half of such a token's lifetime, or ten seconds if that is more. A failure is reported on
//! standard error with the time at which the password in the file expires. The next attempt follows after ten
//! seconds, then after twice as long each time, up to five minutes or half of the interval. An expired password is never
//! written.
//!
//! The wait uses three clocks, so that neither a suspended machine nor a clock that is set back delays a write. A signal waits
//! for a write in progress, so that no temporary file remains.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use time::OffsetDateTime;

use super::ci_files::check_unpublished;
use super::file::OutputFile;
use super::format::{Password, earliest_expiry};
use super::{Export, request};
use crate::code::Code;
use crate::config::duration;
use crate::display_time::rfc3339;
use crate::env::Env;
use crate::error::{Error, print_notice};
use crate::identity::Identity;
use crate::{platform, token_provider};

/// The bounds of an interval. A token is valid for twelve hours, the last of which is left for retries.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(11);

/// The limit on the margin by which a password has to outlive the interval.
const LONGEST_MARGIN: Duration = Duration::from_mins(30);

/// The pauses before the first retry and between later ones. Between two writes there is no shorter one either, unless the interval is.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// The interval at which a wait reads the clocks.
const STEP: Duration = Duration::from_secs(5);

/// Parses an interval.
pub(super) fn interval(text: &str) -> Result<Duration, &'static str> {
    let every = duration(text).ok_or("expected e.g. 30m, 5h or 1h30m")?;
    if !(SHORTEST..=LONGEST).contains(&every) {
        return Err("expected an interval from 1s to 11h, since a password is valid for 12 hours at most");
    }
    Ok(every)
}

/// Refreshes `file` until a signal ends the process.
pub(super) fn run(export: &Export, env: &Env, file: &OutputFile, every: Duration) -> Result<ExitCode, Error> {
    // Settings that lead to no identity would be reported again and again, from a process that seems to work.
    let targets = export.targets(env)?;
    for (config, target) in targets.values() {
        let identity = Identity::read(env, target, Instant::now() + config.timeout());
        identity.map_err(|failure| token_provider::in_context(target, failure))?;
    }
    let has_max_age = targets.values().any(|(_, target)| target.max_age.is_some());
    let ended = if has_max_age { "expired or reached max_age" } else { "expired" };
    let write_lock = stop_on_signal()?;
    // When the first password in the file expires.
    let mut expires_at = None;
    let (mut failures, mut has_warned) = (0, false);
    loop {
        // An error may follow a write of passwords that are older than they should be.
        let written = export.renew(env, every).and_then(|Renewed { passwords, lives_for, failure }| {
            export.mask(env, &passwords)?;
            let text = export.format.render(&passwords, &export.secret)?;
            {
                let _writing = write_lock.lock().unwrap_or_else(PoisonError::into_inner);
                check_unpublished(env, &file.path)?;
                file.write(&text)?;
            }
            expires_at = earliest_expiry(&passwords);
            if !std::mem::replace(&mut has_warned, true) {
                export.warn(&passwords);
            }
            failure.map_or(Ok(lives_for), Err)
        });
        let pause = match written {
            Ok(lives_for) => {
                failures = 0;
                let pause = next_write(every, lives_for);
                info!(file:% = file.path.display(), next_in:? = pause; "written");
                if lives_for.is_some_and(|life| life < pause) {
                    warn!("AWS issues passwords that expire before the next write");
                }
                pause
            }
            Err(error) => {
                failures += 1;
                let pause = next_retry(every, failures);
                report(file, &error, expires_at, ended, pause);
                pause
            }
        };
        wait(pause);
    }
}

/// Ends the process on a signal, after the write that holds the returned lock.
fn stop_on_signal() -> Result<Arc<Mutex<()>>, Error> {
    let write_lock = Arc::new(Mutex::new(()));
    let at_stop = write_lock.clone();
    platform::on_stop_signal(move || {
        let _written = at_stop.lock().unwrap_or_else(PoisonError::into_inner);
        // A credential_process would outlive this process.
        platform::end_with_children(|| std::process::exit(0));
    })
    .map_err(|error| {
        let what = format!("cannot listen for signals: {error}");
        Error::failed(Code::SystemLimits, what, "raise the limit on open files ('ulimit -n')")
    })?;
    Ok(write_lock)
}

/// The passwords for one write.
struct Renewed {
    passwords: Vec<Password>,
    /// The time for which all of them are valid, if AWS reports it.
    lives_for: Option<Duration>,
    /// The failure because of which one of them is older than it should be.
    failure: Option<Error>,
}

impl Export {
    /// Returns passwords that outlive `every`. A cached token that does not stays in the cache for others, and a new one is
    /// requested without the cache. If that fails, the cached token is used all the same, unless AWS refuses the identity.
    fn renew(&self, env: &Env, every: Duration) -> Result<Renewed, Error> {
        let mut renewed = Renewed { passwords: Vec::new(), lives_for: None, failure: None };
        for (config, target) in self.targets(env)?.values() {
            let mut issued = request(env, config, target)?;
            if issued.valid_for.is_some_and(|left| left < needed(every)) {
                match token_provider::issue_new(env, target, Instant::now() + config.timeout()) {
                    Ok(new) if new.valid_for.is_none() || new.valid_for > issued.valid_for => issued = new,
                    Ok(_) => {}
                    Err(refusal) if refusal.is_refusal => return Err(refusal.into()),
                    Err(error) => renewed.failure = Some(error.into()),
                }
            }
            renewed.lives_for = [renewed.lives_for, issued.valid_for].into_iter().flatten().min();
            renewed.passwords.push(Password::new(target, issued));
        }
        Ok(renewed)
    }
}

/// Returns how long a password has to be valid when it is written.
fn needed(every: Duration) -> Duration {
    every + (every / 10).min(LONGEST_MARGIN)
}

fn next_write(every: Duration, lives_for: Option<Duration>) -> Duration {
    match lives_for {
        Some(life) if life < needed(every) => (life / 2).max(FIRST_RETRY).min(every),
        _ => every,
    }
}

fn next_retry(every: Duration, failures: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_RETRY).min(every / 2)
}

fn report(file: &OutputFile, error: &Error, expires_at: Option<OffsetDateTime>, ended: &str, pause: Duration) {
    let path = file.path.display();
    let state = match expires_at {
        Some(at) if at <= OffsetDateTime::now_utc() => format!("the password in {path} {ended} at {}", rfc3339(at)),
        Some(at) => format!("the password in {path} is valid until {}", rfc3339(at)),
        None => format!("{path} stays as it is"),
    };
    let Error::Failed(failure) = error else { return };
    warn!("{}", failure.clone().without_quote());
    print_notice(&format!("{failure}; {state}; trying again in {} s", pause.as_secs_f32()));
}

/// Waits until the first of three clocks has passed the time: the monotonic clock stops while the machine is suspended, and
/// the wall clock can be set back.
fn wait(pause: Duration) {
    let (start, wall, boot) = (Instant::now(), SystemTime::now(), platform::seconds_since_boot());
    loop {
        // What a credential_process leaves behind ends at any time.
        platform::reap_orphans();
        // The clock counts whole seconds, so the difference may be almost one too large.
        let since_boot = boot.zip(platform::seconds_since_boot()).map(|(then, now)| now.saturating_sub(then + 1));
        let by_boot = Duration::from_secs(since_boot.unwrap_or_default());
        let passed = start.elapsed().max(wall.elapsed().unwrap_or_default()).max(by_boot);
        match pause.checked_sub(passed) {
            None | Some(Duration::ZERO) => return,
            Some(left) => thread::sleep(left.min(STEP)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FIRST_RETRY, interval, next_retry, next_write};

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn an_interval_is_between_a_second_and_eleven_hours() {
        for (text, seconds) in [("1s", 1), ("90", 90), ("1.5h", 5400), ("1h30m", 5400), ("11h", 11 * 3600)] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "0s", "12h", "11h1s", "1d", "-1h", "99999999999999999999h"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_sooner_than_the_interval_and_not_too_often() {
        let pauses: Vec<_> = (1..=8).map(|failures| next_retry(5 * HOUR, failures).as_secs()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(next_retry(5 * HOUR, u32::MAX), 5 * MINUTE);
        assert_eq!(next_retry(Duration::from_secs(2), 3), Duration::from_secs(1));
    }

    #[test]
    fn a_short_life_is_renewed_before_the_interval_has_passed() {
        assert_eq!(next_write(5 * HOUR, Some(12 * HOUR)), 5 * HOUR);
        assert_eq!(next_write(5 * HOUR, None), 5 * HOUR);
        assert_eq!(next_write(5 * HOUR, Some(HOUR)), 30 * MINUTE);
        assert_eq!(next_write(5 * HOUR, Some(Duration::ZERO)), FIRST_RETRY);
        assert_eq!(next_write(5 * HOUR, Some(Duration::from_secs(19))), FIRST_RETRY);
        assert_eq!(next_write(Duration::from_secs(2), Some(Duration::ZERO)), Duration::from_secs(2));
        // Longer than the interval, but with too little time for retries.
        assert_eq!(next_write(5 * HOUR, Some(5 * HOUR + MINUTE)), (5 * HOUR + MINUTE) / 2);
    }
}
