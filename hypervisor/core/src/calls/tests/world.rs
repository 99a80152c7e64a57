//! A machine with a domain on it, built as at boot, whose kernel makes hypercalls.

use super::machine::{TestMachine, Told};
use crate::addr::{DomainId, Level, Mfn, PAGE_SIZE, Pfn, VirtAddr};
use crate::build::fake_kernel::{BASE, Elf};
use crate::build::{DomainConfig, MachineKind, Plan};
use crate::descriptor::{RING1_CS64, RING1_SS, USER_CS64, USER_SS};
use crate::domain::{Domain, Life, RunState, Shutdown, Vcpu};
use crate::emulate::Mode;
use crate::event::Channel;
use crate::fake_machine::{FakeMachine, Stale};
use crate::flush::Tlb;
use crate::frame::Owner;
use crate::grant;
use crate::guest_memory::GuestMemory;
use crate::hypervisor::{Hypervisor, Leave, Next};
use crate::memory::Memory;
use crate::pagetable::Pte;
use crate::sched::Settings;
use crate::time::Clock;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::*;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::trap::{TrapFlags, TrapInfo};
use paravane_abi::vcpu::*;
use std::boxed::Box;
use std::string::String;
use std::sync::OnceLock;
use std::vec::Vec;
use std::{format, vec};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Pages of the domain; the first 1024 are mapped from BASE on.
pub(super) const PAGES: u64 = 1100;
/// Pages of a small domain; the first 160 are mapped.
pub(super) const SMALL_PAGES: u64 = 176;
/// Where requests are put.
pub(super) const ARG: u64 = BASE + 0x38_0000;
/// The same, for larger lists: from here to [`TOP`] all is writable and unused.
pub(super) const LIST: u64 = BASE + 0x39_0000;
/// The end of what is mapped.
pub(super) const TOP: u64 = BASE + 0x40_0000;
/// A page mapped read-only.
pub(super) const READ_ONLY: u64 = BASE + 0x37_0000;
/// A page that is not mapped, between pages that are.
pub(super) const HOLE: u64 = BASE + 0x37_3000;
/// A writable page that ring 3 sees as well.
pub(super) const USER: u64 = BASE + 0x37_6000;
/// The stack that programs' exceptions go to: the end of a page.
pub(super) const KERNEL_SP: u64 = BASE + 0x36_8000;
/// The stack the kernel runs on.
pub(super) const STACK: u64 = BASE + 0x36_4000;
/// Where its code is.
pub(super) const CODE: u64 = BASE + 0x36_0000;
/// Its handlers: of vector N at `HANDLER + 16 N`, events at `HANDLER + 0x2000`.
pub(super) const HANDLER: u64 = BASE + 0x10_1000;
pub(super) const EVENT_HANDLER: u64 = HANDLER + 0x2000;

/// Pointers that no hypercall may use, to read or to write.
pub(super) const BAD: [u64; 6] =
    [HOLE, HOLE - 1, 0x10, 0xffff_8000_0000_0000, 0xffff_8080_0002_0000, 0x8000_0000_0000];

/// How large a domain is; what is mapped ends at [`TOP`].
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub pages: u64,
    /// Those that are mapped, from the first on.
    pub mapped: u64,
    kernel: fn() -> &'static [u8],
}

impl Shape {
    const WHOLE: Self = Self {
        pages: PAGES,
        mapped: 1024,
        kernel: || {
            static KERNEL: OnceLock<Vec<u8>> = OnceLock::new();
            KERNEL.get_or_init(|| ring1(&mut Elf::kernel()))
        },
    };
    /// What lies below [`ARG`] cannot be used.
    const SMALL: Self = Self {
        pages: SMALL_PAGES,
        mapped: 160,
        kernel: || {
            static KERNEL: OnceLock<Vec<u8>> = OnceLock::new();
            KERNEL.get_or_init(|| ring1(&mut Elf::small_kernel(Shape::SMALL.base())))
        },
    };
    /// All that lies from [`CODE`] on can be used.
    const MIDDLE: Self = Self {
        pages: 288,
        mapped: 256,
        kernel: || {
            static KERNEL: OnceLock<Vec<u8>> = OnceLock::new();
            KERNEL.get_or_init(|| ring1(&mut Elf::small_kernel(Shape::MIDDLE.base())))
        },
    };

    /// Where the first page is mapped.
    pub const fn base(self) -> u64 {
        TOP - self.mapped * PAGE_SIZE as u64
    }
}

/// The world.
pub(super) struct World {
    pub hv: Hypervisor<TestMachine>,
    /// How often the calls so far were preempted.
    pub preempted: u32,
    /// Free frames before there was a domain.
    pub free: u64,
    /// What all domains are like.
    pub shape: Shape,
}

/// What a refusal leaves as it was.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot(Vec<String>, Told);

/// What processors hold of which their guests must make no use. A guest may reach a page of another domain's that it has
/// mapped by a grant, as the books say, or that one lent that is gone since: a processor may remember what its guest
/// took away without a flush, while the mapping is on record.
pub fn stale(hv: &Hypervisor<TestMachine>) -> Vec<Stale> {
    let tables: Vec<_> = hv.domains.iter().map(|domain| &domain.grants).collect();
    let (_, recorded) = grant::check(&hv.machine, &tables);
    let lives = |id: DomainId| hv.domains.iter().any(|domain| domain.id == id);
    let is_gone = |owner| matches!(owner, Owner::Domain(id) if !lives(id));
    let allowed = |stale: &Stale| match *stale {
        Stale::ForeignPage { by, frame, writable, .. } => {
            recorded.iter().any(|it| (it.by, it.frame) == (by, frame) && (it.writable || !writable))
                || hv.frames.info(frame).is_some_and(|info| is_gone(info.owner()))
        }
        _ => false,
    };
    let mut found = hv.machine.fake.stale(&hv.frames);
    found.retain(|stale| !allowed(stale));
    found
}

impl World {
    /// A domain that has done nothing yet.
    pub fn bare() -> Self {
        Self::with_domains(1)
    }

    /// As [`Self::bare`], with so many domains, of which the first runs.
    pub fn with_domains(count: u16) -> Self {
        Self::built(count, 32, |_| {})
    }

    /// As [`Self::with_domains`], with so many frames for each domain besides its own.
    pub fn with_spare_frames(count: u16, spare: usize) -> Self {
        Self::built(count, spare, |_| {})
    }

    /// As [`Self::with_domains`], each domain's configuration being changed first.
    pub fn configured(count: u16, change: impl Fn(&mut DomainConfig)) -> Self {
        Self::built(count, 32, change)
    }

    /// As [`Self::configured`], on so many processors, all domains awake and none running yet.
    pub fn on_processors(cpus: usize, count: u16, change: impl Fn(&mut DomainConfig)) -> Self {
        Self::constructed(Shape::WHOLE, cpus, count, 32, change)
    }

    /// As [`Self::on_processors`], of [`Shape::MIDDLE`]: quickly made.
    pub fn quick(cpus: usize, count: u16, change: impl Fn(&mut DomainConfig)) -> Self {
        Self::constructed(Shape::MIDDLE, cpus, count, 32, change)
    }

    /// As [`Self::with_spare_frames`], of [`Shape::SMALL`]: quickly counted again.
    pub fn small(count: u16, spare: usize) -> Self {
        Self::constructed(Shape::SMALL, 1, count, spare, |_| {}).awake(count)
    }

    fn built(count: u16, spare: usize, change: impl Fn(&mut DomainConfig)) -> Self {
        Self::constructed(Shape::WHOLE, 1, count, spare, change).awake(count)
    }

    /// The first domain runs.
    fn awake(self, count: u16) -> Self {
        let mut world = self;
        // The others sleep.
        for other in 1..usize::from(count) {
            world.hv.domains[other].vcpus[0].state = RunState::Blocked;
            world.hv.refresh(other, 0);
        }
        let mut regs = CpuUserRegs::default();
        assert_eq!(world.hv.prepare_return(&mut regs), Next::Guest);
        world
    }

    fn constructed(
        shape: Shape,
        cpus: usize,
        count: u16,
        spare: usize,
        change: impl Fn(&mut DomainConfig),
    ) -> Self {
        let frames = (shape.pages as usize + spare) * usize::from(count);
        // No domain yet.
        let (fake, table) = FakeMachine::with_frames(frames, cpus.max(count.into()), 4);
        let clock = Clock::new(1_000_000_000, 0).unwrap();
        let hv = Hypervisor::new(TestMachine::new(fake, cpus), table, clock, (1, 2), Settings::default());
        let free = hv.frames.free_frames();
        let mut world = Self { hv, preempted: 0, free, shape };
        (1..=count).for_each(|id| world.construct(id, &change));
        world
    }

    /// Makes one more domain, which may have no more than it was configured with: tests count frames one by one.
    pub fn construct(&mut self, id: u16, change: impl Fn(&mut DomainConfig)) {
        let config = self.construct_whole(id, change);
        assert!(self.hv.frames.set_max(DomainId(id), config.maxmem_kib / 4));
    }

    /// Makes one more domain as it would be made elsewhere: what was configured.
    pub fn construct_whole(&mut self, id: u16, change: impl Fn(&mut DomainConfig)) -> DomainConfig {
        let mut config = DomainConfig::new("guest", self.shape.pages * 4, 1);
        (config.machine, config.domid) = (Some(MachineKind::PvRing1), id);
        change(&mut config);
        self.hv.construct(Plan::new(config.clone(), (self.shape.kernel)(), &[]).unwrap()).unwrap();
        config
    }

    /// A domain whose kernel has set itself up: traps, event callback, stack, and the special pages.
    pub fn new() -> Self {
        let mut world = Self::bare();
        world.set_up();
        world
    }

    pub fn set_up(&mut self) {
        let traps: Vec<TrapInfo> = (0..32)
            .map(|vector| {
                TrapInfo::new(vector, TrapFlags::empty(), RING1_CS64, HANDLER + 16 * u64::from(vector))
            })
            .chain([TrapInfo::default()])
            .collect();
        self.put(LIST, traps.as_slice());
        assert_eq!(self.call(HYPERVISOR_SET_TRAP_TABLE, &[LIST]), 0);
        assert_eq!(self.call(HYPERVISOR_SET_CALLBACKS, &[EVENT_HANDLER, 0, 0]), 0);
        assert_eq!(self.call(HYPERVISOR_STACK_SWITCH, &[0, KERNEL_SP]), 0);
        let read_only = self.mfn(READ_ONLY);
        let user = self.mfn(USER);
        self.map(READ_ONLY, read_only.address() | Pte::P);
        self.map(HOLE, 0);
        self.map(USER, user.address() | Pte::P | Pte::RW | Pte::US);
        // The builder's upper entries let programs through only where the kernel has asked for it.
        for level in [Level::L4, Level::L3, Level::L2] {
            let (table, index) = self.entry(USER, level);
            let entry = self.hv.machine.read_word(table, index) | Pte::US;
            self.put(ARG, &[table.address() + 8 * index as u64, entry]);
            assert_eq!(self.call(HYPERVISOR_MMU_UPDATE, &[ARG, 1, 0, 0x7ff0]), 0);
        }
        self.hv.machine.mark();
    }

    /// The table of a level on the way to an address, and the index there.
    pub fn entry(&self, address: u64, level: Level) -> (Mfn, usize) {
        let va = VirtAddr::new(address).unwrap();
        let mut table = self.vcpu().paging.base().unwrap();
        for upper in Level::DOWN.into_iter().take_while(|upper| *upper > level) {
            table = Pte(self.hv.machine.read_word(table, va.slot(upper))).frame();
        }
        (table, va.slot(level))
    }

    pub fn map(&mut self, address: u64, entry: u64) {
        assert_eq!(self.call(HYPERVISOR_UPDATE_VA_MAPPING, &[address, entry, 2]), 0, "{address:#x}");
    }

    /// Lets another domain's first vcpu make what calls follow, on its own CPU if there are so many.
    pub fn act_as(&mut self, index: usize) {
        (self.hv.here.domain, self.hv.here.vcpu) = (index, 0);
        self.hv.here.info = self.vcpu().info;
        let (id, base) = (self.domain().id, self.vcpu().paging.base());
        let machine = &self.hv.machine.fake;
        let cpu = index.min(machine.cpus() - 1);
        machine.switch_to(cpu);
        if !machine.runs(cpu, id) {
            machine.base_changed(id, Mode::Kernel, base);
        }
    }

    pub fn domain(&self) -> &Domain {
        self.hv.domain()
    }

    pub fn vcpu(&self) -> &Vcpu {
        self.hv.vcpu()
    }

    pub fn vcpu_mut(&mut self) -> &mut Vcpu {
        self.hv.vcpu_mut()
    }

    pub fn memory(&self) -> GuestMemory<'_, TestMachine> {
        self.hv.kernel_memory().unwrap()
    }

    /// The frame at an address of the initial mapping, whatever is mapped there now.
    pub fn mfn(&self, address: u64) -> Mfn {
        self.frame((address - self.shape.base()) >> 12)
    }

    /// The frame of a guest frame number.
    pub fn frame(&self, pfn: u64) -> Mfn {
        let machine = &self.hv.machine;
        let id = self.domain().id;
        let frames = (0..self.hv.frames.len() as u64).map(Mfn::new);
        let mut own = frames.filter(|frame| self.hv.frames.is_owned_by(*frame, id));
        own.find(|frame| machine.m2p(*frame) == Pfn::new(pfn)).unwrap()
    }

    /// Writes what a guest's kernel could write itself.
    pub fn put<T: IntoBytes + Immutable + ?Sized>(&self, address: u64, value: &T) {
        self.memory().copy_to_guest(address, value.as_bytes()).unwrap();
    }

    pub fn get<T: FromBytes + IntoBytes>(&self, address: u64) -> T {
        self.memory().read(address).unwrap()
    }

    /// The kernel's registers, each with a value of its own.
    pub fn kernel(&self) -> CpuUserRegs {
        let mut regs = CpuUserRegs::new_zeroed();
        for (n, byte) in regs.as_mut_bytes().iter_mut().enumerate() {
            *byte = n as u8 | 1;
        }
        CpuUserRegs {
            rip: CODE + 0x100,
            rsp: STACK,
            cs: RING1_CS64,
            ss: RING1_SS,
            rflags: 0x202,
            error_code: 0,
            entry_vector: 0x82,
            ..regs
        }
    }

    /// The registers of a program.
    pub fn program(&self) -> CpuUserRegs {
        CpuUserRegs { rip: USER + 0x100, rsp: USER + 0x800, cs: USER_CS64, ss: USER_SS, ..self.kernel() }
    }

    pub fn regs_for(&self, number: u64, args: &[u64]) -> CpuUserRegs {
        let mut all = [0x5555_5555_5555_5555; 6];
        all[..args.len()].copy_from_slice(args);
        let [rdi, rsi, rdx, r10, r8, r9] = all;
        CpuUserRegs { rax: number, rdi, rsi, rdx, r10, r8, r9, ..self.kernel() }
    }

    /// Makes a hypercall, again as often as it is preempted, and checks that nothing but its result is
    /// another register's.
    pub fn call(&mut self, number: u64, args: &[u64]) -> i64 {
        let mut regs = self.regs_for(number, args);
        for _ in 0..10_000 {
            let before = regs;
            self.hv.hypercall(&mut regs);
            let again = regs.rip == before.rip - 2;
            if !again {
                assert_eq!(CpuUserRegs { rax: before.rax, ..regs }, before, "call {number}: only RAX");
                return regs.rax as i64;
            }
            self.preempted += 1;
            let CpuUserRegs { rdi, rsi, rdx, r10, r8, r9, .. } = regs;
            let rip = before.rip - 2;
            assert_eq!(regs, CpuUserRegs { rdi, rsi, rdx, r10, r8, r9, rip, ..before }, "only arguments");
            regs.rip += 2;
        }
        panic!("call {number} never ends");
    }

    /// Puts a request and makes a call whose first argument is a sub-operation.
    pub fn op<T: IntoBytes + Immutable + ?Sized>(&mut self, number: u64, command: u32, request: &T) -> i64 {
        self.put(ARG, request);
        self.call(number, &[command.into(), ARG])
    }

    pub fn vcpu_op<T: IntoBytes + Immutable>(&mut self, command: u32, request: &T) -> i64 {
        self.put(ARG, request);
        self.call(HYPERVISOR_VCPU_OP, &[command.into(), 0, ARG])
    }

    /// All that a refusal must leave alone besides memory.
    pub fn snapshot(&self) -> Snapshot {
        let (domain, vcpu) = (self.domain(), self.vcpu());
        let ports = (0..64).filter_map(|port| domain.ports.status(port).ok().map(|status| (port, status)));
        let used = ports.filter(|(_, status)| status.channel != Channel::Free);
        let mut text = vec![
            format!("{:?} {:?} {:?}", domain.memory, domain.shutdown, domain.vm_assist),
            format!("{:?}", used.collect::<Vec<_>>()),
            format!("{:?} {:x} {:?} {}", vcpu.state, vcpu.kernel_sp, vcpu.gdt, vcpu.gdt_entries),
            format!("{:x?} {:x?}", vcpu.callbacks, vcpu.debug),
            format!("{} {} {} {}", vcpu.task_switched, vcpu.iopl, vcpu.io_bitmap, vcpu.io_ports),
            format!("{} {} {:?} {:?}", vcpu.cr4, vcpu.tsc_aux, vcpu.paging, vcpu.info),
            format!("{} {} {:?} {:?}", vcpu.runstate_area, vcpu.time_area, vcpu.timers, vcpu.poll),
            format!("{:?}", self.hv.frames.accounts()),
        ];
        let set = vcpu.traps.iter().enumerate().filter(|(_, trap)| trap.address != 0);
        text.extend(set.map(|trap| format!("{trap:x?}")));
        Snapshot(text, self.hv.machine.told.clone())
    }

    /// A call that leaves no trace, whatever it answers.
    pub fn untouched(&mut self, number: u64, args: &[u64]) -> i64 {
        let before = self.snapshot();
        self.hv.machine.mark();
        let what = format!("call {number} {args:x?}");
        let answer = self.call(number, args);
        assert_eq!(self.snapshot(), before, "{what}");
        self.assert_untouched(&what);
        answer
    }

    /// A call that is refused with this error and leaves no trace.
    pub fn refused(&mut self, number: u64, args: &[u64], error: Errno) {
        assert_eq!(self.untouched(number, args), error.to_ret(), "call {number} {args:x?}: {}", error.name());
    }

    /// As [`Self::refused`], with a request put first.
    pub fn op_refused<T: IntoBytes + Immutable>(
        &mut self,
        number: u64,
        command: u32,
        request: &T,
        error: Errno,
    ) {
        self.put(ARG, request);
        self.refused(number, &[command.into(), ARG], error);
    }

    /// Nothing was written but the marks of the walks.
    pub fn assert_untouched(&self, what: &str) {
        let tables: Vec<Mfn> = Level::DOWN.into_iter().map(|level| self.entry(ARG, level).0).collect();
        let marks = Pte::A | Pte::D;
        let changes = self.hv.machine.changes();
        let real: Vec<_> = changes
            .iter()
            .filter(|(frame, _, was, is)| !tables.contains(frame) || (was ^ is) & !marks != 0)
            .collect();
        assert!(real.is_empty(), "{what} wrote {real:x?}");
        self.audit();
    }

    /// All counts agree.
    pub fn audit(&self) {
        let wrong = self.hv.recount();
        assert!(wrong.is_empty(), "{}", wrong[0]);
    }

    /// Raises an exception in the given registers.
    pub fn exception(
        &mut self,
        mut regs: CpuUserRegs,
        vector: u32,
        error_code: u32,
        address: u64,
    ) -> CpuUserRegs {
        (regs.entry_vector, regs.error_code) = (vector, error_code);
        self.hv.exception(&mut regs, address);
        regs
    }

    /// The frame of so many words that stands where the kernel was entered.
    pub fn bounced(&self, regs: &CpuUserRegs, words: usize) -> Vec<u64> {
        let mut frame = vec![0u64; words];
        self.memory().read_slice(regs.rsp, frame.as_mut_slice()).unwrap();
        frame
    }

    /// Goes on as another processor, which has taken the lock.
    pub fn on(&mut self, cpu: usize) {
        self.hv.machine.switch_to(cpu);
        self.hv.enter();
    }

    pub fn next(&mut self, regs: &mut CpuUserRegs) -> Next {
        self.hv.prepare_return(regs)
    }

    /// Goes on until the machine stops: every domain is destroyed, and nothing of them is left.
    pub fn end(&mut self, regs: &mut CpuUserRegs) -> Leave {
        for _ in 0..10_000 {
            match self.next(regs) {
                Next::Work => self.audit(),
                Next::Leave(why) => {
                    assert_eq!(self.next(regs), Next::Leave(why), "it stays so");
                    assert_eq!((self.hv.domains.len(), self.hv.frames.free_frames()), (0, self.free));
                    assert!(self.hv.frames.accounts().is_empty());
                    self.audit();
                    return why;
                }
                next => panic!("{next:?} on the way to the end"),
            }
        }
        panic!("the end never comes")
    }

    /// The domain, which has stopped and was kept, goes on.
    pub fn revive(&mut self) {
        (self.hv.domains[0].shutdown, self.hv.domains[0].life) = (None, Life::Running);
        self.rouse();
    }

    /// The first vcpu wakes, whatever it waited for.
    pub fn rouse(&mut self) {
        let vcpu = self.vcpu_mut();
        (vcpu.state, vcpu.poll, vcpu.up) = (RunState::Runnable, None, true);
        self.hv.refresh(0, 0);
        let mut regs = self.kernel();
        while self.hv.prepare_return(&mut regs) == Next::Work {}
    }

    /// Whether an upcall is pending, and masked.
    pub fn upcall(&self) -> (bool, bool) {
        self.hv.shared().upcall(self.vcpu().info)
    }

    /// The kernel sets its event mask, as it does without asking.
    pub fn set_mask(&self, masked: bool) {
        self.hv.shared().set_upcall_mask(self.vcpu().info, masked);
    }

    /// The kernel has seen its events.
    pub fn clear_pending(&self) {
        let place = self.vcpu().info;
        let word = self.hv.machine.read_word(place.frame, place.offset / 8);
        self.hv.machine.fake.poke(place.frame, place.offset / 8, word & !0xff);
        self.hv.machine.fake.poke(place.frame, place.offset / 8 + 1, 0);
        let words = PAGE_SIZE / 8 / 4;
        (0..words).for_each(|n| self.hv.machine.fake.poke(self.domain().shared_info, 256 + n, 0));
    }

    /// Whether the domain has crashed.
    pub fn crashed(&self) -> bool {
        self.domain().shutdown == Some(Shutdown::Crash)
    }

    pub fn state(&self) -> RunState {
        self.vcpu().state
    }
}

/// The file of a kernel that can run in ring 1.
fn ring1(elf: &mut Elf) -> Vec<u8> {
    elf.note("Paravane", 1, &1u64.to_le_bytes()).build()
}

/// What a second vcpu begins with.
pub(super) fn context(world: &World) -> Box<VcpuGuestContext> {
    let base = world.vcpu().paging.base().expect("vcpu 0 has tables");
    let mut context = Box::new(VcpuGuestContext::default());
    context.flags = VGCF_IN_KERNEL | VGCF_I387_VALID;
    context.user_regs.rip = CODE + 0x40;
    context.user_regs.rsp = STACK;
    context.user_regs.rdi = 0x1234;
    (context.user_regs.cs, context.user_regs.ss) = (RING1_CS64, RING1_SS);
    context.user_regs.rflags = 0x1000;
    context.kernel_sp = KERNEL_SP;
    context.ctrlreg[3] = mfn_to_cr3(base.get());
    context.event_callback_eip = EVENT_HANDLER;
    context.fs_base = 0x7000;
    context.fpu_ctxt[24..28].copy_from_slice(&[0xff; 4]);
    context
}

/// Puts it at [`LIST`].
pub(super) fn put_context(world: &World, context: &VcpuGuestContext) {
    world.memory().copy_to_guest(LIST, context.as_bytes()).unwrap();
}
