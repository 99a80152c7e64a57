//! The ABI as data: every struct, field and constant with the name Xen's headers give it.
//!
//! The numbers in [`STRUCTS`] and [`CONSTANTS`] are what rustc computes. `abi/tests/layout.rs` compares them with what
//! gcc computes from Xen 4.17's public headers (Debian's `libxen-dev`), and gcc's numbers are also asserted at compile
//! time below, so that a build anywhere fails when the two part.

/// One struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructRow {
    /// The C type, such as `struct start_info`.
    pub c_name: &'static str,
    /// The Rust type's path, such as `paravane_abi::start_info::StartInfo`.
    pub rust: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// Its fields, explicit padding left out.
    pub fields: &'static [FieldRow],
}

/// One field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRow {
    /// The C member, such as `console.domU.mfn`.
    pub c_path: &'static str,
    /// The Rust field.
    pub rust: &'static str,
    /// Offset in bytes.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

/// One constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConstantRow {
    /// The C macro or enumerator, such as `EVTCHNOP_send`.
    pub c_name: &'static str,
    /// The Rust constant's path.
    pub rust: &'static str,
    /// Its value.
    pub value: i128,
}

/// The size of the field that `_field` selects, for use in constants.
pub(crate) const fn size_of_field<T, F>(_field: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Asserts a struct's size, alignment, and its fields' offsets and sizes.
macro_rules! measured_struct {
    ($ty:path: $size:literal, $align:literal { $($field:ident: $offset:literal, $field_size:literal;)* }) => {
        ::static_assertions::const_assert_eq!(::core::mem::size_of::<$ty>(), $size);
        ::static_assertions::const_assert_eq!(::core::mem::align_of::<$ty>(), $align);
        $(
            ::static_assertions::const_assert_eq!(::core::mem::offset_of!($ty, $field), $offset);
            ::static_assertions::const_assert_eq!(
                $crate::layout::size_of_field(|value: &$ty| &value.$field),
                $field_size
            );
        )*
    };
}
pub(crate) use measured_struct;

/// Asserts constants' values.
macro_rules! measured_constants {
    ($($constant:path: $value:literal;)*) => {
        $( ::static_assertions::const_assert_eq!($constant as i128, $value); )*
    };
}
pub(crate) use measured_constants;

/// Every struct, module by module.
pub const STRUCTS: &[&[StructRow]] = &[
    crate::start_info::XEN_STRUCTS,
    crate::shared_info::XEN_STRUCTS,
    crate::regs::XEN_STRUCTS,
    crate::trap::XEN_STRUCTS,
    crate::multicall::XEN_STRUCTS,
    crate::mmu::XEN_STRUCTS,
    crate::memory::XEN_STRUCTS,
    crate::event::XEN_STRUCTS,
    crate::grant::XEN_STRUCTS,
    crate::sched::XEN_STRUCTS,
    crate::vcpu::XEN_STRUCTS,
    crate::version::XEN_STRUCTS,
    crate::physdev::XEN_STRUCTS,
    crate::callback::XEN_STRUCTS,
    crate::console::XEN_STRUCTS,
    crate::pvh::XEN_STRUCTS,
    crate::nmi::XEN_STRUCTS,
    crate::hvm::XEN_STRUCTS,
    crate::pmu::XEN_STRUCTS,
    crate::argo::XEN_STRUCTS,
    crate::privileged::XEN_STRUCTS,
    crate::domctl::XEN_STRUCTS,
    crate::io::xenstore::XEN_STRUCTS,
    crate::io::block::XEN_STRUCTS,
    crate::io::net::XEN_STRUCTS,
];

/// Every constant, module by module.
pub const CONSTANTS: &[&[ConstantRow]] = &[
    crate::errno::XEN_CONSTANTS,
    crate::hypercall::XEN_CONSTANTS,
    crate::start_info::XEN_CONSTANTS,
    crate::shared_info::XEN_CONSTANTS,
    crate::regs::XEN_CONSTANTS,
    crate::segment::XEN_CONSTANTS,
    crate::mmu::XEN_CONSTANTS,
    crate::memory::XEN_CONSTANTS,
    crate::event::XEN_CONSTANTS,
    crate::grant::XEN_CONSTANTS,
    crate::sched::XEN_CONSTANTS,
    crate::vcpu::XEN_CONSTANTS,
    crate::version::XEN_CONSTANTS,
    crate::vm_assist::XEN_CONSTANTS,
    crate::physdev::XEN_CONSTANTS,
    crate::callback::XEN_CONSTANTS,
    crate::cpuid::XEN_CONSTANTS,
    crate::elfnote::XEN_CONSTANTS,
    crate::pvh::XEN_CONSTANTS,
    crate::hypercall::XEN_OTHER_CONSTANTS,
    crate::hvm::XEN_CONSTANTS,
    crate::pmu::XEN_CONSTANTS,
    crate::argo::XEN_CONSTANTS,
    crate::privileged::XEN_CONSTANTS,
    crate::domctl::XEN_CONSTANTS,
    crate::io::xenstore::XEN_CONSTANTS,
    crate::io::xenbus::XEN_CONSTANTS,
    crate::io::block::XEN_CONSTANTS,
    crate::io::net::XEN_CONSTANTS,
];

/// The constants of sub-operations, call by call.
pub const SUB_OPERATION_CONSTANTS: &[&[ConstantRow]] = crate::hypercall::XEN_SUB_CONSTANTS;
