//! The settings of a run.

use std::path::PathBuf;

use crate::Outcome;

/// All works, in the order of a run.
pub const WORKS: [&str; 8] = ["first", "replay", "storm", "delay", "growth", "purge", "bytes", "idle"];

/// The usage of the program.
pub const USAGE: &str =
    "usage: idem-benches [--all | WORK…] [--quick] [--rounds N] [--records N] [--disk DIR] [--out DIR]
       idem-benches --draw DIR

works: first replay storm delay growth purge bytes idle
--quick    fewer turns, and a purge of 100000 records; the figures are not for publication
--rounds   turns of each contender; 21 by default, 5 if quick
--records  records of the largest store; 1000000 by default (10000000 takes some minutes more and 4 GB of disk)
--disk     a folder on the disk to measure; the current one by default
--out      the folder for benches.json and benches.svg; target/benches by default
--draw     draws DIR/benches.svg from DIR/benches.json without a measurement";

/// The settings from the command line.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requested works of [`WORKS`].
    pub works: Vec<String>,
    /// Fewer turns and fewer purged records.
    pub quick: bool,
    /// Turns of each contender.
    pub rounds: usize,
    /// The largest number of records in the growth work.
    pub records: u64,
    /// A folder on the disk to measure.
    pub disk: PathBuf,
    /// A folder on tmpfs.
    pub memory: PathBuf,
    /// The folder for the results.
    pub out: PathBuf,
    /// A folder with an earlier run, to be drawn without a new measurement.
    pub draw: Option<PathBuf>,
}

impl Settings {
    /// Reads the arguments of the program.
    ///
    /// # Errors
    /// If an argument is unknown.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Settings> {
        let mut settings = Settings {
            works: Vec::new(),
            quick: false,
            rounds: 0,
            records: 1_000_000,
            disk: PathBuf::from("."),
            memory: PathBuf::from("/dev/shm"),
            out: PathBuf::from("target/benches"),
            draw: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match &*argument {
                "--all" => settings.works = WORKS.map(str::to_owned).to_vec(),
                "--quick" => settings.quick = true,
                "--draw" => settings.draw = Some(value()?.into()),
                "--rounds" => settings.rounds = value()?.parse()?,
                "--records" => settings.records = value()?.parse()?,
                "--disk" => settings.disk = value()?.into(),
                "--out" => settings.out = value()?.into(),
                work if WORKS.contains(&work) => settings.works.push(argument),
                _ => return Err(format!("unknown argument `{argument}`\n\n{USAGE}").into()),
            }
        }
        if settings.works.is_empty() && settings.draw.is_none() {
            return Err(USAGE.into());
        }
        if settings.rounds == 0 {
            settings.rounds = if settings.quick { 5 } else { 21 };
        }
        Ok(settings)
    }

    /// Whether a work is requested.
    #[must_use]
    pub fn wants(&self, work: &str) -> bool {
        self.works.iter().any(|wanted| wanted == work)
    }
}
