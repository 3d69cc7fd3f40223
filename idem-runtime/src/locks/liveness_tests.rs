//! Owners in real processes: this test binary starts itself as the owner.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::host::sidecar;
use crate::host::store_path::StorePath;
use crate::locks::owner_lock::OwnerFile;

const OWNER_IN: &str = "IDEM_TEST_OWNER_IN";

/// Facts that prove nothing, so that only the lock can.
fn no_facts() -> OwnerFacts {
    OwnerFacts { pid: 0, pid_start: None, pid_space: None, boot_id: None, host: String::new() }
}

/// Facts of a process that has certainly ended.
fn gone_facts() -> OwnerFacts {
    OwnerFacts { pid: 4_194_305, ..OwnerFacts::here() }
}

struct OwnerProcess(Child);

impl OwnerProcess {
    /// Starts a process and returns once it owns the token `child`.
    fn start(folder: &tempfile::TempDir) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["hold_the_lock_until_killed", "--ignored", "--nocapture", "--test-threads=1"])
            .env(OWNER_IN, folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("owner is ready")));
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for OwnerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "is the other process of the tests below"]
#[expect(clippy::print_stdout, reason = "tells the parent")]
fn hold_the_lock_until_killed() {
    let Some(folder) = std::env::var_os(OWNER_IN) else { return };
    let store = StorePath::resolve(&PathBuf::from(folder).join("idem.db")).unwrap();
    let _owner = OwnerFile::create(&Sidecar::create(store.sidecar()).unwrap(), "child").unwrap();
    println!("\nowner is ready");
    std::io::stdin().lines().for_each(drop);
}

/// The time from the kill of an owner to the first check that finds it dead.
fn time_to_see_a_death() -> Duration {
    let (folder, sidecar) = sidecar::alone();
    let mut owner = OwnerProcess::start(&folder);
    let probe = LivenessProbe::new(&sidecar, "me");
    assert_eq!(probe.check("child", &no_facts()), Liveness::Alive);
    owner.0.kill().unwrap();
    let killed = Instant::now();
    while probe.check("child", &no_facts()) != Liveness::Dead {
        assert!(killed.elapsed() < Duration::from_secs(5));
        thread::yield_now();
    }
    killed.elapsed()
}

#[test]
fn a_killed_owner_is_dead_within_20_ms() {
    // On a busy machine the kernel may take its time once, but not every time.
    let best = (0..4).map(|_| time_to_see_a_death()).min().unwrap();
    assert!(best < Duration::from_millis(20), "{best:?}");
}

#[test]
fn a_stopped_owner_is_alive() {
    let (folder, sidecar) = sidecar::alone();
    let owner = OwnerProcess::start(&folder);
    owner.signal("-STOP");
    let probe = LivenessProbe::new(&sidecar, "me");
    for _ in 0..100 {
        // The facts do not matter while there is a file: not even wrong ones.
        assert_eq!(probe.check("child", &gone_facts()), Liveness::Alive);
    }
    owner.signal("-CONT");
    assert_eq!(probe.check("child", &no_facts()), Liveness::Alive);
}

#[test]
fn a_kept_descriptor_is_right_after_the_file_was_removed() {
    let (folder, sidecar) = sidecar::alone();
    let owner = OwnerProcess::start(&folder);
    let (before, after) = (LivenessProbe::new(&sidecar, "me"), LivenessProbe::new(&sidecar, "you"));
    assert_eq!(before.check("child", &no_facts()), Liveness::Alive);
    fs::remove_file(sidecar.file("owner-child.lock")).unwrap();
    assert_eq!(before.check("child", &gone_facts()), Liveness::Alive);
    assert_eq!(after.check("child", &no_facts()), Liveness::Unknown);
    drop(owner);
    assert_eq!(before.check("child", &no_facts()), Liveness::Dead);
    assert_eq!(after.check("child", &no_facts()), Liveness::Unknown);
}

#[test]
fn without_a_file_only_proof_makes_an_owner_dead() {
    let (_folder, sidecar) = sidecar::alone();
    let here = OwnerFacts::here();
    let cases = [
        ("running", here.clone(), Liveness::Unknown),
        ("gone", gone_facts(), Liveness::Dead),
        ("id-given-away", OwnerFacts { pid_start: Some(1), ..here.clone() }, Liveness::Dead),
        ("restarted", OwnerFacts { boot_id: Some("another".to_owned()), ..here.clone() }, Liveness::Dead),
        (
            "other-space",
            OwnerFacts { pid_space: Some("pid:[1]".to_owned()), ..gone_facts() },
            Liveness::Unknown,
        ),
        ("no-facts", no_facts(), Liveness::Unknown),
        ("../out", gone_facts(), Liveness::Unknown),
    ];
    let probe = LivenessProbe::new(&sidecar, "me");
    for (token, facts, expected) in cases {
        assert_eq!(probe.check(token, &facts), expected, "{token}");
    }
}

#[test]
fn another_boot_proves_nothing_where_other_machines_write() {
    let (_folder, sidecar) = sidecar::alone();
    let probe = LivenessProbe { is_remote: true, ..LivenessProbe::new(&sidecar, "me") };
    let elsewhere = OwnerFacts { boot_id: Some("another".to_owned()), ..OwnerFacts::here() };
    assert_eq!(probe.check("them", &elsewhere), Liveness::Unknown);
}

#[test]
fn death_is_final() {
    let (_folder, sidecar) = sidecar::alone();
    drop(OwnerFile::create(&sidecar, "a1").unwrap());
    let probe = LivenessProbe::new(&sidecar, "me");
    assert_eq!(probe.check("a1", &no_facts()), Liveness::Dead);
    // Against the rules, a second owner takes the token; the cached answer stays.
    let intruder = File::open(sidecar.file("owner-a1.lock")).unwrap();
    intruder.try_lock().unwrap();
    assert_eq!(probe.check("a1", &no_facts()), Liveness::Dead);
}

#[test]
fn an_owner_takes_itself_for_alive_and_is_not_reaped() {
    let (_folder, sidecar) = sidecar::alone();
    let owner = OwnerFile::create(&sidecar, "me").unwrap();
    let (mine, other) = (LivenessProbe::new(&sidecar, "me"), LivenessProbe::new(&sidecar, "you"));
    for probe in [&mine, &other] {
        assert_eq!(probe.check("me", &gone_facts()), Liveness::Alive);
        assert!(!probe.reap("me").unwrap());
    }
    assert!(sidecar.file("owner-me.lock").exists());
    fs::remove_file(sidecar.file("owner-me.lock")).unwrap();
    assert_eq!(
        LivenessProbe::new(&sidecar, "me").check("me", &gone_facts()),
        Liveness::Alive,
        "I know that I am"
    );
    fs::write(sidecar.file("owner-me.lock"), "").unwrap();
    drop(owner);
    assert!(!mine.reap("me").unwrap());
    assert!(other.reap("me").unwrap());
}

#[test]
fn only_the_dead_are_reaped() {
    let (folder, sidecar) = sidecar::alone();
    let owner = OwnerProcess::start(&folder);
    let probe = LivenessProbe::new(&sidecar, "me");
    assert!(!probe.reap("child").unwrap());
    assert_eq!(probe.check("child", &no_facts()), Liveness::Alive);
    drop(owner);
    assert!(probe.reap("child").unwrap());
    assert!(!sidecar.file("owner-child.lock").exists());
    // The probe that reaped the owner has cached its death.
    assert_eq!(probe.check("child", &no_facts()), Liveness::Dead);
    assert!(probe.reap("child").unwrap(), "again is no error");
    assert_eq!(probe.reap("../child").unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn concurrent_checks_do_not_take_each_other_for_the_owner() {
    let (_folder, sidecar) = sidecar::alone();
    let living = OwnerFile::create(&sidecar, "living").unwrap();
    drop(OwnerFile::create(&sidecar, "dead").unwrap());
    let until = Instant::now() + Duration::from_millis(300);
    let wrong = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < until {
                    // A new probe each time: nothing remembered, a descriptor of its own.
                    let probe = LivenessProbe::new(&sidecar, "me");
                    let right = probe.check("living", &no_facts()) == Liveness::Alive
                        && probe.check("dead", &no_facts()) == Liveness::Dead;
                    wrong.fetch_or(!right, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(!wrong.into_inner());
    drop(living);
    assert_eq!(LivenessProbe::new(&sidecar, "me").check("living", &no_facts()), Liveness::Dead);
}

#[test]
fn one_probe_serves_many_threads() {
    let (_folder, sidecar) = sidecar::alone();
    let _living = OwnerFile::create(&sidecar, "living").unwrap();
    let probe = LivenessProbe::new(&sidecar, "me");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    assert_eq!(probe.check("living", &no_facts()), Liveness::Alive);
                }
            });
        }
    });
}

#[test]
fn descriptors_are_bounded() {
    let (_folder, sidecar) = sidecar::alone();
    let owners: Vec<_> =
        (0..KEPT_MAX + 10).map(|n| OwnerFile::create(&sidecar, &format!("o{n}")).unwrap()).collect();
    let probe = LivenessProbe::new(&sidecar, "me");
    for n in 0..owners.len() {
        assert_eq!(probe.check(&format!("o{n}"), &no_facts()), Liveness::Alive);
        assert!(probe.cached().len() <= KEPT_MAX);
    }
}

/// Not a benchmark: it only catches a probe that opens the file each time, or worse.
#[test]
fn a_repeated_check_is_one_system_call() {
    let (_folder, sidecar) = sidecar::alone();
    let _living = OwnerFile::create(&sidecar, "living").unwrap();
    let (probe, facts) = (LivenessProbe::new(&sidecar, "me"), no_facts());
    let started = Instant::now();
    for _ in 0..10_000 {
        assert_eq!(probe.check("living", &facts), Liveness::Alive);
    }
    let each = started.elapsed() / 10_000;
    assert!(each < Duration::from_micros(50), "{each:?}");
}
