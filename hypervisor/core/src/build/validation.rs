//! What the builder writes, given to the code that checks a guest's own page tables.

use super::layout::Layout;
use super::tests::{BASE, Elf};
use super::{DomainConfig, MachineKind, Plan, Populate};
use crate::addr::{DomainId, Level, Mfn, PAGE_SIZE, Pfn};
use crate::audit::{AuditDomain, audit};
use crate::build::populate::RingPorts;
use crate::fake_machine::FakeMachine;
use crate::frame::{FrameTable, FrameType};
use crate::memory::Memory;
use crate::pagetable::{Budget, DomainMemory, OpError, Paging, PagingPolicy, VcpuPaging};
use alloc::vec::Vec;
use paravane_abi::elfnote::{XEN_ELFNOTE_INIT_P2M, XEN_ELFNOTE_MOD_START_PFN};

const ID: DomainId = DomainId(1);

struct Frames<'a> {
    table: &'a mut FrameTable,
    machine: &'a FakeMachine,
    mfns: &'a [Mfn],
}

impl Populate for Frames<'_> {
    fn mfn(&self, pfn: Pfn) -> Mfn {
        self.mfns[pfn.get() as usize]
    }

    fn write(&mut self, pfn: Pfn, offset: usize, bytes: &[u8]) {
        let frame = self.mfn(pfn);
        self.table.get_writable(self.machine, frame).expect("no type before the tables are pinned");
        let writer = self.table.writable(frame, ID).expect("held as writable");
        self.machine.write_bytes(&writer, offset, bytes);
        self.table.put_writable(self.machine, frame);
    }
}

/// Checks every address of the layout against what a CPU makes of the tables.
fn check_mapping(layout: &Layout, machine: &FakeMachine, mfns: &[Mfn], user: bool) {
    let p2m_end = layout.p2m + layout.nr_pages * 8;
    for (start, end) in [(layout.v_start, layout.v_end), (layout.p2m, p2m_end)] {
        for va in (start..end).step_by(PAGE_SIZE) {
            let pfn = layout.pfn_at(va).unwrap();
            let frame = mfns[pfn.get() as usize];
            assert_eq!(machine.touch(0, va, false, user), Some(frame), "{va:#x}");
            let writable = (!layout.is_table(pfn)).then_some(frame);
            assert_eq!(machine.touch(0, va, true, user), writable, "{va:#x}");
            // A ring-1 kernel's pages are out of its programs' reach.
            assert_eq!(machine.touch(0, va, false, true).is_some(), user, "{va:#x}");
        }
    }
}

#[test]
fn the_tables_pass_the_checks_a_guests_tables_pass() {
    let machines = [(MachineKind::PvRing1, PagingPolicy::Ring1), (MachineKind::PvRing3, PagingPolicy::Ring3)];
    for ((kind, policy), init_p2m) in machines
        .into_iter()
        .flat_map(|one| [(one, None), (one, Some(0x80_0000_0000)), (one, Some(BASE + (4 << 20)))])
    {
        let mut elf = Elf::kernel();
        elf.note("Paravane", 1, &1u64.to_le_bytes());
        if let Some(va) = init_p2m {
            elf.number(XEN_ELFNOTE_INIT_P2M, va).number(XEN_ELFNOTE_MOD_START_PFN, 1);
        }
        let file = elf.build();
        let mut config = DomainConfig::new("guest", 1200 * 4, 1);
        config.machine = Some(kind);
        let plan = Plan::new(config, &file, &[7; 9000]).unwrap();
        let layout = plan.arrangement.pv().unwrap();
        let nr_pages = layout.nr_pages;

        let (machine, mut table) = FakeMachine::with_frames(nr_pages as usize + 8, 1, 4);
        assert!(table.open_account(ID, nr_pages));
        let mut mfns: Vec<Mfn> = (0..nr_pages).map(|_| table.alloc_domain(&machine, ID).unwrap()).collect();
        // Neighbours in the guest are no neighbours in the machine.
        mfns.reverse();
        for (pfn, &mfn) in mfns.iter().enumerate() {
            machine.set_m2p(mfn, Pfn::new(pfn as u64));
        }
        let start = plan.populate(
            Mfn::new(0),
            RingPorts { store: 1, console: 2 },
            &mut Frames { table: &mut table, machine: &machine, mfns: &mfns },
        );
        let start = start.pv().unwrap();

        let memory = DomainMemory::new(ID, policy, 1);
        let mut vcpu = VcpuPaging::new();
        // Pin, then load; with a small budget, so that validation is preempted on the way.
        for (load, limit) in [(false, 100), (true, 1)] {
            let mut done = false;
            for _ in 0..limit {
                let mut paging = Paging::new(&mut table, &machine, &memory, &mut vcpu, Budget::new(600));
                let step = if load { paging.set_base(start.l4) } else { paging.pin(start.l4, Level::L4) };
                match step {
                    Ok(()) => done = true,
                    Err(OpError::Again) => continue,
                    Err(OpError::Refused(error)) => panic!("the builder's tables were refused: {error}"),
                }
                break;
            }
            assert!(done);
        }
        assert!(table.info(start.l4).unwrap().pinned());
        for one in layout.tables() {
            let info = table.info(mfns[one.pfn.get() as usize]).unwrap();
            assert!(info.is_in_use_as(FrameType::table(one.level)), "{one:?} is {info:?}");
        }
        let vcpus = [&vcpu];
        let found = audit(&table, &machine, &[AuditDomain { memory: &memory, vcpus: &vcpus, holdings: &[] }]);
        assert!(found.is_empty(), "{}", found[0]);
        check_mapping(layout, &machine, &mfns, policy == PagingPolicy::Ring3);
    }
}
