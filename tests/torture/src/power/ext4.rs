//! Power cuts of a real file system: ext4 in a file, shut down without a flush while the program is frozen.
//!
//! The program is stopped first. Without that it can run past a sync that the shutdown did not persist, and what it
//! then says is taken for acknowledged.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use idem_runtime::{Error, OnInterrupt, Store};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::workload::{self, NAME};
use crate::frame::{self, Dice, Options, Report, fast_folder};
use crate::shared::call;
use crate::vfs::{self, Event, Synchronous};

const IMAGE_BYTES: u64 = 96 << 20;
const HUNG: Duration = Duration::from_secs(30);

/// A file system in a file, mounted.
struct Disk {
    folder: tempfile::TempDir,
    is_mounted: bool,
}

fn system(program: &str, args: &[&Path]) -> Result<(), String> {
    let output =
        Command::new(program).args(args).output().map_err(|error| format!("`{program}`: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("`{program}`: {}", said.trim())) }
}

impl Disk {
    fn make() -> Result<Disk, String> {
        let folder = fast_folder();
        let mut disk = Disk { folder, is_mounted: false };
        let file = File::create(disk.image()).map_err(|error| error.to_string())?;
        file.set_len(IMAGE_BYTES).map_err(|error| error.to_string())?;
        std::fs::create_dir(disk.root()).map_err(|error| error.to_string())?;
        system("mkfs.ext4", &[Path::new("-q"), &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn mount(&mut self) -> Result<(), String> {
        system("mount", &[Path::new("-o"), Path::new("loop"), &self.image(), &self.root()])?;
        self.is_mounted = true;
        Ok(())
    }

    fn unmount(&mut self) {
        let limit = Instant::now() + HUNG;
        // A killed process lets go of its files a little later.
        while self.is_mounted && Instant::now() < limit {
            self.is_mounted = system("umount", &[&self.root()]).is_err();
            if self.is_mounted {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Cuts the power: unsynced writes no longer reach the disk.
    fn cut(&self) -> Result<(), String> {
        let root = File::open(self.root()).map_err(|error| error.to_string())?;
        let mut without_a_flush = 2;
        // SAFETY: the descriptor is open, and the kernel reads the four bytes that are given.
        #[allow(unsafe_code, reason = "the kernel has no other way to shut a file system down")]
        let done = unsafe { shutdown(root.as_raw_fd(), &raw mut without_a_flush) };
        done.map(drop).map_err(|error| format!("the shutdown ioctl: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

mod request {
    #![allow(unsafe_code, missing_docs, reason = "made by a macro")]
    nix::ioctl_read!(shutdown, b'X', 125, u32);
}
use request::shutdown;

pub(super) fn run(options: &Options) -> Report {
    let what = "power cuts of a loop-mounted ext4, the process frozen first";
    let mut report = Report::new(what);
    let mut disk = match Disk::make() {
        Ok(disk) => disk,
        Err(why) => return Report::skipped(what, format!("{why}; it needs root and loop devices")),
    };
    let mut dice = Dice::new(options.seed);
    let mut acknowledged = 0;
    for number in 0..options.points(3, 300) {
        match once(&mut disk, number, Synchronous::AsAsked, &mut dice) {
            Ok((violations, acks)) => {
                acknowledged += acks;
                report.point(violations.into_iter().map(|what| format!("cut {number}: {what}")).collect());
            }
            Err(why) if number == 0 => return Report::skipped(what, why),
            Err(why) => {
                report.point(vec![format!("cut {number}: the harness: {why}")]);
                break;
            }
        }
    }
    report.note(format!("{acknowledged} calls had been acknowledged before their cuts"));
    report.control("`synchronous = NORMAL`: cuts with a loss", losses(&mut disk, options, &mut dice));
    report
}

/// The control: in the short form until something shows.
fn losses(disk: &mut Disk, options: &Options, dice: &mut Dice) -> usize {
    let mut losses = 0;
    for number in 0..20 {
        let cut = once(disk, 10_000 + number, Synchronous::Normal, dice);
        losses += usize::from(cut.is_ok_and(|(found, _)| !found.is_empty()));
        if options.short && losses > 0 {
            break;
        }
    }
    losses
}

/// A new store, a cut at any moment, and a look at what is left.
fn once(
    disk: &mut Disk,
    number: usize,
    synchronous: Synchronous,
    dice: &mut Dice,
) -> Result<(Vec<String>, usize), String> {
    let folder = disk.root().join(number.to_string());
    let said = disk.folder.path().join(format!("said-{number}"));
    std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let mut command = frame::child("power");
    command.arg(&folder).arg(&said).arg(format!("{synchronous:?}")).stdin(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // Some cuts hit the making of the store.
    if dice.below(8) > 0 {
        let limit = Instant::now() + HUNG;
        while !said.exists() && Instant::now() < limit {
            thread::sleep(Duration::from_micros(200));
        }
    }
    thread::sleep(Duration::from_micros(dice.roll() % 60_000));
    freeze(&child);
    let cut = disk.cut();
    let _ = child.kill();
    let _ = child.wait();
    disk.unmount();
    cut?;
    disk.mount()?;
    let text = std::fs::read_to_string(&said).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let log: Vec<Event> = whole.map(|line| Event::Mark(line.to_owned())).collect();
    let acks =
        log.iter().filter(|event| matches!(event, Event::Mark(text) if text.starts_with("ack"))).count();
    // Before its first sync even the folder of the store may be gone, and then nothing was said.
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let found = workload::violations(&folder, workload::Kind::Store, &log);
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    Ok((found, acks))
}

/// Returns once no thread of the process runs.
fn freeze(child: &Child) {
    let pid = child.id();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).expect("a process of ours");
    let limit = Instant::now() + HUNG;
    let is_stopped = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.into_iter().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            [") T ", ") Z ", ") X "].iter().any(|state| stat.contains(state)) || stat.is_empty()
        })
    };
    while !is_stopped() && Instant::now() < limit {
        thread::sleep(Duration::from_micros(100));
    }
}

/// `FOLDER SAID SYNCHRONOUS`: calls until it is killed.
pub(super) fn child(args: &[&str]) {
    let [folder, said, synchronous] = *args else { panic!("{args:?}") };
    if synchronous == format!("{:?}", Synchronous::Normal) {
        vfs::record(Path::new("/nothing-is-recorded"), Synchronous::Normal);
    }
    let store = Store::open(Path::new(folder).join("idem.db")).expect("a store");
    thread::scope(|scope| {
        for worker in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let mut dice = Dice::new(worker);
                for n in 0.. {
                    let rerun = dice.below(3) == 0;
                    let key = format!("{}-{worker}-{n}", if rerun { "rerun" } else { "refuse" });
                    let mode = if rerun { OnInterrupt::rerun() } else { OnInterrupt::Refuse };
                    let value = workload::value(&key, &mut dice);
                    let done: Result<String, Error> =
                        call(NAME).store(store).key(&key).on_interrupt(mode).run(|| {
                            say(said, &format!("effect {key}"));
                            Ok(value)
                        });
                    say(said, &format!("ack {key} {}", done.expect("an undisturbed call").len()));
                }
            });
        }
    });
}

fn say(file: &str, line: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).expect("a file");
    file.write_all(format!("{line}\n").as_bytes()).expect("a line");
}
