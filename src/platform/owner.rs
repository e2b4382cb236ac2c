//! The owner and the mode of files, and the user that this process runs as.
//!
//! Windows has access lists instead, which files inherit from the user's profile. There, each file counts as a private one of this user
//! with one name, and this user as the one with the id 0, for whom no directory is another user's.

#[cfg(unix)]
pub(super) use std::os::unix::fs::MetadataExt as Owned;

/// What Unix knows of a file.
#[cfg(not(unix))]
pub(super) trait Owned {
    fn uid(&self) -> u32 {
        0
    }
    fn mode(&self) -> u32 {
        0o700
    }
    fn nlink(&self) -> u64 {
        1
    }
    fn dev(&self) -> u64 {
        0
    }
    fn ino(&self) -> u64 {
        0
    }
}

#[cfg(not(unix))]
impl Owned for std::fs::Metadata {}

/// The id of the user that this process runs as, read once.
pub fn own_id() -> u32 {
    #[cfg(unix)]
    {
        static ID: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        *ID.get_or_init(|| rustix::process::geteuid().as_raw())
    }
    #[cfg(not(unix))]
    0
}

/// Whether it is a FIFO or a socket.
pub fn is_channel(metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        metadata.file_type().is_fifo() || metadata.file_type().is_socket()
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}
