//! The service as a domain meets it: bytes in, bytes out.

use super::*;
use paravane_abi::errno::Errno;
use paravane_abi::io::xenstore::*;
use std::string::{String, ToString};
use std::vec;
use std::{format, println};
use zerocopy::IntoBytes;

const A: DomainId = DomainId(1);
const B: DomainId = DomainId(2);

/// A reply or an event: type, request, payload.
type Message = (u32, u32, Vec<u8>);

struct World {
    store: Xenstore,
    requests: u32,
}

impl World {
    fn new() -> Self {
        let mut store = Xenstore::new();
        for domain in [A, B] {
            store.introduce(
                domain,
                [
                    ("name", &b"guest"[..], Access::Read),
                    ("control/shutdown", b"", Access::Own),
                    ("data", b"", Access::Own),
                ],
            );
        }
        Self { store, requests: 0 }
    }

    /// Sends a request in pieces of so many bytes.
    fn send(&mut self, domain: DomainId, kind: u32, transaction: u32, payload: &[u8], piece: usize) -> u32 {
        self.requests += 1;
        let header =
            XsdSockmsg { kind, req_id: self.requests, tx_id: transaction, len: payload.len() as u32 };
        let bytes = [header.as_bytes(), payload].concat();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let count = self.store.wants(domain).min(piece).min(rest.len());
            assert!(count > 0, "the service takes what it asked for");
            self.store.receive(domain, &rest[..count]);
            rest = &rest[count..];
        }
        self.requests
    }

    /// All that waits for a domain.
    fn take(&mut self, domain: DomainId) -> Vec<Message> {
        let mut bytes = Vec::new();
        loop {
            let pending = self.store.pending(domain);
            if pending.is_empty() {
                break;
            }
            let count = pending.len().min(7);
            bytes.extend_from_slice(&pending[..count]);
            self.store.taken(domain, count);
        }
        let mut messages = vec![];
        let mut rest = &bytes[..];
        while let Some(header) = Header::parse(rest) {
            let header = header.unwrap();
            let (payload, after) = rest[XsdSockmsg::SIZE..].split_at(header.len as usize);
            messages.push((header.kind, header.req_id, payload.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty());
        messages
    }

    /// The answer to a request, and the events that came with it.
    fn ask_with_events(
        &mut self,
        domain: DomainId,
        kind: u32,
        transaction: u32,
        payload: &[u8],
    ) -> (Result<Vec<u8>, Errno>, Vec<String>) {
        let request = self.send(domain, kind, transaction, payload, 5);
        let messages = self.take(domain);
        let (events, replies): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|(kind, ..)| *kind == XS_WATCH_EVENT);
        let [(answered, id, payload)] = &replies[..] else { panic!("{} replies", replies.len()) };
        assert_eq!(*id, request);
        let answer = match *answered {
            XS_ERROR => Err(error_named(payload).unwrap()),
            answered => {
                assert_eq!(answered, kind);
                Ok(payload.clone())
            }
        };
        (answer, texts(&events))
    }

    fn ask(&mut self, domain: DomainId, kind: u32, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        self.ask_with_events(domain, kind, 0, payload).0
    }

    fn within(&mut self, transaction: u32, kind: u32, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        self.ask_with_events(A, kind, transaction, payload).0
    }

    fn start(&mut self, domain: DomainId) -> u32 {
        let answer = self.ask(domain, XS_TRANSACTION_START, b"\0").unwrap();
        String::from_utf8(answer).unwrap().trim_end_matches('\0').parse().unwrap()
    }

    fn events(&mut self, domain: DomainId) -> Vec<String> {
        let messages = self.take(domain);
        assert!(messages.iter().all(|(kind, id, _)| (*kind, *id) == (XS_WATCH_EVENT, 0)));
        texts(&messages)
    }
}

fn texts(events: &[Message]) -> Vec<String> {
    events
        .iter()
        .map(|(.., payload)| String::from_utf8_lossy(payload).replace('\0', "|").to_string())
        .collect()
}

fn ok() -> Result<Vec<u8>, Errno> {
    Ok(b"OK\0".to_vec())
}

#[test]
fn a_guest_reads_what_it_is_told_and_writes_what_is_its_own() {
    let mut world = World::new();
    assert_eq!(world.ask(A, XS_READ, b"name\0"), Ok(b"guest".to_vec()));
    assert_eq!(world.ask(A, XS_READ, b"/local/domain/1/name\0"), Ok(b"guest".to_vec()));
    assert_eq!(world.ask(A, XS_WRITE, b"name\0other"), Err(Errno::EACCES));
    assert_eq!(world.ask(A, XS_WRITE, b"data/a/b\0with a \0 in it"), ok());
    assert_eq!(world.ask(A, XS_READ, b"data/a/b\0"), Ok(b"with a \0 in it".to_vec()));
    assert_eq!(world.ask(A, XS_READ, b"data/a\0"), Ok(vec![]));
    assert_eq!(world.ask(A, XS_DIRECTORY, b"data/a\0"), Ok(b"b\0".to_vec()));
    assert_eq!(world.ask(A, XS_DIRECTORY, b"/local/domain/1\0"), Ok(b"name\0control\0data\0".to_vec()));
    assert_eq!(world.ask(A, XS_READ, b"data/x\0"), Err(Errno::ENOENT));
    assert_eq!(world.ask(A, XS_WRITE, b"new\0"), Err(Errno::EACCES));
    assert_eq!(world.ask(A, XS_MKDIR, b"data/m\0"), ok());
    assert_eq!(world.ask(A, XS_MKDIR, b"data/m\0"), ok());
    assert_eq!(world.ask(A, XS_RM, b"data/a\0"), ok());
    assert_eq!(world.ask(A, XS_DIRECTORY, b"data\0"), Ok(b"m\0".to_vec()));
    assert_eq!(world.ask(A, XS_RM, b"data/a\0"), ok(), "gone already");
    assert_eq!(world.ask(A, XS_RM, b"data/a/b\0"), Err(Errno::ENOENT));
    assert_eq!(world.ask(A, XS_RM, b"/\0"), Err(Errno::EACCES));
}

#[test]
fn a_guest_sees_nothing_of_another_unless_it_is_let() {
    let mut world = World::new();
    assert_eq!(world.ask(A, XS_WRITE, b"data/x\x001"), ok());
    for path in [&b"/local/domain/1/name\0"[..], b"/local/domain/1/data/x\0", b"/local/domain/1/none\0"] {
        assert_eq!(world.ask(B, XS_READ, path), Err(Errno::EACCES));
        assert_eq!(world.ask(B, XS_DIRECTORY, path), Err(Errno::EACCES));
    }
    assert_eq!(world.ask(B, XS_WRITE, b"/local/domain/1/data/x\x002"), Err(Errno::EACCES));
    assert_eq!(world.ask(A, XS_SET_PERMS, b"data/x\0n1\0r2\0"), ok());
    assert_eq!(world.ask(A, XS_GET_PERMS, b"data/x\0"), Ok(b"n1\0r2\0".to_vec()));
    assert_eq!(world.ask(B, XS_READ, b"/local/domain/1/data/x\0"), Ok(b"1".to_vec()));
    assert_eq!(world.ask(B, XS_WRITE, b"/local/domain/1/data/x\x002"), Err(Errno::EACCES));
    assert_eq!(world.ask(B, XS_SET_PERMS, b"/local/domain/1/data/x\0n2\0"), Err(Errno::EACCES));
    assert_eq!(world.ask(A, XS_SET_PERMS, b"data/x\0n2\0"), Err(Errno::EPERM), "given away");
    assert_eq!(world.ask(A, XS_SET_PERMS, b"data/x\0"), Err(Errno::EINVAL));
    assert_eq!(world.ask(A, XS_SET_PERMS, b"data/none\0n1\0"), Err(Errno::ENOENT));
}

#[test]
fn watches_begin_with_an_event_and_hear_of_what_is_below() {
    let mut world = World::new();
    let (answer, events) = world.ask_with_events(A, XS_WATCH, 0, b"control/shutdown\0token\0");
    assert_eq!((answer, events), (ok(), vec!["control/shutdown|token|".to_string()]));
    assert_eq!(world.ask(A, XS_WATCH, b"/local/domain/1/control/shutdown\0token\0"), Err(Errno::EEXIST));
    world.ask_with_events(A, XS_WATCH, 0, b"/local/domain/1/data\0d\0").0.unwrap();
    world.store.write(A, "control/shutdown", b"poweroff");
    assert_eq!(world.events(A), ["control/shutdown|token|"]);
    assert_eq!(world.ask(A, XS_READ, b"control/shutdown\0"), Ok(b"poweroff".to_vec()));
    let (_, events) = world.ask_with_events(A, XS_WRITE, 0, b"data/a/b\x001");
    assert_eq!(events, ["/local/domain/1/data/a/b|d|"]);
    let (_, events) = world.ask_with_events(A, XS_MKDIR, 0, b"data/a\0");
    assert!(events.is_empty(), "nothing has changed");
    world.ask_with_events(A, XS_WATCH, 0, b"data/a/b\0below\0").0.unwrap();
    let (_, events) = world.ask_with_events(A, XS_RM, 0, b"data/a\0");
    assert_eq!(events, ["/local/domain/1/data/a|d|", "data/a/b|below|"], "gone with the one above");
    assert_eq!(world.ask(A, XS_UNWATCH, b"data/a/b\0below\0"), ok());
    assert_eq!(world.ask(A, XS_UNWATCH, b"data/a/b\0below\0"), Err(Errno::ENOENT));
    assert_eq!(world.ask(A, XS_RESET_WATCHES, b"\0"), ok());
    let (_, events) = world.ask_with_events(A, XS_WRITE, 0, b"data/a\x001");
    assert!(events.is_empty());
    assert_eq!(world.ask_with_events(A, XS_WATCH, 0, b"@releaseDomain\0r\0").1, ["@releaseDomain|r|"]);
}

#[test]
fn nobody_hears_of_what_he_may_not_read() {
    let mut world = World::new();
    world.ask_with_events(B, XS_WATCH, 0, b"/local/domain/1\0spy\0").0.unwrap();
    world.ask(A, XS_WRITE, b"data/x\x001").unwrap();
    world.store.write(A, "control/shutdown", b"halt");
    assert!(world.events(B).is_empty());
    world.ask(A, XS_SET_PERMS, b"data/x\0n1\0r2\0").unwrap();
    world.ask(A, XS_WRITE, b"data/x\x002").unwrap();
    assert_eq!(world.events(B), ["/local/domain/1/data/x|spy|"], "told once while it waits");
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let mut world = World::new();
    world.ask_with_events(A, XS_WATCH, 0, b"data\0d\0").0.unwrap();
    let id = world.start(A);
    assert_eq!(world.within(id, XS_WRITE, b"data/a\x001"), ok());
    assert_eq!(world.within(id, XS_WRITE, b"data/b\x002"), ok());
    assert_eq!(world.within(id, XS_READ, b"data/a\0"), Ok(b"1".to_vec()));
    assert_eq!(world.ask(A, XS_READ, b"data/a\0"), Err(Errno::ENOENT));
    let (answer, events) = world.ask_with_events(A, XS_TRANSACTION_END, id, b"T\0");
    assert_eq!(answer, ok());
    assert_eq!(events, ["data/a|d|", "data/b|d|"]);
    assert_eq!(world.ask(A, XS_READ, b"data/b\0"), Ok(b"2".to_vec()));
    assert_eq!(world.within(id, XS_READ, b"data/a\0"), Err(Errno::ENOENT), "it has ended");
    let id = world.start(A);
    assert_eq!(world.within(id, XS_RM, b"data/a\0"), ok());
    let (answer, events) = world.ask_with_events(A, XS_TRANSACTION_END, id, b"F\0");
    assert_eq!((answer, events), (ok(), vec![]));
    assert_eq!(world.ask(A, XS_READ, b"data/a\0"), Ok(b"1".to_vec()));
}

#[test]
fn transactions_that_saw_what_has_changed_begin_again() {
    /// What the transaction does, what is done meanwhile, whether it can be.
    type Case = (&'static [u8], u32, &'static [u8], u32, bool);
    let cases: [Case; 6] = [
        (b"data/a\0", XS_READ, b"data/a\x009", XS_WRITE, false),
        (b"data/a\0", XS_READ, b"data/b\x009", XS_WRITE, true),
        (b"data/none\0", XS_READ, b"data/none\x009", XS_WRITE, false),
        (b"data\0", XS_DIRECTORY, b"data/new\x009", XS_WRITE, false),
        (b"data/a\x007", XS_WRITE, b"data/a\0", XS_RM, false),
        (b"data/c/d\x007", XS_WRITE, b"data/a\x009", XS_WRITE, true),
    ];
    for (mine, what, others, then, good) in cases {
        let mut world = World::new();
        for node in [&b"data/a\x000"[..], b"data/b\x000", b"data/c\x000"] {
            world.ask(A, XS_WRITE, node).unwrap();
        }
        let id = world.start(A);
        let _ = world.within(id, what, mine);
        world.ask(A, then, others).unwrap();
        let answer = world.within(id, XS_TRANSACTION_END, b"T\0");
        assert_eq!(answer, if good { ok() } else { Err(Errno::EAGAIN) }, "{mine:?} {others:?}");
    }
}

#[test]
fn transactions_are_numbered_and_few() {
    let mut world = World::new();
    let ids: Vec<u32> = (0..10).map(|_| world.start(A)).collect();
    assert!(ids.iter().all(|id| *id != 0) && ids.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(world.ask(A, XS_TRANSACTION_START, b"\0"), Err(Errno::ENOSPC));
    assert_eq!(world.within(ids[0], XS_TRANSACTION_START, b"\0"), Err(Errno::EBUSY));
    assert_eq!(world.within(ids[0], XS_TRANSACTION_END, b"X\0"), Err(Errno::EINVAL));
    assert_eq!(world.ask(A, XS_TRANSACTION_END, b"T\0"), Err(Errno::ENOENT));
    assert_eq!(world.within(999, XS_READ, b"name\0"), Err(Errno::ENOENT));
    assert_eq!(world.ask_with_events(B, XS_READ, ids[0], b"name\0").0, Err(Errno::ENOENT), "another's");
    assert_eq!(world.within(ids[3], XS_TRANSACTION_END, b"F\0"), ok());
    assert!(!ids.contains(&world.start(A)));
}

#[test]
fn nobody_takes_more_than_his_share() {
    let mut world = World::new();
    let own = world.store.tree.count(&Path::home(A));
    for number in 0..1000 - own {
        assert_eq!(world.ask(A, XS_WRITE, format!("data/{number}\0").as_bytes()), ok());
    }
    assert_eq!(world.ask(A, XS_WRITE, b"data/more\0"), Err(Errno::ENOSPC));
    assert_eq!(world.ask(A, XS_MKDIR, b"data/more\0"), Err(Errno::ENOSPC));
    assert_eq!(world.ask(A, XS_WRITE, b"data/0\0still"), ok());
    assert_eq!(world.ask(B, XS_WRITE, b"data/0\0too"), ok());
    let long = [b"data/0\0".to_vec(), vec![b'x'; 2049]].concat();
    assert_eq!(world.ask(A, XS_WRITE, &long), Err(Errno::ENOSPC));
    assert_eq!(world.ask(A, XS_WRITE, &long[..long.len() - 1]), ok());
    for number in 0..128 {
        assert_eq!(world.ask(B, XS_WATCH, format!("data\0{number}\0").as_bytes()), ok());
    }
    assert_eq!(world.ask(B, XS_WATCH, b"data\0more\0"), Err(Errno::E2BIG));
    // The list is too long for one message now.
    assert_eq!(world.ask(A, XS_DIRECTORY, b"data\0").map(|list| list.len() < 4096), Ok(true));
}

#[test]
fn long_lists_come_in_parts() {
    let mut world = World::new();
    let name = |number: usize| format!("a-child-with-a-long-name-{number}");
    for number in 0..300 {
        world.ask(A, XS_MKDIR, format!("data/{}\0", name(number)).as_bytes()).unwrap();
    }
    assert_eq!(world.ask(A, XS_DIRECTORY, b"data\0"), Err(Errno::E2BIG));
    let mut list = vec![];
    let mut generations = vec![];
    for _ in 0..10 {
        let answer = world.ask(A, XS_DIRECTORY_PART, format!("data\0{}\0", list.len()).as_bytes()).unwrap();
        let end = answer.iter().position(|byte| *byte == 0).unwrap();
        generations.push(answer[..end].to_vec());
        list.extend_from_slice(&answer[end + 1..]);
        if list.ends_with(b"\0\0") {
            break;
        }
    }
    assert!(generations.len() > 1 && generations.windows(2).all(|pair| pair[0] == pair[1]));
    let wanted: Vec<u8> = (0..300).flat_map(|n| format!("{}\0", name(n)).into_bytes()).chain([0]).collect();
    assert_eq!(list, wanted);
    assert_eq!(world.ask(A, XS_DIRECTORY_PART, b"data\x00100000\0"), Err(Errno::EINVAL));
}

#[test]
fn payloads_that_are_not_what_they_should_be_are_refused() {
    let mut world = World::new();
    for kind in MessageType::ALL.iter().map(|kind| kind.number()).chain([20, 23, u32::MAX]) {
        for payload in
            [&b""[..], b"\0", b"no-end", b"data\0\0\0\0", b"//\0", b"\xff\0\xff\0", b"data\0x\0y\0z"]
        {
            let before = format!("{:?}", world.store.tree);
            let request = world.send(A, kind, 0, payload, 100);
            let answers = world.take(A);
            println!("{kind} {payload:?}: {answers:?}");
            assert!(answers.iter().any(|(_, id, _)| *id == request), "{kind} {payload:?} is answered");
            let refused = answers.iter().any(|(answered, ..)| *answered == XS_ERROR);
            assert!(
                !refused || format!("{:?}", world.store.tree) == before,
                "{kind} {payload:?} left a trace"
            );
        }
    }
    for kind in [XS_CONTROL, XS_INTRODUCE, XS_RELEASE, XS_RESUME, XS_SET_TARGET] {
        assert_eq!(world.ask(A, kind, b"1\0"), Err(Errno::EACCES));
    }
    assert_eq!(world.ask(A, 20, b"\0"), Err(Errno::ENOSYS));
}

#[test]
fn domains_have_paths_and_are_known_while_they_live() {
    let mut world = World::new();
    assert_eq!(world.ask(A, XS_GET_DOMAIN_PATH, b"2\0"), Ok(b"/local/domain/2\0".to_vec()));
    assert_eq!(world.ask(A, XS_IS_DOMAIN_INTRODUCED, b"2\0"), Ok(b"T\0".to_vec()));
    world.store.release(B);
    assert_eq!(world.ask(A, XS_IS_DOMAIN_INTRODUCED, b"2\0"), Ok(b"F\0".to_vec()));
    assert_eq!((world.store.wants(B), world.store.read(B, "name")), (0, None));
}

#[test]
fn a_domain_that_takes_no_replies_is_not_heard() {
    let mut world = World::new();
    let mut sent = 0;
    while world.store.wants(A) > 0 {
        world.send(A, XS_READ, 0, b"name\0", 100);
        sent += 1;
        assert!(sent < 100);
    }
    assert_eq!(world.take(A).len(), sent);
    assert!(world.store.wants(A) > 0);
}

#[test]
fn a_message_that_is_none_ends_the_conversation() {
    let mut world = World::new();
    let header = XsdSockmsg { kind: XS_READ, len: 4097, ..Default::default() };
    world.store.receive(A, header.as_bytes());
    assert!(world.store.broken(A));
    assert_eq!(world.store.wants(A), 0);
    world.store.reset(A);
    assert!(!world.store.broken(A));
    assert_eq!(world.ask(A, XS_READ, b"name\0"), Ok(b"guest".to_vec()));
}
