//! Random memory operations of two domains, seeded: whatever they do, all counts agree, nobody has more than it may,
//! free frames stand for nothing, and no frame is lost.

use super::*;

struct Dice(u64);

impl Dice {
    /// Xorshift (Marsaglia, 2003).
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 9) % below
    }
}

/// One domain's view of its memory.
struct Guest {
    /// Frames it was told it has.
    known: Vec<Mfn>,
}

impl Guest {
    fn pick(&self, dice: &mut Dice) -> u64 {
        match dice.roll(12) {
            0 => dice.roll(6000),
            1 => u64::MAX - dice.roll(3),
            _ => self.known[dice.roll(self.known.len() as u64) as usize].get(),
        }
    }
}

fn request(dice: &mut Dice, order: u32, list: u64) -> MemoryReservation {
    let mem_flags = [0, 0, 0, 0, 24, 22, 12, 1 << 17 | 1 << 8][dice.roll(8) as usize];
    let domid = [DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, 1, 2][dice.roll(6) as usize];
    MemoryReservation { mem_flags, domid, ..of_order(list, dice.roll(5), order) }
}

/// Fills a list with what might be frames, or pfns.
fn fill(world: &World, guest: &Guest, dice: &mut Dice, list: u64) {
    for n in 0..64 {
        let run = dice.roll(3) != 0;
        let frame = guest.pick(dice);
        let value = if run { frame & !1 } else { frame };
        world.put(list + 8 * n, &value);
    }
}

fn step(world: &mut World, guest: &mut Guest, dice: &mut Dice) {
    let out = LIST + 0x4000;
    fill(world, guest, dice, LIST);
    fill(world, guest, dice, out);
    let order = [0, 0, 0, 1, 3, 9][dice.roll(6) as usize];
    match dice.roll(8) {
        0..=3 => {
            let command = CHANGES[dice.roll(3) as usize];
            let request = request(dice, order, LIST);
            let done = world.change(command, &request) as u64;
            assert!(done <= request.nr_extents, "{done} of {request:?}");
        }
        4 | 5 => {
            let other = [0, 1, 4][dice.roll(3) as usize];
            let mut exchange = MemoryExchange {
                input: request(dice, order, LIST),
                output: request(dice, other, out),
                nr_exchanged: 0,
            };
            exchange.input.domid = exchange.output.domid;
            let (given, taken) = (exchange.input.extent_order, exchange.output.extent_order);
            exchange.input.nr_extents = (1 + dice.roll(3)) << taken;
            exchange.output.nr_extents = exchange.input.nr_extents << given >> taken;
            world.op(HYPERVISOR_MEMORY_OP, XENMEM_EXCHANGE, &exchange);
            assert!(world.get::<MemoryExchange>(ARG).nr_exchanged <= exchange.input.nr_extents);
        }
        6 => {
            // Maps one, or takes a mapping away.
            let place = LIST + 0x1_0000 + dice.roll(16) * 0x1000;
            let frame = guest.pick(dice) & (u64::MAX >> 12);
            let flags = [Pte::P | Pte::RW, Pte::P, 0][dice.roll(3) as usize];
            let entry = if flags == 0 { 0 } else { Mfn::new(frame).address() | flags };
            world.call(HYPERVISOR_UPDATE_VA_MAPPING, &[place, entry, 2]);
        }
        _ => {
            // Pins one as a table, or unpins it.
            let command = [0u64, 4][dice.roll(2) as usize];
            world.put(ARG, &[command, guest.pick(dice), 0]);
            world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, DOMID_SELF.into()]);
        }
    }
    let id = world.domain().id;
    for n in 0..64 {
        for list in [LIST, out] {
            let frame = Mfn::new(world.get::<u64>(list + 8 * n) & (u64::MAX >> 12));
            if world.hv.frames.is_owned_by(frame, id) && dice.roll(16) == 0 {
                let at = dice.roll(guest.known.len() as u64) as usize;
                guest.known[at] = frame;
            }
        }
    }
}

fn history(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::with_spare_frames(2, 900);
    world.set_up();
    world.act_as(1);
    world.set_up();
    let mut guests: Vec<Guest> = Vec::new();
    for index in 0..2 {
        world.act_as(index);
        world.set_max(PAGES + 700 * index as u64);
        guests.push(Guest { known: (1024..PAGES).chain(900..910).map(|pfn| world.frame(pfn)).collect() });
    }
    for number in 0..250 {
        let index = dice.roll(2) as usize;
        world.act_as(index);
        step(&mut world, &mut guests[index], &mut dice);
        if number % 10 == 0 {
            world.check_free();
            for account in world.hv.frames.accounts() {
                assert!(account.allocated <= account.max, "seed {seed}: {account:?}");
            }
            let machine = &world.hv.machine.fake;
            let stale = machine.stale(&world.hv.frames);
            assert!(stale.is_empty(), "seed {seed}, step {number}: {:?}", stale[0]);
            machine.fill();
        }
    }
    world.check_free();
}

#[test]
fn whatever_two_domains_do_with_memory_all_counts_agree() {
    for seed in 1..=12 {
        history(seed);
    }
}
