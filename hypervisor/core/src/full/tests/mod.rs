mod control;
mod deliver;
mod leave;
mod memory_operands;
mod patch;
mod property;
mod segments;

use super::*;
use crate::addr::PAGE_SIZE;
use crate::cpuid::CpuidLeaf;
use crate::descriptor::{Gate, RING1_CS64, RING1_SS};
use crate::emulate::{Mode, flag};
use paravane_abi::regs::CpuUserRegs;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

const GDT: u64 = 0xffff_8800_0000_1000;
const IDT: u64 = 0xffff_8800_0000_2000;
const TSS: u64 = 0xffff_8800_0000_3000;
const STACK: u64 = 0xffff_8800_0000_5000;
const CODE: u64 = 0xffff_8800_0000_6000;
const HANDLERS: u64 = 0xffff_8800_0000_7000;
const USER_PAGE: u64 = 0x40_0000;
const KERNEL_CS: u16 = 0x08;
const KERNEL_DS: u16 = 0x10;
const USER_DS: u16 = 0x1b;
const USER_CS: u16 = 0x23;
const TSS_SEL: u16 = 0x28;

const FLAT: u64 = 0x000f_0000_0000_ffff | 1 << 55;
const CODE_64: u64 = FLAT | 0x9a << 40 | 1 << 53;
const DATA: u64 = FLAT | 0x92 << 40 | 1 << 54;
const DPL_3: u64 = 3 << 45;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    user: bool,
    writable: bool,
    bytes: [u8; PAGE_SIZE],
}

/// Pages by address; everything else is not present.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Memory(BTreeMap<u64, Page>);

impl Memory {
    fn map(&mut self, address: u64, user: bool, writable: bool) {
        self.0.insert(address & !0xfff, Page { user, writable, bytes: [0; PAGE_SIZE] });
    }

    fn check(&self, address: u64, write: bool, fetch: bool, privilege: Privilege) -> Result<(), PageFault> {
        let as_user = privilege == Privilege::User;
        let code = (write as u32) << 1 | (as_user as u32) << 2 | (fetch as u32) << 4;
        match self.0.get(&(address & !0xfff)) {
            None => Err(PageFault { address, code }),
            Some(page) if (as_user && !page.user) || (write && !page.writable) => {
                Err(PageFault { address, code: code | 1 })
            }
            Some(_) => Ok(()),
        }
    }

    fn byte(&mut self, address: u64) -> &mut u8 {
        &mut self.0.get_mut(&(address & !0xfff)).unwrap().bytes[(address & 0xfff) as usize]
    }

    fn poke(&mut self, address: u64, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            *self.byte(address + n as u64) = *byte;
        }
    }

    fn poke_word(&mut self, address: u64, word: u64) {
        self.poke(address, &word.to_le_bytes());
    }

    fn word(&mut self, address: u64) -> u64 {
        self.number_at(address, 8)
    }

    fn number_at(&mut self, address: u64, width: u64) -> u64 {
        (0..width).fold(0, |all, n| all | (*self.byte(address + n) as u64) << (8 * n))
    }
}

impl GuestLinear for Memory {
    fn read(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<(), PageFault> {
        for n in 0..bytes.len() as u64 {
            self.check(address + n, false, false, privilege)?;
        }
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = *self.byte(address + n as u64);
        }
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8], privilege: Privilege) -> Result<(), PageFault> {
        self.writable(address, bytes.len(), privilege)?;
        self.poke(address, bytes);
        Ok(())
    }

    fn writable(&mut self, address: u64, length: usize, privilege: Privilege) -> Result<(), PageFault> {
        (0..length as u64).try_for_each(|n| self.check(address + n, true, false, privilege))
    }

    fn fetch(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<usize, PageFault> {
        self.check(address, false, true, privilege)?;
        let mut fetched = 0;
        for (n, byte) in bytes.iter_mut().enumerate() {
            let Some(at) = address.checked_add(n as u64) else { break };
            if self.check(at, false, true, privilege).is_err() {
                break;
            }
            *byte = *self.byte(at);
            fetched += 1;
        }
        Ok(fetched)
    }
}

/// The real table's part that is the guest's, as much of it as a test needs.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Real(Vec<u64>);

impl RealGdt for Real {
    fn get(&self, index: u16) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, index: u16, raw: u64) {
        if let Some(entry) = self.0.get_mut(index as usize) {
            *entry = raw;
        }
    }
}

/// A guest laid out as pv-guest's native half lays itself out.
#[derive(Clone, PartialEq, Eq, Debug)]
struct World {
    cpu: FullCpu,
    regs: CpuUserRegs,
    mem: Memory,
    gdt: GdtCopy,
    real: Real,
    patches: PatchTable,
}

const TSC_NOW: u64 = 0x1111_2222_3333_4444;

struct Fake;

impl Host for Fake {
    fn tsc(&self) -> u64 {
        TSC_NOW
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        CpuidLeaf { eax: leaf + 1, ebx: subleaf + 2, ecx: 3, edx: 4 }
    }
}

/// Where the handler of a vector is.
fn handler(vector: u8) -> u64 {
    HANDLERS + vector as u64 * 16
}

impl World {
    fn kernel() -> World {
        let mut mem = Memory::default();
        for page in [GDT, IDT, TSS, STACK - 0x1000, STACK, CODE, HANDLERS] {
            mem.map(page, false, true);
        }
        mem.map(USER_PAGE, true, true);
        let tss = crate::descriptor::tss_descriptor(TSS, 0x67);
        let entries = [0, CODE_64, DATA, DATA | DPL_3, CODE_64 | DPL_3, tss[0] | 0x200 << 32, tss[1]];
        for (n, entry) in entries.into_iter().enumerate() {
            mem.poke_word(GDT + n as u64 * 8, entry);
        }
        mem.poke_word(TSS + 4, STACK + 0x800);
        mem.poke_word(TSS + 0x24, STACK + 0x400);
        mem.poke(TSS + 0x66, &[0x68, 0]);
        let (mut cpu, mut regs) = FullCpu::start(Model::default(), 0x1000, CODE, 0x9000);
        cpu.gdtr = TableRegister { base: GDT, limit: 0x37 };
        cpu.idtr = TableRegister { base: IDT, limit: 0xfff };
        cpu.tr = SystemRegister { selector: TSS_SEL, base: TSS, limit: 0x67 };
        cpu.ss = KERNEL_DS;
        cpu.efer |= efer::SCE | efer::NXE;
        cpu.star = 0x0013_0008 << 32;
        cpu.lstar = HANDLERS + 0xff8;
        cpu.interrupts = true;
        regs.cs = KERNEL_CS | 1;
        regs.ss = KERNEL_DS | 1;
        regs.rsp = STACK + 0x208;
        let mut world = World {
            cpu,
            regs,
            mem,
            gdt: GdtCopy::default(),
            real: Real(vec![0; 0x240]),
            patches: PatchTable::new(),
        };
        for vector in 0..=255 {
            let dpl = if vector == 3 || vector == 0x80 { 3 } else { 0 };
            world.gate(vector, Gate::interrupt(handler(vector), KERNEL_CS, dpl, 0));
        }
        world.gdt.load(&world.cpu, &mut world.mem, &mut world.real);
        world
    }

    fn user() -> World {
        let mut world = World::kernel();
        world.cpu.mode = Mode::User;
        world.cpu.cs.selector = USER_CS;
        world.cpu.ss = USER_DS;
        world.regs.cs = USER_CS;
        world.regs.ss = USER_DS;
        world.regs.rip = USER_PAGE;
        world.regs.rsp = USER_PAGE + 0x800;
        world.gdt.set_user_code(&mut world.real, true);
        world
    }

    fn gate(&mut self, vector: u8, gate: Gate) {
        self.mem.poke_word(IDT + vector as u64 * 16, gate.0[0]);
        self.mem.poke_word(IDT + vector as u64 * 16 + 8, gate.0[1]);
    }

    fn deliver(&mut self, event: Event) -> Delivery {
        deliver(&mut self.cpu, &mut self.regs, &mut self.mem, event)
    }

    fn processor(&mut self) -> Processor<'_, Memory, Real, Fake> {
        Processor {
            cpu: &mut self.cpu,
            regs: &mut self.regs,
            mem: &mut self.mem,
            gdt: &mut self.gdt,
            real: &mut self.real,
            host: &Fake,
            patches: &self.patches,
        }
    }

    /// What the real processor does with an instruction at RIP: it raises this.
    fn trap(&mut self, bytes: &[u8], vector: u8, error_code: u32) -> Outcome {
        let rip = self.regs.rip;
        self.mem.poke(rip, bytes);
        self.processor().exception(Trap { vector, error_code, address: 0, conditions: 0 })
    }

    /// A privileged instruction in ring 1 or 3: #GP(0).
    fn run(&mut self, bytes: &[u8]) -> Outcome {
        self.trap(bytes, 13, 0)
    }

    fn resume(&mut self) -> Entry {
        self.processor().resume(|| None)
    }

    /// Asserts that an instruction was refused with this exception, and with nothing else changed.
    fn refuses(&self, bytes: &[u8], vector: u8, error_code: Option<u32>) {
        let mut world = self.clone();
        let rip = world.regs.rip;
        let outcome = world.run(bytes);
        let mut wanted = self.clone();
        wanted.mem.poke(rip, bytes);
        let fault = crate::emulate::Fault { vector, error_code, address: None };
        assert_eq!(wanted.deliver(Event::exception(fault)), Delivery::Entered);
        assert_eq!((outcome, world.entered()), (Outcome::Resume, vector), "{bytes:x?}");
        assert_eq!(world, wanted, "{bytes:x?}");
    }

    /// Runs an instruction that completes, and returns what it asks for.
    fn effect(&mut self, bytes: &[u8]) -> Effect {
        let rip = self.regs.rip;
        let effect = match self.run(bytes) {
            Outcome::Resume => Effect::None,
            Outcome::Do(effect) => effect,
            other => panic!("{bytes:x?}: {other:?}"),
        };
        assert_eq!(self.regs.rip, rip + bytes.len() as u64, "{bytes:x?} was refused");
        effect
    }

    /// The vector whose handler was entered, by where RIP is.
    fn entered(&self) -> u8 {
        assert_eq!(self.regs.rip & !0xfff, HANDLERS, "rip {:#x}", self.regs.rip);
        ((self.regs.rip - HANDLERS) / 16) as u8
    }

    /// The words on the stack, upwards from RSP.
    fn frame<const N: usize>(&mut self) -> [u64; N] {
        let rsp = self.regs.rsp;
        core::array::from_fn(|n| self.mem.word(rsp + n as u64 * 8))
    }
}
