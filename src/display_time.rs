//! Formats times and durations.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Formats a duration in its largest units: `42 s`, `7 min`, `11 h 59 min`.
pub fn describe_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Formats a time for programs, to the second.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.truncate_to_second().format(&Rfc3339).expect("years of four digits are within RFC 3339")
}

/// The user's offset from UTC.
#[derive(Clone, Copy, Debug)]
pub struct LocalTime(UtcOffset);

impl LocalTime {
    /// Reads the offset from the C library, which reads `TZ` or `/etc/localtime`. Call it while the process has one thread:
    /// with more threads, one of which could change the environment, the `time` crate refuses, and times are shown in UTC.
    pub fn of_process() -> Self {
        Self(UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC))
    }

    /// Formats a time, e.g. `2026-11-25 15:04:05 +01:00`.
    pub fn show(self, at: OffsetDateTime) -> String {
        let format = format_description!(
            "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
        );
        let local = at.checked_to_offset(self.0).unwrap_or(at);
        local.format(&format).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::{datetime, offset};

    use super::{LocalTime, describe_duration};

    #[test]
    fn times_show_their_offset_and_durations_their_largest_units() {
        let local = LocalTime(offset!(-3:30));
        assert_eq!(local.show(datetime!(2026-11-25 03:04:05 UTC)), "2026-11-24 23:34:05 -03:30");
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h 0 min"), (43_199, "11 h 59 min")] {
            assert_eq!(describe_duration(Duration::from_secs(seconds)), text);
        }
    }
}
