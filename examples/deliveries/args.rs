//! The arguments of the command line.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use idem_runtime::OnInterrupt;

/// The text of `--help`.
pub(crate) const USAGE: &str = "\
Charges each event of a webhook stream once, even if it is delivered several times.

  --input FILE     deliveries, one JSON object per line (default: the stream beside this example)
  --store FILE     the idempotency store; a second run on the same store charges nothing twice
  --ledger FILE    the file to which each charge appends one line
                   (without --store or --ledger, the file is in a new temporary folder)
  --workers N      threads that handle deliveries, 1 to 256 (default: 8)
  --on-interrupt refuse|rerun
                   for a charge that an earlier run interrupted: `refuse` leaves it in doubt for
                   a person to settle, `rerun` charges again (default: refuse)
  --work-ms N      the duration of a charge in ms, up to 3600000 (default: 0)
  --json           prints the table as one JSON object

Exit status: 0 if no delivery failed, 2 if deliveries are in doubt, 1 on other errors.
";

const WORKERS_MAX: usize = 256;
const WORK_MS_MAX: u64 = 3_600_000;

/// The requested action.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Args),
    Help,
}

/// The arguments of a run.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) input: PathBuf,
    pub(crate) store: Option<PathBuf>,
    pub(crate) ledger: Option<PathBuf>,
    pub(crate) workers: usize,
    pub(crate) on_interrupt: OnInterrupt,
    pub(crate) work: Duration,
    pub(crate) output: Output,
}

/// The form of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            input: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/deliveries.jsonl")),
            store: None,
            ledger: None,
            workers: 8,
            on_interrupt: OnInterrupt::Refuse,
            work: Duration::ZERO,
            output: Output::Table,
        }
    }
}

/// Reads the arguments, as `--name value` or `--name=value`.
///
/// # Errors
/// A message that names the argument and says what it takes.
pub(crate) fn parse(given: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut args = Args::default();
    let mut given = given.into_iter();
    while let Some(arg) = given.next() {
        let (name, attached) = split(&arg)?;
        let mut value =
            || attached.clone().or_else(|| given.next()).ok_or_else(|| format!("`{name}` needs a value"));
        match name {
            "--input" => args.input = value()?.into(),
            "--store" => args.store = Some(value()?.into()),
            "--ledger" => args.ledger = Some(value()?.into()),
            "--workers" => args.workers = number(name, &value()?, 1..=WORKERS_MAX)?,
            "--on-interrupt" => args.on_interrupt = on_interrupt(&value()?)?,
            "--work-ms" => args.work = Duration::from_millis(number(name, &value()?, 0..=WORK_MS_MAX)?),
            "--json" if attached.is_none() => args.output = Output::Json,
            "--help" | "-h" if attached.is_none() => return Ok(Command::Help),
            "--json" | "--help" | "-h" => return Err(format!("`{name}` takes no value")),
            _ => return Err(format!("unknown argument `{name}`; `--help` lists the arguments")),
        }
    }
    Ok(Command::Run(args))
}

/// Splits `--name=value`. Only a separate value may be other than UTF-8.
fn split(arg: &OsStr) -> Result<(&str, Option<OsString>), String> {
    let text = arg.to_str().ok_or_else(|| format!("unknown argument `{}`", arg.display()))?;
    Ok(match text.split_once('=') {
        Some((name, value)) => (name, Some(value.into())),
        None => (text, None),
    })
}

fn number<T>(name: &str, value: &OsStr, allowed: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.filter(|number| allowed.contains(number)).ok_or_else(|| {
        let (min, max) = (allowed.start(), allowed.end());
        format!("`{name}` takes a number from {min} to {max}, not `{}`", value.display())
    })
}

fn on_interrupt(value: &OsStr) -> Result<OnInterrupt, String> {
    match value.to_str() {
        Some("refuse") => Ok(OnInterrupt::Refuse),
        // The user of the example kills the program, not an event, so the number of attempts is unlimited.
        Some("rerun") => Ok(OnInterrupt::rerun_unlimited()),
        _ => Err(format!("`--on-interrupt` takes `refuse` or `rerun`, not `{}`", value.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(given: &[&str]) -> Result<Command, String> {
        parse(given.iter().map(OsString::from))
    }

    #[test]
    fn every_argument_is_read() {
        let line = "--input i --store=s --ledger l --workers 3 --on-interrupt rerun --work-ms=20 --json";
        let given: Vec<_> = line.split(' ').collect();
        let Ok(Command::Run(args)) = parse_all(&given) else { panic!("refused") };
        assert_eq!(args.input, PathBuf::from("i"));
        assert_eq!((args.store, args.ledger), (Some("s".into()), Some("l".into())));
        assert_eq!((args.workers, args.work, args.output), (3, Duration::from_millis(20), Output::Json));
    }

    #[test]
    fn a_wrong_argument_is_named() {
        for (given, message) in [
            (&["--store"][..], "`--store` needs a value"),
            (&["--workers", "0"], "`--workers` takes a number from 1 to 256, not `0`"),
            (&["--workers=many"], "`--workers` takes a number from 1 to 256, not `many`"),
            (&["--on-interrupt", "maybe"], "`--on-interrupt` takes `refuse` or `rerun`, not `maybe`"),
            (&["--json=yes"], "`--json` takes no value"),
            (&["stream.jsonl"], "unknown argument `stream.jsonl`; `--help` lists the arguments"),
        ] {
            assert_eq!(parse_all(given).unwrap_err(), message);
        }
    }

    #[test]
    fn help_is_accepted_at_any_position() {
        assert!(matches!(parse_all(&["--json", "-h"]), Ok(Command::Help)));
    }
}
