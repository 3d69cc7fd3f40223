//! Records in their rows, and damaged rows.

use super::*;
use crate::encoding::codec::Stored;
use crate::protocol::record::Record;

fn running() -> Record {
    Record {
        slot: [7; 12],
        name: "shop.charge".to_owned(),
        key: "A-17".to_owned(),
        status: Status::Running,
        claim: 300,
        owner: 4,
        attempt: 1,
        returned: 0,
        fingerprint: vec![1, 2, 3],
        at: Mark { clock: 2, at_ms: 1_797_935_236_528 },
        reason: None,
        doubt_since: None,
        ttl: Lifetime::FOREVER,
        keep_result: Lifetime::FOREVER,
        result: None,
        purge_ms: None,
        row: None,
    }
}

fn records() -> Vec<Record> {
    let then = Mark { clock: 1, at_ms: -5 };
    let result = |bytes: &[u8]| {
        let digest = ResultDigest::from_bytes([9; 8]);
        Some(Stored { codec_id: 2, digest, bytes: bytes.to_owned() })
    };
    let kept = Lifetime::from_ms(Some(2_592_000_000));
    let done = Record { status: Status::Done, keep_result: kept, result: result(b"paid"), ..running() };
    vec![
        running(),
        Record { doubt_since: Some(then), attempt: u32::MAX, ..running() },
        Record {
            status: Status::InDoubt,
            reason: Some(Reason::Stolen),
            doubt_since: Some(then),
            ..running()
        },
        Record { fingerprint: Vec::new(), ..done.clone() },
        Record { status: Status::Failed, result: result(b""), ..done.clone() },
        Record { reason: Some(Reason::Expired), result: None, ttl: Lifetime::ZERO, ..done.clone() },
        Record { attempt: u32::MAX, returned: u32::MAX, ..done.clone() },
        Record { ttl: Lifetime::from_ms(Some(i64::MAX)), claim: u64::MAX >> 1, owner: i64::MIN, ..done },
        Record { attempt: 300, returned: 299, ..running() },
    ]
}

fn columns<'r>(record: &'r Record, facts: &'r [u8]) -> Columns<'r> {
    Columns {
        slot: &record.slot,
        name: record.name.as_bytes(),
        key: record.key.as_bytes(),
        status: record.status as i64,
        claim: record.claim.cast_signed(),
        owner: record.owner,
        facts,
        result: record.result.as_ref().map(|result| result.bytes.as_slice()),
    }
}

fn packed(record: &Record) -> Vec<u8> {
    let mut facts = b"the former content of the buffer".to_vec();
    pack(&record.borrowed(), &mut facts);
    facts
}

#[test]
fn a_record_survives_its_row() {
    for record in records() {
        let facts = packed(&record);
        let read = columns(&record, &facts).record().map(|read| read.to_record());
        assert_eq!(read.as_ref(), Ok(&record));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// If this test fails, the library cannot read the rows of earlier releases.
#[test]
fn stored_forms_do_not_change() {
    let hex: Vec<String> = records().iter().map(|record| hex(&packed(record))).collect();
    assert_eq!(
        hex,
        [
            "90e7c4e1248836ac000204e096d4d4d368010203",
            "a57716868852ec9d02feffffff1f04e096d4d4d3680209010203",
            "3065366b84e51c9a030204e096d4d4d368080209010203",
            "60412bf66439cd74180204e096d4d4d36880a0f6a713020909090909090909",
            "61bb6bf18e3a3e96180204e096d4d4d36880a0f6a713020909090909090909010203",
            "74b2b2d7ca91a4320d0204e096d4d4d3682e0080a0f6a713010203",
            "5fda3bcf3b88361038feffffff1f04e096d4d4d36880a0f6a713020909090909090909feffffff1f010203",
            "6b429465501d490c1c0204e096d4d4d368feffffffffffffffff0180a0f6a713020909090909090909010203",
            "0fc2cf355ca236ba20d80404e096d4d4d368d604010203",
        ]
    );
}

#[test]
fn every_bit_of_every_column_is_checked() {
    for record in records() {
        let facts = packed(&record);
        for at in 0..8 * facts.len() {
            let mut flipped = facts.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(columns(&record, &flipped).record().is_err(), "bit {at} of {record:?}");
        }
        for length in 0..facts.len() {
            assert!(columns(&record, &facts[..length]).record().is_err(), "{length} of {record:?}");
        }
        let whole = columns(&record, &facts);
        let changed = [
            Columns { slot: &[8; 12], ..whole },
            Columns { name: b"shop.refund", ..whole },
            Columns { key: b"A-18", ..whole },
            Columns { status: whole.status ^ 1, ..whole },
            Columns { claim: 301, ..whole },
            Columns { owner: 5, ..whole },
            Columns { result: Some(b"other"), ..whole },
        ];
        assert!(changed.into_iter().all(|changed| changed.record().is_err()), "{record:?}");
    }
}

/// The checksums match, so only the checks of the content can refuse these rows.
#[test]
fn invalid_rows_with_a_valid_checksum_are_refused_within_their_bounds() {
    let record = &records()[3];
    let facts = packed(record);
    let with_checksum = |mut facts: Vec<u8>, change: &dyn Fn(&mut Columns<'_>)| {
        let mut columns = columns(record, &[]);
        change(&mut columns);
        let checksum = columns.checksum(&facts[8..]);
        facts[..8].copy_from_slice(&checksum);
        Columns { facts: &facts, ..columns }.record().map(drop)
    };
    assert_eq!(with_checksum(facts.clone(), &|_| ()), Ok(()));
    for length in 8..facts.len() {
        assert!(with_checksum(facts[..length].to_vec(), &|_| ()).is_err(), "{length}");
    }
    for present in 0..=u8::MAX {
        let mut other = facts.clone();
        other[8] = present;
        let _ = with_checksum(other, &|_| ());
    }
    let endless = [facts[..9].to_vec(), vec![0xff; 40]].concat();
    assert!(with_checksum(endless, &|_| ()).is_err());
    assert!(with_checksum(facts.clone(), &|columns| columns.status = 9).is_err());
    assert!(with_checksum(facts.clone(), &|columns| columns.claim = -1).is_err());
    assert!(with_checksum(facts.clone(), &|columns| columns.claim = 0).is_err());
    assert!(with_checksum(facts, &|columns| columns.result = None).is_err());
    let more_returned = Record { attempt: 1, returned: 2, ..running() };
    let facts = packed(&more_returned);
    assert_eq!(
        columns(&more_returned, &facts).record().map(drop),
        Err("it has more returned attempts than attempts")
    );
}
