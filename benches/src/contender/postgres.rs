//! `PostgreSQL`: insert-on-conflict-do-nothing, then update, each durable, on prepared statements.

use postgres::{Client, NoTls, Statement};

use super::Contender;
use crate::lap::Caller;
use crate::server::PostgresServer;
use crate::{Outcome, result};

/// A `PostgreSQL` server with one connection per caller.
#[derive(Debug)]
pub struct Postgres(PostgresServer);

impl Postgres {
    /// Creates the table.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn new(server: PostgresServer) -> Outcome<Postgres> {
        let table =
            "CREATE TABLE IF NOT EXISTS calls (key TEXT PRIMARY KEY, done BOOL NOT NULL, result BYTEA)";
        Client::connect(&server.address(), NoTls)?.batch_execute(table)?;
        Ok(Postgres(server))
    }
}

impl Contender for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn caller(&self) -> Outcome<Box<dyn Caller + Send + '_>> {
        let mut client = Client::connect(&self.0.address(), NoTls)?;
        let claim = client.prepare("INSERT INTO calls VALUES ($1, false) ON CONFLICT DO NOTHING")?;
        let complete = client.prepare("UPDATE calls SET done = true, result = $2 WHERE key = $1")?;
        let look = client.prepare("SELECT result FROM calls WHERE key = $1 AND done")?;
        Ok(Box::new(PostgresCaller { client, claim, complete, look }))
    }
}

struct PostgresCaller {
    client: Client,
    claim: Statement,
    complete: Statement,
    look: Statement,
}

impl Caller for PostgresCaller {
    fn first(&mut self, key: &str) -> Outcome<()> {
        if self.client.execute(&self.claim, &[&key])? == 0 {
            return Err("the key is taken".into());
        }
        self.client.execute(&self.complete, &[&key, &result().as_bytes()])?;
        Ok(())
    }

    fn again(&mut self, key: &str) -> Outcome<()> {
        let row = self.client.query_one(&self.look, &[&key])?;
        let _result: Vec<u8> = row.try_get(0)?;
        Ok(())
    }
}
