//! A domain that believes itself on a PC: what the processor would report is made up here, and what it would run on is
//! walked.

mod sites;

use super::machine::TestMachine;
use crate::addr::{DomainId, Mfn, PAGE_SIZE};
use crate::build::fake_kernel::Elf;
use crate::build::{DomainConfig, MachineKind, Plan};
use crate::domain::Shutdown;
use crate::emulate::flag;
use crate::fake_machine::FakeMachine;
use crate::hypervisor::{Hypervisor, Leave, Next};
use crate::memory::Memory;
use crate::pagetable::Pte;
use crate::sched::Settings;
use crate::time::Clock;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::ring1::NOTE_TYPE_PHYS64_ENTRY;
use std::vec::Vec;

const PAGES: u64 = 512;
/// Where the kernel is entered, and where tests put its instructions.
const ENTRY: u64 = 0x10_0010;
/// Memory that nothing else lies in.
const GDT: u64 = 0x4000;
const IDT: u64 = 0x5000;
const TSS: u64 = 0x6000;
const STACK: u64 = 0x8000;
const HANDLER: u64 = 0x9000;
const REGISTER: u64 = 0xa000;
const KERNEL_CODE: u16 = 0x08;
/// CS of the kernel as the real processor has it.
const RING1_OWN: u16 = KERNEL_CODE | 1;
const PROTECTION: u32 = 13;
const PAGE_FAULT: u32 = 14;
/// Error codes of page faults.
const PRESENT: u32 = 1;
const WRITE: u32 = 2;
const FETCH: u32 = 16;

struct PcWorld {
    hv: Hypervisor<TestMachine>,
    regs: CpuUserRegs,
    free: u64,
}

impl PcWorld {
    fn new() -> Self {
        Self::of(Elf::kernel(), false)
    }

    fn of(mut elf: Elf, patch_sites: bool) -> Self {
        elf.note("Paravane", NOTE_TYPE_PHYS64_ENTRY, &ENTRY.to_le_bytes());
        let kernel: &'static [u8] = Vec::leak(elf.build());
        let (fake, table) = FakeMachine::with_frames(PAGES as usize + 700, 1, 4);
        let clock = Clock::new(1_000_000_000, 0).unwrap();
        let mut hv = Hypervisor::new(TestMachine::new(fake, 1), table, clock, (1, 2), Settings::default());
        let free = hv.frames.free_frames();
        let mut config = DomainConfig::new("pc", PAGES * 4, 1);
        (config.machine, config.domid, config.patch_sites) = (Some(MachineKind::Trap), 1, patch_sites);
        hv.construct(Plan::new(config, kernel, &[]).unwrap()).unwrap();
        let mut world = Self { hv, regs: CpuUserRegs::default(), free };
        assert_eq!(world.hv.prepare_return(&mut world.regs), Next::Guest);
        world
    }

    /// The machine frame of a guest frame.
    fn frame(&self, address: u64) -> Mfn {
        let pc = self.hv.domains[0].pc.as_ref().unwrap();
        pc.memory.frame(address >> 12).unwrap()
    }

    /// Writes the guest's memory as a device would.
    fn put(&self, address: u64, bytes: &[u8]) {
        let writer = self.hv.frames.writable(self.frame(address), DomainId(1)).unwrap();
        self.hv.machine.write_bytes(&writer, address as usize % PAGE_SIZE, bytes);
    }

    fn word(&self, address: u64) -> u64 {
        self.hv.machine.read_word(self.frame(address), address as usize % PAGE_SIZE / 8)
    }

    /// What the real processor finds at an address: the machine frame and the last entry.
    fn walk(&self, address: u64) -> Option<(Mfn, Pte)> {
        let mut table = self.hv.domains[0].pc.as_ref().unwrap().root().unwrap();
        let mut entry = Pte(0);
        for shift in [39, 30, 21, 12] {
            entry = Pte(self.hv.machine.read_word(table, (address >> shift) as usize & 511));
            if !entry.present() {
                return None;
            }
            table = entry.frame();
        }
        Some((table, entry))
    }

    /// The processor reports an exception.
    fn fault(&mut self, vector: u32, error_code: u32, address: u64) -> Next {
        (self.regs.entry_vector, self.regs.error_code) = (vector, error_code);
        self.hv.exception(&mut self.regs, address);
        self.hv.prepare_return(&mut self.regs)
    }

    /// The kernel executes an instruction that raises #GP in ring 1.
    fn execute(&mut self, code: &[u8]) -> Next {
        self.put(self.regs.rip, code);
        let rip = self.regs.rip;
        let next = self.fault(PROTECTION, 0, 0);
        assert!(next != Next::Guest || self.regs.rip == rip + code.len() as u64, "{code:x?} at {rip:#x}");
        next
    }

    fn out(&mut self, port: u16, value: u8) -> Next {
        (self.regs.rdx, self.regs.rax) = (port.into(), value.into());
        self.execute(&[0xee])
    }

    /// Gives the kernel its descriptor tables, an interrupt gate for `vector`, and a stack.
    fn set_up(&mut self, vector: u8) {
        let gate = |address: u64| -> [u64; 2] {
            let low = address & 0xffff | u64::from(KERNEL_CODE) << 16 | 0x8e00 << 32;
            [low | (address >> 16 & 0xffff) << 48, address >> 32]
        };
        let tss: [u64; 2] = [0x0000_8900_0000_0067 | TSS << 16, 0];
        let gdt = [0, 0x0020_9a00_0000_0000u64, 0x0000_9200_0000_0000, tss[0], tss[1]];
        gdt.iter().zip(0..).for_each(|(raw, index)| self.put(GDT + index * 8, &raw.to_le_bytes()));
        gate(HANDLER).iter().zip(0..).for_each(|(raw, index)| {
            self.put(IDT + u64::from(vector) * 16 + index * 8, &raw.to_le_bytes());
        });
        for (limit, base, code) in [(39u16, GDT, 0x10u8), (0xfff, IDT, 0x18)] {
            self.put(REGISTER, &limit.to_le_bytes());
            self.put(REGISTER + 2, &base.to_le_bytes());
            self.regs.rax = REGISTER;
            // lgdt [rax], lidt [rax]
            assert_eq!(self.execute(&[0x0f, 0x01, code]), Next::Guest);
        }
        self.regs.rax = 0x18;
        assert_eq!(self.execute(&[0x0f, 0x00, 0xd8]), Next::Guest);
        self.regs.rsp = STACK;
    }

    /// The domain is gone: nothing of it is left.
    fn ends(mut self, next: Next, why: Leave, shutdown: Shutdown) {
        assert_eq!(self.hv.domains[0].shutdown, Some(shutdown));
        let mut next = next;
        for _ in 0..1000 {
            match next {
                Next::Leave(found) => {
                    assert_eq!(found, why);
                    assert!(self.hv.domains.is_empty());
                    assert_eq!(self.hv.frames.free_frames(), self.free);
                    let wrong = self.hv.recount();
                    assert!(wrong.is_empty(), "{:?}", wrong[0]);
                    return;
                }
                Next::Work | Next::Guest | Next::Idle => next = self.hv.prepare_return(&mut self.regs),
            }
        }
        panic!("it never ends");
    }
}

#[test]
fn it_starts_in_ring_1_at_its_entry() {
    let world = PcWorld::new();
    let CpuUserRegs { rip, rbx, cs, ss, rflags, .. } = world.regs;
    assert_eq!((rip, cs & 3, ss & 3), (ENTRY, 1, 1));
    assert_eq!(rflags & (flag::IF | flag::IOPL), flag::IF);
    assert!(!world.hv.machine.told.hypervisor_shown, "its `int 0x82` is its own");
    // The loader's words begin with a magic number.
    assert_eq!(world.word(rbx) as u32, 0x336e_c578);
    assert!(world.hv.recount().is_empty());
    assert!(world.walk(ENTRY).is_none(), "shadows are made when they are needed");
}

#[test]
fn its_pages_appear_when_they_are_touched() {
    let mut world = PcWorld::new();
    let before = world.regs;
    assert_eq!(world.fault(PAGE_FAULT, FETCH, ENTRY), Next::Guest);
    let (frame, entry) = world.walk(ENTRY).unwrap();
    assert_eq!(frame, world.frame(ENTRY));
    assert!(!entry.has(Pte::US | Pte::RW | Pte::G), "{entry:?}");
    // The guest has not seen it.
    assert_eq!((world.regs.rip, world.regs.rsp), (before.rip, before.rsp));
    // A write marks the guest's own entry, and only then may the processor write.
    assert_eq!(world.fault(PAGE_FAULT, WRITE, STACK), Next::Guest);
    assert!(world.walk(STACK).unwrap().1.has(Pte::RW));
    assert!(world.hv.recount().is_empty());
}

#[test]
fn writes_to_its_page_tables_are_seen() {
    let mut world = PcWorld::new();
    // The L2 lies behind L4 and L3, which the loader put behind its words.
    let l2 = (world.regs.rbx & !0xfff) + 3 * PAGE_SIZE as u64;
    assert_eq!(world.fault(PAGE_FAULT, FETCH, ENTRY), Next::Guest);
    let place = l2 + 8;
    assert_eq!(world.word(place) & !0x60, 0x20_0083);
    assert_eq!(world.fault(PAGE_FAULT, 0, 0x20_0000 - 1), Next::Guest);
    // What translations were made of is traced.
    assert_eq!(world.fault(PAGE_FAULT, 0, place), Next::Guest);
    let (_, entry) = world.walk(place).unwrap();
    assert!(!entry.has(Pte::RW), "a page table may be written unseen");
    world.put(world.regs.rip, &[0x48, 0x89, 0x07]);
    (world.regs.rdi, world.regs.rax) = (place, 0);
    let rip = world.regs.rip;
    assert_eq!(world.fault(PAGE_FAULT, PRESENT | WRITE, place), Next::Guest);
    assert_eq!((world.word(place), world.regs.rip), (0, rip + 3));
    // An instruction that is not known is let through, and the table with it.
    world.put(world.regs.rip, &[0x48, 0xa5]);
    assert_eq!(world.fault(PAGE_FAULT, PRESENT | WRITE, place), Next::Guest);
    assert_eq!(world.regs.rip, rip + 3);
    assert_eq!(world.fault(PAGE_FAULT, PRESENT | WRITE, place), Next::Guest);
    assert!(world.walk(place).unwrap().1.has(Pte::RW));
}

#[test]
fn hlt_waits_for_the_timer() {
    const VECTOR: u8 = 0x20;
    let mut world = PcWorld::new();
    world.set_up(VECTOR);
    // Both controllers, vectors from 0x20 and 0x28 on, all but the timer masked.
    for (port, value) in [
        (0x20, 0x11),
        (0x21, VECTOR),
        (0x21, 4),
        (0x21, 1),
        (0xa0, 0x11),
        (0xa1, VECTOR + 8),
        (0xa1, 2),
        (0xa1, 1),
        (0x21, 0xfe),
        (0xa1, 0xff),
        // Channel 0, both bytes, mode 0: once, in about a millisecond.
        (0x43, 0x30),
        (0x40, 0xa9),
        (0x40, 0x04),
    ] {
        assert_eq!(world.out(port, value), Next::Guest);
    }
    let set = world.hv.machine.now;
    assert_eq!(world.execute(&[0xfb]), Next::Guest);
    assert_eq!(world.execute(&[0xf4]), Next::Idle);
    let after = world.hv.machine.told.armed.expect("a timer that will wake it");
    assert!((900_000..1_100_000).contains(&after), "{after}");
    let halted = world.regs.rip;
    world.hv.machine.now = set + 1_100_000;
    world.hv.timer_interrupt();
    assert_eq!(world.hv.prepare_return(&mut world.regs), Next::Guest);
    assert_eq!((world.regs.rip, world.regs.cs), (HANDLER, RING1_OWN));
    // The frame says ring 0, with interrupts on, behind the `hlt`.
    let frame: Vec<u64> = (0..5).map(|index| world.word(world.regs.rsp + index * 8)).collect();
    assert_eq!(frame[0], halted);
    assert_eq!((frame[1], frame[2] & flag::IF), (KERNEL_CODE.into(), flag::IF));
    assert_eq!(frame[3], STACK);
    assert!(world.hv.recount().is_empty());
}

/// `sti` and `cli` with one instruction between them: what waited is delivered behind that instruction.
#[test]
fn an_interrupt_that_waits_comes_between_sti_and_cli() {
    const VECTOR: u8 = 0x20;
    const DEBUG: u32 = 1;
    let mut world = PcWorld::new();
    world.set_up(VECTOR);
    for (port, value) in
        [(0x20, 0x11), (0x21, VECTOR), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x30), (0x40, 1), (0x40, 0)]
    {
        assert_eq!(world.out(port, value), Next::Guest);
    }
    world.hv.machine.now += 10_000;
    assert_eq!(world.execute(&[0xfb]), Next::Guest);
    assert_ne!(world.regs.rip, HANDLER, "one instruction comes first");
    assert_ne!(world.regs.rflags & flag::TF, 0, "which is stepped over");
    world.regs.rip += 1;
    let behind = world.regs.rip;
    world.hv.machine.debug_status ^= 1 << 14;
    assert_eq!(world.fault(DEBUG, 0, 0), Next::Guest);
    assert_eq!((world.regs.rip, world.regs.rflags & flag::TF), (HANDLER, 0));
    let frame: Vec<u64> = (0..3).map(|index| world.word(world.regs.rsp + index * 8)).collect();
    assert_eq!((frame[0], frame[2] & (flag::IF | flag::TF)), (behind, flag::IF));
    // With nothing pending nothing is stepped.
    let mut world = PcWorld::new();
    world.set_up(VECTOR);
    assert_eq!(world.execute(&[0xfb]), Next::Guest);
    assert_eq!(world.regs.rflags & flag::TF, 0);
}

/// `cli; hlt` waits for good, however often its timer fires.
#[test]
fn hlt_without_interrupts_is_not_woken() {
    const VECTOR: u8 = 0x20;
    let mut world = PcWorld::new();
    world.set_up(VECTOR);
    // A square wave as fast as it can be.
    for (port, value) in
        [(0x20, 0x11), (0x21, VECTOR), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x36), (0x40, 2), (0x40, 0)]
    {
        assert_eq!(world.out(port, value), Next::Guest);
    }
    assert_eq!(world.execute(&[0xfa]), Next::Guest);
    assert_eq!(world.execute(&[0xf4]), Next::Idle);
    let halted = world.regs.rip;
    for _ in 0..100 {
        world.hv.machine.now += 100_000;
        world.hv.timer_interrupt();
        assert_eq!(world.hv.domains[0].vcpus[0].state, crate::domain::RunState::Blocked);
        assert_eq!((world.hv.prepare_return(&mut world.regs), world.regs.rip), (Next::Idle, halted));
    }
}

#[test]
fn it_ends_by_its_exit_port() {
    let mut world = PcWorld::new();
    let next = world.out(0xf4, 0x10);
    world.ends(next, Leave::PowerOff, Shutdown::PowerOff);
    let mut world = PcWorld::new();
    let next = world.out(0x64, 0xfe);
    world.ends(next, Leave::Reboot, Shutdown::Reboot);
}

#[test]
fn without_handlers_it_is_alone_in_ending() {
    let mut world = PcWorld::new();
    // No IDT at all.
    world.put(world.regs.rip, &[0x0f, 0x0b]);
    let next = world.fault(6, 0, 0);
    world.ends(next, Leave::Crash, Shutdown::Crash);
}

/// The machine loads all four at once: those that were loaded long ago, too, have to be loadable.
#[test]
fn selectors_whose_descriptors_have_changed_are_not_loaded_again() {
    const PLACE: u64 = 4 * 8;
    const DATA: u64 = 0x0000_9200_0000_0000;
    const PROGRAMS_CODE: u64 = 0x0020_fa00_0000_0000;
    const NOT_PRESENT: u32 = 11;
    let mut world = PcWorld::new();
    world.set_up(PROTECTION as u8);
    world.put(GDT + PLACE, &DATA.to_le_bytes());
    world.regs.rax = PLACE;
    let rip = world.regs.rip;
    // mov ds, eax, of a descriptor that was not there when the table was copied.
    world.put(rip, &[0x8e, 0xd8]);
    assert_eq!((world.fault(PROTECTION, PLACE as u32, 0), world.regs.rip), (Next::Guest, rip), "tried again");
    world.hv.machine.told.selectors = [PLACE as u16, 0, 0, 0];
    // It becomes code of programs, which is not present while the kernel runs.
    world.put(GDT + PLACE, &PROGRAMS_CODE.to_le_bytes());
    world.put(rip, &[0x8e, 0xe0]);
    for _ in 0..2 {
        assert_eq!(world.fault(NOT_PRESENT, PLACE as u32, 0), Next::Guest);
    }
    assert_eq!(world.regs.rip, rip + 2, "mov fs, eax");
    // And when it runs again after another domain.
    world.put(GDT + PLACE, &0u64.to_le_bytes());
    world.put(rip + 2, &[0x8e, 0xe8]);
    assert_eq!(world.fault(PROTECTION, PLACE as u32, 0), Next::Guest);
    world.hv.machine.told.selectors = [PLACE as u16; 4];
    let selectors = world.hv.machine.told.selectors;
    world.hv.load_pc_selectors(selectors);
    assert_eq!(world.hv.machine.told.selectors, [0; 4]);
}

#[test]
fn what_it_prints_and_what_is_typed_goes_by_the_serial_port() {
    let mut world = PcWorld::new();
    for byte in b"hello" {
        assert_eq!(world.out(0x3f8, *byte), Next::Guest);
    }
    assert_eq!(world.hv.machine.told.output, b"hello");
    world.hv.machine.input.extend(b"x");
    world.hv.console_interrupt();
    assert_eq!(world.hv.prepare_return(&mut world.regs), Next::Guest);
    world.regs.rdx = 0x3fd;
    assert_eq!(world.execute(&[0xec]), Next::Guest);
    assert_eq!(world.regs.rax & 1, 1, "something was received");
    world.regs.rdx = 0x3f8;
    assert_eq!(world.execute(&[0xec]), Next::Guest);
    assert_eq!(world.regs.rax & 0xff, b'x'.into());
}

#[test]
fn whatever_it_raises_leaves_the_books_right() {
    let mut world = PcWorld::new();
    world.set_up(PROTECTION as u8);
    let mut dice = 0x9e37_79b9_7f4a_7c15u64;
    let mut roll = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    for round in 0..4000u32 {
        let code: [u8; 8] = roll().to_le_bytes();
        world.regs.rip = ENTRY;
        world.put(ENTRY, &code);
        (world.regs.rax, world.regs.rdi, world.regs.rsp) = (roll(), roll() >> (roll() % 64), roll() >> 40);
        (world.regs.rdx, world.regs.rcx) = (roll() & 0xffff & !0xf7, roll() >> (roll() % 64));
        let vector = [0, 1, 3, 6, 7, 11, 12, 13, 13, 13, 14, 14, 14, 17, 0x100, 0x101][roll() as usize % 16];
        let address = (roll() << 16) as i64 >> (16 + roll() % 40);
        let next = world.fault(vector, roll() as u32 & 0x1f, address as u64);
        if next != Next::Guest {
            // It waits, or a triple fault: another one.
            world = PcWorld::new();
            world.set_up(PROTECTION as u8);
            continue;
        }
        let CpuUserRegs { cs, ss, rflags, rip, .. } = world.regs;
        assert_eq!(rflags & (flag::IF | flag::IOPL | flag::VM), flag::IF, "round {round}");
        assert!(matches!(cs & 3, 1 | 3) && ss & 3 == cs & 3, "round {round}: {cs:#x} {ss:#x}");
        assert!((rip << 16) as i64 >> 16 == rip as i64, "round {round}: {rip:#x}");
        if round % 500 == 0 {
            assert!(world.hv.recount().is_empty(), "round {round}");
        }
    }
    assert!(world.hv.recount().is_empty());
}
