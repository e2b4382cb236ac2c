//! Follows a path as the kernel does, to see every link on the way.

use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

/// The links that a path may lead through, as for the kernel.
pub(super) const MOST_LINKS: usize = 40;

/// Visits each directory and link on the way to the end of a path, and the end. Something that does not exist has no metadata, and is
/// the end. Returns where the path leads, as far as it exists.
pub(super) fn walk(path: &Path, visit: &mut impl FnMut(&Path, Option<&Metadata>)) -> PathBuf {
    walk_on(path, visit, &mut { MOST_LINKS })
}

/// `links_left` counts for all links together.
fn walk_on(path: &Path, visit: &mut impl FnMut(&Path, Option<&Metadata>), links_left: &mut usize) -> PathBuf {
    let mut walked = PathBuf::new();
    for component in path.components() {
        // What was walked so far has no links.
        if component == Component::ParentDir && walked.file_name().is_some() {
            walked.pop();
            continue;
        }
        walked.push(component);
        // A drive of Windows without its root is the current directory of that drive.
        if let Component::Prefix(_) = component {
            continue;
        }
        let metadata = walked.symlink_metadata().ok();
        visit(&walked, metadata.as_ref());
        let Some(metadata) = metadata else { return walked };
        if metadata.is_symlink() {
            let Some(target) = walked.read_link().ok().filter(|_| *links_left > 0) else { return walked };
            *links_left -= 1;
            let beside = walked.parent().unwrap_or(Path::new("")).join(target);
            walked = walk_on(&beside, visit, links_left);
        }
    }
    walked
}
