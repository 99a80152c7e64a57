//! Macros that declare the ABI's constants and structs together with what the layout check needs to know of them.

/// Declares constants, and the rows from which [`crate::layout`] lists them.
///
/// `=> NAME` gives Xen's spelling where it differs. A module invokes this at most once.
macro_rules! xen_constants {
    ($(
        $(#[$meta:meta])*
        pub const $name:ident: $ty:ty = $value:expr $(=> $c:ident)?;
    )*) => {
        $(
            $(#[$meta])*
            #[doc = concat!("\n\nXen: `", xen_constants!(@c $name $($c)?), "`.")]
            pub const $name: $ty = $value;
        )*
        pub(crate) const XEN_CONSTANTS: &[$crate::layout::ConstantRow] = &[$(
            $crate::layout::ConstantRow {
                c_name: xen_constants!(@c $name $($c)?),
                rust: concat!(module_path!(), "::", stringify!($name)),
                value: $name as i128,
            },
        )*];
    };
    (@c $name:ident) => { stringify!($name) };
    (@c $name:ident $c:ident) => { stringify!($c) };
}
pub(crate) use xen_constants;

/// Lists structs and their fields for [`crate::layout`].
///
/// Every field must be named: those Xen's headers name, with `= "c.path"` where the spelling differs, and after
/// `pad` those that only spell out the C compiler's padding. The pattern without `..` makes a forgotten field a
/// compile error.
macro_rules! xen_structs {
    ($(
        $c:literal = $rust:ident { $( $field:ident $(= $c_path:literal)? ),* $(,)? } $( pad { $($pad:ident),* } )?
    )*) => {
        pub(crate) const XEN_STRUCTS: &[$crate::layout::StructRow] = &[$(
            $crate::layout::StructRow {
                c_name: $c,
                rust: concat!(module_path!(), "::", stringify!($rust)),
                size: ::core::mem::size_of::<$rust>(),
                align: ::core::mem::align_of::<$rust>(),
                fields: &[$(
                    $crate::layout::FieldRow {
                        c_path: xen_structs!(@c $field $($c_path)?),
                        rust: stringify!($field),
                        offset: ::core::mem::offset_of!($rust, $field),
                        size: $crate::layout::size_of_field(|value: &$rust| &value.$field),
                    },
                )*],
            },
        )*];
        $(
            const _: fn(&$rust) = |value| {
                let $rust { $($field: _,)* $( $($pad: _,)* )? } = value;
            };
        )*
    };
    (@c $field:ident) => { stringify!($field) };
    (@c $field:ident $c_path:literal) => { $c_path };
}
pub(crate) use xen_structs;

/// `Default` as all zeros, for structs whose arrays are too long for the derive.
macro_rules! zeroed_default {
    ($($ty:ty),* $(,)?) => {$(
        impl Default for $ty {
            /// All bytes zero.
            fn default() -> Self {
                ::zerocopy::FromZeros::new_zeroed()
            }
        }
    )*};
}
pub(crate) use zeroed_default;
