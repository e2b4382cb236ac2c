//! Changes to a file that other programs change too, none of which takes a lock.
//!
//! docker and podman read their settings, and some time later put a new file in the old one's place. Between our own
//! reading and replacing one of them may have done that. So the new file and the one that is there are exchanged in one
//! step, and what came out is looked at: if it is not what was read, it is another's work, and our change is made to
//! that and put back in. Where the system cannot exchange files, the file is read once more right before it is replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs2::FileExt;
use tempfile::NamedTempFile;

use crate::{client_config, platform};

/// Others would have to change the file each time between our reading and replacing.
const MOST_TRIES: usize = 100;

/// Another `setup` takes milliseconds.
const LONGEST_TURN: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Makes the change that `edit` makes to the file's text, whatever others do to it meanwhile; says whether there was
/// any to make. Mode, owner and links stay; what is new is for the user alone; what is empty goes.
pub(super) fn change(path: &Path, edit: impl Fn(&str) -> Result<String, String>) -> Result<bool, String> {
    let mut known = client_config::text(path)?;
    if edit(&known)? == known {
        return Ok(false);
    }
    let failed = |error: io::Error| format!("{} cannot be replaced: {error}", path.display());
    let target = platform::behind_links(path).map_err(failed)?;
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        platform::create_private_dir(dir).map_err(failed)?;
    }
    let _turn = turn(dir);
    // What we put in last: if that comes out again, nobody else was there.
    let mut ours = None;
    for _ in 0..MOST_TRIES {
        let text = match edit(&known) {
            // What another has put there in between, and we taken out, cannot be edited: it goes back as it is.
            Err(_) if ours.is_some() => known.clone(),
            text => text?,
        };
        if text.is_empty() {
            return fs::remove_file(&target).map(|()| true).map_err(failed);
        }
        let new = beside(&target, dir, &text).map_err(failed)?;
        match replace(new, &target, &known, ours.as_deref()).map_err(failed)? {
            Replaced::Done => return Ok(true),
            Replaced::Not => known = client_config::text(path)?,
            Replaced::Instead(other) => (known, ours) = (other, Some(text)),
        }
    }
    Err(format!("{} is changed by others all the time; try again", path.display()))
}

/// Lets one `setup` after the other at the files of a directory: several that exchange files with each other and with
/// docker could go round in a circle. A lock on the directory itself leaves nothing behind; where there is no such
/// thing, or another holds it too long, we go on without.
fn turn(dir: &Path) -> Option<File> {
    let dir = File::open(dir).ok()?;
    let until = Instant::now() + LONGEST_TURN;
    while FileExt::try_lock_exclusive(&dir).is_err() && Instant::now() < until {
        thread::sleep(BETWEEN_LOOKS);
    }
    Some(dir)
}

enum Replaced {
    Done,
    /// Somebody else has changed it since; it is as that one left it.
    Not,
    /// This of somebody else's was there, and ours is now.
    Instead(String),
}

fn replace(new: NamedTempFile, target: &Path, known: &str, ours: Option<&str>) -> io::Result<Replaced> {
    if !target.exists() {
        return match new.persist_noclobber(target) {
            Ok(_) => Ok(Replaced::Done),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Replaced::Not),
            Err(error) => Err(error.error),
        };
    }
    match platform::exchange(new.path(), target) {
        Ok(()) => {
            let out = fs::read_to_string(new.path()).unwrap_or_default();
            let expected = out == known || ours == Some(&out);
            Ok(if expected { Replaced::Done } else { Replaced::Instead(out) })
        }
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            if fs::read_to_string(target).is_ok_and(|now| now != known) {
                return Ok(Replaced::Not);
            }
            new.persist(target).map(|_| Replaced::Done).map_err(|error| error.error)
        }
        // It was there a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Replaced::Not),
        Err(error) => Err(error),
    }
}

/// A file with that text in the same directory, with the mode and the owner of the one that it is to replace.
fn beside(target: &Path, dir: &Path, text: &str) -> io::Result<NamedTempFile> {
    let mut new = NamedTempFile::with_prefix_in(".ecr-login-", dir)?;
    if let Ok(metadata) = fs::metadata(target) {
        platform::resemble(new.as_file(), &metadata)?;
    }
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    Ok(new)
}
