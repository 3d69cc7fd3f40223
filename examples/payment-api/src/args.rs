//! The arguments of the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use idem_runtime::OnInterrupt;

/// The text of `--help`.
pub(crate) const USAGE: &str = "\
Charges once per Idempotency-Key: POST /charges with {\"order\": TEXT, \"cents\": NUMBER}.

  --folder DIR       the folder for the store and the gateway's ledger; use it again after a restart
  --port N           the port on 127.0.0.1 (default: 0, a free port)
  --work-ms N        the duration of a charge in ms (default: 0)
  --wait-ms N        the longest wait of a retry for the first request in ms (default: 30000)
  --on-interrupt refuse|rerun
                     for a charge that a crash interrupted: `refuse` leaves it in doubt for a person,
                     `rerun` asks the gateway again with the same token (default: rerun)

Ctrl-C shuts the server down. Exit status: 0 after Ctrl-C, 1 on errors.
";

/// The arguments of the server.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) work: Duration,
    pub(crate) wait: Duration,
    pub(crate) on_interrupt: OnInterrupt,
}

/// Reads the arguments; `None` for `--help`.
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
