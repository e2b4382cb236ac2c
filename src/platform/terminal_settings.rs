//! The settings of the terminal, and the process group in its foreground, which Ctrl-C reaches. A program that asks for a password
//! changes them, an interactive shell both, and neither can put them back when it is killed or crashes.

use std::fs::File;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::io::Errno;
use rustix::process::{Pid, getpgrp, test_kill_process_group};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};

/// What has just been killed needs a moment to end, on a busy machine more than one.
const LONGEST_END: Duration = Duration::from_millis(50);

/// The terminal of this process, as it was set.
pub(super) struct TerminalSettings {
    terminal: File,
    settings: Termios,
    foreground: Pid,
}

impl TerminalSettings {
    /// Those of now; `None` without a terminal.
    pub(super) fn read() -> Option<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let settings = tcgetattr(&terminal).ok()?;
        let foreground = tcgetpgrp(&terminal).ok()?;
        Some(Self { terminal, settings, foreground })
    }

    /// Gives the terminal back if another group that has it now has ended, or ends within this time, and tells whether it has done so.
    fn give_back(&self, patience: Duration) -> bool {
        let started = Instant::now();
        loop {
            match tcgetpgrp(&self.terminal) {
                Ok(now) if now != self.foreground && !lives(now) => break,
                Ok(now) if now != self.foreground && started.elapsed() < patience => sleep(Duration::from_millis(1)),
                _ => return false,
            }
        }
        in_background(|| tcsetpgrp(&self.terminal, self.foreground)).is_some_and(|result| result.is_ok())
    }

    /// Restores it after a program that has failed. One that has answered has put back what it has changed: another setting may be that
    /// of a prompt that somebody else shows meanwhile, and a password typed there must not be seen.
    pub(super) fn leave(&self, status: ExitStatus) {
        if status.success() {
            self.give_back(Duration::ZERO);
        } else {
            self.restore();
        }
    }

    /// Gives it back too. Where it was given back or is this process's own, puts the settings back if another echo or mode is set,
    /// without what was typed for the program. Others that have it set it themselves, and who had it without echo before, e.g. a prompt
    /// of another program, may have put it back since.
    pub(super) fn restore(&self) {
        let is_own = self.give_back(LONGEST_END) || tcgetpgrp(&self.terminal) == Ok(getpgrp());
        let was_for_typing = self.settings.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON);
        let is_changed = || tcgetattr(&self.terminal).is_ok_and(|now| now.local_modes != self.settings.local_modes);
        if is_own && was_for_typing && is_changed() {
            let _ = in_background(|| tcsetattr(&self.terminal, OptionalActions::Flush, &self.settings));
        }
    }
}

/// Does what the system stops a process in the background for.
fn in_background<T>(act: impl FnOnce() -> T) -> Option<T> {
    let mask = SigSet::from(Signal::SIGTTOU).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
    let done = act();
    let _ = mask.thread_set_mask();
    Some(done)
}

/// Whether a process of this group lives, or may do so.
fn lives(group: Pid) -> bool {
    let answer = test_kill_process_group(group);
    // For it, what has ended counts until its parent takes notice.
    #[cfg(target_os = "linux")]
    if answer.is_ok() {
        return super::process_table::may_live(group);
    }
    answer != Err(Errno::SRCH)
}
