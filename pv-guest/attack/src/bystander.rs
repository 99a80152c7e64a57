//! A domain that does no harm: it fills its memory with a pattern and looks whether anybody changes it.

use crate::memory::{KERNEL, NX, PAGE, WINDOW, memory, mfn};
use crate::{hypercall, say};

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::sched::SCHEDOP_YIELD;

/// Frames looked at, spread over the domain's memory.
const FRAMES: u64 = 2048;
/// Words of a frame that are written and looked at.
const STEP: usize = 8;
/// Rounds between two lines.
const ROUNDS: u64 = 4;

fn pattern(frame: u64, index: usize) -> u64 {
    (frame ^ 0x5a5a_1234_0000_0000).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(index as u64)
}

/// Calls `act` with a window on each frame.
fn each(mut act: impl FnMut(u64, *mut u64)) -> u64 {
    let (first, all) = (memory().first_free + 64, memory().nr_pages);
    let count = FRAMES.min(all.saturating_sub(first));
    let step = (all - first) / count.max(1);
    for index in 0..count {
        let frame = mfn(first + index * step);
        let result = hypercall::map(WINDOW, frame << 12 | KERNEL | NX);
        assert!(result == 0, "frame {frame:#x} of the bystander: {result}");
        act(frame, WINDOW as *mut u64);
    }
    assert!(hypercall::map(WINDOW, 0) == 0);
    count
}

/// Writes, then looks for ever.
pub fn watch() -> ! {
    each(|frame, page| {
        for index in (0..512).step_by(STEP) {
            // SAFETY: the window maps the frame.
            unsafe { page.add(index).write_volatile(pattern(frame, index)) };
        }
    });
    let mut round = 0u64;
    loop {
        let mut sum = 0xcbf2_9ce4_8422_2325u64;
        let mut wrong = 0;
        let count = each(|frame, page| {
            for index in (0..512).step_by(STEP) {
                // SAFETY: as above.
                let word = unsafe { page.add(index).read_volatile() };
                wrong += u64::from(word != pattern(frame, index));
                sum = (sum ^ word).wrapping_mul(0x100_0000_01b3);
            }
        });
        if round.is_multiple_of(ROUNDS) || wrong > 0 {
            let verdict = if wrong == 0 { "good" } else { "FAILED" };
            let bytes = count * PAGE;
            say!(
                "bystander: {verdict} round {round} digest {sum:016x} of {bytes} bytes, {wrong} words changed"
            );
        }
        round += 1;
        hypercall::raw(nr::HYPERVISOR_SCHED_OP, [SCHEDOP_YIELD.into(), 0, 0, DOMID_SELF.into(), 0]);
    }
}
