//! `cargo xtask compare`: counts what each operation costs on each machine, and shows it side by side.

mod table;

use crate::project::Project;
use crate::report::{self, data::Data};
use crate::setup::{self, Bring, fixtures};
use crate::{build, cli, run, stop};
use anyhow::{Context, Result};
use paravane_tests::compare::json;
use paravane_tests::compare::operations::{Machine, OPERATIONS, Operation, named};
use paravane_tests::compare::rows::{self, Row};
use paravane_tests::compare::theory;
use paravane_tests::status::Status;
use paravane_tests::trace::observe::observe;
use paravane_tests::trace::timeline::Timeline;
use paravane_tests::{scenario, walks};

/// Runs `compare`.
pub fn command(project: &Project, options: &cli::Compare) -> Result<Status> {
    if options.list {
        OPERATIONS.iter().for_each(|operation| println!("{:<22}{}", operation.name, operation.about));
        return Ok(Status::Good);
    }
    let operations = chosen_operations(&options.operations)?;
    let machines = chosen_machines(&options.machine)?;
    let context = prepare(project, &options.setup, options.no_build, &machines)?;
    let (timelines, mut faults) = run_all(&context, &machines, &operations);
    let counted: Vec<Row> = timelines.iter().map(Row::from).collect();
    if options.twice {
        let (again, other_faults) = run_all(&context, &machines, &operations);
        let again: Vec<Row> = again.iter().map(Row::from).collect();
        faults
            .extend(rows::differences(&counted, &again).into_iter().map(|line| format!("two runs: {line}")));
        faults.extend(other_faults.into_iter().filter(|fault| !faults.contains(fault)).collect::<Vec<_>>());
    }
    // A machine that did not run is one fault, not one for each of its cells.
    let ran: Vec<Machine> = machines
        .iter()
        .copied()
        .filter(|machine| counted.iter().any(|row| row.machine == *machine))
        .collect();
    faults.extend(rows::faults(&counted, &operations, &ran));
    faults.extend(theory::broken(&counted).into_iter().map(|line| format!("theory: {line}")));
    println!("{}", table::of(&counted, &operations, &machines));
    table::reasons(&operations, &machines).iter().for_each(|line| println!("{line}"));
    if let Some(path) = &options.json {
        std::fs::write(path, json::of(&counted)?).with_context(|| format!("writing {}", path.display()))?;
    }
    if options.html.is_some() || options.data.is_some() {
        write_report(options, &context, &machines, timelines)?;
    }
    faults.iter().for_each(|fault| println!("to settle: {fault}"));
    Ok(if faults.is_empty() { Status::Good } else { Status::CheckFailed })
}

/// Counts operations on machines, for who has another use of it than the table.
pub fn counted(
    project: &Project,
    setup: &cli::Setup,
    no_build: bool,
    operations: &[&Operation],
    machines: &[Machine],
) -> Result<Vec<Row>> {
    let context = prepare(project, setup, no_build, machines)?;
    let (timelines, faults) = run_all(&context, machines, operations);
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(timelines.iter().map(Row::from).collect())
}

/// Writes what was counted, with walks through page tables, as a report, and as what it can be made of again.
fn write_report(
    options: &cli::Compare,
    context: &scenario::Context,
    machines: &[Machine],
    timelines: Vec<Timeline>,
) -> Result<()> {
    let mut data = Data { made: made(options), timelines, walks: Vec::new() };
    for machine in walks::MACHINES.into_iter().filter(|machine| machines.contains(machine)) {
        run::say(format_args!("walking page tables on {}", machine.name()));
        data.walks.extend(walks::observe(context, machine)?);
    }
    if let Some(path) = &options.data {
        data.write(path)?;
    }
    options.html.iter().try_for_each(|path| report::write(&data, path))
}

/// The command, as a reader of the report could type it.
fn made(options: &cli::Compare) -> String {
    let machines = options.machine.iter().flat_map(|machine| ["--machine", machine]);
    let words = options.operations.iter().map(String::as_str).chain(machines);
    let words: String = words.map(|word| format!("{word} ")).collect();
    format!("Made by: cargo xtask compare {words}--html FILE (Paravane {})", env!("CARGO_PKG_VERSION"))
}

/// The operations of these names; all of them if there is none.
pub fn chosen_operations(names: &[String]) -> Result<Vec<&'static Operation>> {
    if names.is_empty() {
        return Ok(OPERATIONS.iter().collect());
    }
    let all = || OPERATIONS.iter().map(|operation| operation.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        named(name).ok_or_else(|| stop::usage(format!("no operation is named {name}; there are: {}", all())))
    };
    names.iter().map(find).collect()
}

/// The machines of these names; all of them if there is none.
pub fn chosen_machines(names: &[String]) -> Result<Vec<Machine>> {
    if names.is_empty() {
        return Ok(Machine::ALL.to_vec());
    }
    let all = Machine::ALL.map(Machine::name).join(", ");
    let find = |name: &String| {
        Machine::named(name)
            .ok_or_else(|| stop::usage(format!("no machine is named {name}; there are: {all}")))
    };
    names.iter().map(find).collect()
}

/// Builds and brings what the machines need.
pub fn prepare(
    project: &Project,
    setup: &cli::Setup,
    no_build: bool,
    machines: &[Machine],
) -> Result<scenario::Context> {
    let bring = Bring::from_options(setup);
    if no_build {
        build::made(project)?;
    } else {
        build::all(project, bring)?;
    }
    {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?;
        if machines.contains(&Machine::Xen) {
            fixtures::xen(project, bring)?;
        }
    }
    let scratch = project.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let xtask = std::env::current_exe().context("finding this program")?;
    Ok(scenario::Context { xtask, images: build::images(project), scratch })
}

/// Boots each machine once: what happened, and what kept a machine from counting.
fn run_all(
    context: &scenario::Context,
    machines: &[Machine],
    operations: &[&Operation],
) -> (Vec<Timeline>, Vec<String>) {
    let (mut timelines, mut faults) = (Vec::new(), Vec::new());
    for &machine in machines {
        run::say(format_args!("counting on {}", machine.name()));
        match observe(context, machine, operations) {
            Ok(lines) => timelines.extend(lines),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    (timelines, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose() {
        assert_eq!(chosen_operations(&[]).unwrap().len(), OPERATIONS.len());
        assert_eq!(chosen_operations(&["int3".into()]).unwrap()[0].name, "int3");
        assert_eq!(stop::status_of(&chosen_operations(&["tea".into()]).unwrap_err()), Status::Usage);
        assert_eq!(chosen_machines(&[]).unwrap(), Machine::ALL);
        assert_eq!(chosen_machines(&["xen".into()]).unwrap(), [Machine::Xen]);
        assert_eq!(stop::status_of(&chosen_machines(&["vax".into()]).unwrap_err()), Status::Usage);
    }
}
