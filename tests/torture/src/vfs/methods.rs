//! The table of C functions: those that count, fail and write down, before the system's own.
#![allow(unsafe_code, reason = "SQLite's file systems are tables of C functions")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::{Change, Event, Methods, Synchronous, state};

static SYSTEM: OnceLock<System> = OnceLock::new();

struct System(*mut sqlite3_vfs);
// SAFETY: the system's file system lives as long as the process, and its functions may be called from any thread.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

fn original(file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
    state().files.get(&(file as usize)).expect("a file we opened").1.0
}

pub(super) fn install() {
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

/// The path in a C string; `None` for a file without a name.
///
/// # Safety
/// It is null, or ends in a zero.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: as the caller says.
    (!name.is_null()).then(|| PathBuf::from(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()))
}

/// What a call about a path fails with, if it is one of the folder and shall.
fn fault_at(path: &Path, change: Change) -> Option<c_int> {
    let mut state = state();
    state.local(path).and_then(|_| state.fault(change))
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
        if let Some(code) =
            path_of(name).filter(|path| !path.exists()).and_then(|path| fault_at(&path, Change::Create))
        {
            // Else SQLite would close what was never opened.
            (*file).pMethods = std::ptr::null();
            return code;
        }
        let code = ((*system).xOpen.expect("a method"))(system, name, file, flags, out_flags);
        if code != ffi::SQLITE_OK || (*file).pMethods.is_null() {
            return code;
        }
        let Some(path) = path_of(name) else { return code };
        let system_methods: &'static sqlite3_io_methods = &*(*file).pMethods;
        let mut state = state();
        let copy = *state.copies.entry(std::ptr::from_ref(system_methods) as usize).or_insert_with(|| {
            let mut copy = *system_methods;
            copy.xClose = Some(close);
            copy.xWrite = Some(write);
            copy.xTruncate = Some(truncate);
            copy.xSync = Some(sync);
            copy.xFileControl = Some(control);
            copy.xShmMap = Some(map);
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
    {
        let mut state = state();
        state.files.remove(&(file as usize));
        state.untold.remove(&(file as usize));
    }
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
        let path = path_of(name).unwrap_or_default();
        if let Some(code) = fault_at(&path, Change::Delete) {
            return code;
        }
        let code = ((*system).xDelete.expect("a method"))(system, name, sync_folder);
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
        if let Some(code) = name.as_ref().and_then(|_| state.fault(Change::Write)) {
            return code;
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
            if let Some(code) = state.fault(Change::Truncate) {
                return code;
            }
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
        if let Some(code) = name.as_ref().and_then(|_| state.fault(Change::Sync)) {
            state.tell_others(file);
            state.log.extend(name.map(|file| Event::FailedSync { file }));
            return code;
        }
        (name, state.log.len())
    };
    // SAFETY: SQLite's arguments are passed on as they came.
    let code = unsafe { (methods.xSync.expect("a method"))(file, flags) };
    let mut state = state();
    if state.untold.remove(&(file as usize)) {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    if let Some(file) = name.filter(|_| code == ffi::SQLITE_OK) {
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

unsafe extern "C" fn map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let methods = original(file);
    if extend != 0 {
        let mut state = state();
        if let Some(code) = state.name(file).and_then(|_| state.fault(Change::Map)) {
            return code;
        }
    }
    // SAFETY: SQLite's arguments are passed on as they came.
    unsafe { (methods.xShmMap.expect("a method"))(file, region, size, extend, out) }
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
