//! Runs another program, such as a `credential_process` or a fallback helper, under limits of time and of output, or the AWS CLI for a
//! person, without them. None is started where it leads back to this program.
//!
//! What the program prints is read up to [`LONGEST_OUTPUT`], and its standard error is passed on as it comes if the caller asks for
//! that. Its standard input is closed, or has the input that the caller gives.
//! It stays in the session and process group of the helper, so that it may ask a person at the terminal (`/dev/tty`).
//!
//! When the program exceeds a limit, it is killed together with its [`family`](super::family). Once it has ended by itself, what it has
//! left in the background goes on, and is not waited for though it may hold both streams.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::family::{Family, MOST_ROUNDS, reap_orphans};
use super::process::spawn_reader;
use super::{ancestors_with_this_program, notice_children, spawn_thread};

/// How much of each stream is read, in bytes. A list of a thousand registries has a tenth of it.
pub const LONGEST_OUTPUT: usize = 1024 * 1024;

/// How often what this program runs may lead back to it. A wrapper that clears the environment hides it from every other guard.
const MOST_ANCESTORS: usize = 4;

/// The longest pause between two checks whether the program has ended, after the end of its output.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The longest time between two looks for orphans that have ended.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// How long more output is waited for once the program has failed, or has ended and printed something: a job that it leaves behind may
/// hold the output. Long enough for what still runs of a pipeline whose first process was the program. Where a program that is
/// run for its output has printed nothing yet, that job is what prints.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// How long the end of standard error is waited for once the program and its output have ended.
const LINGER: Duration = Duration::from_millis(100);

/// Gets standard error piece by piece.
pub type Relay = Box<dyn FnMut(&[u8]) + Send>;

/// What a program printed, and how it ended.
pub struct Finished {
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// Its standard error, as far as it came while the program ran.
    pub errors: Zeroizing<Vec<u8>>,
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
}

/// Why a program gave no answer.
#[derive(Debug)]
pub enum ChildError {
    /// It cannot be started.
    NotStarted(io::Error),
    /// It leads back to this program.
    Loop,
    /// It did not end in time, and was killed.
    TimedOut(Kill),
    /// It printed more than [`LONGEST_OUTPUT`] to this stream, and was killed if it had not ended.
    TooMuchOutput(&'static str, Kill),
    /// Its output or its end cannot be read.
    Unreadable(io::Error),
}

/// How much of a program was killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// All.
    Whole,
    /// What runs as this user: `sudo` goes on.
    OwnUser,
    /// What was found in time.
    Part,
    /// Nothing: the program has ended.
    Nothing,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "was stopped",
            Self::OwnUser => "what it runs as another user cannot be stopped and goes on",
            Self::Part => "was stopped, though some of what it has started may go on",
            Self::Nothing => "what it has left running goes on",
        })
    }
}

impl fmt::Display for ChildError {
    /// Completes a sentence that begins with the name of the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => write!(f, "cannot be started: {error}"),
            Self::Loop => f.write_str("leads back to ecr-login"),
            Self::TimedOut(kill) => write!(f, "did not answer in time and {kill}"),
            Self::TooMuchOutput(stream, kill) => {
                write!(f, "printed more than 1 MiB on {stream}, the limit, and {kill}")
            }
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

/// Runs `command` for a person, on this terminal. Standard output is reserved for the result of this process.
pub fn run_for_person(mut command: Command) -> Result<ExitStatus, ChildError> {
    refuse_loop()?;
    notice_children();
    #[cfg(unix)]
    let terminal = super::terminal_settings::TerminalSettings::read();
    let status = command.stdout(Stdio::from(io::stderr())).status().map_err(ChildError::NotStarted);
    #[cfg(unix)]
    if let (Some(terminal), Ok(_)) = (terminal, &status) {
        // It had the terminal to itself.
        terminal.restore();
    }
    status
}

fn refuse_loop() -> Result<(), ChildError> {
    if ancestors_with_this_program() > MOST_ANCESTORS { Err(ChildError::Loop) } else { Ok(()) }
}

/// Runs `command` with `input` until `deadline` at the latest, and passes its standard error to `relay` as it comes. A program without
/// input is one that is run for its output.
pub fn run_child(
    mut command: Command,
    input: Option<Zeroizing<Vec<u8>>>,
    relay: Option<Relay>,
    deadline: Instant,
) -> Result<Finished, ChildError> {
    refuse_loop()?;
    let stdin = if input.is_some() { Stdio::piped() } else { no_input().map_err(ChildError::NotStarted)? };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut child, family) = Family::start(&mut command).map_err(ChildError::NotStarted)?;
    let is_for_output = input.is_none();
    let mut finished = converse(&mut child, &family, input, relay, is_for_output, deadline);
    if let Err(error) = &mut finished {
        let is_all = family.kill(&mut child);
        if let (false, ChildError::TimedOut(kill) | ChildError::TooMuchOutput(_, kill)) = (is_all, error) {
            *kill = Kill::OwnUser;
        }
        // To leave no zombie.
        for _ in 0..MOST_ROUNDS {
            if !matches!(family.try_wait(&mut child), Ok(None)) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    finished
}

/// The end of a pipe that nobody writes to. There may be no /dev/null, e.g. in a chroot or an image with nothing but the helper.
fn no_input() -> io::Result<Stdio> {
    let (reader, _) = io::pipe()?;
    Ok(reader.into())
}

/// What a stream of this name printed next; nothing at its end.
type Piece = (&'static str, io::Result<Zeroizing<Vec<u8>>>);

fn converse(
    child: &mut Child,
    family: &Family,
    input: Option<Zeroizing<Vec<u8>>>,
    relay: Option<Relay>,
    is_for_output: bool,
    deadline: Instant,
) -> Result<Finished, ChildError> {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A failed write is no error: the program may answer without reading all of its input.
        let _ = spawn_thread(move || stdin.write_all(&input)).map_err(ChildError::Unreadable)?;
    }
    let (sender, receiver) = mpsc::sync_channel(MOST_PIECES);
    read(child.stdout.take(), OUTPUT, None, sender.clone())?;
    read(child.stderr.take(), ERRORS, relay, sender)?;
    // Of a size that most outputs have: a buffer that grows leaves copies in freed memory.
    let room = || Zeroizing::new(Vec::with_capacity(64 * 1024));
    let (mut output, mut errors) = (room(), room());
    let (mut has_output, mut has_errors) = (false, false);
    let mut ended = None;
    // When the program was still running or printed.
    let mut latest = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let now = Instant::now();
        if ended.is_none() {
            latest = now;
            ended = family.try_wait(child).map_err(ChildError::Unreadable)?;
        } else {
            reap_orphans();
        }
        let is_missing = is_for_output && output.is_empty() && ended.is_some_and(|status: ExitStatus| status.success());
        let until = match has_output {
            true => deadline.min(latest + LINGER),
            false if is_missing => deadline,
            false => deadline.min(latest + LONGEST_SILENCE),
        };
        let wait = match ended {
            Some(status) if has_output && has_errors || now >= until => {
                return Ok(Finished { output, errors, status });
            }
            Some(_) => until - now,
            None if now >= deadline => return Err(ChildError::TimedOut(Kill::Whole)),
            None if has_output => pause,
            None => deadline - now,
        };
        let wait = wait.min(LONGEST_REST);
        match receiver.recv_timeout(wait) {
            Ok((name, piece)) => {
                let piece = piece.map_err(ChildError::Unreadable)?;
                let (printed, has_ended) =
                    if name == OUTPUT { (&mut output, &mut has_output) } else { (&mut errors, &mut has_errors) };
                if printed.len() + piece.len() > LONGEST_OUTPUT {
                    let kill = if ended.is_some() { Kill::Nothing } else { Kill::Whole };
                    return Err(ChildError::TooMuchOutput(name, kill));
                }
                printed.extend_from_slice(&piece);
                *has_ended = piece.is_empty();
                if name == OUTPUT {
                    latest = Instant::now();
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => pause = (pause * 2).min(LONGEST_PAUSE),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                thread::sleep(wait);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

const OUTPUT: &str = "standard output";
const ERRORS: &str = "standard error";

/// How many pieces wait to be taken, at most.
const MOST_PIECES: usize = 16;

/// Reads a stream in a thread of its own, since any of them may block, until nobody takes its pieces any more.
fn read(
    stream: Option<impl Read + Send + 'static>,
    name: &'static str,
    mut relay: Option<Relay>,
    sender: mpsc::SyncSender<Piece>,
) -> Result<(), ChildError> {
    let Some(mut stream) = stream else { return Ok(()) };
    let read = move || {
        let mut buffer = Zeroizing::new([0; 8 * 1024]);
        let mut has_more = true;
        while has_more {
            let piece = match stream.read(&mut *buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map(|length| Zeroizing::new(buffer[..length].to_vec())),
            };
            let length = piece.as_ref().map_or(0, |piece| piece.len());
            has_more = sender.send((name, piece)).is_ok() && length > 0;
            if let Some(relay) = &mut relay {
                relay(&buffer[..length]);
            }
        }
    };
    spawn_reader(read).map_err(ChildError::Unreadable)
}
