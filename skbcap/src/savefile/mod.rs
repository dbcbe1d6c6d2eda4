//! `-r FILE`: the frames of a capture file, selected, and printed or copied.
//!
//! Knows files, and nothing of how frames are captured.

mod choice;
mod copy;
mod lines;

pub use choice::{Choice, Input};

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::thread::CapabilitySet;

use self::copy::Copy;
use self::lines::Lines;
use crate::config::Output;
use crate::filter::{Expression, Filters};
use crate::output::rotation::Rotation;
use crate::output::{FileOutput, OpenError};
use crate::pcapng::LinkType;
use crate::privilege::{self, User};
use crate::read::{Frame, Interface, NotACapture, Packet, Trouble, Visitor, walk};
use crate::{link_type, mapped_file};

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum SavefileError {
    /// A file can't be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is something else.
    #[error("{} is no capture", .0.display())]
    NotACapture(PathBuf, #[source] NotACapture),
    /// `-w` names the file that is read.
    #[error("-r and -w both name {}: write another file", .0.display())]
    OntoItself(PathBuf),
}

/// Where the selected frames go.
trait Sink<'a> {
    /// A frame of this interface. [`ControlFlow::Break`]: it is one too many.
    fn packet(&mut self, packet: &Packet<'a>, interface: &Interface)
    -> io::Result<ControlFlow<()>>;

    /// What is no frame, as it lies in the file.
    fn other(&mut self, block: &'a [u8]) -> io::Result<()>;

    /// The end.
    fn finish(&mut self) -> io::Result<()>;
}

/// How many frames there are (`--count`).
struct Count(u64);

impl Sink<'_> for Count {
    fn packet(&mut self, _: &Packet<'_>, _: &Interface) -> io::Result<ControlFlow<()>> {
        self.0 += 1;
        Ok(ControlFlow::Continue(()))
    }

    fn other(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let plural = if self.0 == 1 { "" } else { "s" };
        writeln!(io::stdout(), "{} packet{plural}", self.0)
    }
}

/// A copy, and lines.
struct Both<W: Write>(Copy, Lines<W>);

impl<'a, W: Write> Sink<'a> for Both<W> {
    fn packet(
        &mut self,
        packet: &Packet<'a>,
        interface: &Interface,
    ) -> io::Result<ControlFlow<()>> {
        let flow = self.0.packet(packet, interface)?;
        if flow.is_continue() {
            let _ = self.1.packet(packet, interface)?;
        }
        Ok(flow)
    }

    fn other(&mut self, block: &'a [u8]) -> io::Result<()> {
        self.0.other(block)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish().and(self.1.finish())
    }
}

/// Does what was chosen.
///
/// # Errors
///
/// When the file can't be read, the expression not be used, or the output failed.
pub fn run(choice: &Choice) -> anyhow::Result<ExitCode> {
    let user = match &choice.user {
        Some(name) if privilege::is_root() => Some(User::named(name)?),
        Some(_) | None => None,
    };
    let expression = match &choice.expression {
        Some(text) => Expression::new(text.read()?)?,
        None => None,
    };
    let shown = choice.input.path();
    match &choice.input {
        Input::File(path) => {
            let map = mapped_file::map(path);
            let map = map.map_err(|error| SavefileError::Read(path.clone(), error))?;
            let bytes = map.as_deref().unwrap_or_default();
            give_up(user.as_ref())?;
            run_on(choice, bytes, expression.as_ref(), shown)
        }
        Input::Stdin => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| SavefileError::Read(shown.into(), error))?;
            give_up(user.as_ref())?;
            run_on(choice, &bytes, expression.as_ref(), shown)
        }
    }
}

/// Becomes another user, if there is to be one, with no capability at all.
fn give_up(user: Option<&User>) -> anyhow::Result<()> {
    let Some(user) = user else { return Ok(()) };
    privilege::give_up(Some(user), CapabilitySet::empty())
        .with_context(|| format!("cannot become {}", user.name))
}

fn run_on(
    choice: &Choice,
    bytes: &[u8],
    expression: Option<&Expression>,
    shown: &Path,
) -> anyhow::Result<ExitCode> {
    let filters = match expression {
        Some(expression) => Some(compile(expression, bytes, shown)?),
        None => None,
    };
    // Checked before the output is emptied.
    walk(bytes, &mut Nothing).map_err(|error| SavefileError::NotACapture(shown.into(), error))?;
    let (opened, rotation) = open(choice)?;
    let (sink, located): (Box<dyn Sink<'_>>, _) = match opened {
        None if choice.only_count => (Box::new(Count(0)), "standard output".into()),
        None => {
            let lines = Lines::new(io::stdout(), choice.style.for_stdout());
            (Box::new(lines), "standard output".into())
        }
        Some(output) => {
            let copy = Copy::new(output, rotation, choice.input.clone());
            let sink: Box<dyn Sink<'_>> = if choice.print {
                Box::new(Both(
                    copy,
                    Lines::new(io::stdout(), choice.style.for_stdout()),
                ))
            } else {
                Box::new(copy)
            };
            (sink, name(&choice.output))
        }
    };
    let mut selection = Selection {
        filters,
        sink,
        interfaces: Vec::new(),
        left: choice.count.map_or(u64::MAX, std::num::NonZeroU64::get),
        failed: None,
        trouble: None,
    };
    walk(bytes, &mut selection).map_err(|error| SavefileError::NotACapture(shown.into(), error))?;
    if selection.failed.is_none() {
        selection.failed = selection.sink.finish().err();
    }
    match selection.failed {
        // Whoever reads no further has seen what was wanted.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Some(error) => return Err(error).with_context(|| format!("cannot write to {located}")),
        None => {}
    }
    if let Some(trouble) = selection.trouble {
        let path = shown.display().to_string();
        // Whoever closed standard error doesn't want it.
        let _ = writeln!(io::stderr(), "skbcap: {}: {trouble}", path.escape_debug());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn compile(expression: &Expression, bytes: &[u8], shown: &Path) -> anyhow::Result<Filters> {
    let mut found = LinkTypes::default();
    walk(bytes, &mut found).map_err(|error| SavefileError::NotACapture(shown.into(), error))?;
    let filters = Filters::new(expression, &found.0)?;
    for (link_type, error) in filters.not_compiled() {
        // Whoever closed standard error doesn't want it.
        let _ = writeln!(
            io::stderr(),
            "skbcap: no {} frames are selected: {error}",
            link_type::name(link_type)
        );
    }
    Ok(filters)
}

/// Opens what `-w` names, unless that would empty what `-r` names.
fn open(choice: &Choice) -> Result<(Option<FileOutput>, Option<Rotation>), anyhow::Error> {
    let (mut output, mut rotation) = (choice.output.clone(), None);
    if let Output::File(template) = &choice.output
        && choice.rotate.is_asked_for()
    {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let first = Rotation::new(template, choice.rotate, now.as_nanos() as u64);
        output = Output::File(first.name().map_err(OpenError::Name)?);
        rotation = Some(first);
    }
    if let Output::File(output) = &output
        && choice.input.is_at(output)
    {
        return Err(SavefileError::OntoItself(output.clone()).into());
    }
    let mut opened = FileOutput::open(&output)?;
    if rotation.is_some() {
        opened = opened.map(FileOutput::must_have_successors).transpose()?;
    }
    Ok((opened, rotation))
}

/// What an output is called in an error.
fn name(output: &Output) -> String {
    match output {
        Output::File(path) => path.display().to_string(),
        _ => "standard output".into(),
    }
}

/// Sees whether a file is a capture, and no more of it than its first frame.
struct Nothing;

impl<'a> Visitor<'a> for Nothing {
    fn packet(&mut self, _: Packet<'a>) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn interface(&mut self, _: Interface) {}

    fn trouble(&mut self, _: Trouble) {}
}

/// The link types of a file's interfaces, each once.
#[derive(Default)]
struct LinkTypes(Vec<LinkType>);

impl<'a> Visitor<'a> for LinkTypes {
    fn packet(&mut self, _: Packet<'a>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn interface(&mut self, interface: Interface) {
        if !self.0.contains(&interface.link_type) {
            self.0.push(interface.link_type);
        }
    }

    fn trouble(&mut self, _: Trouble) {}
}

/// Hands on the frames that are wanted.
struct Selection<'a, 's> {
    filters: Option<Filters>,
    sink: Box<dyn Sink<'a> + 's>,
    interfaces: Vec<Interface>,
    /// Frames that are still wanted.
    left: u64,
    /// The output's first error.
    failed: Option<io::Error>,
    /// The first thing that could not be read.
    trouble: Option<Trouble>,
}

impl Selection<'_, '_> {
    fn is_wanted(&self, frame: &Frame<'_>) -> bool {
        let link_type = self.interfaces[frame.interface].link_type;
        self.filters
            .as_ref()
            .is_none_or(|filters| filters.select(link_type, frame.data, frame.len))
    }
}

impl<'a> Visitor<'a> for Selection<'a, '_> {
    fn packet(&mut self, packet: Packet<'a>) -> ControlFlow<()> {
        if self.failed.is_none() && self.is_wanted(&packet.frame) {
            let interface = &self.interfaces[packet.frame.interface];
            match self.sink.packet(&packet, interface) {
                Ok(ControlFlow::Continue(())) => self.left -= 1,
                Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
                Err(error) => self.failed = Some(error),
            }
        }
        if self.failed.is_some() || self.left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn interface(&mut self, interface: Interface) {
        self.interfaces.push(interface);
    }

    fn other(&mut self, block: &'a [u8]) {
        if self.failed.is_none() {
            self.failed = self.sink.other(block).err();
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        self.trouble.get_or_insert(trouble);
    }
}
