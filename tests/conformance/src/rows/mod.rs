//! The table of hypercalls (`paravane_abi::hypercall_table!`): a file for each row, which says what the ABI promises and
//! where, and what its cases provoke.

mod callback_op;
mod event_channel_op;
mod event_channel_op_compat;
mod nmi_op;
pub mod pointers;
mod ring1_op;
mod sched_op;
mod set_timer_op;
mod set_trap_table;
mod vcpu_op;

use crate::case::Row;

/// The rows of each call, in the order of the table.
pub const ALL: &[&[&Row]] = &[
    &[&set_trap_table::ROW],
    &[&set_timer_op::ROW],
    &[&event_channel_op_compat::ROW],
    vcpu_op::ROWS,
    nmi_op::ROWS,
    sched_op::ROWS,
    callback_op::ROWS,
    event_channel_op::ROWS,
    ring1_op::ROWS,
];
