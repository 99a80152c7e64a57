//! Xenstore by a domain's ring: what the guest writes there, and what it finds.

use super::world::*;
use crate::addr::Mfn;
use crate::console::Receiver;
use crate::domain::Shutdown;
use crate::memory::Memory;
use paravane_abi::event::{EVTCHNOP_SEND, EvtchnSend};
use paravane_abi::hypercall::*;
use paravane_abi::io::xenstore::*;
use std::mem::offset_of;
use std::string::String;
use std::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

const REQ_CONS: usize = offset_of!(XenstoreDomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreDomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreDomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreDomainInterface, rsp_prod);
const CONNECTION: usize = offset_of!(XenstoreDomainInterface, connection);
const ERROR: usize = offset_of!(XenstoreDomainInterface, error);

/// The guest's side of its ring.
struct Guest {
    world: World,
    frame: Mfn,
    replies: Vec<u8>,
}

impl Guest {
    fn new() -> Self {
        let world = World::new();
        let frame = world.domain().store.frame;
        Self { world, frame, replies: Vec::new() }
    }

    fn byte(&self, offset: usize) -> u8 {
        self.world.hv.machine.read_word(self.frame, offset / 8).to_le_bytes()[offset % 8]
    }

    fn set_byte(&self, offset: usize, value: u8) {
        let mut bytes = self.world.hv.machine.read_word(self.frame, offset / 8).to_le_bytes();
        bytes[offset % 8] = value;
        self.world.hv.machine.fake.poke(self.frame, offset / 8, u64::from_le_bytes(bytes));
    }

    fn index(&self, offset: usize) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|n| self.byte(offset + n)))
    }

    fn set_index(&self, offset: usize, value: u32) {
        value.to_le_bytes().into_iter().enumerate().for_each(|(n, byte)| self.set_byte(offset + n, byte));
    }

    fn kick(&mut self) {
        let port = self.world.domain().store.port;
        assert_eq!(self.world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &EvtchnSend { port }), 0);
    }

    /// Writes as much as there is room for.
    fn put(&self, bytes: &[u8]) -> usize {
        let (cons, prod) = (self.index(REQ_CONS), self.index(REQ_PROD));
        let count = bytes.len().min(1024 - prod.wrapping_sub(cons) as usize);
        for (n, byte) in bytes[..count].iter().enumerate() {
            self.set_byte((prod as usize + n) % 1024, *byte);
        }
        self.set_index(REQ_PROD, prod.wrapping_add(count as u32));
        count
    }

    fn take(&mut self) {
        let (mut cons, prod) = (self.index(RSP_CONS), self.index(RSP_PROD));
        while cons != prod {
            self.replies.push(self.byte(1024 + cons as usize % 1024));
            cons = cons.wrapping_add(1);
        }
        self.set_index(RSP_CONS, cons);
    }

    /// A message that has come: type and payload.
    fn message(&mut self) -> Option<(u32, Vec<u8>)> {
        self.take();
        let header = XsdSockmsg::read_from_prefix(&self.replies).ok()?.0;
        let end = 16 + header.len as usize;
        (self.replies.len() >= end).then(|| {
            let payload = self.replies[16..end].to_vec();
            self.replies.drain(..end);
            (header.kind, payload)
        })
    }

    fn send(&mut self, kind: u32, payload: &[u8]) {
        let header = XsdSockmsg { kind, req_id: 1, tx_id: 0, len: payload.len() as u32 };
        let bytes = [header.as_bytes(), payload].concat();
        let mut sent = 0;
        for _ in 0..100 {
            sent += self.put(&bytes[sent..]);
            self.kick();
            self.take();
            if sent == bytes.len() {
                return;
            }
        }
        panic!("no room");
    }

    fn ask(&mut self, kind: u32, payload: &[u8]) -> (u32, Vec<u8>) {
        self.send(kind, payload);
        for _ in 0..10 {
            if let Some(message) = self.message() {
                return message;
            }
            // The rest comes when there is room again.
            self.kick();
        }
        panic!("no answer");
    }
}

#[test]
fn a_guest_finds_what_it_has() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(XS_READ, b"name\0"), (XS_READ, b"guest".to_vec()));
    assert_eq!(guest.ask(XS_READ, b"domid\0"), (XS_READ, b"1".to_vec()));
    assert_eq!(guest.ask(XS_READ, b"cpu/0/availability\0"), (XS_READ, b"online".to_vec()));
    assert_eq!(guest.ask(XS_READ, b"none\0"), (XS_ERROR, b"ENOENT\0".to_vec()));
    let port = String::from_utf8(guest.ask(XS_READ, b"console/port\0").1).unwrap();
    assert_eq!(port.parse(), Ok(guest.world.domain().console.port));
    guest.world.audit();
}

#[test]
fn header_and_body_may_come_apart_and_messages_go_around_the_ring() {
    let mut guest = Guest::new();
    let value = [b"data/x\0".to_vec(), std::vec![b'v'; 1500]].concat();
    for _ in 0..5 {
        assert_eq!(guest.ask(XS_WRITE, &value).0, XS_WRITE, "longer than the ring");
        assert_eq!(guest.ask(XS_READ, b"data/x\0").1.len(), 1500);
    }
    let header = XsdSockmsg { kind: XS_READ, req_id: 1, tx_id: 0, len: 5 };
    guest.put(header.as_bytes());
    guest.kick();
    assert_eq!(guest.index(REQ_CONS), guest.index(REQ_PROD), "taken, as Linux waits for that");
    guest.put(b"name\0");
    guest.kick();
    assert_eq!(guest.message(), Some((XS_READ, b"guest".to_vec())));
}

#[test]
fn a_guest_is_told_to_shut_down() {
    let mut guest = Guest::new();
    assert_eq!(guest.ask(XS_WATCH, b"control/shutdown\0t\0").0, XS_WATCH);
    assert_eq!(guest.message().unwrap().0, XS_WATCH_EVENT);
    guest.world.clear_pending();
    // By the hypervisor's keys: no other domain's number, then its own, then all.
    for (keys, value) in [(&b"k7\r"[..], None), (b"k1\r", Some(&b"poweroff"[..])), (b"b\r", Some(b"reboot"))]
    {
        guest.world.hv.terminal.focus.receiver = Receiver::Hypervisor;
        guest.world.hv.machine.input.extend(keys);
        guest.world.hv.console_interrupt();
        let event = value.map(|_| (XS_WATCH_EVENT, b"control/shutdown\0t\0".to_vec()));
        if value.is_some() {
            assert!(guest.world.upcall().0, "the port is raised");
        }
        assert_eq!(guest.message(), event, "{keys:?}");
        assert_eq!(guest.ask(XS_READ, b"control/shutdown\0").1, value.unwrap_or_default());
        guest.world.clear_pending();
    }
}

#[test]
fn indices_that_make_no_sense_move_nothing() {
    for (index, value) in [(REQ_PROD, 1025), (REQ_CONS, 1), (RSP_CONS, 1), (RSP_PROD, 1025)] {
        let mut guest = Guest::new();
        if index == RSP_CONS || index == RSP_PROD {
            guest.put(XsdSockmsg { kind: XS_READ, req_id: 1, tx_id: 0, len: 0 }.as_bytes());
        }
        guest.set_index(index, value);
        guest.kick();
        assert_eq!(guest.index(ERROR), XENSTORE_ERROR_RINGIDX, "{index:#x}");
        assert_eq!(guest.index(index), value);
        guest.world.audit();
    }
}

#[test]
fn a_guest_that_sends_what_is_no_message_can_begin_anew() {
    let mut guest = Guest::new();
    guest.put(XsdSockmsg { kind: XS_READ, req_id: 1, tx_id: 0, len: 4097 }.as_bytes());
    guest.kick();
    assert_eq!(guest.index(ERROR), XENSTORE_ERROR_PROTO);
    guest.set_index(CONNECTION, XENSTORE_RECONNECT);
    guest.kick();
    assert_eq!((guest.index(CONNECTION), guest.index(ERROR), guest.index(REQ_PROD)), (0, 0, 0));
    assert_eq!(guest.ask(XS_READ, b"name\0"), (XS_READ, b"guest".to_vec()));
}

#[test]
fn the_ring_is_held_while_the_domain_lives() {
    let mut guest = Guest::new();
    let frame = guest.frame;
    assert!(guest.world.hv.frames.info(frame).unwrap().type_count() > 0);
    assert_eq!(guest.world.hv.recount(), []);
    let id = guest.world.domain().id;
    guest.world.hv.stop_domain(0, Shutdown::PowerOff);
    let mut regs = guest.world.kernel();
    guest.world.end(&mut regs);
    assert_eq!(guest.world.hv.store.read(id, "name"), None);
}
