//! The table of hypercalls (`paravane_abi::hypercall_table!`): a file for each row, which says what the ABI promises and
//! where, and what its cases provoke.

mod fpu_taskswitch;
mod get_debugreg;
mod iret;
mod mmu_update;
mod mmuext_op;
mod multicall;
pub mod pointers;
mod sched_op_compat;
mod set_callbacks;
mod set_debugreg;
mod set_gdt;
mod set_segment_base;
mod set_trap_table;
mod stack_switch;
pub mod tables;
mod update_descriptor;
mod update_va_mapping;
mod update_va_mapping_otherdomain;
mod vm_assist;

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
    &[&multicall::ROW],
    &[&update_va_mapping::ROW],
    vm_assist::ROWS,
    &[&update_va_mapping_otherdomain::ROW],
    &[&iret::ROW],
    set_segment_base::ROWS,
    mmuext_op::ROWS,
];
