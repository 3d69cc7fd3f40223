//! Sets, which read back in another order at once or later, and lists, which do not.

use std::cell::Cell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hasher as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;

const BYTES_MAX: usize = 1 << 20;
const SEQUENCES_ID: u8 = 3;
const SETS_ID: u8 = 4;
const JSON_ID: u8 = 2;

thread_local! {
    /// The seed of the order of sets in one program.
    static PROGRAM: Cell<u64> = const { Cell::new(0) };
}

/// A hasher that is the same for every set of one program.
#[derive(Clone)]
struct Alike(u64);

impl Default for Alike {
    fn default() -> Self {
        Self(PROGRAM.get())
    }
}

impl BuildHasher for Alike {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// A set under another name, whose order reverses from one program to the next.
#[derive(Clone, Debug)]
struct Unnamed {
    elements: Vec<u32>,
    has_turned: bool,
}

impl Unnamed {
    fn of(count: u32) -> Self {
        Self { elements: (0..count).collect(), has_turned: PROGRAM.get() % 2 == 1 }
    }
}

impl PartialEq for Unnamed {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |set: &Self| set.elements.iter().copied().collect::<std::collections::BTreeSet<_>>();
        sorted(self) == sorted(other)
    }
}

impl Serialize for Unnamed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.has_turned {
            serializer.collect_seq(self.elements.iter().rev())
        } else {
            serializer.collect_seq(&self.elements)
        }
    }
}

impl<'de> Deserialize<'de> for Unnamed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let elements = Vec::deserialize(deserializer)?;
        Ok(Self { elements, has_turned: PROGRAM.get() % 2 == 1 })
    }
}

/// Stores in one program and replays in many later ones; returns the codec id.
fn over_programs<T: Serialize + DeserializeOwned + PartialEq>(value: &T) -> (u8, Result<(), String>) {
    let encoded = encode(value, Codec::Bincode, BYTES_MAX).unwrap();
    assert!(encoded.value_read_back == *value);
    let replay = |program| {
        PROGRAM.set(program);
        let replayed = decode::<T>(encoded.stored.borrowed());
        replayed.map(|replayed| assert!(replayed == *value)).map_err(|why| why.to_string())
    };
    let replayed = (0..8).try_for_each(replay);
    PROGRAM.set(0);
    (encoded.stored.codec_id, replayed)
}

#[test]
fn sets_of_any_length_are_replayed_in_any_order() {
    for count in (0..=25).chain([300]) {
        for round in 0..20 {
            let elements = || (0..count).map(|n| n * 7 + round);
            let by_chance: HashSet<u32> = elements().collect();
            let alike: HashSet<u32, Alike> = elements().collect();
            let nested = vec![(alike.clone(), vec![by_chance.clone()]), Default::default()];
            assert_eq!(over_programs(&by_chance).1, Ok(()), "{count} elements");
            assert_eq!(over_programs(&alike).1, Ok(()), "{count} elements of a hasher that repeats itself");
            assert_eq!(over_programs(&nested).1, Ok(()), "{count} elements, nested");
        }
    }
}

/// A sequence not named `HashSet` that moves only later counts as a set up to `CHANCE_MAX` elements.
#[test]
fn a_set_of_another_name_may_move_later_if_it_is_short() {
    for count in 2..=20 {
        assert_eq!(over_programs(&Unnamed::of(count)), (SEQUENCES_ID, Ok(())), "{count} elements");
        let beside_a_long_list = (vec![7u8; 1_000], Unnamed::of(count));
        assert_eq!(over_programs(&beside_a_long_list).1, Ok(()), "{count} elements");
    }
    for count in [21, 25, 300] {
        let (_, replayed) = over_programs(&Unnamed::of(count));
        assert!(replayed.unwrap_err().contains("another value than the recorded one"), "{count} elements");
    }
}

/// JSON cannot carry the map, so a set longer than `CHANCE_MAX` must not need JSON.
#[test]
fn a_set_that_moves_at_once_is_stored_at_any_length() {
    for count in [2, 20, 21, 25, 300] {
        let value = (vec![Unnamed::of(count), Unnamed::of(3)], BTreeMap::from([((1, 2), 3)]));
        PROGRAM.set(1);
        assert_eq!(over_programs(&value), (SETS_ID, Ok(())), "{count} elements");
    }
}

#[test]
fn json_takes_sets_of_any_length_that_move_at_once() {
    for count in [2, 20, 21, 25, 300] {
        PROGRAM.set(0);
        let value = vec![Unnamed::of(count)];
        PROGRAM.set(1);
        let encoded = encode(&value, Codec::Json, BYTES_MAX).unwrap();
        assert_eq!((encoded.stored.codec_id, encoded.value_read_back), (JSON_ID, value));
    }
}

/// The names are the same and their numbers changed places: the list only seems to have moved.
#[test]
fn a_list_that_seems_to_have_moved_is_refused_behind_every_id() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Old {
        Paid,
        Refused,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Swapped {
        Refused,
        Paid,
    }
    for (count, codec_id) in [(0, SEQUENCES_ID), (300, SETS_ID)] {
        PROGRAM.set(0);
        let value = (vec![Old::Paid, Old::Refused], Unnamed::of(count));
        PROGRAM.set(1);
        let encoded = encode(&value, Codec::Bincode, BYTES_MAX).unwrap();
        assert_eq!(encoded.stored.codec_id, codec_id);
        assert!(
            decode::<(Vec<Swapped>, Unnamed)>(Stored { codec_id, ..encoded.stored.borrowed() }).is_err(),
            "{count} elements"
        );
    }
}
