//! Measures what was asked for, says what came of it, and writes it down.

use std::fs;

use idem_benches::report::Report;
use idem_benches::settings::Settings;
use idem_benches::{Outcome, chart, child, delay, growth, idle, storm, works};

type Work = fn(&Settings, &mut Report) -> Outcome<()>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == "--child").is_some() {
        return child::run(arguments);
    }
    let settings = Settings::parse(arguments)?;
    let mut report = Report::new();
    let works: [(&str, Work); 8] = [
        ("first", works::first_calls),
        ("replay", works::replays),
        ("storm", storm::storms),
        ("delay", delay::curve),
        ("growth", growth::growth),
        ("purge", growth::purge),
        ("bytes", growth::bytes),
        ("idle", idle::idle),
    ];
    for (_, work) in works.iter().filter(|(name, _)| settings.wants(name)) {
        work(&settings, &mut report)?;
    }
    fs::create_dir_all(&settings.out)?;
    fs::write(settings.out.join("benches.svg"), chart::svg(&report))?;
    fs::write(settings.out.join("benches.json"), report.json()?)?;
    let missed = report.goals.iter().filter(|goal| !goal.met).count();
    eprintln!("\n{} goals judged, {missed} missed; load average {:?}", report.goals.len(), report.load);
    eprintln!("written: {}", settings.out.join("benches.{json,svg}").display());
    Ok(())
}
