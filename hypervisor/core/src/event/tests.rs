use super::*;
use alloc::vec::Vec;
use paravane_abi::errno::Errno;
use paravane_abi::event::{NR_VIRQS, VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_TIMER};
use std::collections::BTreeMap;

const D1: DomainId = DomainId(1);
const D2: DomainId = DomainId(2);

fn one() -> (PortTable, FakeBits) {
    (PortTable::new(D1, 2, 1023), FakeBits::new(2))
}

/// The end of a reset in the two-level form.
const DONE: Reset = Reset::Done { frames: Vec::new() };

/// Bits for what does not look at them: no port is busy in the two-level form.
fn blank() -> FakeBits {
    FakeBits::new(2)
}

fn check(table: &PortTable) {
    audit(&[table]).unwrap();
}

/// Two connected tables: (local, its bits, local port, remote, its bits, remote port).
fn connected() -> (PortTable, FakeBits, Port, PortTable, FakeBits, Port) {
    let (mut a, bits_a) = one();
    let (mut b, bits_b) = (PortTable::new(D2, 1, 1023), FakeBits::new(1));
    b.bind_ipi(&blank(), 0).unwrap();
    let pb = b.alloc_unbound(&blank(), D1).unwrap();
    let (pa, raised) = bind_interdomain(&mut a, &bits_a, Some(&mut b), pb).unwrap();
    assert_eq!(raised, Raised { port: pa, newly_pending: true, notify: Some(0) });
    assert_eq!(bits_a.take(0), [pa]);
    audit(&[&a, &b]).unwrap();
    (a, bits_a, pa, b, bits_b, pb)
}

#[test]
fn ports_come_lowest_first_and_port_0_never() {
    let (mut table, bits) = one();
    assert_eq!(table.bind_ipi(&blank(), 0), Ok(1));
    assert_eq!(table.alloc_unbound(&blank(), D2), Ok(2));
    assert_eq!(table.bind_ipi(&blank(), 1), Ok(3));
    assert_eq!(table.close(&bits, 2), Ok(None));
    assert_eq!(table.active(), 2);
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 1), Ok(2));
    assert_eq!(table.close(&bits, 0), Err(Errno::EINVAL));
    check(&table);
}

#[test]
fn valid_ports_grow_by_groups_and_never_shrink() {
    let (mut table, bits) = one();
    // Port 63 is valid from the start, port 64 only once port 63 is in use.
    assert_eq!(table.status(63).unwrap().channel, Channel::Free);
    assert_eq!(table.status(64), Err(Errno::EINVAL));
    for _ in 1..64 {
        table.bind_ipi(&blank(), 0).unwrap();
    }
    assert_eq!(table.status(64), Err(Errno::EINVAL));
    assert_eq!(table.bind_ipi(&blank(), 0), Ok(64));
    assert_eq!(table.status(127).unwrap().channel, Channel::Free);
    assert_eq!(table.reset(&bits, false, u32::MAX, |_| {}), Ok(DONE));
    assert_eq!(table.active(), 0);
    assert_eq!(table.status(127).unwrap().channel, Channel::Free);
    check(&table);
}

#[test]
fn a_full_table_says_so() {
    let mut table = PortTable::new(D1, 1, 5);
    for port in 1..=5 {
        assert_eq!(table.bind_ipi(&blank(), 0), Ok(port));
    }
    assert_eq!(table.bind_ipi(&blank(), 0), Err(Errno::ENOSPC));
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 0), Err(Errno::ENOSPC));
    check(&table);
    let bits = FakeBits::new(1);
    table.close(&bits, 3).unwrap();
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 0), Ok(3));
    let mut whole = PortTable::new(D1, 1, u32::MAX);
    let got = (0..).map_while(|_| whole.bind_ipi(&blank(), 0).ok()).last();
    assert_eq!(got, Some(TWO_LEVEL_PORTS - 1));
    check(&whole);
}

#[test]
fn virqs_are_bound_once_per_vcpu_or_once() {
    let (mut table, bits) = one();
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 0), Ok(1));
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 1), Ok(2));
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 0), Err(Errno::EEXIST));
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 2), Err(Errno::ENOENT));
    assert_eq!(table.bind_virq(&blank(), NR_VIRQS, 0), Err(Errno::EINVAL));
    assert_eq!(table.bind_virq(&blank(), u32::MAX, 0), Err(Errno::EINVAL));
    // A global VIRQ on another vcpu is wrong even when that vcpu does not exist.
    assert_eq!(table.bind_virq(&blank(), VIRQ_CONSOLE, 1), Err(Errno::EINVAL));
    assert_eq!(table.bind_virq(&blank(), VIRQ_CONSOLE, 9), Err(Errno::EINVAL));
    assert_eq!(table.bind_virq(&blank(), VIRQ_CONSOLE, 0), Ok(3));
    assert_eq!(table.bind_virq(&blank(), VIRQ_CONSOLE, 0), Err(Errno::EEXIST));
    check(&table);
    table.close(&bits, 2).unwrap();
    assert_eq!(table.bind_virq(&blank(), VIRQ_TIMER, 1), Ok(2));
    check(&table);
}

#[test]
fn a_virq_finds_its_port() {
    let (mut table, bits) = one();
    table.bind_virq(&blank(), VIRQ_TIMER, 0).unwrap();
    let timer1 = table.bind_virq(&blank(), VIRQ_TIMER, 1).unwrap();
    let console = table.bind_virq(&blank(), VIRQ_CONSOLE, 0).unwrap();
    assert_eq!(table.raise_virq(&bits, VIRQ_DEBUG, 0), None);
    let raised = table.raise_virq(&bits, VIRQ_TIMER, 1).unwrap();
    assert_eq!(raised, Raised { port: timer1, newly_pending: true, notify: Some(1) });
    table.bind_vcpu(console, 1).unwrap();
    assert_eq!(table.raise_virq(&bits, VIRQ_CONSOLE, 0).unwrap().port, console);
    assert_eq!(bits.take(1), [timer1, console]);
    assert_eq!(table.raise_virq(&bits, VIRQ_TIMER, 7), None);
    assert_eq!(table.raise_virq(&bits, 99, 0), None);
    // A moved global VIRQ is still unbound through vcpu 0.
    table.close(&bits, console).unwrap();
    check(&table);
    assert_eq!(table.raise_virq(&bits, VIRQ_CONSOLE, 0), None);
}

#[test]
fn what_moves_between_vcpus() {
    let (mut table, _bits) = one();
    let ipi = table.bind_ipi(&blank(), 0).unwrap();
    let timer = table.bind_virq(&blank(), VIRQ_TIMER, 0).unwrap();
    let unbound = table.alloc_unbound(&blank(), D2).unwrap();
    let console = table.bind_backend(Backend::Console).unwrap();
    let global = table.bind_virq(&blank(), VIRQ_CONSOLE, 0).unwrap();
    for port in [unbound, console, global] {
        assert_eq!(table.bind_vcpu(port, 1), Ok(()));
        assert_eq!(table.status(port).unwrap().vcpu, 1);
    }
    for port in [0, ipi, timer, 63, 64] {
        assert_eq!(table.bind_vcpu(port, 1), Err(Errno::EINVAL), "port {port}");
    }
    // The vcpu is looked at first.
    assert_eq!(table.bind_vcpu(64, 2), Err(Errno::ENOENT));
    check(&table);
}

#[test]
fn an_ipi_goes_to_its_vcpu() {
    let (mut table, bits) = one();
    let port = table.bind_ipi(&blank(), 1).unwrap();
    assert_eq!(table.bind_ipi(&blank(), 2), Err(Errno::ENOENT));
    let sent = table.send(&bits, port).unwrap();
    assert_eq!(sent, Sent::Local(Raised { port, newly_pending: true, notify: Some(1) }));
    // Pending already: nobody needs to be woken twice.
    assert_eq!(table.send(&bits, port).unwrap(), Sent::Local(Raised::nothing(port)));
    assert_eq!(bits.take(1), [port]);
    assert_eq!(bits.take(1), []);
}

#[test]
fn a_vcpu_is_notified_once_for_many_events() {
    let (mut table, bits) = one();
    let ports: Vec<Port> = (0..70).map(|_| table.bind_ipi(&blank(), 0).unwrap()).collect();
    let notified = ports
        .iter()
        .filter(|&&port| matches!(table.send(&bits, port), Ok(Sent::Local(Raised { notify: Some(0), .. }))))
        .count();
    assert_eq!(notified, 1);
    assert_eq!(bits.selector(0), 0b11);
    assert_eq!(bits.take(0), ports);
}

#[test]
fn a_mask_holds_an_event_back_until_unmask() {
    let (mut table, bits) = one();
    let port = table.bind_ipi(&blank(), 0).unwrap();
    bits.set_mask(port);
    let sent = table.send(&bits, port).unwrap();
    assert_eq!(sent, Sent::Local(Raised { port, newly_pending: true, notify: None }));
    assert!(!bits.upcall_pending(0));
    assert_eq!(table.unmask(&bits, port).unwrap().notify, Some(0));
    assert_eq!(bits.take(0), [port]);
    // Not masked, or masked and not pending: nothing to tell.
    assert_eq!(table.unmask(&bits, port), Ok(Raised::nothing(port)));
    bits.set_mask(port);
    assert_eq!(table.unmask(&bits, port), Ok(Raised::nothing(port)));
    assert!(!bits.is_masked(port));
}

#[test]
fn unmask_of_a_closed_port_changes_nothing() {
    let (mut table, bits) = one();
    bits.set_mask(5);
    bits.set_mask(0);
    assert_eq!(table.unmask(&bits, 5), Ok(Raised::nothing(5)));
    assert_eq!(table.unmask(&bits, 0), Ok(Raised::nothing(0)));
    assert!(bits.is_masked(5) && bits.is_masked(0));
    assert_eq!(table.unmask(&bits, 64), Err(Errno::EINVAL));
    assert_eq!(table.set_priority(5, 99), Err(Errno::ENOSYS));
    assert_eq!(table.set_priority(4096, 0), Err(Errno::EINVAL));
}

#[test]
fn closing_forgets_a_pending_event() {
    let (mut table, bits) = one();
    let port = table.bind_ipi(&blank(), 0).unwrap();
    let _ = table.send(&bits, port).unwrap();
    table.close(&bits, port).unwrap();
    assert!(!bits.is_pending(port));
    assert_eq!(table.close(&bits, port), Err(Errno::EINVAL));
    assert_eq!(table.send(&bits, port), Err(Errno::EINVAL));
    assert_eq!(table.status(port).unwrap(), PortStatus { channel: Channel::Free, vcpu: 0 });
}

#[test]
fn sends_by_kind_of_port() {
    let (mut table, bits) = one();
    let unbound = table.alloc_unbound(&blank(), D2).unwrap();
    let timer = table.bind_virq(&blank(), VIRQ_TIMER, 0).unwrap();
    let console = table.bind_backend(Backend::Console).unwrap();
    assert_eq!(table.send(&bits, unbound), Ok(Sent::Dropped));
    assert_eq!(table.send(&bits, timer), Err(Errno::EINVAL));
    assert_eq!(table.send(&bits, console), Ok(Sent::Backend(Backend::Console)));
    for port in [0, 60, 64, u32::MAX] {
        assert_eq!(table.send(&bits, port), Err(Errno::EINVAL), "port {port}");
    }
    assert!((0..64).all(|port| !bits.is_pending(port)));
}

#[test]
fn the_console_end_raises_until_the_guest_closes() {
    let (mut table, bits) = one();
    let port = table.bind_backend(Backend::Console).unwrap();
    assert_eq!(table.raise_backend(&bits, port, Backend::Console).unwrap().notify, Some(0));
    table.close(&bits, port).unwrap();
    assert_eq!(table.bind_ipi(&blank(), 0), Ok(port));
    assert_eq!(table.raise_backend(&bits, port, Backend::Console), None);
    assert_eq!(table.raise_backend(&bits, 9999, Backend::Console), None);
}

#[test]
fn events_cross_between_domains() {
    let (mut a, bits_a, pa, mut b, bits_b, pb) = connected();
    let Ok(Sent::Remote(send)) = a.send(&bits_a, pa) else { panic!("not sent to the peer") };
    assert_eq!((send.domain, send.port), (D2, pb));
    assert_eq!(b.deliver(&bits_b, send), Raised { port: pb, newly_pending: true, notify: Some(0) });
    assert_eq!(bits_b.take(0), [pb]);
    let Ok(Sent::Remote(send)) = b.send(&bits_b, pb) else { panic!("not sent to the peer") };
    assert_eq!(a.deliver(&bits_a, send).port, pa);
    assert!(bits_a.is_pending(pa));
}

#[test]
fn a_closed_peer_becomes_unbound_again() {
    let (mut a, bits_a, pa, mut b, bits_b, pb) = connected();
    let in_flight = a.send(&bits_a, pa);
    let from_b = b.send(&bits_b, pb);
    let told = a.close(&bits_a, pa).unwrap().unwrap();
    assert_eq!((told.domain, told.port, told.from), (D2, pb, (D1, pa)));
    // Between the halves: the peer still sends, and the event is dropped even if the port is used again.
    let Ok(Sent::Remote(send)) = from_b else { panic!("not sent to the peer") };
    assert_eq!(a.deliver(&bits_a, send), Raised::nothing(pa));
    assert_eq!(a.bind_ipi(&blank(), 0), Ok(pa));
    assert_eq!(a.deliver(&bits_a, send), Raised::nothing(pa));
    b.peer_closed(told);
    assert_eq!(b.status(pb).unwrap().channel, Channel::Unbound { remote: D1 });
    assert_eq!(b.send(&bits_b, pb), Ok(Sent::Dropped));
    let Ok(Sent::Remote(send)) = in_flight else { panic!("not sent to the peer") };
    assert_eq!(b.deliver(&bits_b, send), Raised::nothing(pb));
    audit(&[&a, &b]).unwrap();
    // The same news twice, or about a port that has a new peer, changes nothing.
    let (pa2, _) = bind_interdomain(&mut a, &bits_a, Some(&mut b), pb).unwrap();
    b.peer_closed(told);
    assert_eq!(b.status(pb).unwrap().channel, Channel::Interdomain { remote: D1, port: pa2 });
    audit(&[&a, &b]).unwrap();
}

#[test]
fn only_the_named_domain_may_bind() {
    let (mut a, bits_a) = one();
    let mut b = PortTable::new(D2, 1, 1023);
    let for_other = b.alloc_unbound(&blank(), DomainId(3)).unwrap();
    let ipi = b.bind_ipi(&blank(), 0).unwrap();
    for port in [for_other, ipi, 0, 63, 64] {
        assert_eq!(bind_interdomain(&mut a, &bits_a, Some(&mut b), port), Err(Errno::EINVAL));
    }
    assert_eq!((a.active(), b.active()), (0, 2));
    // A full local table is noticed first.
    let mut full = PortTable::new(D1, 1, 0);
    assert_eq!(bind_interdomain(&mut full, &bits_a, Some(&mut b), 63), Err(Errno::ENOSPC));
    audit(&[&a, &b]).unwrap();
}

#[test]
fn a_domain_can_talk_to_itself() {
    let (mut table, bits) = one();
    let far = table.alloc_unbound(&blank(), D1).unwrap();
    table.bind_vcpu(far, 1).unwrap();
    let (near, _) = bind_interdomain(&mut table, &bits, None, far).unwrap();
    check(&table);
    let _ = bits.take(0);
    assert_eq!(
        table.send(&bits, near),
        Ok(Sent::Local(Raised { port: far, newly_pending: true, notify: Some(1) }))
    );
    assert_eq!(bits.take(1), [far]);
    assert_eq!(table.close(&bits, near), Ok(None));
    assert_eq!(table.status(far).unwrap(), PortStatus { channel: Channel::Unbound { remote: D1 }, vcpu: 1 });
    check(&table);
    // The port about to be allocated is no peer.
    assert_eq!(bind_interdomain(&mut table, &bits, None, near), Err(Errno::EINVAL));
    assert_eq!(table.active(), 1);
}

#[test]
fn polls_check_ports_in_order() {
    let (mut table, bits) = one();
    let a = table.bind_ipi(&blank(), 0).unwrap();
    let b = table.bind_ipi(&blank(), 0).unwrap();
    assert_eq!(table.poll(&bits, &[a]), Ok(Poll::Wait(PollWait::One(a))));
    assert_eq!(table.poll(&bits, &[a, b]), Ok(Poll::Wait(PollWait::Any)));
    assert_eq!(table.poll(&bits, &[]), Ok(Poll::Wait(PollWait::Any)));
    assert_eq!(table.poll(&bits, &[a, 50]), Err(Errno::EINVAL));
    assert_eq!(table.poll(&bits, &[0]), Err(Errno::EINVAL));
    assert_eq!(table.poll(&bits, &[4096]), Err(Errno::EINVAL));
    assert_eq!(table.poll(&bits, &[a; 129]), Err(Errno::EINVAL));
    assert_eq!(table.poll(&bits, &[a; 128]), Ok(Poll::Wait(PollWait::Any)));
    bits.set_mask(b);
    let Ok(Sent::Local(raised)) = table.send(&bits, b) else { panic!("not raised") };
    assert!(PollWait::One(b).woken_by(&raised) && PollWait::Any.woken_by(&raised));
    assert!(!PollWait::One(a).woken_by(&raised));
    assert!(!PollWait::Any.woken_by(&Raised::nothing(b)));
    assert_eq!(table.poll(&bits, &[b, 50]), Ok(Poll::Ready));
}

#[test]
fn a_reset_is_preempted_and_resumed_but_never_doubled() {
    let (mut table, bits) = one();
    for _ in 0..100 {
        table.alloc_unbound(&blank(), D2).unwrap();
    }
    assert_eq!(table.reset(&bits, true, 10, |_| {}), Err(Errno::EBUSY));
    assert_eq!(table.reset(&bits, false, 10, |_| {}), Ok(Reset::Preempted));
    assert_eq!(table.active(), 90);
    check(&table);
    assert_eq!(table.reset(&bits, false, 10, |_| {}), Err(Errno::EBUSY));
    // Another vcpu opens a port behind the scan.
    assert_eq!(table.bind_ipi(&blank(), 0), Ok(1));
    assert_eq!(table.reset(&bits, true, 1000, |_| {}), Err(Errno::EAGAIN));
    assert_eq!(table.active(), 1);
    assert_eq!(table.reset(&bits, false, 0, |_| {}), Ok(DONE));
    assert_eq!(table.active(), 0);
    check(&table);
}

#[test]
fn a_dying_domain_tells_its_peers_and_opens_nothing() {
    let (mut a, bits_a, _, mut b, _bits_b, pb) = connected();
    let mut told = Vec::new();
    assert_eq!(a.destroy(&bits_a, u32::MAX, |peer| told.push(peer)), DONE);
    assert_eq!(a.active(), 0);
    assert_eq!(a.bind_ipi(&blank(), 0), Err(Errno::EINVAL));
    told.into_iter().for_each(|peer| b.peer_closed(peer));
    assert_eq!(b.status(pb).unwrap().channel, Channel::Unbound { remote: D1 });
    audit(&[&a, &b]).unwrap();
    audit(&[&b]).unwrap();
}

#[test]
fn a_moved_vcpu_info_loses_no_event() {
    let (mut table, bits) = one();
    let port = table.bind_ipi(&blank(), 1).unwrap();
    let _ = table.send(&bits, port);
    let _ = bits.test_and_set_upcall(1);
    let fresh = FakeBits::new(2);
    mark_all_pending(&fresh, 1);
    assert_eq!((fresh.selector(1), fresh.upcall_pending(1), fresh.selector(0)), (u64::MAX, true, 0));
}

#[test]
fn a_guest_names_itself_or_others() {
    assert_eq!((resolve(0x7ff0, D2), resolve(1, D2), resolve(0x7ff1, D2)), (D2, D1, DomainId(0x7ff1)));
}

#[test]
fn the_audit_sees_what_is_wrong() {
    let broken = |damage: fn(&mut PortTable)| {
        let (mut a, _, _, b, _, _) = connected();
        a.bind_virq(&blank(), VIRQ_TIMER, 1).unwrap();
        a.bind_virq(&blank(), VIRQ_CONSOLE, 0).unwrap();
        audit(&[&a, &b]).unwrap();
        damage(&mut a);
        let error = audit(&[&a, &b]).unwrap_err();
        assert!(std::format!("{error}").ends_with(error.what));
        error.what
    };
    assert!(broken(|t| t.active += 1).contains("count"));
    assert!(broken(|t| t.entries[0].channel = Channel::Free).contains("reserved"));
    assert!(broken(|t| t.entries[9].channel = Channel::Reserved).contains("reserved"));
    assert!(broken(|t| t.entries[9].vcpu = 1).contains("free port"));
    assert!(broken(|t| t.entries[2].vcpu = 2).contains("does not exist"));
    assert!(broken(|t| t.virqs[1][0] = 0).contains("not bound to this port"));
    assert!(broken(|t| t.virqs[0][1] = 1).contains("names a port"));
    assert!(broken(|t| t.virqs[1][VIRQ_CONSOLE as usize] = 3).contains("names a port"));
    assert!(broken(|t| t.entries[1].channel = Channel::Unbound { remote: D2 }).contains("point back"));
    assert!(broken(|t| t.port_max = 1).contains("limit"));
    assert!(broken(|t| t.entries.truncate(60)).contains("multiple"));
    assert!(broken(|t| t.reset_at = 64).contains("reset"));
}

/// xorshift64*: small, and the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % u64::from(sides)) as u32
    }
}

struct World {
    tables: [PortTable; 2],
    bits: [FakeBits; 2],
    outcomes: BTreeMap<(&'static str, Result<(), Errno>), u32>,
}

impl World {
    fn note<T>(&mut self, operation: &'static str, result: Result<T, Errno>) -> Option<T> {
        *self.outcomes.entry((operation, result.as_ref().map(|_| ()).map_err(|&e| e))).or_default() += 1;
        result.ok()
    }

    fn step(&mut self, dice: &mut Dice) {
        let who = dice.roll(2) as usize;
        let port = match dice.roll(20) {
            0 => dice.roll(5000),
            1 => 0,
            _ => 1 + dice.roll(6),
        };
        let vcpu = dice.roll(9) / 4;
        let other = 1 - who;
        match dice.roll(13) {
            0 => {
                let remote = DomainId(1 + dice.roll(3) as u16);
                let got = self.tables[who].alloc_unbound(&self.bits[who], remote);
                self.note("alloc_unbound", got);
            }
            1 => {
                let got = self.tables[who].bind_ipi(&self.bits[who], vcpu);
                self.note("bind_ipi", got);
            }
            2 => {
                let virq = [VIRQ_TIMER, VIRQ_DEBUG, VIRQ_CONSOLE, 23, 24][dice.roll(5) as usize];
                let got = self.tables[who].bind_virq(&self.bits[who], virq, vcpu);
                self.note("bind_virq", got);
            }
            3 => {
                let [a, b] = &mut self.tables;
                let (local, remote) = if who == 0 { (a, b) } else { (b, a) };
                let remote = (dice.roll(4) != 0).then_some(remote);
                // Blind guesses hardly ever meet a port that waits for this domain.
                let waiting = Channel::Unbound { remote: local.domain() };
                let peer = remote.as_deref().unwrap_or(local);
                let meant = (1..64).find(|&port| peer.status(port).unwrap().channel == waiting);
                let port = meant.filter(|_| dice.roll(4) != 0).unwrap_or(port);
                let got = bind_interdomain(local, &self.bits[who], remote, port);
                self.note("bind_interdomain", got);
            }
            4 => {
                let got = self.tables[who].close(&self.bits[who], port);
                if let Some(Some(told)) = self.note("close", got) {
                    assert_eq!(told.domain, self.tables[other].domain());
                    self.tables[other].peer_closed(told);
                }
            }
            5 | 6 => {
                let got = self.tables[who].send(&self.bits[who], port);
                if let Some(Sent::Remote(send)) = self.note("send", got) {
                    let _ = self.tables[other].deliver(&self.bits[other], send);
                }
            }
            7 => {
                let got = self.tables[who].bind_vcpu(port, vcpu);
                self.note("bind_vcpu", got);
            }
            8 => {
                let got = self.tables[who].unmask(&self.bits[who], port);
                self.note("unmask", got);
            }
            9 => {
                // Only ports in use are masked: a closed port cannot be unmasked again by hypercall.
                let used = self.tables[who].status(port).is_ok_and(|s| s.channel != Channel::Free);
                if used && port != 0 {
                    self.bits[who].set_mask(port);
                }
                let _ = self.tables[who].raise_virq(&self.bits[who], dice.roll(4), vcpu % 2);
            }
            10 => drop(self.bits[who].take(vcpu % 2)),
            11 => {
                let ports = [port, dice.roll(10)];
                let got = self.tables[who].poll(&self.bits[who], &ports[..1 + dice.roll(2) as usize]);
                self.note("poll", got);
            }
            _ => {
                if dice.roll(4) != 0 {
                    let got = self.tables[who].status(port);
                    self.note("status", got);
                    return;
                }
                let mut told = Vec::new();
                let resuming = dice.roll(2) == 0;
                let budget = [1 + dice.roll(4), 100][dice.roll(2) as usize];
                let got = self.tables[who].reset(&self.bits[who], resuming, budget, |peer| told.push(peer));
                self.note("reset", got);
                told.into_iter().for_each(|peer| self.tables[other].peer_closed(peer));
            }
        }
    }

    /// An event that is pending and not masked is on its way to a vcpu.
    fn no_event_is_lost(&self) {
        for (table, bits) in self.tables.iter().zip(&self.bits) {
            for port in 0..64 {
                let bound = !matches!(table.status(port).unwrap().channel, Channel::Free | Channel::Reserved);
                let ready = bits.is_pending(port) && !bits.is_masked(port);
                assert!(bound || !bits.is_pending(port), "a free port is pending");
                let selected = (0..2)
                    .any(|vcpu| bits.upcall_pending(vcpu) && bits.selector(vcpu) >> (port / 64) & 1 != 0);
                assert!(!ready || selected, "port {port} is pending and nobody looks");
            }
        }
    }
}

#[test]
fn random_sequences_keep_the_tables_consistent() {
    let mut outcomes = BTreeMap::new();
    for seed in 1..=10_000u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let tables = [PortTable::new(D1, 2, 7), PortTable::new(D2, 2, 1023)];
        let mut world = World { tables, bits: [FakeBits::new(2), FakeBits::new(2)], outcomes };
        for _ in 0..50 {
            world.step(&mut dice);
            audit(&[&world.tables[0], &world.tables[1]]).unwrap();
        }
        world.no_event_is_lost();
        let World { mut tables, bits, outcomes: counted, .. } = world;
        outcomes = counted;
        let [a, b] = &mut tables;
        let _ = a.destroy(&bits[0], u32::MAX, |peer| {
            if peer.domain == D2 {
                b.peer_closed(peer)
            }
        });
        let _ = b.destroy(&bits[1], u32::MAX, |peer| panic!("{peer:?} of a dead domain"));
        assert_eq!((a.active(), b.active()), (0, 0));
        audit(&[a, b]).unwrap();
    }
    let total: u32 = outcomes.values().sum();
    let good: u32 = outcomes.iter().filter(|((_, result), _)| result.is_ok()).map(|(_, count)| count).sum();
    std::println!("{total} operations, {good} succeeded");
    for ((operation, result), count) in &outcomes {
        std::println!("{operation:18} {result:?} {count}");
    }
    assert!(good * 10 > total * 3, "too few operations succeed for the test to mean anything");
    for expected in [
        ("alloc_unbound", Err(Errno::ENOSPC)),
        ("bind_ipi", Err(Errno::ENOENT)),
        ("bind_virq", Err(Errno::EEXIST)),
        ("bind_virq", Err(Errno::EINVAL)),
        ("bind_virq", Err(Errno::ENOENT)),
        ("bind_interdomain", Ok(())),
        ("bind_interdomain", Err(Errno::EINVAL)),
        ("bind_interdomain", Err(Errno::ENOSPC)),
        ("bind_vcpu", Err(Errno::ENOENT)),
        ("close", Ok(())),
        ("reset", Ok(())),
        ("reset", Err(Errno::EBUSY)),
        ("reset", Err(Errno::EAGAIN)),
        ("poll", Ok(())),
        ("poll", Err(Errno::EINVAL)),
    ] {
        assert!(outcomes.contains_key(&expected), "{expected:?} never occurred");
    }
}
