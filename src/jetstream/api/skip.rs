//! The `omitempty` of Go, as predicates for serde.

pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub fn is_false(value: &bool) -> bool {
    !*value
}
