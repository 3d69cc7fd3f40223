use super::*;

const KINDS: [ErrorKind; 18] = [
    ErrorKind::BadKey,
    ErrorKind::BadArgument,
    ErrorKind::Mismatch,
    ErrorKind::InDoubt,
    ErrorKind::Reentrant,
    ErrorKind::Running,
    ErrorKind::Fenced,
    ErrorKind::Undecodable,
    ErrorKind::ResultGone,
    ErrorKind::NotRecorded,
    ErrorKind::DuplicateName,
    ErrorKind::NotInitialised,
    ErrorKind::Closed,
    ErrorKind::Store,
    ErrorKind::LostRecords,
    ErrorKind::Damaged,
    ErrorKind::DiskFull,
    ErrorKind::Replaced,
];

const TEXT_MAX: usize = 140;

fn is_sentence(text: &str) -> bool {
    text.starts_with(|c: char| c.is_uppercase()) && text.ends_with('.') && text.len() <= TEXT_MAX
}

#[test]
fn display_shows_name_and_key_and_escapes_control_characters() {
    let error = Error::store("the disk is full").about("shop.charge", "a\nb");
    assert_eq!(error.to_string(), "`shop.charge` with key `a\\nb`: the disk is full");
}

#[test]
fn every_kind_and_reason_has_advice_and_every_kind_a_detail() {
    for kind in KINDS {
        let plain = Error::new(kind, Ran::No, "a fact").about("a.name", "a key");
        for error in Advice::ALL.iter().map(|advice| plain.clone().advise(*advice)).chain([plain.clone()]) {
            assert!(is_sentence(error.help()), "{kind:?}: {}", error.help());
            assert_eq!(error.to_string(), "`a.name` with key `a key`: a fact");
        }
        assert!(is_sentence(plain.detail()), "{kind:?}: {}", plain.detail());
        assert!(
            !plain.detail().contains('`') && plain.detail().matches('.').count() == 1,
            "{}",
            plain.detail()
        );
    }
}

#[test]
fn no_two_reasons_have_the_same_advice() {
    let kinds = KINDS.iter().map(|kind| kind.help());
    let mut texts: Vec<_> = Advice::ALL.iter().map(|advice| advice.text()).chain(kinds).collect();
    texts.sort_unstable();
    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]), "{texts:#?}");
}

#[test]
fn debug_shows_kind_display_help_and_each_cause_once() {
    let disk = std::io::Error::other("no answer");
    let lock = Error::store("the lock file cannot be made").because(disk);
    let error = Error::store("the store cannot be opened").because(lock).advise(Advice::CheckDisk);
    assert_eq!(error.to_string(), "the store cannot be opened");
    assert_eq!(
        format!("{error:?}"),
        "Store: the store cannot be opened\nbody ran: no\nhelp: Check the disk before you retry.\n\
         caused by: the lock file cannot be made\ncaused by: no answer"
    );
    assert_eq!(String::from(error), "the store cannot be opened: the lock file cannot be made: no answer");
}

#[test]
fn a_cause_that_repeats_the_one_before_is_shown_once() {
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    for message in [None, Some("database or disk is full".to_owned())] {
        let error = Error::store("a write failed").because(rusqlite::Error::SqliteFailure(full, message));
        let shown = format!("{error:?}");
        assert_eq!(shown.matches("caused by").count(), 1, "{shown}");
        assert!(shown.contains("Error code 13"), "{shown}");
    }
}

#[test]
fn an_error_is_send_sync_and_clone() {
    fn travels<T: Send + Sync + Clone + 'static>() {}
    travels::<Error>();
}
