//! grant_table_op: every operation, every refusal with its code, and what a refusal leaves.

mod cache;
mod copy;
mod death;
mod map;
mod random;
mod refusals;
mod table;
mod transfer;
mod unmap;

use crate::addr::{Level, Mfn};
use crate::calls::tests::world::{ARG, LIST, World};
use crate::frame::Owner;
use crate::grant::{GrantTable, Version};
use crate::memory::Memory;
use crate::pagetable::Pte;
use paravane_abi::grant::*;
use paravane_abi::hypercall::HYPERVISOR_GRANT_TABLE_OP;
use std::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where grants are mapped: pages of the domain's own until then.
pub(super) const WINDOW: u64 = LIST + 0x2_0000;
/// An address without an L1 table.
pub(super) const NO_TABLE: u64 = 0x7000_0000_0000;

pub(super) const HOST: u32 = GNTMAP_HOST_MAP;
pub(super) const DEVICE: u32 = GNTMAP_DEVICE_MAP;
pub(super) const READ: u32 = GNTMAP_READONLY;

/// Three domains, 1 to 3. The first lends, the second asks.
pub(super) struct Lending {
    pub world: World,
}

/// Each frame's owner, references and uses; the words of the first domain's tables; live mappings of each domain.
type Books = (Vec<(Owner, u32, u32)>, Vec<u64>, Vec<u32>);

impl Lending {
    pub fn new(version: u32) -> Self {
        let mut lending = Self { world: World::with_spare_frames(3, 48) };
        for domain in 0..3 {
            lending.world.act_as(domain);
            lending.set_version(version);
        }
        lending.world.act_as(1);
        lending
    }

    pub fn set_version(&mut self, version: u32) {
        self.world.put(ARG, &GnttabSetVersion { version });
        assert_eq!(self.op(GNTTABOP_SET_VERSION, 1), 0);
    }

    pub fn op(&mut self, command: u32, count: u64) -> i64 {
        self.world.call(HYPERVISOR_GRANT_TABLE_OP, &[command.into(), ARG, count])
    }

    /// One element of a list, as it is after the call.
    pub fn one<T: IntoBytes + Immutable + FromBytes>(&mut self, command: u32, request: &T) -> T {
        self.world.put(ARG, request);
        assert_eq!(self.op(command, 1), 0);
        self.world.get(ARG)
    }

    pub fn grants(&self, domain: usize) -> &GrantTable {
        &self.world.hv.domains[domain].grants
    }

    /// The frame and the word of an entry of a domain's table.
    fn place(&self, domain: usize, reference: u32) -> (Mfn, usize) {
        let table = self.grants(domain);
        let words = table.version() as usize;
        let per_frame = 512 / words;
        (table.shared()[reference as usize / per_frame], reference as usize % per_frame * words)
    }

    /// The domain writes an entry, as it does without asking: header, the word's upper half, the frame.
    pub fn write(&self, domain: usize, reference: u32, (flags, to): (u16, u16), upper: u32, frame: u64) {
        let (place, index) = self.place(domain, reference);
        let header = u64::from(flags) | u64::from(to) << 16;
        let fake = &self.world.hv.machine.fake;
        match self.grants(domain).version() {
            Version::V1 => fake.poke(place, index, header | frame << 32),
            Version::V2 => {
                fake.poke(place, index, header | u64::from(upper) << 32);
                fake.poke(place, index + 1, frame);
            }
        }
    }

    /// The first domain lends one of its frames to the second.
    pub fn lend(&self, reference: u32, flags: u16, frame: Mfn) {
        self.write(0, reference, (GTF_PERMIT_ACCESS | flags, 2), 0, frame.get());
    }

    /// The hypervisor's flags of an entry.
    pub fn marks(&self, domain: usize, reference: u32) -> u16 {
        let read = |frame, index| self.world.hv.machine.read_word(frame, index);
        match self.grants(domain).version() {
            Version::V1 => {
                let (place, index) = self.place(domain, reference);
                read(place, index) as u16 & (GTF_READING | GTF_WRITING)
            }
            Version::V2 => {
                let status = self.grants(domain).status()[0];
                (read(status, reference as usize / 4) >> (reference % 4 * 16)) as u16
            }
        }
    }

    /// A frame of a domain's memory: one of those past the initial mapping, that only its allocation holds.
    pub fn frame(&mut self, domain: usize, number: u64) -> Mfn {
        let running = self.world.hv.current_domain();
        self.world.act_as(domain);
        let frame = self.world.frame(1030 + number);
        self.world.act_as(running);
        frame
    }

    /// The running domain maps an entry of the first's.
    pub fn map(&mut self, flags: u32, reference: u32, host_addr: u64) -> GnttabMapGrantRef {
        let (status, handle) = (99, u32::MAX);
        let request =
            GnttabMapGrantRef { host_addr, flags, reference, dom: 1, status, handle, dev_bus_addr: 7 };
        self.one(GNTTABOP_MAP_GRANT_REF, &request)
    }

    /// As [`Self::map`], which succeeds; the handle.
    pub fn mapped(&mut self, flags: u32, reference: u32, host_addr: u64) -> u32 {
        let done = self.map(flags, reference, host_addr);
        assert_eq!(done.status, GNTST_OKAY, "{done:x?}");
        self.check();
        done.handle
    }

    pub fn unmap(&mut self, handle: u32, host_addr: u64, dev_bus_addr: u64) -> i16 {
        let request = GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, status: 99, pad: 0 };
        let status = self.one(GNTTABOP_UNMAP_GRANT_REF, &request).status;
        self.check();
        status
    }

    /// The L1 entry of an address.
    pub fn entry(&self, address: u64) -> Pte {
        let (table, index) = self.world.entry(address, Level::L1);
        Pte(self.world.hv.machine.read_word(table, index))
    }

    /// The machine address of the L1 entry of an address.
    pub fn entry_address(&self, address: u64) -> u64 {
        let (table, index) = self.world.entry(address, Level::L1);
        table.address() + 8 * index as u64
    }

    /// References and writable uses of a frame.
    pub fn counts(&self, frame: Mfn) -> (u32, u32) {
        let info = self.world.hv.frames.info(frame).unwrap();
        (info.refs(), info.type_count())
    }

    /// All counts of all frames, the tables of the first domain, and the marks of mappings.
    pub fn snapshot(&self) -> Books {
        let frames = &self.world.hv.frames;
        let infos = (0..frames.len() as u64).filter_map(|frame| frames.info(Mfn::new(frame)));
        let counts = infos.map(|info| (info.owner(), info.refs(), info.type_count())).collect();
        let shared = self.grants(0).shared().iter().chain(self.grants(0).status());
        let words = shared.flat_map(|frame| (0..512).map(|n| self.world.hv.machine.read_word(*frame, n)));
        let mappings = (0..3).map(|domain| self.grants(domain).mappings()).collect();
        (counts, words.collect(), mappings)
    }

    /// All counts agree.
    pub fn check(&self) {
        self.world.audit();
    }
}
