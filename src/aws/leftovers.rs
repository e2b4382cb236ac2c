//! Ends what a `credential_process` left running when its time was up. The SDK starts it, and drops it without
//! killing it; waiting for a second factor it would hold the terminal, or a lock of its own, for ever.

/// Kills all descendants of this process; says whether there were any.
///
/// Linux only: they are found in /proc, through whatever shells lie between. Elsewhere they end with their own
/// time limits.
#[cfg(target_os = "linux")]
pub(super) fn end() -> bool {
    use rustix::process::{Pid, Signal, kill_process};

    let mut ended = false;
    let mut family = vec![std::process::id()];
    let parents = parents();
    while let Some(parent) = family.pop() {
        for (child, _) in parents.iter().filter(|(_, of)| *of == parent) {
            family.push(*child);
            let pid = i32::try_from(*child).ok().and_then(Pid::from_raw);
            ended |= pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
        }
    }
    ended
}

#[cfg(not(target_os = "linux"))]
pub(super) fn end() -> bool {
    false
}

/// Every process with its parent.
#[cfg(target_os = "linux")]
fn parents() -> Vec<(u32, u32)> {
    let directories = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …", where the name may hold anything, parentheses too.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    };
    directories.filter_map(parent).collect()
}
