//! Requests, one function each. Payloads are hostile: each is taken apart before anything is looked at.

use alloc::format;
use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::io::xenstore::{Header, MessageType, XENSTORE_PAYLOAD_MAX};

use super::Xenstore;
use super::change::{Action, Caller, Change};
use super::connection::Watch;
use super::path::Path;
use super::perms::{Perms, Right};
use super::transaction::Transaction;
use super::tree::{Node, Tree};
use crate::addr::DomainId;

/// Most watches of a domain (xenstored's quota).
const WATCHES_MAX: usize = 128;
/// Most transactions of a domain under way (xenstored's quota).
const TRANSACTIONS_MAX: usize = 10;

type Answer = Result<Vec<u8>, Errno>;

/// What a request that has nothing to tell is answered with.
fn done() -> Answer {
    Ok(b"OK\0".to_vec())
}

/// The one text that a payload is.
fn one(payload: &[u8]) -> Result<&[u8], Errno> {
    let text = payload.strip_suffix(&[0]).ok_or(Errno::EINVAL)?;
    if text.contains(&0) { Err(Errno::EINVAL) } else { Ok(text) }
}

/// The first text of a payload, and what follows its NUL.
fn first(payload: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let end = payload.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
    Ok((&payload[..end], &payload[end + 1..]))
}

/// The two texts that a payload is.
fn two(payload: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let (text, rest) = first(payload)?;
    Ok((text, one(rest)?))
}

fn number<T: core::str::FromStr>(text: &[u8]) -> Result<T, Errno> {
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Errno::EINVAL)
}

impl Xenstore {
    /// Does what a connection asks.
    pub(super) fn answer(&mut self, at: usize, header: Header, payload: &[u8]) -> Answer {
        let transaction = header.tx_id;
        if transaction != 0 && self.transaction(at, transaction).is_none() {
            return Err(Errno::ENOENT);
        }
        let domain = self.connections[at].domain;
        match MessageType::from_number(header.kind).ok_or(Errno::ENOSYS)? {
            MessageType::Read => {
                let path = Path::parse(one(payload)?, domain)?;
                self.look(at, transaction, &path, |node| Ok(node.value.clone()))
            }
            MessageType::Directory => {
                let path = Path::parse(one(payload)?, domain)?;
                self.look(at, transaction, &path, |node| Ok(names(node)))
            }
            MessageType::DirectoryPart => {
                let (path, offset) = two(payload)?;
                let (path, offset) = (Path::parse(path, domain)?, number(offset)?);
                self.look(at, transaction, &path, |node| part(node, offset))
            }
            MessageType::GetPerms => {
                let path = Path::parse(one(payload)?, domain)?;
                self.look(at, transaction, &path, |node| Ok(node.perms.text()))
            }
            MessageType::Write => {
                let (path, value) = first(payload)?;
                self.alter(at, transaction, Path::parse(path, domain)?, Action::Write(value.into()))
            }
            MessageType::Mkdir => {
                self.alter(at, transaction, Path::parse(one(payload)?, domain)?, Action::Make)
            }
            MessageType::Rm => {
                self.alter(at, transaction, Path::parse(one(payload)?, domain)?, Action::Remove)
            }
            MessageType::SetPerms => {
                let (path, perms) = first(payload)?;
                let (path, perms) = (Path::parse(path, domain)?, Perms::parse(perms)?);
                self.alter(at, transaction, path, Action::SetPerms(perms))
            }
            MessageType::Watch => self.watch(at, payload),
            MessageType::Unwatch => self.unwatch(at, payload),
            MessageType::ResetWatches => {
                self.connections[at].watches.clear();
                self.connections[at].transactions.clear();
                done()
            }
            MessageType::TransactionStart => self.start(at, transaction),
            MessageType::TransactionEnd => self.end(at, transaction, payload),
            MessageType::GetDomainPath => {
                let home = Path::home(DomainId(number(one(payload)?)?));
                Ok(format!("{}\0", home.as_str()).into_bytes())
            }
            MessageType::IsDomainIntroduced => {
                let asked = DomainId(number(one(payload)?)?);
                let known = self.connections.iter().any(|connection| connection.domain == asked);
                Ok(if known { b"T\0".to_vec() } else { b"F\0".to_vec() })
            }
            // For control domains, of which there is none.
            MessageType::Control
            | MessageType::Introduce
            | MessageType::Release
            | MessageType::Resume
            | MessageType::SetTarget => Err(Errno::EACCES),
            MessageType::WatchEvent | MessageType::Error => Err(Errno::ENOSYS),
        }
    }

    /// What comes behind a reply: the event by which a new watch begins.
    pub(super) fn after(&mut self, at: usize, payload: &[u8]) {
        let connection = &mut self.connections[at];
        let new = connection.watches.iter_mut().find(|watch| watch.new);
        if let (Some(watch), Ok((path, token))) = (new, two(payload)) {
            watch.new = false;
            connection.event(path, token);
        }
    }

    fn transaction(&mut self, at: usize, id: u32) -> Option<&mut Transaction> {
        self.connections[at].transactions.iter_mut().find(|transaction| transaction.id == id)
    }

    /// The tree that a request is about.
    fn view(&mut self, at: usize, transaction: u32, path: &Path) -> Result<&Tree, Errno> {
        if transaction == 0 {
            return Ok(&self.tree);
        }
        let transaction = self.transaction(at, transaction).ok_or(Errno::ENOENT)?;
        transaction.look(path)?;
        Ok(&transaction.view)
    }

    fn look(
        &mut self,
        at: usize,
        transaction: u32,
        path: &Path,
        answer: impl FnOnce(&Node) -> Answer,
    ) -> Answer {
        let domain = self.connections[at].domain;
        answer(self.view(at, transaction, path)?.get_for(path, domain, Right::Read)?)
    }

    fn alter(&mut self, at: usize, transaction: u32, path: Path, action: Action) -> Answer {
        let caller = Caller::Domain(self.connections[at].domain);
        let change = Change { path, action };
        self.generation += 1;
        let generation = self.generation;
        match self.transaction(at, transaction) {
            Some(transaction) => transaction.change(change, caller, generation)?,
            None => {
                if change.apply(&mut self.tree, caller, generation)? {
                    self.told(&[change]);
                }
            }
        }
        done()
    }

    fn watch(&mut self, at: usize, payload: &[u8]) -> Answer {
        let (text, token) = two(payload)?;
        let connection = &mut self.connections[at];
        let path = Path::parse_watched(text, connection.domain)?;
        if connection.watches.iter().any(|watch| watch.path == path && watch.token == token) {
            return Err(Errno::EEXIST);
        }
        if connection.watches.len() >= WATCHES_MAX {
            return Err(Errno::E2BIG);
        }
        let relative = !text.starts_with(b"/") && !text.starts_with(b"@");
        connection.watches.push(Watch { path, token: token.into(), relative, new: true });
        done()
    }

    fn unwatch(&mut self, at: usize, payload: &[u8]) -> Answer {
        let (path, token) = two(payload)?;
        let connection = &mut self.connections[at];
        let path = Path::parse_watched(path, connection.domain)?;
        let known = connection.watches.iter().position(|watch| watch.path == path && watch.token == token);
        connection.watches.remove(known.ok_or(Errno::ENOENT)?);
        done()
    }

    fn start(&mut self, at: usize, transaction: u32) -> Answer {
        let Self { tree, connections, .. } = self;
        let connection = &mut connections[at];
        if transaction != 0 {
            return Err(Errno::EBUSY);
        }
        if connection.transactions.len() >= TRANSACTIONS_MAX {
            return Err(Errno::ENOSPC);
        }
        // Numbers come again after 2^32; 0 means none.
        let taken = |id| id == 0 || connection.transactions.iter().any(|known| known.id == id);
        let next = (1..).map(|n| connection.last_transaction.wrapping_add(n)).find(|id| !taken(*id));
        connection.last_transaction = next.ok_or(Errno::ENOSPC)?;
        connection.transactions.push(Transaction::new(connection.last_transaction, tree));
        Ok(format!("{}\0", connection.last_transaction).into_bytes())
    }

    fn end(&mut self, at: usize, transaction: u32, payload: &[u8]) -> Answer {
        let commit = match one(payload)? {
            b"T" => true,
            b"F" => false,
            _ => return Err(Errno::EINVAL),
        };
        let connection = &mut self.connections[at];
        let known = connection.transactions.iter().position(|known| known.id == transaction);
        let transaction = connection.transactions.remove(known.ok_or(Errno::ENOENT)?);
        if commit {
            let caller = Caller::Domain(connection.domain);
            self.generation += 1;
            let changes = transaction.commit(&mut self.tree, caller, self.generation)?;
            self.told(&changes);
        }
        done()
    }
}

/// A node's children, each name with its NUL.
fn names(node: &Node) -> Vec<u8> {
    node.names().flat_map(|name| name.bytes().chain([0])).collect()
}

/// The children from a byte of their list on, as many as a message takes, behind the node's generation: a reader who
/// finds another one begins anew. The last part ends in a NUL more.
fn part(node: &Node, offset: usize) -> Answer {
    let mut answer = format!("{}\0", node.generation).into_bytes();
    let all = names(node);
    let rest = all.get(offset..).ok_or(Errno::EINVAL)?;
    if answer.len() + rest.len() < XENSTORE_PAYLOAD_MAX {
        answer.extend_from_slice(rest);
        answer.push(0);
        return Ok(answer);
    }
    let room = XENSTORE_PAYLOAD_MAX - answer.len();
    let whole = rest[..room].iter().rposition(|byte| *byte == 0).map_or(0, |last| last + 1);
    answer.extend_from_slice(&rest[..whole]);
    Ok(answer)
}
