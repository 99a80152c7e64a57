//! The operations: what a guest can do, with arguments that are right often enough to get somewhere.

use crate::random::Random;
use crate::tally::End;
use crate::world::{FRAMES, SLOTS, World};
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::mmuext_op::MmuextCommand;
use paravane_abi::mmu::{
    DOMID_IO, DOMID_SELF, DOMID_XEN, MmuUpdate, MmuextOp, UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH,
};
use paravane_core::addr::{ENTRIES, Level, Mfn, PAGE_SIZE};
use paravane_core::audit::Holding;
use paravane_core::frame::{AllocError, FrameType};
use paravane_core::memory::Memory;
use paravane_core::pagetable::{CallOutcome, PtWrite, Pte};

/// Where the first trees map their first pages.
const BASE: u64 = 1 << 39;

macro_rules! kinds {
    ($($kind:ident)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($kind),* }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];
        }
    };
}

kinds! {
    UpdateL1 UpdateUpper UpdateAny PreserveAd MachPhys UnknownUpdate
    UpdateVa UpdateVaOther Batch
    PinL1 PinL2 PinL3 PinL4 Unpin NewBase NewUserBase
    FlushLocal FlushMulti FlushAll InvlpgLocal InvlpgMulti InvlpgAll
    FlushCache SetLdt ClearPage CopyPage MarkSuper UnknownExt
    PtWrite PtExchange GuestWrite GuestCopyIn GuestCopyOut
    HoldWritable HoldDescriptors UpdateDescriptor DropHolding
    Populate Decrease AllocShared ReleaseShared OtherPopulate
    FinishPending DropBases
}

/// The flags of an entry: mostly right.
fn flags(random: &mut Random) -> u64 {
    let mut flags = Pte::US;
    for (bit, chance) in [
        (Pte::P, 88),
        (Pte::RW, 50),
        (Pte::A, 30),
        (Pte::D, 20),
        (Pte::NX, 20),
        (Pte::G, 3),
        (Pte::PS, 2),
        (1 << 4, 1),
        (Pte::US, 0),
        (1 << 9, 10),
        (1 << 52, 10),
    ] {
        if random.percent(chance) {
            flags |= bit;
        }
    }
    if random.percent(15) { flags & !Pte::US } else { flags }
}

/// A frame number: mostly one of the domain's.
fn frame(world: &World, random: &mut Random) -> Mfn {
    match random.below(20) {
        0 => Mfn::new(random.below(FRAMES) as u64),
        1 => random.pick(&[Mfn::new(FRAMES as u64), Mfn::new(0xfee00), Mfn::new(Pte::NO_FRAME)]),
        2..5 if !world.shared.is_empty() => random.pick(&world.shared),
        _ => {
            let own = world.own(|_| true);
            if own.is_empty() { Mfn::new(0) } else { random.pick(&own) }
        }
    }
}

/// A frame that is in use as `kind`, or has no use; now and then any.
fn frame_for(world: &World, random: &mut Random, kind: FrameType) -> Mfn {
    let fit = world.own(|info| info.is_in_use_as(kind) || info.type_count() == 0 || info.kind() == kind);
    let used = world.own(|info| info.kind() == kind);
    match random.below(10) {
        0 => frame(world, random),
        1..6 if !used.is_empty() => random.pick(&used),
        _ if !fit.is_empty() => random.pick(&fit),
        _ => frame(world, random),
    }
}

fn slot(random: &mut Random) -> usize {
    if random.percent(90) { random.pick(&SLOTS) } else { random.below(ENTRIES) }
}

fn entry_for(world: &World, random: &mut Random, level: Option<Level>) -> Pte {
    if random.percent(15) {
        return Pte(if random.percent(70) { 0 } else { random.next() & !Pte::P });
    }
    let flags = flags(random);
    let target = match level.map(Level::below) {
        Some(Some(below)) => frame_for(world, random, FrameType::table(below)),
        _ if flags & Pte::RW != 0 => frame_for(world, random, FrameType::Writable),
        _ => frame(world, random),
    };
    Pte::new(target, flags)
}

/// A request to write an entry of a table of one of `levels`, or of any frame.
fn request(world: &World, random: &mut Random, levels: &[Level], command: u64) -> MmuUpdate {
    let tables: Vec<(Mfn, Option<Level>)> = levels
        .iter()
        .flat_map(|&level| {
            world.in_use_as(FrameType::table(level)).into_iter().map(move |table| (table, Some(level)))
        })
        .collect();
    let (table, level) = match tables.is_empty() || random.percent(5) {
        true => (frame(world, random), None),
        false => random.pick(&tables),
    };
    let val = entry_for(world, random, level).0;
    MmuUpdate { ptr: table.address() + slot(random) as u64 * 8 + command, val }
}

/// An address: mostly one that is mapped.
fn address(world: &World, random: &mut Random) -> u64 {
    let mapped = world.mapped(0);
    if !mapped.is_empty() && random.percent(70) {
        return random.pick(&mapped).0 + random.below(ENTRIES) as u64 * 8;
    }
    if random.percent(4) {
        return random.pick(&[0xffff_8000_0000_0000, 1 << 47, 0, u64::MAX - 7, 0xffff_8800_0000_0000]);
    }
    let [l4, l3, l2, l1] = [1, 0, 0, 0].map(|usual| if random.percent(85) { usual } else { slot(random) });
    let l1 = if l1 == 0 { random.pick(&[0, 0, 0, 1, 255, 511]) } else { l1 };
    let bits = ((l4 as u64) << 39) | ((l3 as u64) << 30) | ((l2 as u64) << 21) | ((l1 as u64) << 12);
    let address = (((bits << 16) as i64) >> 16) as u64;
    address + (random.below(ENTRIES) as u64) * 8
}

/// A domain argument: mostly the caller itself.
fn domain(random: &mut Random) -> u16 {
    if random.percent(90) { DOMID_SELF } else { random.pick(&[DOMID_IO, DOMID_XEN, 1, 2, 3]) }
}

/// Does it on a vcpu, with so many steps.
type Perform = dyn FnMut(&mut World, usize, u32) -> End;

/// Something to do. Made once and done as often as it is interrupted.
pub struct Op {
    perform: Box<Perform>,
}

impl Op {
    fn new(perform: impl FnMut(&mut World, usize, u32) -> End + 'static) -> Self {
        Self { perform: Box::new(perform) }
    }

    pub fn perform(&mut self, world: &mut World, vcpu: usize, steps: u32) -> End {
        (self.perform)(world, vcpu, steps)
    }

    pub fn random(kind: Kind, world: &World, random: &mut Random) -> Self {
        use Kind::*;
        match kind {
            UpdateL1 => Self::update(world, random, &[Level::L1], 0),
            UpdateUpper => Self::update(world, random, &[Level::L2, Level::L3, Level::L4], 0),
            UpdateAny => Self::update(world, random, &[], 3),
            PreserveAd => Self::update(world, random, &Level::DOWN, 2),
            MachPhys => Self::update(world, random, &[], 1),
            UnknownUpdate => {
                let command = random.pick(&[4, 5, 6, 7]);
                Self::update(world, random, &[Level::L1], command)
            }
            UpdateVa | UpdateVaOther => Self::update_va(kind, world, random),
            Batch => Self::batch(world, random),
            PinL1 => Self::pin(MmuextCommand::PinL1Table, FrameType::L1, world, random),
            PinL2 => Self::pin(MmuextCommand::PinL2Table, FrameType::L2, world, random),
            PinL3 => Self::pin(MmuextCommand::PinL3Table, FrameType::L3, world, random),
            PinL4 => Self::pin(MmuextCommand::PinL4Table, FrameType::L4, world, random),
            NewBase => Self::new_base(world, random),
            Unpin => Self::unpin(world, random),
            NewUserBase | FlushLocal | FlushMulti | FlushAll | InvlpgLocal | InvlpgMulti | InvlpgAll
            | FlushCache | SetLdt | ClearPage | CopyPage | MarkSuper | UnknownExt => {
                Self::other_mmuext(kind, world, random)
            }
            PtWrite | PtExchange => Self::trapped(kind, world, random),
            GuestWrite | GuestCopyIn | GuestCopyOut => Self::guest(kind, world, random),
            HoldWritable | HoldDescriptors | UpdateDescriptor | DropHolding => {
                Self::held(kind, world, random)
            }
            Populate | Decrease | AllocShared | ReleaseShared | OtherPopulate => {
                Self::reservation(kind, world, random)
            }
            FinishPending => Self::new(|world, vcpu, steps| world.on(vcpu, steps).finish_pending().into()),
            DropBases => Self::new(|world, vcpu, steps| world.on(vcpu, steps).drop_bases().into()),
        }
    }

    /// One request by way of guest memory, or, where the guest has no page for it, of the argument that
    /// makes the call itself: the batch is what is public.
    fn update(world: &World, random: &mut Random, levels: &[Level], command: u64) -> Self {
        let request = request(world, random, levels, command);
        let domains =
            u32::from(domain(random)) | if random.percent(3) { random.pick(&[2u32, 3, 4]) << 16 } else { 0 };
        Self::call(vec![request.ptr, request.val], 1, move |world, vcpu, steps, args| {
            world.on(vcpu, steps).mmu_update(args[0], args[1] as u32, args[2], args[3] as u32)
        })
        .with_domain(domains)
    }

    fn mmuext(command: u32, arg1: u64, arg2: u64, domain: u16) -> Self {
        let op = MmuextOp::new(command, arg1, arg2);
        let words = vec![u64::from(op.cmd), op.arg1, op.arg2];
        Self::call(words, 1, move |world, vcpu, steps, args| {
            world.on(vcpu, steps).mmuext_op(args[0], args[1] as u32, args[2], args[3] as u32)
        })
        .with_domain(u32::from(domain))
    }

    /// A call whose requests are put in the page at [`BASE`] first.
    fn call(
        words: Vec<u64>,
        count: u64,
        call: impl Fn(&mut World, usize, u32, [u64; 4]) -> CallOutcome + 'static,
    ) -> Call {
        Call { words, count, call: Box::new(call) }
    }

    fn pin(command: MmuextCommand, like: FrameType, world: &World, random: &mut Random) -> Self {
        let frame = frame_for(world, random, like);
        Self::mmuext(command.number(), frame.get(), 0, domain(random))
    }

    /// A vcpu without tables can't ask for any, so it is given one, as when it is started.
    fn new_base(world: &World, random: &mut Random) -> Self {
        let filled: Vec<Mfn> = world
            .own(|info| info.kind() == FrameType::L4)
            .into_iter()
            .filter(|&frame| world.machine.nonzero(frame).next().is_some())
            .collect();
        let frame = match filled.is_empty() || random.percent(20) {
            true => frame_for(world, random, FrameType::L4),
            false => random.pick(&filled),
        };
        let mut asked = Self::pin(MmuextCommand::NewBaseptr, FrameType::L4, world, random);
        let mut given = None;
        Self::new(move |world, vcpu, steps| {
            if *given.get_or_insert(world.vcpus[vcpu].base().is_none()) {
                world.on(vcpu, steps).set_base(frame).into()
            } else {
                asked.perform(world, vcpu, steps)
            }
        })
    }

    fn unpin(world: &World, random: &mut Random) -> Self {
        let pinned = world.own(|info| info.pinned());
        let frame = match pinned.is_empty() || random.percent(10) {
            true => frame(world, random),
            false => random.pick(&pinned),
        };
        Self::mmuext(MmuextCommand::UnpinTable.number(), frame.get(), 0, domain(random))
    }

    fn other_mmuext(kind: Kind, world: &World, random: &mut Random) -> Self {
        let (va, bitmap) = (address(world, random), address(world, random));
        let writable = frame_for(world, random, FrameType::Writable).get();
        let source = frame(world, random).get();
        let (command, arg1, arg2) = match kind {
            Kind::NewUserBase if random.percent(40) => (MmuextCommand::NewUserBaseptr, 0, 0),
            Kind::NewUserBase => {
                (MmuextCommand::NewUserBaseptr, frame_for(world, random, FrameType::L4).get(), 0)
            }
            Kind::FlushLocal => (MmuextCommand::TlbFlushLocal, 0, 0),
            Kind::FlushMulti => (MmuextCommand::TlbFlushMulti, 0, bitmap),
            Kind::FlushAll => (MmuextCommand::TlbFlushAll, 0, 0),
            Kind::InvlpgLocal => (MmuextCommand::InvlpgLocal, va, 0),
            Kind::InvlpgMulti => (MmuextCommand::InvlpgMulti, va, bitmap),
            Kind::InvlpgAll => (MmuextCommand::InvlpgAll, va, 0),
            Kind::FlushCache => {
                (random.pick(&[MmuextCommand::FlushCache, MmuextCommand::FlushCacheGlobal]), 0, 0)
            }
            Kind::SetLdt => (MmuextCommand::SetLdt, va & !0xfff, random.pick(&[0, 0, 1, 8192, 8193])),
            Kind::ClearPage => (MmuextCommand::ClearPage, writable, 0),
            Kind::CopyPage => (MmuextCommand::CopyPage, writable, source),
            Kind::MarkSuper => {
                (random.pick(&[MmuextCommand::MarkSuper, MmuextCommand::UnmarkSuper]), writable, 0)
            }
            _ => {
                let number = random.pick(&[14, 21, 22, u32::MAX]);
                return Self::mmuext(number, va, bitmap, domain(random));
            }
        };
        Self::mmuext(command.number(), arg1, arg2, domain(random))
    }

    fn update_va(kind: Kind, world: &World, random: &mut Random) -> Self {
        let va = address(world, random);
        let entry = entry_for(world, random, Some(Level::L1)).0;
        let bitmap = address(world, random) & !7;
        let who = random.pick(&[0, UVMF_ALL, bitmap]);
        let flags = random.pick(&[0, UVMF_TLB_FLUSH, UVMF_INVLPG]) | who;
        let domain = domain(random);
        Self::new(move |world, vcpu, steps| {
            let mut paging = world.on(vcpu, steps);
            match kind {
                Kind::UpdateVa => paging.update_va_mapping(va, entry, flags).into(),
                _ => paging.update_va_mapping_otherdomain(va, entry, flags, domain).into(),
            }
        })
    }

    /// Several requests, interrupted in between when steps are few.
    fn batch(world: &World, random: &mut Random) -> Self {
        let count = 2 + random.below(30) as u64;
        let words = (0..count)
            .flat_map(|_| {
                let command = random.pick(&[0, 2]);
                let request = request(world, random, &[Level::L1, Level::L2], command);
                [request.ptr, request.val]
            })
            .collect();
        Self::call(words, count, |world, vcpu, steps, args| {
            world.on(vcpu, steps).mmu_update(args[0], args[1] as u32, args[2], args[3] as u32)
        })
        .with_domain(u32::from(DOMID_SELF))
    }

    fn trapped(kind: Kind, world: &World, random: &mut Random) -> Self {
        // The trees map their first L1 at its last slot.
        let at =
            if random.percent(80) { BASE + 511 * PAGE_SIZE as u64 } else { address(world, random) & !0xfff };
        let width = random.pick(&[8, 8, 8, 8, 4, 2, 1, 3]);
        let odd = if random.percent(5) { random.below(8) as u64 } else { 0 };
        let at = at + slot(random) as u64 * 8 + odd;
        let new = entry_for(world, random, Some(Level::L1)).0;
        let stale = random.percent(10);
        Self::new(move |world, vcpu, steps| {
            let mut paging = world.on(vcpu, steps);
            let expected = match kind {
                Kind::PtWrite => None,
                _ => Some(paging.read_trapped(at, width).unwrap_or(0) ^ u64::from(stale)),
            };
            match paging.emulate_pt_write(at, width, new, expected) {
                PtWrite::Done => End::Done,
                PtWrite::Mismatch(now) => {
                    assert_ne!(Some(now), expected);
                    End::Refused(Errno::EAGAIN)
                }
                PtWrite::Refused(error) => End::Refused(error),
            }
        })
    }

    /// A guest's own accesses, and the hypervisor's to guest memory.
    fn guest(kind: Kind, world: &World, random: &mut Random) -> Self {
        let va = address(world, random);
        let value = entry_for(world, random, None).0;
        let length = random.pick(&[1, 8, 24, 700, 5000]);
        Self::new(move |world, vcpu, steps| match kind {
            // By the CPU's cached translation, stale or not.
            Kind::GuestWrite => match world.machine.touch(vcpu, va, true, false) {
                Some(frame) => {
                    world.machine.poke(frame, (va as usize & (PAGE_SIZE - 1)) / 8, value);
                    End::Done
                }
                None => End::Refused(Errno::EFAULT),
            },
            _ => {
                let paging = world.on(vcpu, steps);
                let Some(memory) = paging.guest_memory() else { return End::Refused(Errno::EFAULT) };
                let mut bytes = vec![0x55; length];
                let result = match kind {
                    Kind::GuestCopyIn => memory.copy_from_guest(va, &mut bytes),
                    _ => memory.copy_to_guest(va, &value.to_le_bytes().repeat(length / 8 + 1)[..length]),
                };
                result.map_err(Errno::from).into()
            }
        })
    }

    fn held(kind: Kind, world: &World, random: &mut Random) -> Self {
        let writable = frame_for(world, random, FrameType::Writable);
        let descriptors = frame_for(world, random, FrameType::SegDesc);
        let (index, value) = (slot(random) as u64, random.next());
        let which = random.below(8);
        // Any rule will do: odd descriptors are refused, the rest lose a bit.
        let check = |word: u64| (word & 1 == 0).then_some(word & !2);
        Self::new(move |world, vcpu, steps| match kind {
            Kind::HoldWritable => {
                let held = world.on(vcpu, steps).hold_writable(writable);
                if held.is_ok() {
                    world.holdings.push(Holding::Writable(writable));
                }
                held.into()
            }
            Kind::HoldDescriptors => {
                let held = world.on(vcpu, steps).hold_descriptors(descriptors, check);
                if held.is_ok() {
                    world.holdings.push(Holding::Descriptors(descriptors));
                }
                held.into()
            }
            Kind::UpdateDescriptor => {
                let at = descriptors.address() + index * 8;
                world.on(vcpu, steps).update_descriptor(at, value, check).into()
            }
            _ => {
                if which >= world.holdings.len() {
                    return End::Refused(Errno::ENOENT);
                }
                match world.holdings.swap_remove(which) {
                    Holding::Writable(frame) => world.on(vcpu, steps).drop_writable(frame),
                    Holding::Descriptors(frame) => world.on(vcpu, steps).drop_descriptors(frame),
                    Holding::Reference(_) => unreachable!("none is taken"),
                }
                End::Done
            }
        })
    }

    fn reservation(kind: Kind, world: &World, random: &mut Random) -> Self {
        let chosen = frame(world, random);
        let which = random.below(3);
        Self::new(move |world, _, _| {
            let World { machine, frames, domain, other, shared, .. } = world;
            let allocated = match kind {
                Kind::Populate => frames.alloc_domain(machine, domain.id),
                Kind::OtherPopulate => frames.alloc_domain(machine, other.id),
                Kind::AllocShared => frames.alloc_shared(machine, domain.id),
                Kind::Decrease => {
                    let done = frames.release_allocation(machine, chosen, domain.id);
                    return if done { End::Done } else { End::Refused(Errno::EINVAL) };
                }
                _ => {
                    if which >= shared.len() {
                        return End::Refused(Errno::ENOENT);
                    }
                    let frame = shared.swap_remove(which);
                    assert!(frames.release_shared(machine, frame));
                    return End::Done;
                }
            };
            match allocated {
                Ok(frame) => {
                    assert!((0..ENTRIES).all(|index| machine.read_word(frame, index) == 0), "{frame} shows");
                    if kind == Kind::AllocShared {
                        shared.push(frame);
                    }
                    End::Done
                }
                Err(AllocError::NoDomain) => unreachable!("both are there"),
                Err(AllocError::OutOfMemory | AllocError::OverLimit) => End::Refused(Errno::ENOMEM),
            }
        })
    }
}

type CallFn = Box<dyn Fn(&mut World, usize, u32, [u64; 4]) -> CallOutcome>;

/// Puts requests in a page the guest can write, if it has one. Without one the call reads what is there,
/// or fails.
fn put(world: &mut World, vcpu: usize, words: &[u64]) -> u64 {
    let mut places = world.mapped(vcpu).into_iter().filter(|(_, writable)| *writable);
    let paging = world.on(vcpu, 1);
    let fits = |(at, _): &(u64, bool)| {
        paging.guest_memory().is_some_and(|memory| memory.write_slice(*at, words).is_ok())
    };
    places.find(fits).map_or(BASE, |(at, _)| at)
}

/// A call with requests in guest memory, before its domain argument is known.
struct Call {
    words: Vec<u64>,
    count: u64,
    call: CallFn,
}

impl Call {
    fn with_domain(self, domain: u32) -> Op {
        let Self { words, count, call } = self;
        let mut args = None;
        Op::new(move |world, vcpu, steps| {
            let now = *args.get_or_insert_with(|| {
                let at = put(world, vcpu, &words);
                [at, count, at + 0xff8, u64::from(domain)]
            });
            let outcome = call(world, vcpu, steps, now);
            if let CallOutcome::Continue(next) = outcome {
                args = Some(next);
            }
            match outcome {
                // A guest that changes its requests meanwhile can make a continuation return its own
                // domain argument; nothing but its own view is concerned.
                CallOutcome::Return(value) if value > 0 => End::Refused(Errno::EAGAIN),
                other => other.into(),
            }
        })
    }
}
