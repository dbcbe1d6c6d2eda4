//! What the kernel selects: the filter expression, compiled for the link types of the devices there
//! are, without what is exchanged with some peers, and translated.

use crate::{
    filter::{
        Expression, FilterError, Filters, Text,
        cbpf::Program,
        ebpf::{ForDevices, Form, Function},
        peer::{self, Peer},
    },
    kernel::{
        chosen::Names,
        devices,
        netns::{Namespace, NetnsError},
    },
    link_type,
    namespaces::Namespaces,
    pcapng::LinkType,
};

/// Devices of these link types may come later.
const ALWAYS: [LinkType; 2] = [LinkType::ETHERNET, LinkType::RAW];

/// The expression, read and not compiled yet; [`None`] if there is none, or an empty one.
pub(super) fn read(text: Option<&Text>) -> Result<Option<Expression>, FilterError> {
    match text {
        Some(text) => Expression::new(text.read()?),
        None => Ok(None),
    }
}

/// The link types of the devices to capture on: of those in the namespaces, or in our own if it is
/// to be all of them, that have one of the names, or of all.
pub(super) fn link_types(
    netns: &Namespaces<Namespace>,
    names: &Names,
) -> Result<Vec<LinkType>, NetnsError> {
    let mut devices = Vec::new();
    match netns {
        Namespaces::Only(these) => {
            for one in these {
                devices.extend(one.inside(devices::all)?);
            }
        }
        Namespaces::All | Namespaces::AllBut(_) => {
            devices = Namespace::own()?.inside(devices::all)?;
        }
    }
    let mut found = Vec::new();
    for device in devices {
        if names.has(&device.name)
            && let Some(link_type) = link_type::of_device(device.dev_type)
            && !found.contains(&link_type)
        {
            found.push(link_type);
        }
    }
    Ok(found)
}

/// The function for the kernel, of the expression compiled for these link types, and what is to be
/// said of those that it is not for. What is exchanged with the peers is not selected.
pub(super) fn translated(
    expression: &Expression,
    link_types: &[LinkType],
    left_out: &[Peer],
) -> Result<(Function, Vec<String>), FilterError> {
    let filters = Filters::new(expression, link_types)?;
    let mut notices: Vec<String> = filters
        .not_compiled()
        .map(|(link_type, error)| not_selected(link_type, &error.to_string()))
        .collect();
    let later = ALWAYS.iter().filter(|always| !link_types.contains(always));
    let later: Vec<(LinkType, Program)> = later
        .filter_map(|&link_type| Some((link_type, expression.compile(link_type).ok()?)))
        .collect();
    let later = later
        .iter()
        .map(|(link_type, program)| (*link_type, program));
    let mut selected = Vec::new();
    for (link_type, program) in filters.programs().chain(later) {
        if link_type == LinkType::NETLINK {
            let why = "these are given a header when they are written; filter with -r FILE";
            notices.push(not_selected(link_type, why));
            continue;
        }
        let without = without(left_out, link_type, Some(program))?;
        selected.push((link_type, without.unwrap_or_else(|| program.clone())));
    }
    let mut programs = Vec::new();
    for (link_type, program) in &selected {
        let form = if *link_type == LinkType::CAN_SOCKETCAN {
            Form::PortableCan
        } else {
            Form::AsSent
        };
        programs.push(ForDevices {
            kinds: link_type::devices(*link_type).collect(),
            form,
            program,
        });
    }
    Ok((Function::new(&programs)?, notices))
}

/// The function for the kernel where there is no expression.
pub(super) fn all_but(left_out: &[Peer]) -> Result<Function, FilterError> {
    let mut programs = Vec::new();
    for link_type in ALWAYS {
        let program = without(left_out, link_type, None)?;
        programs.extend(program.map(|program| (link_type, program)));
    }
    let programs = programs.iter().map(|(link_type, program)| ForDevices {
        kinds: link_type::devices(*link_type).collect(),
        form: Form::AsSent,
        program,
    });
    Ok(Function::or_all(&programs.collect::<Vec<_>>())?)
}

fn without(
    left_out: &[Peer],
    link_type: LinkType,
    selected: Option<&Program>,
) -> Result<Option<Program>, FilterError> {
    peer::without(left_out, link_type, selected)
        .map_err(|invalid| FilterError::Invalid(link_type, invalid))
}

fn not_selected(link_type: LinkType, why: &str) -> String {
    let name = link_type::name(link_type);
    format!("no {name} frames are selected: {why}")
}
