//! Tokens on disk, one file an entry, shared by all processes of a user.
//!
//! An entry `<key>.json` only ever appears by a rename of a finished temporary file, so readers need no lock and
//! never see half of one. Beside it `<key>.lock` is what [`Lock`] locks while somebody asks AWS. Directories are
//! made with mode 0700 and files with 0600. There is no fsync: an entry torn by a power cut does not decode, and
//! costs one API call.
//!
//! The cache is an optimisation. Its errors are for the log; no caller fails because of them.

mod entry;
mod lock;

pub use entry::{Age, Entry};
pub use lock::Lock;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::identity::Key;

/// A longer file is not an entry: a token has some 4 KiB, and the hosts have room enough in the rest.
const LARGEST: u64 = 256 * 1024;

/// The directory that holds the entries.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// A cache in `dir`, which need not exist until something is written.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The directory, for messages.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The entry of `key`, whatever its age; `None` when there is none that can be read and is that key's.
    pub fn look_up(&self, key: &Key) -> Option<Entry> {
        let name = key.to_string();
        Entry::decode(&read(&self.entry_path(&name))?, &name)
    }

    /// Takes the key's lock if nobody has it; `Ok(None)` means that somebody does.
    pub fn try_lock(&self, key: &Key) -> io::Result<Option<Lock>> {
        self.create_dir()?;
        Lock::try_take(&self.dir.join(format!("{key}.lock")))
    }

    /// Writes an entry over the one of the same key.
    pub fn save(&self, entry: &Entry) -> io::Result<()> {
        self.create_dir()?;
        let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(&self.dir)?;
        file.write_all(&entry.encode())?;
        file.flush()?;
        file.persist(self.entry_path(entry.key()))?;
        Ok(())
    }

    /// Removes the key's entry; one that is not there is no error.
    pub fn remove(&self, key: &Key) -> io::Result<()> {
        match fs::remove_file(self.entry_path(&key.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All entries that can be read, in no order.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|file| file.path());
        files.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
            Entry::decode(&read(&path)?, name)
        })
    }

    fn entry_path(&self, key: &str) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }

    fn create_dir(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.dir)
    }
}

/// The content of a file that may be an entry.
fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    // Room for the whole file at once: growing would leave copies of the token in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1));
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
