//! multicall: several calls for one entry.

use core::mem::offset_of;

use paravane_abi::errno::Errno;
use paravane_abi::multicall::MulticallEntry;

use super::{Answer, Call, Stop};
use crate::addr::VirtAddr;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Calls made in one bounded step.
const CALLS_A_STEP: u64 = 64;

impl<M: Machine> Hypervisor<M> {
    /// `multicall`. Each entry's result is stored before the next call is made, and the batch ends when a call
    /// replaces the registers: what follows would run as the wrong context (XSA-213).
    pub(super) fn multicall(&mut self, call: &mut Call<'_>) -> Answer {
        if call.nested {
            // Xen refuses a multicall in a multicall.
            return Err(Errno::EINVAL.into());
        }
        // As Xen, even of an empty list; where a longer one ends, its entries tell.
        if !VirtAddr::is_guest(call.args[0]) {
            return Err(Errno::EFAULT.into());
        }
        self.step = Budget::HYPERCALL;
        for index in 0..CALLS_A_STEP {
            let (pointer, count) = (call.args[0], call.args[1] as u32);
            if count == 0 {
                return Ok(0);
            }
            // At least one call a step, so that the batch ends.
            if index > 0 && self.step.spent() {
                return Err(Stop::AGAIN);
            }
            let entry: MulticallEntry = self.read_guest(pointer)?;
            self.counters.hypercalls += 1;
            let mut nested = Call { args: entry.args, regs: call.regs, nested: true };
            match self.dispatch(entry.op, &mut nested) {
                Ok(value) => self.store_result(pointer, value)?,
                Err(Stop::AGAIN) => {
                    let place = pointer.wrapping_add(offset_of!(MulticallEntry, args) as u64);
                    self.write_guest(place, &nested.args)?;
                    return Err(Stop::AGAIN);
                }
                Err(Stop::REPLACED) => return Err(Stop::REPLACED),
                Err(error) => self.store_result(pointer, error.result())?,
            }
            call.args[0] = pointer.wrapping_add(size_of::<MulticallEntry>() as u64);
            call.args[1] = u64::from(count - 1);
        }
        if call.args[1] == 0 { Ok(0) } else { Err(Stop::AGAIN) }
    }

    fn store_result(&mut self, entry: u64, value: u64) -> Result<(), Stop> {
        self.write_guest(entry.wrapping_add(offset_of!(MulticallEntry, result) as u64), &value)
    }
}
