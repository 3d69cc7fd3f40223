//! The serde `Serializer` that turns a value into events.

use std::any::type_name;
use std::cell::Cell;

use serde::ser::{self, Serialize, Serializer};

use super::sets::is_set;
use super::stand_in::{StandIn, TextOnly};
use super::{CanonicalError, DEPTH_MAX, Event, EventSink, Group};

/// The maximum number of elements for which memory is reserved: the length that a value states proves nothing.
const RESERVED_MAX: usize = 64;

/// The reader that a value is serialized for.
#[derive(Clone, Copy)]
enum Reader<'s> {
    /// People. The cell records a call of `is_human_readable`: without such a call, the form for machines is equal.
    People(&'s Cell<bool>),
    Machine,
}

/// A place in a value: the levels left, and the reader.
#[derive(Clone, Copy)]
struct Place<'s> {
    levels_left: u8,
    reader: Reader<'s>,
}

impl<'s> Place<'s> {
    /// Returns this place with a new flag for calls of `is_human_readable`.
    fn noting<'a>(self, asked: &'a Cell<bool>) -> Place<'a>
    where
        's: 'a,
    {
        let reader = match self.reader {
            Reader::People(_) => Reader::People(asked),
            Reader::Machine => Reader::Machine,
        };
        Place { levels_left: self.levels_left, reader }
    }

    fn for_machine(self) -> Self {
        Self { reader: Reader::Machine, ..self }
    }
}

/// Serializes `value` for people. Sets `asked` if the value calls `is_human_readable`.
pub(super) fn serialize_root<T: Serialize + ?Sized, S: EventSink>(
    value: &T,
    sink: &mut S,
    asked: &Cell<bool>,
) -> Result<(), CanonicalError> {
    serialize_at(value, sink, Place { levels_left: DEPTH_MAX, reader: Reader::People(asked) })
}

fn serialize_at<T: Serialize + ?Sized, S: EventSink>(
    value: &T,
    sink: &mut S,
    place: Place<'_>,
) -> Result<(), CanonicalError> {
    value.serialize(CanonicalSerializer { sink, place, type_name: type_name::<T>() })
}

/// Serializes one value.
pub(super) struct CanonicalSerializer<'s, S> {
    sink: &'s mut S,
    place: Place<'s>,
    /// The name of the value's type, which tells a set from a list.
    type_name: &'static str,
}

impl<'s, S: EventSink> CanonicalSerializer<'s, S> {
    /// The serializer for a value inside this value.
    fn deeper(self) -> Result<Self, CanonicalError> {
        let levels_left = self.place.levels_left.checked_sub(1).ok_or(CanonicalError::TooDeep)?;
        Ok(Self { place: Place { levels_left, ..self.place }, ..self })
    }

    fn begin(self, group: Group) -> Result<Members<'s, S>, CanonicalError> {
        let Self { sink, place, .. } = self.deeper()?;
        sink.event(Event::Begin(group))?;
        Ok(Members::new(sink, place, group))
    }

    /// `collected` is the name of the type that gives the elements, if the value names one.
    fn begin_seq(
        self,
        elements: Option<usize>,
        collected: Option<&'static str>,
    ) -> Result<Members<'s, S>, CanonicalError> {
        let Self { sink, place, type_name } = self.deeper()?;
        let unordered_max = sink.unordered_max(|| is_set(type_name) || collected.is_some_and(is_set))?;
        sink.event(Event::Begin(Group::Seq))?;
        let reserved = elements.unwrap_or_default().min(unordered_max).min(RESERVED_MAX);
        let unordered = Vec::with_capacity(reserved);
        Ok(Members { unordered_max, unordered, ..Members::new(sink, place, Group::Seq) })
    }

    /// A struct that is written as the value of its one field.
    fn begin_stand_in(self, stand_in: StandIn) -> Members<'s, S> {
        Members { stand_in: Some(stand_in), ..Members::new(self.sink, self.place, Group::Struct) }
    }

    /// `variant` is the group that holds `group` alone.
    fn begin_variant(self, variant: Group, group: Group) -> Result<Members<'s, S>, CanonicalError> {
        self.sink.event(Event::Begin(variant))?;
        Ok(Members { variant: Some(variant), ..self.begin(group)? })
    }
}

/// Scalars, which are one event each.
macro_rules! scalars {
    ($($method:ident($type:ty): $value:ident => $event:expr;)*) => {$(
        fn $method(self, $value: $type) -> Result<(), CanonicalError> {
            self.sink.event($event)
        }
    )*};
}

impl<'s, S: EventSink> Serializer for CanonicalSerializer<'s, S> {
    type Ok = ();
    type Error = CanonicalError;
    type SerializeSeq = Members<'s, S>;
    type SerializeTuple = Members<'s, S>;
    type SerializeTupleStruct = Members<'s, S>;
    type SerializeTupleVariant = Members<'s, S>;
    type SerializeStruct = Members<'s, S>;
    type SerializeStructVariant = Members<'s, S>;
    type SerializeMap = Entries<'s, S>;

    scalars! {
        serialize_bool(bool): v => Event::Bool(v);
        serialize_i8(i8): v => Event::Signed(1, v.into());
        serialize_i16(i16): v => Event::Signed(2, v.into());
        serialize_i32(i32): v => Event::Signed(4, v.into());
        serialize_i64(i64): v => Event::Signed(8, v.into());
        serialize_i128(i128): v => Event::Signed(16, v);
        serialize_u8(u8): v => Event::Unsigned(1, v.into());
        serialize_u16(u16): v => Event::Unsigned(2, v.into());
        serialize_u32(u32): v => Event::Unsigned(4, v.into());
        serialize_u64(u64): v => Event::Unsigned(8, v.into());
        serialize_u128(u128): v => Event::Unsigned(16, v);
        serialize_f32(f32): v => Event::F32(v);
        serialize_f64(f64): v => Event::F64(v);
        serialize_char(char): v => Event::Char(v);
        serialize_str(&str): v => Event::Text(v);
        serialize_bytes(&[u8]): v => Event::Bytes(v);
    }

    fn serialize_none(self) -> Result<(), CanonicalError> {
        self.sink.event(Event::None)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CanonicalError> {
        let Self { sink, place, .. } = self.deeper()?;
        sink.event(Event::Some)?;
        serialize_at(value, sink, place)
    }

    fn serialize_unit(self) -> Result<(), CanonicalError> {
        self.sink.event(Event::Unit)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CanonicalError> {
        self.sink.event(Event::Unit)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), CanonicalError> {
        self.sink.event(Event::UnitVariant(index, variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        let Self { sink, place, .. } = self.deeper()?;
        serialize_at(value, sink, place)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        let Self { sink, place, .. } = self.deeper()?;
        sink.event(Event::Begin(Group::Variant(index, variant)))?;
        serialize_at(value, sink, place)?;
        sink.event(Event::End(Group::Variant(index, variant)))
    }

    fn serialize_seq(self, elements: Option<usize>) -> Result<Members<'s, S>, CanonicalError> {
        self.begin_seq(elements, None)
    }

    /// Works like serde's default. The type of `elements` reveals a set inside a `transparent` struct.
    fn collect_seq<I>(self, elements: I) -> Result<(), CanonicalError>
    where
        I: IntoIterator<Item: Serialize>,
    {
        let mut elements = elements.into_iter();
        let mut members = self.begin_seq(Some(elements.size_hint().0), Some(type_name::<I>()))?;
        elements.try_for_each(|element| members.element(&element))?;
        members.finish()
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'s, S>, CanonicalError> {
        self.begin(Group::Tuple)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Members<'s, S>, CanonicalError> {
        self.begin(Group::Tuple)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'s, S>, CanonicalError> {
        self.begin_variant(Group::Variant(index, variant), Group::Tuple)
    }

    fn serialize_struct(self, name: &'static str, fields: usize) -> Result<Members<'s, S>, CanonicalError> {
        match StandIn::of(name, fields) {
            Some(stand_in) => Ok(self.begin_stand_in(stand_in)),
            None => self.begin(Group::Struct),
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members<'s, S>, CanonicalError> {
        self.begin_variant(Group::Variant(index, variant), Group::Struct)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'s, S>, CanonicalError> {
        let Self { sink, place, .. } = self.deeper()?;
        sink.event(Event::Begin(Group::Map))?;
        Ok(Entries { sink, place, open: None, closed: Vec::new() })
    }

    fn is_human_readable(&self) -> bool {
        match self.place.reader {
            Reader::People(asked) => {
                asked.set(true);
                true
            }
            Reader::Machine => false,
        }
    }
}

/// Serializes the members of a sequence, tuple or struct.
pub(super) struct Members<'s, S> {
    sink: &'s mut S,
    place: Place<'s>,
    group: Group,
    /// The variant that ends with its members.
    variant: Option<Group>,
    /// `Some` if the struct is written as the value of its field.
    stand_in: Option<StandIn>,
    /// The maximum number of elements without an order, and the finished ones so far.
    unordered_max: usize,
    unordered: Vec<[u8; 16]>,
}

impl<'s, S: EventSink> Members<'s, S> {
    fn new(sink: &'s mut S, place: Place<'s>, group: Group) -> Self {
        Self { sink, place, group, variant: None, stand_in: None, unordered_max: 0, unordered: Vec::new() }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        let place = self.place;
        if self.unordered.len() >= self.unordered_max {
            return serialize_at(value, &mut *self.sink, place);
        }
        let asked = Cell::new(false);
        let mut element = self.sink.entry();
        serialize_at(value, &mut element, place.noting(&asked))?;
        // Codecs write the form for machines, so the digest includes this form. If two variants exchange their numbers,
        // only the pairs of name and number change. An inner element without an order sets a flag of its own. So each
        // sequence around a value adds at most one pass.
        if asked.get() {
            serialize_at(value, &mut element, place.for_machine())?;
        }
        self.unordered.push(self.sink.close(element));
        Ok(())
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), CanonicalError> {
        if let Some(stand_in) = self.stand_in {
            return self.stand_in(stand_in, value);
        }
        self.sink.event(Event::Field(name))?;
        self.element(value)
    }

    fn stand_in<T: Serialize + ?Sized>(&mut self, by: StandIn, value: &T) -> Result<(), CanonicalError> {
        if by == StandIn::Value {
            return self.element(value);
        }
        let mut text = TextOnly::default();
        serialize_at(value, &mut text, self.place)?;
        match (by, text.json()) {
            (StandIn::Number, _) => self.sink.event(text.number()),
            (_, Some(document)) => self.element(&document),
            (_, None) => self.sink.event(Event::Text(text.as_str())),
        }
    }

    fn finish(self) -> Result<(), CanonicalError> {
        if self.stand_in.is_some() {
            return Ok(());
        }
        // The length may be unknown before the end, so these elements come after the elements in order.
        emit_sorted(self.sink, self.unordered)?;
        self.sink.event(Event::End(self.group))?;
        self.variant.map_or(Ok(()), |variant| self.sink.event(Event::End(variant)))
    }
}

/// serde has one trait for each kind of unnamed members; all of them do the same here.
macro_rules! unnamed {
    ($($trait:ident::$method:ident),*) => {$(
        impl<S: EventSink> ser::$trait for Members<'_, S> {
            type Ok = ();
            type Error = CanonicalError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
                self.element(value)
            }

            fn end(self) -> Result<(), CanonicalError> {
                self.finish()
            }
        }
    )*};
}

unnamed!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// serde has one trait for each kind of named members.
macro_rules! named {
    ($($trait:ident),*) => {$(
        impl<S: EventSink> ser::$trait for Members<'_, S> {
            type Ok = ();
            type Error = CanonicalError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), CanonicalError> {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), CanonicalError> {
                self.sink.event(Event::Skipped(name))
            }

            fn end(self) -> Result<(), CanonicalError> {
                self.finish()
            }
        }
    )*};
}

named!(SerializeStruct, SerializeStructVariant);

/// Serializes the entries of a map, each into a sink of its own, and sorts them at the end.
pub(super) struct Entries<'s, S> {
    sink: &'s mut S,
    place: Place<'s>,
    /// The entry whose value is still to come.
    open: Option<S>,
    closed: Vec<[u8; 16]>,
}

impl<S: EventSink> ser::SerializeMap for Entries<'_, S> {
    type Ok = ();
    type Error = CanonicalError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CanonicalError> {
        let mut entry = self.sink.entry();
        serialize_at(key, &mut entry, self.place)?;
        self.open = Some(entry);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        let Some(mut entry) = self.open.take() else {
            return Err(ser::Error::custom("a map gave a value without its key"));
        };
        serialize_at(value, &mut entry, self.place)?;
        self.closed.push(self.sink.close(entry));
        Ok(())
    }

    fn end(self) -> Result<(), CanonicalError> {
        emit_sorted(self.sink, self.closed)?;
        self.sink.event(Event::End(Group::Map))
    }
}

fn emit_sorted<S: EventSink>(sink: &mut S, mut entries: Vec<[u8; 16]>) -> Result<(), CanonicalError> {
    entries.sort_unstable();
    entries.into_iter().try_for_each(|entry| sink.event(Event::Entry(entry)))
}
