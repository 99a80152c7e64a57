use super::{Access, Fault, GuestMemory};
use crate::addr::{DomainId, Mfn, PAGE_SIZE};
use crate::fake_machine::FakeMachine;
use crate::pagetable::Pte;
use crate::pagetable::tests::world::{BASE, RO, RW, Tree, World};
use std::format;
use std::string::ToString;

const PAGE: u64 = PAGE_SIZE as u64;
/// A page whose kind the table in [`world`] tells.
const fn page(number: u64) -> u64 {
    BASE + number * PAGE
}

/// Pages 0 and 1 writable, 2 read-only, 3 supervisor, 4 without execution, 5 a table, 6 not present; the
/// L2's slot 1 is read-only and its slot 2 supervisor.
fn world() -> (World, Tree) {
    let mut world = World::ring1();
    let tree = world.tree(2);
    let target = world.page();
    world.set(tree.l1, 2, target, RO);
    world.set(tree.l1, 3, target, RW & !Pte::US);
    world.set(tree.l1, 4, target, RO | Pte::NX);
    world.set(tree.l1, 5, tree.l2, RO);
    world.set(tree.l2, 1, tree.l1, RO);
    world.set(tree.l2, 2, tree.l1, Pte::P | Pte::RW);
    world.set(tree.l2, 3, tree.l1, RW | Pte::NX);
    world.paging().set_base(tree.l4).unwrap();
    world.check();
    (world, tree)
}

fn as_user(world: &World) -> GuestMemory<'_, FakeMachine> {
    let base = world.vcpus[0].base().unwrap();
    GuestMemory::user(&world.frames, &world.machine, world.domain.id, base)
}

#[test]
fn bytes_cross_pages() {
    let (world, tree) = world();
    let memory = world.memory();
    let sent: std::vec::Vec<u8> = (0..=255).cycle().take(5000).collect();
    memory.copy_to_guest(page(0) + 3001, &sent).unwrap();
    let mut back = std::vec![0; 5000];
    memory.copy_from_guest(page(0) + 3001, &mut back).unwrap();
    assert_eq!(sent, back);
    assert_eq!(world.entry(tree.pages[0], 511).0 >> 8 & 0xff, u64::from(sent[4089 - 3001]));
    assert_eq!(world.entry(tree.pages[1], 0).0 & 0xff, u64::from(sent[4096 - 3001]));
}

#[test]
fn rights_are_those_a_cpu_would_see() {
    let (world, _) = world();
    let second = 1 << 21;
    let (r, w, x) = (Access::Read, Access::Write, Access::Fetch);
    let (p, wr, us, f) = (Fault::PRESENT, Fault::WRITE, Fault::USER, Fault::FETCH);
    // Address, access, and the error codes for kernel and user; 64 for none.
    let ok = 64;
    let cases = [
        (page(0), r, ok, ok),
        (page(0), w, ok, ok),
        (page(0), x, ok, ok),
        (page(2), r, ok, ok),
        (page(2), w, p | wr, p | wr | us),
        (page(3), r, ok, p | us),
        (page(3), w, ok, p | wr | us),
        (page(3), x, ok, p | us | f),
        (page(4), r, ok, ok),
        (page(4), x, p | f, p | us | f),
        (page(6), r, 0, us),
        (page(6), w, wr, us | wr),
        (page(6), x, f, us | f),
        (page(0) + second, r, ok, ok),
        (page(0) + second, w, p | wr, p | wr | us),
        (page(0) + 2 * second, w, ok, p | wr | us),
        (page(0) + 2 * second, r, ok, p | us),
        (page(0) + 3 * second, x, p | f, p | us | f),
        (page(0) + 3 * second, w, ok, ok),
        (page(0) + 4 * second, r, 0, us),
        (BASE << 1, r, 0, us),
        (0, w, wr, us | wr),
        (1 << 47, r, 0, us),
        (0xffff_7fff_ffff_f000, r, 0, us),
        (0xffff_8000_0000_0000, r, 0, us),
        (0xffff_87ff_ffff_f000, w, wr, us | wr),
        (u64::MAX, r, 0, us),
    ];
    for (address, access, kernel, user) in cases {
        for (memory, code) in [(world.memory(), kernel), (as_user(&world), user)] {
            let found = memory.translate(address, access).map(|_| ());
            let want = if code == ok { Ok(()) } else { Err(Fault { address, code }) };
            assert_eq!(found, want, "{address:#x} {access:?}");
        }
    }
    // What the CPUs of the fake say about the same addresses.
    for (address, access, kernel, user) in cases {
        for (is_user, code) in [(false, kernel), (true, user)] {
            if access != x && address != u64::MAX {
                let touched = world.machine.touch(0, address, access == w, is_user);
                assert_eq!(touched.is_some(), code == ok, "{address:#x} {access:?}");
            }
        }
    }
}

#[test]
fn accessed_and_dirty_are_set_as_a_cpu_does() {
    let (world, tree) = world();
    let bits = |table, index| world.entry(table, index).0 & (Pte::A | Pte::D);
    world.memory().read::<u64>(page(2)).unwrap();
    assert_eq!([bits(tree.l3, 0), bits(tree.l2, 0), bits(tree.l1, 2)], [Pte::A; 3]);
    assert_eq!(bits(tree.l1, 0), 0);
    world.memory().write(page(0), &1u64).unwrap();
    assert_eq!(bits(tree.l1, 0), Pte::A | Pte::D);
    assert_eq!(bits(tree.l2, 0), Pte::A);
    world.memory().write(page(2), &1u64).unwrap_err();
    assert_eq!(bits(tree.l1, 2), Pte::A, "a write that faults leaves no mark");
    assert_eq!(world.audit(), []);
}

#[test]
fn marks_set_by_a_cpu_meanwhile_do_not_disturb() {
    let (world, tree) = world();
    world.machine.set_meanwhile(tree.l1, 0, Pte::A | 1 << 9);
    world.memory().write(page(0), &1u64).unwrap();
    assert_eq!(world.entry(tree.l1, 0).0 & (Pte::A | Pte::D | 1 << 9), Pte::A | Pte::D | 1 << 9);
}

#[test]
fn a_fault_names_the_first_address_that_failed() {
    let (world, _) = world();
    let memory = world.memory();
    let mut buffer = [0; 64];
    let fault = Fault { address: page(2), code: Fault::PRESENT | Fault::WRITE };
    assert_eq!(memory.copy_to_guest(page(2) - 8, &[7; 64]), Err(fault));
    assert_eq!(memory.read::<[u8; 8]>(page(2) - 8), Ok([7; 8]), "what came before is written");
    let fault = Fault { address: page(6), code: 0 };
    assert_eq!(memory.copy_from_guest(page(6) - 8, &mut buffer), Err(fault));
    let fault = Fault { address: page(4), code: Fault::PRESENT | Fault::FETCH };
    assert_eq!(memory.fetch(page(4) - 8, &mut buffer), Err(fault));
    assert_eq!(memory.fetch(page(3), &mut buffer), Ok(()));
    assert_eq!(memory.copy_from_guest(page(6), &mut []), Ok(()), "nothing is nowhere");
    assert_eq!(memory.copy_to_guest(page(6), &[]), Ok(()));
}

#[test]
fn copies_do_not_wrap_around_the_address_space() {
    let mut world = World::ring1();
    let tree = world.tree(2);
    world.set(tree.l4, 511, tree.l3, RW);
    world.set(tree.l4, 0, tree.l3, RW);
    world.set(tree.l3, 511, tree.l2, RW);
    world.set(tree.l2, 511, tree.l1, RW);
    world.set(tree.l1, 511, tree.pages[0], RW);
    world.paging().set_base(tree.l4).unwrap();
    let memory = world.memory();
    memory.write(u64::MAX - 7, &5u64).unwrap();
    assert_eq!(memory.read::<u64>(u64::MAX - 7), Ok(5));
    // A CPU's accesses wrap, so bytes do as well; arrays do not.
    assert!(memory.copy_to_guest(u64::MAX - 7, &[1; 16]).is_ok());
    assert!(memory.read_element::<u64>(u64::MAX - 7, 1).is_err());
}

#[test]
fn words_go_whole() {
    let (world, tree) = world();
    let memory = world.memory();
    memory.write_u64(page(0) + 8, 0x1122_3344_5566_7788).unwrap();
    assert_eq!(world.entry(tree.pages[0], 1), Pte(0x1122_3344_5566_7788));
    assert_eq!(memory.read_u64(page(0) + 8), Ok(0x1122_3344_5566_7788));
    memory.write_u64(page(1) - 3, 0x0102_0304_0506_0708).unwrap();
    assert_eq!(memory.read_u64(page(1) - 3), Ok(0x0102_0304_0506_0708));
    assert_eq!(memory.read::<u8>(page(1) - 3), Ok(8));
    for address in [page(2), page(2) + 4, page(5), page(6)] {
        let code = if address == page(6) { 0 } else { Fault::PRESENT } | Fault::WRITE;
        assert_eq!(memory.write_u64(address, 1), Err(Fault { address, code }));
    }
    assert!(memory.read_u64(page(5)).is_ok(), "tables can be read");
    assert!(memory.read_u64(page(6)).is_err());
}

#[test]
fn elements_and_slices_have_their_places() {
    let (world, _) = world();
    let memory = world.memory();
    memory.write_slice(page(0) + 4, &[1u32, 2, 3, 4]).unwrap();
    assert_eq!(memory.read_element::<u32>(page(0) + 4, 2), Ok(3));
    memory.write_element(page(0) + 4, 3, &9u32).unwrap();
    let mut back = [0u32; 4];
    memory.read_slice(page(0) + 4, &mut back).unwrap();
    assert_eq!(back, [1, 2, 3, 9]);
    for index in [u64::MAX, u64::MAX / 4, (u64::MAX - BASE) / 4 + 1] {
        assert!(memory.read_element::<u32>(page(0) + 4, index).is_err(), "{index}");
        let fault = memory.write_element(page(0) + 4, index, &0u32).unwrap_err();
        assert_eq!(fault.code & Fault::WRITE, Fault::WRITE);
    }
}

#[test]
fn arrays_begin_where_a_guest_may_have_memory() {
    let (world, _) = world();
    let check = |address, count, size| world.memory().check_array(address, count, size).is_ok();
    assert!(check(0, 1 << 43, 16) && check(0xffff_8800_0000_0000, 100, 16));
    assert!(!check(0xffff_87ff_ffff_fff8, 1, 8) && !check(0xffff_8000_0000_0000, 1, 8));
    assert!(check(0x7fff_ffff_ffff, 2, 1), "into the hole, as on Xen");
    assert!(!check(1 << 47, 0, 8), "even without an element, as on Xen");
    assert!(!check(8, u64::MAX, 8) && !check(8, u64::MAX / 4, 8));
}

#[test]
fn only_what_is_mapped_and_ones_own_is_reached() {
    let (mut world, tree) = world();
    // A leaf that no validated table could have: the frame table has the last word.
    let foreign = world.foreign_page();
    world.machine.poke(tree.l1, 100, Pte::new(foreign, RW).0);
    world.machine.poke(tree.l1, 101, Pte::new(tree.l1, RW).0);
    let memory = world.memory();
    assert!(memory.read::<u8>(page(100)).is_err() && memory.write(page(100), &0u8).is_err());
    assert!(memory.read_u64(page(100)).is_err() && memory.write_u64(page(100), 0).is_err());
    assert!(memory.write(page(101), &0u8).is_err() && memory.write_u64(page(101), 0).is_err());
    let other = GuestMemory::kernel(&world.frames, &world.machine, DomainId(2), tree.l4);
    assert!(other.read::<u8>(page(0)).is_err() && other.write(page(0), &0u8).is_err());
}

#[test]
fn the_leaf_slot_is_found_whatever_it_holds() {
    let (world, tree) = world();
    let slot = world.memory().leaf_slot(page(6) + 5).unwrap();
    assert_eq!((slot.table, slot.index, slot.entry), (tree.l1, 6, Pte(0)));
    let slot = world.memory().leaf_slot(page(0)).unwrap();
    assert_eq!((slot.table, slot.index), (tree.l1, 0));
    assert_eq!(slot.entry.frame(), tree.pages[0]);
    for address in [BASE + (1 << 30), BASE << 1, 0xffff_8000_0000_0000, 1 << 47] {
        assert_eq!(world.memory().leaf_slot(address), None);
    }
    assert_eq!(world.entry(tree.l2, 0).0 & Pte::A, 0, "looking leaves no mark");
}

#[test]
fn a_walk_is_reported_as_far_as_it_goes() {
    let (world, tree) = world();
    let report = world.memory().walk_report(page(2) + 0x123);
    assert_eq!(report.lines.iter().flatten().count(), 4);
    let text = report.to_string();
    assert!(text.contains("page walk of 0x0000008000002123"), "{text}");
    assert!(text.contains(&format!("L4[  1] in {}", tree.l4)), "{text}");
    assert!(text.contains(&format!("L1[  2] in {}", tree.l1)), "{text}");
    let refs = world.frames.info(world.entry(tree.l1, 2).frame()).unwrap().refs();
    assert!(text.contains(&format!("Domain(DomainId(1)) Writable x1, {refs} refs\n")), "{text}");
    assert!(text.contains(&format!("{:#018x} P US", world.entry(tree.l1, 2).0)), "{text}");
    let report = world.memory().walk_report(BASE + (1 << 30));
    assert_eq!(report.lines.iter().flatten().count(), 2, "ends at the empty L3 entry");
    let report = world.memory().walk_report(0xffff_8000_0000_1000);
    assert_eq!(report.lines.iter().flatten().count(), 0);
    assert!(report.to_string().contains("not an address a guest can use"));
    // A root that is no root is not walked.
    let memory = GuestMemory::kernel(&world.frames, &world.machine, world.domain.id, tree.l1);
    assert_eq!(memory.walk_report(BASE).lines.iter().flatten().count(), 0);
    let memory = GuestMemory::kernel(&world.frames, &world.machine, world.domain.id, Mfn::new(1 << 40));
    assert_eq!(memory.walk_report(BASE).lines.iter().flatten().count(), 0);
}
