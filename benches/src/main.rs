//! Runs the requested measurements, prints the results, and writes them to files.

use std::fs;
use std::path::Path;
use std::time::Instant;

use idem_benches::report::Report;
use idem_benches::settings::Settings;
use idem_benches::{Outcome, bytes, chart, child, delay, growth, idle, purge, storm, works};

type Work = fn(&Settings, &mut Report) -> Outcome<()>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "--child").is_some() {
        return child::run(arguments);
    }
    let settings = Settings::parse(arguments)?;
    if let Some(folder) = &settings.draw {
        let report = serde_json::from_str(&fs::read_to_string(folder.join("benches.json"))?)?;
        return Ok(fs::write(folder.join("benches.svg"), chart::svg(&report))?);
    }
    let mut report = Report::new();
    measure(&settings, &mut report)?;
    write(&settings.out, &mut report)
}

fn measure(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let works: [(&str, Work); 8] = [
        ("first", works::first_calls),
        ("replay", works::replays),
        ("storm", storm::storms),
        ("delay", delay::curve),
        ("growth", growth::growth),
        ("purge", purge::purge),
        ("bytes", bytes::bytes),
        ("idle", idle::idle),
    ];
    for (name, work) in works.iter().filter(|(name, _)| settings.wants(name)) {
        let begun = Instant::now();
        work(settings, report)?;
        report.took_s.push(((*name).to_owned(), begun.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn write(folder: &Path, report: &mut Report) -> Outcome<()> {
    let json = report.json()?;
    fs::create_dir_all(folder)?;
    fs::write(folder.join("benches.json"), json)?;
    fs::write(folder.join("benches.svg"), chart::svg(report))?;
    let missed = report.goals.iter().filter(|goal| !goal.met).count();
    eprintln!("\n{} goals judged, {missed} missed; load average {:?}", report.goals.len(), report.load);
    let works = report.took_s.iter().map(|(work, took)| format!("{work} {took:.0} s"));
    let total: f64 = report.took_s.iter().map(|(_, took)| took).sum();
    eprintln!("took {total:.0} s: {}", works.collect::<Vec<_>>().join(", "));
    for skipped in &report.skipped {
        eprintln!("!!! SKIPPED: {skipped}");
    }
    eprintln!("written: {}", folder.join("benches.{json,svg}").display());
    Ok(())
}
