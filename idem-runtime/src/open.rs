//! How a store is opened: nothing is written before the file is known to be ours.
//!
//! One open at a time per process (a mutex) and per machine (the gate). Opening the same file again gives the same
//! store. The owner's lock is taken before its row is visible, and its row is committed before its first claim.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::clock::{Clock, SystemClock};
use crate::core::{Core, Found, read_owner};
use crate::error::Error;
use crate::event;
use crate::fault;
use crate::files::{Creation, StorePath};
use crate::gate::Gate;
use crate::high_water::HighWater;
use crate::identity::Identity;
use crate::path_problem::PathProblem;
use crate::owner::{OwnerFacts, OwnerFile};
use crate::prober::{Liveness, Prober};
use crate::purge::Rhythm;
use crate::queries::{self, Change, Expect, ReadError};
use crate::record::Reason;
use crate::schema::{self, Role, Tenancy};
use crate::sidecar::Sidecar;
use crate::signal::lock;
use crate::store::{Inner, Store};
use crate::times::Times;
use crate::writer::Writer;

/// How long opening waits for another process that writes.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// After an unclean end a store up to this size is checked before it is used: about a second per 150 MB.
const CHECK_BYTES_MAX: u64 = 256 << 20;
/// Results up to this size are stored; see [`StoreBuilder::result_bytes_max`].
pub(crate) const RESULT_BYTES_MAX: usize = 1 << 20;
const RECORD_WITHIN: Duration = Duration::from_secs(30);
const SETTLE_WINDOW: Duration = Duration::from_secs(30);

/// Open stores of this process, by path.
static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Inner>>>> = Mutex::new(None);

/// How to open a store; see [`Store::builder`].
///
/// ```
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("idem.db");
/// let store = idem_runtime::Store::builder().result_bytes_max(64 << 10).open(&path)?;
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct StoreBuilder {
    tenancy: Tenancy,
    result_bytes_max: usize,
    record_within: Duration,
    settle_window: Duration,
    token_namespace: Option<Arc<str>>,
    clock: Option<Arc<dyn Clock>>,
    remote: bool,
    accept_lost_records: bool,
}

impl Default for StoreBuilder {
    fn default() -> StoreBuilder {
        StoreBuilder {
            tenancy: Tenancy::Own,
            result_bytes_max: RESULT_BYTES_MAX,
            record_within: RECORD_WITHIN,
            settle_window: SETTLE_WINDOW,
            token_namespace: None,
            clock: None,
            remote: false,
            accept_lost_records: false,
        }
    }
}

impl StoreBuilder {
    /// Keeps the records inside the application's own database, in tables named `idem_*`.
    ///
    /// The file must exist and be in WAL mode. Its `user_version`, `application_id` and journal mode are left alone.
    pub fn shared(mut self) -> Self {
        self.tenancy = Tenancy::Shared;
        self
    }

    /// The largest result that is stored, in bytes; 1 MiB by default.
    ///
    /// A larger one is recorded as done without a result: its caller gets it, later callers get
    /// [`ResultGone`](crate::ErrorKind::ResultGone).
    pub fn result_bytes_max(mut self, bytes: usize) -> Self {
        self.result_bytes_max = bytes;
        self
    }

    /// How long a caller whose body has run waits for its record; 30 s by default.
    ///
    /// After that it gets [`NotRecorded`](crate::ErrorKind::NotRecorded), while the store goes on trying.
    pub fn record_within(mut self, limit: Duration) -> Self {
        self.record_within = limit;
        self
    }

    /// How long after a crash a recovery hook's [`NotDone`](crate::Verdict::NotDone) is not believed; 30 s by default.
    ///
    /// It counts from the first time the doubt was noticed, and is over at once if the machine was restarted since.
    /// A request that the kernel holds for a killed process can arrive later than the question about it: allow
    /// longer than the slowest of them takes.
    pub fn settle_window(mut self, window: Duration) -> Self {
        self.settle_window = window;
        self
    }

    /// Makes downstream tokens from this text instead of the store's own id.
    ///
    /// They are then the same after the store was lost or moved. Two stores of one namespace share their tokens.
    pub fn token_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.token_namespace = Some(namespace.into());
        self
    }

    /// Another clock than the system's, for tests of lifetimes.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Opens a store on a network or virtual machine mount, which is refused otherwise.
    ///
    /// Locks and shared memory do not work there in general: two machines may then run the same call.
    pub fn allow_remote_mount(mut self) -> Self {
        self.remote = true;
        self
    }

    /// Opens a store that has lost records, which is refused otherwise.
    ///
    /// Use it once, after you know which calls are missing: they count as never made.
    pub fn accept_lost_records(mut self) -> Self {
        self.accept_lost_records = true;
        self
    }

    /// Opens the store, or makes it; a file that is open in this process gives the same store again.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store) with what is wrong with the path, the file or the disk. Nothing
    /// was changed then.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store, Error> {
        schema::check_library()?;
        let path = StorePath::resolve(path.as_ref()).map_err(problem)?;
        if !self.remote {
            path.refuse_remote().map_err(problem)?;
        }
        let mut open = lock(&OPEN);
        let stores = open.get_or_insert_default();
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(inner) = stores.get(path.database()).and_then(Weak::upgrade)
            && inner.core.check_usable().is_ok()
        {
            return Ok(Store { inner });
        }
        let inner = Arc::new(self.open_anew(path.clone())?);
        stores.insert(path.database().to_owned(), Arc::downgrade(&inner));
        Ok(Store { inner })
    }

    fn open_anew(self, path: StorePath) -> Result<Inner, Error> {
        let sidecar = Sidecar::create(&path).map_err(problem)?;
        let io = |error| Error::store(format!("the folder `{}` cannot be used", sidecar.path().display())).because(error);
        let mut gate = Gate::open(&sidecar).map_err(io)?;
        let mut high_water = HighWater::open(&sidecar).map_err(io)?;
        let turn = gate.enter(OPEN_WAIT);
        let creation = match self.tenancy {
            Tenancy::Own => path.prepare(&sidecar).map_err(problem)?,
            Tenancy::Shared if path.database().exists() => path.prepare(&sidecar).map_err(problem)?,
            Tenancy::Shared => {
                return Err(Error::store(format!(
                    "`{}` does not exist; a shared store lives in your application's database, which must be made first",
                    path.database().display()
                )));
            }
        };
        let conn = self.connect(&path, creation)?;
        if creation != Creation::Existing {
            high_water.reset(0).map_err(io)?;
        }
        let registered = self.register(&conn, &sidecar, &mut high_water)?;
        sidecar.finish_creation().map_err(io)?;
        conn.busy_timeout(schema::BUSY).map_err(opening)?;
        // What recovery brought back was never forced to disk; this does it before anything is answered from it.
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(opening)?;
        let identity = Identity::capture(&path).map_err(io)?;
        drop(turn);
        let Registered { owner, owner_file, store_id, times, prober, dead } = registered;
        for token in &dead {
            // Left behind, the file of a dead owner does no harm.
            let _ = prober.reap(token);
        }
        let core = Arc::new(Core::new(Found {
            path,
            tenancy: self.tenancy,
            store_id,
            token_namespace: self.token_namespace,
            settle_window: self.settle_window,
            result_bytes_max: self.result_bytes_max,
            record_within: self.record_within,
            owner,
            times,
            prober,
        }));
        let writer = Writer {
            core: Arc::clone(&core),
            conn: Some(conn),
            gate,
            high_water,
            identity,
            pending: Vec::new(),
            trouble: None,
            purge: Rhythm::new(),
        };
        start(core, writer, owner_file)
    }

    fn connect(&self, path: &StorePath, creation: Creation) -> Result<Connection, Error> {
        let conn = schema::connect(path.database(), self.result_bytes_max)?;
        conn.busy_timeout(OPEN_WAIT).map_err(opening)?;
        let bare = schema::check_file(&conn, self.tenancy)?;
        if bare && creation == Creation::Existing && self.tenancy == Tenancy::Own {
            return Err(Error::store(format!(
                "`{}` is an SQLite database without our tables: it was emptied, or its `-wal` is lost. Restore it \
                 from a backup, or delete it and its `-idem` folder if it held nothing",
                path.database().display()
            )));
        }
        schema::set_modes(&conn, self.tenancy, Role::Writer)?;
        Ok(conn)
    }

    /// Makes this open store known as an owner, and settles what dead owners left, in one transaction.
    fn register(&self, conn: &Connection, sidecar: &Sidecar, high_water: &mut HighWater) -> Result<Registered, Error> {
        let token: String =
            conn.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0)).map_err(opening)?;
        let owner_file = OwnerFile::create(sidecar, &token)
            .map_err(|error| Error::store("the owner's lock file cannot be made").because(error))?;
        let prober = Prober::new(sidecar, &token);
        let clock = self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let transaction = schema::begin(conn).map_err(opening)?;
        schema::migrate(&transaction, self.tenancy).map_err(opening)?;
        self.check_high_water(&transaction, high_water)?;
        let times = Times::open(&transaction, clock).map_err(opening)?;
        let dead = settle_dead_owners(&transaction, &prober, &times)?;
        let owner = insert_owner(&transaction, &token).map_err(opening)?;
        let store_id = transaction
            .query_row("SELECT value FROM idem_meta WHERE name = 'store'", [], |row| row.get(0))
            .map_err(opening)?;
        let unfinished = queries::count_unfinished(&transaction).map_err(opening)?;
        transaction.commit().map_err(opening)?;
        if unfinished > 0 {
            event::unfinished_at_open(unfinished);
        }
        Ok(Registered { owner, owner_file, store_id, times, prober, dead })
    }

    /// The file beside the database remembers the highest claim number; a database that knows less has lost records.
    fn check_high_water(&self, conn: &Connection, high_water: &mut HighWater) -> Result<(), Error> {
        let issued = queries::claims_issued(conn).map_err(opening)?;
        let Some(highest) = high_water.read().filter(|highest| *highest > issued) else { return Ok(()) };
        if self.accept_lost_records {
            return queries::set_claims_issued(conn, highest).map_err(opening);
        }
        Err(Error::store(format!(
            "the store has lost records: it knows {issued} claims and {highest} were made (a lost `-wal`, or an old \
             copy was put in its place). Calls made since would run again. Restore the newest files, or open it once \
             with `accept_lost_records` when you know what is missing"
        )))
    }
}

struct Registered {
    owner: i64,
    owner_file: OwnerFile,
    store_id: [u8; 16],
    times: Times,
    prober: Prober,
    dead: Vec<String>,
}

fn insert_owner(conn: &Connection, token: &str) -> rusqlite::Result<i64> {
    let facts = OwnerFacts::here();
    let pid_start = facts.pid_start.map(u64::cast_signed);
    conn.execute(
        "INSERT INTO idem_owner (token, pid, pid_start, pid_space, boot_id, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![token, facts.pid, pid_start, facts.pid_space, facts.boot_id, facts.host],
    )?;
    Ok(conn.last_insert_rowid())
}

/// Finds owners that ended without closing: their running records are in doubt from now on. Gives their tokens.
fn settle_dead_owners(conn: &Connection, prober: &Prober, times: &Times) -> Result<Vec<String>, Error> {
    let numbers: Vec<i64> = {
        let mut statement = conn.prepare("SELECT number FROM idem_owner").map_err(opening)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(opening)?;
        rows.collect::<Result<_, _>>().map_err(opening)?
    };
    let mut dead = Vec::new();
    for number in numbers {
        let Some((token, facts)) = read_owner(conn, number).map_err(unreadable)? else { continue };
        if prober.probe(&token, &facts) != Liveness::Dead {
            continue;
        }
        if dead.is_empty() {
            check_after_unclean_end(conn)?;
        }
        if settle_running(conn, number, times).map_err(unreadable)? {
            conn.execute("DELETE FROM idem_owner WHERE number = ?1", [number]).map_err(opening)?;
            dead.push(token);
        }
    }
    Ok(dead)
}

/// Puts the running records of a dead owner in doubt (index `idem_open`). False if one is damaged: it is left as it
/// is, for whoever calls it to be told, and so is the owner it names.
fn settle_running(conn: &Connection, owner: i64, times: &Times) -> Result<bool, ReadError> {
    let mut statement = conn.prepare("SELECT slot FROM idem_record WHERE status = 1 AND owner = ?1")?;
    let slots: Vec<[u8; 16]> = statement.query_map([owner], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut whole = true;
    for slot in slots {
        let record = match queries::get(conn, &slot) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(ReadError::Damaged(_)) => {
                whole = false;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let new = Some(record.in_doubt(Reason::OwnerDied, times.now()));
        queries::apply(conn, &Change { slot, expect: Expect::Unfinished(record.claim), new })?;
    }
    Ok(whole)
}

fn check_after_unclean_end(conn: &Connection) -> Result<(), Error> {
    let bytes: u64 = conn
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
            row.get::<_, i64>(0)
        })
        .map_err(opening)?
        .try_into()
        .unwrap_or(u64::MAX);
    if bytes > CHECK_BYTES_MAX {
        event::check_skipped(bytes);
        return Ok(());
    }
    match schema::integrity_flaw(conn).map_err(opening)? {
        None => Ok(()),
        Some(flaw) => Err(Error::store(format!(
            "the store is damaged ({flaw}); nothing was changed. Restore it from a backup: it is the memory of what \
             was done"
        ))),
    }
}

fn start(core: Arc<Core>, writer: Writer, owner_file: OwnerFile) -> Result<Inner, Error> {
    let no_thread = |error| Error::store("a thread of the store cannot be started").because(error);
    let watched = Arc::clone(&core);
    let watch = std::thread::Builder::new()
        .name("idem-watch".into())
        .spawn(move || watched.watch.run(|slot, claim| watched.look(slot, claim)))
        .map_err(no_thread)?;
    let writing = Arc::clone(&core);
    let writer = std::thread::Builder::new().name("idem-writer".into()).spawn(move || guarded(&writing, writer));
    if writer.is_err() {
        core.watch.close();
    }
    let writer: JoinHandle<Result<(), Error>> = writer.map_err(no_thread)?;
    Ok(Inner::new(core, writer, watch, owner_file))
}

/// A panic of the writer must not leave its callers waiting.
fn guarded(core: &Core, writer: Writer) -> Result<(), Error> {
    let run = std::panic::AssertUnwindSafe(|| writer.run());
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        let error = Error::store("the store's writer ended unexpectedly; open the store again");
        core.poison(error.clone());
        core.queue.end(&error);
        Err(error)
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is the function of `map_err`")]
fn problem(problem: PathProblem) -> Error {
    Error::store(problem.to_string())
}

fn opening(error: rusqlite::Error) -> Error {
    fault::error(error, "opening the store")
}

fn unreadable(failure: ReadError) -> Error {
    fault::of_read(failure, "opening the store")
}
