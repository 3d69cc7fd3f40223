//! A pool of connections that only read, each on the thread of its caller. A replay stays on the thread of its caller.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::error::Error;
use crate::sqlite::records::ReadError;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::{connection, failure};
use crate::sync::lock;

/// Upper limit of idle connections. If more callers read at once, each opens a connection for its own read.
const IDLE_MAX: usize = 16;

/// The connections that read one store.
#[derive(Debug)]
pub(crate) struct ReadPool {
    path: PathBuf,
    tenancy: Tenancy,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    #[expect(clippy::vec_box, reason = "every read moves a pointer instead of two hundred bytes")]
    connections: Vec<Box<Connection>>,
    closed: bool,
}

impl ReadPool {
    pub(crate) fn new(path: PathBuf, tenancy: Tenancy) -> ReadPool {
        ReadPool { path, tenancy, idle: Mutex::default() }
    }

    /// Runs `query` on an idle connection or a new one. `doing` names the action in an error.
    pub(crate) fn read<T>(
        &self,
        doing: &str,
        query: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, Error> {
        let idle = lock(&self.idle).connections.pop();
        let conn = match idle {
            Some(conn) => conn,
            None => Box::new(connection::connect_reader(&self.path, self.tenancy)?),
        };
        let answer = query(&conn).map_err(|failure| failure::of_read(failure, doing));
        let mut idle = lock(&self.idle);
        if !idle.closed && idle.connections.len() < IDLE_MAX {
            idle.connections.push(conn);
        }
        answer
    }

    /// Closes the idle connections, so that the writer's connection closes last and checkpoints the WAL.
    pub(crate) fn close(&self) {
        let mut idle = lock(&self.idle);
        idle.closed = true;
        idle.connections.clear();
    }

    /// Leaves the idle connections open while the process lives.
    ///
    /// After a fork the connections belong to the parent process, and closing them here would drop its locks. If the files
    /// were replaced, closing the connections would write into the new files.
    pub(crate) fn leak(&self) {
        std::mem::forget(std::mem::take(&mut lock(&self.idle).connections));
    }
}
