//! Standard input, which a client may leave open.

use std::io::{self, Read};
#[cfg(unix)]
use std::time::Duration;
use std::time::Instant;

#[cfg(unix)]
use super::family::end_on_signals_as_first;
#[cfg(not(unix))]
use super::spawn_thread;

/// Standard input with a deadline. A read that does not end by then fails with the kind `TimedOut`.
pub struct StandardInput {
    deadline: Instant,
    /// Whether nothing more comes, as far as it is known without another read.
    #[cfg(unix)]
    is_at_end: bool,
    #[cfg(not(unix))]
    whole: Option<io::Cursor<zeroize::Zeroizing<Vec<u8>>>>,
}

impl StandardInput {
    /// Standard input until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            #[cfg(unix)]
            is_at_end: false,
            #[cfg(not(unix))]
            whole: None,
        }
    }
}

#[cfg(unix)]
impl Read for StandardInput {
    /// Reads without the buffer of the standard library, which poll(2) cannot see.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::io::Errno;
        // Sockets report it, and may hold more than one read gives.
        #[cfg(target_os = "linux")]
        const OF_SOCKET: PollFlags = PollFlags::RDHUP;
        #[cfg(not(target_os = "linux"))]
        const OF_SOCKET: PollFlags = PollFlags::HUP;
        // Whether this is process 1 takes a system call, which a client that writes at once is spared.
        const MOMENT: Duration = Duration::from_millis(50);
        if self.is_at_end {
            return Ok(0);
        }
        let input = io::stdin();
        let mut polled = [PollFd::new(&input, PollFlags::IN | OF_SOCKET)];
        let mut longest = MOMENT;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left.min(longest)).map_err(io::Error::other)?;
            match poll(&mut polled, Some(&wait)) {
                Ok(0) if left > longest => {
                    end_on_signals_as_first();
                    longest = Duration::MAX;
                }
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let count = rustix::io::read(&input, &mut *buffer)?;
        // Without a writer, a pipe gives all that is left in one read, if there is room for it. Most clients have closed their end by
        // now: two calls less in each hit.
        let found = polled[0].revents();
        self.is_at_end = found.contains(PollFlags::HUP) && !found.contains(OF_SOCKET) && count < buffer.len();
        Ok(count)
    }
}

#[cfg(not(unix))]
impl Read for StandardInput {
    /// The first read starts a thread that reads everything: Windows cannot wait for every kind of input.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole.is_none() {
            let (send, receive) = std::sync::mpsc::sync_channel(1);
            let read = move || {
                let mut bytes = zeroize::Zeroizing::new(Vec::new());
                let read = io::stdin().lock().read_to_end(&mut bytes);
                send.send(read.map(|_| bytes))
            };
            spawn_thread(read)?;
            let left = self.deadline.saturating_duration_since(Instant::now());
            let bytes = receive.recv_timeout(left).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            self.whole = Some(io::Cursor::new(bytes));
        }
        self.whole.as_mut().map_or(Ok(0), |whole| io::Read::read(whole, buffer))
    }
}
