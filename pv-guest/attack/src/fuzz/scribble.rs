//! What the other vcpus do while the first fuzzes: write every page they can reach that is not the core's.

use core::mem::offset_of;

use paravane_abi::ring1::{ENTRY_AREA, ENTRY_IST_OFFSET, ENTRY_STACK_OFFSET};
use paravane_abi::shared_info::SharedInfo;
use pv_attack_logic::generate::WINDOW_PAGES;
use pv_attack_logic::random::Random;

use super::arena;
use crate::attacks::subject;
use crate::guard::{self, Regs, Start};
use crate::memory::{
    FIRST_HIGH, KERNEL, LAST_LOW, PAGE, READ, STRUCTURES, USER_DATA, USER_STACK, WINDOW, shared,
};
use crate::ring;
use crate::smp::stopping;

/// Small numbers that may stand for a command. Not 5: a base pointer load of a random frame would end the domain.
const COMMANDS: [u64; 10] = [0, 1, 3, 6, 7, 8, 12, 16, 20, 63];

fn word(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => random.pick(&COMMANDS),
        1 => WINDOW + random.below(WINDOW_PAGES * PAGE),
        2 => STRUCTURES + random.below(2 * PAGE),
        3 => random.below(1 << 17) << 12 | random.pick(&[KERNEL, READ, 0]),
        _ => random.next() | 1 << 40,
    }
}

/// Scribbles: structures, grants and the entry stacks directly; the window and what is [`elsewhere`] by guarded writes,
/// since these pages come and go.
pub fn scribble(vcpu: usize) {
    let mut random = Random::new(0x5c21_bb1e ^ vcpu as u64);
    let code = subject::place_on(vcpu, &[0x48, 0x89, 0x07]); // mov [rdi], rax
    let stacks = [ENTRY_STACK_OFFSET, ENTRY_IST_OFFSET, ENTRY_IST_OFFSET + 0x2000, ENTRY_IST_OFFSET + 0x6000];
    while !stopping() {
        for _ in 0..16 {
            let place = STRUCTURES + random.below(1024) * 8;
            // SAFETY: the pages for structures, which are there to be fought over.
            unsafe { (place as *mut u64).write_volatile(word(&mut random)) };
        }
        arena::grant(8 + random.below(504) as usize, random.next());
        let stack = ENTRY_AREA + random.pick(&stacks) + random.below(512) * 8;
        if !ring::is_3() {
            // SAFETY: this processor's entry stacks, which ring 1 can write while nothing stands on them.
            unsafe { (stack as *mut u64).write_volatile(word(&mut random)) };
        }
        // These end in the hypervisor, where the first vcpu would mostly wait for this one.
        if !random.once_in(32) {
            continue;
        }
        for rdi in [WINDOW + random.below(WINDOW_PAGES * 512) * 8, elsewhere(&mut random)] {
            let mut start = Start::kernel(code, subject::stack_on(vcpu));
            start.regs = Regs { rdi, rax: word(&mut random), ..Regs::default() };
            guard::run_on(vcpu, &start);
        }
    }
}

/// A word of a page that both the hypervisor and this kernel use: the areas that a vcpu has registered, programs' data
/// and stacks, and of the shared page what no event of the first 64 ports needs, since a lost one would be the end of
/// every wait. The console's ring is printed, so it is left alone, and so is the core.
fn elsewhere(random: &mut Random) -> u64 {
    let shared = shared() as u64;
    let page = match random.below(4) {
        0 => {
            let words = [offset_of!(SharedInfo, evtchn_pending), offset_of!(SharedInfo, evtchn_mask)];
            return shared + random.pick(&words) as u64 + 8 + random.below(63) * 8;
        }
        1 => {
            let rest = offset_of!(SharedInfo, evtchn_mask) as u64 + 512;
            return shared + rest + random.below((size_of::<SharedInfo>() as u64 - rest) / 8) * 8;
        }
        2 => arena::areas(),
        _ => random.pick(&[USER_DATA, USER_STACK - PAGE, USER_STACK - 2 * PAGE, LAST_LOW, FIRST_HIGH]),
    };
    page + random.below(512) * 8
}
