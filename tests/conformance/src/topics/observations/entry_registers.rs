//! What is in the processor's registers at the first instruction.

use core::arch::asm;

use crate::case::Case;
use crate::observe;
use pv_probe::boot::{EntryRegisters, start};
use pv_probe::guard::Distance;
use pv_probe::memory::PAGE;

/// The case.
pub const CASE: Case = super::observation(
    "entry-registers",
    "registers, selectors and control registers at the first instruction",
    |_| {
        observe();
        Ok(())
    },
);

fn observe() {
    let start = start();
    for (name, value) in EntryRegisters::NAMES.iter().zip(start.registers.0) {
        match *name {
            "rsi" => observe!("rsi", "start_info, offset {:#x}", value % PAGE),
            "rsp" => {
                let end = start.info.pt_base + (start.info.nr_pt_frames + 1) * PAGE;
                observe!("rsp", "page behind the page tables, its end {}", Distance(value.wrapping_sub(end)));
            }
            _ => observe!(("{name}"), "{value:#x}"),
        }
    }
    let (cr0, cr2, cr3, cr4): (u64, u64, u64, u64);
    // SAFETY: reading control registers changes nothing.
    unsafe {
        asm!("mov {}, cr0", out(reg) cr0);
        asm!("mov {}, cr2", out(reg) cr2);
        asm!("mov {}, cr3", out(reg) cr3);
        asm!("mov {}, cr4", out(reg) cr4);
    }
    observe!("cr0", "{cr0:#x}");
    observe!("cr2", "{cr2:#x}");
    let root = pv_probe::memory::root();
    observe!("cr3", "the root's frame {}", Distance((cr3 >> 12).wrapping_sub(root)));
    observe!("cr3.low", "{:#x}", cr3 & 0xfff);
    observe!("cr4", "{cr4:#x}");
    let mut mxcsr = 0u32;
    let mut control = 0u16;
    // SAFETY: two stores to this frame.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
        asm!("fnstcw [{}]", in(reg) &raw mut control);
    }
    observe!("mxcsr", "{mxcsr:#x}");
    observe!("fcw", "{control:#x}");
    let (fs, gs, shadow) = super::segments::bases();
    observe!("fs-base", "{fs:#x}");
    observe!("gs-base", "{gs:#x}");
    observe!("gs-base-user", "{shadow:#x}");
}
