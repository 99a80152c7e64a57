//! Expands a guest's stubs and a hypervisor's dispatch from the one table and lets them talk to each other.

use paravane_abi::errno::{Errno, split_rax};
use paravane_abi::event::EVTCHNOP_SEND;
use paravane_abi::hypercall::{Argument, Callers, HYPERVISOR_MULTICALL, Hypercall, OTHER_ROWS, ROWS};
use paravane_abi::hypercall_table;
use paravane_abi::mmu::MMUEXT_NEW_BASEPTR;

/// The registers of a call: number and arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Call {
    number: u64,
    args: [u64; 5],
}

/// A function per row, giving the registers as a guest would load them.
macro_rules! stubs {
    ($(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {
        mod guest {
            use super::Call;
            $(
                #[doc = $doc]
                pub fn $name($($arg: $ty),*) -> Call {
                    let words: &[u64] = &[$($arg as u64),*];
                    let mut args = [0; 5];
                    args[..words.len()].copy_from_slice(words);
                    Call { number: $number, args }
                }
            )*

            /// Every call once, all arguments 0x1000.
            pub fn all() -> Vec<Call> {
                vec![$( $name($(0x1000u64 as $ty),*) ),*]
            }
        }
    };
}
hypercall_table!(stubs);

/// A method per row: a handler that is missing does not compile.
macro_rules! handlers {
    ({ $trait:ident } $(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {
        trait $trait {
            $( fn $name(&mut self, args: [u64; 5]) -> Result<u64, Errno>; )*
        }

        fn dispatch(to: &mut impl $trait, call: Call) -> u64 {
            let result = match Hypercall::from_number(call.number) {
                $( Some(Hypercall::$camel) => to.$name(call.args), )*
                None => Err(Errno::ENOSYS),
            };
            result.unwrap_or_else(Errno::to_rax)
        }

        impl $trait for Recorder {
            $(
                fn $name(&mut self, args: [u64; 5]) -> Result<u64, Errno> {
                    self.0.push(Call { number: $number, args });
                    [$(Errno::$error),*].first().map_or(Ok($number), |&errno| Err(errno))
                }
            )*
        }
    };
}
hypercall_table!(handlers, Handlers);

/// Notes each call, and gives its row's first error, or its number where the row has none.
#[derive(Default)]
struct Recorder(Vec<Call>);

#[test]
fn stubs_reach_their_handlers() {
    let mut hypervisor = Recorder::default();
    let word = 7u32;
    let calls = [
        guest::event_channel_op(EVTCHNOP_SEND, (&raw const word).cast::<u8>().cast_mut()),
        guest::update_va_mapping(0xffff_ffff_8000_1000, 0x1234_5067, 2),
        guest::mmuext_op(std::ptr::null(), 1, std::ptr::null_mut(), 0x7ff0),
        guest::iret(),
    ];
    let results: Vec<u64> = calls.iter().map(|&call| dispatch(&mut hypervisor, call)).collect();
    assert_eq!(hypervisor.0, calls);
    assert_eq!(calls[0].args[..2], [u64::from(EVTCHNOP_SEND), (&raw const word) as u64]);
    assert_eq!(calls[1].args, [0xffff_ffff_8000_1000, 0x1234_5067, 2, 0, 0]);
    assert_eq!(split_rax(results[0]), Err(Errno::EFAULT.code()));
    assert_eq!(split_rax(results[3]), Ok(23));
}

#[test]
fn every_stub_reaches_its_own_handler() {
    let mut hypervisor = Recorder::default();
    let results: Vec<u64> = guest::all().iter().map(|&call| dispatch(&mut hypervisor, call)).collect();
    assert_eq!(hypervisor.0, guest::all());
    for ((row, call), rax) in ROWS.iter().zip(guest::all()).zip(results) {
        let arguments = call.args.iter().filter(|&&word| word == 0x1000).count();
        assert_eq!((call.number, arguments), (row.number, row.arguments.len()), "{}", row.name);
        let expected = row.errors.first().map_or(Ok(row.number), |errno| Err(errno.code()));
        assert_eq!(split_rax(rax), expected, "{}", row.name);
    }
}

#[test]
fn numbers_outside_the_table_are_refused_unheard() {
    let mut hypervisor = Recorder::default();
    for other in OTHER_ROWS.iter().map(|row| row.number).chain([11, 43, 128, u64::MAX]) {
        let call = Call { number: other, ..Call::default() };
        assert_eq!(split_rax(dispatch(&mut hypervisor, call)), Err(Errno::ENOSYS.code()), "{other}");
    }
    assert!(hypervisor.0.is_empty());
}

#[test]
fn no_call_has_more_arguments_than_registers() {
    for row in ROWS {
        assert!(row.arguments.len() <= 5, "{}", row.name);
    }
}

#[test]
fn rows_describe_what_the_issue_lists() {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let wanted = "set_trap_table mmu_update set_gdt stack_switch set_callbacks callback_op fpu_taskswitch set_debugreg \
                  get_debugreg update_descriptor memory_op multicall update_va_mapping set_timer_op xen_version console_io \
                  vm_assist iret vcpu_op set_segment_base mmuext_op sched_op event_channel_op physdev_op grant_table_op ring1_op \
                  sched_op_compat platform_op event_channel_op_compat physdev_op_compat update_va_mapping_otherdomain \
                  xsm_op nmi_op hvm_op sysctl domctl kexec_op xenpmu_op dm_op hypfs_op arch_1";
    for name in wanted.split_whitespace() {
        assert!(names.contains(&name), "{name} is missing");
    }
    assert_eq!(names.len(), wanted.split_whitespace().count());
    assert_eq!(Hypercall::Multicall.number(), HYPERVISOR_MULTICALL);
}

#[test]
fn rows_tell_arguments_and_callers() {
    let mmuext = Hypercall::MmuextOp.row();
    let baseptr = mmuext.sub_operations.iter().find(|sub| sub.number == u64::from(MMUEXT_NEW_BASEPTR));
    assert_eq!(baseptr.map(|sub| (sub.name, sub.argument)), Some(("new_baseptr", Argument::None)));
    let events = Hypercall::EventChannelOp.row();
    let virq = events.sub_operations.iter().find(|sub| sub.name == "bind_virq").expect("the row exists");
    assert_eq!((virq.argument, virq.callers), (Argument::Both, Callers::Any));
    assert!(virq.argument_type.ends_with("EvtchnBindVirq"), "{}", virq.argument_type);
    assert!(virq.errors.contains(&Errno::EEXIST));
}
