//! Many processes at once: one API call, shared failures, and leaders that are killed, stopped or slow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::HOST;
use crate::helper::{Chance, Helper, Ran, entries, limit, many, printed};
use crate::process::{SOON, best_of_three, end, send, start, wait_until};
use crate::support::aws::{Aws, Plan};

fn slow(milliseconds: u64) -> Plan {
    Plan { delay: Duration::from_millis(milliseconds), ..Plan::default() }
}

#[test]
fn two_hundred_at_once_make_one_call_and_wait_no_longer_than_for_it() {
    let aws = Aws::with(slow(100));
    let mut last = String::new();
    // The best of three, since other load on the machine delays some runs.
    for _ in 0..3 {
        let single = Helper::of(&aws).get(HOST).took;
        let starting = time_to_start(200);
        let helper = Helper::of(&aws);
        let before = aws.count();
        let (runs, took) = many(&helper, 200, HOST);
        let passwords: BTreeSet<String> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
        assert_eq!((aws.count() - before, passwords.len()), (1, 1));
        let bound = limit(single + starting).mul_f64(1.5);
        last = format!("{took:?} for 200, {single:?} for one, {starting:?} to start 200");
        if took < bound {
            return;
        }
    }
    panic!("{last}");
}

#[test]
fn one_key_does_not_wait_for_another() {
    let (hanging, quick) = (Aws::with(slow(600_000)), Aws::start());
    let stuck = Helper::of(&hanging);
    let mut held = stuck.start(&["get"], HOST.as_bytes());
    wait_until("the first asks AWS", SOON, || hanging.count() > 0);
    let shared = stuck.cache_dir();
    let other = Helper::of(&quick).var("AWS_ECR_CACHE_DIR", shared.to_str().expect("UTF-8"));
    let ran = other.get(HOST);
    ran.password_for(HOST);
    // The other process waits for twenty seconds.
    assert!(ran.took < Duration::from_secs(10), "{:?}", ran.took);
    held.kill().expect("it still waits");
    end(held);
}

/// Measures how long `count` processes take to start.
fn time_to_start(count: usize) -> Duration {
    let started = Instant::now();
    let helper = Helper::bare();
    let children: Vec<_> = (0..count).map(|_| helper.start(&["version"], b"")).collect();
    for child in children {
        end(child);
    }
    started.elapsed()
}

/// AWS answers at once, after a moment, and never. A failure counts for all processes that have started before its report, and for a
/// second after that, so that the number of calls follows from the time alone, whatever the scheduler does.
#[test]
fn a_failure_is_the_answer_of_all_processes_that_wait_or_start_within_a_second() {
    let denied = (400, "AccessDeniedException", "not you");
    let (moment, never) = (Duration::from_millis(300), Duration::from_mins(10));
    for (delay, timeout) in [(Duration::ZERO, 60), (moment, 60), (never, 3)] {
        let aws = Aws::with(Plan { failures: usize::MAX, failure: denied, delay, ..Plan::default() });
        let helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", &format!("{timeout}s"));
        let (runs, took) = many(&helper, 50, HOST);
        let lines: BTreeSet<&str> = runs.iter().map(Ran::error).collect();
        let seconds = usize::try_from(took.as_secs()).expect("a short time");
        assert!(aws.count() <= 1 + seconds, "{} calls in {took:?} at {delay:?}", aws.count());
        assert_eq!(lines.len(), 1, "{lines:?}");
        let bound = limit(delay.min(Duration::from_secs(timeout)) + 2 * time_to_start(50) + Duration::from_secs(2));
        assert!(took < 3 * bound, "{took:?} at {delay:?}");
    }
}

/// AWS takes longer than the one may wait, and less than the others may.
#[test]
fn a_short_time_limit_is_nobody_elses_failure() {
    let aws = Aws::with(slow(2500));
    let mut helper = Helper::of(&aws).var("AWS_ECR_TIMEOUT", "1s");
    let short = helper.start(&["get"], HOST.as_bytes());
    wait_until("the process asks AWS", SOON, || aws.count() > 0);
    helper.set("AWS_ECR_TIMEOUT", "60s");
    let (runs, _) = many(&helper, 5, HOST);
    assert!(String::from_utf8_lossy(&end(short).stdout).contains("E-TIMEOUT"));
    let passwords: BTreeSet<String> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
    assert_eq!((passwords.len(), aws.count()), (1, 2));
}

#[test]
fn a_process_that_starts_more_than_a_second_after_a_failure_asks_aws_itself() {
    let aws = Aws::with(Plan { failures: 1, failure: (400, "AccessDeniedException", "not yet"), ..Plan::default() });
    let helper = Helper::of(&aws);
    helper.get(HOST).error();
    let failed = Instant::now();
    wait_until("a token", SOON, || helper.get(HOST).code == Some(0));
    // The report holds whole seconds since boot beside the time of day.
    assert!(failed.elapsed() < limit(Duration::from_secs(5)), "{:?}", failed.elapsed());
    assert_eq!(aws.count(), 2);
}

/// Who erases a token wants to start over, also after a failure.
#[test]
fn erase_makes_the_next_process_ask_aws_after_a_failure() {
    let aws = Aws::with(Plan { failures: 1, failure: (400, "AccessDeniedException", "not yet"), ..Plan::default() });
    let helper = Helper::of(&aws);
    helper.get(HOST).error();
    helper.run(&["erase"], HOST).silent();
    helper.get(HOST).password_for(HOST);
}

#[test]
fn a_token_that_is_erased_while_it_is_requested_is_not_cached() {
    let aws = Aws::with(slow(1500));
    let helper = Helper::of(&aws);
    let asking = helper.start(&["get"], HOST.as_bytes());
    wait_until("the process asks AWS", SOON, || aws.count() > 0);
    helper.run(&["erase"], HOST).silent();
    Ran::new(end(asking), Duration::ZERO).password_for(HOST);
    assert!(helper.entries().is_empty(), "{:?}", helper.entries());
}

/// The kinds of files in the cache.
fn endings(helper: &Helper) -> Vec<String> {
    let files = fs::read_dir(helper.cache_dir()).expect("a cache").flatten().map(|file| file.path());
    let endings = files.map(|path| path.extension().unwrap_or_default().display().to_string());
    endings.collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn leaders_that_are_killed_at_any_moment_delay_no_other_process() {
    let rounds = if std::env::var_os("FULL").is_some() { 500 } else { 60 };
    let mut chance = Chance::new();
    let aws = Aws::with(slow(5));
    let helper = Helper::of(&aws);
    // Any moment of one that nobody kills, and a little after.
    let longest = u64::try_from(helper.get(HOST).took.as_micros()).expect("a short time") * 3 / 2;
    let mut killed_while_asking = 0;
    for round in 0..rounds {
        helper.run(&["erase"], HOST).silent();
        let calls = aws.count();
        let mut victim = helper.start(&["get"], HOST.as_bytes());
        let others: Vec<_> = (0..2).map(|_| helper.start(&["get"], HOST.as_bytes())).collect();
        std::thread::sleep(Duration::from_micros(chance.below(longest)));
        killed_while_asking += usize::from(aws.count() > calls && helper.entries().is_empty());
        victim.kill().expect("a kill");
        end(victim);
        for other in others {
            let ran = Ran::new(end(other), Duration::ZERO);
            ran.password_for(HOST);
        }
        for path in helper.entries() {
            let entry: Result<Value, _> = serde_json::from_slice(&fs::read(&path).expect("an entry"));
            assert!(entry.is_ok(), "a half-written entry in round {round}");
        }
    }
    assert!(killed_while_asking > 0, "some were killed while they asked");
    // The save that the last victim had begun goes with an erasure.
    helper.run(&["erase"], HOST).silent();
    helper.get(HOST).password_for(HOST);
    assert_eq!(endings(&helper), ["TAG", "json", "manifest"], "the last process leaves nothing else");
    helper.run(&["erase"], HOST).silent();
    let ran = helper.get(HOST);
    assert!(ran.took < Duration::from_secs(4), "no lock is left to wait for: {:?}", ran.took);
}

#[test]
fn a_stopped_leader_costs_the_others_no_more_than_five_seconds_and_one_call() {
    best_of_three(Duration::from_secs(5), || {
        let aws = Aws::with(slow(600_000));
        let helper = Helper::of(&aws);
        let holder = helper.start(&["get"], HOST.as_bytes());
        wait_until("the holder asks AWS", SOON, || aws.count() > 0);
        send(holder.id(), Signal::SIGSTOP);
        aws.change(|plan| plan.delay = Duration::from_millis(50));
        let (runs, took) = many(&helper, 10, HOST);
        let passwords: BTreeSet<String> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
        assert_eq!((passwords.len(), aws.count()), (1, 2));
        send(holder.id(), Signal::SIGKILL);
        end(holder);
        helper.get(HOST).password_for(HOST);
        assert_eq!(aws.count(), 2);
        took
    });
}

#[test]
fn the_others_wait_for_a_slow_leader() {
    let aws = Aws::with(slow(6000));
    let (runs, _) = many(&Helper::of(&aws), 10, HOST);
    let passwords: BTreeSet<String> = runs.iter().map(|ran| ran.password_for(HOST)).collect();
    assert_eq!((passwords.len(), aws.count()), (1, 1));
}

#[test]
fn many_keys_at_once_all_stay() {
    let aws = Aws::with(slow(20));
    let helper = Helper::of(&aws);
    let children: Vec<_> = (0..40)
        .map(|number| {
            let mut command = helper.command();
            command.arg("get").env("AWS_ACCESS_KEY_ID", format!("AKIA{number}"));
            start(&mut command, HOST)
        })
        .collect();
    for child in children {
        Ran::new(end(child), Duration::ZERO).password_for(HOST);
    }
    assert_eq!((entries(&helper.cache_dir()).len(), aws.count()), (40, 40));
}

#[test]
fn list_names_every_registry_after_many_gets_at_once() {
    let aws = Aws::with(slow(20));
    let helper = Helper::of(&aws);
    let hosts: Vec<String> =
        (0..60).map(|number| format!("1111222233{number:02}.dkr.ecr.us-east-1.amazonaws.com")).collect();
    let children: Vec<_> = hosts.iter().map(|host| helper.start(&["get"], host.as_bytes())).collect();
    for (child, host) in children.into_iter().zip(&hosts) {
        Ran::new(child.wait_with_output().expect("an end"), Duration::ZERO).password_for(host);
    }
    let listed: BTreeMap<String, String> = serde_json::from_str(printed(&helper.run(&["list"], ""))).expect("JSON");
    let expected = hosts.into_iter().map(|host| (host, "AWS".to_owned()));
    assert_eq!(listed, expected.collect());
}
