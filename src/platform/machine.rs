//! Which machine this is, and since when it runs.

/// Seconds since this machine booted, sleep included; `None` where no safe call tells, as on Windows.
pub fn seconds_since_boot() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::time::{ClockId, clock_gettime};
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        // Unlike Linux's, it goes on while the system sleeps: clock_gettime(3) of macOS.
        #[cfg(target_vendor = "apple")]
        let clock = ClockId::Monotonic;
        u64::try_from(clock_gettime(clock).tv_sec).ok()
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    None
}

/// This machine and its present boot, as a text that no other machine and no other boot has; `None` where the system
/// does not tell.
///
/// - Linux makes a random id at every boot (random(4)). EC2 shows the instance's id as the asset tag of its board (Amazon
///   EC2 user guide, "Identify EC2 instances"), for a memory image that was started twice.
/// - macOS has a random id of the boot, `kern.bootsessionuuid`.
/// - Windows has the machine's id, made at its installation. It survives a restart, and so do entries there.
pub fn boot() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let boot = read("/proc/sys/kernel/random/boot_id").filter(|boot| !boot.is_empty())?;
        Some(format!("{boot} {}", read("/sys/devices/virtual/dmi/id/board_asset_tag").unwrap_or_default()))
    }
    #[cfg(target_os = "macos")]
    {
        use sysctl::Sysctl;
        let boot = sysctl::Ctl::new("kern.bootsessionuuid").ok()?.value_string().ok()?;
        Some(boot).filter(|boot| !boot.is_empty())
    }
    #[cfg(windows)]
    {
        let key = windows_registry::LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Cryptography").ok()?;
        key.get_string("MachineGuid").ok().filter(|machine| !machine.is_empty())
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
    None
}
