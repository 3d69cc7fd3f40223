//! A deserializer with limits, for hostile bytes.
//!
//! Bincode limits neither depth nor the number of elements, and allocates owned text before it has seen its bytes. The
//! wrapper between bincode and the value adds these limits:
//!
//! - The maximum depth is that of digests; wrappers count.
//! - Each element of a sequence or map costs one byte of the row. An allowance covers elements of no size, because a
//!   `Vec<()>` can state any length.
//! - A stated length is capped before memory is reserved.
//! - Text and bytes are borrowed from the row: a length is compared with the bytes left before memory is allocated.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use crate::encoding::canonical::DEPTH_MAX;

/// The maximum number of elements without a size. A value with more of them is stored as JSON.
const ZERO_SIZED_MAX: usize = 4_096;

/// The maximum number of elements of the row `bytes`.
pub(super) fn values_max(bytes: &[u8]) -> Cell<usize> {
    Cell::new(bytes.len().saturating_add(ZERO_SIZED_MAX))
}

/// The limits at one place of the row.
#[derive(Clone, Copy)]
struct Limits<'b> {
    levels_left: u8,
    values_left: &'b Cell<usize>,
    /// The cost of an element here: 0 in tuples and structs, whose length the type fixes.
    price: usize,
}

impl Limits<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, price: 0, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels"))),
        }
    }

    /// Goes one level down, into a sequence or map whose length the row states.
    fn deeper_counted<E: de::Error>(self) -> Result<Self, E> {
        Ok(Self { price: 1, ..self.deeper()? })
    }

    fn pay<E: de::Error>(self) -> Result<(), E> {
        let left = self.values_left.get().checked_sub(self.price);
        self.values_left.set(left.ok_or_else(|| E::custom("more elements than its bytes can hold"))?);
        Ok(())
    }

    fn cap(self, claimed: Option<usize>) -> Option<usize> {
        claimed.map(|length| length.min(self.values_left.get()))
    }
}

/// The seed that decodes a whole row.
pub(super) struct LimitedSeed<'b, T> {
    limits: Limits<'b>,
    value: PhantomData<T>,
}

impl<'b, T> LimitedSeed<'b, T> {
    pub(super) fn new(values_left: &'b Cell<usize>) -> Self {
        Self { limits: Limits { levels_left: DEPTH_MAX, values_left, price: 0 }, value: PhantomData }
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for LimitedSeed<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(LimitedDeserializer { inner, limits: self.limits })
    }
}

/// A deserializer under limits, and each visitor, seed and access that it hands out.
struct LimitedDeserializer<'b, I> {
    inner: I,
    limits: Limits<'b>,
}

impl<'b, I> LimitedDeserializer<'b, I> {
    /// Wraps `inner` under the same limits.
    fn with<J>(&self, inner: J) -> LimitedDeserializer<'b, J> {
        LimitedDeserializer { inner, limits: self.limits }
    }
}

/// Methods that read a scalar: their visitor reads no inner value.
macro_rules! scalars {
    ($($method:ident => $inner:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )*};
}

/// Methods whose visitor reads inner values, one level down.
macro_rules! nested {
    ($($method:ident($($name:ident: $type:ty),*)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let limits = self.limits.deeper()?;
            self.inner.$method($($name,)* LimitedDeserializer { inner: visitor, limits })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for LimitedDeserializer<'_, D> {
    type Error = D::Error;

    scalars! {
        deserialize_bool => deserialize_bool, deserialize_char => deserialize_char,
        deserialize_i8 => deserialize_i8, deserialize_i16 => deserialize_i16, deserialize_i32 => deserialize_i32,
        deserialize_i64 => deserialize_i64, deserialize_i128 => deserialize_i128,
        deserialize_u8 => deserialize_u8, deserialize_u16 => deserialize_u16, deserialize_u32 => deserialize_u32,
        deserialize_u64 => deserialize_u64, deserialize_u128 => deserialize_u128,
        deserialize_f32 => deserialize_f32, deserialize_f64 => deserialize_f64,
        deserialize_str => deserialize_str, deserialize_string => deserialize_str,
        deserialize_bytes => deserialize_bytes, deserialize_byte_buf => deserialize_bytes,
        deserialize_unit => deserialize_unit, deserialize_identifier => deserialize_identifier,
    }

    nested! {
        deserialize_any(), deserialize_ignored_any(), deserialize_option(),
        deserialize_newtype_struct(name: &'static str),
        deserialize_tuple(len: usize),
        deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let limits = self.limits.deeper_counted()?;
        self.inner.deserialize_seq(LimitedDeserializer { inner: visitor, limits })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let limits = self.limits.deeper_counted()?;
        self.inner.deserialize_map(LimitedDeserializer { inner: visitor, limits })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Visits of scalars.
macro_rules! visits {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for LimitedDeserializer<'_, V> {
    type Value = V::Value;

    visits! {
        visit_bool(bool), visit_char(char), visit_i8(i8), visit_i16(i16), visit_i32(i32), visit_i64(i64),
        visit_i128(i128), visit_u8(u8), visit_u16(u16), visit_u32(u32), visit_u64(u64), visit_u128(u128),
        visit_f32(f32), visit_f64(f64), visit_str(&str), visit_borrowed_str(&'de str), visit_string(String),
        visit_bytes(&[u8]), visit_borrowed_bytes(&'de [u8]), visit_byte_buf(Vec<u8>),
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let limited = self.with(inner);
        self.inner.visit_some(limited)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let limited = self.with(inner);
        self.inner.visit_newtype_struct(limited)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let limited = self.with(inner);
        self.inner.visit_seq(limited)
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let limited = self.with(inner);
        self.inner.visit_map(limited)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let limited = self.with(inner);
        self.inner.visit_enum(limited)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for LimitedDeserializer<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let limited = self.with(inner);
        self.inner.deserialize(limited)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for LimitedDeserializer<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let limited = self.with(seed);
        let element = self.inner.next_element_seed(limited)?;
        if element.is_some() {
            self.limits.pay()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.limits.cap(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for LimitedDeserializer<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let limited = self.with(seed);
        let key = self.inner.next_key_seed(limited)?;
        if key.is_some() {
            self.limits.pay()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let limited = self.with(seed);
        self.inner.next_value_seed(limited)
    }

    fn size_hint(&self) -> Option<usize> {
        self.limits.cap(self.inner.size_hint())
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for LimitedDeserializer<'b, A> {
    type Error = A::Error;
    type Variant = LimitedDeserializer<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let limits = self.limits;
        let (value, inner) = self.inner.variant_seed(LimitedDeserializer { inner: seed, limits })?;
        Ok((value, LimitedDeserializer { inner, limits }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for LimitedDeserializer<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let limited = self.with(seed);
        self.inner.newtype_variant_seed(limited)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let limited = self.with(visitor);
        self.inner.tuple_variant(len, limited)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let limited = self.with(visitor);
        self.inner.struct_variant(fields, limited)
    }
}
