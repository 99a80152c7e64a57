use super::*;

const ENTRY: u64 = 0xffff_8880_0123_4560;

/// Registers with the entry's address in RDI, R15 and (less 16) RBP.
fn at(address: u64) -> CpuUserRegs {
    CpuUserRegs { rdi: address, r15: address, rbp: address - 16, r12: 2, ..regs() }
}

fn write(bytes: &[u8], regs: &CpuUserRegs, address: u64) -> Result<PtWrite, NotEmulated> {
    page_table_write(bytes, regs, address, SegmentBases { fs: 0x1000, gs: 0x2000 })
}

/// Performs an instruction on an entry: the entry and the registers afterwards.
fn performed(bytes: &[u8], mut regs: CpuUserRegs, address: u64, entry: u64) -> (u64, CpuUserRegs) {
    let write = write(bytes, &regs, address).expect("emulated");
    assert_eq!((write.entry, write.length as usize), (address & !7, bytes.len()));
    let new = write.apply(entry);
    assert_eq!(write.commit(&mut regs, entry), 0);
    (new, regs)
}

#[test]
fn what_linux_does_to_live_entries() {
    let old = 0x8000_0001_2345_6067;
    // xchg [rdi], rax
    let (new, after) = performed(&[0x48, 0x87, 0x07], at(ENTRY), ENTRY, old);
    assert_eq!((new, after.rax, after.rip), (regs().rax, old, regs().rip + 3));
    // lock and byte [r15], 0xfd; the prefix may have been patched to DS.
    for prefix in [0xf0, 0x3e] {
        let (new, after) = performed(&[prefix, 0x41, 0x80, 0x27, 0xfd], at(ENTRY), ENTRY, old);
        assert_eq!((new, after.rflags & flag::CF), (old & !2, 0));
    }
    // mov [rbp + r12*8], rax
    let (new, _) = performed(&[0x4a, 0x89, 0x44, 0xe5, 0x00], at(ENTRY), ENTRY, old);
    assert_eq!(new, regs().rax);
    // lock btr qword [rdi], 5
    let (new, after) = performed(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 0x05], at(ENTRY), ENTRY, old);
    assert_eq!((new, after.rflags & flag::CF), (old & !0x20, flag::CF));
    // lock cmpxchg [rdi], rcx
    let matching = CpuUserRegs { rax: old, ..at(ENTRY) };
    let (new, after) = performed(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], matching, ENTRY, old);
    assert_eq!((new, after.rax, after.rflags & flag::ZF), (regs().rcx, old, flag::ZF));
    let (new, after) = performed(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f], at(ENTRY), ENTRY, old);
    assert_eq!((new, after.rax, after.rflags & flag::ZF), (old, old, 0));
}

#[test]
fn narrow_operands_change_their_bytes_only() {
    let old = 0x1111_2222_3333_4444;
    for (offset, bytes, wanted) in [
        (0, &[0x88, 0x07][..], 0x1111_2222_3333_44a7),
        (5, &[0x88, 0x07], 0x1111_a722_3333_4444),
        (7, &[0xc6, 0x07, 0x99], 0x9911_2222_3333_4444),
        (2, &[0x66, 0x89, 0x07], 0x1111_2222_a6a7_4444),
        (6, &[0x66, 0xc7, 0x07, 0x34, 0x12], 0x1234_2222_3333_4444),
        (4, &[0x89, 0x07], 0xa4a5_a6a7_3333_4444),
        (0, &[0x0f, 0xc3, 0x07], 0x1111_2222_a4a5_a6a7),
        (0, &[0x48, 0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        (4, &[0xc7, 0x07, 0xff, 0xff, 0xff, 0xff], 0xffff_ffff_3333_4444),
        // mov [rdi], ah
        (1, &[0x88, 0x27], 0x1111_2222_3333_a644),
    ] {
        let (new, after) = performed(bytes, at(ENTRY + offset), ENTRY + offset, old);
        assert_eq!(new, wanted, "{bytes:x?}");
        assert_eq!(after.rflags, 0x246);
    }
}

#[test]
fn the_address_must_be_the_one_that_faulted() {
    for bytes in
        [&[0x48, 0x89, 0x07][..], &[0x48, 0x87, 0x07], &[0xf0, 0x48, 0x0f, 0xba, 0x37, 0x05], &[0x48, 0xab]]
    {
        assert!(write(bytes, &at(ENTRY), ENTRY).is_ok(), "{bytes:x?}");
        for wrong in [ENTRY + 8, ENTRY - 8, ENTRY + 1, ENTRY ^ 1 << 63, 0] {
            assert_eq!(write(bytes, &at(ENTRY), wrong), Err(NotEmulated::Unhandled), "{bytes:x?}");
        }
    }
}

#[test]
fn operands_that_are_not_aligned_are_refused() {
    for (offset, bytes) in [
        (1, &[0x66, 0x89, 0x07][..]),
        (2, &[0x89, 0x07]),
        (4, &[0x48, 0x89, 0x07]),
        (7, &[0x66, 0x89, 0x07]),
        (6, &[0x89, 0x07]),
        (4, &[0x0f, 0xc7, 0x0f]),
    ] {
        let address = ENTRY + offset;
        assert_eq!(write(bytes, &at(address), address), Err(NotEmulated::Unhandled), "{bytes:x?}");
    }
}

#[test]
fn addresses_of_every_form() {
    let store = |bytes: &[u8], address| {
        assert!(write(bytes, &at(ENTRY), address).is_ok(), "{bytes:x?} at {address:#x}");
    };
    // mov [rip + 0x10], rax: relative to the next instruction.
    store(&[0x48, 0x89, 0x05, 0x11, 0, 0, 0], regs().rip + 0x18);
    // mov fs:[0x20], rax and mov gs:[0x28], rax
    store(&[0x64, 0x48, 0x89, 0x04, 0x25, 0x20, 0, 0, 0], 0x1020);
    store(&[0x65, 0x48, 0x89, 0x04, 0x25, 0x28, 0, 0, 0], 0x2028);
    // mov [edi], rax: the address is cut to 32 bits.
    store(&[0x67, 0x48, 0x89, 0x07], ENTRY & 0xffff_ffff);
    // mov [0x1122334455667788], rax
    store(&[0x48, 0xa3, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11], 0x1122_3344_5566_7788);
}

#[test]
fn bit_offsets_in_registers_reach_beyond_the_operand() {
    // lock bts [rdi], rcx
    let bytes = [0xf0, 0x48, 0x0f, 0xab, 0x0f];
    for (offset, address, bit) in [(0, ENTRY, 0), (63, ENTRY, 63), (64, ENTRY + 8, 0), (-1, ENTRY - 8, 63)] {
        let regs = CpuUserRegs { rcx: offset as i64 as u64, ..at(ENTRY) };
        let (new, _) = performed(&bytes, regs, address, 0);
        assert_eq!(new, 1 << bit, "{offset}");
        assert_eq!(write(&bytes, &regs, address ^ 8), Err(NotEmulated::Unhandled));
    }
    // bts [rdi], cx takes 16 bits of the offset only: -16 is the word before.
    let narrow = CpuUserRegs { rcx: 0xffff_fff0, ..at(ENTRY + 2) };
    assert_eq!(performed(&[0x66, 0x0f, 0xab, 0x0f], narrow, ENTRY, 0).0, 1);
    // bts dword [rdi], 37 counts within the operand.
    assert_eq!(performed(&[0x0f, 0xba, 0x2f, 37], at(ENTRY + 4), ENTRY + 4, 0).0, 1 << (32 + 5));
}

#[test]
fn pairs_are_compared_whole() {
    let bytes = [0xf0, 0x0f, 0xc7, 0x0f];
    let old = 0xd4d5_d6d7_a4a5_a6a7;
    let (new, after) = performed(&bytes, at(ENTRY), ENTRY, old);
    assert_eq!((new, after.rflags & flag::ZF), (0xc4c5_c6c7_b4b5_b6b7, flag::ZF));
    assert_eq!((after.rax, after.rdx), (regs().rax, regs().rdx));
    let (new, after) = performed(&bytes, at(ENTRY), ENTRY, old ^ 1 << 40);
    assert_eq!((new, after.rflags & flag::ZF), (old ^ 1 << 40, 0));
    assert_eq!((after.rax, after.rdx), (0xa4a5_a6a7, 0xd4d5_d6d7 ^ 1 << 8));
    // Sixteen bytes do not fit an entry.
    assert_eq!(write(&[0xf0, 0x48, 0x0f, 0xc7, 0x0f], &at(ENTRY), ENTRY), Err(NotEmulated::Unhandled));
}

#[test]
fn stores_know_that_the_old_value_does_not_matter() {
    let store = |bytes: &[u8]| write(bytes, &at(ENTRY), ENTRY).unwrap().store();
    assert_eq!(store(&[0x48, 0x89, 0x07]), Some(regs().rax));
    assert_eq!(store(&[0x48, 0xab]), Some(regs().rax));
    assert_eq!(store(&[0x89, 0x07]), None);
    assert_eq!(store(&[0x48, 0x87, 0x07]), None);
    let failing = write(&[0x48, 0x0f, 0xb1, 0x0f], &at(ENTRY), ENTRY).unwrap();
    assert!(failing.unchanged(1) && !failing.unchanged(regs().rax));
}

#[test]
fn string_stores_step_their_registers() {
    let (new, after) = performed(&[0x48, 0xab], at(ENTRY), ENTRY, 1);
    assert_eq!((new, after.rdi, after.rcx), (regs().rax, ENTRY + 8, regs().rcx));
    assert_eq!(after.rip, regs().rip + 2);
    let down = CpuUserRegs { rflags: 0x646, rcx: 2, ..at(ENTRY) };
    let (_, after) = performed(&[0xf3, 0x48, 0xab], down, ENTRY, 1);
    assert_eq!((after.rdi, after.rcx, after.rip), (ENTRY - 8, 1, regs().rip));
    let last = CpuUserRegs { rcx: 1, ..at(ENTRY) };
    let (_, after) = performed(&[0xf3, 0x48, 0xab], last, ENTRY, 1);
    assert_eq!((after.rcx, after.rip), (0, regs().rip + 3));
    let none = CpuUserRegs { rcx: 0, ..at(ENTRY) };
    assert_eq!(write(&[0xf3, 0x48, 0xab], &none, ENTRY), Err(NotEmulated::Unhandled));
}

#[test]
fn a_step_is_owed_after_a_write() {
    let mut regs = CpuUserRegs { rflags: 0x346, ..at(ENTRY) };
    let write = write(&[0x48, 0x89, 0x07], &regs, ENTRY).unwrap();
    assert_eq!(write.commit(&mut regs, 0), DR6_SINGLE_STEP);
}

#[test]
fn other_instructions_are_the_guests_fault() {
    for bytes in [
        // mov rax, [rdi]; add rax, [rdi]; push [rdi]; movups [rdi], xmm0; fst; sete; movs; shl; mov [rdi], ds; ud2
        &[0x48, 0x8b, 0x07][..],
        &[0x48, 0x03, 0x07],
        &[0xff, 0x37],
        &[0x0f, 0x11, 0x07],
        &[0xdd, 0x17],
        &[0x0f, 0x94, 0x07],
        &[0x48, 0xa5],
        &[0x48, 0xd1, 0x27],
        &[0x8c, 0x1f],
        &[0x0f, 0x0b],
        &[0x48, 0x85, 0x07],
    ] {
        assert_eq!(write(bytes, &at(ENTRY), ENTRY), Err(NotEmulated::Unhandled), "{bytes:x?}");
    }
    let missing = NotEmulated::Fetch(Fault::page(regs().rip + 2, 0x10));
    assert_eq!(write(&[0x48, 0x89], &at(ENTRY), ENTRY), Err(missing));
}
