//! A file system of our own under SQLite: it does what the system's does, writes down every write and every sync of
//! one folder, and fails those it is told to.
//!
//! Only files opened after [`install`] are seen. The system's file object is used as it is; only its table of methods
//! is replaced by a copy in which a few point here.
#![allow(unsafe_code, reason = "SQLite's file systems are tables of C functions")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

/// Something that happened, in the order it happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    /// It failed, and the kernel takes for written what it could not write.
    FailedSync {
        file: String,
    },
    Truncate {
        file: String,
        size: usize,
    },
    /// What was written to the file before `upto` is on disk.
    Sync {
        file: String,
        upto: usize,
    },
    Delete {
        file: String,
    },
    /// Small files beside the database, as they are now.
    Beside(Vec<(String, Vec<u8>)>),
    /// Something the workload says.
    Mark(String),
}

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// No write finds space after this many.
    FullAfter(usize),
    /// Syncs fail with these numbers, the first included.
    Syncs { first: usize, count: usize },
}

/// What a connection's `synchronous` really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synchronous {
    AsAsked,
    /// The control: `NORMAL`, though the library set `FULL` and read it back.
    Normal,
    /// The same with `OFF`.
    Off,
}

#[derive(Debug)]
struct State {
    folder: Option<PathBuf>,
    log: Vec<Event>,
    failing: Option<Failing>,
    writes: usize,
    syncs: usize,
    failed: usize,
    synchronous: Synchronous,
    /// By the address of the file object: its name, and the methods of the system.
    files: HashMap<usize, (PathBuf, Methods)>,
    /// The copies, by the address of what they are copies of.
    copies: HashMap<usize, Methods>,
}

#[derive(Clone, Copy, Debug)]
struct Methods(&'static sqlite3_io_methods);

static STATE: OnceLock<Mutex<State>> = OnceLock::new();
static SYSTEM: OnceLock<System> = OnceLock::new();

struct System(*mut sqlite3_vfs);
// SAFETY: the system's file system lives as long as the process, and its functions may be called from any thread.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

fn state() -> MutexGuard<'static, State> {
    let new = || {
        Mutex::new(State {
            folder: None,
            log: Vec::new(),
            failing: None,
            writes: 0,
            syncs: 0,
            failed: 0,
            synchronous: Synchronous::AsAsked,
            files: HashMap::new(),
            copies: HashMap::new(),
        })
    };
    STATE.get_or_init(new).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to write down what happens to the databases in `folder`.
pub(crate) fn record(folder: &Path, synchronous: Synchronous) {
    install();
    let mut state = state();
    state.folder = Some(folder.to_owned());
    state.log.clear();
    (state.failing, state.writes, state.syncs, state.failed) = (None, 0, 0, 0);
    state.synchronous = synchronous;
}

/// Ends it, and gives everything.
pub(crate) fn stop() -> Vec<Event> {
    let mut state = state();
    state.folder = None;
    state.failing = None;
    state.synchronous = Synchronous::AsAsked;
    std::mem::take(&mut state.log)
}

/// From now on these fail; counted from now.
pub(crate) fn fail(failing: Option<Failing>) {
    let mut state = state();
    (state.failing, state.writes, state.syncs, state.failed) = (failing, 0, 0, 0);
}

/// How many calls have failed since.
pub(crate) fn failed() -> usize {
    state().failed
}

/// The workload says something.
pub(crate) fn mark(text: String) {
    let mut state = state();
    state.look_beside();
    state.log.push(Event::Mark(text));
}

impl State {
    /// The name of a file that is written down.
    fn name(&self, file: *mut sqlite3_file) -> Option<String> {
        let (path, _) = self.files.get(&(file as usize))?;
        self.local(path)
    }

    fn local(&self, path: &Path) -> Option<String> {
        let local = path.strip_prefix(self.folder.as_ref()?).ok()?;
        Some(local.to_str()?.to_owned())
    }

    fn look_beside(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.join("idem.db-idem")).into_iter().flatten().flatten() {
            if let (Ok(bytes), Ok(name)) = (std::fs::read(entry.path()), entry.file_name().into_string()) {
                found.push((name, bytes));
            }
        }
        self.log.push(Event::Beside(found));
    }
}

fn original(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
    state().files.get(&(file as usize)).expect("a file we opened").1.0
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default file system is there for as long as the process, and is copied as a whole. The copy is
        // never freed. Registering it makes it the default of connections opened from now on.
        unsafe {
            let system = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!system.is_null(), "SQLite has no file system");
            let mut ours = *system;
            ours.zName = c"torture".as_ptr();
            ours.pNext = std::ptr::null_mut();
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            let _ = SYSTEM.set(System(system));
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1), ffi::SQLITE_OK);
        }
    });
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they came. After a successful open the object has its methods, a
    // table that is never freed; the copy is leaked, so it is never freed either.
    unsafe {
        let system = SYSTEM.get().expect("installed").0;
        let code = ((*system).xOpen.expect("a method"))(system, name, file, flags, out_flags);
        if code != ffi::SQLITE_OK || name.is_null() || (*file).pMethods.is_null() {
            return code;
        }
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        let system_methods: &'static sqlite3_io_methods = &*(*file).pMethods;
        let mut state = state();
        let copy = *state.copies.entry(std::ptr::from_ref(system_methods) as usize).or_insert_with(|| {
            let mut copy = *system_methods;
            copy.xClose = Some(close);
            copy.xWrite = Some(write);
            copy.xTruncate = Some(truncate);
            copy.xSync = Some(sync);
            copy.xFileControl = Some(control);
            Methods(Box::leak(Box::new(copy)))
        });
        state.files.insert(file as usize, (path, Methods(system_methods)));
        state.look_beside();
        (*file).pMethods = copy.0;
        code
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let methods = original(file);
    state().files.remove(&(file as usize));
    // SAFETY: the object is given back its own methods, which then close it.
    unsafe {
        (*file).pMethods = methods;
        (methods.xClose.expect("a method"))(file)
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite's arguments are passed on as they came; the name ends in a zero.
    unsafe {
        let system = SYSTEM.get().expect("installed").0;
        let code = ((*system).xDelete.expect("a method"))(system, name, sync_folder);
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        let mut state = state();
        if let Some(file) = state.local(&path).filter(|_| code == ffi::SQLITE_OK) {
            state.log.push(Event::Delete { file });
        }
        code
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    at: sqlite3_int64,
) -> c_int {
    let methods = original(file);
    {
        let mut state = state();
        let name = state.name(file);
        if name.is_some() {
            state.writes += 1;
            if matches!(state.failing, Some(Failing::FullAfter(limit)) if state.writes > limit) {
                state.failed += 1;
                return ffi::SQLITE_FULL;
            }
        }
        if let Some(file) = name {
            // SAFETY: SQLite gives `count` bytes that live during the call.
            let bytes =
                unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count.unsigned_abs() as usize) };
            let at = usize::try_from(at).expect("an offset");
            state.log.push(Event::Write { file, at, bytes: bytes.to_vec() });
        }
    }
    // SAFETY: SQLite's arguments are passed on as they came.
    unsafe { (methods.xWrite.expect("a method"))(file, bytes, count, at) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let methods = original(file);
    {
        let mut state = state();
        if let Some(file) = state.name(file) {
            state.log.push(Event::Truncate { file, size: usize::try_from(size).expect("a size") });
        }
    }
    // SAFETY: SQLite's arguments are passed on as they came.
    unsafe { (methods.xTruncate.expect("a method"))(file, size) }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    let methods = original(file);
    let (name, upto) = {
        let mut state = state();
        let name = state.name(file);
        if name.is_some() {
            state.syncs += 1;
            let number = state.syncs;
            if let Some(Failing::Syncs { first, count }) = state.failing
                && (first..first.saturating_add(count)).contains(&number)
            {
                state.failed += 1;
                state.log.extend(name.map(|file| Event::FailedSync { file }));
                return ffi::SQLITE_IOERR_FSYNC;
            }
        }
        (name, state.log.len())
    };
    // SAFETY: SQLite's arguments are passed on as they came.
    let code = unsafe { (methods.xSync.expect("a method"))(file, flags) };
    if let Some(file) = name.filter(|_| code == ffi::SQLITE_OK) {
        let mut state = state();
        state.log.push(Event::Sync { file, upto });
        state.look_beside();
    }
    code
}

unsafe extern "C" fn control(file: *mut sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    let methods = original(file);
    if op == ffi::SQLITE_FCNTL_PRAGMA {
        // SAFETY: for this operation the argument is an array of strings, of which the second is the name of the
        // pragma and the third its value or null, in memory of SQLite's own that it reads after this call. What is put
        // in their place is not longer.
        unsafe {
            let text = arg.cast::<*mut c_char>();
            rename(*text.add(1));
            revalue(*text.add(2));
        }
    }
    // SAFETY: SQLite's arguments are passed on as they came.
    unsafe { (methods.xFileControl.expect("a method"))(file, op, arg) }
}

/// Turns the `FULL` that the writer goes back to after a batch that was not forced into what the control says.
unsafe fn revalue(value: *mut c_char) {
    let level = match state().synchronous {
        Synchronous::AsAsked => return,
        Synchronous::Normal => c"1",
        Synchronous::Off => c"0",
    };
    // SAFETY: see the caller; two bytes are written in the place of five.
    unsafe {
        if !value.is_null() && CStr::from_ptr(value) == c"FULL" {
            std::ptr::copy_nonoverlapping(level.as_ptr(), value, level.count_bytes() + 1);
        }
    }
}

/// Turns the pragma that the library sets to 1 (or 0) and reads back after `synchronous` into `synchronous`.
unsafe fn rename(name: *mut c_char) {
    let decoy = match state().synchronous {
        Synchronous::AsAsked => return,
        Synchronous::Normal => c"checkpoint_fullfsync",
        Synchronous::Off => c"foreign_keys",
    };
    let new = c"synchronous".to_bytes_with_nul();
    // SAFETY: see the caller; the bytes written stay within the name (both decoys are at least as long, zero included).
    unsafe {
        if CStr::from_ptr(name) == decoy && decoy.to_bytes_with_nul().len() >= new.len() {
            std::ptr::copy_nonoverlapping(new.as_ptr(), name.cast::<u8>(), new.len());
        }
    }
}
