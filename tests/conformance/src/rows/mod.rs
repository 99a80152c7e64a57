//! The table of hypercalls (`paravane_abi::hypercall_table!`): a file for each row, which says what the ABI promises and
//! where, and what its cases provoke.

mod arch_1;
mod arch_2;
mod arch_3;
mod arch_4;
mod arch_5;
mod arch_6;
mod arch_7;
mod argo_op;
mod callback_op;
mod console_io;
mod dm_op;
mod domctl;
pub mod event_channel_op;
mod event_channel_op_compat;
mod fpu_taskswitch;
mod get_debugreg;
pub mod grant_table_op;
mod hvm_op;
mod hypfs_op;
mod iret;
mod kexec_op;
mod memory_op;
mod mmu_update;
mod mmuext_op;
mod multicall;
mod nmi_op;
mod physdev_op;
mod physdev_op_compat;
mod platform_op;
pub mod pointers;
pub mod refusals;
mod ring1_op;
pub mod sched_op;
mod sched_op_compat;
mod set_callbacks;
mod set_debugreg;
mod set_gdt;
mod set_segment_base;
mod set_timer_op;
mod set_trap_table;
mod stack_switch;
mod sysctl;
pub mod tables;
mod tmem_op;
mod update_descriptor;
mod update_va_mapping;
mod update_va_mapping_otherdomain;
pub mod vcpu_op;
mod vm_assist;
mod xen_version;
mod xenoprof_op;
mod xenpmu_op;
mod xsm_op;

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
    &[&platform_op::ROW],
    &[&set_debugreg::ROW],
    &[&get_debugreg::ROW],
    &[&update_descriptor::ROW],
    memory_op::ROWS,
    &[&multicall::ROW],
    &[&update_va_mapping::ROW],
    &[&set_timer_op::ROW],
    &[&event_channel_op_compat::ROW],
    xen_version::ROWS,
    console_io::ROWS,
    &[&physdev_op_compat::ROW],
    vm_assist::ROWS,
    &[&update_va_mapping_otherdomain::ROW],
    &[&iret::ROW],
    grant_table_op::ROWS,
    vcpu_op::ROWS,
    set_segment_base::ROWS,
    mmuext_op::ROWS,
    &[&xsm_op::ROW],
    nmi_op::ROWS,
    sched_op::ROWS,
    callback_op::ROWS,
    &[&xenoprof_op::ROW],
    event_channel_op::ROWS,
    physdev_op::ROWS,
    hvm_op::ROWS,
    &[&sysctl::ROW],
    &[&domctl::ROW],
    &[&kexec_op::ROW],
    &[&tmem_op::ROW],
    &[&argo_op::ROW],
    xenpmu_op::ROWS,
    &[&dm_op::ROW],
    &[&hypfs_op::ROW],
    ring1_op::ROWS,
    &[&arch_1::ROW],
    &[&arch_2::ROW],
    &[&arch_3::ROW],
    &[&arch_4::ROW],
    &[&arch_5::ROW],
    &[&arch_6::ROW],
    &[&arch_7::ROW],
];
