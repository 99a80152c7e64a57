//! Debug registers: what a guest may set, by hypercall or by an emulated `mov`.

use crate::addr::VirtAddr;
use paravane_abi::errno::Errno;

/// A vcpu's debug registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugRegs {
    /// DR0 to DR3.
    pub dr: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7 as it may be loaded, without I/O breakpoints' enable bits.
    pub dr7: u64,
    /// DR7 enable bits of I/O breakpoints, which only emulation obeys.
    pub dr7_io: u64,
}

/// Bytes watched, by DR7's two-bit length.
pub(crate) const DR7_LENGTHS: [u64; 4] = [1, 2, 8, 4];

/// DR6 with no condition recorded (RTM and bus-lock reporting hidden, so their bits read as one).
pub const DR6_DEFAULT: u64 = 0xffff_0ff0;
/// DR7 with nothing enabled.
pub const DR7_DEFAULT: u64 = 0x400;

pub(crate) const CR4_DE: u64 = 1 << 3;
const DR6_ZEROS: u64 = 0x1000;
/// Reserved bits, and RTM (bit 11), which is hidden.
const DR7_ZEROS: u64 = 0xd000 | 1 << 11;
const DR7_ENABLES: u64 = 0xff;
const DR7_GENERAL_DETECT: u64 = 1 << 13;
const DR7_IO: u64 = 2;
/// DR6 bits 0 to 3, replaced by each #DB; the others accumulate.
const DR6_BREAKPOINTS: u64 = 0xf;

impl Default for DebugRegs {
    fn default() -> DebugRegs {
        DebugRegs { dr: [0; 4], dr6: DR6_DEFAULT, dr7: DR7_DEFAULT, dr7_io: 0 }
    }
}

impl DebugRegs {
    /// Reads a register. Under the guest's CR4.DE, 4 and 5 are no aliases of 6 and 7.
    pub fn get(&self, register: u32, cr4: u64) -> Result<u64, Errno> {
        let debug_extensions = cr4 & CR4_DE != 0;
        match register {
            0..=3 => Ok(self.dr[register as usize]),
            4 if !debug_extensions => Ok(self.dr6),
            6 => Ok(self.dr6),
            5 if !debug_extensions => Ok(self.dr7 | self.dr7_io),
            7 => Ok(self.dr7 | self.dr7_io),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Writes a register, or changes nothing; see [`DebugRegs::with`].
    pub fn set(&mut self, register: u32, value: u64, cr4: u64) -> Result<(), Errno> {
        *self = self.with(register, value, cr4)?;
        Ok(())
    }

    /// The registers after a write: `ENODEV` for no such register, `EINVAL` for reserved bits, `EPERM` for what
    /// a guest may not have (a breakpoint on the hypervisor's range, general detection, I/O breakpoints without
    /// CR4.DE).
    pub fn with(&self, register: u32, value: u64, cr4: u64) -> Result<DebugRegs, Errno> {
        let debug_extensions = cr4 & CR4_DE != 0;
        match register {
            0..=3 => self.with_address(register as usize, value),
            4 if !debug_extensions => self.with_status(value),
            6 => self.with_status(value),
            5 if !debug_extensions => self.with_control(value, debug_extensions),
            7 => self.with_control(value, debug_extensions),
            _ => Err(Errno::ENODEV),
        }
    }

    fn with_address(&self, index: usize, value: u64) -> Result<DebugRegs, Errno> {
        if !VirtAddr::is_guest(value) {
            return Err(Errno::EPERM);
        }
        let mut new = *self;
        new.dr[index] = value;
        Ok(new)
    }

    fn with_status(&self, value: u64) -> Result<DebugRegs, Errno> {
        if value >> 32 != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(DebugRegs { dr6: adjusted_dr6(value), ..*self })
    }

    fn with_control(&self, value: u64, debug_extensions: bool) -> Result<DebugRegs, Errno> {
        if value >> 32 != 0 {
            return Err(Errno::EINVAL);
        }
        let value = (value & !DR7_ZEROS) | DR7_DEFAULT;
        if value & DR7_GENERAL_DETECT != 0 {
            return Err(Errno::EPERM);
        }
        if value & DR7_ENABLES == 0 {
            return Ok(DebugRegs { dr7: value, dr7_io: 0, ..*self });
        }
        let mut io = 0;
        for n in 0..4 {
            if (value >> (16 + 4 * n)) & 3 == DR7_IO {
                if !debug_extensions {
                    return Err(Errno::EPERM);
                }
                io |= value & (3 << (2 * n));
            }
        }
        Ok(DebugRegs { dr7: value & !io, dr7_io: io, ..*self })
    }

    /// Records a #DB's conditions, given with positive polarity, and returns the registers.
    pub fn with_conditions(&self, conditions: u32) -> DebugRegs {
        let positive = self.dr6 ^ DR6_DEFAULT;
        let merged = (positive & !DR6_BREAKPOINTS) | conditions as u64;
        DebugRegs { dr6: adjusted_dr6(merged ^ DR6_DEFAULT), ..*self }
    }

    /// Whether hardware breakpoints are enabled, so that the registers have to be loaded for this vcpu.
    pub const fn active(&self) -> bool {
        self.dr7 & DR7_ENABLES != 0
    }
}

const fn adjusted_dr6(value: u64) -> u64 {
    (value | DR6_DEFAULT) & !DR6_ZEROS & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> DebugRegs {
        DebugRegs::default()
    }

    #[test]
    fn breakpoints_stay_off_the_hypervisors_range() {
        for (address, wanted) in [
            (0, None),
            (0x7fff_ffff_ffff, None),
            (0x8000_0000_0000, Some(Errno::EPERM)),
            (0xffff_8000_0000_0000, Some(Errno::EPERM)),
            (0xffff_87ff_ffff_ffff, Some(Errno::EPERM)),
            (0xffff_8800_0000_0000, None),
            (u64::MAX, None),
        ] {
            for register in 0..4 {
                let result = fresh().with(register, address, 0);
                assert_eq!(result.err(), wanted, "{address:#x}");
                if let Ok(new) = result {
                    assert_eq!(new.get(register, 0), Ok(address));
                }
            }
        }
    }

    #[test]
    fn four_and_five_are_aliases_without_debugging_extensions() {
        let set = fresh().with(5, 0x401, 0).unwrap();
        assert_eq!(set.get(7, 0), Ok(0x401));
        assert_eq!(set.get(5, 0), Ok(0x401));
        assert_eq!(set.get(4, 0), set.get(6, 0));
        for register in [4, 5] {
            assert_eq!(set.get(register, CR4_DE), Err(Errno::ENODEV));
            assert_eq!(set.with(register, 0, CR4_DE), Err(Errno::ENODEV));
        }
        for register in [8, 15, u32::MAX] {
            assert_eq!(set.get(register, 0), Err(Errno::ENODEV));
            assert_eq!(set.with(register, 0, 0), Err(Errno::ENODEV));
        }
    }

    #[test]
    fn reserved_bits_and_general_detection_are_refused() {
        assert_eq!(fresh().with(7, 1 << 32, 0), Err(Errno::EINVAL));
        assert_eq!(fresh().with(6, 1 << 63, 0), Err(Errno::EINVAL));
        assert_eq!(fresh().with(7, 1 << 13, 0), Err(Errno::EPERM));
        assert_eq!(fresh().with(7, 0, 0).unwrap().dr7, 0x400);
        assert_eq!(fresh().with(7, 0xd800, 0).unwrap().dr7, 0x400);
        assert_eq!(fresh().with(6, 0, 0).unwrap().dr6, 0xffff_0ff0);
        assert_eq!(fresh().with(6, 0xffff_ffff, 0).unwrap().dr6, 0xffff_efff);
    }

    #[test]
    fn io_breakpoints_are_never_loaded() {
        // Breakpoint 1 watches a port, breakpoint 0 an instruction; both are enabled.
        let value = 0x0020_0000 | 0b1101;
        assert_eq!(fresh().with(7, value, 0), Err(Errno::EPERM));
        let set = fresh().with(7, value, CR4_DE).unwrap();
        assert_eq!(set.dr7 & 0xff, 0b0001);
        assert_eq!(set.dr7_io, 0b1100);
        assert_eq!(set.get(7, CR4_DE), Ok(value | 0x400));
        let off = set.with(7, 0x0020_0000, CR4_DE).unwrap();
        assert_eq!((off.dr7_io, off.active()), (0, false));
    }

    #[test]
    fn conditions_replace_breakpoints_and_accumulate_the_rest() {
        let first = fresh().with_conditions(1 << 14 | 1);
        assert_eq!(first.dr6, 0xffff_4ff1);
        let second = first.with_conditions(2);
        assert_eq!(second.dr6, 0xffff_4ff2);
    }
}
