//! Prompts on the terminal, even if standard input and output are redirected.
//!
//! The terminal echoes the answer. The only secret among the answers is an MFA code, which is valid once and for half a
//! minute; hiding it would leave the terminal without echo when a signal ends the process.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::printable;
use crate::platform;
use crate::quote::hide_tokens;

/// The terminal's names, for input and output.
const TERMINAL: [&str; 2] = if cfg!(windows) { ["CONIN$", "CONOUT$"] } else { ["/dev/tty", "/dev/tty"] };

/// The time limit for an answer.
const LONGEST: Duration = Duration::from_mins(10);

/// Whether this process has a terminal.
pub fn is_there() -> bool {
    open(TERMINAL[0]).is_ok()
}

/// Windows opens its console for both or not at all.
fn open(name: &str) -> io::Result<File> {
    File::options().read(true).write(true).open(name)
}

/// Prints a question and returns the line that is typed, without its end. Fails without a terminal, and when no answer comes
/// within ten minutes.
pub fn ask(question: &str) -> io::Result<String> {
    let [input, output] = TERMINAL;
    // The device of a process without a terminal cannot be opened; each system has its own error for that.
    let input = open(input).map_err(|_| io::Error::other("there is no terminal"))?;
    write!(open(output)?, "{}", printable(&hide_tokens(question)))?;
    let (send, receive) = mpsc::sync_channel(1);
    // In another thread, since a read from a terminal has no time limit on some systems.
    platform::spawn_thread(move || {
        let mut line = Vec::new();
        let read = BufReader::new(input).read_until(b'\n', &mut line);
        let _ = send.send(read.map(|count| (count > 0).then_some(line)));
    })?;
    let answer = receive.recv_timeout(LONGEST).map_err(|_| io::Error::other("no answer in ten minutes"))??;
    let line = answer.ok_or_else(|| io::Error::other("the input ended before an answer"))?;
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}
