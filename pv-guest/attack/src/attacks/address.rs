//! Attacks on the address space: the hypervisor's slots, its frames, its addresses as arguments.

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{
    DOMID_SELF, MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_PRESERVE_AD, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
    MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE,
};
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::pte;
use paravane_abi::ring1::{
    ENTRY_AREA, ENTRY_CODE_OFFSET, ENTRY_GDT_OFFSET, ENTRY_IDT_OFFSET, ENTRY_IST_OFFSET, ENTRY_STACK_OFFSET,
    ENTRY_TSS_OFFSET, M2P_VIRT_START,
};

use super::subject::{self, BREAKPOINT};
use super::{Report, Row};
use crate::guard::{self, Regs, Start};
use crate::hypercall::{entry, map, mmu_update, mmuext, multicall, raw, set_entry};
use crate::memory::{self, FIRST_HIGH, G, KERNEL, NX, P, PAGE, READ, USER, WINDOW, fill, memory, peek, take};
use crate::ring;

/// Addresses of the hypervisor's: M2P, descriptors, gates, task state, code, stacks, image, direct map, and the ends.
pub const HYPERVISOR: [u64; 12] = [
    M2P_VIRT_START,
    ENTRY_AREA,
    ENTRY_AREA + 0xe000,
    ENTRY_AREA + ENTRY_IDT_OFFSET,
    ENTRY_AREA + ENTRY_TSS_OFFSET,
    ENTRY_AREA + ENTRY_CODE_OFFSET,
    ENTRY_AREA + ENTRY_STACK_OFFSET + 0x800,
    ENTRY_AREA + ENTRY_IST_OFFSET + 0x800,
    0xffff_82d0_8020_0000,
    0xffff_8300_0000_0000,
    0xffff_87ff_ffff_f000,
    0xffff_8800_0000_0000 - 8,
];

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "global-pages",
        reason: "a global translation survives the CR3 load of an entry, and ring 0 would find the guest's page in place of its own",
        run: global_pages,
    },
    Row {
        name: "reserved-slots",
        reason: "an entry of the guest's in L4 slots 256 to 271 would be a second entry area",
        run: reserved_slots,
    },
    Row {
        name: "reserved-slots-at-validation",
        reason: "an L4 that is filled before it is pinned would bring entries for the hypervisor's slots",
        run: reserved_slots_at_validation,
    },
    Row {
        name: "foreign-frames",
        reason: "a mapping of any frame that is not the domain's: the entry area's pages, the hypervisor's tables and image, another domain's memory",
        run: foreign_frames,
    },
    Row {
        name: "foreign-tables",
        reason: "a page table of the hypervisor's used as a table of the guest's",
        run: foreign_tables,
    },
    Row {
        name: "hypervisor-pointers",
        reason: "a hypercall that writes its result where the guest points, in the entry area or the direct map",
        run: hypervisor_pointers,
    },
    Row {
        name: "entry-stacks",
        reason: "ring 1 can write the entry stack and the stacks of NMI, #DF, #MC and #DB; nothing that ring 0 reads there may be older than its entry",
        run: entry_stacks,
    },
    Row {
        name: "entry-code",
        reason: "the entry code executed by ring 1: each of its instructions that matters is privileged",
        run: entry_code,
    },
    Row {
        name: "hypervisor-unreachable",
        reason: "pages of the hypervisor's are in the guest's tables, for supervisors alone: one with US is a hole",
        run: unreachable,
    },
    Row {
        name: "kernel-pages",
        reason: "all pages of a guest in ring 3 are for users: programs must run on a root that has no page of the kernel's",
        run: kernel_pages,
    },
    Row {
        name: "user-roots",
        reason: "a root for programs that was not checked, or is let go while it is used",
        run: user_roots,
    },
    Row {
        name: "m2p-lies",
        reason: "machine-to-physical entries that the guest may set are believed by nobody but itself",
        run: m2p_lies,
    },
    Row {
        name: "shared-page",
        reason: "every word of the page shared with the hypervisor is the guest's to ruin",
        run: shared_page,
    },
    Row {
        name: "console-ring",
        reason: "indices of the console ring that run ahead of, behind and round each other",
        run: console_ring,
    },
];

fn global_pages(report: &mut Report) {
    let page = take();
    for flags in [KERNEL | G | NX, READ | G, USER | G] {
        report.result("G in an L1 entry", map(WINDOW, page << 12 | flags), 0);
        let entry = peek(memory().window, 0);
        // In ring 3 Xen sets it, and guests read it; that the processor heeds none is CR4's affair.
        let good = entry & P != 0 && (entry & G == 0 || ring::is_3());
        report.check(format_args!("G stays in {entry:#x}"), good);
        report.result("taking it out", map(WINDOW, 0), 0);
    }
    // A global translation is gone with the root it belongs to.
    let root = copy_of_root();
    report.result("a global page", map(WINDOW, page << 12 | USER | G), 0);
    let read = subject::kernel(&[0x48, 0x8b, 0x07]); // mov rax, [rdi]
    let at = |va: u64| guard::run(&Start { regs: Regs { rdi: va, ..read.regs }, ..read }).vector;
    report.result("a root without it", set_entry(root, pte::index(WINDOW, 4), 0), 0);
    report.check(format_args!("it is there"), at(WINDOW) == BREAKPOINT);
    report.result("pinning the root", mmuext(MMUEXT_PIN_L4_TABLE, root, 0), 0);
    report.result("loading it", mmuext(MMUEXT_NEW_BASEPTR, root, 0), 0);
    report.check(format_args!("a global page stays: vector {:#x}", at(WINDOW)), at(WINDOW) == 14);
    report.result("loading the first again", mmuext(MMUEXT_NEW_BASEPTR, memory().l4, 0), 0);
    report.result("unpinning it", mmuext(MMUEXT_UNPIN_TABLE, root, 0), 0);
    report.result("taking it out", map(WINDOW, 0), 0);
    let table = take();
    let l3 = memory::l1_for(FIRST_HIGH);
    for (level, frame, index) in [(4, memory().l4, 300), (4, memory().l4, 257), (1, l3, 9)] {
        let result = set_entry(frame, index, table << 12 | USER | G);
        if level == 4 {
            report.refused("G above L1", result);
        }
    }
    for va in HYPERVISOR {
        report.refused(
            "a global mapping at a hypervisor address",
            map(va & !(PAGE - 1), page << 12 | KERNEL | G),
        );
    }
}

fn reserved_slots(report: &mut Report) {
    let table = take();
    let root = memory().l4;
    for slot in 256..=271u64 {
        for command in [MMU_NORMAL_PT_UPDATE, MMU_PT_UPDATE_PRESERVE_AD, 3] {
            for value in [table << 12 | USER, table << 12 | READ, root << 12 | READ, 0, !0] {
                report.refused("an L4 entry", mmu_update((root << 12 | slot << 3) | command, value));
            }
        }
    }
    for va in HYPERVISOR {
        report.refused("a mapping", map(va & !(PAGE - 1), table << 12 | READ));
        report.refused("taking a mapping out", map(va & !(PAGE - 1), 0));
    }
    // The root's page seen through a mapping of the guest's is read-only: the processor refuses the write.
    report.result("a view of the root", map(WINDOW, root << 12 | READ | NX), 0);
    let mut start = subject::kernel(&[0x48, 0x89, 0x07]); // mov [rdi], rax
    start.regs.rdi = WINDOW + 257 * 8;
    start.regs.rax = table << 12 | USER;
    let end = guard::run(&start);
    report.check(format_args!("a write into the root ends with vector {:#x}", end.vector), end.vector == 14);
    report.result("taking the view out", map(WINDOW, 0), 0);
}

/// A root that runs this kernel, before it has any use.
pub fn copy_of_root() -> u64 {
    let root = memory().l4;
    let copy = take();
    let mut words = [0; 512];
    for (index, word) in words.iter_mut().enumerate() {
        *word = if (256..272).contains(&index) { 0 } else { peek(root, index) };
    }
    fill(copy, |index| words[index]);
    copy
}

fn reserved_slots_at_validation(report: &mut Report) {
    let root = memory().l4;
    let copy = copy_of_root();
    let stray = peek(root, pte::index(WINDOW, 4));
    let word = |index: usize| peek(root, index);
    let kept: [u64; 512] =
        core::array::from_fn(|index| if (256..272).contains(&index) { stray } else { word(index) });
    fill(copy, |index| kept[index]);
    report.result("pinning", mmuext(MMUEXT_PIN_L4_TABLE, copy, 0), 0);
    for slot in 256..272 {
        report.check(format_args!("slot {slot} is {:#x}", peek(copy, slot)), peek(copy, slot) == 0);
    }
    report.result("loading", mmuext(MMUEXT_NEW_BASEPTR, copy, 0), 0);
    for slot in 258..272u64 {
        let mut start = subject::kernel(&[0x48, 0x8b, 0x07]); // mov rax, [rdi]
        start.regs.rdi = 0xffff_0000_0000_0000 | slot << 39 | WINDOW & 0x7f_ffff_ffff;
        let end = guard::run(&start);
        report.check(format_args!("slot {slot} can be read: vector {:#x}", end.vector), end.vector == 14);
    }
    report.result("loading the first root again", mmuext(MMUEXT_NEW_BASEPTR, root, 0), 0);
    report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, copy, 0), 0);
}

/// One past the last frame that the machine-to-physical table can have.
fn end_of_frames() -> u64 {
    let result =
        raw(nr::HYPERVISOR_MEMORY_OP, [paravane_abi::memory::XENMEM_MAXIMUM_RAM_PAGE.into(), 0, 0, 0, 0]);
    result.max(0) as u64 + 1
}

/// Whether a frame is this domain's.
pub fn is_own(frame: u64, end: u64) -> bool {
    // The table is believed only as far as the domain's own list agrees.
    let pfn = if frame < end { memory::m2p(frame) } else { u64::MAX };
    frame == memory().shared || pfn < memory().nr_pages && memory::mfn(pfn) == frame
}

/// The first frame of the domain's grant table, which it may map.
fn grant_table() -> u64 {
    use paravane_abi::grant::{GNTTABOP_SETUP_TABLE, GnttabSetupTable};
    let mut frame = u64::MAX;
    let mut setup = GnttabSetupTable {
        dom: DOMID_SELF,
        nr_frames: 1,
        frame_list: &raw mut frame as u64,
        ..GnttabSetupTable::default()
    };
    let pointer = &raw mut setup as u64;
    raw(nr::HYPERVISOR_GRANT_TABLE_OP, [GNTTABOP_SETUP_TABLE.into(), pointer, 1, 0, 0]);
    frame
}

fn foreign_frames(report: &mut Report) {
    const BATCH: usize = 64;
    let end = end_of_frames();
    let table = grant_table();
    let mut tried = 0;
    let mut frame = 0;
    while frame < end + 64 {
        let mut calls = [MulticallEntry::default(); BATCH];
        let mut frames = [0; BATCH];
        let mut used = 0;
        while used < BATCH && frame < end + 64 {
            if !is_own(frame, end) && frame != table {
                let flags = if frame % 3 == 0 { READ } else { KERNEL };
                calls[used] = entry(nr::HYPERVISOR_UPDATE_VA_MAPPING, [WINDOW, frame << 12 | flags, 0]);
                frames[used] = frame;
                used += 1;
            }
            frame += 1;
        }
        report.result("the batch", multicall(&mut calls[..used]), 0);
        for (call, frame) in calls[..used].iter().zip(frames) {
            report.check(format_args!("frame {frame:#x} is mapped"), (call.result as i64) < 0);
        }
        tried += used;
    }
    for frame in [1 << 24, 1 << 36, (1 << 40) - 1, 0xfee00, 0xb8, 0xfec00, end, end + 1] {
        report.refused("a frame beyond RAM", map(WINDOW, frame << 12 | KERNEL));
    }
    report.note(format_args!("{tried} frames"));
}

/// Roots of the hypervisor's: to ring 1 the entry area shows its own, and the one that guests run on. Ring 3 must guess:
/// frames that are not the domain's, spread over RAM.
fn foreign_roots() -> [u64; 8] {
    if ring::is_3() {
        let end = end_of_frames();
        return core::array::from_fn(|index| {
            let first = end / 8 * index as u64;
            (first..end).find(|frame| !is_own(*frame, end)).unwrap_or(end)
        });
    }
    let page = ENTRY_AREA + ENTRY_TSS_OFFSET;
    // SAFETY: ring 1 can read the processor's page.
    let roots = [0x80, 0x88].map(|offset| unsafe { ((page + offset) as *const u64).read_volatile() } >> 12);
    core::array::from_fn(|index| roots[index % 2])
}

fn foreign_tables(report: &mut Report) {
    for root in foreign_roots() {
        report.refused("pinning a root of the hypervisor's", mmuext(MMUEXT_PIN_L4_TABLE, root, 0));
        report.refused("loading it", mmuext(MMUEXT_NEW_BASEPTR, root, 0));
        report.refused("unpinning it", mmuext(MMUEXT_UNPIN_TABLE, root, 0));
        report.refused("an L3 of it", set_entry(memory().l4, 300, root << 12 | USER));
        report.refused("mapping it", map(WINDOW, root << 12 | READ));
        for command in [0, 1, 2, 3] {
            report.refused("writing it", mmu_update((root << 12 | 300 << 3) | command, 0));
        }
        for command in 0..=3 {
            report.refused("pinning at any level", mmuext(command, root, 0));
        }
        for command in [16, 17] {
            report.refused("clearing or copying", mmuext(command, root, memory().l4));
        }
        report.refused("as descriptors", raw(nr::HYPERVISOR_SET_GDT, [&raw const root as u64, 1, 0, 0, 0]));
        report.refused("a descriptor in it", raw(nr::HYPERVISOR_UPDATE_DESCRIPTOR, [root << 12, 0, 0, 0, 0]));
    }
}

fn hypervisor_pointers(report: &mut Report) {
    let own = u64::from(DOMID_SELF);
    for pointer in HYPERVISOR {
        for call in nr::ROWS {
            for sub in call.sub_operations {
                if matches!(sub.argument, nr::Argument::Both | nr::Argument::Write) {
                    let position = call.arguments.iter().position(|(_, ty)| ty.contains('*'));
                    let mut arguments = [sub.number, 0, 0, 0, 0];
                    arguments[position.unwrap_or(1)] = pointer;
                    let result = raw(call.number, arguments);
                    report.check(
                        format_args!("{} {} at {pointer:#x}: {result}", call.name, sub.name),
                        result < 0,
                    );
                }
            }
        }
        report.refused("multicall", raw(nr::HYPERVISOR_MULTICALL, [pointer, 4, 0, 0, 0]));
        let request = paravane_abi::mmu::MmuUpdate { ptr: 3, val: 0 };
        let requests = &raw const request as u64;
        // The count of what was done is written behind the pointer whatever becomes of the requests; one that cannot be
        // written is no reason to write elsewhere.
        raw(nr::HYPERVISOR_MMU_UPDATE, [requests, 1, pointer, own, 0]);
        report.refused("mmu_update", raw(nr::HYPERVISOR_MMU_UPDATE, [pointer, 2, 0, own, 0]));
        report.refused("mmuext_op", raw(nr::HYPERVISOR_MMUEXT_OP, [pointer, 2, 0, own, 0]));
        report.refused("set_gdt", raw(nr::HYPERVISOR_SET_GDT, [pointer, 512, 0, 0, 0]));
        report.refused("set_trap_table", raw(nr::HYPERVISOR_SET_TRAP_TABLE, [pointer, 0, 0, 0, 0]));
        report.refused("console_io", raw(nr::HYPERVISOR_CONSOLE_IO, [0, 8, pointer, 0, 0]));
    }
}

fn entry_stacks(report: &mut Report) {
    let page = ENTRY_AREA + ENTRY_STACK_OFFSET;
    let stacks = [0u64, 0x1_0000, 0x1_2000, 0x1_4000, 0x1_6000].map(|offset| page + offset);
    for pattern in [0, !0, 0xe008, ENTRY_AREA + ENTRY_CODE_OFFSET, 0x0202] {
        for stack in stacks {
            for index in 0..512 {
                // SAFETY: pages of the hypervisor's that ring 1 can write while nothing stands on them; that is the test.
                unsafe { (stack as *mut u64).add(index).write_volatile(pattern) };
            }
        }
        report.check(format_args!("the null call"), crate::hypercall::null() > 0);
        for (code, vector) in [(&[0x0f, 0x0b][..], 6), (&[0xcc], 3), (&[0xf4], 13), (&[0x8e, 0xd0], 13)] {
            let mut start = subject::kernel(code);
            start.regs.rax = 0xe008;
            let end = guard::run(&start);
            report.check(format_args!("{code:x?} in ring 1: vector {:#x}", end.vector), end.vector == vector);
            let mut start = subject::user(code);
            start.regs.rax = 0xe008;
            let end = guard::run(&start);
            report.check(format_args!("{code:x?} in ring 3: vector {:#x}", end.vector), end.vector == vector);
        }
    }
}

fn unreachable(report: &mut Report) {
    let page = ENTRY_AREA + ENTRY_STACK_OFFSET;
    let own = [page, page + 0x1_0000, page + 0x1_6000, ENTRY_AREA + ENTRY_GDT_OFFSET];
    // mov rax, [rdi]; mov [rdi], rax
    for code in [&[0x48, 0x8b, 0x07][..], &[0x48, 0x89, 0x07]] {
        for va in HYPERVISOR[1..].iter().copied().chain(own) {
            for mut start in [subject::kernel(code), subject::user(code)] {
                start.regs.rdi = va;
                let end = guard::run(&start);
                report.check(
                    format_args!("{va:#x}: {:?}, vector {:#x}", end.half(), end.vector),
                    end.vector == 14,
                );
            }
        }
        // The kernel may read the machine-to-physical table, and no more.
        let mut start = subject::kernel(code);
        start.regs.rdi = M2P_VIRT_START;
        let end = guard::run(&start);
        let wanted = if code[1] == 0x8b { BREAKPOINT } else { 14 };
        report.check(format_args!("M2P: vector {:#x}", end.vector), end.vector == wanted);
    }
}

fn kernel_pages(report: &mut Report) {
    let core = [subject::kernel_code(), subject::kernel_stack(), memory::shared() as u64, WINDOW];
    let page = take();
    report.result("a page in the window", map(WINDOW, page << 12 | KERNEL), 0);
    for code in [&[0x48, 0x8b, 0x07][..], &[0x48, 0x89, 0x07]] {
        for va in core.into_iter().chain([guard::stub(0, 6), crate::entries::kernel_stack(0) - 64]) {
            let mut start = subject::user(code);
            start.regs.rdi = va;
            let end = guard::run(&start);
            report.check(
                format_args!("{va:#x}: vector {:#x}", end.vector),
                end.vector == 14 && end.error & 4 != 0,
            );
            start.rip = va;
            let end = guard::run(&start);
            report.check(format_args!("code at {va:#x}: vector {:#x}", end.vector), end.vector == 14);
        }
    }
    report.result("unmapping it", map(WINDOW, 0), 0);
}

fn user_roots(report: &mut Report) {
    let own = memory();
    let data = take();
    let l3 = peek(own.user_l4, 0) >> 12 & 0xff_ffff_ffff;
    report.result("a page that is written", map(WINDOW, data << 12 | KERNEL), 0);
    for frame in [data, own.window, l3, own.shared, end_of_frames(), u64::MAX >> 12, 0, 1 << 40] {
        if frame == 0 {
            continue;
        }
        report.refused("a root for programs", mmuext(MMUEXT_NEW_USER_BASEPTR, frame, 0));
        report.refused("a root for the kernel", mmuext(MMUEXT_NEW_BASEPTR, frame, 0));
    }
    report.result("unmapping it", map(WINDOW, 0), 0);
    // The kernel's root for programs is the kernel's own affair; what stands in it is not.
    report.result("the kernel's", mmuext(MMUEXT_NEW_USER_BASEPTR, own.l4, 0), 0);
    for va in HYPERVISOR {
        let mut start = subject::user(&[0x48, 0x89, 0x07]); // mov [rdi], rax
        start.regs.rdi = va;
        let end = guard::run(&start);
        report.check(format_args!("{va:#x}: vector {:#x}", end.vector), end.vector == 14);
    }
    // A root in use for programs, unpinned, stays a root; and goes when it is in use no more.
    let other = take();
    let entry = peek(own.user_l4, 0);
    fill(other, |index| if index == 0 { entry } else { 0 });
    report.result("pinning", mmuext(MMUEXT_PIN_L4_TABLE, other, 0), 0);
    report.result("another", mmuext(MMUEXT_NEW_USER_BASEPTR, other, 0), 0);
    report.result("unpinning", mmuext(MMUEXT_UNPIN_TABLE, other, 0), 0);
    report.refused("it is one still", map(WINDOW, other << 12 | KERNEL));
    let end = subject::run_user(&[0x0f, 0x05]);
    report.check(format_args!("a call on it: vector {:#x}", end.vector), end.vector == guard::SYSCALL);
    report.result("an entry of it", set_entry(other, 0, 0), 0);
    let end = subject::run_user(&[0x0f, 0x05]);
    report.check(format_args!("without the page: vector {:#x}", end.vector), end.vector == 14);
    report.result("the first", mmuext(MMUEXT_NEW_USER_BASEPTR, own.user_l4, 0), 0);
    report.result("it is free", map(WINDOW, other << 12 | KERNEL), 0);
    report.result("unmapping it", map(WINDOW, 0), 0);
}

fn entry_code(report: &mut Report) {
    let base = ENTRY_AREA + ENTRY_CODE_OFFSET;
    let mut ended = 0;
    // The stubs of exceptions and interrupts: what they push stays on the stack given here, and the first thing that
    // matters is a load of CR3. Ring 3 cannot even fetch them.
    for offset in (0..0x400).step_by(16) {
        let end = guard::run(&Start::kernel(base + offset, subject::kernel_stack() - 0x400));
        let good = if ring::is_3() { end.vector == 14 } else { end.vector < 32 };
        report.check(format_args!("offset {offset:#x} ends with {:#x}", end.vector), good);
        ended += u32::from(end.vector < 32);
    }
    for va in HYPERVISOR {
        let mut start = subject::user(&[]);
        start.rip = va;
        let end = guard::run(&start);
        report.check(format_args!("a program at {va:#x}: vector {:#x}", end.vector), end.vector == 14);
    }
    report.note(format_args!("{ended} addresses"));
}

fn m2p_lies(report: &mut Report) {
    const M2P: u64 = 1;
    let frame = take();
    let true_pfn = memory::m2p(frame);
    for lie in [0, true_pfn + 1, u64::MAX, 1 << 52, memory().nr_pages] {
        report.result("a lie", mmu_update(frame << 12 | M2P, lie), 0);
        report.result("mapping it", map(WINDOW, frame << 12 | KERNEL), 0);
        report.result("unmapping it", map(WINDOW, 0), 0);
        report.result("pinning it", mmuext(0, frame, 0), 0);
        report.result("unpinning it", mmuext(MMUEXT_UNPIN_TABLE, frame, 0), 0);
    }
    report.result("the truth", mmu_update(frame << 12 | M2P, true_pfn), 0);
    for frame in [0, 1, end_of_frames(), u64::MAX >> 12] {
        report.refused("another's entry", mmu_update(frame << 12 | M2P, true_pfn));
    }
}

fn shared_page(report: &mut Report) {
    let page = memory::shared().cast::<u64>();
    // SAFETY: the page is mapped; its words are copied.
    let kept: [u64; 512] = core::array::from_fn(|index| unsafe { page.add(index).read_volatile() });
    for pattern in [!0, 0x5555_5555_5555_5555, 0] {
        for index in 0..512 {
            // SAFETY: as above; the first vcpu's mask stays, or events would come.
            unsafe { page.add(index).write_volatile(if index == 0 { pattern | 0x100 } else { pattern }) };
        }
        for code in [&[0x0f, 0x0b][..], &[0xcc], &[0xf4]] {
            let end = subject::run_kernel(code);
            report.check(format_args!("{code:x?}: vector {:#x}", end.vector), end.vector < 32);
            // A pending event is taken in ring 3, or the exception first.
            let end = subject::run_user(code);
            report.check(format_args!("{code:x?} in ring 3: {:#x}", end.vector), end.vector <= guard::EVENT);
        }
        crate::hypercall::null();
    }
    for (index, word) in kept.iter().enumerate() {
        // SAFETY: as above.
        unsafe { page.add(index).write_volatile(*word) };
    }
}

fn console_ring(report: &mut Report) {
    use paravane_abi::event::{EVTCHNOP_SEND, EvtchnSend};
    const INDICES: usize = 3072;
    let memory = memory();
    report.result("mapping the ring", map(WINDOW, memory.console << 12 | KERNEL), 0);
    for index in 0..3072 / 8 {
        // SAFETY: the ring's page, mapped just now; what it prints are dots.
        unsafe { ((WINDOW + index * 8) as *mut [u8; 8]).write_volatile(*b".......\n") };
    }
    for (in_cons, in_prod, out_cons, out_prod) in [
        (0u32, 0u32, 0u32, u32::MAX),
        (u32::MAX, 0, u32::MAX, 0),
        (5, 4, 3, 2),
        (0, 0, 0, 1 << 31),
        (1 << 31, 0, 1 << 31, 0),
        (0, 0, 0, 0),
    ] {
        for (place, index) in [in_cons, in_prod, out_cons, out_prod].into_iter().enumerate() {
            // SAFETY: the ring's page, mapped just now.
            unsafe { ((WINDOW + (INDICES + place * 4) as u64) as *mut u32).write_volatile(index) };
        }
        let mut send = EvtchnSend { port: memory.console_port };
        let result = crate::hypercall::operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut send);
        report.result("the event", result, 0);
    }
    report.result("unmapping the ring", map(WINDOW, 0), 0);
    let end = subject::run_kernel(&[]);
    report.check(format_args!("the end: {:#x}", end.vector), end.vector == BREAKPOINT);
}
