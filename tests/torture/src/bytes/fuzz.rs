//! The targets of the fuzzer: stored results for the codec, stored rows for a store. `tests/fuzz` calls these functions.

use std::collections::BTreeMap;
use std::path::Path;

use idem_runtime::{Error, Store};
use rusqlite::{Connection, params_from_iter, types::Value};
use serde::{Deserialize, Serialize};

use crate::frame::{Dice, Options, Report, fast_folder};
use crate::real::sound::encoding::codec::{self, Stored};
use crate::real::sound::encoding::digest::ResultDigest;
use crate::shared::call;

/// A result with something of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Everything {
    id: u64,
    text: String,
    bytes: Vec<u8>,
    nested: Vec<Option<Box<Everything>>>,
    map: BTreeMap<String, i32>,
    choice: Choice,
    float: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Choice {
    #[default]
    Nothing,
    One(u8),
    Two {
        a: char,
        b: (bool, i64),
    },
}

fn specimen() -> Everything {
    let inner = Everything { text: "inner".into(), choice: Choice::One(7), ..Everything::default() };
    Everything {
        id: 17,
        text: "a text".into(),
        bytes: vec![0, 255, 3],
        nested: vec![None, Some(Box::new(inner))],
        map: BTreeMap::from([("a".into(), -1), ("b".into(), 2)]),
        choice: Choice::Two { a: 'ü', b: (true, -5) },
        float: 0.1,
    }
}

/// The codec ids of JSON: of a row whose call chose it, and of another row.
const JSON_ID: u8 = 2;
const JSON_CHECKED_ID: u8 = 5;

/// The seeds: a codec id, a digest, and the bytes of a result.
pub fn corpus() -> Vec<Vec<u8>> {
    let seed = |codec| {
        let encoded = codec::encode(&specimen(), codec, 1 << 20).expect("it can be stored");
        let digest = encoded.stored.digest.to_bytes();
        [&[encoded.stored.codec_id], &digest[..], &encoded.stored.bytes].concat()
    };
    let mut checked = seed(codec::Codec::Json);
    checked[0] = JSON_CHECKED_ID;
    vec![seed(codec::Codec::Bincode), seed(codec::Codec::Json), checked]
}

/// Decodes a stored result. True if a value came out that is not the one whose digest it carries.
pub fn hostile_result(data: &[u8]) -> bool {
    let Some((codec_id, rest)) = data.split_first() else { return false };
    let Some((digest, bytes)) = rest.split_at_checked(8) else { return false };
    let digest = ResultDigest::from_bytes(digest.try_into().unwrap_or_default());
    let as_text = codec::decode::<String>(Stored { codec_id: *codec_id, digest, bytes });
    let as_list = codec::decode::<Vec<(u64, Option<String>)>>(Stored { codec_id: *codec_id, digest, bytes });
    let as_everything = codec::decode::<Everything>(Stored { codec_id: *codec_id, digest, bytes });
    // Serde alone judges rows of JSON that a call chose.
    *codec_id != JSON_ID
        && (as_text.is_ok_and(|value| is_wrong(&value, digest, bytes))
            || as_list.is_ok_and(|value| is_wrong(&value, digest, bytes))
            || as_everything.is_ok_and(|value| is_wrong(&value, digest, bytes)))
}

/// Neither the value that was recorded nor, where the row says so at its end, that value with sets in another order.
fn is_wrong<T: Serialize>(value: &T, digest: ResultDigest, bytes: &[u8]) -> bool {
    let ends_with = |unordered: ResultDigest| bytes.last_chunk() == Some(&unordered.to_bytes());
    let has_moved = |max| ResultDigest::of_unordered(value, max).is_ok_and(ends_with);
    ResultDigest::of(value) != Ok(digest) && !has_moved(20) && !has_moved(usize::MAX)
}

/// Puts the values into the columns of a record and makes its call. True if the body ran, or a value came back.
pub fn hostile_row(folder: &Path, data: &[u8]) -> Result<bool, Error> {
    const COLUMNS: [&str; 7] = ["name", "key", "status", "claim", "owner", "facts", "result"];
    let store = Store::open(folder.join("idem.db"))?;
    let make = |body: &'static str| {
        call("bytes.row").store(&store).key("k").run(|| Ok::<String, Error>(body.to_owned()))
    };
    store.forget("bytes.row", "k")?;
    make("the value")?;
    let conn = Connection::open(folder.join("idem.db")).expect("a database");
    let mut columns = Vec::new();
    for (chunk, column) in data
        .chunks(9)
        .zip(COLUMNS.iter().cycle().skip(data.first().map_or(0, |n| usize::from(*n) % COLUMNS.len())))
    {
        let number =
            chunk.get(1..9).map_or(-1, |bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        columns.push((
            *column,
            match chunk[0] % 4 {
                0 => Value::Integer(number),
                1 => Value::Blob(chunk.to_vec()),
                2 => Value::Text(String::from_utf8_lossy(chunk).into_owned()),
                _ => Value::Null,
            },
        ));
    }
    for (column, value) in columns {
        // What the table's own types and checks refuse does not get in.
        let _ = conn.execute(&format!("UPDATE idem_record SET {column} = ?1"), params_from_iter([value]));
    }
    let changed = conn.query_row("SELECT facts FROM idem_record", [], |row| row.get::<_, Vec<u8>>(0));
    drop((conn, changed));
    let _ = (
        store.get("bytes.row", "k"),
        store.list(&idem_runtime::Filter::new()),
        store.verify(),
        store.purge_expired(10),
    );
    Ok(make("it ran").is_ok_and(|value| value != "the value"))
}

pub(super) fn run(options: &Options) -> Report {
    let mut report = Report::new("hostile bytes: stored results and stored rows, mutated from a corpus");
    let points = options.points(20_000, 2_000_000);
    let mut dice = Dice::new(options.seed);
    let seeds = corpus();
    let mut lax = 0;
    for _ in 0..points {
        let data = mutate(&seeds[dice.below(seeds.len())], &mut dice);
        report.point(if hostile_result(&data) {
            vec![format!("a wrong value from {data:?}")]
        } else {
            Vec::new()
        });
        lax += usize::from(without_the_digest(&data));
    }
    let folder = fast_folder();
    for _ in 0..points / 100 {
        let data: Vec<u8> = (0..9 * (1 + dice.below(4))).map(|_| dice.roll() as u8).collect();
        let ran = hostile_row(folder.path(), &data).unwrap_or(false);
        report.point(if ran {
            vec![format!("a row made of {data:?} let the body run, or gave a wrong value")]
        } else {
            Vec::new()
        });
    }
    report.control("the decoder without the digest: wrong values", lax);
    report
}

/// The control: what bincode takes for a value. It does not look at what stands behind it.
fn without_the_digest(data: &[u8]) -> bool {
    let is_json = |id: &u8| [JSON_ID, JSON_CHECKED_ID].contains(id);
    let Some(bytes) = data.get(9..).filter(|_| !is_json(&data[0])) else { return false };
    let config = bincode::config::standard().with_limit::<65_536>();
    bincode::serde::decode_from_slice::<Everything, _>(bytes, config)
        .is_ok_and(|(value, _)| value != specimen())
}

fn mutate(seed: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=dice.below(3) {
        if data.is_empty() {
            return data;
        }
        // The digest stays right in most: what lies behind it is of interest.
        let at = if dice.below(8) == 0 {
            dice.below(data.len())
        } else {
            9.min(data.len() - 1) + dice.below(data.len().saturating_sub(9).max(1))
        };
        let at = at.min(data.len() - 1);
        match dice.below(5) {
            0 => data[at] ^= 1 << dice.below(8),
            1 => data[at] = [0, 1, 127, 128, 251, 252, 253, 255][dice.below(8)],
            2 => data.truncate(at),
            3 => data.insert(at, dice.roll() as u8),
            _ => drop(data.remove(at)),
        }
    }
    data
}
