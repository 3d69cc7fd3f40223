//! The opening of a store's files.
//!
//! - One process at a time creates or registers: it holds the fair lock. The check after an unclean end holds no lock.
//! - Nothing is written before the file is known to belong to the store.
//! - The process locks its owner file before the owner's row is visible, and commits the row before its first claim.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::backend::Poison;
use crate::error::{Advice, Error, ErrorKind, Ran};
use crate::event;
use crate::host::clock::Clock;
use crate::host::file_identity::FileIdentity;
use crate::host::high_water::HighWater;
use crate::host::mounts;
use crate::host::path_error::PathError;
use crate::host::sidecar::Sidecar;
use crate::host::store_path::{Creation, StorePath};
use crate::locks::fair_lock::FairLock;
use crate::sqlite::backend::{OpenOwner, SqliteBackend};
use crate::sqlite::commit::{Committer, Files};
use crate::sqlite::connection::Role;
use crate::sqlite::failure::opening;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::{connection, schema, wal};
use crate::waiting::in_flight::InFlight;

mod dead_owners;
mod history;
mod lost_records;
mod register;
mod unclean_end;

use register::{Registered, Registration};
use unclean_end::Check;

/// How long an open waits for another process that writes.
const OPEN_WAIT: Duration = Duration::from_secs(10);

/// The options of an open that concern the files.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) tenancy: Tenancy,
    /// Length of the WAL at which a checkpoint is due.
    pub(crate) wal_bytes: u64,
    /// `None` for the clock of the system.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) allow_remote_mount: bool,
    pub(crate) accept_lost_records: bool,
}

/// Both halves of an open backend, and the state that they share with the engine.
pub(crate) struct Opened {
    pub(crate) backend: Arc<SqliteBackend>,
    pub(crate) committer: Committer,
    pub(crate) store_id: [u8; 16],
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) poison: Arc<Poison>,
}

/// The database of a store that is being opened.
struct Database {
    conn: Connection,
    creation: Creation,
    /// Whether there was a WAL before the open.
    had_wal: bool,
    /// Whether the file is new although the high-water file knows claims.
    is_lost: bool,
}

/// The files of an open store, with its owner.
struct OpenFiles {
    conn: Connection,
    must_checkpoint: bool,
    owner: OpenOwner,
    registered: Registered,
}

impl Opening {
    /// Checks the linked SQLite and resolves the path of a store.
    pub(crate) fn resolve(&self, path: &Path) -> Result<StorePath, Error> {
        connection::check_library()?;
        let path = StorePath::resolve(path).map_err(unusable)?;
        path.refuse_mount_points().map_err(unusable)?;
        if !self.allow_remote_mount {
            path.refuse_remote().map_err(unusable)?;
        }
        Ok(path)
    }

    /// Opens the files of a store, or creates them, and registers this process as an owner.
    pub(crate) fn open(self, path: StorePath) -> Result<Opened, Error> {
        let (lost_wal, wal) = (path.has_lost_wal(), path.wal());
        self.open_files(path).map_err(|error| if lost_wal { missing_wal(wal, error) } else { error })
    }

    fn open_files(self, path: StorePath) -> Result<Opened, Error> {
        let sidecar = Sidecar::create(path.sidecar()).map_err(unusable)?;
        let mut fair_lock = FairLock::open(&sidecar).map_err(unusable_folder(&sidecar))?;
        let mut high_water = HighWater::open(&sidecar).map_err(unusable_folder(&sidecar))?;
        let mut turn = fair_lock.lock(OPEN_WAIT);
        let database = self.open_database(&path, &sidecar, &mut high_water)?;
        let mut check = Check::Complete;
        if database.creation == Creation::Existing {
            // Other processes write meanwhile: a check of a large store takes seconds.
            drop(turn);
            check = unclean_end::check(&database.conn, &sidecar, &self, database.had_wal)?;
            turn = fair_lock.lock(OPEN_WAIT);
        }
        let files = self.register(database, &sidecar, &mut high_water)?;
        if turn.is_held() {
            files.owner.probe.sweep(&files.registered.owners);
        }
        drop(turn);
        let OpenFiles { conn, must_checkpoint, owner, registered } = files;
        let Registered { store_id, clock, dead, .. } = registered;
        if must_checkpoint {
            // Recovery may have brought back commits without an fsync. The checkpoint does the fsync before a call gets
            // an answer from them. In a new store, the checkpoint writes the tables to the database file, so a lost WAL
            // does not take them. Other processes write meanwhile.
            wal::checkpoint(&conn).map_err(opening)?;
        }
        let identity = FileIdentity::capture(&path, self.allow_remote_mount).map_err(unusable)?;
        if let Some(kind) = mounts::volatile_kind(path.database()) {
            event::volatile_mount(kind);
        }
        for token in &dead {
            // The file of a dead owner does no harm if it stays.
            let _ = owner.probe.reap(token);
        }
        let (in_flight, poison) = (Arc::default(), Arc::default());
        let backend = Arc::new(SqliteBackend::new(path, self.tenancy, owner, clock, Arc::clone(&in_flight)));
        if check == Check::Later {
            backend.check_later(Arc::clone(&poison));
        }
        let committer = Committer::new(
            Arc::clone(&backend),
            Arc::clone(&in_flight),
            Arc::clone(&poison),
            Files { conn, fair_lock, high_water, identity },
            self.wal_bytes,
        )?;
        Ok(Opened { backend, committer, store_id, in_flight, poison })
    }

    /// Opens the database, or creates its file. The caller holds the fair lock.
    fn open_database(
        &self,
        path: &StorePath,
        sidecar: &Sidecar,
        high_water: &mut HighWater,
    ) -> Result<Database, Error> {
        self.refuse_missing_database(path, high_water)?;
        let creation = self.prepare_file(path, sidecar)?;
        let had_wal = path.has_wal();
        let conn = self.connect(path, creation).inspect_err(|_| {
            // A creation that is cut off keeps its mark: the next open continues with the empty file.
            if creation == Creation::Existing {
                sidecar.remove_unused();
            }
        })?;
        let is_lost = creation != Creation::Existing && high_water.read().is_some_and(|highest| highest > 0);
        if creation != Creation::Existing {
            high_water.reset(0).map_err(unusable_folder(sidecar))?;
        }
        Ok(Database { conn, creation, had_wal, is_lost })
    }

    /// Registers the owner. The caller holds the fair lock.
    fn register(
        &self,
        database: Database,
        sidecar: &Sidecar,
        high_water: &mut HighWater,
    ) -> Result<OpenFiles, Error> {
        let Database { conn, creation, had_wal, is_lost } = database;
        let (owner, registered) = Registration {
            tenancy: self.tenancy,
            clock: self.clock.clone(),
            accept_lost_records: self.accept_lost_records,
            is_lost,
        }
        .register(&conn, sidecar, high_water)?;
        sidecar.finish_creation().map_err(unusable_folder(sidecar))?;
        conn.busy_timeout(connection::BUSY).map_err(opening)?;
        let must_checkpoint = had_wal || creation != Creation::Existing;
        Ok(OpenFiles { conn, must_checkpoint, owner, registered })
    }

    /// Refuses to create a database whose high-water file shows that it existed.
    ///
    /// The database may be deleted, or its volume may not be mounted yet.
    fn refuse_missing_database(&self, path: &StorePath, high_water: &mut HighWater) -> Result<(), Error> {
        if path.database().exists() || self.tenancy == Tenancy::Shared || self.accept_lost_records {
            return Ok(());
        }
        let Some(highest) = high_water.read().filter(|highest| *highest > 0) else { return Ok(()) };
        let message =
            format!("`{}` is missing, and its high-water mark is {highest}", path.database().display());
        Err(Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreMissing))
    }

    /// Finds the database file, or creates an empty one. A shared file must exist.
    fn prepare_file(&self, path: &StorePath, sidecar: &Sidecar) -> Result<Creation, Error> {
        match self.tenancy {
            Tenancy::Own => path.prepare(sidecar).inspect_err(|_| sidecar.remove_unused()).map_err(unusable),
            Tenancy::Shared if path.database().exists() => path.prepare(sidecar).map_err(unusable),
            Tenancy::Shared => {
                sidecar.remove_unused();
                let message = format!("the database `{}` does not exist", path.database().display());
                Err(Error::store(message).advise(Advice::CreateDatabase))
            }
        }
    }

    /// Opens the writer's connection, and checks the file before the first write.
    fn connect(&self, path: &StorePath, creation: Creation) -> Result<Connection, Error> {
        let conn = connection::connect(path.database())?;
        conn.busy_timeout(OPEN_WAIT).map_err(opening)?;
        let has_tables = schema::check_file(&conn, self.tenancy)?;
        if !has_tables && creation == Creation::Existing && self.tenancy == Tenancy::Own {
            let message = format!(
                "`{}` is an SQLite database without the tables of a store",
                path.database().display()
            );
            return Err(Error::store(message).advise(Advice::RestoreEmptied));
        }
        connection::set_modes(&conn, self.tenancy, Role::Writer)?;
        Ok(conn)
    }
}

fn unusable(path: PathError) -> Error {
    let error = Error::store(path.to_string()).advise(path.advice());
    match path {
        PathError::Io { error: cause, .. } => error.because(cause),
        _ => error,
    }
}

/// SQLite reports a disk error if this process still has the index of a WAL that is gone.
fn missing_wal(wal: PathBuf, error: Error) -> Error {
    if error.kind() != ErrorKind::Store {
        return error;
    }
    let message = PathError::Missing(wal).to_string();
    Error::new(ErrorKind::LostRecords, Ran::No, message).advise(Advice::RestoreNewest).because(error)
}

fn unusable_folder(sidecar: &Sidecar) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        Error::store(format!("the folder `{}` cannot be used", sidecar.path().display()))
            .advise(Advice::Permissions)
            .because(error)
    }
}
