//! What a domain may ask of xenstore, tried.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use paravane_abi::io::xenstore::{MessageType, strings};

use super::line;
use crate::cpu_ops::facts;
use crate::errno::{Errno, Result};
use crate::xenstore::{self, request};

/// A node that is this domain's own to write.
const OWN: &[u8] = b"data/selftest\0";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &[u8]) -> Result<Vec<u8>> {
    request(MessageType::Read, 0, &[path])
}

fn write(path: &[u8], value: &[u8]) -> Result<()> {
    request(MessageType::Write, 0, &[path, value]).map(drop)
}

fn start() -> Result<u32> {
    let answer = request(MessageType::TransactionStart, 0, &[b"\0"])?;
    text(&answer).trim_end_matches('\0').parse().map_err(|_| Errno::EIO)
}

fn end(transaction: u32, commit: bool) -> Result<()> {
    let letter: &[u8] = if commit { b"T\0" } else { b"F\0" };
    request(MessageType::TransactionEnd, transaction, &[letter]).map(drop)
}

/// The domain's name, its number, and the folders of what it has.
fn own() -> Result<String> {
    let (name, number) = (read(b"name\0")?, read(b"domid\0")?);
    let path = format!("/local/domain/{}/name\0", text(&number));
    if read(path.as_bytes())? != name {
        return Err(Errno::EIO);
    }
    let home = format!("/local/domain/{}\0", text(&number));
    let folders = request(MessageType::Directory, 0, &[home.as_bytes()])?;
    let has_control = strings(&folders).any(|folder| folder == b"control");
    if has_control {
        Ok(format!("name {} domid {} nodes {}", text(&name), text(&number), strings(&folders).count()))
    } else {
        Err(Errno::ENOENT)
    }
}

/// What is written is read; what is another's is refused.
fn written() -> Result<String> {
    write(OWN, b"one")?;
    let value = read(OWN)?;
    let refused = (write(b"name\0", b"me"), read(b"no-such-node\0").map(drop));
    match refused {
        (Err(Errno::EACCES), Err(Errno::ENOENT)) if value == b"one" => {
            Ok("one; another's EACCES, none ENOENT".into())
        }
        _ => Err(Errno::EIO),
    }
}

/// A watch tells of itself, of a change, and after its end of nothing.
fn watched() -> Result<String> {
    while xenstore::event().is_some() {}
    request(MessageType::Watch, 0, &[OWN, b"token\0"])?;
    write(OWN, b"two")?;
    request(MessageType::Unwatch, 0, &[OWN, b"token\0"])?;
    write(OWN, b"three")?;
    let seen: Vec<_> = core::iter::from_fn(xenstore::event).collect();
    let good = seen.iter().all(|(path, token)| path == b"data/selftest" && token == b"token");
    if good && seen.len() == 2 { Ok("2 events".into()) } else { Err(Errno::EIO) }
}

/// What a transaction writes is seen by others when it has ended well, and it does not end well when what it has read was
/// changed meanwhile.
fn transactions() -> Result<String> {
    write(OWN, b"before")?;
    let transaction = start()?;
    request(MessageType::Write, transaction, &[OWN, b"within"])?;
    let meanwhile = read(OWN)?;
    end(transaction, true)?;
    let after = read(OWN)?;

    let transaction = start()?;
    request(MessageType::Read, transaction, &[OWN])?;
    request(MessageType::Write, transaction, &[OWN, b"late"])?;
    write(OWN, b"earlier")?;
    let conflict = end(transaction, true);
    let left = read(OWN)?;

    let transaction = start()?;
    request(MessageType::Write, transaction, &[OWN, b"never"])?;
    end(transaction, false)?;
    let good = (&meanwhile[..], &after[..], &left[..], &read(OWN)?[..])
        == (&b"before"[..], b"within", b"earlier", b"earlier");
    if good && conflict == Err(Errno::EAGAIN) { Ok("conflict EAGAIN".into()) } else { Err(Errno::EIO) }
}

/// A check: what it found, or why not.
type Check = fn() -> Result<String>;

/// Runs all.
pub fn report(out: &mut dyn Write) {
    let checks: [(&str, Check); 4] = [
        ("xenstore", own),
        ("xenstore-write", written),
        ("xenstore-watch", watched),
        ("xenstore-transaction", transactions),
    ];
    for (name, check) in checks {
        if !xenstore::present() {
            // The reader's buffer takes everything.
            let _ = writeln!(out, "n/a {}.{name} this domain has no xenstore", facts().test_prefix);
            continue;
        }
        match check() {
            Ok(detail) => line(out, true, name, format_args!("{detail}")),
            Err(error) => line(out, false, name, format_args!("{error:?}")),
        }
    }
    // It was made for this.
    let _ = request(MessageType::Rm, 0, &[OWN]);
}
