//! The directories and the links on the way to the files that a program reads.
//!
//! Two releases of a program may have the same file, by hard links or links, and other files around it: the directory in which a
//! release is tells them apart. The system's directories, of which a machine has one each, and the home directory with those above
//! it tell nothing, and they change without a reason that matters.

use std::collections::BTreeSet;
use std::path::Path;

use super::dependency::Dependency;
use super::walk::walk;
use crate::env::Env;

/// The directories and the links on the way to the files in `known`.
pub(super) fn on_the_way(known: &BTreeSet<Dependency>, env: &Env) -> BTreeSet<Dependency> {
    let home = env.home();
    let is_release = |dir: &Path| !is_of_system(dir) && !home.as_ref().is_some_and(|home| home.starts_with(dir));
    let mut ways = BTreeSet::new();
    for dependency in known {
        let (Dependency::Path(path) | Dependency::Absent(path, _)) = dependency else { continue };
        walk(path, &mut |step, metadata| match metadata {
            Some(link) if link.is_symlink() && !stays_in_system(step) => {
                ways.insert(Dependency::Link(step.to_owned()));
            }
            Some(dir) if dir.is_dir() && is_release(step) => {
                ways.insert(Dependency::Place(step.to_owned()));
            }
            _ => {}
        });
    }
    ways
}

/// Whether a directory is one of the system's, of which a machine has no second one (Filesystem Hierarchy Standard).
fn is_of_system(dir: &Path) -> bool {
    const TOP: &[&str] = &[
        "bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root", "run", "sbin",
        "srv", "sys", "tmp", "usr", "var",
    ];
    const BELOW: &[&str] = &[
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/var/lib",
        "/var/run",
    ];
    let top =
        dir.strip_prefix("/").is_ok_and(|top| top == Path::new("") || TOP.iter().any(|one| top == Path::new(one)));
    top || BELOW.iter().any(|one| dir == Path::new(one))
}

/// Whether a link leads from one of the system's directories to another one or to what is in it, as `/bin` and `/bin/sh` do.
fn stays_in_system(link: &Path) -> bool {
    let target = link.parent().filter(|dir| is_of_system(dir)).and_then(|dir| Some(dir.join(link.read_link().ok()?)));
    target.is_some_and(|target| is_of_system(&target) || target.parent().is_some_and(is_of_system))
}
