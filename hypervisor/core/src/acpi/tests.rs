use super::*;
use alloc::vec;

/// Where the made-up tables stand.
const BASE: u64 = 0xe_0000;

/// Memory with tables in it, one after the other from [`BASE`].
struct World {
    bytes: Vec<u8>,
}

fn seal(table: &mut [u8], at: usize) {
    table[at] = 0;
    table[at] = table.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
}

fn sdt(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = vec![0; HEADER];
    table[..4].copy_from_slice(signature);
    table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
    table.extend_from_slice(body);
    seal(&mut table, 9);
    table
}

fn madt(entries: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![0; MADT_HEADER - HEADER];
    entries.iter().for_each(|entry| body.extend_from_slice(entry));
    sdt(b"APIC", &body)
}

fn apic(id: u8, flags: u8) -> [u8; 8] {
    [LOCAL_APIC, 8, 0, id, flags, 0, 0, 0]
}

fn x2apic(id: u32, flags: u8) -> [u8; 16] {
    let mut entry = [0; 16];
    (entry[0], entry[1], entry[8]) = (LOCAL_X2APIC, 16, flags);
    entry[4..8].copy_from_slice(&id.to_le_bytes());
    entry
}

impl World {
    /// An RSDP of the revision, its root table, one other table, and `madt`.
    fn new(revision: u8, madt: &[u8]) -> Self {
        let other = sdt(b"FACP", &[7; 20]);
        let width = if revision >= 2 { 8 } else { 4 };
        let root = BASE + 64;
        let first = root + (HEADER + 2 * width) as u64;
        let addresses = [first, first + other.len() as u64];
        let entries: Vec<u8> =
            addresses.iter().flat_map(|address| address.to_le_bytes()[..width].to_vec()).collect();
        let mut bytes = vec![0; 64];
        bytes[..8].copy_from_slice(b"RSD PTR ");
        bytes[15] = revision;
        bytes[16..20].copy_from_slice(&(root as u32).to_le_bytes());
        seal(&mut bytes[..RSDP_LENGTH], 8);
        bytes[24..32].copy_from_slice(&root.to_le_bytes());
        seal(&mut bytes[..RSDP_LENGTH_2], 32);
        bytes.extend(sdt(if width == 8 { b"XSDT" } else { b"RSDT" }, &entries));
        bytes.extend(other);
        bytes.extend_from_slice(madt);
        Self { bytes }
    }

    fn processors(&self) -> Result<Vec<u8>, Error> {
        processors(Some(BASE), |address, length| {
            let start = usize::try_from(address.checked_sub(BASE)?).ok()?;
            self.bytes.get(start..start.checked_add(length)?)
        })
    }
}

#[test]
fn enabled_processors_are_found_by_both_root_tables() {
    let io_apic = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
    let madt = madt(&[&apic(0, 1), &io_apic, &apic(2, 1), &apic(3, 0), &apic(4, 2), &x2apic(5, 1)]);
    for revision in [0, 2] {
        assert_eq!(World::new(revision, &madt).processors(), Ok(vec![0, 2, 5]), "revision {revision}");
    }
}

#[test]
fn what_cannot_be_addressed_or_comes_twice_is_left_out() {
    let madt = madt(&[&apic(1, 1), &x2apic(1, 1), &apic(0xff, 1), &x2apic(255, 1), &x2apic(1 << 20, 1)]);
    assert_eq!(World::new(2, &madt).processors(), Ok(vec![1]));
}

#[test]
fn entries_that_lie_about_their_length_end_the_list() {
    for bad in [&[0u8, 0][..], &[0, 1], &[0, 200, 0, 9], &[0]] {
        let table = madt(&[&apic(1, 1), bad]);
        assert_eq!(World::new(0, &table).processors(), Ok(vec![1]), "{bad:?}");
    }
    // Long enough for its head, too short for what it should hold.
    let table = madt(&[&[LOCAL_APIC, 4, 0, 9], &[LOCAL_X2APIC, 8, 0, 0, 9, 0, 0, 0], &apic(1, 1)]);
    assert_eq!(World::new(0, &table).processors(), Ok(vec![1]));
}

#[test]
fn errors_are_told_apart() {
    assert_eq!(processors(None, |_, _| None), Err(Error::NoRsdp));
    assert_eq!(processors(Some(BASE), |_, _| None), Err(Error::Unreadable { address: BASE }));
    let good = World::new(0, &madt(&[&apic(1, 1)]));
    let with = |at: usize, value: u8| {
        let mut bytes = good.bytes.clone();
        bytes[at] = value;
        World { bytes }.processors()
    };
    assert_eq!(with(0, b'X'), Err(Error::Corrupt { address: BASE }));
    assert_eq!(with(16, 1), Err(Error::Corrupt { address: BASE }), "the RSDP's checksum");
    assert_eq!(with(64 + 10, 1), Err(Error::Corrupt { address: BASE + 64 }), "the root table's checksum");
    assert_eq!(with(64 + 7, 1), Err(Error::Corrupt { address: BASE + 64 }), "a table of 16 MiB");
    assert_eq!(World::new(0, &sdt(b"HPET", &[0; 20])).processors(), Err(Error::NoMadt));
}

#[test]
fn a_damaged_extension_falls_back_to_the_first_part() {
    let mut world = World::new(0, &madt(&[&apic(6, 1)]));
    world.bytes[15] = 2;
    seal(&mut world.bytes[..RSDP_LENGTH], 8);
    world.bytes[33] ^= 0xff;
    assert_eq!(world.processors(), Ok(vec![6]));
}

/// A counter with good mixing (SplitMix64): the seed names the case.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 27
}

/// Hostile tables: bytes changed at random, checksums made good again, so that the damage gets through. Nothing
/// panics, and nothing that is not below 255 comes out.
#[test]
fn damaged_tables_never_panic() {
    let entries = [apic(0, 1), apic(1, 1), apic(2, 1), apic(3, 1)];
    let entries: Vec<&[u8]> = entries.iter().map(|entry| &entry[..]).collect();
    let mut listed = 0;
    for seed in 0..20_000u64 {
        let mut state = seed;
        let mut world = World::new(if seed & 1 == 0 { 0 } else { 2 }, &madt(&entries));
        let length = world.bytes.len();
        for _ in 0..1 + random(&mut state) % 8 {
            world.bytes[random(&mut state) as usize % length] = random(&mut state) as u8;
        }
        if random(&mut state).is_multiple_of(4) {
            world.bytes.truncate(length - random(&mut state) as usize % 16);
        }
        let end = world.bytes.len();
        let root = 64 + HEADER + if seed & 1 == 0 { 8 } else { 16 };
        seal(&mut world.bytes[..RSDP_LENGTH], 8);
        seal(&mut world.bytes[..RSDP_LENGTH_2], 32);
        seal(&mut world.bytes[64..root], 9);
        seal(&mut world.bytes[root + 56..end], 9);
        if let Ok(found) = world.processors() {
            listed += 1;
            assert!(found.len() <= 255 && found.iter().all(|id| *id < 255), "seed {seed}: {found:?}");
        }
    }
    assert!(listed > 1000, "only {listed} damaged tables were read at all: the test proves little");
}
