//! Connections that only read, on the caller's own thread: a replay takes no hop to another one.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::Connection;

use crate::error::Error;
use crate::sqlite::records::ReadError;
use crate::sqlite::schema::Tenancy;
use crate::sqlite::{connection, failure};
use crate::sync::lock;

/// How many idle connections are kept; more callers at once open one each for the time of their read.
const IDLE_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    tenancy: Tenancy,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// They come and go at every read.
    #[expect(clippy::vec_box, reason = "a pointer is moved instead of two hundred bytes")]
    connections: Vec<Box<Connection>>,
    closed: bool,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, tenancy: Tenancy) -> Readers {
        Readers { path, tenancy, idle: Mutex::default() }
    }

    pub(crate) fn read<T>(
        &self,
        doing: &str,
        query: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, Error> {
        let pooled = lock(&self.idle).connections.pop();
        let conn = match pooled {
            Some(conn) => conn,
            None => Box::new(self.connect()?),
        };
        let answer = query(&conn).map_err(|failure| failure::of_read(failure, doing));
        let mut idle = lock(&self.idle);
        if !idle.closed && idle.connections.len() < IDLE_MAX {
            idle.connections.push(conn);
        }
        answer
    }

    fn connect(&self) -> Result<Connection, Error> {
        connection::connect_reader(&self.path, self.tenancy)
    }

    /// Closes the idle connections, so that the writer's is the last and the WAL is folded in.
    pub(crate) fn close(&self) {
        let mut idle = lock(&self.idle);
        idle.closed = true;
        idle.connections.clear();
    }

    /// After a fork the connections belong to the parent: closing them here would take its locks away. After the files
    /// were replaced, closing them would write into the new ones.
    pub(crate) fn leak(&self) {
        std::mem::forget(std::mem::take(&mut lock(&self.idle).connections));
    }
}
