use super::world::{BASE, RW, World, refused};
use crate::addr::{Level, Mfn};
use crate::pagetable::{MapOwner, OpError, PagingPolicy, Pte};
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::mmuext_op::MmuextCommand;
use paravane_abi::mmu::MmuextOp;

fn mmuext(world: &mut World, command: MmuextCommand, arg1: u64, arg2: u64) -> Result<(), OpError> {
    let result = world.paging().mmuext(&MmuextOp::new(command.number(), arg1, arg2), MapOwner::Own);
    assert_eq!(world.audit(), []);
    result
}

#[test]
fn the_base_table_is_held() {
    let mut world = World::ring1();
    let first = world.boot(1);
    let second = world.tree(1);
    assert_eq!(mmuext(&mut world, MmuextCommand::UnpinTable, first.l4.get(), 0), Ok(()));
    assert_eq!(world.info(first.l4).type_count(), 1, "the vcpu's");
    assert_eq!(mmuext(&mut world, MmuextCommand::NewBaseptr, second.l4.get(), 0), Ok(()));
    world.check();
    assert_eq!(world.info(first.l4).type_count(), 0);
    assert_eq!(world.info(second.l4).type_count(), 1);
    assert_eq!(world.vcpus[0].base(), Some(second.l4));
    assert_eq!(world.machine.touch(0, BASE, false, false), Some(second.pages[0]));
    // The first tree's frames are plain pages again, and the guest may write them.
    let request =
        paravane_abi::mmu::MmuUpdate { ptr: second.l1.address() + 8 * 5, val: Pte::new(first.l4, RW).0 };
    assert_eq!(world.paging().update(request, MapOwner::Own), Ok(()));
    world.check();
}

#[test]
fn a_bad_base_leaves_the_old_one() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    let foreign = world.foreign_page();
    for frame in [foreign, tree.l3, tree.pages[0], Mfn::new(0), Mfn::new(1 << 30)] {
        let result = mmuext(&mut world, MmuextCommand::NewBaseptr, frame.get(), 0);
        assert_eq!(result, refused(Errno::EINVAL), "{frame}");
        assert_eq!(world.vcpus[0].base(), Some(tree.l4));
    }
    world.check();
}

#[test]
fn the_same_base_again_flushes_this_cpu() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    assert_eq!(world.on(1, 1 << 20).set_base(tree.l4), Ok(()));
    world.check();
    assert!(world.machine.holds(0, BASE) && world.machine.holds(1, BASE));
    assert_eq!(mmuext(&mut world, MmuextCommand::NewBaseptr, tree.l4.get(), 0), Ok(()));
    assert!(!world.machine.holds(0, BASE) && world.machine.holds(1, BASE));
    assert_eq!(world.info(tree.l4).type_count(), 3);
}

#[test]
fn a_new_base_is_validated_in_steps_and_the_old_one_released_in_steps() {
    let mut world = World::ring1();
    let first = world.boot(1);
    assert_eq!(world.paging().unpin(first.l4), Ok(()));
    let second = world.tree(1);
    let (result, times) = world.repeat(|paging| paging.set_base(second.l4));
    assert_eq!(result, Ok(()));
    assert!(times > 500, "{times}");
    assert_eq!(world.vcpus[0].pending(), Some(first.l4));
    let (result, times) = world.repeat(|paging| paging.set_base(second.l4));
    assert_eq!(result, Ok(()));
    assert!(times > 0);
    assert_eq!(world.vcpus[0].pending(), None);
    assert_eq!(world.info(first.l4).refs(), 1);
}

#[test]
fn programs_have_their_own_base_in_ring_3_only() {
    let mut world = World::new(PagingPolicy::Ring3);
    let kernel = world.boot(1);
    let user = world.tree(1);
    let new = MmuextCommand::NewUserBaseptr;
    assert_eq!(mmuext(&mut world, new, user.l4.get(), 0), Ok(()));
    assert_eq!(world.vcpus[0].user_base(), Some(user.l4));
    assert_eq!(mmuext(&mut world, new, user.l4.get(), 0), Ok(()));
    assert_eq!(world.info(user.l4).type_count(), 1);
    assert_eq!(mmuext(&mut world, new, user.l3.get(), 0), refused(Errno::EINVAL));
    assert_eq!(mmuext(&mut world, new, kernel.l4.get(), 0), Ok(()));
    assert_eq!(world.info(user.l4).type_count(), 0);
    assert_eq!(mmuext(&mut world, new, 0, 0), Ok(()));
    assert_eq!(world.vcpus[0].user_base(), None);
    world.check();

    let mut world = World::ring1();
    let tree = world.boot(1);
    assert_eq!(mmuext(&mut world, new, tree.l4.get(), 0), refused(Errno::EOPNOTSUPP));
    assert_eq!(mmuext(&mut world, new, 0, 0), Ok(()));
    world.check();
}

#[test]
fn flushes_reach_the_cpus_they_name() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    assert_eq!(world.on(1, 1 << 20).set_base(tree.l4), Ok(()));
    let bitmap = World::word(1, 0);
    let next = BASE + 0x1000;
    // What is done, and whether the two CPUs still hold the first page and the second.
    let cases = [
        (MmuextCommand::TlbFlushLocal, 0, 0, [false, false, true, true]),
        (MmuextCommand::TlbFlushAll, 0, 0, [false, false, false, false]),
        (MmuextCommand::InvlpgLocal, BASE + 5, 0, [false, true, true, true]),
        (MmuextCommand::InvlpgAll, BASE + 5, 0, [false, true, false, true]),
        (MmuextCommand::TlbFlushMulti, 0, bitmap, [true, true, false, false]),
        (MmuextCommand::InvlpgMulti, BASE, bitmap, [true, true, false, true]),
        // Addresses a guest has no pages at: nothing to flush, and no error.
        (MmuextCommand::InvlpgAll, 0xffff_8000_0000_0000, 0, [true; 4]),
        (MmuextCommand::InvlpgLocal, 1 << 47, 0, [true; 4]),
        (MmuextCommand::InvlpgMulti, 1 << 63, bitmap, [true; 4]),
    ];
    for (command, arg1, arg2, held) in cases {
        // Vcpu 1, and some the domain does not have.
        world.machine.poke(tree.pages[1], 0, !1);
        world.machine.fill();
        assert_eq!(mmuext(&mut world, command, arg1, arg2), Ok(()), "{command:?}");
        let holds = |cpu, address| world.machine.holds(cpu, address);
        assert_eq!([holds(0, BASE), holds(0, next), holds(1, BASE), holds(1, next)], held, "{command:?}");
    }
    for command in [MmuextCommand::TlbFlushMulti, MmuextCommand::InvlpgMulti] {
        for bad in [0, BASE + 0x10_0000, 0xffff_8000_0000_0000] {
            assert_eq!(mmuext(&mut world, command, BASE, bad), refused(Errno::EINVAL), "{bad:#x}");
        }
    }
}

#[test]
fn bitmaps_end_with_the_domains_vcpus() {
    let mut world = World::ring1();
    let tree = world.boot(1);
    world.machine.poke(tree.pages[0], 0, u64::MAX);
    for (vcpus, read) in [(1, 1), (2, 3), (63, u64::MAX >> 1), (64, u64::MAX), (65, u64::MAX)] {
        world.domain.max_vcpus = vcpus;
        assert_eq!(world.paging().read_vcpus(BASE), Ok(read));
    }
    assert_eq!(world.paging().read_vcpus(BASE + 0x5000), Err(Errno::EFAULT));
    assert_eq!(world.on(1, 1).read_vcpus(BASE), Err(Errno::EFAULT), "no base table");
}

#[test]
fn no_ldt_is_the_only_ldt() {
    let mut world = World::ring1();
    world.boot(1);
    let set = MmuextCommand::SetLdt;
    assert_eq!(mmuext(&mut world, set, 0, 0), Ok(()));
    assert_eq!(mmuext(&mut world, set, 123, 1 << 32), Ok(()), "the count has 32 bits");
    for (address, entries) in [(BASE + 8, 1), (0xffff_8000_0000_0000, 1), (BASE, 8193), (1 << 47, 1)] {
        assert_eq!(mmuext(&mut world, set, address, entries), refused(Errno::EINVAL), "{address:#x}");
    }
    for entries in [1, 8192] {
        assert_eq!(mmuext(&mut world, set, BASE, entries), refused(Errno::EOPNOTSUPP));
    }
}

#[test]
fn pages_are_cleared_and_copied() {
    let mut world = World::ring1();
    let tree = world.boot(2);
    let (source, target) = (tree.pages[0], world.page());
    for index in 0..512 {
        world.machine.poke(source, index, index as u64 + 1);
    }
    let (clear, copy) = (MmuextCommand::ClearPage, MmuextCommand::CopyPage);
    assert_eq!(mmuext(&mut world, copy, target.get(), source.get()), Ok(()));
    assert_eq!(world.entry(target, 511), Pte(512));
    assert_eq!(mmuext(&mut world, clear, source.get(), 0), Ok(()));
    assert_eq!(world.machine.nonzero(source).count(), 0);
    assert_eq!(world.machine.nonzero(target).count(), 512);
    // A table can be read, not written.
    assert_eq!(mmuext(&mut world, copy, source.get(), tree.l1.get()), Ok(()));
    assert_eq!(world.entry(source, 0), world.entry(tree.l1, 0));
    let foreign = world.foreign_page();
    for bad in [tree.l1, foreign, Mfn::new(0), Mfn::new(64)] {
        assert_eq!(mmuext(&mut world, clear, bad.get(), 0), refused(Errno::EINVAL), "{bad}");
        assert_eq!(mmuext(&mut world, copy, bad.get(), source.get()), refused(Errno::EINVAL), "{bad}");
    }
    assert_eq!(mmuext(&mut world, copy, source.get(), foreign.get()), refused(Errno::EINVAL));
    world.check();
}

#[test]
fn pins_come_by_command_too() {
    let mut world = World::ring1();
    let tree = world.tree(1);
    let pins = [
        (MmuextCommand::PinL1Table, tree.l1),
        (MmuextCommand::PinL2Table, tree.l2),
        (MmuextCommand::PinL3Table, tree.l3),
        (MmuextCommand::PinL4Table, tree.l4),
    ];
    for (level, (command, frame)) in [Level::L1, Level::L2, Level::L3, Level::L4].into_iter().zip(pins) {
        assert_eq!(mmuext(&mut world, command, frame.get(), 0), Ok(()));
        assert_eq!(world.info(frame).kind().level(), Some(level));
        assert!(world.info(frame).pinned());
    }
    for (_, frame) in pins {
        assert_eq!(mmuext(&mut world, MmuextCommand::UnpinTable, frame.get(), 0), Ok(()));
    }
    world.check();
}

#[test]
fn what_needs_devices_or_is_gone_is_refused() {
    let mut world = World::ring1();
    world.boot(1);
    for (command, error) in [
        (MmuextCommand::FlushCache, Errno::EACCES),
        (MmuextCommand::FlushCacheGlobal, Errno::EINVAL),
        (MmuextCommand::MarkSuper, Errno::EOPNOTSUPP),
        (MmuextCommand::UnmarkSuper, Errno::EOPNOTSUPP),
    ] {
        assert_eq!(mmuext(&mut world, command, 0, 0), refused(error));
    }
    for number in [14, 21, u32::MAX] {
        let op = MmuextOp::new(number, 0, 0);
        assert_eq!(world.paging().mmuext(&op, MapOwner::Own), refused(Errno::ENOSYS));
        assert_eq!(world.paging().mmuext(&op, MapOwner::Io), refused(Errno::EPERM));
    }
}
