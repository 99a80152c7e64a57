//! The table of hypercalls (`paravane_abi::hypercall_table!`): a file for each row, which says what the ABI promises and
//! where, and what its cases provoke.

mod fpu_taskswitch;
mod get_debugreg;
mod mmu_update;
pub mod pointers;
mod sched_op_compat;
mod set_callbacks;
mod set_debugreg;
mod set_gdt;
mod set_trap_table;
mod stack_switch;
pub mod tables;
mod update_descriptor;

use crate::case::Row;

/// The rows of each call, in the order of the table.
pub const ALL: &[&[&Row]] = &[
    &[&set_trap_table::ROW],
    mmu_update::ROWS,
    &[&set_gdt::ROW],
    &[&stack_switch::ROW],
    &[&set_callbacks::ROW],
    &[&fpu_taskswitch::ROW],
    &[&sched_op_compat::ROW],
    &[&set_debugreg::ROW],
    &[&get_debugreg::ROW],
    &[&update_descriptor::ROW],
];
