//! Signals.

use crate::arch::frame::Frame;
use crate::errno::{Errno, Result};
use crate::mm::user;
use crate::process;
use crate::process::signal::{self as signals, SigAction};
use zerocopy::{FromBytes, Immutable, IntoBytes};

crate::full_frame_handler!(rt_sigreturn_stub, rt_sigreturn);

extern "C" fn rt_sigreturn(frame: &mut Frame) -> i64 {
    signals::sigreturn(frame)
}

/// `struct sigaction` of the kernel interface.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
struct UserAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Signals are sets of 64.
const SET_SIZE: u64 = 8;

/// `rt_sigaction`.
pub fn rt_sigaction(number: u64, new: u64, old: u64, set_size: u64) -> Result<u64> {
    if set_size != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let action = match new {
        0 => None,
        new => {
            let UserAction { handler, flags, restorer, mask } = user::read(new)?;
            Some(SigAction { handler, flags, restorer, mask })
        }
    };
    let SigAction { handler, flags, restorer, mask } = signals::sigaction(number as u32, action)?;
    if old != 0 {
        user::write(old, &UserAction { handler, flags, restorer, mask })?;
    }
    Ok(0)
}

/// `rt_sigprocmask`.
pub fn rt_sigprocmask(how: u64, new: u64, old: u64, set_size: u64) -> Result<u64> {
    if set_size != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let set = if new == 0 { None } else { Some(user::read::<u64>(new)?) };
    let before = signals::sigprocmask(how as i32, set)?;
    if old != 0 {
        user::write(old, &before)?;
    }
    Ok(0)
}

/// `kill`: one process, a group, or everybody but the first process and the caller.
pub fn kill(pid: u64, number: u64) -> Result<u64> {
    let number = number as u32;
    if number > 64 {
        return Err(Errno::EINVAL);
    }
    match pid as i32 {
        0 => group(process::current().pgid(), number),
        -1 => {
            let me = process::current().pid;
            let mut others = alloc::vec::Vec::new();
            process::for_each(&mut |process| {
                if process.pid != 1 && process.pid != me {
                    others.push(process.pid);
                }
            });
            if others.is_empty() {
                return Err(Errno::ESRCH);
            }
            for pid in others {
                one(pid, number)?;
            }
            Ok(0)
        }
        pid if pid > 0 => one(pid as u32, number),
        pid => group(pid.unsigned_abs(), number),
    }
}

/// `tgkill`.
pub fn tgkill(_group: u64, pid: u64, number: u64) -> Result<u64> {
    if (pid as i32) <= 0 || number > 64 {
        return Err(Errno::EINVAL);
    }
    one(pid as u32, number as u32)
}

/// Signal 0 only asks whether the process is there.
fn one(pid: u32, number: u32) -> Result<u64> {
    if number == 0 {
        return process::find(pid).map(|_| 0).ok_or(Errno::ESRCH);
    }
    signals::send_pid(pid, number).map(|()| 0)
}

fn group(group: u32, number: u32) -> Result<u64> {
    if number == 0 {
        let mut found = false;
        process::for_each(&mut |process| found |= process.pgid() == group);
        return if found { Ok(0) } else { Err(Errno::ESRCH) };
    }
    signals::send_group(group, number).map(|()| 0)
}

/// `pause`.
pub fn pause() -> Result<u64> {
    process::sleep_until(u64::MAX)?;
    Err(Errno::EINTR)
}

/// `rt_sigsuspend`.
pub fn rt_sigsuspend(mask: u64, set_size: u64) -> Result<u64> {
    if set_size != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    signals::sigsuspend(user::read(mask)?)
}
