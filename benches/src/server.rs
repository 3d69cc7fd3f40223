//! The peers that are programs of their own, started here and ended with their handle.

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

/// How long a server may take to answer.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A process that is killed with its handle.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis server that forces every write to disk.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens, on the loopback address.
    pub port: u16,
    _running: Running,
}

impl RedisServer {
    /// Starts one that keeps its log in `folder`; `None` if Redis is not installed.
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

/// A `PostgreSQL` server over a cluster made for it, with its own durable defaults.
#[derive(Debug)]
pub struct PostgresServer {
    port: u16,
    _running: Running,
}

impl PostgresServer {
    /// Makes a cluster in `folder` and starts it; `None` if `PostgreSQL` is not installed.
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

    /// How to connect.
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
            return Err(format!("nobody listens on port {port}").into());
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    // A server that listens may still be starting up.
    thread::park_timeout(Duration::from_secs(1));
    Ok(())
}

/// The folder with the programs of the newest version.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.filter(|folder| folder.join("initdb").exists()).max()
}

/// `PostgreSQL` refuses to run as root: gives it another user and the folder.
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
