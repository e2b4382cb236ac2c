//! The settings of the terminal. A program that asks for a password changes them, and cannot put them back when it is killed or crashes.

use std::fs::File;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal of this process, as it was set.
pub(super) struct TerminalSettings {
    terminal: File,
    settings: Termios,
}

impl TerminalSettings {
    /// Those of now; `None` without a terminal.
    pub(super) fn read() -> Option<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let settings = tcgetattr(&terminal).ok()?;
        Some(Self { terminal, settings })
    }

    /// Puts them back if another echo or mode is set, without what was typed for the program. The system would stop a job in the
    /// background for it.
    pub(super) fn restore(&self) {
        let is_changed = tcgetattr(&self.terminal).is_ok_and(|now| now.local_modes != self.settings.local_modes);
        if is_changed && tcgetpgrp(&self.terminal) == Ok(getpgrp()) {
            let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.settings);
        }
    }
}
