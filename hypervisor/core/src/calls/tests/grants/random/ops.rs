//! What the domains do.

use super::*;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::*;

/// What a domain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Lend,
    Scribble,
    Map,
    Unmap,
    Replace,
    Copy,
    Transfer,
    Flush,
    Swap,
    SetVersion,
    Grow,
    MapOwn,
    CopyEntry,
    Hook,
    Unhook,
    Pin,
    Unpin,
    Decrease,
    Increase,
}

impl Kind {
    pub const ALL: &[Self] = &[
        Self::Lend,
        Self::Scribble,
        Self::Map,
        Self::Unmap,
        Self::Replace,
        Self::Copy,
        Self::Transfer,
        Self::Flush,
        Self::Swap,
        Self::SetVersion,
        Self::Grow,
        Self::MapOwn,
        Self::CopyEntry,
        Self::Hook,
        Self::Unhook,
        Self::Pin,
        Self::Unpin,
        Self::Decrease,
        Self::Increase,
    ];

    /// Lending, mapping and unmapping most of the time.
    pub fn choose(random: &mut Random) -> Self {
        match random.below(24) {
            0..=3 => Self::Lend,
            4..=9 => Self::Map,
            10..=12 => Self::Unmap,
            13 | 14 => Self::Copy,
            15 => Self::Transfer,
            16 => Self::Replace,
            _ => match random.of(Self::ALL) {
                // They end much else.
                Self::SetVersion | Self::Scribble if !random.one_in(4) => Self::Map,
                kind => kind,
            },
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Done,
    Status(i16),
    Error(Errno),
}

impl Outcome {
    fn of_status(status: i16) -> Self {
        if status == GNTST_OKAY { Self::Done } else { Self::Status(status) }
    }

    fn of_answer(answer: i64) -> Self {
        match Errno::from_code(-answer as i32) {
            Some(error) if answer < 0 => Self::Error(error),
            _ => Self::Done,
        }
    }
}

impl Play {
    pub fn perform(&mut self, kind: Kind, domain: usize) -> Outcome {
        match kind {
            Kind::Lend => self.lend(domain),
            Kind::Scribble => self.scribble(domain),
            Kind::Map => self.map(domain),
            Kind::Unmap => self.unmap(domain),
            Kind::Replace => self.replace(domain),
            Kind::Copy => self.copy(domain),
            Kind::Transfer => self.transfer(domain),
            Kind::Flush => self.flush(domain),
            Kind::Swap => {
                let (ref_a, ref_b) = (self.reference(), self.reference());
                let request = GnttabSwapGrantRef { ref_a, ref_b, ..Default::default() };
                Outcome::of_status(self.lending.one(GNTTABOP_SWAP_GRANT_REF, &request).status)
            }
            Kind::SetVersion => {
                let version = 1 + self.random.below(2) as u32;
                self.lending.world.put(ARG, &GnttabSetVersion { version });
                Outcome::of_answer(self.lending.op(GNTTABOP_SET_VERSION, 1))
            }
            Kind::Grow => {
                let (dom, nr_frames) = (self.dom(), self.random.below(4) as u32);
                let request = GnttabSetupTable { dom, nr_frames, frame_list: LIST, ..Default::default() };
                Outcome::of_status(self.lending.one(GNTTABOP_SETUP_TABLE, &request).status)
            }
            Kind::MapOwn => self.map_own(domain),
            Kind::CopyEntry => {
                let (from, to) = (self.window(), self.window());
                let place = self.place(from).unwrap_or(0);
                let entry =
                    self.lending.world.hv.machine.read_word(Mfn::containing(place), place as usize / 8 % 512);
                let entry = entry ^ self.random.of(&[0, Pte::RW, Pte::US, Pte::NX | 1 << 9]);
                let args = [to, entry, 0];
                Outcome::of_answer(self.lending.world.call(HYPERVISOR_UPDATE_VA_MAPPING, &args))
            }
            Kind::Hook => self.hook(domain, self.loose[domain].address() | Pte::P | Pte::RW | Pte::US),
            Kind::Unhook => self.hook(domain, 0),
            Kind::Pin => {
                let frame = if self.random.one_in(2) { self.toy() } else { self.loose[domain] };
                self.pin(MMUEXT_PIN_L1_TABLE, frame)
            }
            Kind::Unpin => {
                let frame = if self.random.one_in(2) { self.toy() } else { self.loose[domain] };
                self.pin(MMUEXT_UNPIN_TABLE, frame)
            }
            Kind::Decrease => self.decrease(),
            Kind::Increase => self.increase(domain),
        }
    }

    fn toy(&mut self) -> Mfn {
        self.random.of(&self.toys)
    }

    /// One of a domain's, mostly.
    fn own_toy(&mut self, domain: usize) -> Mfn {
        let frames = &self.lending.world.hv.frames;
        let id = DomainId(domain as u16 + 1);
        let own: Vec<Mfn> =
            self.toys.iter().copied().filter(|frame| frames.is_owned_by(*frame, id)).collect();
        if own.is_empty() || self.random.one_in(12) { self.toy() } else { self.random.of(&own) }
    }

    fn reference(&mut self) -> u32 {
        match self.random.below(24) {
            0 => self.random.of(&[255, 256, 511, 512, 600, u32::MAX]),
            _ => self.random.below(12) as u32,
        }
    }

    /// A domain, mostly one of the three.
    fn dom(&mut self) -> u16 {
        match self.random.below(16) {
            0 => self.random.of(&[0, 4, DOMID_SELF]),
            _ => 1 + self.random.below(3) as u16,
        }
    }

    /// An entry that lends to a domain, if there is one and chance does not want another: granter and reference.
    fn lent_to(&mut self, domain: usize, kinds: &[u16]) -> (u16, u32) {
        let mut found = Vec::new();
        for (index, granter) in
            self.lending.world.hv.domains.iter().enumerate().filter(|(_, one)| !one.grants.dying())
        {
            for reference in 0..12 {
                let (frame, word) = self.lending.place(index, reference);
                let header = self.lending.world.hv.machine.read_word(frame, word);
                let (flags, to) = (header as u16, (header >> 16) as u16);
                if to == domain as u16 + 1 && kinds.contains(&(flags & (GTF_TYPE_MASK | GTF_SUB_PAGE))) {
                    found.push((granter.id.0, reference));
                }
            }
        }
        if found.is_empty() || self.random.one_in(5) {
            (self.dom(), self.reference())
        } else {
            self.random.of(&found)
        }
    }

    /// An address to map at.
    fn window(&mut self) -> u64 {
        let page = 0x1000 * self.random.below(PAGES);
        match self.random.below(8) {
            0 | 1 => LOOSE + page,
            2 if self.random.one_in(4) => self.random.of(&[NO_TABLE, 0xffff_8000_0000_0000, u64::MAX]),
            _ => WINDOW + page,
        }
    }

    /// The machine address of an address's L1 entry.
    fn place(&self, address: u64) -> Option<u64> {
        let slot = self.lending.world.memory().leaf_slot(address)?;
        Some(slot.table.address() + 8 * slot.index as u64)
    }

    fn entry_flags(&mut self) -> u16 {
        match self.random.below(12) {
            0..=6 => GTF_PERMIT_ACCESS,
            7 => GTF_PERMIT_ACCESS | GTF_READONLY,
            8 => GTF_ACCEPT_TRANSFER,
            9 => GTF_TRANSITIVE,
            10 => GTF_PERMIT_ACCESS | GTF_SUB_PAGE,
            _ => GTF_INVALID,
        }
    }

    /// Writes an entry as a guest may, not looking whether it is in use.
    fn lend(&mut self, domain: usize) -> Outcome {
        let (reference, flags, dom) = (self.reference(), self.entry_flags(), self.dom());
        let index = self.lending.world.hv.current_domain();
        if reference >= self.lending.grants(index).entries() {
            return Outcome::Status(GNTST_BAD_GNTREF);
        }
        let (mut frame, mut upper) = (self.own_toy(domain).get(), 0);
        match self.random.below(12) {
            0 => frame = self.toy().get(),
            1 => frame = self.loose[domain].get(),
            2 => frame = self.lending.grants(index).shared()[0].get(),
            3 => frame = self.random.of(&[0, u64::MAX, 1 << 40]),
            _ => {}
        }
        if flags == GTF_TRANSITIVE {
            (upper, frame) = (self.dom().into(), self.reference().into());
        } else if flags & GTF_SUB_PAGE != 0 {
            upper = self.random.below(4096) as u32 | (self.random.below(4097) as u32) << 16;
        }
        self.lending.write(index, reference, (flags, dom), upper, frame);
        Outcome::Done
    }

    /// Writes anything anywhere into the frames of the table.
    fn scribble(&mut self, _: usize) -> Outcome {
        let index = self.lending.world.hv.current_domain();
        let grants = self.lending.grants(index);
        let frames: Vec<Mfn> = grants.shared().iter().chain(grants.status()).copied().collect();
        for _ in 0..3 {
            let (frame, word, value) = (self.random.of(&frames), self.random.below(24), self.random.next());
            self.lending.world.hv.machine.fake.poke(frame, word as usize, value);
        }
        Outcome::Done
    }

    fn map(&mut self, domain: usize) -> Outcome {
        let ((dom, reference), mut address) = (self.lent_to(domain, &[GTF_PERMIT_ACCESS]), self.window());
        let mut flags =
            self.random.of(&[HOST, HOST, HOST | READ, HOST | READ, DEVICE, DEVICE | READ, HOST | DEVICE, 0]);
        if flags & HOST != 0 && self.random.one_in(5) {
            flags |= GNTMAP_CONTAINS_PTE;
            address = self.place(address).unwrap_or(address & 0xffff_ffff) ^ self.random.of(&[0, 0, 0, 4]);
        }
        flags |= self.random.of(&[0, GNTMAP_APPLICATION_MAP, 0x5_0000]);
        let request = GnttabMapGrantRef { host_addr: address, flags, reference, dom, ..Default::default() };
        let done = self.lending.one(GNTTABOP_MAP_GRANT_REF, &request);
        if done.status == GNTST_OKAY {
            let frame = Mfn::containing(done.dev_bus_addr);
            self.made[domain].push(Made { handle: done.handle, address, frame, dom, reference });
        }
        Outcome::of_status(done.status)
    }

    /// A mapping that was made, mostly, and whether it is one whose domain is gone: then nothing is done.
    fn pick(&mut self, domain: usize) -> Option<Made> {
        if self.made[domain].is_empty() || self.random.one_in(10) {
            let handle = self.random.below(40) as u32;
            let dom = self
                .lending
                .world
                .hv
                .domain()
                .grants
                .mapping(&self.lending.world.hv.machine, handle)?
                .domain
                .0;
            return Some(Made { handle, address: self.window(), frame: self.toy(), dom, reference: 0 });
        }
        let at = self.random.below(self.made[domain].len() as u64) as usize;
        let mut made = self.made[domain][at];
        if self.random.one_in(6) {
            made.address = self.window();
        }
        if self.random.one_in(10) {
            made.frame = self.toy();
        }
        Some(made)
    }

    /// Whether a domain is still there: unmapping what a domain that is gone lent ends the caller.
    fn is_there(&self, dom: u16) -> bool {
        self.lending.world.hv.domain_index(DomainId(dom)).is_some()
    }

    fn unmap(&mut self, domain: usize) -> Outcome {
        let Some(made) = self.pick(domain).filter(|made| self.is_there(made.dom)) else {
            let request = GnttabUnmapGrantRef { handle: 9999, host_addr: WINDOW, ..Default::default() };
            return Outcome::of_status(self.lending.one(GNTTABOP_UNMAP_GRANT_REF, &request).status);
        };
        let host_addr = self.random.of(&[made.address, made.address, 0]);
        let dev_bus_addr = self.random.of(&[made.frame.address(), 0]);
        let request =
            GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle: made.handle, ..Default::default() };
        let status = self.lending.one(GNTTABOP_UNMAP_GRANT_REF, &request).status;
        self.forget(domain);
        Outcome::of_status(status)
    }

    fn replace(&mut self, domain: usize) -> Outcome {
        let Some(made) = self.pick(domain).filter(|made| self.is_there(made.dom)) else {
            return Outcome::Status(GNTST_BAD_HANDLE);
        };
        let new_addr = if self.random.one_in(4) { 0 } else { self.window() };
        let (host_addr, handle) = (made.address, made.handle);
        let request = GnttabUnmapAndReplace { host_addr, new_addr, handle, ..Default::default() };
        let status = self.lending.one(GNTTABOP_UNMAP_AND_REPLACE, &request).status;
        self.forget(domain);
        Outcome::of_status(status)
    }

    /// Forgets mappings that are none any more.
    fn forget(&mut self, domain: usize) {
        let hv = &self.lending.world.hv;
        let index = hv.current_domain();
        self.made[domain].retain(|made| {
            let mapping = hv.domains[index].grants.mapping(&hv.machine, made.handle);
            mapping.is_some_and(|mapping| (mapping.domain.0, mapping.reference) == (made.dom, made.reference))
        });
    }

    fn copy(&mut self, domain: usize) -> Outcome {
        let kinds = [GTF_PERMIT_ACCESS, GTF_PERMIT_ACCESS | GTF_SUB_PAGE, GTF_TRANSITIVE];
        let flags = self.random.below(4) as u16;
        let mut side = |by_reference: bool| {
            let offset = self.random.of(&[0, 0, 0, 0, 100, 4095, 4096]);
            if by_reference {
                let (domid, reference) = self.lent_to(domain, &kinds);
                return GnttabCopyPtr { u: reference.into(), domid, offset, pad: 0 };
            }
            let domid = if self.random.one_in(20) { 1 } else { DOMID_SELF };
            GnttabCopyPtr { u: self.own_toy(domain).get(), domid, offset, pad: 0 }
        };
        let (source, dest) = (side(flags & GNTCOPY_SOURCE_GREF != 0), side(flags & GNTCOPY_DEST_GREF != 0));
        let len = self.random.of(&[0, 1, 64, 64, 64, 4096]);
        let request = GnttabCopy { source, dest, len, flags, ..Default::default() };
        Outcome::of_status(self.lending.one(GNTTABOP_COPY, &request).status)
    }

    fn transfer(&mut self, domain: usize) -> Outcome {
        let mfn = self.own_toy(domain).get();
        let (domid, reference) = self.lent_to(domain, &[GTF_ACCEPT_TRANSFER]);
        let request = GnttabTransfer { mfn, domid, reference, ..Default::default() };
        Outcome::of_status(self.lending.one(GNTTABOP_TRANSFER, &request).status)
    }

    fn flush(&mut self, _: usize) -> Outcome {
        let (a, op) = (self.toy().address(), self.random.of(&[1, 2, 3]));
        self.lending.world.put(ARG, &GnttabCacheFlush { a, offset: 0, length: 64, op });
        Outcome::of_answer(self.lending.op(GNTTABOP_CACHE_FLUSH, 1))
    }

    /// Maps a frame, or nothing, the ordinary way.
    fn map_own(&mut self, domain: usize) -> Outcome {
        let (address, frame) = (self.window(), self.own_toy(domain));
        let flags = self.random.of(&[Pte::P | Pte::RW, Pte::P, 0]);
        let args = [address, if flags == 0 { 0 } else { Pte::new(frame, flags).0 }, 0];
        Outcome::of_answer(self.lending.world.call(HYPERVISOR_UPDATE_VA_MAPPING, &args))
    }

    /// Puts the loose table into the tree, or takes it out.
    fn hook(&mut self, _: usize, entry: u64) -> Outcome {
        let (l2, index) = self.lending.world.entry(LOOSE, Level::L2);
        Outcome::of_answer(self.lending.update(l2.address() + 8 * index as u64, entry))
    }

    fn pin(&mut self, cmd: u32, frame: Mfn) -> Outcome {
        self.lending.world.put(ARG, &MmuextOp { cmd, pad: 0, arg1: frame.get(), arg2: 0 });
        let args = [ARG, 1, 0, DOMID_SELF.into()];
        Outcome::of_answer(self.lending.world.call(HYPERVISOR_MMUEXT_OP, &args))
    }

    fn decrease(&mut self) -> Outcome {
        let frame = self.toy();
        let id = self.lending.world.domain().id;
        let hv = &mut self.lending.world.hv;
        if hv.frames.release_allocation(&hv.machine, frame, id) {
            Outcome::Done
        } else {
            Outcome::Error(Errno::EINVAL)
        }
    }

    /// Takes a frame for one of the domain's toys that is gone.
    fn increase(&mut self, domain: usize) -> Outcome {
        let id = DomainId(domain as u16 + 1);
        let hv = &mut self.lending.world.hv;
        let Ok(frame) = hv.frames.alloc_domain(&hv.machine, id) else { return Outcome::Error(Errno::ENOMEM) };
        let gone = |frame: &Mfn| !(0..3).any(|n| hv.frames.is_owned_by(*frame, DomainId(n + 1)));
        match self.toys.iter().position(gone) {
            Some(at) => self.toys[at] = frame,
            None => self.toys.push(frame),
        }
        Outcome::Done
    }
}
