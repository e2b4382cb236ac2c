//! Proves that nobody touched what an identity was derived from while credentials were resolved.
//!
//! A source that reads files itself, such as a process, may have read them at any moment. That their content is the same before
//! and after proves nothing: it may have been another one in between. So their state counts too, and that of every link on the
//! way to them: a change leaves another change time, which no program can set. File systems count it in ticks of up to a second,
//! so a file that changed within two seconds before it was looked at proves nothing (git calls such files racy).
//!
//! A directory on the way may be exchanged for another one and back. A move leaves its time at the directory and at the one above it, so
//! that both have changed. Files that come and go in one of them alone do not count, nor in one like /tmp, where they do all the time.
//!
//! They do count where it matters that something is absent: a file that comes and goes leaves another time of the nearest directory on
//! its way that exists. The same is true of a directory whose files are listed, and of those that the PATH has before a program. So an
//! unrelated file that somebody creates there at the same time, e.g. in the home directory, costs the caching of this one exchange.
//!
//! In one of them files come and go all the time: where the AWS CLI 2 keeps its telemetry among sessions. There, the files themselves
//! count, before and after, and none is noticed that comes and goes in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Identity;
use super::walk::walk;
use crate::platform;

/// How long ago a file must have changed, so that its next change leaves another time.
const SETTLED: Duration = Duration::from_secs(2);

/// The states of the files of an identity at one moment.
#[derive(Default, PartialEq, Eq)]
struct Footprint {
    states: Vec<Option<[u64; 5]>>,
    /// The states of directories in which something is absent, or whose files are listed.
    directories: Vec<Option<[u64; 5]>>,
    /// The last change of all.
    changed_at: Option<SystemTime>,
    /// The last move of a directory on the way, as far as its own times tell: files that come and go after it overwrite them.
    moved_at: Option<SystemTime>,
    /// The last time at which one may have been moved.
    may_have_moved_at: Option<SystemTime>,
}

/// Watches the files of an identity from its start on.
pub struct Watch {
    identity: Arc<Identity>,
    started_at: SystemTime,
    before: Footprint,
}

impl Watch {
    /// Begins to watch the files that `identity` was derived from.
    pub fn start(identity: &Arc<Identity>) -> Self {
        let started_at = SystemTime::now();
        Self { identity: identity.clone(), started_at, before: Footprint::now(identity) }
    }

    /// Waits until nothing that `identity` was derived from changed so shortly before that a watch would prove nothing: for two
    /// seconds at most.
    pub fn wait_until_settled(identity: &Identity) {
        if let Some(Ok(age)) = Footprint::now(identity).last_change().map(|at| SystemTime::now().duration_since(at))
            && identity.source().reads_itself()
        {
            std::thread::sleep(SETTLED.saturating_sub(age));
        }
    }

    /// Whether nobody touched the files since the start, and since the identity was derived. No if they or what is around them
    /// changed too shortly before to tell.
    pub fn saw_nothing(&self) -> bool {
        let Self { identity, started_at, before } = self;
        let after = Footprint::now(identity);
        if before.states != after.states || !identity.holds() {
            return false;
        }
        // A change in the future is one by another clock.
        let settled = |changed_at| started_at.duration_since(changed_at).is_ok_and(|age| age >= SETTLED);
        let was_moved = after.may_have_moved_at > before.may_have_moved_at || after.directories != before.directories;
        !was_moved && after.last_change().is_none_or(settled)
    }
}

impl Footprint {
    fn now(identity: &Identity) -> Self {
        let mut footprint = Self::default();
        for observed in &identity.observed {
            for path in observed.paths(&identity.env) {
                let end = footprint.add_path(&path);
                if observed.is_told_by_directory() {
                    footprint.add_directory(&end);
                }
            }
            let files = observed.files().filter_map(|file| file.path().metadata().ok());
            let changed_at = files.filter_map(|file| platform::changed_at(&file)).max();
            footprint.changed_at = footprint.changed_at.max(changed_at);
        }
        footprint
    }

    /// Adds the state of a path, and of every link and directory on the way. Returns where the path leads, as far as it exists.
    fn add_path(&mut self, path: &Path) -> PathBuf {
        walk(path, &mut |walked, metadata| {
            let Some(metadata) = metadata else {
                self.states.push(None);
                return self.add_directory(walked.parent().unwrap_or(walked));
            };
            if let (true, Some(parent)) = (metadata.is_dir(), walked.parent()) {
                let above = or_current(parent).metadata().ok().filter(|above| !platform::is_for_everybody(above));
                let both_changed_at = platform::changed_at(metadata).min(above.as_ref().and_then(platform::changed_at));
                self.may_have_moved_at = self.may_have_moved_at.max(both_changed_at);
                self.moved_at = self.moved_at.max(platform::moved_at(metadata));
            }
            self.push(metadata);
        })
    }

    /// Adds a directory in which something is absent, or whose files are listed.
    fn add_directory(&mut self, dir: &Path) {
        let metadata = or_current(dir).metadata().ok();
        self.directories.push(metadata.as_ref().map(platform::file_state));
        self.changed_at = self.changed_at.max(metadata.as_ref().and_then(platform::changed_at));
    }

    fn last_change(&self) -> Option<SystemTime> {
        self.changed_at.max(self.moved_at)
    }

    fn push(&mut self, metadata: &std::fs::Metadata) {
        // Each use of a device changes its times.
        if metadata.is_file() || metadata.is_symlink() {
            self.states.push(Some(platform::file_state(metadata)));
            self.changed_at = self.changed_at.max(platform::changed_at(metadata));
        } else {
            let [device, inode, ..] = platform::file_state(metadata);
            self.states.push(Some([device, inode, 0, 0, 0]));
        }
    }
}

/// A directory, which is the current one where a relative path has none.
fn or_current(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::Footprint;
    use crate::identity::walk::MOST_LINKS;

    fn footprint(path: &Path) -> Footprint {
        let mut footprint = Footprint::default();
        footprint.add_path(path);
        footprint
    }

    #[test]
    fn every_link_on_the_way_leaves_a_trace() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        for version in ["one", "two"] {
            fs::create_dir(at(version)).and_then(|()| fs::write(at(version).join("token"), "same")).expect("a file");
        }
        symlink("one", at("data")).and_then(|()| symlink("data/token", at("token"))).expect("links");
        let path = at("token");
        let first = footprint(&path);
        assert!(footprint(&path) == first && first.states.len() > 3);
        let flip = |target: &str| {
            symlink(target, at("new")).and_then(|()| fs::rename(at("new"), at("data"))).expect("a link");
        };
        flip("two");
        assert!(footprint(&path) != first);
        flip("one");
        assert!(footprint(&path) != first, "there and back");
        let moved_at = || footprint(&path).may_have_moved_at;
        fs::write(at("y"), "").and_then(|()| fs::create_dir(at("one/x"))).expect("other files");
        let before = moved_at();
        fs::write(at("one/z"), "").expect("another file");
        assert!(moved_at() <= before, "files that come and go");
        let is_noticed = |_| {
            fs::rename(at("one"), at("away")).and_then(|()| fs::rename(at("away"), at("one"))).expect("a move");
            fs::write(at("one/late"), "").and_then(|()| fs::remove_file(at("one/late"))).expect("another file");
            moved_at() > before
        };
        // The clock of a file system has ticks.
        assert!((0..100_000).any(is_noticed), "away and back, and its content after that");
        symlink("loop", at("loop")).expect("a link");
        // Each of them would be followed twice as often as the one before.
        for (link, target) in (0..MOST_LINKS).zip(1..) {
            symlink(format!("{target}/../{target}"), at(&link.to_string())).expect("a link");
        }
        assert!(footprint(&at("0")).states.len() < 10 * MOST_LINKS);
        assert!(
            footprint(&at("loop")) == footprint(&at("loop")) && footprint(&at("none/x")) == footprint(&at("none/x"))
        );
    }
}
