//! Peers that run as separate processes. The drop of a handle ends its process.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// The longest start of a server.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A process that the drop of this handle kills.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis server that syncs every write to disk.
#[derive(Debug)]
pub struct RedisServer {
    /// The port on the loopback address.
    pub port: u16,
    _running: Running,
}

impl RedisServer {
    /// Starts a server with its log in `folder`; `None` if Redis is not installed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Outcome<Option<RedisServer>> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]).arg("--dir").arg(folder);
        let Some(running) = spawn(&mut command)? else { return Ok(None) };
        wait_for(port)?;
        Ok(Some(RedisServer { port, _running: running }))
    }
}

/// A `PostgreSQL` server with a new cluster and the durable defaults of `PostgreSQL`.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    _running: Running,
}

impl PostgresServer {
    /// Creates a cluster in `folder` and starts the server; `None` if `PostgreSQL` is not installed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Outcome<Option<PostgresServer>> {
        let Some(programs) = postgres_programs() else { return Ok(None) };
        let user = unprivileged(folder)?;
        let mut init = Command::new(programs.join("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=bench", "-D"]).arg(folder);
        let made = as_user(&mut init, user).stdout(Stdio::null()).current_dir(folder).status()?;
        if !made.success() {
            return Err("`initdb` failed".into());
        }
        let port = free_port()?;
        let mut command = Command::new(programs.join("postgres"));
        command.arg("-D").arg(folder).arg("-k").arg(folder).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
        let Some(running) = spawn(as_user(&mut command, user).current_dir(folder))? else { return Ok(None) };
        wait_for(port)?;
        let server = PostgresServer { port, _running: running };
        Ok(Some(server))
    }

    /// Returns the connection string.
    #[must_use]
    pub fn address(&self) -> String {
        format!("host=127.0.0.1 port={} user=bench dbname=postgres", self.port)
    }
}

fn spawn(command: &mut Command) -> Outcome<Option<Running>> {
    match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
        Ok(child) => Ok(Some(Running(child))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> Outcome<()> {
    let limit = Instant::now() + START_WITHIN;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() >= limit {
            return Err(format!("no server listens on port {port}").into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    // A server can listen before it accepts commands.
    thread::park_timeout(Duration::from_secs(1));
    Ok(())
}

/// Returns the folder with the programs of the newest version.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.filter(|folder| folder.join("initdb").exists()).max()
}

/// Returns another user for `PostgreSQL`, which refuses to run as root, and gives `folder` to that user.
fn unprivileged(folder: &Path) -> Outcome<Option<(u32, u32)>> {
    let is_root = fs::read_to_string("/proc/self/status")?.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line =
        users.lines().find(|line| line.starts_with("postgres:")).ok_or("there is no user `postgres`")?;
    let mut fields = line.split(':').skip(2);
    let (Some(user), Some(group)) = (fields.next(), fields.next()) else {
        return Err("`/etc/passwd` is malformed".into());
    };
    let (user, group) = (user.parse()?, group.parse()?);
    chown(folder, Some(user), Some(group))?;
    Ok(Some((user, group)))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
