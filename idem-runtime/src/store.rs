//! The handle of an open store, and what an operator does with it.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bounds::{KeyValue, Value};
use crate::codec::{self, Codec};
use crate::core::Core;
use crate::decide::Holder;
use crate::error::{Error, ErrorKind, Ran};
use crate::key::Key;
use crate::open::StoreBuilder;
use crate::owner::OwnerFile;
use crate::policy::Lifetime;
use crate::purge;
use crate::queries::{self, Change, Expect, ReadError, Selection};
use crate::queue::{Request, Urgency};
use crate::record::{Record, Status, StoredResult};
use crate::signal::{Signal, lock};
use crate::snapshot::{Filter, Snapshot};
use crate::writer::Reply;
use crate::{digest, schema, temporary};

/// How long an operator's write waits for the store.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// How long closing waits for running calls and pending writes.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// An open store: the memory of which calls were made.
///
/// A handle is cheap to clone and may be used from any thread. The last one to be dropped closes the store;
/// [`close`](Store::close) does it and tells what went wrong.
///
/// ```
/// use idem_runtime::{Store, Status};
///
/// let store = Store::temporary()?;
/// let twice: [Result<u32, idem_runtime::Error>; 2] =
///     [1, 2].map(|n| idem_runtime::call("docs.answer").store(&store).key("A-17").run(|| Ok(n)));
/// assert_eq!(twice.map(Result::unwrap), [1, 1]);
/// assert_eq!(store.get("docs.answer", "A-17")?.unwrap().status(), Status::Done);
/// # Ok::<(), idem_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) core: Arc<Core>,
    writer: Mutex<Option<JoinHandle<Result<(), Error>>>>,
    watch: Mutex<Option<JoinHandle<()>>>,
    owner_file: Mutex<Option<OwnerFile>>,
    /// A temporary store's folder, which goes with it.
    folder: Mutex<Option<PathBuf>>,
}

/// What a store holds and does; see [`Store::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records in all.
    pub records: u64,
    /// Records that run or are in doubt.
    pub unfinished: u64,
    /// Calls that run in this process.
    pub running_here: usize,
    /// Writes that wait for the store.
    pub queued: usize,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// The size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
}

impl Store {
    /// Opens the store in our own file at `path`, or makes it; its folder must exist.
    ///
    /// Beside it stands a folder named `<file>-idem` with the locks of the programs that have it open. Opening the
    /// same file twice in one process gives the same store.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] with what is wrong with the path, the file or the disk. Nothing was changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Store, Error> {
        Store::builder().open(path)
    }

    /// More ways to open a store.
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// A store in a folder of its own under the system's temporary one, removed when the last handle is dropped.
    /// For tests.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the folder or the store cannot be made.
    pub fn temporary() -> Result<Store, Error> {
        let folder = temporary::folder()?;
        let store = Store::open(folder.join("idem.db"))?;
        *lock(&store.inner.folder) = Some(folder);
        Ok(store)
    }

    /// The record of a call, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`] for a key no call can have; [`ErrorKind::Store`] if it cannot be read.
    pub fn get<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<Option<Snapshot>, Error> {
        let key = self.key(name, key)?;
        let core = &self.inner.core;
        let found =
            core.read(&[digest::slot(name, &key)]).map_err(|error| error.about(name, key.as_str()))?;
        found.map_or(Ok(None), |record| Snapshot::of(core, record, 0))
    }

    /// Records in the order they were made, as many as the filter allows; ask again [`after`](Filter::after) the
    /// last one for the next page.
    ///
    /// A damaged record is not listed; [`verify`](Store::verify) finds it.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Snapshot>, Error> {
        let core = &self.inner.core;
        core.check_usable()?;
        let mut snapshots = Vec::new();
        let mut selection = filter.selection();
        while snapshots.len() < filter.limit {
            let page = core.readers.read("listing records", |conn| queries::select(conn, &selection))?;
            let Some((last, _)) = page.last() else { break };
            selection.after = *last;
            for (number, record) in page {
                let Ok(record) = record else { continue };
                let Some(snapshot) = Snapshot::of(core, record, number)? else { continue };
                if filter.admits(&snapshot) && snapshots.len() < filter.limit {
                    snapshots.push(snapshot);
                }
            }
        }
        Ok(snapshots)
    }

    /// Counts and sizes. Counting reads the whole index: it is for operators, not for every call.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let core = &self.inner.core;
        core.check_usable()?;
        let (records, unfinished) = core.readers.read("counting records", |conn| {
            let records: i64 = conn.query_row("SELECT count(*) FROM idem_record", [], |row| row.get(0))?;
            Ok((records.unsigned_abs(), queries::count_unfinished(conn)?.unsigned_abs()))
        })?;
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Ok(Stats {
            records,
            unfinished,
            running_here: core.flights.count_here(),
            queued: core.queue.len(),
            database_bytes: bytes(core.path.database()),
            wal_bytes: bytes(&core.path.wal()),
        })
    }

    /// Deletes the record of a finished or in-doubt call: the next call runs its body. True if there was one.
    ///
    /// To say what became of a call in doubt, use [`settle`](crate::settle).
    ///
    /// # Errors
    /// [`ErrorKind::Running`] if the call runs; [`ErrorKind::BadKey`]; [`ErrorKind::Store`].
    pub fn forget<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        let slot = digest::slot(name, &key);
        let core = &self.inner.core;
        let found = core.readers.read("reading a record", |conn| match queries::get(conn, &slot) {
            Err(ReadError::Damaged(_)) => Ok(Some(None)),
            found => Ok(found?.map(Some)),
        })?;
        let expect = match found {
            None => return Ok(false),
            Some(None) => Expect::Whatever,
            Some(Some(record)) => core.expect_unheld(&record)?,
        };
        match self.write(Change { slot, expect, new: None })? {
            None => Ok(true),
            Some(_) => Err(running().about(name, key.as_str())),
        }
    }

    /// Takes a running call from its owner: it is in doubt from now on, and whoever waits for it goes on as its
    /// `on_interrupt` says. True if it ran.
    ///
    /// Only an operator knows that a hung call will do no more harm. If the call ends all the same, its outcome is
    /// still recorded while nobody has touched the record; after that it is told that it was
    /// [`Fenced`](ErrorKind::Fenced).
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`]; [`ErrorKind::Store`].
    pub fn steal<K: KeyValue + ?Sized>(&self, name: &str, key: &K) -> Result<bool, Error> {
        let key = self.key(name, key)?;
        let slot = digest::slot(name, &key);
        let core = &self.inner.core;
        let Some(record) = core.read(&[slot])?.filter(|record| record.status == Status::Running) else {
            return Ok(false);
        };
        let new = Some(record.in_doubt(crate::record::Reason::Stolen, core.now()));
        let expect = Expect::Exactly(record.claim, Status::Running);
        Ok(self.write(Change { slot, expect, new })?.is_none())
    }

    /// Purges up to `limit` records and results that are over. Gives how many.
    ///
    /// Purging also goes along with ordinary writes; this is for stores that are seldom written.
    ///
    /// # Errors
    /// [`ErrorKind::Store`].
    pub fn purge_expired(&self, limit: u32) -> Result<usize, Error> {
        let core = &self.inner.core;
        core.check_usable()?;
        let before_ms = core.times.horizon_ms();
        let found = core.readers.read("purging", |conn| queries::purgeable(conn, before_ms, limit))?;
        let changes = found.into_iter().map(|record| (record.result.is_some(), purge::change(core, record)));
        // What the index named too early is only put off.
        let over = changes.filter(|(had_result, change)| {
            change.new.as_ref().is_none_or(|new| *had_result && new.result.is_none())
        });
        let replies: Vec<_> = over.map(|(_, change)| self.send(change)).collect();
        let mut purged = 0;
        for reply in replies {
            purged += usize::from(wait(&reply)?.is_none());
        }
        Ok(purged)
    }

    /// Records a call as done with `value`, as if it had been made: for moving from another store. True if it was
    /// recorded, false if the call has a record already.
    ///
    /// # Errors
    /// [`ErrorKind::BadKey`]; [`ErrorKind::BadArgument`] for a value that cannot be stored; [`ErrorKind::Store`].
    pub fn record_done<K, T>(&self, name: &str, key: &K, value: &T) -> Result<bool, Error>
    where
        K: KeyValue + ?Sized,
        T: Value,
    {
        let key = self.key(name, key)?;
        let core = &self.inner.core;
        let encoded =
            codec::encode(value, Codec::default(), core.result_bytes_max).map_err(|unstorable| {
                Error::new(ErrorKind::BadArgument, Ran::No, unstorable.to_string()).about(name, key.as_str())
            })?;
        let result =
            StoredResult { codec_id: encoded.codec_id, digest: encoded.digest, bytes: encoded.bytes };
        let slot = digest::slot(name, &key);
        let new = Record {
            slot,
            name: name.to_owned(),
            key: key.as_str().to_owned(),
            status: Status::Done,
            claim: 0,
            owner: core.owner,
            attempt: 1,
            fingerprint: crate::fingerprint::Fingerprint::default().encode(),
            at: core.now(),
            reason: None,
            doubt_since: None,
            ttl: Lifetime::FOREVER,
            keep_result: Lifetime::FOREVER,
            result: Some(result),
            purge_ms: None,
        };
        let expect = Expect::Free { over: None, nor_in: Vec::new(), expired: Vec::new() };
        Ok(self.write(Change { slot, expect, new: Some(new) })?.is_none())
    }

    /// Checks the whole file and every record in it. Gives what is wrong, in words; nothing if all is well.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if the store cannot be read.
    pub fn verify(&self) -> Result<Vec<String>, Error> {
        let core = &self.inner.core;
        core.check_usable()?;
        core.readers.read("checking the store", |conn| {
            let mut flaws: Vec<String> = schema::integrity_flaw(conn)?.into_iter().collect();
            let mut selection =
                Selection { after: 0, name: None, key_prefix: None, unfinished: false, limit: 1_000 };
            loop {
                let page = queries::select(conn, &selection)?;
                let Some((last, _)) = page.last() else { return Ok(flaws) };
                selection.after = *last;
                for (number, record) in page {
                    if let Err(ReadError::Damaged(flaw)) = record {
                        flaws.push(format!("record {number}: {flaw}"));
                    }
                }
            }
        })
    }

    /// Closes the store: running calls are waited for, everything is written, the file is left in order.
    ///
    /// Every handle of it is closed with this one. A store that was closed already is fine.
    ///
    /// # Errors
    /// [`ErrorKind::Running`] if calls still run after 30 s: nothing was closed then. [`ErrorKind::NotRecorded`] if
    /// what ended could not be written within 30 s, [`ErrorKind::Store`] if the file could not be left in order.
    pub fn close(&self) -> Result<(), Error> {
        self.inner.close(CLOSE_WAIT)
    }

    /// The path of the database.
    pub fn path(&self) -> &Path {
        self.inner.core.path.database()
    }

    pub(crate) fn is(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn key<K: Serialize + ?Sized>(&self, name: &str, key: &K) -> Result<Key, Error> {
        self.inner.core.check_usable()?;
        Key::of(key).map_err(|bad| Error::new(ErrorKind::BadKey, Ran::No, bad.to_string()).about_name(name))
    }

    pub(crate) fn send(&self, change: Change) -> Arc<Signal<Reply>> {
        let reply = Signal::new();
        let urgency = Urgency::Until(Instant::now() + WRITE_WAIT);
        let reply_to = Some(Arc::clone(&reply));
        self.inner.core.queue.push(Request::new(change, urgency, reply_to));
        reply
    }

    /// Makes a change; gives the record that stands instead where another call was faster.
    pub(crate) fn write(&self, change: Change) -> Result<Option<Standing>, Error> {
        wait(&self.send(change))
    }
}

/// A store is whole whatever panicked: its locks recover, and its writer is a thread of its own.
impl std::panic::UnwindSafe for Store {}
impl std::panic::RefUnwindSafe for Store {}

impl AsRef<Store> for Store {
    fn as_ref(&self) -> &Store {
        self
    }
}

/// What stands in a slot where a change was not made.
pub(crate) type Standing = Option<Box<Record>>;

fn wait(reply: &Signal<Reply>) -> Result<Option<Standing>, Error> {
    match reply.wait(Instant::now() + WRITE_WAIT) {
        Some(Reply::Written) => Ok(None),
        Some(Reply::Stands(standing)) => Ok(Some(standing)),
        Some(Reply::Failed(error)) => Err(error),
        // Nothing but a claim is answered with a claim.
        Some(Reply::Claimed(_)) | None => Err(Error::store(
            "the store did not answer in time: its write lock is held, or the disk is slow; retry",
        )),
    }
}

fn running() -> Error {
    Error::new(
        ErrorKind::Running,
        Ran::No,
        "the call is running; nothing was changed. Wait for it, or take it from its owner with `steal`",
    )
}

impl Core {
    /// What a write of an operator expects of a record nobody runs; an error if somebody does.
    pub(crate) fn expect_unheld(&self, record: &Record) -> Result<Expect, Error> {
        let held = record.status == Status::Running
            && !matches!(self.holder(record)?, Holder::Dead | Holder::Nobody);
        if held {
            return Err(running().about(&record.name, &record.key));
        }
        Ok(Expect::Exactly(record.claim, record.status))
    }
}

impl Inner {
    pub(crate) fn new(
        core: Arc<Core>,
        writer: JoinHandle<Result<(), Error>>,
        watch: JoinHandle<()>,
        owner_file: OwnerFile,
    ) -> Inner {
        Inner {
            core,
            writer: Mutex::new(Some(writer)),
            watch: Mutex::new(Some(watch)),
            owner_file: Mutex::new(Some(owner_file)),
            folder: Mutex::default(),
        }
    }

    fn close(&self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let mut writer = lock(&self.writer);
        if !self.core.is_of_this_process() || writer.is_none() {
            return Ok(());
        }
        self.core.begin_close();
        if let Err(running) = self.wait_for_calls(deadline) {
            self.core.reopen();
            return Err(running);
        }
        self.core.give_up_at(deadline);
        self.core.queue.close();
        let closed = writer.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(ended())));
        self.core.end();
        if let Some(watch) = lock(&self.watch).take() {
            watch.join().map_err(|_| ended())?;
        }
        let owner_file = lock(&self.owner_file).take();
        closed?;
        let removed =
            |error| Error::store("the store is closed; its lock file could not be removed").because(error);
        owner_file.map_or(Ok(()), OwnerFile::close).map_err(removed)?;
        let folder = lock(&self.folder).take();
        folder.map_or(Ok(()), std::fs::remove_dir_all).map_err(|error| {
            Error::store("the store is closed; its temporary folder could not be removed").because(error)
        })
    }

    /// Waits until no call runs. A store that takes no more writes waits for nobody.
    fn wait_for_calls(&self, deadline: Instant) -> Result<(), Error> {
        while self.core.check_poison().is_ok() {
            let count = self.core.flights.count_here();
            if count == 0 && self.core.queue.is_idle() {
                return Ok(());
            }
            if count > 0 && Instant::now() >= deadline {
                let message = format!(
                    "{count} calls are running, or ended and are not recorded yet; nothing was closed. Wait for them \
                     and close again"
                );
                return Err(Error::new(ErrorKind::Running, Ran::No, message));
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Inner {
    /// An executor that polls a task, or drops it, on the thread that wakes it can let the last handle go there.
    fn is_on_own_thread(&self) -> bool {
        let here = std::thread::current().id();
        let writer = lock(&self.writer).as_ref().is_some_and(|thread| thread.thread().id() == here);
        writer || lock(&self.watch).as_ref().is_some_and(|thread| thread.thread().id() == here)
    }

    /// A thread cannot wait for its own end.
    fn close_elsewhere(&self) {
        let rest = ManuallyDrop::new(Inner {
            core: Arc::clone(&self.core),
            writer: Mutex::new(lock(&self.writer).take()),
            watch: Mutex::new(lock(&self.watch).take()),
            owner_file: Mutex::new(lock(&self.owner_file).take()),
            folder: Mutex::new(lock(&self.folder).take()),
        });
        // Not started, it is forgotten: the threads go on, and the owner lives as long as the program.
        let close = move || drop(ManuallyDrop::into_inner(rest));
        if let Err(error) = std::thread::Builder::new().name("idem-close".into()).spawn(close) {
            crate::event::store_trouble(&format!("the store could not be closed ({error})"));
        }
    }
}

fn ended() -> Error {
    Error::store("a thread of the store ended unexpectedly")
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.core.is_of_this_process() {
            self.core.readers.leak();
            return;
        }
        if self.is_on_own_thread() {
            self.close_elsewhere();
        } else if let Err(error) = self.close(CLOSE_WAIT) {
            crate::event::store_trouble(&error.to_string());
        }
    }
}
