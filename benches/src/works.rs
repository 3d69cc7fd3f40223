//! First calls and replays: the contenders of each work, and its goals.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Outcome;
use crate::contender::embedded::embedded;
use crate::contender::{Contender, bare, redis};
use crate::lap::Lap;
use crate::report::{Bound, Report};
use crate::server::RedisServer;
use crate::settings::Settings;
use crate::tournament::{Result, run};

/// The callers of a work with many callers.
const CROWD: usize = 64;
/// First calls in a turn with many callers. A contender that syncs each call alone makes a quarter of them, so that a
/// turn is short and its neighbours meet the same disk.
const CROWD_CALLS: u64 = 64 * 100;
/// First calls in a turn in memory, where a shorter turn would end before all callers run.
const CROWD_CALLS_MEMORY: u64 = 4 * CROWD_CALLS;
/// First calls in a turn with one caller.
const ALONE_CALLS: u64 = 150;
/// First calls of one caller before the first measured turn. An fsync of a growing file takes longer than one of an
/// overwritten file; after these calls, every WAL has been reset.
const ALONE_WARMING: u64 = 800;
/// Replays in a turn.
const REPLAYS: usize = 3_000;

/// Measures first calls of 64 callers and of one, on disk and in memory.
///
/// # Errors
/// The first error of any contender.
pub fn first_calls(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let disk = tempfile::tempdir_in(&settings.disk)?;
    let memory = tempfile::tempdir_in(&settings.memory)?;
    let bare = ["bare-channel", "bare-finished", "bare-insert"];

    let own = ["ours", "ours-async", "ours-rerun", "by-hand"];
    let mut contenders = all(disk.path(), "crowd", &own)?;
    contenders.extend(peers(disk.path(), report)?);
    contenders.extend(all(disk.path(), "crowd", &bare)?);
    let results = run(&contenders, settings.rounds, |who, round| {
        let is_slow = who.name().starts_with("Mutex") || who.name().starts_with("cached");
        let calls = if is_slow { CROWD_CALLS / 4 } else { CROWD_CALLS };
        who.first_calls(CROWD, keys(round, calls))
    })?;
    report.table("first call, 64 callers, disk", &results);
    judge_crowd(&results, report);

    let contenders = all(memory.path(), "crowd", &[&own[..], &bare].concat())?;
    let results = run(&contenders, settings.rounds, |who, round| {
        who.first_calls(CROWD, keys(round, CROWD_CALLS_MEMORY))
    })?;
    report.table("first call, 64 callers, tmpfs", &results);
    let floors =
        [("bare: claim", 0.6), ("bare: finished rows through", 0.3), ("bare: finished rows in batches", 0.3)];
    for (who, least) in floors {
        for ours in &["idempotent, threads", "idempotent, tasks"] {
            compare(&results, ours, who, least, report);
        }
    }
    drop(contenders);
    alone("disk", disk.path(), settings, report)?;
    alone("tmpfs", memory.path(), settings, report)
}

fn judge_crowd(results: &[Result], report: &mut Report) {
    for (who, least) in [("Mutex", 5.0), ("Redis", 1.5), ("cached", 10.0), ("PostgreSQL", 4.0)] {
        for ours in &["idempotent, threads", "idempotent, tasks"] {
            compare(results, ours, who, least, report);
        }
    }
}

fn compare(results: &[Result], ours: &str, who: &str, least: f64, report: &mut Report) {
    if let (Some(ours), Some(other)) = (named(results, ours), named(results, who)) {
        let goal = format!("{} as fast as {}", ours.name, other.name);
        report.goal(&goal, Bound::AtLeast(least), ours.ratio_to(other));
    }
}

fn alone(place: &str, folder: &Path, settings: &Settings, report: &mut Report) -> Outcome<()> {
    let pages = pages_per_commit(folder)?;
    report.figure(&format!("WAL pages per commit of a lone caller, {place}"), pages);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few pages")]
    let pages = pages.ceil() as u64;
    let mut contenders =
        all(folder, "alone", &["ours", "ours-async", "ours-rerun", "ours-tx", "by-hand", "bare-channel"])?;
    for appends in [2, 1] {
        contenders.push(Box::new(bare::Fsyncs::open(folder, pages, appends)?));
    }
    for who in &contenders {
        who.first_calls(1, 0..ALONE_WARMING)?;
    }
    // A store checks its files more often in the first seconds after it was opened.
    thread::park_timeout(Duration::from_millis(3_200));
    let results = run(&contenders, settings.rounds, |who, round| {
        let first = ALONE_WARMING + round as u64 * ALONE_CALLS;
        who.first_calls(1, first..first + ALONE_CALLS)
    })?;
    report.table(&format!("first call, 1 caller, {place}"), &results);
    for ours in results.iter().filter(|result| result.name.starts_with("idempotent")) {
        let has_one_commit = ours.name.ends_with("rerun") || ours.name.ends_with("tx");
        let floor = if has_one_commit { "bare: one fsync" } else { "bare: two fsyncs" };
        let Some(floor) = named(&results, floor) else { continue };
        let over = ours.paired(floor, |ours, floor| ours.quantile_us(0.5) - floor.quantile_us(0.5));
        let goal = format!("{}, {place}: median µs above {} (stretch: 60)", ours.name, floor.name);
        report.goal(&goal, Bound::AtMost(120.0), over);
    }
    Ok(())
}

/// Measures replays on one thread, and a read from every peer.
///
/// # Errors
/// The first error of any contender.
pub fn replays(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let disk = tempfile::tempdir_in(&settings.disk)?;
    let mut contenders = all(disk.path(), "replay", &["ours", "ours-async", "bare-select", "by-hand"])?;
    contenders.extend(peers(disk.path(), report)?);
    let results = run(&contenders, settings.rounds, |who, round| {
        let times =
            if who.name().contains("Redis") || who.name() == "PostgreSQL" { REPLAYS / 10 } else { REPLAYS };
        who.replays(u64::try_from(round)?, times)
    })?;
    report.table("replay, 1 thread", &results);
    let mean = |ours: &Lap, other: &Lap| ours.mean_us() / other.mean_us();
    for ours in results.iter().filter(|result| result.name.starts_with("idempotent")) {
        if let Some(select) = named(&results, "bare: cached SELECT") {
            let goal = format!("{}: a replay in bare cached SELECTs", ours.name);
            report.goal(&goal, Bound::AtMost(1.5), ours.paired(select, mean));
        }
        compare(&results, ours.name, "Redis", 5.0, report);
    }
    Ok(())
}

/// Opens embedded contenders, each in its own folder.
fn all(folder: &Path, work: &str, names: &[&str]) -> Outcome<Vec<Box<dyn Contender>>> {
    names.iter().map(|name| embedded(name, &subfolder(folder, &format!("{work}-{name}"))?)).collect()
}

/// Starts the peers that are installed and compiled in, and reports the others as skipped.
fn peers(folder: &Path, report: &mut Report) -> Outcome<Vec<Box<dyn Contender>>> {
    let mut peers: Vec<Box<dyn Contender>> = Vec::new();
    #[cfg(feature = "cached")]
    peers.push(embedded("cached", &subfolder(folder, "cached")?)?);
    #[cfg(not(feature = "cached"))]
    report.skip("cached 4 on disk", "build with `--features peers`");
    match RedisServer::start(&subfolder(folder, "redis")?)? {
        Some(server) => peers.push(Box::new(redis::Redis(server))),
        None => report.skip("Redis", "`redis-server` is not installed"),
    }
    #[cfg(feature = "postgres")]
    match crate::server::PostgresServer::start(&subfolder(folder, "postgres")?)? {
        Some(server) => peers.push(Box::new(crate::contender::postgres::Postgres::new(server)?)),
        None => report.skip("PostgreSQL", "`/usr/lib/postgresql/*/bin/initdb` is not installed"),
    }
    #[cfg(not(feature = "postgres"))]
    report.skip("PostgreSQL", "build with `--features peers`");
    Ok(peers)
}

fn subfolder(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

fn named<'a>(results: &'a [Result], beginning: &str) -> Option<&'a Result> {
    results.iter().find(|result| result.name.starts_with(beginning))
}

fn keys(round: usize, calls: u64) -> std::ops::Range<u64> {
    let first = round as u64 * calls;
    first..first + calls
}

/// Returns the pages that one commit of ours appends to a new WAL.
fn pages_per_commit(folder: &Path) -> Outcome<f64> {
    const CALLS: u64 = 100;
    let folder = subfolder(folder, "pages")?;
    let contender = embedded("ours", &folder)?;
    let wal = folder.join("ours.db-wal");
    contender.first_calls(1, 0..CALLS)?;
    let before = std::fs::metadata(&wal)?.len();
    contender.first_calls(1, CALLS..2 * CALLS)?;
    let pages = (std::fs::metadata(&wal)?.len() - before) / bare::PAGE_BYTES;
    Ok(f64::from(u32::try_from(pages)?) / f64::from(2 * u32::try_from(CALLS)?))
}
