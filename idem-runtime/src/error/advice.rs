//! The advice that [`Error::help`](crate::Error::help) gives: one text per kind, and one per reason that needs another.

use super::ErrorKind;

macro_rules! advice {
    ($($reason:ident: $text:literal,)*) => {
        /// A reason for which the advice of the kind is not the right one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(dead_code, reason = "`tx` and `detach` are features")]
        pub(crate) enum Advice {
            $($reason,)*
        }

        impl Advice {
            #[cfg(test)]
            pub(super) const ALL: &[Advice] = &[$(Advice::$reason,)*];

            pub(super) fn text(self) -> &'static str {
                match self {
                    $(Advice::$reason => $text,)*
                }
            }
        }
    };
}

advice! {
    // The call.
    MoreAttempts: "Check the effect, then call `settle`. To allow more attempts, use `on_interrupt = rerun(n)`.",
    Detach: "Check the effect, then call `settle`. To let the body finish without its caller, add `detach`.",
    Drain: "Check the effect, then call `settle`. Call `drain` before the tokio runtime shuts down.",
    AskAgain: "Call again after `retry_after()`: the recovery hook is then asked again.",
    Steal: "If you know that the owner is dead, take the call from it with `Store::steal`.",
    WaitOrSteal: "Wait for the call, or take it from its owner with `Store::steal`.",
    NameTheKey: "Name what identifies the call with `key(…)`.",
    NameTheFunction: "Write a `name`. The default name is only for a function that stands directly in a module.",
    ShortName: "Use a name of 1 to 200 bytes.",
    TreatAsFailed: "Treat the call as failed. To keep errors longer, raise `keep_result`.",
    PositiveTtl: "Use a `ttl` that is longer than the delay of any retry.",
    StorableResult: "Settle with `Verdict::DoneWithoutResult`, or return a smaller or simpler value.",
    KnownVerdict: "Settle with `Verdict::Done`, `DoneWithoutResult` or `NotDone`.",
    OneCall: "Make exactly one idempotent call inside the closure.",
    NeedsTokio: "Call from inside a tokio runtime, or without `detach`.",
    // The caller's transaction.
    PassTransaction: "Pass the transaction with `tx = …`, or call outside of the `tx` body.",
    NoTransactionControl: "Keep COMMIT, ROLLBACK and OR ROLLBACK out of a `tx` body. Check the effect, then call `settle`.",
    FinishStatement: "An open statement of the connection reads an old snapshot: finish or reset the statement first.",
    CountChangesOff: "Set the pragma `count_changes = OFF` on the connection.",
    BeginImmediate: "Begin the transaction with `BEGIN IMMEDIATE`.",
    Install: "Create the tables once with `idem_runtime::install(&conn)`, or open a shared store on the database.",
    KeepJournal: "Use journal mode `WAL` or `DELETE`.",
    SynchronousFull: "Set the pragma `synchronous = FULL`, or begin a transaction whose durability you ensure yourself.",
    OneMode: "Retry later. Use either `tx` or no `tx` for all calls of one name.",
    Retry: "Retry.",
    SlowWrite: "Retry. Another program may hold the write lock of the database, or the disk may be slow.",
    OtherKey: "Use another key: the digest of this one is taken by another call.",
    RetryToLearn: "Retry: the next call reads whether the commit is on disk.",
    // The store.
    OpenAfterFork: "Open the store after the fork, or start the child's program with `exec`.",
    SecondStore: "Use `with_store` or `store = …` for a second store.",
    SettleCutOff: "Check the effects of these calls, then call `settle` for each.",
    InDoubtAfterRestart: "Check the effect. After the next open the call is in doubt; then call `settle`.",
    Reopen: "Open the store again to start another writer thread.",
    SameSettings: "Open the store once and clone its handle, or use the same settings at every open.",
    CloseAgain: "Wait for the calls, then close again.",
    ShortTransactions: "Retry. Keep the write transactions of other programs short.",
    FreeSpace: "Free space on the disk, then retry.",
    Permissions: "Check the owner and the permissions of the file and of its folder.",
    CheckDisk: "Check the disk before you retry.",
    OpenFiles: "Check the owner, the permissions and the number of open files.",
    CheckPath: "Check the path.",
    RestoreDamaged: "Restore the database from a backup. Do not delete it: without its records, finished calls run again.",
    RestoreRecord: "Restore the database from a backup, or, if you know whether the call is done, `forget` the record.",
    RestoreMissing: "Restore the database, or its calls run again. To start a new store, delete its `-idem` folder too.",
    RestoreEmptied: "Restore the database: it was emptied or lost its `-wal`. If it held nothing, delete it and its `-idem` folder.",
    RestoreNewest: "Restore the newest files, or the missing calls run again. To accept that, use `accept_lost_records` once.",
    RestoreReplaced: "Stop the program and restore the files. Writes acknowledged since the replacement may be lost.",
    CreateDatabase: "Create the database in the application first: a shared store adds its tables to an existing file.",
    OtherDatabase: "Choose another path, or keep the records inside that database with `Store::builder().shared()`.",
    EnableWal: "Set the pragma `journal_mode = WAL` on the database once from your application.",
    LocalDisk: "Keep the store on a local disk, where WAL has shared memory.",
    UpdateLibrary: "Update `idem-runtime`.",
    UpdateSqlite: "Link SQLite 3.51.3 or newer, or use the `bundled` feature.",
    // The path of a store.
    NameAFile: "Name a file, such as `idem.db`.",
    TemporaryStore: "Use `Store::temporary()` in tests: a store in memory forgets its records.",
    PlainPath: "Give a plain path. For a file whose name starts with `file:`, write `./file:…`.",
    CreateFolder: "Create the folder first.",
    NameTheTarget: "To create a store there, name the target of the link itself.",
    OneHardLink: "Keep one hard link: under each name, SQLite writes a WAL of its own and loses records.",
    DeleteToRestart: "Restore the store, or delete the file to start a new one.",
    MountTheFolder: "Mount the folder of the database: under each name, SQLite keeps a WAL and the store keeps locks of its own.",
    ShortPath: "Choose a shorter path: SQLite and the store add up to 8 bytes to it.",
    RemoteMount: "Use a local disk: locks between machines fail there. To accept that, use `allow_remote_mount`.",
}

impl ErrorKind {
    /// The advice of a kind.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::BadKey => {
                "Use what identifies the call: text, an integer, or a tuple, struct or `BTreeSet` of these, up to 1,024 bytes."
            }
            Self::BadArgument => {
                "Leave the argument out with `skip(…)`, or choose what is compared with `fingerprint = …`."
            }
            Self::Mismatch => {
                "Use a key that tells the calls apart, or choose what is compared with `fingerprint = …` or `skip(…)`."
            }
            Self::InDoubt => {
                "Check the effect, then call `settle`. If repeating is safe, use `on_interrupt = rerun`."
            }
            Self::Reentrant => "Give the inner call another key.",
            Self::Running => "Retry later, or allow a longer `wait`.",
            Self::Fenced => {
                "Find out which of the two outcomes counts. If the record is in doubt, call `settle`."
            }
            Self::Undecodable => {
                "Read the result as the type it was stored with. For types that gain fields, use `codec = json`."
            }
            Self::ResultGone => "Treat the call as done. To keep results longer, raise `keep_result`.",
            Self::NotRecorded => {
                "Do not repeat the call. If the process ends before the store records the outcome, the call is in doubt."
            }
            Self::DuplicateName => {
                "Give one of the functions another `name`. If they do the same for every type, add `same_for_types`."
            }
            Self::NotInitialised => {
                "Call `idem_runtime::init(Store::open(…)?)` at start, or name a store with `store = …`."
            }
            Self::Closed => "Open the store again.",
            Self::Store => "Look at the cause. If the body did not run, a retry repeats nothing.",
            Self::LostRecords => {
                "Restore the newest files, or accept the loss: the missing calls then count as never made."
            }
            Self::Damaged => "Restore the database from a backup.",
            Self::DiskFull => "Free space on the disk.",
            Self::Replaced => "Stop every program that uses the store, and restore its files.",
        }
    }
}
