//! The arguments of the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use idem_runtime::OnInterrupt;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Charges once per Idempotency-Key: POST /charges with {\"order\": TEXT, \"cents\": NUMBER}.

  --folder DIR       where the store and the gateway's ledger are; start again on the same one
  --port N           the port on 127.0.0.1 (default: 0, a free one)
  --work-ms N        how long a charge takes (default: 0)
  --wait-ms N        how long a retry waits for the first request (default: 30000)
  --on-interrupt refuse|rerun
                     what a retry does about a charge that a crash cut off: `refuse` leaves it in doubt for
                     a person, `rerun` asks the gateway again under the same token (default: rerun)

Ctrl-C ends it in good order. Exit status: 0 then, 1 on errors.
";

/// How to serve.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) work: Duration,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
}

/// Reads the arguments; `None` asks for help.
///
/// # Errors
/// A message that names the argument and says what it takes.
pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut folder = None;
    let mut args = Args {
        folder: PathBuf::new(),
        port: 0,
        work: Duration::ZERO,
        wait: Duration::from_secs(30),
        on_interrupt: OnInterrupt::rerun(),
    };
    while let Some(name) = given.next() {
        if matches!(name.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        let value = given.next().ok_or_else(|| format!("`{name}` needs a value; see `--help`"))?;
        match name.as_str() {
            "--folder" => folder = Some(PathBuf::from(value)),
            "--port" => args.port = number(&name, &value)?,
            "--work-ms" => args.work = Duration::from_millis(number::<u32>(&name, &value)?.into()),
            "--wait-ms" => args.wait = Duration::from_millis(number::<u32>(&name, &value)?.into()),
            "--on-interrupt" => args.on_interrupt = on_interrupt(&value)?,
            _ => return Err(format!("unknown argument `{name}`; `--help` lists the arguments")),
        }
    }
    args.folder = folder.ok_or("`--folder` is needed; see `--help`")?;
    Ok(Some(args))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{name}` takes a number, and `{value}` is none or too large"))
}

fn on_interrupt(value: &str) -> Result<OnInterrupt, String> {
    match value {
        "refuse" => Ok(OnInterrupt::Refuse),
        "rerun" => Ok(OnInterrupt::rerun()),
        _ => Err(format!("`--on-interrupt` takes `refuse` or `rerun`, not `{value}`")),
    }
}
