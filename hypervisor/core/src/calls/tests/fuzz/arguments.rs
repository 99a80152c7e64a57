//! Arguments that are nearly right.

use super::super::world::*;
use super::Fuzz;
use crate::addr::{ENTRIES, Mfn};
use crate::pagetable::Pte;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::DOMID_SELF;
use std::format;
use std::string::{String, ToString};
use std::vec::{IntoIter, Vec};

/// References that are lent.
const LENT: u64 = 8;

/// What is chosen next.
pub(in crate::calls::tests) enum Random {
    /// Xorshift (Marsaglia, 2003): plenty for choosing.
    #[cfg_attr(not(test), allow(dead_code))]
    Seeded(u64),
    /// A fuzzer's bytes, no more of them than a choice needs; zeros when they have run out.
    Bytes(IntoIter<u8>),
}

impl Random {
    pub fn next(&mut self) -> u64 {
        match self {
            Self::Seeded(state) => {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d)
            }
            Self::Bytes(_) => self.bytes(8),
        }
    }

    fn bytes(&mut self, count: usize) -> u64 {
        let Self::Bytes(input) = self else { return 0 };
        input.take(count).fold(0, |value, byte| value << 8 | u64::from(byte))
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Self::Bytes(input) if input.len() == 0)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        match (&self, end) {
            (Self::Seeded(_), _) => (self.next() >> 8) % end,
            (_, ..=0x100) => self.bytes(1) % end,
            (_, ..=0x1_0000) => self.bytes(2) % end,
            _ => self.next() % end,
        }
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

impl Fuzz {
    pub(super) fn frame(&mut self) -> Mfn {
        match self.random.below(16) {
            0..=3 => self.random.of(&self.frames.tables),
            4..=8 => self.random.of(&self.frames.spare),
            9..=13 => self.random.of(&self.frames.mapped),
            14 => self.random.of(&self.frames.foreign),
            _ => Mfn::new(self.random.of(&[0, 1, 3, u64::MAX >> 12, 1 << 40, u64::from(u32::MAX)])),
        }
    }

    pub(super) fn address(&mut self) -> u64 {
        match self.random.below(12) {
            0..=3 => LIST + self.random.below(TOP - LIST),
            4 => ARG,
            5 => self.random.of(&[READ_ONLY, HOLE, HOLE - 8, USER, KERNEL_SP, STACK, CODE, TOP - 8, TOP]),
            6 => self.random.of(&BAD),
            7 => self.random.of(&[0, 8, u64::MAX, u64::MAX - 7, (1 << 47) - 8, 0xffff_8800_0000_0000]),
            8 => HANDLER + self.random.below(64) * 16,
            // A page table as the kernel sees it.
            _ => {
                let shape = self.world.shape;
                shape.base() + self.random.below(shape.mapped) * 0x1000 + self.random.below(512) * 8
            }
        }
    }

    pub(super) fn entry(&mut self) -> u64 {
        if self.random.one_in(6) {
            return 0;
        }
        let flags = [Pte::P, Pte::RW, Pte::US, Pte::A, Pte::D, Pte::NX];
        let mut entry = self.frame().address();
        for flag in flags {
            entry |= if self.random.one_in(2) { flag } else { 0 };
        }
        entry | Pte::P | if self.random.one_in(12) { 1 << self.random.below(64) } else { 0 }
    }

    pub(super) fn place(&mut self) -> u64 {
        let frame = if self.random.one_in(4) { self.frame() } else { self.random.of(&self.frames.tables) };
        frame.address().wrapping_add(8 * self.random.below(ENTRIES as u64))
    }

    pub(super) fn value(&mut self) -> u64 {
        match self.random.below(10) {
            0..=2 => self.random.below(12),
            3 => self.frame().get(),
            4 => self.entry(),
            5 | 6 => self.address(),
            7 => self.random.of(&[0x7ff0, 0x7ff1, 0x7ff4, 1, 2, 9, 1 << 31, 0xffff_ffff, 1 << 32, 1 << 63]),
            8 => self.world.hv.machine.now.wrapping_add(self.random.below(1 << 24)).wrapping_sub(1 << 23),
            _ => self.random.next(),
        }
    }

    /// Writes as the guest's kernel can, or not.
    pub(super) fn put(&mut self, address: u64, value: u64) {
        let _ = self.world.hv.kernel_memory().map(|memory| memory.write_u64(address, value));
    }

    /// Fills the request at ARG with words of both sizes.
    pub(super) fn request(&mut self) {
        for word in 0..8 {
            let (low, high) = (self.value(), self.value());
            let value = if self.random.one_in(2) { low } else { low & 0xffff_ffff | high << 32 };
            self.put(ARG + 8 * word, value);
        }
    }

    pub(super) fn pointer(&mut self) -> u64 {
        if self.random.one_in(8) { self.address() } else { ARG }
    }

    /// The request of a `memory_op`.
    fn memory_request(&mut self, command: u64, domain: u64) {
        let extents = matches!(command, 0 | 1 | 6 | 11);
        if !extents {
            return self.put(ARG, domain);
        }
        // Extents of the domain's own, most often of one frame; for an exchange, of two sizes.
        let orders = self.random.of(&[[0, 0], [0, 0], [0, 1], [1, 0], [2, 0], [0, 3], [1, 9]]);
        let count = self.random.below(4) << orders[1];
        let flags = self.random.of(&[0, 0, 0, 0, 32, 20, 12, 1 << 16, 1 << 17 | 1 << 8]);
        let lists = [self.address(), self.address()];
        for (half, order) in orders.into_iter().enumerate() {
            let count = if half == 0 { count } else { count << orders[0] >> orders[1] };
            for (n, word) in [lists[half], count, order | flags << 32, domain].into_iter().enumerate() {
                self.put(ARG + 32 * half as u64 + 8 * n as u64, word);
            }
        }
        self.put(ARG + 64, 0);
        for n in 0..count.min(64) {
            let frame = self.random.of(&self.frames.spare).get();
            self.put(lists[0].wrapping_add(8 * n), frame);
        }
    }

    /// A call, its name, and its arguments.
    pub(super) fn call(&mut self) -> (u64, String, [u64; 6]) {
        let row = self.random.of(&ROWS.iter().collect::<Vec<_>>());
        let mut args = [0; 6].map(|_: u64| self.value());
        let mut name = row.name.to_string();
        self.request();
        if !row.sub_operations.is_empty() {
            let sub = self.random.of(&row.sub_operations.iter().collect::<Vec<_>>());
            args[0] = if self.random.one_in(30) { self.value() } else { sub.number };
            if row.number != HYPERVISOR_MMU_UPDATE && row.number != HYPERVISOR_MMUEXT_OP {
                name += &format!(" {}", sub.name);
            }
        }
        let domain = if self.random.one_in(10) { self.value() } else { 0x7ff0 };
        match row.number {
            HYPERVISOR_MMU_UPDATE => {
                let count = 1 + self.random.below(6);
                for n in 0..count {
                    let command = if self.random.one_in(10) { self.random.below(8) } else { 0 };
                    let (place, entry) = (self.place() | command, self.entry());
                    self.put(ARG + 16 * n, place);
                    self.put(ARG + 16 * n + 8, entry);
                }
                args = [self.pointer(), count, 0, domain, 0, 0];
            }
            HYPERVISOR_MMUEXT_OP => {
                let (command, frame, second) = (self.random.below(22), self.frame().get(), self.value());
                self.put(ARG, command);
                self.put(ARG + 8, frame);
                self.put(ARG + 16, second);
                args = [self.pointer(), 1, 0, domain, 0, 0];
            }
            HYPERVISOR_UPDATE_VA_MAPPING => {
                args = [self.address(), self.entry(), self.random.below(6), 0, 0, 0]
            }
            HYPERVISOR_SET_GDT => {
                for n in 0..3 {
                    let frame = self.frame().get();
                    self.put(ARG + 8 * n, frame);
                }
                args = [self.pointer(), self.random.below(1537), 0, 0, 0, 0];
            }
            HYPERVISOR_UPDATE_DESCRIPTOR => args[0] = self.place(),
            HYPERVISOR_SET_TRAP_TABLE | HYPERVISOR_MULTICALL => (args[0], args[1]) = (self.pointer(), 1),
            HYPERVISOR_EVENT_CHANNEL_OP if matches!(args[0], 11 | 12) => {
                // A control block or event words in a frame of its own; the vcpu is almost always 0.
                let (frame, offset) = (self.frame().get(), self.random.of(&[0, 64, 4024, 4, 4032]));
                let vcpu = u64::from(self.random.one_in(8));
                self.put(ARG, frame);
                self.put(ARG + 8, offset | vcpu << 32);
                args[1] = self.pointer();
            }
            HYPERVISOR_EVENT_CHANNEL_OP => {
                // Two domains in 16 bits each, or a number in 32; then ports and vcpus.
                let domains = if self.random.one_in(6) { self.value() } else { self.random.of(&[0x7ff0, 2]) };
                let second = self.random.of(&[0x7ff0, 1, 2]);
                let first =
                    if self.random.one_in(2) { domains | second << 16 } else { self.random.below(24) };
                let port = if self.random.one_in(2) { self.random.below(12) } else { 0 };
                self.put(ARG, first | port << 32);
                args[1] = self.pointer();
            }
            HYPERVISOR_MEMORY_OP => {
                self.memory_request(args[0], domain);
                args[1] = self.pointer();
            }
            HYPERVISOR_VCPU_OP => {
                if args[0] == 10 {
                    let frame = self.frame().get();
                    self.put(ARG, frame);
                    let offset = 64 * self.random.below(65);
                    self.put(ARG + 8, offset);
                }
                args[1] = if self.random.one_in(8) { self.value() } else { 0 };
                args[2] = self.pointer();
            }
            HYPERVISOR_GRANT_TABLE_OP => {
                self.grant_request(args[0]);
                (args[1], args[2]) = (self.pointer(), 1 + u64::from(self.random.one_in(8)));
            }
            HYPERVISOR_CONSOLE_IO => (args[1], args[2]) = (self.random.below(600), self.address()),
            HYPERVISOR_STACK_SWITCH | HYPERVISOR_SET_CALLBACKS if !self.random.one_in(4) => {
                args = [EVENT_HANDLER, KERNEL_SP, HANDLER, 0, 0, 0];
            }
            HYPERVISOR_XEN_VERSION
            | HYPERVISOR_SCHED_OP
            | HYPERVISOR_CALLBACK_OP
            | HYPERVISOR_PHYSDEV_OP
            | HYPERVISOR_RING1_OP => args[1] = self.pointer(),
            _ => {}
        }
        if row.number == HYPERVISOR_MULTICALL {
            let inner = self.random.of(&ROWS.iter().collect::<Vec<_>>()).number;
            self.put(ARG, inner);
        }
        (row.number, name, args)
    }

    /// What may be a request to map or unmap, of few references and places, so that requests meet.
    fn grant_request(&mut self, operation: u64) {
        let page = LIST + 0x1000 * self.random.below(16);
        let domain = self.random.of(&[1, 2, 3, DOMID_SELF.into()]);
        let flags = self.random.of(&[2, 2, 6, 6, 0x12, 3]);
        let place = if flags & 0x10 != 0 { self.place() } else { page };
        let words = match operation {
            0 => [place, flags | self.random.below(LENT) << 32, domain],
            1 => [page, 0, self.random.below(4)],
            7 => [page, LIST + 0x1000 * self.random.below(16), self.random.below(4)],
            8 => [1 + self.random.below(2), 0, 0],
            _ => return,
        };
        for (n, word) in words.into_iter().enumerate() {
            self.put(ARG + 8 * n as u64, word);
        }
    }

    /// Writes an entry of the domain's grant table, as it does without asking.
    pub(super) fn lend(&mut self) {
        let reference = self.random.below(LENT) as usize;
        let to = self.random.of(&[1, 2, 3]);
        let (flags, frame) = (self.random.of(&[1, 1, 5, 2, 0]), self.frame().get());
        let grants = &self.world.domain().grants;
        let Some(table) = grants.shared().first() else { return };
        let (header, words) = (flags | to << 16, grants.version() as usize);
        let whole = if words == 1 { header | frame << 32 } else { header };
        let fake = &self.world.hv.machine.fake;
        fake.poke(*table, reference * words, whole);
        if words == 2 {
            fake.poke(*table, reference * words + 1, frame);
        }
    }
}
