//! Hypercall numbers (`xen/xen.h`), and the table all of them come from.
//!
//! The table is [`hypercall_table!`](crate::hypercall_table); what is here expands from it:
//!
//! - a constant for each call's number, such as [`HYPERVISOR_MMU_UPDATE`];
//! - [`Hypercall`], an enum of the calls a PV guest uses. A hypervisor that matches it without a wildcard has a handler
//!   for every row, or does not compile;
//! - for a call with sub-operations a module of its name, such as [`event_channel_op`], with their numbers as constants
//!   and as an enum. The module of the call's argument types re-exports the constants;
//! - [`ROWS`], the table as data.
//!
//! On Xen's own interface a 64-bit guest puts the number in RAX and the arguments in RDI, RSI, RDX, R10 and R8, and
//! executes `syscall`; the result comes in RAX, a negative error number or not, and RCX and R11 are lost.
//! [`ring1`](crate::ring1) tells how it is done there.

use crate::errno::Errno;
use crate::layout::ConstantRow;

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callers {
    /// Every guest kernel.
    Any,
    /// A privileged (control) domain.
    Control,
    /// The domain that owns the machine's devices.
    Hardware,
}

/// What a sub-operation's argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// There is none, or its meaning is the call's, not the sub-operation's.
    None,
    /// A pointer; the hypervisor reads.
    Read,
    /// A pointer; the hypervisor writes.
    Write,
    /// A pointer; the hypervisor reads and writes.
    Both,
    /// The value itself.
    Value,
}

/// A call, as data.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number, for RAX.
    pub number: u64,
    /// Name, such as `mmu_update`.
    pub name: &'static str,
    /// The number's constant in this module.
    pub constant: &'static str,
    /// The number's macro in Xen's headers; empty for Paravane's own.
    pub c_name: &'static str,
    /// Arguments: name and type.
    pub arguments: &'static [(&'static str, &'static str)],
    /// Who may make it.
    pub callers: Callers,
    /// Errors it gives.
    pub errors: &'static [Errno],
    /// What it does.
    pub doc: &'static str,
    /// Its sub-operations.
    pub sub_operations: &'static [SubRow],
}

/// A sub-operation, as data.
#[derive(Clone, Copy, Debug)]
pub struct SubRow {
    /// Number.
    pub number: u64,
    /// Name, such as `bind_virq`.
    pub name: &'static str,
    /// The number's constant in the call's module.
    pub constant: &'static str,
    /// The number's macro in Xen's headers; empty for Paravane's own.
    pub c_name: &'static str,
    /// What its argument is.
    pub argument: Argument,
    /// The type its argument has or points to; empty when there is none.
    pub argument_type: &'static str,
    /// Who may make it.
    pub callers: Callers,
    /// Errors it gives.
    pub errors: &'static [Errno],
    /// What it does.
    pub doc: &'static str,
}

/// A call that [`Hypercall`] leaves out, as data.
#[derive(Clone, Copy, Debug)]
pub struct OtherRow {
    /// Number, for RAX.
    pub number: u64,
    /// Name.
    pub name: &'static str,
    /// The number's constant in this module.
    pub constant: &'static str,
    /// The number's macro in Xen's headers.
    pub c_name: &'static str,
    /// What it is for.
    pub doc: &'static str,
}

macro_rules! keyword {
    (any) => {
        Callers::Any
    };
    (control) => {
        Callers::Control
    };
    (hardware) => {
        Callers::Hardware
    };
    (none) => {
        Argument::None
    };
    (read) => {
        Argument::Read
    };
    (write) => {
        Argument::Write
    };
    (both) => {
        Argument::Both
    };
    (value) => {
        Argument::Value
    };
}

/// An enum of numbered operations with its conversions.
macro_rules! numbered {
    ($(#[$meta:meta])* $enum:ident: $ty:ident { $($number:literal $name:ident $camel:ident $constant:ident $doc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr($ty)]
        pub enum $enum {
            $( #[doc = $doc] $camel = $number, )*
        }

        impl $enum {
            /// All of them, in order of number.
            pub const ALL: &[Self] = &[$(Self::$camel),*];

            /// The one with this number.
            pub const fn from_number(number: $ty) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$camel), )*
                    _ => None,
                }
            }

            /// Its number.
            pub const fn number(self) -> $ty {
                self as $ty
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$camel => stringify!($name), )*
                }
            }
        }
    };
}

macro_rules! sub_operations {
    ($call:ident {}) => {};
    ($call:ident { $enum:ident $ty:ident: $(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] $direction:ident($($arg:ty)?)
        $callers:ident [$($error:ident)*] $doc:literal;
    )* }) => {
        #[doc = concat!("Sub-operations of `", stringify!($call), "`.")]
        pub mod $call {
            $( #[doc = $doc] pub const $constant: $ty = $number; )*
            numbered! {
                #[doc = concat!("The sub-operations of `", stringify!($call), "`.")]
                $enum: $ty { $($number $name $camel $constant $doc;)* }
            }
        }
    };
}

macro_rules! sub_rows {
    () => { &[] };
    ($enum:ident $ty:ident: $(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] $direction:ident($($arg:ty)?)
        $callers:ident [$($error:ident)*] $doc:literal;
    )*) => {
        &[$( SubRow {
            number: $number,
            name: stringify!($name),
            constant: stringify!($constant),
            c_name: concat!($(stringify!($xen))?),
            argument: keyword!($direction),
            argument_type: concat!($(stringify!($arg))?),
            callers: keyword!($callers),
            errors: &[$(Errno::$error),*],
            doc: $doc,
        } ),*]
    };
}

macro_rules! sub_constants {
    ($call:ident) => { &[] };
    ($call:ident $enum:ident $ty:ident: $(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] $direction:ident($($arg:ty)?)
        $callers:ident [$($error:ident)*] $doc:literal;
    )*) => {
        &[$($( ConstantRow {
            c_name: stringify!($xen),
            rust: concat!(module_path!(), "::", stringify!($call), "::", stringify!($constant)),
            value: $call::$constant as i128,
        }, )?)*]
    };
}

macro_rules! expand {
    ($(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {
        $( #[doc = $doc] pub const $constant: u64 = $number; )*
        numbered! {
            /// The calls a PV guest uses.
            Hypercall: u64 { $($number $name $camel $constant $doc;)* }
        }
        $( sub_operations! { $name { $($subs)* } } )*

        /// The table, in order of number.
        pub const ROWS: &[Row] = &[$( Row {
            number: $number,
            name: stringify!($name),
            constant: stringify!($constant),
            c_name: concat!($(stringify!($xen))?),
            arguments: &[$((stringify!($arg), stringify!($ty))),*],
            callers: keyword!($callers),
            errors: &[$(Errno::$error),*],
            doc: $doc,
            sub_operations: sub_rows!($($subs)*),
        } ),*];

        pub(crate) const XEN_CONSTANTS: &[ConstantRow] = &[$($( ConstantRow {
            c_name: stringify!($xen),
            rust: concat!(module_path!(), "::", stringify!($constant)),
            value: $constant as i128,
        }, )?)*];
        pub(crate) const XEN_SUB_CONSTANTS: &[&[ConstantRow]] = &[$( sub_constants!($name $($subs)*) ),*];
    };
}
hypercall_table!(expand);

macro_rules! expand_other {
    ($( $number:literal $name:ident $camel:ident $constant:ident [$xen:ident] $doc:literal; )*) => {
        $( #[doc = $doc] pub const $constant: u64 = $number; )*

        /// The calls [`ROWS`] leaves out, in order of number.
        pub const OTHER_ROWS: &[OtherRow] = &[$( OtherRow {
            number: $number,
            name: stringify!($name),
            constant: stringify!($constant),
            c_name: stringify!($xen),
            doc: $doc,
        } ),*];

        pub(crate) const XEN_OTHER_CONSTANTS: &[ConstantRow] = &[$( ConstantRow {
            c_name: stringify!($xen),
            rust: concat!(module_path!(), "::", stringify!($constant)),
            value: $constant as i128,
        } ),*];
    };
}
other_hypercall_table!(expand_other);

impl Hypercall {
    /// The call's row.
    pub fn row(self) -> &'static Row {
        // `ALL` and `ROWS` expand from the same rows in the same order, and both are sorted by number.
        &ROWS[Self::ALL.partition_point(|call| *call < self)]
    }
}

/// Slots in a hypercall page.
pub const PAGE_SLOTS: usize = 128;
/// Bytes in a slot of the hypercall page: call number `n` is entered at `page + n * SLOT_SIZE`.
pub const SLOT_SIZE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_distinct() {
        assert!(ROWS.is_sorted_by(|a, b| a.number < b.number));
        assert!(OTHER_ROWS.is_sorted_by(|a, b| a.number < b.number));
        for row in ROWS {
            assert!(row.sub_operations.is_sorted_by(|a, b| a.number < b.number), "{}", row.name);
            assert!(OTHER_ROWS.iter().all(|other| other.number != row.number), "{}", row.name);
        }
        assert!(ROWS.iter().all(|row| (row.number as usize) < PAGE_SLOTS));
    }

    #[test]
    fn every_call_finds_its_row() {
        for &call in Hypercall::ALL {
            assert_eq!(call.row().number, call.number());
            assert_eq!(call.row().name, call.name());
            assert_eq!(Hypercall::from_number(call.number()), Some(call));
        }
        assert_eq!(Hypercall::from_number(11), None);
        assert_eq!(Hypercall::from_number(u64::MAX), None);
    }

    #[test]
    fn only_the_extension_is_not_xens() {
        let own: Vec<&str> = ROWS.iter().filter(|row| row.c_name.is_empty()).map(|row| row.name).collect();
        assert_eq!(own, ["ring1_op"]);
        for row in ROWS.iter().filter(|row| !row.c_name.is_empty()) {
            assert_eq!(row.c_name, format!("__HYPERVISOR_{}", row.name));
            assert_eq!(row.constant, format!("HYPERVISOR_{}", row.name.to_uppercase()));
            assert!(row.sub_operations.iter().all(|sub| !sub.c_name.is_empty()));
        }
    }

    #[test]
    fn sub_operations_have_argument_types_where_they_point() {
        for sub in ROWS.iter().flat_map(|row| row.sub_operations) {
            assert_eq!(sub.argument == Argument::None, sub.argument_type.is_empty(), "{}", sub.constant);
            assert!(!sub.errors.contains(&Errno::ERESTART), "{}: internal errors stay inside", sub.constant);
        }
        let send = event_channel_op::EventCommand::from_number(4).map(|op| op.name());
        assert_eq!(send, Some("send"));
    }
}
