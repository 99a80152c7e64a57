//! console_io: a kernel's first words, before it has its console ring.

use log::Level;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::console_io::ConsoleCommand;

use super::{Answer, Call, Stop};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// What a byte on the serial line costs of a multicall's bounded step.
pub(crate) const STEPS_A_BYTE: u32 = 32;
/// Bytes printed in one bounded step.
const BYTES_A_STEP: usize = 256;

impl<M: Machine> Hypervisor<M> {
    /// `console_io`. Xen lets a debug build's guests write and no guest read; writing is granted here too. What a domain
    /// writes that does not have the console counts as a debug message of a guest's, as in Xen.
    pub(super) fn console_io(&mut self, call: &mut Call<'_>) -> Answer {
        match ConsoleCommand::from_number(call.args[0] as u32).ok_or(Errno::ENOSYS)? {
            ConsoleCommand::Write => {
                // Xen takes the count as a signed int.
                if (call.args[1] as i32) < 0 {
                    return Err(Errno::EINVAL.into());
                }
                let count = call.args[1] as u32 as usize;
                let mut buffer = [0u8; BYTES_A_STEP];
                let piece = &mut buffer[..count.min(BYTES_A_STEP)];
                self.read_guest_bytes(call.args[2], piece)?;
                self.print_of(self.current_domain(), piece, Some(Level::Debug));
                if piece.len() == count {
                    return Ok(0);
                }
                call.args[1] = (count - piece.len()) as u64;
                call.args[2] = call.args[2].wrapping_add(piece.len() as u64);
                Err(Stop::AGAIN)
            }
            ConsoleCommand::Read => Err(Errno::EPERM.into()),
        }
    }
}
